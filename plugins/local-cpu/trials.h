/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the cross-validation: candidates are fitted on all folds but one, and scored on that one. */
#ifndef LOCAL_CPU_TRIALS_H
#define LOCAL_CPU_TRIALS_H

#include "choose.h"

#include <stdatomic.h>

#define CV_ROWS_MIN 30u   /* too few rows to choose from below this */
#define MANY_LABELS 1000u /* from this number on nothing is compared, and epochs are few */

typedef struct trial {
    choose_candidate *candidate;
    float *scores;             /* [slots][stride]; of its single part */
    uint8_t *right;            /* [slots]: for the folds that it ran on */
    uint32_t of[CHOOSE_PARTS]; /* of a blend: the trials that it sums */
    float *duals;              /* [folds from duals_fold on][rows][stride]: where its fits ended; NULL: not kept */
    uint32_t duals_fold;
    const struct trial *begin; /* on the first fold it starts where this one's fit ended; NULL: at 0 */
    bool dropped;              /* after the first fold */
    uint64_t first_fold;       /* merit on it, millionths */
} trial;

typedef struct cv {
    const choose_job *job;
    choose_result *result;
    const rows *rows; /* the job's, or a subset of them */
    rows *part;
    columns columns; /* of the words, if L1 is tried */
    uint32_t *slot;  /* index of each row among those scored; NO_SLOT: not scored */
    uint32_t *truth; /* of each slot */
    uint32_t *slot_fold;
    uint32_t slots, stride;
    uint8_t *seen;     /* [fold][feature]: occurs in a row of another fold */
    uint32_t compared; /* folds that candidates are compared on; the chosen one is scored on all */
    float *weight;     /* of each slot in comparisons; 0 beyond those folds */
    trial trial[CHOOSE_CANDIDATES];
    /* One batch of fits. */
    uint32_t batch_first, batch_count, fold_first, fold_count;
    uint64_t best_first_fold;
    atomic_uint steps;
    uint32_t steps_total;
} cv;
#define NO_SLOT UINT32_MAX

/* Determines which rows are scored, and which of their features the fit of each fold can know. */
kit_status cv_open(cv *c, kolm_error_t *err) KIT_MUST_USE;
void cv_close(cv *c);
solve_task cv_task_of(const choose_job *job, const rows *r, const choose_part *part, uint32_t fold, uint32_t first);
uint32_t cv_strips_of(const choose_part *part, uint32_t labels);
trial *cv_add_trial(cv *c, const char *name, solve_kind kind, unsigned families, float cost);
/* Runs the trials added since c->batch_first on the folds that are compared. */
kit_status cv_run_batch(cv *c, kolm_error_t *err) KIT_MUST_USE;
/* On the first fold the fit of b, of the same kind and families as a, starts where that of a ended. Call with b NULL
 * before a runs, then with b in a later batch. Only a hint: with many rows all start at 0. */
kit_status cv_begin_at(cv *c, trial *a, trial *b, kolm_error_t *err) KIT_MUST_USE;
/* Adds the weighted sum of two trials, which needs no fit. */
kit_status cv_add_blend(cv *c, uint32_t a, uint32_t b, float share, uint32_t *out, kolm_error_t *err) KIT_MUST_USE;
/* Scores a trial on the remaining folds, and fills the result's duals. */
kit_status cv_finish(cv *c, uint32_t number, kolm_error_t *err) KIT_MUST_USE;

#endif
