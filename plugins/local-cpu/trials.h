/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the cross-validation: candidates fitted on all folds but one, and scored on that one. */
#ifndef LOCAL_CPU_TRIALS_H
#define LOCAL_CPU_TRIALS_H

#include "choose.h"

#include <stdatomic.h>

#define CV_ROWS_MIN 30u   /* fewer cannot choose anything */
#define MANY_LABELS 1000u /* from here on nothing is compared, the epochs are few */

typedef struct trial {
    choose_candidate *candidate;
    float *scores;       /* [slots][stride]; of its single part */
    bool dropped;        /* after the first fold */
    uint64_t first_fold; /* merit on it, millionths */
} trial;

typedef struct cv {
    const choose_job *job;
    choose_result *result;
    const rows *rows; /* the job's, or a part of them */
    rows *part;
    columns columns; /* of the words, when L1 is tried */
    uint32_t *slot;  /* of each row among those scored; NO_SLOT: not scored */
    uint32_t *truth; /* of each slot */
    uint32_t *slot_fold;
    uint32_t slots, stride;
    uint8_t *seen; /* [fold][feature]: occurs in a row of another fold */
    trial trial[CHOOSE_CANDIDATES];
    /* One batch of fits. */
    uint32_t batch_first, batch_count, fold_first, fold_count;
    uint64_t best_first_fold;
    atomic_uint steps;
    uint32_t steps_total;
} cv;
#define NO_SLOT UINT32_MAX

/* Which rows are scored, and which of their features each fold's fit can know. */
kit_status cv_open(cv *c, kolm_error_t *err) KIT_MUST_USE;
void cv_close(cv *c);
solve_task cv_task_of(const choose_job *job, const rows *r, const choose_part *part, uint32_t fold, uint32_t first);
uint32_t cv_strips_of(const choose_part *part, uint32_t labels);
trial *cv_add_trial(cv *c, const char *name, solve_kind kind, unsigned families, float cost);
/* Runs the trials added since c->batch_first over all folds. */
kit_status cv_run_batch(cv *c, kolm_error_t *err) KIT_MUST_USE;
/* Fills the candidate's counts and merit from its scores of the folds below fold_end. */
kit_status cv_measure(const cv *c, const float *scores, uint32_t fold_end, choose_candidate *out,
                      kolm_error_t *err) KIT_MUST_USE;

#endif
