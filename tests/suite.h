/* SPDX-License-Identifier: Apache-2.0 */
/* What main of each test program ends with. */
#ifndef KOLM_TESTS_SUITE_H
#define KOLM_TESTS_SUITE_H

#include "draws.h"

#include <check.h>

/* Check writes a line for each assertion that holds, to know the last one before a crash. That is most of the time of a
 * slower run, which prints a stack instead. */
#define _mark_point(file, line) (test_slowed() ? (void)0 : (_mark_point)(file, line))

/* Runs suite, which it takes, and returns what main is to return. CK_VERBOSITY says how much is printed, normally the
 * failures. */
static inline int run_suite(Suite *suite) {
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures == 0 ? 0 : 1;
}

#endif
