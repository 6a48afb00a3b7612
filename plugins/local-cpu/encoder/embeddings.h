/* SPDX-License-Identifier: Apache-2.0 */
/* The embeddings of all training rows, in a file of the job, from which the next run resumes after an interruption. */
#ifndef LOCAL_CPU_ENCODER_EMBEDDINGS_H
#define LOCAL_CPU_ENCODER_EMBEDDINGS_H

#include "choose.h"
#include "encoder/sentences.h"

/*
 * DIRECTORY/embeddings has native floats, [rows][dimensions], of length 1, in the order of the rows. DIRECTORY/embedded
 * records how many of them are valid: a line with a digest of the rows, the encoder and the engine (`key`), that
 * number, a checksum over them, their number of tokens and the number of truncated rows; and the same line as of the
 * last fsync. It is written after every batch; neither file exists before the first batch. A run resumes from files
 * with the same key: an embedding does not depend on its batch, so the result is the same.
 *
 * Memory: one batch of texts; the complete file is mapped.
 */
typedef struct embed_job {
    sentences *sentences;
    const char *rows_path; /* train.jsonl */
    const char *directory; /* created with the first batch */
    uint64_t key;
    uint32_t rows, threads;
    choose_watch watch;
} embed_job;

typedef struct embeddings {
    const float *at; /* [rows][dimensions] */
    size_t bytes;
    uint64_t tokens, cut; /* of all rows; rows that were longer than the encoder reads */
    uint32_t resumed;     /* rows embedded by an earlier run */
} embeddings;

kit_status embeddings_make(const embed_job *job, embeddings *out, kolm_error_t *err) KIT_MUST_USE;
void embeddings_close(embeddings *e); /* the files stay */

#endif
