/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of the encoder, once for each width of vectors that a processor may have, with the same bits from
 * all. */
#ifndef LOCAL_CPU_ENCODER_KERNELS_H
#define LOCAL_CPU_ENCODER_KERNELS_H

#include "describe.h"
#include "safetensors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A lane is a token. What the transformer does with one token never meets another one but in the attention, so a vector
 * holds the same number of neighbouring tokens, and a product takes the weights as they lie in the file, one number
 * broadcast at a time: nothing is transposed or packed, and a file of halves is widened a few rows at a time.
 *
 * Panels. Activations of R numbers a token lie as panels of `panel` tokens: the first number of all tokens of the
 * panel, then the second, ... Panel p begins at p * R * panel. Lanes behind the last token hold numbers that nobody
 * reads.
 *
 * Order. Every output is one chain: it begins with its bias and adds product after product, in the order of k, each by
 * one fused multiply-add (rounded once, IEEE 754-2008 fusedMultiplyAdd), in software where the processor has none. Sums
 * over a token's numbers are four chains, k modulo 4, added as (0 + 1) + (2 + 3). So neither the width, nor the blocks,
 * nor the number of threads, nor what else is in the batch changes a bit.
 */

/* A matrix as it lies in the file, in C order. */
typedef struct enc_matrix {
    const uint8_t *data;
    enc_dtype dtype; /* ENC_F32, ENC_F16 or ENC_BF16 */
    uint32_t rows, columns;
} enc_matrix;

typedef struct enc_panels {
    float *at;
    uint32_t rows; /* numbers a token */
} enc_panels;

/* How many tokens there are: whole panels, and of the last one so many vectors. */
typedef struct enc_extent {
    uint32_t panels, last_vectors;
} enc_extent;

/* y[n] = after(x . w[n] + bias[n] + more[n]) for rows of w, over a range of their columns. */
typedef struct enc_product {
    const enc_matrix *w;
    uint32_t first_row, rows;       /* of w: row first_row + i becomes y[y_row + i] */
    uint32_t first_column, columns; /* of w: column first_column + k meets x[x_row + k] */
    enc_panels x, y, more;
    uint32_t x_row, y_row;
    const float *bias; /* of row first_row + i at bias[i]; NULL: go on with the sums that y holds */
    bool add;          /* more, whose rows are those of y, is added at the end of the chain */
    bool activate;
    enc_activation activation;
    float *scratch; /* enc_kernels.block * columns numbers, for weights that are no floats */
} enc_product;

typedef struct enc_attention {
    enc_panels q, k, v, to;
    uint32_t heads, size;  /* of a head */
    uint32_t first, count; /* tokens of the text */
    float scale;           /* of the scores */
    /* Of head h, what is added to the score of key j for query i: bias[h * bias_stride + (i - j) + bias_zero]; NULL:
     * none. Readable for a vector behind its last number. */
    const float *bias;
    uint32_t bias_stride, bias_zero;
    float *scratch; /* enc_attention_scratch(...) numbers */
} enc_attention;

typedef struct enc_kernels {
    const char *name; /* "avx512" */
    uint32_t lanes, panel;
    uint32_t block; /* rows of weights that are multiplied at a time */
    void (*multiply)(const enc_product *p, enc_extent extent);
    /* In place: (x - mean) / sqrt(variance + epsilon) * gain + bias of each token. */
    void (*normalise)(enc_panels x, enc_extent extent, const float *gain, const float *bias, float epsilon);
    void (*attend)(const enc_attention *a);
    /* count numbers at any address into floats. */
    void (*widen)(const uint8_t *from, enc_dtype dtype, size_t count, float *to);
    /* For tests: e^x for x <= 88, and the activations; count is a multiple of lanes. */
    void (*exponential)(const float *x, size_t count, float *to);
    void (*activate)(enc_activation activation, float *x, size_t count);
} enc_kernels;

size_t enc_attention_scratch(const enc_kernels *kernels, uint32_t count, uint32_t size);

/* The widest that this processor has; of those with so many lanes (16, 8 or 4) when lanes is not 0, or NULL. */
const enc_kernels *enc_kernels_find(uint32_t lanes);
/* Of lanes 4 in C alone, without the processor's own fused multiply-add: slow, for tests on any machine. */
const enc_kernels *enc_kernels_plain(void);

#endif
