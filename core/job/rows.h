/* SPDX-License-Identifier: Apache-2.0 */
/* Reads training data in any supported format as a stream of (input, output) rows, with errors that name the place. */
#ifndef KOLM_JOB_ROWS_H
#define KOLM_JOB_ROWS_H

/*
 * Formats are detected by content: a first non-blank byte '{' is JSON lines, anything else a table; both may be
 * compressed (source.h).
 *
 *   JSON lines  one object per line, blank lines skipped. The first matching form is used; null counts as no key:
 *
 *       {"messages":[...]}            OpenAI's chats: {"role","content"[,"name","tool_calls","tool_call_id"]}
 *       {"conversations":[...]}       ShareGPT's: {"from","value"}; roles by other names are those of OpenAI
 *       {"instruction","input",...}   Alpaca's, with "output", and "history":[[question, answer],...]
 *       {"prompt":[...],"completion":[...]}  TRL's, messages on both sides
 *       {"input","output"}, {"prompt","completion"}, and the columns of tables: one of "text", "question", "query" and
 *                                     one of "label", "answer", "category", "target"; guessed once per file
 *
 *               Each may also have "system" (text) and "tools" (an array, or its text). An output is a text, an
 *               integer, true or false, the latter as their JSON text. In a chat the last message must be the
 *               assistant's, and is the output; for tool calls that is their JSON text. A content that is an array of
 *               parts becomes their texts, one per line. If input_col and output_col name two keys, only those are
 *               read.
 *
 *               Only what is read must be strict JSON (kit_json_validate; numbers inside tools may have any size); the
 *               rest is skipped (kit_json_walk), and its keys are counted by name: job_reader_unused.
 *
 *   Tables      RFC 4180, with a header line: fields in double quotes may hold separators, line ends and doubled
 *               quotes. A quote that is not the first character of its field is an ordinary character.
 *               Separator: from a first line "sep=X"; a tab if path ends in .tsv or .tab (ignoring .gz and .zst); else
 *               the one of tab , ; | with which the header has the columns.
 *               In a file with tabs, fields may be quoted only if the whole file parses that way; to decide that, it is
 *               read twice from the first field that begins with a quote, through a file in `scratch`.
 *               Columns: input | prompt | text | question | query, and output | completion | label | answer | category
 *               | target, in any case, surrounding spaces ignored; input_col and output_col name others. The guess for
 *               the output is never the input's column. input_col is one name or, if no column has a name with the
 *               comma, several separated by commas: their texts are joined by LF, without blank ones.
 *               A repeated header, with the columns in use or with names that are guessed, is not a row; its order of
 *               columns applies from there on. A line with only separators and blanks is not a row either.
 *               A stray quote makes only its own row bad: rows_record.c has the rules.
 *
 * A row is at most JOB_ROW_MAX bytes. All text must be valid UTF-8 without NUL; a byte order mark at the start is
 * dropped.
 *
 * Threads: one reader, one thread.
 */

#include "kolm/kit/json.h"
#include "kolm/kit/json_walk.h"

#define JOB_ROW_MAX (16u << 20)

typedef struct job_reader job_reader;

/* All texts are NUL-terminated, and valid until the next call. */
typedef struct job_row {
    uint64_t line;              /* where it starts in the file, from 1 */
    const char *input, *output; /* the question, and its answer (with inputs_only "" if there is none) */
    size_t input_length, output_length;
    /* What comes with the question; each "" if there is none. */
    const char *system;      /* the first messages: {"role":"system","content":"..."}, joined by commas */
    const char *system_text; /* their texts, one per line */
    const char *instruction; /* precedes the question, on a line of its own, in the user's message */
    const char *tools;       /* a JSON array */
    const char *turns;       /* messages joined by commas, if the user asks more than one question: all except the
                                system's and the answer. input is then their text, "role: text" each */
    /* system_text, tools and instruction, each on a line: often the same in every row. Not part of input. */
    const char *context;
    size_t context_length;
    /* The row's identity: everything that the model sees before its answer, as bytes. Two rows have the same question,
     * and may repeat or contradict each other, only if these are equal. For a plain row it is the input. */
    const char *seen;
    size_t seen_length;
    const char *id; /* with with_id: the row's id, integers as text; NULL if it has none */
} job_row;

#define JOB_UNUSED_MAX 16u
#define JOB_UNUSED_NAME 64u

/* Keys and columns that are not used, in the order in which they were found. */
typedef struct job_unused {
    struct {
        char name[JOB_UNUSED_NAME]; /* printable; "messages.KEY" for one inside a message */
        uint64_t rows;
    } keys[JOB_UNUSED_MAX];
    size_t count;
    uint64_t more; /* occurrences of further ones */
} job_unused;

/* Which keys were guessed for input and output; NULL: not guessed. */
typedef struct job_guess {
    const char *input, *output;
} job_guess;

typedef struct job_reader_options {
    const char *path;       /* shown in errors */
    const char *input_col;  /* NULL: guess; several, separated by commas, are joined */
    const char *output_col; /* NULL: guess */
    /* If nonzero when a signal arrives, a wait for input ends with CANCELLED; NULL: never. */
    const volatile sig_atomic_t *cancel;
    bool inputs_only; /* rows need no output (kolm run): in a JSON row it is skipped */
    bool no_header;   /* tables only: the first line is a row; columns are called "1", "2", ... */
    /* A directory for lines of a TSV that must be read twice, in a file without a name; NULL: that of temporary files.
     */
    const char *scratch;
    bool with_id; /* "id" is read */
} job_reader_options;

/* Reads fd from its start; the caller keeps it. INVALID_ARGUMENT if it cannot be data (empty, binary, UTF-16, no usable
 * header). */
kit_status job_reader_open(int fd, const job_reader_options *options, job_reader **out_reader,
                           kolm_error_t *err) KIT_MUST_USE;
/* Reads the next row; *out_found is false at the end. INVALID_ARGUMENT or OUT_OF_RANGE for a bad row (the error has the
 * line, the column and what was expected): reading may continue. Other codes are final, for example DATA_LOSS:
 * compressed data that are truncated or damaged. */
kit_status job_reader_next(job_reader *reader, job_row *out_row, bool *out_found, kolm_error_t *err) KIT_MUST_USE;
void job_reader_close(job_reader *reader);
const job_unused *job_reader_unused(const job_reader *reader);
job_guess job_reader_guess(const job_reader *reader);

/* What is wrong with a bad row, besides its place. */
typedef struct job_fault {
    char kind[128];  /* without what differs from row to row: "expected the key \"output\", found \"...\"" */
    bool names_skip; /* the remedy offers --skip-bad */
} job_fault;
/* The fault of the row that job_reader_next or job_reader_parse last rejected. */
const job_fault *job_reader_fault(const job_reader *reader);

/* Opens a reader of JSON rows that are passed one by one instead of read from a file. */
kit_status job_reader_open_rows(const job_reader_options *options, job_reader **out_reader,
                                kolm_error_t *err) KIT_MUST_USE;
/* Like job_reader_next, but the input may be blank. number: of the line, for errors. */
kit_status job_reader_parse(job_reader *reader, const char *line, size_t length, uint64_t number, job_row *out_row,
                            kolm_error_t *err) KIT_MUST_USE;

/* Counts for a table so far. */
typedef struct job_table_notes {
    uint64_t headers;      /* repeated headers, skipped */
    uint64_t suspects;     /* quoted fields over several lines that may hold rows */
    uint64_t suspect_line; /* where the first of them begins */
} job_table_notes;
job_table_notes job_reader_notes(const job_reader *reader);

#endif
