/* SPDX-License-Identifier: Apache-2.0 */
/* Trains head.bin from embeddings and the linear engine's out-of-fold scores. */
#ifndef LOCAL_CPU_ENCODER_TRAIN_HEAD_H
#define LOCAL_CPU_ENCODER_TRAIN_HEAD_H

#include "encoder/head.h"

/*
 * The margins are the linear model's raw scores. Lambda is tried in units of 1 / temperature, with which they become
 * log-probabilities, so that candidates are comparable for every solver that the engine may choose.
 *
 * Beyond HEAD_CV_NUMBERS scores the cross-validation and the usual similarity use a subset of the rows, selected by
 * their number; the final fit uses all. Memory in addition to the embeddings: about three times that many floats, and
 * 16 bytes per row.
 */
#define HEAD_CV_NUMBERS (8u << 20)

typedef struct head_job {
    const float *embeddings; /* [rows][dimensions], of length 1 */
    uint32_t rows, dimensions, labels, folds;
    const uint32_t *label, *fold; /* of each row */
    const float *label_weight;    /* NULL: all rows count alike */
    const choose_held *held;      /* of the linear engine */
    calibration linear;           /* calibration of the linear engine */
    uint64_t abstain_micro, target_accuracy_micro;
    uint32_t threads;
    const char *scratch_dir;
    const enc_kernels *kernels; /* NULL: the widest */
    choose_watch watch;
} head_job;

typedef struct head_trained {
    head_candidate candidate[HEAD_LAMBDAS * HEAD_COSTS];
    uint32_t candidates, chosen; /* 0 if there were too few rows to choose from */
    float lambda, cost;
    calibration calibration;
    head_distance distance;
    uint64_t threshold_micro, ece_micro;
    uint64_t oof_rows, oof_answered, oof_correct;
    bool target_missed;
} head_trained;

kit_status head_train(const head_job *job, const char *path, head_trained *out, kolm_error_t *err) KIT_MUST_USE;

#endif
