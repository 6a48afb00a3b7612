/* SPDX-License-Identifier: Apache-2.0 */
/* The sorter and the table on disk, compared with plain arrays. */
#include "../suite.h"
#include "fixture.h"
#include "job/scratch.h"

#include <stdlib.h>
#include <string.h>

static kolm_error_t err;
static job_test_place place;

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    job_test_open(&place);
}

static void teardown(void) {
    job_test_close(&place);
}

static uint64_t state = 1;

static uint64_t draw(void) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return state >> 20;
}

static int by_words(const void *a, const void *b) {
    const uint64_t *x = a, *y = b;
    for (int i = 0; i < 3; i++)
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    return 0;
}

/* In memory; a few runs; more runs than are merged at once, the last of them not full. */
static const size_t counts[] = {0,
                                1,
                                1000,
                                JOB_SORTER_BYTES / 24,
                                JOB_SORTER_BYTES / 24 + 1,
                                100000,
                                JOB_SORTER_BYTES / 24 * (JOB_SORTER_FAN + 2) + 5};

START_TEST(a_sorter_gives_back_everything_in_order) {
    size_t count = counts[_i];
    if (count >= 100000 && test_slowed()) return;
    uint64_t(*all)[3] = calloc(count + 1, sizeof *all);
    job_sorter *sorter = NULL;
    ck_assert_ptr_nonnull(all);
    ck_assert_int_eq(job_sorter_new(place.private_dir, 3, &sorter, &err), KOLM_OK);
    for (size_t i = 0; i < count; i++) {
        all[i][0] = draw() % 50; /* many have equal first words */
        all[i][1] = draw() % 1000;
        all[i][2] = draw();
        if (job_sorter_add(sorter, all[i], &err) != KOLM_OK) ck_abort_msg("%s", err.text);
    }
    qsort(all, count, sizeof *all, by_words);
    ck_assert_int_eq(job_sorter_sort(sorter, &err), KOLM_OK);
    const uint64_t *record = NULL;
    for (size_t i = 0; i < count; i++) {
        /* Not with ck_assert, which is slow even if it holds. */
        if (job_sorter_next(sorter, &record, &err) != KOLM_OK || record == NULL ||
            memcmp(record, all[i], sizeof *all) != 0)
            ck_abort_msg("record %zu of %zu", i, count);
    }
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(job_sorter_next(sorter, &record, &err), KOLM_OK);
        ck_assert_ptr_null(record);
    }
    job_sorter_free(sorter);
    free(all);
}
END_TEST

START_TEST(a_table_remembers_what_was_put) {
    enum { ROWS = 20000 };
    typedef struct entry {
        uint64_t a;
        uint32_t b[5];
    } entry;
    entry *all = calloc(ROWS, sizeof *all), got;
    job_table *table = NULL;
    ck_assert_ptr_nonnull(all);
    ck_assert_int_eq(job_table_new(place.private_dir, sizeof(entry), &table, &err), KOLM_OK);
    for (size_t step = 0; step < test_draws(100000, 5000); step++) {
        size_t at = draw() % ROWS;
        if (draw() % 2 == 0) {
            memset(&all[at], (int)(draw() % 256), sizeof *all);
            ck_assert_int_eq(job_table_put(table, at, &all[at], &err), KOLM_OK);
        }
        at = draw() % ROWS;
        ck_assert_int_eq(job_table_get(table, at, &got, &err), KOLM_OK);
        ck_assert_msg(memcmp(&got, &all[at], sizeof got) == 0, "record %zu", at);
    }
    /* Entries far after the end are zeros. */
    ck_assert_int_eq(job_table_get(table, 1u << 30, &got, &err), KOLM_OK);
    ck_assert_uint_eq(got.a, 0);
    job_table_free(table);
    free(all);
}
END_TEST

START_TEST(a_directory_that_is_gone_is_named) {
    job_table *table = NULL;
    ck_assert_int_eq(job_table_new("/nonexistent", 8, &table, &err), KOLM_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent"));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("job-scratch");
    TCase *tests = tcase_create("scratch");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, a_sorter_gives_back_everything_in_order, 0, sizeof counts / sizeof *counts);
    tcase_add_test(tests, a_table_remembers_what_was_put);
    tcase_add_test(tests, a_directory_that_is_gone_is_named);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
