/* SPDX-License-Identifier: Apache-2.0 */
/* Runs tasks on a few threads; results do not depend on which thread runs what. */
#ifndef LOCAL_CPU_POOL_H
#define LOCAL_CPU_POOL_H

#include "kolm/kit/status.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* kit_thread_start with a small stack. Returns false if the thread could not be started; otherwise the caller must join
 * it. */
bool pool_start(pthread_t *out_thread, void *(*run)(void *argument), void *argument);

typedef kit_status (*pool_task)(void *user, uint32_t number, kolm_error_t *err);

/* Runs task(user, 0 .. count-1, err), each once, on at most `threads` threads, including the caller's. After a failure
 * no further task starts; returns the error of the lowest-numbered failed task. */
kit_status pool_run(uint32_t threads, uint32_t count, pool_task task, void *user, kolm_error_t *err) KIT_MUST_USE;

/*
 * Phases: threads that run the same sequence of phases, numbered from 0, each divided into units. Each unit is run by
 * one thread, and no thread leaves a phase before all of its units have been run. A thread that the system does not
 * schedule delays the others by at most the unit that it runs: they complete a phase without it.
 */
typedef struct pool_phases {
    atomic_ullong next; /* phase * 2^32 + units of it that are taken */
    atomic_uint done;   /* units */
    pthread_mutex_t lock;
    pthread_cond_t advanced;
} pool_phases;

void pool_phases_init(pool_phases *phases);
void pool_phases_destroy(pool_phases *phases);
void pool_phases_restart(pool_phases *phases); /* from phase 0; not while a thread is in a phase */
/* Takes part in a phase: runs unit(user, number) for some of 0 .. units-1, units > 0, and returns when all were run. */
void pool_phase_run(pool_phases *phases, uint32_t phase, uint32_t units, void (*unit)(void *user, uint32_t number),
                    void *user);

#endif
