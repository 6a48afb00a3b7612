/* SPDX-License-Identifier: Apache-2.0 */
/* The one-standard-error rule, fits that continue others, and comparison by the first fold alone. */
#include "engine_fixture.h"
#include "rule.h"
#include "solver.h"

#define ROWS 1000u

/* Rows of a candidate: the first `both` are right, then `count` rows from `from`. */
static void answer(uint8_t *right, uint32_t both, uint32_t from, uint32_t count) {
    for (uint32_t i = 0; i < ROWS; i++)
        right[i] = i < both || (i >= from && i < from + count);
}

START_TEST(the_plainest_within_one_error) {
    static uint8_t plain[ROWS], other[ROWS];
    float weight[ROWS];
    const uint8_t *const right[] = {plain, other};
    double behind, error;
    for (uint32_t i = 0; i < ROWS; i++)
        weight[i] = 1.0f / ROWS;
    /* 20 rows that only the plain one gets right, 25 that only the other does: ahead by 5, the error is sqrt(45). */
    answer(plain, 800, 800, 20);
    answer(other, 800, 820, 25);
    rule_compare(plain, other, weight, ROWS, &behind, &error);
    ck_assert_double_eq_tol(behind, 0.005, 1e-6);
    ck_assert_double_eq_tol(error, 0.0067, 1e-4);
    ck_assert_uint_eq(rule_plainest(right, 2, weight, ROWS), 0);
    /* 28: ahead by 8, more than sqrt(48). */
    answer(other, 800, 820, 28);
    ck_assert_uint_eq(rule_plainest(right, 2, weight, ROWS), 1);
    /* The same answers, but in rows with little weight. */
    for (uint32_t i = 820; i < ROWS; i++)
        weight[i] *= 0.1f;
    ck_assert_uint_eq(rule_plainest(right, 2, weight, ROWS), 0);
    /* No rows to compare. */
    ck_assert_uint_eq(rule_plainest(right, 2, weight, 0), 0);
}
END_TEST

/* Rows of weight 0, which are those of folds without comparison, change nothing. */
START_TEST(rows_without_weight_do_not_count) {
    static uint8_t plain[ROWS], other[ROWS];
    float weight[ROWS] = {0};
    double behind, error, behind_alone, error_alone;
    for (uint32_t i = 0; i < 50; i++) {
        weight[i] = 1.0f / 50;
        plain[i] = i < 30;
        other[i] = i < 10 || i >= 25;
    }
    rule_compare(plain, other, weight, 50, &behind_alone, &error_alone);
    rule_compare(plain, other, weight, ROWS, &behind, &error);
    ck_assert_double_eq(behind, behind_alone);
    ck_assert_double_eq(error, error_alone);
    /* 20 more of weight 0.02, 15 less: 5 ahead, the error is sqrt(35 - 25 / 50). */
    ck_assert_double_eq_tol(error, 0.02 * 5.8737, 1e-5);
    /* All have weight 0. */
    rule_compare(plain, other, weight + 50, ROWS - 50, &behind, &error);
    ck_assert_double_eq(behind, 0.0);
    ck_assert_double_eq(error, 0.0);
}
END_TEST

static float furthest(const float *a, const float *b, size_t n) {
    float most = 0.0f;
    for (size_t i = 0; i < n; i++) {
        const float d = a[i] > b[i] ? a[i] - b[i] : b[i] - a[i];
        if (d > most) most = d;
    }
    return most;
}

/* One epoch from the result of a fit stays there; one from 0 is far from it. Padding labels beyond the stride do not
 * count. */
START_TEST(a_fit_begins_where_another_ended) {
    const solve_kind kind = _i == 0 ? SOLVE_SVM : SOLVE_JOINT;
    rows *all;
    kit_buf text = {0};
    uint64_t state = 7;
    ck_assert_int_eq(rows_new(NULL, 3, &all, &err), KOLM_OK);
    for (uint32_t i = 0; i < ROWS; i++) {
        kit_buf_clear(&text);
        const uint32_t label = made_row(&text, &state, 10, 5);
        ck_assert_int_eq(rows_add(all, kit_buf_text(&text), text.length, label, i % 3, &err), KOLM_OK);
    }
    ck_assert_int_eq(rows_finish(all, 1u << 18, 10, NULL, &err), KOLM_OK);
    float *duals = calloc((size_t)ROWS * 12, sizeof *duals);
    solve_task task = {.rows = all,
                       .kind = kind,
                       .families = 3,
                       .cost = 0.5f,
                       .held_fold = 2,
                       .seed = 1,
                       .labels = 10,
                       .width = 16,
                       .max_epochs = 200,
                       .end = duals,
                       .dual_stride = 12};
    const size_t size = solve_size(&task);
    float *ended = aligned_alloc(64, size * 4 + 64), *again = aligned_alloc(64, size * 4 + 64);
    ck_assert(duals != NULL && ended != NULL && again != NULL);
    ck_assert_int_eq(solve(&task, ended, NULL, &err), KOLM_OK);
    task.end = NULL;
    task.max_epochs = 1;
    ck_assert_int_eq(solve(&task, again, NULL, &err), KOLM_OK);
    const float cold = furthest(ended, again, size);
    task.begin = duals;
    ck_assert_int_eq(solve(&task, again, NULL, &err), KOLM_OK);
    const float warm = furthest(ended, again, size);
    ck_assert_msg(warm < 0.5f * cold, "%g from where it ended, %g from 0", (double)warm, (double)cold);
    free(duals);
    free(ended);
    free(again);
    kit_buf_free(&text);
    rows_free(all);
}
END_TEST

/* With many rows candidates are compared on the first fold, and the chosen one is scored on all; any number of
 * threads gives the same bytes. */
START_TEST(the_first_of_many_rows_decides) {
    kit_buf first = {0}, second = {0};
    made_rows(&data, 4, 9000, 9, 20);
    write_rows();
    train_request q = request_for(9000, 1);
    train_report r = must_train(&q);
    ck_assert_uint_ge(r.result.candidates, 4);
    ck_assert_uint_eq(r.result.oof_rows, 9000);
    for (uint32_t i = 0; i < r.result.candidates; i++) {
        const choose_candidate *c = &r.result.candidate[i];
        if (i == r.result.chosen)
            ck_assert_uint_eq(c->rows, 9000);
        else
            ck_assert(c->rows == 9000 || (c->rows > 2900 && c->rows < 3100));
    }
    train_report_free(&r);
    ck_assert_int_eq(kit_read_file(model_path, 1u << 28, &first, &err), KOLM_OK);
    q.threads = 3;
    r = must_train(&q);
    train_report_free(&r);
    ck_assert_int_eq(kit_read_file(model_path, 1u << 28, &second, &err), KOLM_OK);
    ck_assert(first.length == second.length && memcmp(first.data, second.data, first.length) == 0);
    kit_buf_free(&first);
    kit_buf_free(&second);
}
END_TEST

/* Both plans begin with the same cost, but with another one above 20,000 rows. */
START_TEST(quick_and_normal_begin_alike) {
    const uint32_t count = _i == 0 ? 800 : 20400;
    made_rows(&data, 4, count, 4, 20);
    write_rows();
    train_request q = request_for(count, 2);
    train_report normal = must_train(&q);
    q.effort = EFFORT_QUICK;
    train_report quick = must_train(&q);
    ck_assert_uint_eq(quick.result.candidates, 1);
    ck_assert_str_eq(quick.result.candidate[0].name, normal.result.candidate[0].name);
    ck_assert_str_eq(quick.result.candidate[0].name, _i == 0 ? "words+chars svm c=1" : "words+chars svm c=0.25");
    train_report_free(&normal);
    train_report_free(&quick);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("engine rule");
    TCase *tcase = tcase_create("rule");
    tcase_set_timeout(tcase, 600);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, the_plainest_within_one_error);
    tcase_add_test(tcase, rows_without_weight_do_not_count);
    tcase_add_loop_test(tcase, a_fit_begins_where_another_ended, 0, 2);
    if (!test_under_valgrind()) {
        tcase_add_test(tcase, the_first_of_many_rows_decides);
        tcase_add_loop_test(tcase, quick_and_normal_begin_alike, 0, test_slowed() ? 1 : 2);
    }
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
