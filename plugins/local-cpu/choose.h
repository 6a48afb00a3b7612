/* SPDX-License-Identifier: Apache-2.0 */
/* Cross-validation: chooses families, solver and C; calibrates confidences; the final fit. */
#ifndef LOCAL_CPU_CHOOSE_H
#define LOCAL_CPU_CHOOSE_H

#include "model.h"
#include "rows.h"
#include "solver.h"

#define CHOOSE_PARTS 2
#define CHOOSE_CANDIDATES 24
#define CHOOSE_ECE_BINS 15

typedef enum choose_effort { EFFORT_QUICK, EFFORT_NORMAL, EFFORT_HIGH } choose_effort;

/* Callbacks to stop the work and to report progress; called from any thread. */
typedef struct choose_watch {
    bool (*stop)(void *user);
    void (*step)(void *user, const char *phase, uint64_t done, uint64_t total);
    void *user;
} choose_watch;

/* A classifier, or the weighted sum of two of them. */
typedef struct choose_part {
    solve_kind kind;
    unsigned families;
    float cost;
    float share; /* weight of its scores in the sum */
} choose_part;
typedef struct choose_candidate {
    char name[64];
    choose_part part[CHOOSE_PARTS];
    uint32_t parts;
    uint64_t correct, rows; /* out of fold, on all folds or those that it was compared on; rows 0: not measured */
    uint64_t merit;         /* the criterion, millionths: accuracy, or with weights the mean recall of labels */
} choose_candidate;

typedef struct choose_result {
    choose_candidate candidate[CHOOSE_CANDIDATES];
    uint32_t candidates, chosen;
    calibration calibration;
    uint64_t threshold_micro;
    uint64_t ece_micro;
    uint64_t oof_rows, oof_answered, oof_correct; /* of the chosen one at the threshold */
    bool target_missed;                           /* no threshold reached the target accuracy */
    /* For each part of the chosen one: dual variables near those of its fit on all rows, from which choose_fit starts;
     * [rows][labels rounded up to 4], or NULL. */
    float *duals[CHOOSE_PARTS];
} choose_result;
void choose_result_free(choose_result *result); /* frees what it points to */

/* The out-of-fold scores of the chosen candidate, for further use: by original row number. */
typedef struct choose_held {
    float *scores; /* [count][stride] */
    uint32_t *row; /* the original number of each row */
    uint32_t count, stride;
    uint32_t folds; /* the folds below this one were held out */
} choose_held;
void choose_held_free(choose_held *held); /* frees what it points to */

typedef struct choose_job {
    const rows *rows;
    uint32_t labels;
    const uint32_t *label_rows; /* rows of each label */
    const float *label_weight;  /* NULL: all rows count alike */
    uint32_t folds;             /* number of folds that rows were assigned to */
    choose_effort effort;
    uint64_t seed;
    uint32_t threads;
    const char *scratch_dir;
    uint64_t abstain_micro;         /* the threshold, if not 0 */
    uint64_t target_accuracy_micro; /* else: the accuracy that the threshold must reach, if not 0 */
    choose_watch watch;
    choose_held *held; /* filled by choose; empty if too few rows could be measured. NULL: not wanted */
} choose_job;

/* Number of folds to assign rows to. */
uint32_t choose_folds(uint64_t rows, choose_effort effort);
/* Maximum number of features to keep. */
uint32_t choose_features_max(uint32_t labels, uint64_t rows);
/* Number of labels fitted together: 4, 8 or 16. */
uint32_t choose_strip(uint32_t labels);

kit_status choose(const choose_job *job, choose_result *out, kolm_error_t *err) KIT_MUST_USE;
/* Fits the chosen candidate on all rows and writes it to path. labels: names, in the order of the rows' numbers. */
kit_status choose_fit(const choose_job *job, const choose_result *result, char *const *labels, const char *path,
                      kolm_error_t *err) KIT_MUST_USE;

/* ---- Calibration, on scores[rows][stride], of which only the first `labels` are used; also for tests. */
typedef struct calibration_rows {
    const float *scores;
    const uint32_t *truth;
    uint32_t rows, labels, stride;
} calibration_rows;
/* The same for known confidences: micro[rows], and whether each answer was right. */
uint64_t calibrate_ece_of(const uint32_t *micro, const uint8_t *right, uint32_t rows);
kit_status calibrate_threshold_of(const uint32_t *micro, const uint8_t *right, uint32_t rows, uint64_t target_micro,
                                  uint64_t *out, kolm_error_t *err) KIT_MUST_USE;
/* Returns the temperature and the share of noise with the highest likelihood. */
calibration calibrate(const calibration_rows *c);
/* Expected calibration error over CHOOSE_ECE_BINS equal bins, millionths. */
kit_status calibrate_ece(const calibration_rows *c, calibration with, uint64_t *out, kolm_error_t *err) KIT_MUST_USE;
/* Finds the lowest threshold at which the accuracy of the answers given exceeds the target by at least one standard
 * error; MODEL_MICRO + 1 if there is none. RESOURCE_EXHAUSTED if out of memory, as for the two above. */
kit_status calibrate_threshold(const calibration_rows *c, calibration with, uint64_t target_micro, uint64_t *out,
                               kolm_error_t *err) KIT_MUST_USE;

#endif
