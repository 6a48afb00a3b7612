/* SPDX-License-Identifier: Apache-2.0 */
/* The end of main in each test program. */
#ifndef KOLM_TESTS_SUITE_H
#define KOLM_TESTS_SUITE_H

#include "draws.h"

#include <check.h>

/* Check writes a line for each assertion that holds, to know the last one before a crash. This is most of the time of a
 * slower run, which prints a stack trace instead. */
#define _mark_point(file, line) (test_slowed() ? (void)0 : (_mark_point)(file, line))

/* Runs suite and frees it; returns the exit status for main. CK_VERBOSITY sets how much is printed; the default is only
 * the failures. */
static inline int run_suite(Suite *suite) {
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures == 0 ? 0 : 1;
}

#endif
