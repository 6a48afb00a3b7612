/* SPDX-License-Identifier: Apache-2.0 */
/* The report of a check as JUnit XML, as Jenkins, GitLab and others read it: testsuite, testcase, failure, skipped. */
#ifndef KOLM_CONFORM_JUNIT_H
#define KOLM_CONFORM_JUNIT_H

#include "conform/conform.h"
#include "kolm/kit/file.h"

/* One testcase for each check, and commits the file. A failure that was expected is skipped; a pass that was not is a
 * failure. What XML 1.0 cannot hold is written as people see it. */
kit_status check_junit_write(kit_atomic_file *file, const check_report *report, kolm_error_t *err) KIT_MUST_USE;

#endif
