/* SPDX-License-Identifier: Apache-2.0 */
/* Three coordinate descent solvers for linear classifiers, with the same bits for any number of threads. */
#ifndef LOCAL_CPU_SOLVER_H
#define LOCAL_CPU_SOLVER_H

#include "rows.h"

/*
 * The first and the last have one dual variable per row and label and visit rows in an order derived from the seed.
 * Weights are stored feature by feature, `width` labels each (a multiple of 4), followed by one such line for the bias,
 * whose feature is 1.
 *
 * SOLVE_SVM    one-vs-rest, squared hinge: 1/2 |w|^2 + C sum max(0, 1 - y w.x)^2, the dual coordinate descent of Hsieh
 *              et al., ICML 2008. Labels are independent: they are solved in strips, in any order, by any thread.
 * SOLVE_L1     one-vs-rest, logistic loss and L1: |w|_1 + C sum ln(1 + exp(-y w.x)), by newGLMNET (Yuan, Ho
 *              and Lin, KDD 2011): coordinate descent on a quadratic model of the loss, then a line search. Visits
 *              features, so it needs the rows as columns. The bias is not penalised.
 * SOLVE_JOINT  Crammer and Singer's multi-class hinge, by the sequential dual method of Keerthi et al., KDD 2008. All
 *              labels at once, so the strip must be all of them.
 */
typedef enum solve_kind { SOLVE_SVM, SOLVE_L1, SOLVE_JOINT } solve_kind;

#define SOLVE_NO_FOLD UINT32_MAX
#define SOLVE_DUALS_MAX (4u << 20) /* floats */

/* The rows of one or both families as columns, for SOLVE_L1: 8 bytes per code. Read-only once built; may be shared. */
typedef struct columns {
    uint32_t rows;
    uint32_t lines;  /* features; the column of the bias is not stored */
    uint64_t *start; /* lines + 1 */
    uint32_t *row;
    float *value;
    uint32_t *label; /* of each row */
    uint32_t *fold;  /* of each row */
} columns;
#define COLUMNS_MAX_CODES 6000000u /* more are not converted to columns: 48 MB */
kit_status columns_make(const rows *r, unsigned families, columns *out, kolm_error_t *err) KIT_MUST_USE;
void columns_free(columns *c);

typedef struct solve_task {
    const rows *rows;
    solve_kind kind;
    unsigned families;
    float cost;                /* C */
    const float *label_weight; /* C of a row is cost times the weight of its label; NULL: 1 for each */
    uint32_t held_fold;        /* rows of this fold are left out; SOLVE_NO_FOLD for none */
    uint64_t seed;
    uint32_t labels; /* of the whole task */
    uint32_t first_label;
    uint32_t width;
    uint32_t max_epochs; /* 0: the solver's own */
    /* Dual variables to start from, and where to store the final ones: one for each row and label of the task,
     * dual_stride labels per row; either may be NULL. SOLVE_SVM and SOLVE_JOINT only, and at most SOLVE_DUALS_MAX, so
     * that the solver has them in memory. */
    const float *begin;
    float *end;
    uint32_t dual_stride;
    const char *scratch_dir;
    const columns *columns; /* SOLVE_L1 only: of the same rows and families */
    /* Called now and then on the calling thread; true ends the work with CANCELLED. May be NULL. */
    bool (*stop)(void *user);
    void *user;
} solve_task;

/* C of a row. */
static inline float solve_cost(const solve_task *task, uint32_t label) {
    return task->label_weight == NULL ? task->cost : task->cost * task->label_weight[label];
}

/* Number of floats that weights must have room for. */
size_t solve_size(const solve_task *task);
/* weights: solve_size floats, filled. */
kit_status solve(const solve_task *task, float *weights, uint32_t *out_epochs, kolm_error_t *err) KIT_MUST_USE;

/* SOLVE_L1, called by solve. */
kit_status solve_l1(const solve_task *task, float *weights, uint32_t *out_epochs, kolm_error_t *err) KIT_MUST_USE;

/* Stores the scores of a decoded row in sums[0 .. width-1]; weights as above, with `lines` features before the bias. */
void solve_score(const float *weights, uint32_t width, uint32_t lines, const row_view *row, float *sums);

#endif
