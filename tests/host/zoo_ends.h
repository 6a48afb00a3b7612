/* SPDX-License-Identifier: Apache-2.0 */
/* How some animals of the zoo end: part of zoo.c. */
#ifndef KOLM_TESTS_ZOO_ENDS_H
#define KOLM_TESTS_ZOO_ENDS_H

#include "kolm/backend.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused)) /* in some animals */

/* Ignores the polite signal, so that only the other one ends it. */
UNUSED static void hang(void) {
    signal(SIGTERM, SIG_IGN);
    for (;;)
        pause();
}

UNUSED static void crash(void) {
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would make an exit of it */
    raise(SIGSEGV);
}

/* A leak check at exit may not look at a process that is not dumpable, and would abort it. */
UNUSED static void leave(void) {
    if (KOLM_FP_SANITIZER != 0) _exit(0);
    exit(0);
}

#if defined(ZOO_fork_bomb)
/* As many processes as it can get, each of which would go on if it were let; bounded, so that a host that lets them
 * live is found out and not brought down. */
static void explode(void) {
    for (int i = 0; i < 500; i++) {
        pid_t child = fork();
        if (child < 0) break;
        if (child == 0) {
            signal(SIGTERM, SIG_IGN);
            if (i % 2 == 0) setsid();
            hang();
        }
    }
    hang();
}
#endif

/* Those that end as no backend should, or do not. */
static void end_badly(const kolm_host_v1_t *host) {
#if defined(ZOO_crash_slot)
    crash();
#elif defined(ZOO_hang_slot)
    host->log(host->user, KOLM_LOG_INFO, "hanging");
    hang();
#elif defined(ZOO_late)
    while (host->time_left_ms(host->user) > 0)
        poll(NULL, 0, 20);
    poll(NULL, 0, 300); /* and then it answers normally */
#elif defined(ZOO_toils)
    for (clock_t until = clock() + CLOCKS_PER_SEC / 4; clock() < until;) {
    } /* of the processor's time, not of the day's */
#elif defined(ZOO_alarms)
    signal(SIGALRM, SIG_DFL);
    alarm(1);
    for (;;)
        pause();
#elif defined(ZOO_alarms_host)
    alarm(1); /* what kolm-host does on it stays */
    for (;;)
        pause();
#elif defined(ZOO_fork_bomb)
    explode();
#elif defined(ZOO_exits)
    leave();
#elif defined(ZOO_licence)
    printf("checking\nlicence \033[31mexpired\033[0m on 2026-01-01"); /* no end of the line */
#if KOLM_FP_SANITIZER
    /* exit would have the sanitizer look for leaks, and that would be the last word. */
    fflush(stdout);
    _exit(3);
#else
    exit(3);
#endif
#elif defined(ZOO_throws)
    signal(SIGABRT, SIG_DFL);
    fprintf(stderr,
            "terminate called after throwing an instance of 'std::runtime_error'\n  what():  no seat is free\n");
    abort(); /* as libstdc++ does */
#elif defined(ZOO_sanitized)
    signal(SIGABRT, SIG_DFL);
    fprintf(stderr, "==7==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x1 at pc 0x2 bp 0x3 sp 0x4\n");
    for (int i = 0; i < 40; i++)
        fprintf(stderr, "    #%d 0x1 in somewhere\n", i);
    fprintf(stderr, "SUMMARY: AddressSanitizer: heap-buffer-overflow (x.so+0x1) in somewhere\n");
    for (int i = 0; i < 20; i++)
        fprintf(stderr, "  Heap left redzone:       fa\n");
    fprintf(stderr, "==7==ABORTING\n");
    abort();
#elif defined(ZOO_aborts)
    signal(SIGABRT, SIG_DFL);
    abort();
#endif
    (void)host;
}

#endif
