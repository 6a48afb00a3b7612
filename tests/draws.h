/* SPDX-License-Identifier: Apache-2.0 */
/* How much a test draws in a run that is slower than the released program: in a sanitized build or under valgrind. */
#ifndef KOLM_TESTS_DRAWS_H
#define KOLM_TESTS_DRAWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#if defined(__has_feature)
#define TEST_HAS_FEATURE(x) __has_feature(x)
#else
#define TEST_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || TEST_HAS_FEATURE(address_sanitizer)
#define TEST_SANITIZED true
#else
#define TEST_SANITIZED false
#endif

static inline bool test_under_valgrind(void) {
    static _Atomic int known; /* queried for each assertion: 0 unknown, 1 no, 2 yes */
    if (known == 0) known = getenv("KOLM_UNDER_VALGRIND") != NULL ? 2 : 1;
    return known == 2;
}

/* True under valgrind, unless KOLM_TEST_ALL is set: for tests that read megabytes of bytes that are all alike. The
 * sanitized build runs them. */
static inline bool test_spared(void) {
    return test_under_valgrind() && getenv("KOLM_TEST_ALL") == NULL;
}

/* True if limits of time and memory are meaningless: under valgrind and in sanitized builds. */
static inline bool test_slowed(void) {
    return TEST_SANITIZED || test_under_valgrind();
}

/* How many of `full` draws, rounds or rows a test takes: all of them in a release build, a tenth in a sanitized build,
 * a hundredth under valgrind, but at least `least`. The release build tests what the program does; the other two look
 * for invalid reads and writes, which occur in the same lines in each round. */
static inline size_t test_draws(size_t full, size_t least) {
    const size_t part = test_under_valgrind() ? full / 100 : TEST_SANITIZED ? full / 10 : full;
    return part > least ? part : least < full ? least : full;
}

#endif
