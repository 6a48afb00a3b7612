/* SPDX-License-Identifier: Apache-2.0 */
/* Reading training data as a stream of (input, output) rows, whatever its format, with errors that name the place. */
#ifndef KOLM_JOB_ROWS_H
#define KOLM_JOB_ROWS_H

/*
 * Formats, told apart by content: a first non-blank byte '{' is JSON lines, anything else a table; all of them may be
 * packed (source.h).
 *
 *   JSON lines  {"input","output"} or {"prompt","completion"}: strings; an output may also be an integer or a boolean,
 *               taken as its JSON text. {"messages":[{"role","content"}...]} (OpenAI chat): the last message must be
 *               the assistant's and is the output. With one user message before it (and any system message) the input
 *               is the user's text; with more it is all of them, "role: text", one a line. Other keys are ignored.
 *               Blank lines are skipped.
 *   Tables      RFC 4180, with a header line: fields in double quotes may hold separators, line ends and doubled
 *               quotes. A quote that is not the first character of its field is a character like any other.
 *               Separator: that of a first line "sep=X"; a tab when path ends in .tsv or .tab (.gz and .zst behind it
 *               do not count); else the one of tab , ; | with which the header has the columns.
 *               A file with tabs has quoted fields only if all of it can be read so; it is read twice for that, from
 *               the first field on that begins with a quote, through a file in `scratch`.
 *               Columns: input | prompt | text | question | query, and output | completion | label | answer | category
 *               | target, in any case and with blanks around them; input_col and output_col name others. What is
 *               guessed for the output is never the input's own column. input_col is one name, or several set apart by
 *               commas if there is none with the comma in it: their texts are joined by LF, blank ones left out.
 *               A header that comes again is no row: with the columns in use, or again with names that are guessed; its
 *               order of columns holds from there on. So is no row what has separators and blanks only.
 *               A quote that is astray makes its own row bad, and none behind it: rows_record.c has the rules.
 *
 * A row is at most JOB_ROW_MAX bytes. All text must be valid UTF-8 without NUL; a byte order mark at the start is
 * dropped.
 *
 * Threads: one reader, one thread.
 */

#include "kolm/kit/json.h"

#define JOB_ROW_MAX (16u << 20)

typedef struct job_reader job_reader;

typedef struct job_row {
    uint64_t line;              /* where it starts in the file, from 1 */
    const char *input, *output; /* NUL terminated, valid until the next call */
    size_t input_length, output_length;
    /* What stands before the question and is often the same in every row (system messages, an instruction, tools), as
     * text; "" when there is nothing of the kind. It is no part of input. */
    const char *context;
    size_t context_length;
    /* The row's identity: all that the model sees before its answer, as bytes. Two rows ask the same, and may repeat or
     * contradict each other, only if these are equal. Of a plain row it is the input. */
    const char *seen;
    size_t seen_length;
    const cJSON *messages; /* the chat it came from, or NULL; valid until the next call */
} job_row;

typedef struct job_reader_options {
    const char *path;       /* shown in errors */
    const char *input_col;  /* NULL: guess; several, set apart by commas, are joined */
    const char *output_col; /* NULL: guess */
    /* Not zero when a signal comes ends a wait for input with CANCELLED; NULL: never. */
    const volatile sig_atomic_t *cancel;
    bool inputs_only; /* rows need no output (kolm run); output is then "" when there is none */
    bool no_header;   /* of a table: its first line is a row; columns are called "1", "2", ... */
    /* A directory for lines of a TSV that must be read twice, in a file without a name; NULL: that of temporary files.
     */
    const char *scratch;
} job_reader_options;

/* fd is read from its start and stays the caller's. INVALID_ARGUMENT when this cannot be data (empty, binary, UTF-16,
 * no usable header). */
kit_status job_reader_open(int fd, const job_reader_options *options, job_reader **out_reader,
                           kolm_error_t *err) KIT_MUST_USE;
/* The next row; *out_found false at the end. INVALID_ARGUMENT or OUT_OF_RANGE for a bad row (the error says line,
 * column, what was expected): reading may go on behind it. Any other code is final, so is DATA_LOSS: packed data that are
 * cut off or damaged. */
kit_status job_reader_next(job_reader *reader, job_row *out_row, bool *out_found, kolm_error_t *err) KIT_MUST_USE;
void job_reader_close(job_reader *reader);

/* What was seen in a table so far. */
typedef struct job_table_notes {
    uint64_t headers;      /* repeated in its middle, and left out */
    uint64_t suspects;     /* quoted fields over several lines that may hold rows */
    uint64_t suspect_line; /* where the first of them begins */
} job_table_notes;
job_table_notes job_reader_notes(const job_reader *reader);

#endif
