/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that leave signals to the others. */
#include "../suite.h"
#include "kolm/kit/thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static void *read_mask(void *user) {
    pthread_sigmask(SIG_BLOCK, NULL, user);
    return NULL;
}

static sigset_t mask_here(void) {
    sigset_t mask;
    sigemptyset(&mask);
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    return mask;
}

static void same_mask(const sigset_t *a, const sigset_t *b) {
    for (int number = 1; number <= SIGRTMAX; number++)
        ck_assert_msg(sigismember(a, number) == sigismember(b, number), "signal %d", number);
}

START_TEST(blocks_all_but_its_own_faults) {
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    pthread_t thread;
    sigset_t wanted, mask;
    sigfillset(&wanted); /* without the signals that libc itself uses */
    sigdelset(&wanted, SIGKILL);
    sigdelset(&wanted, SIGSTOP);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        sigdelset(&wanted, own[i]);
    sigemptyset(&mask);
    const sigset_t before = mask_here();
    ck_assert_int_eq(kit_thread_start(&thread, 0, read_mask, &mask), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    same_mask(&mask, &wanted);
    const sigset_t after = mask_here();
    same_mask(&after, &before);
}
END_TEST

/* ---- Who is interrupted */

static pthread_t caller;
static atomic_int at_caller, elsewhere;

static void note(int number) {
    (void)number;
    atomic_fetch_add(pthread_equal(pthread_self(), caller) ? &at_caller : &elsewhere, 1);
}

static atomic_bool over;
static atomic_uint rounds;

/* Calls the system in each round, after which a thread takes the signals that are for it. */
static void *go_round(void *unused) {
    (void)unused;
    while (!atomic_load(&over)) {
        sched_yield();
        atomic_fetch_add(&rounds, 1);
    }
    return NULL;
}

/* The caller blocks the signal while it is sent: it must wait for the caller, though another thread could take it. */
START_TEST(a_signal_waits_for_the_caller) {
    pthread_t thread;
    sigset_t term, before;
    const struct sigaction action = {.sa_handler = note};
    caller = pthread_self();
    ck_assert_int_eq(sigaction(SIGTERM, &action, NULL), 0);
    ck_assert_int_eq(kit_thread_start(&thread, 0, go_round, NULL), 0);
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &term, &before), 0);
    ck_assert_int_eq(kill(getpid(), SIGTERM), 0);
    for (const unsigned sent = atomic_load(&rounds); atomic_load(&rounds) - sent < 3;)
        sched_yield();
    ck_assert_int_eq(atomic_load(&at_caller), 0);
    ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    atomic_store(&over, true);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(atomic_load(&at_caller), 1);
    ck_assert_int_eq(atomic_load(&elsewhere), 0);
}
END_TEST

/* ---- Stacks */

static void *read_stack(void *user) {
    pthread_attr_t attributes;
    void *lowest = NULL;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) return NULL;
    pthread_attr_getstack(&attributes, &lowest, user);
    pthread_attr_destroy(&attributes);
    return NULL;
}

START_TEST(the_stack_is_as_large_as_wanted) {
    if (test_under_valgrind()) return; /* it reports the default size */
    static const size_t wanted[] = {256 * 1024, 3 << 20};
    for (size_t i = 0; i < 2; i++) {
        pthread_t thread;
        size_t size = 0;
        ck_assert_int_eq(kit_thread_start(&thread, wanted[i], read_stack, &size), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_uint_ge(size, wanted[i]);
        ck_assert_uint_lt(size, wanted[i] + (1 << 20)); /* libraries add some */
    }
}
END_TEST

START_TEST(what_cannot_start) {
    pthread_t thread;
    const sigset_t before = mask_here();
    ck_assert_int_eq(kit_thread_start(&thread, 1, go_round, NULL), EINVAL); /* a stack of one byte */
    const sigset_t after = mask_here();
    same_mask(&after, &before);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("kit-thread");
    TCase *tcase = tcase_create("thread");
    tcase_add_test(tcase, blocks_all_but_its_own_faults);
    tcase_add_test(tcase, a_signal_waits_for_the_caller);
    tcase_add_test(tcase, the_stack_is_as_large_as_wanted);
    tcase_add_test(tcase, what_cannot_start);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
