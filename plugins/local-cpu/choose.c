/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of the cross-validation, and the choice from its out-of-fold scores. */
#include "kolm/kit/buf.h"
#include "rule.h"
#include "trials.h"

#include <stdlib.h>
#include <string.h>

#define JOINT_WEIGHTS_MAX (10u << 20) /* floats: beyond 40 MiB the joint solver is not tried */
#define JOINT_DUALS_MAX (8u << 20)    /* floats */
#define CHARS_MATTER_MICRO 10000      /* if characters gain more than this, texts are short and L1 is not tried */
#define CLEAR_LEAD_MICRO 1000         /* if L1 leads by more than this, the joint solver is not tried */
#define L1_PLAIN_COST 3.0f
#define LONG_TEXT_WORDS 40 /* word features per row from which the quick plan uses L1 */

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

/* Returns the simplest of some trials by the rule; trials must be ordered, simplest first. Ignores dropped ones. */
static uint32_t pick(const cv *c, const uint32_t *number, uint32_t count) {
    const uint8_t *right[CHOOSE_CANDIDATES];
    uint32_t of[CHOOSE_CANDIDATES], n = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (c->trial[number[i]].dropped) continue;
        right[n] = c->trial[number[i]].right;
        of[n++] = number[i];
    }
    return n == 0 ? number[0] : of[rule_plainest(right, n, c->weight, c->slots)];
}

static void forget_scores(cv *c, uint32_t first, uint32_t end, uint32_t but) {
    for (uint32_t i = first; i < end; i++) {
        if (i == but) continue;
        free(c->trial[i].scores);
        c->trial[i].scores = NULL;
    }
}

/* Texts of many words with many rows per label, where L1 may pay. */
static bool l1_may_pay(const cv *c) {
    uint64_t n = rows_count(c->job->rows), words = rows_codes(c->job->rows, 0);
    return words <= COLUMNS_MAX_CODES && n / c->job->labels >= 100 && words / n >= 10 && c->job->labels <= 100;
}

/* Texts so long that words with L1 are the default choice. */
static bool long_texts(const cv *c) {
    return l1_may_pay(c) && rows_codes(c->job->rows, 0) / rows_count(c->job->rows) >= LONG_TEXT_WORDS;
}

/* Runs the trials added since mark; *out_pick: the one to continue with, the only one whose scores are kept. */
static kit_status run_and_pick(cv *c, uint32_t mark, uint32_t *out_pick, kolm_error_t *err) {
    uint32_t number[CHOOSE_CANDIDATES] = {0};
    KIT_TRY(cv_run_batch(c, err));
    for (uint32_t i = mark; i < c->result->candidates; i++)
        number[i - mark] = i;
    *out_pick = pick(c, number, c->result->candidates - mark);
    forget_scores(c, mark, c->result->candidates, *out_pick);
    return KOLM_OK;
}

static kit_status try_l1(cv *c, uint32_t *out_pick, kolm_error_t *err) {
    uint32_t mark = c->result->candidates;
    KIT_TRY(columns_make(c->rows, 1, &c->columns, err));
    (void)cv_add_trial(c, "l1", SOLVE_L1, 1, L1_PLAIN_COST);
    (void)cv_add_trial(c, "l1", SOLVE_L1, 1, 4.0f);
    return run_and_pick(c, mark, out_pick, err);
}

static bool large(const cv *c) {
    return rows_count(c->rows) > 20000;
}

/* The cost of one-vs-rest in both plans. With 38,269 rows of 6 words and 8 labels, 0.25 gave 78.2 % and 1 gave 76.6 %;
 * with 12 words 82.0 % and 81.2 %. */
static float plain_cost(const cv *c) {
    return large(c) ? 0.25f : 1.0f;
}

/* The quick plan's choice, and the same without characters. */
static kit_status try_plain(cv *c, uint32_t *out_pick, kolm_error_t *err) {
    const float cost = plain_cost(c);
    trial *plain = cv_add_trial(c, "svm", SOLVE_SVM, 3, cost);
    (void)cv_add_trial(c, "svm", SOLVE_SVM, 1, cost);
    KIT_TRY(cv_begin_at(c, plain, NULL, err));
    KIT_TRY(cv_run_batch(c, err));
    *out_pick = pick(c, (const uint32_t[]){0, 1}, 2);
    return KOLM_OK;
}

/* Tries another cost, and all labels at once. *svm: the one-vs-rest trial to continue with; *joint likewise. */
static kit_status try_more(cv *c, bool with_joint, uint32_t *svm, uint32_t *joint, kolm_error_t *err) {
    const unsigned families = c->result->candidate[*svm].part[0].families;
    static const float costs[] = {0.5f, 0.25f, 1.0f};
    const uint32_t mark = c->result->candidates, plain = *svm;
    uint32_t number[CHOOSE_CANDIDATES] = {0}, joints = 0;
    if (with_joint) joints = c->job->effort == EFFORT_HIGH ? 3 : 1;
    for (uint32_t i = 0; i < joints; i++) {
        number[i] = c->result->candidates;
        (void)cv_add_trial(c, "joint", SOLVE_JOINT, families, costs[i]);
    }
    if (!large(c)) {
        trial *softer = cv_add_trial(c, "svm", SOLVE_SVM, families, 0.5f);
        if (families == 3) KIT_TRY(cv_begin_at(c, &c->trial[0], softer, err));
    }
    KIT_TRY(cv_run_batch(c, err));
    free(c->trial[0].duals);
    c->trial[0].duals = NULL;
    if (joints > 0) *joint = pick(c, number, joints);
    *svm = pick(c, (const uint32_t[]){plain, mark + joints}, large(c) ? 1 : 2);
    forget_scores(c, mark, mark + joints, *joint);
    forget_scores(c, mark + joints, c->result->candidates, *svm);
    forget_scores(c, 0, 2, *svm);
    return KOLM_OK;
}

/* Number of strips that the plan fits if nothing is dropped: the total for progress. */
static uint32_t planned_steps(const cv *c) {
    const choose_part svm = {SOLVE_SVM, 3, 1.0f, 1.0f}, l1 = {SOLVE_L1, 1, 1.0f, 1.0f};
    uint32_t steps = (large(c) ? 2 : 3) * cv_strips_of(&svm, c->job->labels);
    if (l1_may_pay(c)) steps += 2 * cv_strips_of(&l1, c->job->labels);
    if (joint_fits(c, 3)) steps += c->job->effort == EFFORT_HIGH ? 3 : 1;
    return steps * c->compared + (c->job->folds - c->compared) * cv_strips_of(&svm, c->job->labels);
}

/* Simplest first: the choice of the quick plan, then those that must be significantly better. */
static kit_status plan_normal(cv *c, kolm_error_t *err) {
    choose_result *r = c->result;
    uint32_t number[5], n = 1, svm, joint = UINT32_MAX, l1 = UINT32_MAX;
    c->steps_total = planned_steps(c);
    KIT_TRY(try_plain(c, &svm, err));
    bool chars_matter = c->trial[0].first_fold > c->trial[1].first_fold + CHARS_MATTER_MICRO;
    if (long_texts(c) || (!chars_matter && l1_may_pay(c))) KIT_TRY(try_l1(c, &l1, err));
    bool l1_leads = l1 != UINT32_MAX && r->candidate[l1].merit > r->candidate[svm].merit + CLEAR_LEAD_MICRO;
    bool with_joint = !l1_leads && joint_fits(c, r->candidate[svm].part[0].families);
    KIT_TRY(try_more(c, with_joint, &svm, &joint, err));
    number[0] = svm;
    if (l1 != UINT32_MAX && !c->trial[l1].dropped) {
        number[n++] = l1;
        if (long_texts(c)) {
            number[0] = l1;
            number[1] = svm;
        }
        KIT_TRY(cv_add_blend(c, l1, svm, 2.0f, &number[n], err));
        n++;
    }
    if (with_joint && !c->trial[joint].dropped) {
        number[n++] = joint;
        KIT_TRY(cv_add_blend(c, joint, svm, 1.0f, &number[n], err));
        n++;
    }
    r->chosen = pick(c, number, n);
    return cv_finish(c, r->chosen, err);
}

/* Compares nothing: one fit on four fifths of the rows to calibrate confidences. Long texts get words with L1, others
 * all features. */
static kit_status plan_quick(cv *c, kolm_error_t *err) {
    const bool l1 = long_texts(c);
    const trial *t =
        l1 ? cv_add_trial(c, "l1", SOLVE_L1, 1, L1_PLAIN_COST) : cv_add_trial(c, "svm", SOLVE_SVM, 3, plain_cost(c));
    c->result->chosen = 0;
    c->steps_total = cv_strips_of(&t->candidate->part[0], c->job->labels);
    if (l1) KIT_TRY(columns_make(c->rows, 1, &c->columns, err));
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

/* Returns the scores of the chosen one, with the numbers of their rows. */
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

void choose_result_free(choose_result *result) {
    for (uint32_t p = 0; p < CHOOSE_PARTS; p++) {
        free(result->duals[p]);
        result->duals[p] = NULL;
    }
}

void choose_held_free(choose_held *held) {
    free(held->scores);
    free(held->row);
    *held = (choose_held){0};
}

/* Too few rows to measure anything: the default choice, uncalibrated, with oof_rows 0. */
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
    if (status != KOLM_OK) choose_result_free(out);
    cv_close(&c);
    return status;
}
