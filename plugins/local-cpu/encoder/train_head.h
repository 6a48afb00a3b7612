/* SPDX-License-Identifier: Apache-2.0 */
/* From embeddings and the linear engine's out-of-fold scores to head.bin. */
#ifndef LOCAL_CPU_ENCODER_TRAIN_HEAD_H
#define LOCAL_CPU_ENCODER_TRAIN_HEAD_H

#include "encoder/head.h"

/*
 * The margins are the linear model's scores as they are. Lambda is tried in units of the temperature at which those are
 * log-probabilities, so that the candidates mean the same whatever solver the engine chose.
 *
 * Beyond HEAD_CV_NUMBERS scores the cross-validation and the usual similarity are of a part of the rows, drawn by their
 * number; the fit that stays is of all. Memory beside the embeddings: about three times that many floats, and 16 bytes
 * a row.
 */
#define HEAD_CV_NUMBERS (8u << 20)

typedef struct head_job {
    const float *embeddings; /* [rows][dimensions], of length 1 */
    uint32_t rows, dimensions, labels, folds;
    const uint32_t *label, *fold; /* of each row */
    const float *label_weight;    /* NULL: all rows count alike */
    const choose_held *held;      /* of the linear engine */
    calibration linear;           /* its own */
    uint64_t abstain_micro, target_accuracy_micro;
    uint32_t threads;
    const char *scratch_dir;
    const enc_kernels *kernels; /* NULL: the widest */
    choose_watch watch;
} head_job;

typedef struct head_trained {
    head_candidate candidate[HEAD_LAMBDAS * HEAD_COSTS];
    uint32_t candidates, chosen; /* 0 when there were too few rows to choose by */
    float lambda, cost;
    calibration calibration;
    head_distance distance;
    uint64_t threshold_micro, ece_micro;
    uint64_t oof_rows, oof_answered, oof_correct;
    bool target_missed;
} head_trained;

kit_status head_train(const head_job *job, const char *path, head_trained *out, kolm_error_t *err) KIT_MUST_USE;

#endif
