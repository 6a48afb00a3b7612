/* SPDX-License-Identifier: Apache-2.0 */
/* An open model of recipe encoder: the encoder, the linear model and the head. */
#ifndef LOCAL_CPU_ENCODER_ANSWER_H
#define LOCAL_CPU_ENCODER_ANSWER_H

#include "infer.h"
#include "kolm/kit/job.h"

/*
 * The payload of recipe encoder:
 *
 *   linear.bin      the linear engine's model (model.h)
 *   head.bin        head.h
 *   encoder.json    {"format": 1, "read": "front"}, or "end": the part read of a text that is too long
 *   tokenizer.json  or vocab.txt and tokenizer_config.json: the encoder's own
 *
 * The encoder itself is the job's base; or all its files are in the payload below base/, including the tokenizer's.
 */
#define ENCODER_FILE "encoder.json"
#define ENCODER_BASE "base/"

typedef struct encoder_model encoder_model;
typedef struct sentences sentences;

/* Opens the model files of an infer job, and its base. DATA_LOSS if they are damaged, FAILED_PRECONDITION if they do
 * not belong together. */
kit_status encoder_model_open(const kit_job *job, uint32_t threads, encoder_model **out,
                              kolm_error_t *err) KIT_MUST_USE;
void encoder_model_close(encoder_model *m); /* no-op if NULL */
/* The engine for infer.h; m must outlive it. */
infer_engine encoder_model_engine(encoder_model *m);
/* The part that embeds its texts. */
sentences *encoder_model_sentences(encoder_model *m);
/* Number of texts so far that were longer than the encoder reads, and that limit in tokens. */
uint64_t encoder_model_cut(const encoder_model *m, uint32_t *out_most);

#endif
