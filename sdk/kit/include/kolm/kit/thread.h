/* SPDX-License-Identifier: Apache-2.0 */
/* Starts threads that leave signals to the others. */
#ifndef KOLM_KIT_THREAD_H
#define KOLM_KIT_THREAD_H

#include "kolm/kit/status.h"

#include <pthread.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Starts a thread that runs run(argument). stack_bytes: of its stack; 0: the default, often 8 MiB. Returns 0, and the
 * caller must join or detach *out_thread; otherwise the error number of pthread_create, for kit_fail_errno.
 *
 * The thread blocks all signals but those of its own faults (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS). The
 * system delivers a signal that is sent to the process, such as the SIGINT of Ctrl-C or the SIGTERM that ends a
 * backend, to any thread that does not block it. kolm and kolm-host wait for these in the thread that handles them:
 * only there does the signal interrupt the wait, and only that thread may consume it. If a helper could take it, the
 * wait would continue. Faults are not blocked, because a process with a blocked fault dies without its handler, and so
 * without the report of a sanitizer.
 *
 * A thread inherits the mask of the one that starts it, so it is set before: the new thread never runs without it. What
 * the caller blocks is unchanged afterwards. kit_spawn and kit_child_run give a child an empty mask, whichever thread
 * calls them.
 */
int kit_thread_start(pthread_t *out_thread, size_t stack_bytes, void *(*run)(void *argument),
                     void *argument) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
