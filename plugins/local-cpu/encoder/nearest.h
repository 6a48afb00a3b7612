/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the rows nearest to each question of an infer job, by their embeddings. */
#ifndef LOCAL_CPU_ENCODER_NEAREST_H
#define LOCAL_CPU_ENCODER_NEAREST_H

#include "infer.h"

/*
 * The rows are in near.jsonl of the job, lines of {"id","input"}. Likeness is the cosine of the embeddings; rows with a
 * likeness of 0 or less are left out, and rows of equal likeness keep their order. Memory: the embeddings of the
 * questions, at most NEAREST_QUESTIONS of them, and of one batch of rows.
 */
#define NEAREST_FILE "near.jsonl"
#define NEAREST_QUESTIONS 64u /* a job with more gets no nearest rows */
#define NEAREST_ROWS 3u       /* of each question */

typedef struct nearest nearest;
typedef struct sentences sentences;

/* Reads the questions from the open file `questions`, starting at its offset, which it restores. *out is NULL if there
 * are too many or none. watch.step reports rows of near.jsonl. CANCELLED as in infer_run. */
kit_status nearest_make(sentences *s, uint32_t threads, int questions, const char *rows_path, const infer_watch *watch,
                        nearest **out, kolm_error_t *err) KIT_MUST_USE;
void nearest_free(nearest *n); /* no-op if NULL */
/* For infer_engine.more: `,"near":[{"id","likeness"}, ...]` for the question with this number, from 0. */
const char *nearest_text(void *self, uint64_t question);

#endif
