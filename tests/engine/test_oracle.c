/* SPDX-License-Identifier: Apache-2.0 */
/* The solvers compared with liblinear on the same features: accuracy within 0.3 points. */
#include "../suite.h"
#include "kolm/kit/file.h"
#include "made_data.h"
#include "solver.h"

#include <linear.h>
#include <stdlib.h>
#include <string.h>

#define LABELS 12u
#define TRAIN 3000u
#define TEST 12000u

static rows *data;
static kolm_error_t err;

/* Rows of fold 1 are held out. */
static void setup(void) {
    kit_buf text = {0};
    uint64_t state = 42;
    err = (kolm_error_t)KIT_ERROR_INIT;
    ck_assert_int_eq(rows_new(NULL, 3, &data, &err), KOLM_OK);
    for (uint32_t i = 0; i < TRAIN + TEST; i++) {
        kit_buf_clear(&text);
        uint32_t label = made_row(&text, &state, LABELS, 5);
        ck_assert_int_eq(rows_add(data, kit_buf_text(&text), text.length, label, i >= TRAIN, &err), KOLM_OK);
    }
    ck_assert_int_eq(rows_finish(data, 1u << 18, LABELS, NULL, &err), KOLM_OK);
    kit_buf_free(&text);
}

static void teardown(void) {
    rows_free(data);
}

static uint32_t right_of_ours(solve_kind kind, float cost, unsigned families) {
    uint32_t width = kind == SOLVE_L1 ? 4 : 16, right = 0;
    columns turned = {0};
    solve_task task = {.rows = data,
                       .kind = kind,
                       .families = families,
                       .cost = cost,
                       .held_fold = 1,
                       .seed = 1,
                       .labels = LABELS,
                       .width = width,
                       .columns = &turned};
    if (kind == SOLVE_L1) ck_assert_int_eq(columns_make(data, families, &turned, &err), KOLM_OK);
    uint32_t strips = (LABELS + width - 1) / width;
    float *weights[3] = {NULL}, sums[16] __attribute__((aligned(64)));
    for (uint32_t s = 0; s < strips; s++) {
        task.first_label = s * width;
        weights[s] = aligned_alloc(64, (solve_size(&task) * sizeof(float) + 63) & ~(size_t)63);
        ck_assert_int_eq(solve(&task, weights[s], NULL, &err), KOLM_OK);
    }
    uint32_t lines = (uint32_t)(solve_size(&task) / width) - 1;
    rows_reader reader;
    ck_assert_int_eq(rows_reader_open(data, families, &reader, &err), KOLM_OK);
    for (uint32_t b = 0; b < rows_blocks(data); b++) {
        ck_assert_int_eq(rows_reader_load(&reader, b, &err), KOLM_OK);
        for (uint32_t i = 0; i < reader.count; i++) {
            rows_reader_read(&reader, i);
            if (reader.view.fold != 1) continue;
            float score[48];
            uint32_t best = 0;
            for (uint32_t s = 0; s < strips; s++) {
                solve_score(weights[s], width, lines, &reader.view, sums);
                memcpy(score + s * width, sums, width * sizeof(float));
            }
            for (uint32_t m = 1; m < LABELS; m++)
                if (score[m] > score[best]) best = m;
            right += best == reader.view.label;
        }
    }
    rows_reader_close(&reader);
    for (uint32_t s = 0; s < strips; s++)
        free(weights[s]);
    columns_free(&turned);
    return right;
}

/* Converts one row to liblinear's format: indices from 1, the bias last. */
static struct feature_node *nodes_of(const row_view *view, int bias) {
    struct feature_node *nodes = malloc((view->length + 2) * sizeof *nodes);
    ck_assert_ptr_nonnull(nodes);
    for (uint32_t k = 0; k < view->length; k++)
        nodes[k] = (struct feature_node){(int)view->index[k] + 1, (double)view->value[k]};
    nodes[view->length] = (struct feature_node){bias, 1.0};
    nodes[view->length + 1] = (struct feature_node){-1, 0.0};
    return nodes;
}

static void quiet(const char *text) {
    (void)text;
}

static uint32_t right_of_liblinear(int solver, double cost, unsigned families) {
    const features *f = rows_features(data);
    int bias = (int)(families & 2u ? features_all(f) : f->count[0]) + 1, n = 0, tests = 0;
    static struct feature_node *x[TRAIN + TEST], *t[TRAIN + TEST];
    static double y[TRAIN + TEST], z[TRAIN + TEST];
    rows_reader reader;
    ck_assert_int_eq(rows_reader_open(data, families, &reader, &err), KOLM_OK);
    for (uint32_t b = 0; b < rows_blocks(data); b++) {
        ck_assert_int_eq(rows_reader_load(&reader, b, &err), KOLM_OK);
        for (uint32_t i = 0; i < reader.count; i++) {
            rows_reader_read(&reader, i);
            if (reader.view.fold == 1) {
                z[tests] = reader.view.label;
                t[tests++] = nodes_of(&reader.view, bias);
            } else {
                y[n] = reader.view.label;
                x[n++] = nodes_of(&reader.view, bias);
            }
        }
    }
    rows_reader_close(&reader);
    struct problem problem = {.l = n, .n = bias, .y = y, .x = x, .bias = 1.0};
    struct parameter parameter = {.solver_type = solver, .eps = solver == L1R_LR ? 0.01 : 0.1, .C = cost};
    set_print_string_function(quiet);
    struct model *model = train(&problem, &parameter);
    uint32_t right = 0;
    for (int i = 0; i < tests; i++)
        right += predict(model, t[i]) == z[i];
    free_and_destroy_model(&model);
    for (int i = 0; i < n; i++)
        free(x[i]);
    for (int i = 0; i < tests; i++)
        free(t[i]);
    return right;
}

static void assert_close(solve_kind kind, int solver, float cost, unsigned families) {
    uint32_t ours = right_of_ours(kind, cost, families), theirs = right_of_liblinear(solver, (double)cost, families);
    ck_assert_msg(ours + TEST * 3 / 1000 >= theirs, "ours %.2f%%, liblinear %.2f%%", 100.0 * ours / TEST,
                  100.0 * theirs / TEST);
    ck_assert_uint_gt(theirs, TEST / 2);
}

START_TEST(one_against_the_rest) {
    assert_close(SOLVE_SVM, L2R_L2LOSS_SVC_DUAL, _i == 0 ? 1.0f : 0.25f, 3);
    assert_close(SOLVE_SVM, L2R_L2LOSS_SVC_DUAL, 1.0f, 1);
}
END_TEST

START_TEST(all_labels_at_once) {
    assert_close(SOLVE_JOINT, MCSVM_CS, _i == 0 ? 0.5f : 0.25f, 3);
}
END_TEST

START_TEST(l1_logistic) {
    assert_close(SOLVE_L1, L1R_LR, _i == 0 ? 4.0f : 1.0f, 1);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("oracle");
    TCase *oracle = tcase_create("oracle");
    const int costs = test_slowed() ? 1 : 2;
    tcase_set_timeout(oracle, 600);
    tcase_add_checked_fixture(oracle, setup, teardown);
    tcase_add_loop_test(oracle, one_against_the_rest, 0, costs);
    tcase_add_loop_test(oracle, all_labels_at_once, 0, costs);
    tcase_add_loop_test(oracle, l1_logistic, 0, costs);
    suite_add_tcase(suite, oracle);
    return run_suite(suite);
}
