/* SPDX-License-Identifier: Apache-2.0 */
/* The embeddings of all training rows, in a file of the job that an interrupted run leaves to the next. */
#ifndef LOCAL_CPU_ENCODER_EMBEDDINGS_H
#define LOCAL_CPU_ENCODER_EMBEDDINGS_H

#include "choose.h"
#include "encoder/sentences.h"

/*
 * DIRECTORY/embeddings is floats of this machine, [rows][dimensions], of length 1, in the order of the rows;
 * DIRECTORY/embedded says how many of them are good: a line with a digest of the rows, the encoder and the engine
 * (`key`), that number, a check sum over them, and how many tokens they had and how many were cut; and the same line as
 * it was when the disk had it last. Written after every batch. Neither file is there before the first one. What an
 * earlier run left with the same key is gone on from: an embedding has the same bytes in any company, so nothing tells
 * afterwards.
 *
 * Memory: one batch of texts; the file is mapped when it is whole.
 */
typedef struct embed_job {
    sentences *sentences;
    const char *rows_path; /* train.jsonl */
    const char *directory; /* made with the first batch */
    uint64_t key;
    uint32_t rows, threads;
    choose_watch watch;
} embed_job;

typedef struct embeddings {
    const float *at; /* [rows][dimensions] */
    size_t bytes;
    uint64_t tokens, cut; /* of all rows; rows that were longer than the encoder reads */
    uint32_t resumed;     /* rows that an earlier run had embedded */
} embeddings;

kit_status embeddings_make(const embed_job *job, embeddings *out, kolm_error_t *err) KIT_MUST_USE;
void embeddings_close(embeddings *e); /* the files stay */

#endif
