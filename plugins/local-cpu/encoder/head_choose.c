/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses lambda and cost of the head by cross-validation, and determines the usual similarity to training rows. */
#include "encoder/head.h"
#include "numeric.h"
#include "rule.h"

#include <stdlib.h>
#include <string.h>

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED,
                    "close other programs, raise the memory limit, or use fewer threads",
                    "out of memory while choosing the head");
}

/* ---- The rule */

static int64_t rounded_micro(double x) {
    x *= MODEL_MICRO;
    return (int64_t)(x < 0.0 ? x - 0.5 : x + 0.5);
}

static double merit_of(const uint8_t *right, const float *weight, uint32_t count) {
    double sum = 0.0;
    for (uint32_t i = 0; i < count; i++)
        if (right[i]) sum += (double)weight[i];
    return sum;
}

static bool simpler(const head_candidate *a, const head_candidate *b) {
    return a->lambda != b->lambda ? a->lambda < b->lambda : a->cost < b->cost;
}

uint32_t head_rule(const uint8_t *right, const float *weight, uint32_t count, head_candidate *candidates,
                   uint32_t of_them) {
    uint32_t best = 0, chosen;
    double most = -1.0;
    for (uint32_t c = 0; c < of_them; c++) {
        const uint8_t *own = right + (size_t)c * count;
        const double merit = merit_of(own, weight, count);
        candidates[c].merit = (uint64_t)rounded_micro(merit);
        candidates[c].correct = 0;
        for (uint32_t i = 0; i < count; i++)
            candidates[c].correct += own[i] != 0;
        if (merit > most || (merit == most && simpler(&candidates[c], &candidates[best]))) {
            best = c;
            most = merit;
        }
    }
    chosen = best;
    for (uint32_t c = 0; c < of_them && count > 0; c++) {
        double behind, error;
        rule_compare(right + (size_t)c * count, right + (size_t)best * count, weight, count, &behind, &error);
        candidates[c].behind_micro = rounded_micro(behind);
        candidates[c].error_micro = rounded_micro(error);
        if (behind <= error && simpler(&candidates[c], &candidates[chosen])) chosen = c;
    }
    return chosen;
}

/* ---- Out-of-fold scores */

typedef struct cv {
    const head_choose_job *job;
    head_choice *out;
    float *scores;              /* [costs][rows][stride]: log-probabilities of held-out rows */
    float *weights[HEAD_COSTS]; /* sums over the folds */
    float *fit;
    uint8_t *right; /* [candidates][scored] */
    float *weight;  /* of each scored row */
} cv;

static const float *scores_of(const cv *c, uint32_t cost, uint32_t row) {
    return c->scores + ((size_t)cost * c->job->rows->rows + row) * c->job->stride;
}

/* The fit of a cost starts from that of the previous cost, which has the same rows. A fold starts from 0, because the
 * fits of other folds have seen the rows that are now held out. */
static kit_status run_fold(cv *c, uint32_t fold, kolm_error_t *err) {
    const head_rows *r = c->job->rows;
    const size_t size = head_size(r);
    memset(c->fit, 0, size * sizeof *c->fit);
    for (uint32_t k = 0; k < c->job->costs; k++) {
        head_report report;
        KIT_TRY(head_fit(r, fold, c->job->cost[k], c->fit, &report, err));
        c->out->rounds += report.rounds;
        c->out->passes += report.passes;
        KIT_TRY(head_score(r, fold, c->fit, HEAD_LOG, c->scores + (size_t)k * r->rows * c->job->stride, c->job->stride,
                           err));
        for (size_t i = 0; i < size; i++)
            c->weights[k][i] += c->fit[i];
    }
    return KOLM_OK;
}

/* Selects the rows to score: those of held-out folds whose label is also in another fold. */
static kit_status choose_rows(cv *c, kolm_error_t *err) {
    const head_rows *r = c->job->rows;
    uint32_t *of_label = calloc((size_t)r->labels * (c->job->folds + 1), sizeof *of_label); /* the last: all folds */
    c->out->row = malloc(((size_t)r->rows + 1) * sizeof *c->out->row);
    c->out->truth = malloc(((size_t)r->rows + 1) * sizeof *c->out->truth);
    if (of_label == NULL || c->out->row == NULL || c->out->truth == NULL) {
        free(of_label);
        return out_of_memory(err);
    }
    for (uint32_t i = 0; i < r->rows; i++) {
        of_label[(size_t)r->label[i] * (c->job->folds + 1) + r->fold[i]]++;
        of_label[(size_t)r->label[i] * (c->job->folds + 1) + c->job->folds]++;
    }
    for (uint32_t i = 0; i < r->rows; i++) {
        const uint32_t *line = of_label + (size_t)r->label[i] * (c->job->folds + 1);
        if (r->fold[i] >= c->job->scored || line[r->fold[i]] == line[c->job->folds]) continue;
        c->out->row[c->out->scored] = i;
        c->out->truth[c->out->scored++] = r->label[i];
    }
    free(of_label);
    return KOLM_OK;
}

/* Without label weights all rows have equal weight; with them, all labels that occur. */
static kit_status weigh_rows(cv *c, kolm_error_t *err) {
    const uint32_t scored = c->out->scored;
    uint32_t *of_label = calloc(c->job->rows->labels, sizeof *of_label), present = 0;
    c->weight = malloc((scored + 1) * sizeof *c->weight);
    if (of_label == NULL || c->weight == NULL) {
        free(of_label);
        return out_of_memory(err);
    }
    for (uint32_t i = 0; i < scored; i++)
        present += of_label[c->out->truth[i]]++ == 0;
    for (uint32_t i = 0; i < scored; i++)
        c->weight[i] = c->job->rows->label_weight == NULL ? 1.0f / (float)scored
                                                          : 1.0f / ((float)present * (float)of_label[c->out->truth[i]]);
    free(of_label);
    return KOLM_OK;
}

static uint32_t best_of(const float *p, const float *margin, float lambda, uint32_t labels) {
    uint32_t best = 0;
    float most = p[0] + lambda * margin[0];
    for (uint32_t m = 1; m < labels; m++) {
        const float score = p[m] + lambda * margin[m];
        if (score > most) {
            most = score;
            best = m;
        }
    }
    return best;
}

static kit_status compare_all(cv *c, kolm_error_t *err) {
    const head_choose_job *job = c->job;
    head_choice *out = c->out;
    out->candidates = job->lambdas * job->costs;
    c->right = malloc((size_t)out->candidates * out->scored + 1);
    if (c->right == NULL) return out_of_memory(err);
    for (uint32_t n = 0; n < out->candidates; n++) {
        const uint32_t cost = n % job->costs;
        out->candidate[n] = (head_candidate){.lambda = job->lambda[n / job->costs], .cost = job->cost[cost]};
        for (uint32_t i = 0; i < out->scored; i++)
            c->right[(size_t)n * out->scored + i] =
                best_of(scores_of(c, cost, out->row[i]), job->margins + (size_t)out->row[i] * job->stride,
                        out->candidate[n].lambda, job->rows->labels) == out->truth[i];
    }
    out->chosen = head_rule(c->right, c->weight, out->scored, out->candidate, out->candidates);
    return KOLM_OK;
}

static kit_status keep_chosen(cv *c, kolm_error_t *err) {
    const head_choose_job *job = c->job;
    head_choice *out = c->out;
    const uint32_t cost = out->chosen % job->costs, labels = job->rows->labels;
    const float lambda = out->candidate[out->chosen].lambda;
    out->stride = job->stride;
    out->scores = calloc((size_t)out->scored * out->stride + 1, sizeof *out->scores);
    if (out->scores == NULL) return out_of_memory(err);
    for (uint32_t i = 0; i < out->scored; i++) {
        const float *p = scores_of(c, cost, out->row[i]), *margin = job->margins + (size_t)out->row[i] * job->stride;
        for (uint32_t m = 0; m < labels; m++)
            out->scores[(size_t)i * out->stride + m] = p[m] + lambda * margin[m];
    }
    out->weights = c->weights[cost];
    c->weights[cost] = NULL;
    for (size_t i = 0; i < head_size(job->rows); i++)
        out->weights[i] /= (float)job->scored;
    const calibration_rows rows_ = {out->scores, out->truth, out->scored, labels, out->stride};
    out->calibration = calibrate(&rows_);
    return calibrate_ece(&rows_, out->calibration, &out->ece_micro, err);
}

static kit_status run(cv *c, kolm_error_t *err) {
    const head_choose_job *job = c->job;
    const size_t size = head_size(job->rows);
    c->fit = malloc(size * sizeof *c->fit);
    c->scores = malloc(((size_t)job->costs * job->rows->rows * job->stride + 1) * sizeof *c->scores);
    if (c->fit == NULL || c->scores == NULL) return out_of_memory(err);
    for (uint32_t k = 0; k < job->costs; k++)
        if ((c->weights[k] = calloc(size, sizeof(float))) == NULL) return out_of_memory(err);
    KIT_TRY(choose_rows(c, err));
    KIT_TRY(weigh_rows(c, err));
    for (uint32_t f = 0; f < job->scored; f++)
        KIT_TRY(run_fold(c, f, err));
    KIT_TRY(compare_all(c, err));
    return keep_chosen(c, err);
}

static bool sound(const head_choose_job *job) {
    return job->rows->fold != NULL && job->folds >= 2 && job->scored >= 1 && job->scored <= job->folds &&
           job->lambdas >= 1 && job->lambdas <= HEAD_LAMBDAS && job->costs >= 1 && job->costs <= HEAD_COSTS &&
           job->stride >= job->rows->labels;
}

kit_status head_choose(const head_choose_job *job, head_choice *out, kolm_error_t *err) {
    cv c = {.job = job, .out = out};
    memset(out, 0, sizeof *out);
    if (!sound(job))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "the head cannot be chosen with these folds and candidates");
    kit_status status = run(&c, err);
    for (uint32_t k = 0; k < HEAD_COSTS; k++)
        free(c.weights[k]);
    free(c.fit);
    free(c.scores);
    free(c.right);
    free(c.weight);
    if (status != KOLM_OK) head_choice_free(out);
    return status;
}

void head_choice_free(head_choice *choice) {
    free(choice->scores);
    free(choice->truth);
    free(choice->row);
    free(choice->weights);
    choice->scores = choice->weights = NULL;
    choice->truth = choice->row = NULL;
}

/* ---- Distance */

kit_status head_means(const head_rows *on, uint32_t held, float *means, kolm_error_t *err) {
    const uint32_t dimensions = on->dimensions;
    const size_t all = (size_t)on->labels * dimensions;
    double *sum = calloc(all, sizeof *sum);
    if (sum == NULL) return out_of_memory(err);
    for (uint32_t i = 0; i < on->rows; i++) {
        if (held != HEAD_NO_FOLD && on->fold[i] == held) continue;
        double *to = sum + (size_t)on->label[i] * dimensions;
        for (uint32_t d = 0; d < dimensions; d++)
            to[d] += (double)on->embeddings[(size_t)i * dimensions + d];
    }
    for (size_t i = 0; i < all; i++)
        means[i] = (float)sum[i];
    for (uint32_t m = 0; m < on->labels; m++)
        means[all + m] = 0.0f;
    free(sum);
    head_normalise(means, on->labels, dimensions);
    return KOLM_OK;
}

static int ascending(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y ? 1 : 0;
}

/* scores: room for rows times labels. */
static kit_status find_similarities(const head_rows *on, uint32_t scored, float *means, float *scores, float *out,
                                    kolm_error_t *err) {
    for (uint32_t f = 0; f < scored; f++) {
        KIT_TRY(head_means(on, f, means, err));
        KIT_TRY(head_score(on, f, means, HEAD_PLAIN, scores, on->labels, err));
    }
    for (uint32_t i = 0; i < on->rows; i++) {
        const float *line = scores + (size_t)i * on->labels;
        if (on->fold[i] >= scored) continue;
        out[i] = line[0];
        for (uint32_t m = 1; m < on->labels; m++)
            if (line[m] > out[i]) out[i] = line[m];
    }
    return KOLM_OK;
}

kit_status head_similarities(const head_rows *on, uint32_t scored, float *out, kolm_error_t *err) {
    float *means = malloc(head_size(on) * sizeof *means);
    float *scores = malloc(((size_t)on->rows * on->labels + 1) * sizeof *scores);
    kit_status status =
        means != NULL && scores != NULL ? find_similarities(on, scored, means, scores, out, err) : out_of_memory(err);
    free(means);
    free(scores);
    return status;
}

kit_status head_distance_fit(const head_rows *on, uint32_t scored, const float *similarity, head_distance *out,
                             kolm_error_t *err) {
    float *sorted = malloc(((size_t)on->rows + 1) * sizeof *sorted);
    uint32_t count = 0;
    if (sorted == NULL) return out_of_memory(err);
    for (uint32_t i = 0; i < on->rows; i++)
        if (on->fold[i] < scored) sorted[count++] = similarity[i];
    kit_status status = count > 0 ? KOLM_OK
                                  : kit_fail(err, KOLM_E_INVALID_ARGUMENT, "provide more rows",
                                             "no row is held out, so the usual similarity is unknown");
    if (status == KOLM_OK) {
        qsort(sorted, count, sizeof *sorted, ascending);
        out->knee = sorted[(uint64_t)(count - 1) * (MODEL_MICRO - HEAD_USUAL_MICRO) / MODEL_MICRO];
        out->width = sorted[(count - 1) / 2] - out->knee;
        if (!(out->width >= 0.01f)) out->width = 0.01f;
    }
    free(sorted);
    return status;
}

uint32_t head_distance_factor(head_distance distance, float similarity) {
    if (similarity >= distance.knee) return MODEL_MICRO;
    const double factor = 1.0 - ((double)distance.knee - (double)similarity) / (double)distance.width;
    return factor > 0.0 ? (uint32_t)(factor * MODEL_MICRO + 0.5) : 0;
}
