/* SPDX-License-Identifier: Apache-2.0 */
/* How some plugins of the zoo end: part of zoo.c. */
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

#define UNUSED __attribute__((unused)) /* only some plugins use it */

/* Ignores SIGTERM, so that only SIGKILL ends it. */
UNUSED static void hang(void) {
    signal(SIGTERM, SIG_IGN);
    for (;;)
        pause();
}

UNUSED static void crash(void) {
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would turn it into an exit */
    raise(SIGSEGV);
}

/* A leak check at exit cannot inspect a process that is not dumpable, and would abort it. */
UNUSED static void leave(void) {
    if (KOLM_FP_SANITIZER != 0) _exit(0);
    exit(0);
}

#if defined(ZOO_fork_bomb)
/* Starts as many processes as it can, each of which would run forever; limited, so that a host that does not kill them
 * fails the test but the machine keeps working. */
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

/* Plugins that end incorrectly, or never. */
static void end_badly(const kolm_host_v1_t *host) {
#if defined(ZOO_crash_slot)
    crash();
#elif defined(ZOO_hang_slot)
    host->log(host->user, KOLM_LOG_INFO, "hanging");
    hang();
#elif defined(ZOO_late)
    while (host->time_left_ms(host->user) > 0)
        poll(NULL, 0, 20);
    poll(NULL, 0, 300); /* then it answers normally */
#elif defined(ZOO_toils)
    for (clock_t until = clock() + CLOCKS_PER_SEC / 4; clock() < until;) {
    } /* CPU time, not wall time */
#elif defined(ZOO_alarms)
    signal(SIGALRM, SIG_DFL);
    alarm(1);
    for (;;)
        pause();
#elif defined(ZOO_alarms_host)
    alarm(1); /* kolm-host's handler stays installed */
    for (;;)
        pause();
#elif defined(ZOO_fork_bomb)
    explode();
#elif defined(ZOO_exits)
    leave();
#elif defined(ZOO_licence)
    printf("checking\nlicence \033[31mexpired\033[0m on 2026-01-01"); /* no newline */
#if KOLM_FP_SANITIZER
    /* exit would start the sanitizer's leak check, whose report would be the last output. */
    fflush(stdout);
    _exit(3);
#else
    exit(3);
#endif
#elif defined(ZOO_throws)
    signal(SIGABRT, SIG_DFL);
    fprintf(stderr,
            "terminate called after throwing an instance of 'std::runtime_error'\n  what():  no seat is free\n");
    abort(); /* like libstdc++ */
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
