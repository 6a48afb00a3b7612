/* SPDX-License-Identifier: Apache-2.0 */
/* Reading training data as a stream of (input, output) rows, whatever its format, with errors that name the place. */
#ifndef KOLM_JOB_ROWS_H
#define KOLM_JOB_ROWS_H

/*
 * Formats, told apart by content: a first non-blank byte '{' is JSON lines, anything else a table; all of them may be
 * packed (source.h).
 *
 *   JSON lines  one object a line, blank lines skipped. The first form that fits is taken; null is the same as no key:
 *
 *       {"messages":[...]}            OpenAI's chats: {"role","content"[,"name","tool_calls","tool_call_id"]}
 *       {"conversations":[...]}       ShareGPT's: {"from","value"}; roles by other names are those of OpenAI
 *       {"instruction","input",...}   Alpaca's, with "output", and "history":[[question, answer],...]
 *       {"prompt":[...],"completion":[...]}  TRL's, messages on both sides
 *       {"input","output"}, {"prompt","completion"}, and the columns of tables: one of "text", "question", "query" and
 *                                     one of "label", "answer", "category", "target"; which is guessed once for a file
 *
 *               "system" (text) and "tools" (an array, or its text) may stand in each. An output is a text, an integer,
 *               true or false, the latter taken as their JSON text. In a chat the last message is the assistant's and
 *               is the output; a call of tools there is its JSON text. A content that is an array of parts is their
 *               texts, one a line. input_col and output_col name two keys, and nothing else is read then.
 *
 *               Only what is read must be strict JSON, as kit_json_validate has it (numbers inside tools may be of any
 *               size); the rest is skipped (kit_json_walk), and its keys are counted by name: job_reader_unused.
 *
 *   Tables      RFC 4180, with a header line: fields in double quotes may hold separators, line ends and doubled
 *               quotes. A quote that is not the first character of its field is a character like any other.
 *               Separator: that of a first line "sep=X"; a tab when path ends in .tsv or .tab (.gz and .zst after it
 *               do not count); else the one of tab , ; | with which the header has the columns.
 *               A file with tabs has quoted fields only if all of it can be read so; it is read twice for that, from
 *               the first field on that begins with a quote, through a file in `scratch`.
 *               Columns: input | prompt | text | question | query, and output | completion | label | answer | category
 *               | target, in any case and with spaces around them; input_col and output_col name others. What is
 *               guessed for the output is never the input's own column. input_col is one name, or several set apart by
 *               commas if there is none with the comma in it: their texts are joined by LF, blank ones left out.
 *               A repeated header is not a row: with the columns in use, or again with names that are guessed; its
 *               order of columns holds from there on. Nor is a line of separators and blanks only.
 *               A stray quote makes its own row bad, and none after it: rows_record.c has the rules.
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

/* All texts are NUL terminated, and valid until the next call. */
typedef struct job_row {
    uint64_t line;              /* where it starts in the file, from 1 */
    const char *input, *output; /* the question, and its answer ("" when there is none, with inputs_only) */
    size_t input_length, output_length;
    /* What comes beside the question; each "" when there is nothing of the kind. */
    const char *system;      /* the messages before all others: {"role":"system","content":"..."}, joined by commas */
    const char *system_text; /* their texts, one a line */
    const char *instruction; /* stands before the question, on a line of its own, in the user's message */
    const char *tools;       /* a JSON array */
    const char *turns;       /* messages joined by commas, when there is more than one question of the user: all but the
                                system's and the answer. input is then their text, "role: text" each */
    /* system_text, tools and instruction, each on a line: what is often the same in every row. No part of input. */
    const char *context;
    size_t context_length;
    /* The row's identity: all that the model sees before its answer, as bytes. Two rows ask the same, and may repeat or
     * contradict each other, only if these are equal. Of a plain row it is the input. */
    const char *seen;
    size_t seen_length;
    const char *id; /* with with_id: the row's own, whole numbers as text; NULL when it has none */
} job_row;

#define JOB_UNUSED_MAX 16u
#define JOB_UNUSED_NAME 64u

/* Keys and columns that are not used, in the order in which they were met. */
typedef struct job_unused {
    struct {
        char name[JOB_UNUSED_NAME]; /* printable; "messages.KEY" for one inside a message */
        uint64_t rows;
    } keys[JOB_UNUSED_MAX];
    size_t count;
    uint64_t more; /* times that still others were met */
} job_unused;

/* Which keys were taken for input and output because of their names; NULL when nothing was guessed. */
typedef struct job_guess {
    const char *input, *output;
} job_guess;

typedef struct job_reader_options {
    const char *path;       /* shown in errors */
    const char *input_col;  /* NULL: guess; several, set apart by commas, are joined */
    const char *output_col; /* NULL: guess */
    /* If nonzero when a signal arrives, a wait for input ends with CANCELLED; NULL: never. */
    const volatile sig_atomic_t *cancel;
    bool inputs_only; /* rows need no output (kolm run): that of a JSON row is skipped unread, whatever it is */
    bool no_header;   /* of a table: its first line is a row; columns are called "1", "2", ... */
    /* A directory for lines of a TSV that must be read twice, in a file without a name; NULL: that of temporary files.
     */
    const char *scratch;
    bool with_id; /* "id" is read */
} job_reader_options;

/* fd is read from its start and stays the caller's. INVALID_ARGUMENT when this cannot be data (empty, binary, UTF-16,
 * no usable header). */
kit_status job_reader_open(int fd, const job_reader_options *options, job_reader **out_reader,
                           kolm_error_t *err) KIT_MUST_USE;
/* The next row; *out_found false at the end. INVALID_ARGUMENT or OUT_OF_RANGE for a bad row (the error says line,
 * column, what was expected): reading may go on after it. Other codes are final, also DATA_LOSS: packed data that are
 * cut off or damaged. */
kit_status job_reader_next(job_reader *reader, job_row *out_row, bool *out_found, kolm_error_t *err) KIT_MUST_USE;
void job_reader_close(job_reader *reader);
const job_unused *job_reader_unused(const job_reader *reader);
job_guess job_reader_guess(const job_reader *reader);

/* What is wrong with a bad row, besides its place. */
typedef struct job_fault {
    char kind[128];  /* what differs from row to row replaced: "expected the key \"output\", found \"...\"" */
    bool names_skip; /* the remedy offers --skip-bad */
} job_fault;
/* Of the row that job_reader_next or job_reader_parse refused last. */
const job_fault *job_reader_fault(const job_reader *reader);

/* A reader of JSON rows that are given to it one by one, instead of a file. */
kit_status job_reader_open_rows(const job_reader_options *options, job_reader **out_reader,
                                kolm_error_t *err) KIT_MUST_USE;
/* number: of the line, for errors. As job_reader_next, but that an input may be blank. */
kit_status job_reader_parse(job_reader *reader, const char *line, size_t length, uint64_t number, job_row *out_row,
                            kolm_error_t *err) KIT_MUST_USE;

/* What was seen in a table so far. */
typedef struct job_table_notes {
    uint64_t headers;      /* repeated in its middle, and left out */
    uint64_t suspects;     /* quoted fields over several lines that may hold rows */
    uint64_t suspect_line; /* where the first of them begins */
} job_table_notes;
job_table_notes job_reader_notes(const job_reader *reader);

#endif
