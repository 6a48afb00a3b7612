/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that go through phases together: each unit runs once, none before its phase, and no thread waits for one
 * without a unit; and which thread gets signals. */
#include "../suite.h"
#include "pool.h"

#include <sched.h>
#include <signal.h>

#define PHASES 200u
#define UNITS_MAX 9u
#define THREADS 4u

static uint32_t units_of(uint32_t phase) {
    return phase % UNITS_MAX + 1;
}

typedef struct crowd {
    pool_phases phases;
    atomic_uint run[PHASES][UNITS_MAX]; /* how often each ran */
    atomic_uint early;                  /* units that ran before the previous phase was complete */
} crowd;

typedef struct member {
    crowd *crowd;
    uint32_t phase;
} member;

static void unit(void *user, uint32_t number) {
    const member *m = user;
    if (m->phase > 0)
        for (uint32_t i = 0; i < units_of(m->phase - 1); i++)
            if (atomic_load(&m->crowd->run[m->phase - 1][i]) != 1) atomic_fetch_add(&m->crowd->early, 1);
    atomic_fetch_add(&m->crowd->run[m->phase][number], 1);
}

static kit_status walk(void *user, uint32_t number, kolm_error_t *err) {
    member m = {.crowd = user};
    (void)number;
    (void)err;
    for (; m.phase < PHASES; m.phase++) {
        pool_phase_run(&m.crowd->phases, m.phase, units_of(m.phase), unit, &m);
        for (uint32_t i = 0; i < units_of(m.phase); i++)
            ck_assert_uint_eq(atomic_load(&m.crowd->run[m.phase][i]), 1);
    }
    return KOLM_OK;
}

static void check_all(crowd *c) {
    ck_assert_uint_eq(atomic_load(&c->early), 0);
    for (uint32_t phase = 0; phase < PHASES; phase++)
        for (uint32_t i = 0; i < UNITS_MAX; i++)
            ck_assert_uint_eq(atomic_exchange(&c->run[phase][i], 0), i < units_of(phase));
}

START_TEST(each_unit_once_and_in_order) {
    static crowd c;
    kolm_error_t err = KIT_ERROR_INIT;
    pool_phases_init(&c.phases);
    for (uint32_t threads = 1; threads <= THREADS; threads++) {
        pool_phases_restart(&c.phases);
        ck_assert_int_eq(pool_run(threads, THREADS, walk, &c, &err), KOLM_OK); /* the others arrive when all is done */
        check_all(&c);
    }
    pool_phases_destroy(&c.phases);
}
END_TEST

static void *walk_alone(void *user) {
    (void)!walk(user, 0, NULL);
    return NULL;
}

/* A thread without a unit is not waited for: the other one finishes before this one has started. */
START_TEST(one_that_does_not_come_is_not_waited_for) {
    static crowd c;
    pthread_t other;
    pool_phases_init(&c.phases);
    ck_assert_int_eq(pthread_create(&other, NULL, walk_alone, &c), 0);
    pthread_join(other, NULL);
    ck_assert_int_eq(walk(&c, 1, NULL), KOLM_OK);
    check_all(&c);
    pool_phases_destroy(&c.phases);
}
END_TEST

static void long_unit(void *user, uint32_t number) {
    (void)user;
    for (int i = 0; number == 0 && i < 20000; i++)
        sched_yield();
}

static kit_status walk_long(void *user, uint32_t number, kolm_error_t *err) {
    (void)number;
    (void)err;
    for (uint32_t phase = 0; phase < 5; phase++)
        pool_phase_run(user, phase, THREADS, long_unit, NULL);
    return KOLM_OK;
}

/* Long enough for threads without work to fall asleep. */
START_TEST(long_units_wake_the_others) {
    pool_phases phases;
    kolm_error_t err = KIT_ERROR_INIT;
    pool_phases_init(&phases);
    ck_assert_int_eq(pool_run(THREADS, THREADS, walk_long, &phases, &err), KOLM_OK);
    ck_assert_uint_eq(atomic_load(&phases.next) >> 32, 5);
    pool_phases_destroy(&phases);
}
END_TEST

/* ---- Threads */

typedef struct pair {
    pthread_t caller;
    atomic_uint here, blocked; /* blocked: threads that block SIGTERM: 1 the caller, 2 the other */
} pair;

static kit_status look_at_signals(void *user, uint32_t number, kolm_error_t *err) {
    pair *p = user;
    sigset_t set;
    (void)number;
    (void)err;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    if (sigismember(&set, SIGTERM) == 1) atomic_fetch_or(&p->blocked, pthread_equal(pthread_self(), p->caller) ? 1 : 2);
    atomic_fetch_add(&p->here, 1);
    while (atomic_load(&p->here) < 2) /* so that the two tasks run in two threads */
        sched_yield();
    return KOLM_OK;
}

/* The host waits for signals in the thread that calls pool_run. */
START_TEST(signals_are_for_the_caller) {
    pair p = {.caller = pthread_self()};
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_int_eq(pool_run(2, 2, look_at_signals, &p, &err), KOLM_OK);
    ck_assert_uint_eq(atomic_load(&p.blocked), 2);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("pool");
    TCase *tcase = tcase_create("phases");
    tcase_add_test(tcase, each_unit_once_and_in_order);
    tcase_add_test(tcase, one_that_does_not_come_is_not_waited_for);
    tcase_add_test(tcase, long_units_wake_the_others);
    tcase_add_test(tcase, signals_are_for_the_caller);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
