/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the row reader: rows.c opens files and reads lines, rows_json.c and rows_table.c parse them. */
#ifndef KOLM_JOB_INTERNAL_H
#define KOLM_JOB_INTERNAL_H

#include "job/dataset.h"
#include "job/source.h"
#include "kolm/kit/lines.h"

typedef enum row_format { ROWS_JSON, ROWS_TABLE } row_format;

struct job_reader {
    job_reader_options options;
    job_bytes *bytes;
    kit_lines *lines;
    row_format format;
    /* A first line that was read to detect the format, and must still be parsed. */
    bool have_line;
    const char *line;
    size_t line_length;
    struct rows_json *json;    /* for JSON lines; else NULL */
    struct rows_table *table;  /* for a table; else NULL */
    unsigned long long number; /* of the last line taken */
    job_unused unused;
    job_guess guess;
    kit_buf input, output, context, seen;
    job_fault fault;
};

/* Remedies for a bad row. */
typedef struct rows_remedy {
    const char *text;
    bool names_skip; /* it mentions --skip-bad */
} rows_remedy;
#define ROWS_FIX(text) ((rows_remedy){text, false})
#define ROWS_SKIP(text) ((rows_remedy){text, true})
#define ROWS_FIX_OR_SKIP(text) ROWS_SKIP(text ", or pass --skip-bad to leave such rows out")

/* Fails with RESOURCE_EXHAUSTED. */
kit_status rows_no_memory(kolm_error_t *err);
/* The number of the current line, from 1. */
unsigned long long rows_line(const job_reader *reader);
/* Fails with INVALID_ARGUMENT, "FILE, line N, column C: TEXT". kind: text without what differs from row to row; NULL:
 * the same text. */
kit_status rows_bad(job_reader *reader, kolm_error_t *err, unsigned long long line, size_t column, rows_remedy remedy,
                    const char *kind, const char *text);
/* Fails with OUT_OF_RANGE. */
kit_status rows_too_long(job_reader *reader, unsigned long long line, kolm_error_t *err);
/* INVALID_ARGUMENT if the current line is not UTF-8 text without NUL. */
kit_status rows_check_text(job_reader *reader, const char *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;
/* The line that was read ahead, or the next one; *out_line NULL at the end. Valid until the next call. */
kit_status rows_take_line(job_reader *reader, const char **out_line, size_t *out_length,
                          kolm_error_t *err) KIT_MUST_USE;
/* Skips a byte order mark: files joined with cat have one in their middle. */
void rows_skip_mark(const char **line, size_t *length);
/* Appends at most 40 bytes of text, with control characters escaped: a name from the data, for a message. */
void rows_add_printable(kit_buf *out, const char *text);

/* Makes and frees reader->json. */
kit_status rows_open_json(job_reader *reader, kolm_error_t *err) KIT_MUST_USE;
void rows_close_json(job_reader *reader);
/* Parses a line of UTF-8 text into reader->input, ->output and ->json. */
kit_status rows_parse_json(job_reader *reader, const char *line, size_t length, kolm_error_t *err) KIT_MUST_USE;
/* The parts of the current row. */
void rows_fill_json(const job_reader *reader, job_row *row);
/* True if one of its texts is incomplete because memory ran out. */
bool rows_cut_json(const struct rows_json *json);
/* The next row of JSON lines; false in *out_found at the end. */
kit_status rows_next_json(job_reader *reader, unsigned long long *out_line, bool *out_found,
                          kolm_error_t *err) KIT_MUST_USE;

/* Makes reader->table, reads the header and finds the columns. */
kit_status rows_open_table(job_reader *reader, kolm_error_t *err) KIT_MUST_USE;
void rows_close_table(job_reader *reader);
void rows_note_table(const job_reader *reader, job_table_notes *out);
/* As rows_next_json, for a table. */
kit_status rows_next_table(job_reader *reader, unsigned long long *out_line, bool *out_found,
                           kolm_error_t *err) KIT_MUST_USE;

/* ---- common.c */
/* Adds what a reader counted and guessed to the summary. */
void job_add_unused(job_summary *summary, const job_reader *reader);

/* ---- bad_rows.c */
/* Counts a bad row that was left out: `text` is the sentence of job_reader_next. */
void job_count_bad(job_summary *summary, const job_fault *fault, const char *text);

#endif
