/* SPDX-License-Identifier: Apache-2.0 */
/* What all rows of the data have in common besides their questions, and how rows are written for a backend. */
#ifndef KOLM_JOB_COMMON_H
#define KOLM_JOB_COMMON_H

/*
 * A row may contain more than a question: system messages, an instruction (Alpaca), tools, and a conversation before
 * the last answer. A system text, an instruction or a list of tools that is the same in every row has no information
 * for an engine that learns from words, so it is omitted from "input". If it differs from row to row, it precedes the
 * question there, on its own lines: system, tools, instruction. The messages for a language model are always complete.
 *
 * What was the same in all rows is stored with the model (options.common of its manifest), so that a question without
 * it, such as a plain text, is passed to the model in the form of its training rows.
 */

#include "job/rows.h"

#define JOB_COMMON_MAX (1u << 20) /* bytes of a part; a longer one counts as different in each row */

/* Zero-initialise. A part is NULL if there is none, or if it is not the same in all rows. */
typedef struct job_common {
    char *system; /* as in job_row */
    char *system_text;
    char *instruction;
    char *tools;
    bool begun; /* a row was seen */
} job_common;

/* Call for each row of the data. */
kit_status job_common_see(job_common *common, const job_row *row, kolm_error_t *err) KIT_MUST_USE;
/* Adds the missing parts to the row; they are owned by common, and row->seen and row->context by the buffers seen and
 * context. A question that begins with the instruction is split first. */
void job_common_fill(const job_common *common, job_row *row, kit_buf *seen, kit_buf *context);
/* Adds the parts to object as "common": {"system","instruction","tools"}, texts, without missing ones; nothing if there
 * are none. False if out of memory. */
bool job_common_put(const job_common *common, cJSON *object);
/* The inverse. object NULL, or without the key: nothing in common. DATA_LOSS if it is invalid. */
kit_status job_common_get(const cJSON *object, job_common *out_common, kolm_error_t *err) KIT_MUST_USE;
void job_common_free(job_common *common);

/* Makes a row of a plain question. The text is owned by the caller, and must be NUL-terminated. */
job_row job_row_of_text(const char *text, size_t length);
/* Appends the text that an engine of words learns from: the question, preceded by what differs from row to row. */
void job_row_put_input(const job_row *row, const job_common *common, kit_buf *out);
/* Appends ,"messages":[...] and, if there are tools, ,"tools":[...]; nothing for a plain row. with_output: includes the
 * assistant's answer as the last message. */
void job_row_put_messages(const job_row *row, bool with_output, kit_buf *out);
/* Append the row's identity (job_row.seen), and what precedes its question (job_row.context). */
void job_row_put_seen(const job_row *row, kit_buf *out);
void job_row_put_context(const job_row *row, kit_buf *out);

/* Write a row as members of an object of texts, without the braces, and read it; texts belong to object. False if it is
 * not such a row. */
void job_row_put_spool(const job_row *row, kit_buf *out);
bool job_row_get_spool(const cJSON *object, job_row *out_row);

#endif
