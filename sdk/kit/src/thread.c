/* SPDX-License-Identifier: Apache-2.0 */
/* Starts threads that leave signals to the others. */
#include "kolm/kit/thread.h"

#include <signal.h>

int kit_thread_start(pthread_t *out_thread, size_t stack_bytes, void *(*run)(void *argument), void *argument) {
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}; /* of a fault of the thread itself */
    pthread_attr_t attributes;
    sigset_t all, before;
    int result = pthread_attr_init(&attributes);
    if (result != 0) return result;
    if (stack_bytes > 0) result = pthread_attr_setstacksize(&attributes, stack_bytes);
    sigfillset(&all);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        sigdelset(&all, own[i]);
    if (result == 0) result = pthread_sigmask(SIG_BLOCK, &all, &before);
    if (result == 0) {
        result = pthread_create(out_thread, &attributes, run, argument);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attributes);
    return result;
}
