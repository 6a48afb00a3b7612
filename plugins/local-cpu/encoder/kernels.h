/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of the encoder, for each vector width of a processor, with identical results. */
#ifndef LOCAL_CPU_ENCODER_KERNELS_H
#define LOCAL_CPU_ENCODER_KERNELS_H

#include "describe.h"
#include "safetensors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A lane is a token. Tokens only interact in the attention, so a vector holds the same component of adjacent tokens,
 * and a product uses the weights in the layout of the file, broadcasting one number at a time: nothing is transposed or
 * packed, and fp16 weights are widened a few rows at a time.
 *
 * Panels. Activations of R numbers per token are stored as panels of `panel` tokens: the first number of all tokens of
 * the panel, then the second, ... Panel p begins at p * R * panel. Lanes after the last token are unused.
 *
 * Order. Every output is one chain: it starts with its bias and adds product after product, in the order of k, each
 * with one fused multiply-add (rounded once, IEEE 754-2008 fusedMultiplyAdd), in software if the processor has none.
 * Sums over a token's numbers are four chains, k modulo 4, added as (0 + 1) + (2 + 3). So results do not depend on the
 * width, the blocks, the number of threads, or the rest of the batch.
 */

/* A matrix in the layout of the file, in C order. */
typedef struct enc_matrix {
    const uint8_t *data;
    enc_dtype dtype; /* ENC_F32, ENC_F16 or ENC_BF16 */
    uint32_t rows, columns;
} enc_matrix;

typedef struct enc_panels {
    float *at;
    uint32_t rows; /* numbers per token */
} enc_panels;

/* The number of tokens: whole panels, and the number of vectors in the last one. */
typedef struct enc_extent {
    uint32_t panels, last_vectors;
} enc_extent;

/* y[n] = after(x . w[n] + bias[n] + more[n]) for rows of w, over a range of their columns. */
typedef struct enc_product {
    const enc_matrix *w;
    uint32_t first_row, rows;       /* of w: row first_row + i becomes y[y_row + i] */
    uint32_t first_column, columns; /* of w: column first_column + k is multiplied by x[x_row + k] */
    enc_panels x, y, more;
    uint32_t x_row, y_row;
    const float *bias; /* of row first_row + i at bias[i]; NULL: continue with the sums in y */
    bool add;          /* add more, which has the rows of y, at the end of the chain */
    bool activate;
    enc_activation activation;
    float *scratch; /* enc_kernels.block * columns numbers, for weights that are not floats */
} enc_product;

typedef struct enc_attention {
    enc_panels q, k, v, to;
    uint32_t first_head, heads, size; /* size: of a head */
    uint32_t first, count;            /* tokens of the text */
    float scale;                      /* of the scores */
    /* Added to the score of key j for query i of head h: bias[h * bias_stride + (i - j) + bias_zero]; NULL: none. Must
     * be readable for one vector beyond its last number. */
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
    /* Stores whole vectors: of a text that begins within one, numbers of the row after the last head are read, and
     * written back later. So no other call may write the rows of other heads of such a text at the same time. */
    void (*attend)(const enc_attention *a);
    /* Converts count numbers at any address to floats. */
    void (*widen)(const uint8_t *from, enc_dtype dtype, size_t count, float *to);
    /* For tests: e^x for x <= 88, and the activations; count is a multiple of lanes. */
    void (*exponential)(const float *x, size_t count, float *to);
    void (*activate)(enc_activation activation, float *x, size_t count);
} enc_kernels;

size_t enc_attention_scratch(const enc_kernels *kernels, uint32_t count, uint32_t size);

/* Returns the widest kernels for this processor; if lanes is 16, 8 or 4, those with that many lanes, or NULL. */
const enc_kernels *enc_kernels_find(uint32_t lanes);
/* Kernels with 4 lanes in plain C, without hardware fused multiply-add: slow, for tests on any machine. */
const enc_kernels *enc_kernels_plain(void);

#endif
