/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that take the next task until none is left, and those that go through phases together. */
#include "pool.h"

#include "kolm/kit/thread.h"

#define THREADS_MAX 256u
#define STACK_BYTES (512u * 1024) /* no task recurses deeply; the default of 8 MiB or more counts as used memory */

bool pool_start(pthread_t *out_thread, void *(*run)(void *argument), void *argument) {
    return kit_thread_start(out_thread, STACK_BYTES, run, argument) == 0;
}

typedef struct pool {
    atomic_uint next;
    atomic_int failed;
    uint32_t count;
    pool_task task;
    void *user;
    pthread_mutex_t lock;
    uint32_t failed_number;
    kolm_error_t error;
} pool;

static void *worker(void *argument) {
    pool *p = argument;
    for (;;) {
        uint32_t number = atomic_fetch_add(&p->next, 1);
        if (number >= p->count || atomic_load(&p->failed)) return NULL;
        kolm_error_t err = KIT_ERROR_INIT;
        if (p->task(p->user, number, &err) == KOLM_OK) continue;
        pthread_mutex_lock(&p->lock);
        if (!atomic_load(&p->failed) || number < p->failed_number) {
            p->failed_number = number;
            p->error = err;
        }
        atomic_store(&p->failed, 1);
        pthread_mutex_unlock(&p->lock);
    }
}

kit_status pool_run(uint32_t threads, uint32_t count, pool_task task, void *user, kolm_error_t *err) {
    pool p = {.count = count, .task = task, .user = user};
    pthread_t id[THREADS_MAX];
    uint32_t started = 0, more = threads < 1 ? 0 : threads - 1;
    if (more > THREADS_MAX) more = THREADS_MAX;
    if (count > 0 && more > count - 1) more = count - 1;
    atomic_init(&p.next, 0);
    atomic_init(&p.failed, 0);
    pthread_mutex_init(&p.lock, NULL);
    /* Failure to create a thread is not an error: the others, at least the caller, do its share. */
    while (started < more && pool_start(&id[started], worker, &p))
        started++;
    (void)worker(&p);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(id[i], NULL);
    pthread_mutex_destroy(&p.lock);
    if (!atomic_load(&p.failed)) return KOLM_OK;
    if (err != NULL) *err = p.error;
    return p.error.code;
}

/* ---- Phases */

#define SPINS 2000 /* before a thread sleeps; units take tens of microseconds, and so does waking up */

void pool_phases_init(pool_phases *p) {
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->advanced, NULL);
    pool_phases_restart(p);
}

void pool_phases_destroy(pool_phases *p) {
    pthread_cond_destroy(&p->advanced);
    pthread_mutex_destroy(&p->lock);
}

void pool_phases_restart(pool_phases *p) {
    atomic_store(&p->next, 0);
    atomic_store(&p->done, 0);
}

static bool is_over(pool_phases *p, uint32_t phase) {
    return atomic_load(&p->next) >> 32 != phase;
}

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void await_others(pool_phases *p, uint32_t phase) {
    for (int i = 0; i < SPINS; i++) {
        if (is_over(p, phase)) return;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    while (!is_over(p, phase))
        pthread_cond_wait(&p->advanced, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

static void advance(pool_phases *p, uint32_t phase) {
    atomic_store(&p->done, 0);
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->next, (uint64_t)(phase + 1) << 32);
    pthread_cond_broadcast(&p->advanced);
    pthread_mutex_unlock(&p->lock);
}

void pool_phase_run(pool_phases *p, uint32_t phase, uint32_t units, void (*unit)(void *user, uint32_t number),
                    void *user) {
    unsigned long long next = atomic_load(&p->next);
    while (next >> 32 == phase) {
        const uint32_t number = (uint32_t)next;
        if (number == units) {
            await_others(p, phase);
            return;
        }
        if (!atomic_compare_exchange_weak(&p->next, &next, next + 1)) continue;
        unit(user, number);
        if (atomic_fetch_add(&p->done, 1) + 1 == units) advance(p, phase);
        next = atomic_load(&p->next);
    }
}
