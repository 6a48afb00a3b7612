/* SPDX-License-Identifier: Apache-2.0 */
/* The totals of the receipts in a chain: sums, dates, unknown costs, lines that are not receipts. */
#include "../suite.h"
#include "receipt/totals.h"

#include "kolm/kit/buf.h"
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64], path[96];
static kit_buf chain;
static kolm_error_t err;
static receipt_totals sums;
static volatile sig_atomic_t stop;

static void begin(void) {
    kit_copy(root, sizeof root, "/tmp/kolm-totals-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    kit_format(path, sizeof path, "%s/chain.jsonl", root);
    err = (kolm_error_t)KIT_ERROR_INIT;
    stop = 0;
}

static void finish(void) {
    receipt_totals_free(&sums);
    kit_buf_free(&chain);
    ck_assert_int_eq(kit_remove_tree(root, &err), KOLM_OK);
}

/* Adds one line: an envelope around a statement with this predicate. */
static void add(const char *predicate) {
    kit_buf statement = {0};
    kit_buf_fmt(&statement, "{\"predicate\":%s}", predicate);
    kit_buf_str(&chain, "{\"payload\":\"");
    kit_base64(&chain, (const uint8_t *)kit_buf_text(&statement), statement.length);
    kit_buf_str(&chain, "\",\"signatures\":[]}\n");
    kit_buf_free(&statement);
}

static kit_status read_since(int64_t since) {
    receipt_totals_free(&sums);
    ck_assert_int_eq(kit_write_file(path, 0600, kit_buf_text(&chain), chain.length, &err), KOLM_OK);
    return receipt_totals_read(path, since, &stop, &sums, &err);
}

#define JOB(time, compute) "{\"finished_at\":\"" time "\",\"metrics\":{\"compute\":" compute "}}"

START_TEST(jobs_are_added_up) {
    add(JOB("2026-01-31T12:00:00Z", "{\"cost_usd\":1.25,\"wall_duration_ms\":1000}"));
    add(JOB("2026-02-01T12:00:00Z", "{\"cost_usd\":0.000001,\"wall_duration_ms\":5}"));
    add(JOB("2026-02-02T12:00:00Z", "{\"cost_micro_usd\":7}"));
    add("{\"buildDefinition\":{}}"); /* the provenance is a separate line */
    ck_assert_int_eq(read_since(INT64_MIN), KOLM_OK);
    ck_assert_uint_eq(sums.jobs, 3);
    ck_assert_uint_eq(sums.wall_ms, 1005);
    ck_assert_uint_eq(sums.cost_micro_usd, 1250008);
    ck_assert_uint_eq(sums.unknown_cost, 0);
    ck_assert_uint_eq(sums.unreadable, 0);
}
END_TEST

START_TEST(a_cost_that_is_unknown_is_counted) {
    add(JOB("2026-01-31T12:00:00Z", "{\"cost_usd\":null}"));
    add(JOB("2026-01-31T12:00:00Z", "{\"cost_usd\":-1}"));
    add(JOB("2026-01-31T12:00:00Z", "{\"cost_usd\":1e12}"));
    add(JOB("2026-01-31T12:00:00Z", "{\"cost_usd\":0}"));
    ck_assert_int_eq(read_since(INT64_MIN), KOLM_OK);
    ck_assert_uint_eq(sums.jobs, 4);
    ck_assert_uint_eq(sums.unknown_cost, 3);
    ck_assert_uint_eq(sums.cost_micro_usd, 0);
}
END_TEST

/* 2026-02-01T00:00:00Z. */
#define FEBRUARY 1769904000

START_TEST(only_those_since_then_count) {
    add(JOB("2026-01-31T23:59:59Z", "{\"cost_usd\":1}"));
    add(JOB("2026-02-01T00:00:00Z", "{\"cost_usd\":2}"));
    add("{\"metrics\":{\"compute\":{\"cost_usd\":4,\"finished_at\":\"2026-03-01T00:00:00Z\"}}}");
    add("{\"metrics\":{\"compute\":{\"cost_usd\":8}}}"); /* without a date */
    ck_assert_int_eq(read_since(FEBRUARY), KOLM_OK);
    ck_assert_uint_eq(sums.jobs, 2);
    ck_assert_uint_eq(sums.cost_micro_usd, 6000000);
    ck_assert_int_eq(read_since(INT64_MIN), KOLM_OK);
    ck_assert_uint_eq(sums.jobs, 4);
}
END_TEST

START_TEST(lines_that_are_no_receipt_are_counted) {
    static const char *const bad[] = {"hello\n",
                                      "{}\n",
                                      "{\"payload\":5}\n",
                                      "{\"payload\":\"!\"}\n",
                                      "{\"payload\":\"aGVsbG8=\"}\n",
                                      "{\"payload\":\"e30=\"\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        kit_buf_str(&chain, bad[i]);
    kit_buf_str(&chain, "\n"); /* an empty line is ignored */
    add(JOB("2026-01-31T12:00:00Z", "{\"cost_usd\":1}"));
    ck_assert_int_eq(read_since(INT64_MIN), KOLM_OK);
    ck_assert_uint_eq(sums.unreadable, sizeof bad / sizeof *bad);
    ck_assert_uint_eq(sums.jobs, 1);
}
END_TEST

START_TEST(no_chain_is_no_receipts) {
    ck_assert_int_eq(receipt_totals_read(path, INT64_MIN, &stop, &sums, &err), KOLM_OK);
    ck_assert_uint_eq(sums.jobs, 0);
    ck_assert_int_eq(receipt_totals_read(root, INT64_MIN, &stop, &sums, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(mkfifo(path, 0600), 0); /* without a writer; it does not wait for one */
    ck_assert_int_eq(receipt_totals_read(path, INT64_MIN, &stop, &sums, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, path));
    ck_assert_int_eq(unlink(path), 0);
}
END_TEST

START_TEST(it_can_be_stopped) {
    add(JOB("2026-01-31T12:00:00Z", "{\"cost_usd\":1}"));
    stop = 1;
    ck_assert_int_eq(read_since(INT64_MIN), KOLM_E_CANCELLED);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("receipt totals");
    TCase *c = tcase_create("totals");
    tcase_add_checked_fixture(c, begin, finish);
    tcase_add_test(c, jobs_are_added_up);
    tcase_add_test(c, a_cost_that_is_unknown_is_counted);
    tcase_add_test(c, only_those_since_then_count);
    tcase_add_test(c, lines_that_are_no_receipt_are_counted);
    tcase_add_test(c, no_chain_is_no_receipts);
    tcase_add_test(c, it_can_be_stopped);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
