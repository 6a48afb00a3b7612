/* SPDX-License-Identifier: Apache-2.0 */
/* The report of a check as JUnit XML, as Jenkins, GitLab and others read it: testsuite, testcase, failure, skipped. */
#ifndef KOLM_CONFORM_JUNIT_H
#define KOLM_CONFORM_JUNIT_H

#include "conform/conform.h"
#include "kolm/kit/file.h"

/* Writes one testcase for each check, and commits the file. An expected failure counts as skipped, an unexpected pass
 * as a failure. Characters that XML 1.0 cannot represent are escaped. */
kit_status check_junit_write(kit_atomic_file *file, const check_report *report, kolm_error_t *err) KIT_MUST_USE;

#endif
