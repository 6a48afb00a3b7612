/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors of an encoder by their role. Private to the encoder. */
#ifndef LOCAL_CPU_ENCODER_WEIGHTS_H
#define LOCAL_CPU_ENCODER_WEIGHTS_H

#include "encoder.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct enc_norm {
    float *gain, *bias;
} enc_norm;

typedef struct enc_linear {
    enc_matrix w;
    float *bias;
} enc_linear;

typedef struct enc_layer {
    enc_linear q, k, v, o, in, out;
    enc_norm after_attention, after;
} enc_layer;

typedef struct enc_weights {
    enc_matrix words, positions, types; /* types.rows is 0 if there are none */
    enc_norm norm;
    enc_layer *layers;
    float *distances; /* ENC_MPNET: for each head its bias by distance, 2 * reach + vector numbers, zero at reach */
    uint32_t reach;
    /* ENC_STATIC: words, and */
    enc_tensor row_of;    /* the row of each token; count 0: its own */
    enc_tensor weight_of; /* factor of each token's row; count 0: none */
    float *owned;         /* all floats above that were converted */
    size_t owned_count, owned_used;
} enc_weights;

struct encoder {
    enc_files *files;
    enc_tensors *tensors;
    enc_description is;
    enc_weights weights;
    const enc_kernels *kernels;
    const enc_kernels *few; /* for at most as many tokens as its vectors have lanes */
    char *shown;            /* the file of weights, for messages */
    pthread_t mapper;       /* reads a byte of each part of the layers, if maps */
    bool maps;
    atomic_bool closes; /* the rest need not be mapped */
};

#define ENC_VECTOR_MOST 16u /* lanes of the widest vectors */

/* Fills weights from tensors and checks every shape. DATA_LOSS or UNIMPLEMENTED, with the reason. */
kit_status enc_weights_bind(encoder *e, kolm_error_t *err) KIT_MUST_USE;
void enc_weights_free(encoder *e);

/* Computes all layers for one chunk of texts (forward.c). */
typedef struct enc_workspace enc_workspace;
/* most: maximum number of tokens in a chunk; threads: that compute it together. */
kit_status enc_workspace_new(const encoder *e, uint32_t most, uint32_t longest, uint32_t threads, enc_workspace **out,
                             kolm_error_t *err) KIT_MUST_USE;
void enc_workspace_free(enc_workspace *space);
/* which: the texts of the chunk; out as in enc_embed. */
kit_status enc_forward(const encoder *e, enc_workspace *space, const enc_text *texts, const uint32_t *which,
                       uint32_t count, float *out, kolm_error_t *err) KIT_MUST_USE;
void enc_forward_static(const encoder *e, const enc_text *text, float *out);

#endif
