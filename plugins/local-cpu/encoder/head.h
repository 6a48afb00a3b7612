/* SPDX-License-Identifier: Apache-2.0 */
/* The classifier on a frozen encoder: a logistic regression on the embedding, combined with the linear engine's
 * margins. */
#ifndef LOCAL_CPU_ENCODER_HEAD_H
#define LOCAL_CPU_ENCODER_HEAD_H

#include "choose.h"
#include "encoder/kernels.h"
#include "kolm/kit/buf.h"

/*
 * The score of label m for text x is
 *     log p(m | embedding of x) + lambda * margin of the linear engine's model for m
 * where p is a multinomial logistic regression, the least of
 *     |W|^2 / 2 + cost * sum over rows of weight(label) * -log softmax(W x + b)[label]
 * over W and b, the same objective as scikit-learn's LogisticRegression(C=cost). The solver is L-BFGS (Nocedal,
 * "Updating quasi-Newton matrices with limited storage", 1980).
 *
 * Embeddings are rows of length 1 (head_normalise) in any memory of the caller, including a mapped file: a pass reads
 * them sequentially, and keeps copies of a few blocks per share.
 *
 * Order. Products are the kernels' chains of fused multiply-adds. Rows are assigned in blocks of HEAD_BLOCK to a number
 * of shares that depends only on the counts of rows, labels and dimensions; the shares' gradients are added in order.
 * So the bytes are the same on every processor and with any number of threads.
 */
#define HEAD_BLOCK 96u /* rows packed at a time: a multiple of every kernel's panel */
#define HEAD_SHARES 16u
#define HEAD_NO_FOLD UINT32_MAX
#define HEAD_DIMENSIONS_MAX 8192u
#define HEAD_LAMBDAS 8u
#define HEAD_COSTS 4u

/* Scales rows to length 1; zero rows are unchanged. */
void head_normalise(float *embeddings, size_t count, uint32_t dimensions);

typedef struct head_rows {
    const float *embeddings; /* [rows][dimensions] */
    const uint32_t *label;   /* of each row, below labels */
    const uint32_t *fold;    /* of each row; may be NULL if nothing is held out */
    uint32_t rows, dimensions, labels;
    const float *label_weight; /* NULL: all rows count alike */
    uint32_t threads;
    const enc_kernels *kernels; /* NULL: the widest */
    bool (*stop)(void *user);   /* may be NULL; called from any thread; true ends the work with CANCELLED */
    void *user;
} head_rows;

/* The number of weights: [labels][dimensions], followed by a bias for each label. */
static inline size_t head_size(const head_rows *r) {
    return (size_t)r->labels * (r->dimensions + 1u);
}

typedef struct head_report {
    uint32_t rounds, passes; /* passes over the rows, at least one per round */
    double objective;
    float slope;    /* the largest component of the gradient, divided by cost and the weight of a mean row */
    bool converged; /* slope is below the bound */
} head_report;

/* Fits on the rows of all folds but `held` (HEAD_NO_FOLD: on all), starting from weights: 0, or a solution for a lower
 * cost or other rows. out may be NULL. INVALID_ARGUMENT if there are no rows, FAILED_PRECONDITION if numbers of the
 * embeddings are not finite. */
kit_status head_fit(const head_rows *on, uint32_t held, float cost, float *weights, head_report *out,
                    kolm_error_t *err) KIT_MUST_USE;

/* For tests: the objective and its gradient (head_size numbers). */
kit_status head_objective(const head_rows *on, uint32_t held, float cost, const float *weights, double *out,
                          float *gradient, kolm_error_t *err) KIT_MUST_USE;

/* Stores scores of the rows of fold `only` (HEAD_NO_FOLD: all) in their lines of scores[rows][stride]:
 * log-probabilities, or W x + b. */
typedef enum head_scale { HEAD_LOG, HEAD_PLAIN } head_scale;
kit_status head_score(const head_rows *on, uint32_t only, const float *weights, head_scale scale, float *scores,
                      uint32_t stride, kolm_error_t *err) KIT_MUST_USE;

/* ---- Lambda and cost, by cross-validation */

/*
 * Every pair of a lambda and a cost answers the held-out rows. Of those within one standard error of the best, the one
 * with the smallest lambda, and then the smallest cost, is chosen (Breiman, Friedman, Olshen, Stone, "Classification
 * and Regression Trees", 1984, 3.4.3). All answer the same rows, so the error is that of their difference, row by row,
 * as in McNemar's test; that of each rate alone would be many times larger and always choose the smallest.
 *
 * Rows whose label is in no other fold are excluded: no fit could know them.
 */
typedef struct head_candidate {
    float lambda, cost;
    uint64_t correct;
    uint64_t merit;                    /* millionths: accuracy, or with weights the mean recall of labels */
    int64_t behind_micro, error_micro; /* the best merit minus this one, and the standard error of that */
} head_candidate;

typedef struct head_choose_job {
    const head_rows *rows;
    uint32_t folds;       /* number of folds that rows were assigned to */
    uint32_t scored;      /* the folds below this one are held out in turn */
    const float *margins; /* [rows][stride]: of the rows of those folds, from models that did not see them */
    uint32_t stride;
    const float *lambda, *cost; /* ascending */
    uint32_t lambdas, costs;
} head_choose_job;

typedef struct head_choice {
    head_candidate candidate[HEAD_LAMBDAS * HEAD_COSTS];
    uint32_t candidates, chosen;
    uint32_t scored; /* number of scored rows */
    /* Of the chosen one. */
    float *scores;   /* [scored][stride]: of the held-out rows in order, blended; 0 beyond the last label */
    uint32_t *truth; /* of each */
    uint32_t *row;   /* its number */
    uint32_t stride;
    float *weights; /* the mean of its folds' fits, from which a fit on all rows may start */
    calibration calibration;
    uint64_t ece_micro;
    uint32_t rounds, passes; /* of all fits */
} head_choice;

kit_status head_choose(const head_choose_job *job, head_choice *out, kolm_error_t *err) KIT_MUST_USE;
void head_choice_free(head_choice *choice); /* frees what it points to */
/* Only the rule: right[c][rows] tells whether candidate c answered a row correctly; weight: of each row (the sum is 1).
 * Fills merit, behind and error; returns the chosen one. */
uint32_t head_rule(const uint8_t *right, const float *weight, uint32_t rows, head_candidate *candidates,
                   uint32_t count);

/* ---- Texts unlike the training data */

/*
 * The similarity of a text is the cosine between its embedding and the nearest of the labels' means (the nearest class
 * mean, as Mensink et al., "Distance-based image classification", 2013; as a measure of novelty: Lee et al., "A simple
 * unified framework for detecting out-of-distribution samples", 2018, here with one spherical covariance). Training
 * rows, compared with means of the other folds, define the usual range: `knee` is the similarity that HEAD_USUAL_MICRO
 * of them reach, `width` the distance from there to the median. The confidence is multiplied by
 *     1 for similarity >= knee, else max(0, 1 - (knee - similarity) / width)
 */
#define HEAD_USUAL_MICRO 950000u
typedef struct head_distance {
    float knee, width;
} head_distance;

/* The labels' means over the rows of all folds but `held`, scaled to length 1, as weights (with biases 0). */
kit_status head_means(const head_rows *on, uint32_t held, float *means, kolm_error_t *err) KIT_MUST_USE;
/* Of each row of the folds below `scored` to the means of the other folds' rows; out is unchanged for other rows. */
kit_status head_similarities(const head_rows *on, uint32_t scored, float *out, kolm_error_t *err) KIT_MUST_USE;
/* Fits knee and width to those similarities. */
kit_status head_distance_fit(const head_rows *on, uint32_t scored, const float *similarity, head_distance *out,
                             kolm_error_t *err) KIT_MUST_USE;
/* In millionths. */
uint32_t head_distance_factor(head_distance distance, float similarity);

/* ---- The model file */

/*
 * head.bin, version 1, little endian. 96 bytes, then sections without gaps except padding to 16:
 *   scale f32, bias f32, mean scale f32 for each label; weights i8 [labels][dimensions]; means i8 [labels][dimensions]
 * The first 96 bytes: "kolmhead", u32 version, labels, dimensions, 0; f32 lambda, cost, knee, width; u64 temperature,
 * noise, threshold (millionths), length of the file, 0, 0, checksum over all bytes with itself 0.
 *
 * An embedding is converted to 16-bit integers, 32767 for 1. The sum of their products with 8-bit weights is exact in
 * 32 bits, because both lengths are bounded; W x + b = bias + scale * sum / 32767. So every machine computes the same
 * scores.
 */
#define HEAD_FILE "head.bin"
typedef struct head_model {
    uint32_t labels, dimensions;
    float lambda, cost;
    head_distance distance;
    calibration calibration;
    uint64_t threshold_micro;
    float *scale, *bias, *mean_scale;
    int8_t *weight, *mean; /* [labels][dimensions] */
} head_model;

/* Reduces weights and means (head_size numbers each) to 8 bits; the caller must fill in the rest. */
kit_status head_reduce(uint32_t labels, uint32_t dimensions, const float *weights, const float *means, head_model *out,
                       kolm_error_t *err) KIT_MUST_USE;
void head_model_free(head_model *m); /* frees what it points to */
kit_status head_write(const head_model *m, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* DATA_LOSS, with the reason, if bytes are not a valid head, UNIMPLEMENTED for a later version. Copies from bytes. */
kit_status head_read(const void *bytes, size_t size, head_model *out, kolm_error_t *err) KIT_MUST_USE;

typedef struct head_answer {
    uint32_t label;
    uint32_t confidence_micro; /* after the factor */
    uint32_t factor_micro;
    float similarity;
    bool abstains;
} head_answer;
/* embedding: of any length; scaled to 1 unless it is 0. margins: of the linear engine's model, one per label. scores:
 * one per label; receives the blended ones. */
void head_answer_embedding(const head_model *m, const float *embedding, const float *margins, float *scores,
                           head_answer *out);

#endif
