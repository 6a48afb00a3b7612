/* SPDX-License-Identifier: Apache-2.0 */
/* A frozen sentence encoder: reads a directory in Hugging Face layout, and maps token ids to embeddings. */
#ifndef LOCAL_CPU_ENCODER_H
#define LOCAL_CPU_ENCODER_H

#include "describe.h"
#include "files.h"
#include "kernels.h"

/*
 * The computation is described in describe.h (models), kernels.h (order of operations) and here:
 *
 *   BERT, RoBERTa, XLM-R, MPNet   Devlin et al. 2019, Liu et al. 2019, Conneau et al. 2020, Song et al. 2020, as the
 *                                 transformers library computes them in fp32; embeddings differ by less than 1e-5
 *   static embeddings             the mean of the tokens' rows, each times its weight if there are weights
 *
 * The bytes of an embedding are the same on every processor, for any number of threads, and any batch and order.
 *
 * Opening an encoder converts only biases and norms: the weights stay in the mapped file, of which only the used parts
 * are read. In addition a call needs a few megabytes per thread, for texts of usual length; if there is less memory,
 * fewer threads share the work.
 *
 * An open encoder has a thread of its own, which reads the weights of the layers from the disk until it has all or the
 * encoder is closed. It is in addition to the threads of enc_embed, also if that is called with one: it waits for the
 * disk and computes nothing, and without it the first text would wait for each page.
 */
typedef struct encoder encoder;

/* The ids of a text's tokens, including special ones, from the model's tokenizer. */
typedef struct enc_text {
    const uint32_t *tokens;
    uint32_t count;
} enc_text;

/* Opens the encoder in a directory. FAILED_PRECONDITION, UNIMPLEMENTED, NOT_FOUND or DATA_LOSS if it is not usable. */
kit_status enc_open(const char *directory, encoder **out, kolm_error_t *err) KIT_MUST_USE;
/* The same for files. Takes ownership of them, even on failure. */
kit_status enc_open_files(enc_files *files, encoder **out, kolm_error_t *err) KIT_MUST_USE;
void enc_close(encoder *e); /* no-op if NULL */

const enc_description *enc_described(const encoder *e);
enc_files *enc_files_used(const encoder *e); /* to read other files, or to list those used */
uint32_t enc_dimensions(const encoder *e);   /* floats per embedding */

/* Bytes of the weights that every text reads: those of the layers; it reads little of the tables. */
uint64_t enc_layer_bytes(const encoder *e);

/* out: count rows of enc_dimensions numbers, in the order of texts. Texts may have any order and lengths; they are
 * sorted and packed internally, so pass many at once. INVALID_ARGUMENT for a token that is not in the vocabulary,
 * OUT_OF_RANGE for a text of more than max_tokens. A text without any token has the embedding 0. DATA_LOSS if the
 * weights produce numbers that are not finite. May be called by several threads at once. */
kit_status enc_embed(const encoder *e, const enc_text *texts, size_t count, uint32_t threads, float *out,
                     kolm_error_t *err) KIT_MUST_USE;

/* The name of the vector instructions in use: "avx2"; for reports. */
const char *enc_vectors(const encoder *e);
/* For tests and benchmarks: selects other kernels. */
void enc_use(encoder *e, const enc_kernels *kernels);

#endif
