/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that take the next item until none is left. */
#include "host/each.h"

#include "kolm/kit/thread.h"

#include <stdatomic.h>
#include <unistd.h>

#define THREADS_MAX 4
#define PIECE 16          /* taken at once */
#define WORTH_A_THREAD 64 /* fewer are done before a thread has started */

typedef struct job {
    void (*work)(void *user, size_t i);
    void *user;
    size_t count;
    atomic_size_t next;
} job;

static void *do_pieces(void *user) {
    job *j = user;
    for (size_t from; (from = atomic_fetch_add(&j->next, PIECE)) < j->count;)
        for (size_t i = from; i < from + PIECE && i < j->count; i++)
            j->work(j->user, i);
    return NULL;
}

void host_each(size_t count, void (*work)(void *user, size_t i), void *user) {
    job j = {.work = work, .user = user, .count = count, .next = 0};
    pthread_t threads[THREADS_MAX];
    size_t wanted = count / WORTH_A_THREAD, started = 0;
    const long processors = wanted > 0 ? sysconf(_SC_NPROCESSORS_ONLN) : 1;
    if (wanted > THREADS_MAX) wanted = THREADS_MAX;
    if (processors < 2) wanted = 0;
    if (wanted > 0 && wanted > (size_t)processors - 1) wanted = (size_t)processors - 1; /* beside the caller's */
    while (started < wanted && kit_thread_start(&threads[started], 0, do_pieces, &j) == 0)
        started++;
    (void)do_pieces(&j);
    while (started > 0)
        (void)pthread_join(threads[--started], NULL);
}
