/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers shared by the tests of core/job: bytes as a descriptor, a temporary directory, and rows that are read
 * back. */
#ifndef KOLM_TESTS_JOB_FIXTURE_H
#define KOLM_TESTS_JOB_FIXTURE_H

#include "../suite.h"
#include "job/dataset.h"
#include "kolm/kit/file.h"

/* Returns a readable descriptor of these bytes, at offset 0. The caller must close it. */
int job_test_fd(const void *bytes, size_t length);

/* A job in a new directory: job/ and private/ in base. */
typedef struct job_test_place {
    char base[64], job[80], private_dir[80];
} job_test_place;
void job_test_open(job_test_place *place);
void job_test_close(job_test_place *place);

/* The lines of DIRECTORY/NAME as parsed JSON; free with job_test_rows_free. */
typedef struct job_test_rows {
    cJSON **items;
    size_t count, capacity;
} job_test_rows;
void job_test_read(const char *directory, const char *name, job_test_rows *out_rows);
/* The rows that a preparation held out; job_test_forget_held closes them. */
void job_test_read_held(const job_summary *summary, job_test_rows *out_rows);
void job_test_forget_held(job_summary *summary);
void job_test_rows_free(job_test_rows *rows);
/* Returns the text of key, which must exist. */
const char *job_test_text(const cJSON *row, const char *key);

#endif
