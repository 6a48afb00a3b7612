/* SPDX-License-Identifier: Apache-2.0 */
/* A frozen sentence encoder: from a directory in Hugging Face layout, and token ids, to embeddings. */
#ifndef LOCAL_CPU_ENCODER_H
#define LOCAL_CPU_ENCODER_H

#include "describe.h"
#include "files.h"
#include "kernels.h"

/*
 * What is computed is described in describe.h (which models), kernels.h (in which order) and here:
 *
 *   BERT, RoBERTa, XLM-R, MPNet   Devlin et al. 2019, Liu et al. 2019, Conneau et al. 2020, Song et al. 2020, as the
 *                                 transformers library computes them in fp32; embeddings differ by less than 1e-5 from its
 *   static embeddings             the mean of the tokens' rows, each times its weight where there are weights
 *
 * The bytes of an embedding are the same on every processor, for any number of threads, in any company and order.
 *
 * Nothing is converted or packed when an encoder is opened but biases and norms: the weights stay in the mapped file,
 * of which only what is used is ever read. Beside it a call takes a few megabytes a thread, for texts of usual length.
 */
typedef struct encoder encoder;

/* The ids of a text's tokens, special ones among them, as the model's tokenizer has them. */
typedef struct enc_text {
    const uint32_t *tokens;
    uint32_t count;
} enc_text;

/* The encoder in a directory. FAILED_PRECONDITION, UNIMPLEMENTED, NOT_FOUND or DATA_LOSS tell why it is not usable. */
kit_status enc_open(const char *directory, encoder **out, kolm_error_t *err) KIT_MUST_USE;
/* The same of files, which it takes: they are closed with the encoder, and at once when it fails. */
kit_status enc_open_files(enc_files *files, encoder **out, kolm_error_t *err) KIT_MUST_USE;
void enc_close(encoder *e); /* NULL is fine */

const enc_description *enc_described(const encoder *e);
enc_files *enc_files_used(const encoder *e); /* for what else is in them, and their list */
uint32_t enc_dimensions(const encoder *e);   /* numbers of an embedding */

/* Bytes of the weights that every text reads: those of the layers; what it reads of tables is little beside them. */
uint64_t enc_layer_bytes(const encoder *e);

/* out: count rows of enc_dimensions numbers, in the order of texts. Any order and mixture of lengths is fine: texts are
 * sorted and packed inside, so give many at once. INVALID_ARGUMENT for a token that the vocabulary does not have,
 * OUT_OF_RANGE for a text of more than max_tokens. A text without any token has the embedding 0. DATA_LOSS when the
 * weights make numbers that are not finite. May be called by several threads at once. */
kit_status enc_embed(const encoder *e, const enc_text *texts, size_t count, uint32_t threads, float *out,
                     kolm_error_t *err) KIT_MUST_USE;

/* The name of the vectors in use: "avx2"; for reports. */
const char *enc_vectors(const encoder *e);
/* For tests and benches: other kernels than the widest. */
void enc_use(encoder *e, const enc_kernels *kernels);

#endif
