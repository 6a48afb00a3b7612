/* SPDX-License-Identifier: Apache-2.0 */
/* The head of the encoder: its fit compared with one in doubles, the same bytes from any width and number of
 * threads, the selection rule, and head.bin. */
#include "../suite.h"
#include "encoder/head.h"
#include "numeric.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;

/* Uniform in -1 .. 1. */
static float number(void) {
    return (float)(int32_t)(num_random(&state) >> 40) / 8388608.0f - 1.0f;
}

typedef struct data {
    float *x;
    uint32_t *label, *fold;
    head_rows rows;
} data;

/* Labels are directions with rows around them; `noise` is the spread. */
static data make(uint32_t count, uint32_t dimensions, uint32_t labels, float noise, uint32_t folds) {
    data d = {malloc((size_t)count * dimensions * sizeof(float)),
              malloc(count * sizeof(uint32_t)),
              malloc(count * sizeof(uint32_t)),
              {0}};
    float *center = malloc((size_t)labels * dimensions * sizeof *center);
    ck_assert(d.x != NULL && d.label != NULL && d.fold != NULL && center != NULL);
    state = 7;
    for (size_t i = 0; i < (size_t)labels * dimensions; i++)
        center[i] = number();
    for (uint32_t i = 0; i < count; i++) {
        d.label[i] = i < labels ? i : num_below(&state, labels);
        d.fold[i] = i / labels % folds;
        for (uint32_t k = 0; k < dimensions; k++)
            d.x[(size_t)i * dimensions + k] = center[(size_t)d.label[i] * dimensions + k] + noise * number();
    }
    free(center);
    head_normalise(d.x, count, dimensions);
    d.rows = (head_rows){.embeddings = d.x,
                         .label = d.label,
                         .fold = d.fold,
                         .rows = count,
                         .dimensions = dimensions,
                         .labels = labels,
                         .threads = 1};
    return d;
}

static void drop(data *d) {
    free(d->x);
    free(d->label);
    free(d->fold);
}

static float *zeros(size_t count) {
    float *p = calloc(count, sizeof *p);
    ck_assert_ptr_nonnull(p);
    return p;
}

/* ---- The same objective in doubles, computed directly */

static double reference(const head_rows *r, uint32_t held, double cost, const double *w, double *gradient) {
    const size_t all = (size_t)r->labels * r->dimensions;
    double value = 0.0, *p = malloc(r->labels * sizeof *p);
    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < all + r->labels; i++) {
        gradient[i] = i < all ? w[i] : 0.0;
        if (i < all) value += w[i] * w[i] / 2;
    }
    for (uint32_t i = 0; i < r->rows; i++) {
        if (held != HEAD_NO_FOLD && r->fold[i] == held) continue;
        const double c = cost * (r->label_weight != NULL ? (double)r->label_weight[r->label[i]] : 1.0);
        double sum = 0.0;
        for (uint32_t m = 0; m < r->labels; m++) {
            double z = w[all + m];
            for (uint32_t k = 0; k < r->dimensions; k++)
                z += w[(size_t)m * r->dimensions + k] * (double)r->embeddings[(size_t)i * r->dimensions + k];
            p[m] = exp(z);
            sum += p[m];
        }
        value -= c * log(p[r->label[i]] / sum);
        for (uint32_t m = 0; m < r->labels; m++) {
            const double error = c * (p[m] / sum - (m == r->label[i]));
            for (uint32_t k = 0; k < r->dimensions; k++)
                gradient[(size_t)m * r->dimensions + k] += error * (double)r->embeddings[(size_t)i * r->dimensions + k];
            gradient[all + m] += error;
        }
    }
    free(p);
    return value;
}

/* Gradient descent with a safe step size and Nesterov's momentum (Lectures on Convex Optimization, 2.2.1). */
static double reference_least(const head_rows *r, double cost, double *w) {
    const size_t size = head_size(r);
    double *gradient = malloc(size * sizeof *gradient), *ahead = malloc(size * sizeof *ahead), weight = 0.0;
    ck_assert(gradient != NULL && ahead != NULL);
    memcpy(ahead, w, size * sizeof *ahead);
    for (uint32_t i = 0; i < r->rows; i++)
        weight += r->label_weight != NULL ? (double)r->label_weight[r->label[i]] : 1.0;
    const double step = 1.0 / (1.0 + cost * weight); /* |x|^2 + 1 is 2, and the curvature of a softmax is at most 1/2 */
    const double momentum = (1.0 - sqrt(step)) / (1.0 + sqrt(step));
    for (int round = 0; round < 800; round++) {
        (void)reference(r, HEAD_NO_FOLD, cost, ahead, gradient);
        for (size_t i = 0; i < size; i++) {
            const double next = ahead[i] - step * gradient[i];
            ahead[i] = next + momentum * (next - w[i]);
            w[i] = next;
        }
    }
    const double value = reference(r, HEAD_NO_FOLD, cost, w, gradient);
    free(gradient);
    free(ahead);
    return value;
}

START_TEST(objective_is_the_reference) {
    static const float weight[] = {0.5f, 2.0f, 1.0f, 1.5f, 0.25f};
    data d = make(230, 21, 5, 1.0f, 3);
    const size_t size = head_size(&d.rows);
    float *w = zeros(size), *gradient = zeros(size);
    double *exact = malloc(2 * size * sizeof *exact), value = 0.0;
    ck_assert_ptr_nonnull(exact);
    if (_i % 2 == 1) d.rows.label_weight = weight;
    for (size_t i = 0; i < size; i++)
        exact[size + i] = (double)(w[i] = 2.0f * number());
    const uint32_t held = _i / 2 == 0 ? HEAD_NO_FOLD : 1;
    ck_assert_int_eq(head_objective(&d.rows, held, 3.0f, w, &value, gradient, NULL), KOLM_OK);
    const double expected = reference(&d.rows, held, 3.0, exact + size, exact);
    ck_assert_double_le(fabs(value - expected), 1e-6 * expected);
    for (size_t i = 0; i < size; i++)
        ck_assert_double_le(fabs((double)gradient[i] - exact[i]), 1e-4 + 1e-5 * fabs(exact[i]));
    /* The gradient matches the value. */
    for (size_t i = 0; i < size; i += 7) {
        double more = 0.0, less = 0.0;
        float *other = zeros(size);
        const float was = w[i];
        w[i] = was + 0.01f;
        ck_assert_int_eq(head_objective(&d.rows, held, 3.0f, w, &more, other, NULL), KOLM_OK);
        w[i] = was - 0.01f;
        ck_assert_int_eq(head_objective(&d.rows, held, 3.0f, w, &less, other, NULL), KOLM_OK);
        w[i] = was;
        ck_assert_double_le(fabs((more - less) / 0.02 - (double)gradient[i]), 0.02 + 1e-3 * fabs((double)gradient[i]));
        free(other);
    }
    free(w);
    free(gradient);
    free(exact);
    drop(&d);
}
END_TEST

START_TEST(fit_is_the_least) {
    static const float weight[] = {0.5f, 3.0f, 1.0f};
    data d = make(60, 6, 3, 1.5f, 2);
    if (_i == 1) d.rows.label_weight = weight;
    const size_t size = head_size(&d.rows);
    float *w = zeros(size);
    double *exact = calloc(size, sizeof *exact);
    head_report report;
    ck_assert_ptr_nonnull(exact);
    ck_assert_int_eq(head_fit(&d.rows, HEAD_NO_FOLD, 5.0f, w, &report, NULL), KOLM_OK);
    const double least = reference_least(&d.rows, 5.0, exact);
    ck_assert(report.converged && report.passes >= report.rounds);
    ck_assert_double_le(fabs(report.objective - least), 1e-5 * least);
    double bias = 0.0, other = 0.0; /* only differences of biases matter */
    for (uint32_t m = 0; m < 3; m++) {
        bias += (double)w[18 + m] / 3;
        other += exact[18 + m] / 3;
    }
    for (size_t i = 0; i < size; i++)
        ck_assert_double_le(fabs((double)w[i] - (i < 18 ? 0.0 : bias) - (exact[i] - (i < 18 ? 0.0 : other))), 0.01);
    free(w);
    free(exact);
    drop(&d);
}
END_TEST

START_TEST(bytes_are_the_same_everywhere) {
    static const uint32_t lanes[] = {0, 16, 8, 4}, threads[] = {1, 2, 3, 8};
    data d = make((uint32_t)test_draws(700, 250), 37, 13, 1.2f, 3);
    const size_t size = head_size(&d.rows), scores = (size_t)d.rows.rows * 16;
    float *first = zeros(size), *again = zeros(size), *score = zeros(scores), *other = zeros(scores);
    ck_assert_int_eq(head_fit(&d.rows, 1, 10.0f, first, NULL, NULL), KOLM_OK);
    ck_assert_int_eq(head_score(&d.rows, HEAD_NO_FOLD, first, HEAD_LOG, score, 16, NULL), KOLM_OK);
    for (int k = 0; k < 5; k++)
        for (int t = 0; t < 4; t++) {
            d.rows.kernels = k == 4 ? enc_kernels_plain() : enc_kernels_find(lanes[k]);
            d.rows.threads = threads[t];
            if (d.rows.kernels == NULL) continue;
            if (test_slowed() && t != k % 4) continue; /* covers each kernel and each number of threads */
            memset(again, 0, size * sizeof *again);
            memset(other, 0, scores * sizeof *other);
            ck_assert_int_eq(head_fit(&d.rows, 1, 10.0f, again, NULL, NULL), KOLM_OK);
            ck_assert_int_eq(memcmp(first, again, size * sizeof *again), 0);
            ck_assert_int_eq(head_score(&d.rows, HEAD_NO_FOLD, again, HEAD_LOG, other, 16, NULL), KOLM_OK);
            ck_assert_int_eq(memcmp(score, other, scores * sizeof *other), 0);
        }
    free(first);
    free(again);
    free(score);
    free(other);
    drop(&d);
}
END_TEST

START_TEST(held_rows_teach_nothing) {
    data d = make(300, 12, 4, 1.0f, 3), e = make(300, 12, 4, 1.0f, 3);
    const size_t size = head_size(&d.rows);
    float *with = zeros(size), *without = zeros(size);
    uint32_t n = 0;
    for (uint32_t i = 0; i < 300; i++) {
        if (d.fold[i] == 2) {
            d.label[i] = 0;
            d.x[(size_t)i * 12] = NAN;
            continue;
        }
        memmove(e.x + (size_t)n * 12, e.x + (size_t)i * 12, 12 * sizeof(float));
        e.label[n++] = e.label[i];
    }
    e.rows.rows = n;
    ck_assert_int_eq(head_fit(&d.rows, 2, 10.0f, with, NULL, NULL), KOLM_OK);
    ck_assert_int_eq(head_fit(&e.rows, HEAD_NO_FOLD, 10.0f, without, NULL, NULL), KOLM_OK);
    ck_assert_int_eq(memcmp(with, without, size * sizeof *with), 0);
    free(with);
    free(without);
    drop(&d);
    drop(&e);
}
END_TEST

START_TEST(a_start_that_is_near_saves_passes) {
    data d = make(900, 30, 9, 1.2f, 3);
    const size_t size = head_size(&d.rows);
    float *cold = zeros(size), *warm = zeros(size);
    head_report one, two;
    ck_assert_int_eq(head_fit(&d.rows, 0, 10.0f, warm, NULL, NULL), KOLM_OK);
    ck_assert_int_eq(head_fit(&d.rows, HEAD_NO_FOLD, 10.0f, warm, &two, NULL), KOLM_OK);
    ck_assert_int_eq(head_fit(&d.rows, HEAD_NO_FOLD, 10.0f, cold, &one, NULL), KOLM_OK);
    ck_assert_uint_lt(two.passes, one.passes);
    ck_assert_double_le(fabs(one.objective - two.objective), 5e-5 * one.objective);
    free(cold);
    free(warm);
    drop(&d);
}
END_TEST

static atomic_uint asked;
static bool stop_at_forty(void *user) {
    (void)user;
    return atomic_fetch_add(&asked, 1) >= 40;
}

START_TEST(what_cannot_be_fitted_is_reported) {
    data d = make(400, 10, 4, 1.0f, 2);
    float *w = zeros(head_size(&d.rows));
    kolm_error_t err = KIT_ERROR_INIT;
    d.rows.stop = stop_at_forty;
    d.rows.threads = 2;
    ck_assert_int_eq(head_fit(&d.rows, HEAD_NO_FOLD, 10.0f, w, NULL, &err), KOLM_E_CANCELLED);
    ck_assert_uint_le(atomic_load(&asked), 60);
    d.rows.stop = NULL;
    d.x[77] = INFINITY;
    memset(w, 0, head_size(&d.rows) * sizeof *w);
    ck_assert_int_eq(head_fit(&d.rows, HEAD_NO_FOLD, 10.0f, w, NULL, &err), KOLM_E_FAILED_PRECONDITION);
    d.rows.rows = 0;
    ck_assert_int_eq(head_fit(&d.rows, HEAD_NO_FOLD, 10.0f, w, NULL, &err), KOLM_E_INVALID_ARGUMENT);
    free(w);
    drop(&d);
}
END_TEST

START_TEST(one_label_and_labels_without_rows) {
    data d = make(50, 8, 5, 1.0f, 2);
    for (uint32_t i = 0; i < 50; i++)
        d.label[i] = _i == 0 ? 0 : d.label[i] % 2; /* three labels have no row */
    if (_i == 0) d.rows.labels = 1;
    float *w = zeros(head_size(&d.rows)), *score = zeros(50 * 8);
    head_report report;
    ck_assert_int_eq(head_fit(&d.rows, HEAD_NO_FOLD, 10.0f, w, &report, NULL), KOLM_OK);
    ck_assert_int_eq(head_score(&d.rows, HEAD_NO_FOLD, w, HEAD_LOG, score, 8, NULL), KOLM_OK);
    for (uint32_t i = 0; i < 50; i++) {
        double sum = 0.0;
        for (uint32_t m = 0; m < d.rows.labels; m++)
            sum += exp((double)score[i * 8 + m]);
        ck_assert_double_le(fabs(sum - 1.0), 1e-5);
        if (_i == 1) ck_assert(score[i * 8 + 4] < -3.0f);
    }
    free(w);
    free(score);
    drop(&d);
}
END_TEST

/* ---- The rule */

/* Candidates of lambda 1, 2, 3 over 400 rows: in the first two the first `wrong` rows are wrong, in the third
 * `other` other rows. */
static uint32_t rule(const uint32_t wrong[2], uint32_t other, head_candidate *c) {
    static uint8_t right[3][400];
    static float weight[400];
    for (uint32_t i = 0; i < 400; i++) {
        right[0][i] = i >= wrong[0];
        right[1][i] = i >= wrong[1];
        right[2][i] = i < 200 || i >= 200 + other;
        weight[i] = 1.0f / 400;
    }
    for (uint32_t k = 0; k < 3; k++)
        c[k] = (head_candidate){.lambda = (float)(k + 1), .cost = 10.0f};
    return head_rule(right[0], weight, 400, c, 3);
}

START_TEST(least_lambda_within_one_error) {
    head_candidate c[3];
    /* 9 more errors in 9 rows that differ: the standard error is 3 rows. */
    ck_assert_uint_eq(rule((uint32_t[]){9, 9}, 0, c), 2);
    ck_assert_int_eq(c[0].behind_micro, 22500);
    ck_assert_int_ge(c[0].error_micro, 7300);
    ck_assert_int_le(c[0].error_micro, 7500);
    ck_assert_int_eq(c[2].behind_micro, 0);
    /* 1 more error in 41 rows that differ: noise. */
    ck_assert_uint_eq(rule((uint32_t[]){21, 21}, 20, c), 0);
    ck_assert_uint_eq(c[2].correct, 380);
    ck_assert_uint_eq(c[2].merit, 950000);
    /* Only the middle one is within one error. */
    ck_assert_uint_eq(rule((uint32_t[]){60, 21}, 20, c), 1);
    /* All equal: the simplest is chosen. */
    ck_assert_uint_eq(rule((uint32_t[]){0, 0}, 0, c), 0);
}
END_TEST

START_TEST(rows_weigh_what_their_labels_do) {
    /* The second is right in one row more of the heavy label, and wrong in three of the light one. */
    uint8_t right[2][40];
    float weight[40];
    memset(right, 1, sizeof right);
    for (uint32_t i = 0; i < 40; i++)
        weight[i] = i < 4 ? 0.5f / 4 : 0.5f / 36;
    right[0][0] = right[0][1] = right[0][2] = 0;
    right[1][10] = right[1][11] = right[1][12] = 0;
    head_candidate c[2] = {{.lambda = 0.5f, .cost = 10.0f}, {.lambda = 1.0f, .cost = 10.0f}};
    ck_assert_uint_eq(head_rule(right[0], weight, 40, c, 2), 1);
    ck_assert_uint_eq(c[0].correct, c[1].correct);
    ck_assert_uint_lt(c[0].merit, c[1].merit);
}
END_TEST

/* ---- Choosing on rows */

static const float lambdas[] = {0.5f, 1.0f, 2.0f}, costs[] = {1.0f, 10.0f};

static head_choose_job job_of(const data *d, const float *margins) {
    return (head_choose_job){.rows = &d->rows,
                             .folds = 3,
                             .scored = 3,
                             .margins = margins,
                             .stride = 8,
                             .lambda = lambdas,
                             .lambdas = 3,
                             .cost = costs,
                             .costs = 2};
}

START_TEST(lambda_follows_the_margins) {
    /* Embeddings with little information. Correct margins should get a large lambda, random margins a small one. */
    const uint32_t many = (uint32_t)test_draws(600, 250);
    data d = make(many, 10, 6, 9.0f, 3);
    float *margins = zeros((size_t)many * 8);
    for (uint32_t i = 0; i < many; i++)
        for (uint32_t m = 0; m < 6; m++)
            margins[i * 8 + m] = _i == 0 ? 2.0f * number() : (m == d.label[i] ? 0.6f : -0.6f) + 0.3f * number();
    const head_choose_job job = job_of(&d, margins);
    head_choice choice, again;
    ck_assert_int_eq(head_choose(&job, &choice, NULL), KOLM_OK);
    ck_assert_uint_eq(choice.candidates, 6);
    ck_assert_uint_eq(choice.scored, many);
    ck_assert_float_eq(choice.candidate[choice.chosen].lambda, _i == 0 ? 0.5f : 2.0f);
    for (uint32_t i = 0; i < choice.scored; i++)
        ck_assert_uint_eq(choice.truth[i], d.label[choice.row[i]]);
    if (_i == 1) ck_assert_uint_gt(choice.candidate[choice.chosen].merit, 800000);
    ck_assert_uint_le(choice.ece_micro, 100000);
    d.rows.threads = 3;
    d.rows.kernels = enc_kernels_plain();
    ck_assert_int_eq(head_choose(&job, &again, NULL), KOLM_OK);
    ck_assert_int_eq(memcmp(choice.candidate, again.candidate, sizeof choice.candidate), 0);
    ck_assert_int_eq(memcmp(choice.scores, again.scores, (size_t)many * 8 * sizeof(float)), 0);
    ck_assert_int_eq(memcmp(choice.weights, again.weights, head_size(&d.rows) * sizeof(float)), 0);
    ck_assert_uint_eq(choice.calibration.temperature_micro, again.calibration.temperature_micro);
    head_choice_free(&choice);
    head_choice_free(&again);
    free(margins);
    drop(&d);
}
END_TEST

START_TEST(rows_that_nothing_could_know_are_left_out) {
    data d = make(120, 10, 6, 1.0f, 3);
    float *margins = zeros(120 * 8);
    head_choose_job job = job_of(&d, margins);
    head_choice choice;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < 120; i++) {
        if (d.label[i] != 5) continue;
        d.fold[i] = 0; /* all rows of the label are in one fold */
        seen++;
    }
    ck_assert_int_eq(head_choose(&job, &choice, NULL), KOLM_OK);
    ck_assert_uint_eq(choice.scored, 120 - seen);
    head_choice_free(&choice);
    job.scored = 1;
    ck_assert_int_eq(head_choose(&job, &choice, NULL), KOLM_OK);
    for (uint32_t i = 0; i < choice.scored; i++)
        ck_assert_uint_eq(d.fold[choice.row[i]], 0);
    head_choice_free(&choice);
    job.scored = 4;
    ck_assert_int_eq(head_choose(&job, &choice, NULL), KOLM_E_INVALID_ARGUMENT);
    free(margins);
    drop(&d);
}
END_TEST

/* ---- Distance, and the file */

static const head_distance usual = {0.5f, 0.25f};

START_TEST(what_is_far_is_less_sure) {
    ck_assert_uint_eq(head_distance_factor(usual, 0.9f), MODEL_MICRO);
    ck_assert_uint_eq(head_distance_factor(usual, 0.5f), MODEL_MICRO);
    ck_assert_uint_eq(head_distance_factor(usual, 0.375f), MODEL_MICRO / 2);
    ck_assert_uint_eq(head_distance_factor(usual, 0.25f), 0);
    ck_assert_uint_eq(head_distance_factor(usual, -1.0f), 0);
    data d = make(500, 24, 4, 0.8f, 5);
    head_distance fitted;
    float *means = zeros(head_size(&d.rows)), *near = zeros(500 * 4);
    uint32_t below = 0;
    float *similarity = zeros(500);
    ck_assert_int_eq(head_similarities(&d.rows, 5, similarity, NULL), KOLM_OK);
    ck_assert_int_eq(head_distance_fit(&d.rows, 5, similarity, &fitted, NULL), KOLM_OK);
    free(similarity);
    ck_assert_int_eq(head_means(&d.rows, HEAD_NO_FOLD, means, NULL), KOLM_OK);
    ck_assert_int_eq(head_score(&d.rows, HEAD_NO_FOLD, means, HEAD_PLAIN, near, 4, NULL), KOLM_OK);
    for (uint32_t i = 0; i < 500; i++)
        below += near[i * 4 + d.label[i]] < fitted.knee;
    ck_assert_uint_ge(below, 10);
    ck_assert_uint_le(below, 40);
    ck_assert(fitted.width > 0.01f && fitted.knee > 0.3f);
    free(means);
    free(near);
    drop(&d);
}
END_TEST

/* Makes a head of 4 labels and 24 dimensions, and the rows that it was fitted to. */
static data head_of(head_model *m, float **out_weights) {
    data d = make(300, 24, 4, 1.0f, 3);
    float *w = zeros(head_size(&d.rows)), *means = zeros(head_size(&d.rows));
    ck_assert_int_eq(head_fit(&d.rows, HEAD_NO_FOLD, 10.0f, w, NULL, NULL), KOLM_OK);
    ck_assert_int_eq(head_means(&d.rows, HEAD_NO_FOLD, means, NULL), KOLM_OK);
    ck_assert_int_eq(head_reduce(4, 24, w, means, m, NULL), KOLM_OK);
    m->lambda = 0.5f;
    m->cost = 10.0f;
    m->distance = usual;
    m->calibration = (calibration){1200000, 10000};
    m->threshold_micro = 700000;
    free(means);
    *out_weights = w;
    return d;
}

START_TEST(eight_bits_answer_alike) {
    head_model m;
    float *w = NULL, score[4], margin[4] = {0.1f, -0.2f, 0.3f, 0.0f}, far[24] = {0};
    data d = head_of(&m, &w);
    float *exact = zeros(300 * 4);
    head_answer answer;
    ck_assert_int_eq(head_score(&d.rows, HEAD_NO_FOLD, w, HEAD_LOG, exact, 4, NULL), KOLM_OK);
    for (uint32_t i = 0; i < 300; i++) {
        head_answer_embedding(&m, d.x + (size_t)i * 24, margin, score, &answer);
        for (uint32_t k = 0; k < 4; k++)
            ck_assert_float_le(fabsf(score[k] - exact[i * 4 + k] - 0.5f * margin[k]), 0.06f);
        ck_assert(answer.similarity > 0.1f && answer.similarity < 1.01f);
        ck_assert(answer.abstains == (answer.confidence_micro < 700000));
    }
    /* A zero vector and a NaN: similar to nothing, and no answer. */
    head_answer_embedding(&m, far, margin, score, &answer);
    ck_assert(answer.confidence_micro == 0 && answer.abstains && answer.factor_micro == 0);
    far[3] = NAN;
    head_answer_embedding(&m, far, margin, score, &answer);
    ck_assert(answer.confidence_micro == 0 && answer.abstains);
    head_model_free(&m);
    free(w);
    free(exact);
    drop(&d);
}
END_TEST

/* The checksum that every machine writes for the same rows; determined once, on x86-64. */
#define KNOWN_SUM 7296398823662065517ull

START_TEST(file_keeps_everything) {
    head_model m, read;
    float *w = NULL;
    data d = head_of(&m, &w);
    kit_buf first = {0}, second = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    uint64_t sum;
    ck_assert_int_eq(head_write(&m, &first, &err), KOLM_OK);
    ck_assert_uint_eq(first.length, 96 + 3 * 16 + 2 * 96);
    ck_assert_int_eq(head_read(first.data, first.length, &read, &err), KOLM_OK);
    ck_assert_int_eq(head_write(&read, &second, &err), KOLM_OK);
    ck_assert(first.length == second.length && memcmp(first.data, second.data, first.length) == 0);
    memcpy(&sum, first.data + 88, 8);
    ck_assert_uint_eq(sum, KNOWN_SUM);
    head_model_free(&read);
    for (size_t n = 0; n < first.length; n++) {
        char *part = malloc(n + 1); /* allocated at exactly its size, so that a sanitizer detects a read beyond it */
        ck_assert_ptr_nonnull(part);
        memcpy(part, first.data, n);
        ck_assert_int_eq(head_read(part, n, &read, &err), KOLM_E_DATA_LOSS);
        free(part);
        first.data[n] ^= 4;
        const kit_status status = head_read(first.data, first.length, &read, &err);
        ck_assert(status == KOLM_E_DATA_LOSS || (status == KOLM_E_UNIMPLEMENTED && n >= 8 && n < 12));
        first.data[n] ^= 4;
    }
    m.scale[2] = NAN;
    ck_assert_int_eq(head_write(&m, &second, &err), KOLM_E_FAILED_PRECONDITION);
    head_model_free(&m);
    ck_assert_int_eq(head_reduce(70000, 24, w, w, &m, &err), KOLM_E_OUT_OF_RANGE);
    kit_buf_free(&first);
    kit_buf_free(&second);
    free(w);
    drop(&d);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("encoder head");
    TCase *tcase = tcase_create("head");
    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(tcase, objective_is_the_reference, 0, 4);
    tcase_add_loop_test(tcase, fit_is_the_least, 0, 2);
    tcase_add_test(tcase, bytes_are_the_same_everywhere);
    tcase_add_test(tcase, held_rows_teach_nothing);
    tcase_add_test(tcase, a_start_that_is_near_saves_passes);
    tcase_add_test(tcase, what_cannot_be_fitted_is_reported);
    tcase_add_loop_test(tcase, one_label_and_labels_without_rows, 0, 2);
    tcase_add_test(tcase, least_lambda_within_one_error);
    tcase_add_test(tcase, rows_weigh_what_their_labels_do);
    tcase_add_loop_test(tcase, lambda_follows_the_margins, 0, 2);
    tcase_add_test(tcase, rows_that_nothing_could_know_are_left_out);
    tcase_add_test(tcase, what_is_far_is_less_sure);
    tcase_add_test(tcase, eight_bits_answer_alike);
    tcase_add_test(tcase, file_keeps_everything);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
