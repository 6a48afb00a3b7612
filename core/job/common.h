/* SPDX-License-Identifier: Apache-2.0 */
/* What all rows of some data have in common beside their questions, and how rows are written for a backend. */
#ifndef KOLM_JOB_COMMON_H
#define KOLM_JOB_COMMON_H

/*
 * A row may bring more than a question: system messages, an instruction (Alpaca), tools, and a conversation before the
 * last answer. A system text, an instruction or a list of tools that is the same in every row of the data says nothing
 * to an engine that learns from words, so it is left out of "input"; one that differs from row to row stands before the
 * question there, on lines of its own: system, tools, instruction. The messages that a language model reads are always
 * whole.
 *
 * What was the same in all rows is remembered with the model (options.common of its manifest), so that a question which
 * comes without it, a plain text above all, is given to the model in the form of its training rows.
 */

#include "job/rows.h"

#define JOB_COMMON_MAX (1u << 20) /* bytes of a part; a longer one counts as different from row to row */

/* Zero-initialise it. Each part NULL when there is none, or when it is not the same everywhere. */
typedef struct job_common {
    char *system; /* as job_row has them */
    char *system_text;
    char *instruction;
    char *tools;
    bool begun; /* a row was seen */
} job_common;

/* Adds the next row of the data. */
kit_status job_common_see(job_common *common, const job_row *row, kolm_error_t *err) KIT_MUST_USE;
/* Adds the missing parts to the row; they, and what row->seen and row->context then point to, are owned by common, seen
 * and context. A question that begins with the instruction is taken apart first. */
void job_common_fill(const job_common *common, job_row *row, kit_buf *seen, kit_buf *context);
/* {"system","instruction","tools"} as texts, those that there are, added to object as "common"; nothing when there are
 * none. False when memory is out. */
bool job_common_put(const job_common *common, cJSON *object);
/* From such an object; NULL, or one without the key: nothing in common. DATA_LOSS when it is not what was put. */
kit_status job_common_get(const cJSON *object, job_common *out_common, kolm_error_t *err) KIT_MUST_USE;
void job_common_free(job_common *common);

/* A row that is a plain question; the text stays the caller's, and is NUL terminated behind its length. */
job_row job_row_of_text(const char *text, size_t length);
/* Appends the text that an engine of words learns from: the question, and before it what differs from row to row. */
void job_row_put_input(const job_row *row, const job_common *common, kit_buf *out);
/* Appends ,"messages":[...] and, where there are tools, ,"tools":[...]; nothing for a plain row. with_output: with the
 * assistant's answer as the last message. */
void job_row_put_messages(const job_row *row, bool with_output, kit_buf *out);
/* Appends the row's identity, what job_row.seen is, and what stands before its question, what job_row.context is. */
void job_row_put_seen(const job_row *row, kit_buf *out);
void job_row_put_context(const job_row *row, kit_buf *out);

/* A row as members of an object of texts, without the braces, and back; texts belong to object. False: not such a
 * row. */
void job_row_put_spool(const job_row *row, kit_buf *out);
bool job_row_get_spool(const cJSON *object, job_row *out_row);

#endif
