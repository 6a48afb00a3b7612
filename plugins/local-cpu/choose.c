/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of the cross-validation and what follows from its out-of-fold scores. */
#include "kolm/kit/buf.h"
#include "numeric.h"
#include "trials.h"

#include <stdlib.h>
#include <string.h>

#define JOINT_WEIGHTS_MAX (10u << 20) /* floats: beyond 40 MiB the joint solver is not tried */
#define JOINT_DUALS_MAX (8u << 20)    /* floats */
#define CHARS_MATTER_MICRO 10000      /* when characters add more than this, texts are short and L1 is not tried */
#define CLEAR_LEAD_MICRO 1000         /* when L1 leads by more than this, the joint solver is not tried */
#define LONG_TEXT_WORDS 40            /* word features a row from which the quick plan takes L1 */

uint32_t choose_folds(uint64_t row_count, choose_effort effort) {
    if (effort == EFFORT_QUICK) return 5;
    return row_count < 2000 || effort == EFFORT_HIGH ? 5 : 3;
}

uint32_t choose_strip(uint32_t labels) {
    return labels <= 8 ? 4 : labels > MANY_LABELS ? 8 : 16;
}

uint32_t choose_features_max(uint32_t labels, uint64_t row_count) {
    uint64_t most = (16ull << 20) / labels;
    if (row_count / labels < ROWS_FEW) return 1u << 19;
    return most > 1u << 18 ? 1u << 18 : most < 1u << 14 ? 1u << 14 : (uint32_t)most;
}

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED,
                    "close other programs, raise the memory limit, or use fewer threads",
                    "out of memory while choosing the model");
}
/* ---- The plan */

static bool joint_fits(const cv *c, unsigned families) {
    const choose_part part = {SOLVE_JOINT, families, 1.0f, 1.0f};
    solve_task task = cv_task_of(c->job, c->job->rows, &part, SOLVE_NO_FOLD, 0);
    return c->job->labels > 2 && solve_size(&task) <= JOINT_WEIGHTS_MAX &&
           (uint64_t)rows_count(c->job->rows) * task.width <= JOINT_DUALS_MAX;
}

static uint32_t best_of(const cv *c, uint32_t first, uint32_t end) {
    uint32_t best = first;
    for (uint32_t i = first; i < end; i++)
        if (c->result->candidate[i].merit > c->result->candidate[best].merit) best = i;
    return best;
}

static double spread(const cv *c, const float *scores) {
    double sum = 0.0, squares = 0.0, n = (double)c->slots * c->job->labels;
    for (uint32_t s = 0; s < c->slots; s++)
        for (uint32_t m = 0; m < c->job->labels; m++) {
            double x = scores[(size_t)s * c->stride + m];
            sum += x;
            squares += x * x;
        }
    double variance = squares / n - sum / n * (sum / n);
    return variance > 1e-12 ? num_sqrt(variance) : 1.0;
}

/* The sum of two measured candidates, each divided by the spread of its scores. Costs no fit. */
static kit_status add_blend(cv *c, uint32_t a, uint32_t b, float share, kolm_error_t *err) {
    trial *t = &c->trial[c->result->candidates];
    choose_candidate *made = &c->result->candidate[c->result->candidates++];
    const choose_candidate *pair[2] = {&c->result->candidate[a], &c->result->candidate[b]};
    t->candidate = made;
    made->parts = 2;
    made->part[0] = pair[0]->part[0];
    made->part[1] = pair[1]->part[0];
    made->part[0].share = (float)(share / spread(c, c->trial[a].scores));
    made->part[1].share = (float)(1.0 / spread(c, c->trial[b].scores));
    (void)kit_format(made->name, sizeof made->name, "%g x (%s) + (%s)", (double)share, pair[0]->name, pair[1]->name);
    size_t all = (size_t)c->slots * c->stride;
    if ((t->scores = malloc((all + 1) * sizeof(float))) == NULL) return out_of_memory(err);
    for (size_t i = 0; i < all; i++)
        t->scores[i] = c->trial[a].scores[i] * made->part[0].share + c->trial[b].scores[i] * made->part[1].share;
    KIT_TRY(cv_measure(c, t->scores, UINT32_MAX, made, err));
    c->batch_first = c->result->candidates;
    return KOLM_OK;
}

static void forget_scores(cv *c, uint32_t first, uint32_t end, uint32_t but) {
    for (uint32_t i = first; i < end; i++) {
        if (i == but) continue;
        free(c->trial[i].scores);
        c->trial[i].scores = NULL;
    }
}

/* Texts of many words with many rows for each label: there L1 may pay. */
static bool l1_may_pay(const cv *c) {
    uint64_t n = rows_count(c->job->rows), words = rows_codes(c->job->rows, 0);
    return words <= COLUMNS_MAX_CODES && n / c->job->labels >= 100 && words / n >= 10 && c->job->labels <= 100;
}

/* Runs the trials added since mark; *out_best: the best of them, the only one whose scores are kept. */
static kit_status run_and_keep_best(cv *c, uint32_t mark, uint32_t *out_best, kolm_error_t *err) {
    KIT_TRY(cv_run_batch(c, err));
    *out_best = best_of(c, mark, c->result->candidates);
    forget_scores(c, mark, c->result->candidates, *out_best);
    return KOLM_OK;
}

static kit_status try_l1(cv *c, uint32_t *out_best, kolm_error_t *err) {
    uint32_t mark = c->result->candidates;
    KIT_TRY(columns_make(c->rows, 1, &c->columns, err));
    (void)cv_add_trial(c, "l1", SOLVE_L1, 1, 2.0f);
    (void)cv_add_trial(c, "l1", SOLVE_L1, 1, 4.0f);
    return run_and_keep_best(c, mark, out_best, err);
}

static kit_status try_joint(cv *c, unsigned families, uint32_t *out_best, kolm_error_t *err) {
    uint32_t mark = c->result->candidates;
    (void)cv_add_trial(c, "joint", SOLVE_JOINT, families, 0.5f);
    (void)cv_add_trial(c, "joint", SOLVE_JOINT, families, 1.0f);
    if (c->job->effort == EFFORT_HIGH) (void)cv_add_trial(c, "joint", SOLVE_JOINT, families, 0.25f);
    return run_and_keep_best(c, mark, out_best, err);
}

/* Strips that the plan fits if nothing is dropped on the way: the end that progress counts towards. */
static uint32_t planned_steps(const cv *c) {
    const choose_part svm = {SOLVE_SVM, 3, 1.0f, 1.0f}, l1 = {SOLVE_L1, 1, 1.0f, 1.0f};
    uint32_t steps = 2 * cv_strips_of(&svm, c->job->labels);
    if (l1_may_pay(c)) steps += 2 * cv_strips_of(&l1, c->job->labels);
    if (joint_fits(c, 3)) steps += c->job->effort == EFFORT_HIGH ? 3 : 2;
    return steps * c->job->folds;
}

static kit_status plan_normal(cv *c, kolm_error_t *err) {
    choose_result *r = c->result;
    uint32_t svm, joint = UINT32_MAX, l1 = UINT32_MAX;
    bool large = rows_count(c->rows) > 20000;
    c->steps_total = planned_steps(c);
    /* Families, by the quickest solver. */
    (void)cv_add_trial(c, "svm", SOLVE_SVM, 1, large ? 0.25f : 0.5f);
    (void)cv_add_trial(c, "svm", SOLVE_SVM, 3, large ? 0.25f : 0.5f);
    KIT_TRY(run_and_keep_best(c, 0, &svm, err));
    bool chars_matter = c->trial[1].first_fold > c->trial[0].first_fold + CHARS_MATTER_MICRO;
    if (!chars_matter && l1_may_pay(c)) KIT_TRY(try_l1(c, &l1, err));
    bool l1_leads = l1 != UINT32_MAX && r->candidate[l1].merit > r->candidate[svm].merit + CLEAR_LEAD_MICRO;
    unsigned families = r->candidate[svm].part[0].families;
    if (!l1_leads && joint_fits(c, families)) KIT_TRY(try_joint(c, families, &joint, err));
    if (joint != UINT32_MAX && !c->trial[joint].dropped) KIT_TRY(add_blend(c, joint, svm, 1.0f, err));
    if (l1 != UINT32_MAX && !c->trial[l1].dropped) KIT_TRY(add_blend(c, l1, svm, 2.0f, err));
    r->chosen = best_of(c, 0, r->candidates);
    return KOLM_OK;
}

/* No comparing: one fit on four fifths to learn how sure answers are. Long texts get words under L1, others all
 * features. */
static kit_status plan_quick(cv *c, kolm_error_t *err) {
    bool long_texts = l1_may_pay(c) && rows_codes(c->job->rows, 0) / rows_count(c->job->rows) >= LONG_TEXT_WORDS;
    const trial *t = long_texts ? cv_add_trial(c, "l1", SOLVE_L1, 1, 3.0f) : cv_add_trial(c, "svm", SOLVE_SVM, 3, 1.0f);
    c->result->chosen = 0;
    c->steps_total = cv_strips_of(&t->candidate->part[0], c->job->labels);
    if (long_texts) KIT_TRY(columns_make(c->rows, 1, &c->columns, err));
    return cv_run_batch(c, err);
}

static kit_status settle(cv *c, kolm_error_t *err) {
    choose_result *r = c->result;
    calibration_rows rows_ = {c->trial[r->chosen].scores, c->truth, c->slots, c->job->labels, c->stride};
    r->calibration = calibrate(&rows_);
    KIT_TRY(calibrate_ece(&rows_, r->calibration, &r->ece_micro, err));
    r->threshold_micro = c->job->abstain_micro;
    if (r->threshold_micro == 0 && c->job->target_accuracy_micro != 0) {
        KIT_TRY(calibrate_threshold(&rows_, r->calibration, c->job->target_accuracy_micro, &r->threshold_micro, err));
        r->target_missed = r->threshold_micro > MODEL_MICRO;
    }
    r->oof_rows = c->slots;
    for (uint32_t s = 0; s < c->slots; s++) {
        uint32_t best,
            micro = model_confidence(rows_.scores + (size_t)s * c->stride, c->job->labels, r->calibration, &best);
        if (micro < r->threshold_micro) continue;
        r->oof_answered++;
        r->oof_correct += best == c->truth[s];
    }
    return KOLM_OK;
}

/* Hands the scores of the chosen one on, with the numbers of their rows. */
static kit_status keep_held(cv *c, kolm_error_t *err) {
    choose_held *held = c->job->held;
    const uint32_t *number = rows_numbers(c->rows);
    if (held == NULL || number == NULL || c->slots < CV_ROWS_MIN) return KOLM_OK;
    if ((held->row = malloc((c->slots + 1) * sizeof *held->row)) == NULL) return out_of_memory(err);
    for (uint32_t i = 0; i < rows_count(c->rows); i++)
        if (c->slot[i] != NO_SLOT) held->row[c->slot[i]] = number[i];
    held->count = c->slots;
    held->stride = c->stride;
    held->folds = c->job->effort == EFFORT_QUICK || c->job->labels > MANY_LABELS ? 1 : c->job->folds;
    held->scores = c->trial[c->result->chosen].scores;
    c->trial[c->result->chosen].scores = NULL;
    return KOLM_OK;
}

void choose_held_free(choose_held *held) {
    free(held->scores);
    free(held->row);
    *held = (choose_held){0};
}

/* Too few rows to measure anything: the plain choice, uncalibrated and saying so by oof_rows 0. */
static void settle_blind(cv *c) {
    choose_result *r = c->result;
    (void)cv_add_trial(c, "svm", SOLVE_SVM, 3, 1.0f);
    r->chosen = 0;
    r->calibration.temperature_micro = 300000;
    r->threshold_micro = c->job->abstain_micro;
    if (r->threshold_micro == 0 && c->job->target_accuracy_micro != 0) {
        r->threshold_micro = MODEL_MICRO + 1; /* no threshold is known to reach it */
        r->target_missed = true;
    }
}

kit_status choose(const choose_job *job, choose_result *out, kolm_error_t *err) {
    cv c = {.job = job, .result = out};
    memset(out, 0, sizeof *out);
    kit_status status = cv_open(&c, err);
    if (status == KOLM_OK) {
        if (c.slots < CV_ROWS_MIN) {
            settle_blind(&c);
        } else {
            status =
                job->effort == EFFORT_QUICK || job->labels > MANY_LABELS ? plan_quick(&c, err) : plan_normal(&c, err);
            if (status == KOLM_OK) status = settle(&c, err);
        }
    }
    if (status == KOLM_OK) status = keep_held(&c, err);
    cv_close(&c);
    return status;
}
