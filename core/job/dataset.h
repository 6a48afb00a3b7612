/* SPDX-License-Identifier: Apache-2.0 */
/* From a data file to a job directory: cleaned, split, digested, in memory that does not grow with the rows. */
#ifndef KOLM_JOB_DATASET_H
#define KOLM_JOB_DATASET_H

/*
 * Cleaning. A row that repeats an earlier one (same input, same output) is dropped: `duplicates`. Rows whose input
 * occurs with more than one output are all dropped: `contradictions`; nobody can say which is right. Inputs are
 * compared byte for byte (by 128 bits of SHA-256).
 *
 * Split. Without an evaluation file a fifth of each label's rows is held out; of more than 250,000 rows a smaller
 * share, so that about 50,000 are. They are those whose SHA-256(seed as 8 bytes, little endian; input), read as a
 * number by its first 8 bytes, most significant first, is smallest. A label with two or more rows is on both sides; a
 * label with one row is trained on only. For labels of up to JOB_EXACT_LABEL rows the share is exact (rounded to the
 * nearest, at least one, never all); above it the row with the smallest hash is held out and every other one whose hash
 * is below the share of the whole range. With more than JOB_LABELS_MAX distinct outputs only the latter holds: they are
 * no labels. The answer depends on seed, inputs and outputs, not on the order of the file.
 *
 * With an evaluation file, all of the data is trained on, and evaluation rows whose input is also trained on are
 * dropped: `leaked`.
 *
 * Memory: a bit a row, 80 to 160 bytes a distinct output (at most JOB_LABELS_MAX of them), one row at a time, and one
 * of 64 partitions of the index (40 bytes a row / 64).
 */

#include "job/common.h"
#include <signal.h>

#define JOB_LABELS_MAX 65536u
#define JOB_EXACT_LABEL 64u
#define JOB_BAD_EXAMPLES 10
#define JOB_BAD_KINDS 16
#define JOB_SOURCES_MAX 4096u

/* One file of rows: the caller fills fd and path, what was counted in it is filled in. */
typedef struct job_source {
    int fd;           /* read from its start to its end, in whatever format; stays the caller's */
    const char *path; /* shown in errors */
    uint64_t rows;    /* good rows */
    uint64_t bad_rows;
    job_table_notes table;
} job_source;

typedef struct job_prepare_options {
    /* Read one after the other. The order is that of the rows of train.jsonl, so a caller whose result is not to
     * depend on it sorts. At most JOB_SOURCES_MAX. */
    job_source *data;
    size_t data_count;
    job_source *eval;
    size_t eval_count;         /* 0: split */
    job_reader_options reader; /* of every source; path, cancel and scratch are set for each */
    bool skip_bad;             /* count bad rows instead of failing at the first */
    const job_common *common;  /* for job_prepare_eval: what the rows of the model's data had in common; NULL: nothing */
    uint64_t seed;
    const char *job_dir;                 /* exists; train.jsonl and eval.jsonl are written into it */
    const char *private_dir;             /* exists, never shown to a backend; heldout.jsonl is left in it */
    const volatile sig_atomic_t *cancel; /* NULL: never */
} job_prepare_options;

/* Bad rows that say the same but for their places, names and numbers. */
typedef struct job_bad_kind {
    char text[128]; /* "expected the key \"output\", found \"...\"" */
    uint64_t rows;
} job_bad_kind;

/* A row of the data: which source, and its line there. */
typedef struct job_place {
    size_t source; /* index into job_prepare_options.data */
    uint64_t line; /* 0: none */
} job_place;

typedef struct job_summary {
    uint64_t rows_read;                       /* good rows of the data */
    uint64_t bad_rows;                        /* of data and evaluation, with skip_bad */
    char bad_examples[JOB_BAD_EXAMPLES][256]; /* the first of them */
    job_bad_kind bad_kinds[JOB_BAD_KINDS];    /* in the order of their first row; the last stands for all further ones */
    size_t bad_kind_count;
    uint64_t duplicates;                      /* rows dropped */
    uint64_t contradictions;                  /* rows dropped */
    job_place contradiction_places[2];        /* an example of two rows */
    uint64_t train_rows;
    uint64_t eval_rows;
    uint64_t leaked;        /* evaluation rows dropped because their input is trained on */
    uint64_t unseen_labels; /* evaluation rows whose output is never trained on: kept, and bound to be wrong */
    uint64_t labels;        /* distinct outputs in training; JOB_LABELS_MAX + 1 stands for "more" */
    uint64_t lonely_labels; /* labels with a single row: trained on, never tested */
    uint64_t train_input_bytes;
    job_common common;     /* what all rows of the data have beside their questions */
    job_unused unused;     /* keys and columns of data and evaluation that are not used */
    job_guess guess;       /* which keys were taken for input and output; the first guess of all files */
    bool closed;           /* the outputs form a closed set: `linear` can learn them */
    char closed_why[256];  /* why, or why not, in words */
    char train_sha256[65]; /* of the lines of train.jsonl */
    char eval_sha256[65];  /* of the lines of heldout.jsonl */
} job_summary;

/* Writes JOB/train.jsonl and PRIVATE/heldout.jsonl {"id","input","output"[,"messages"[,"tools"]]} and JOB/eval.jsonl
 * {"id","input"[,"messages"[,"tools"]]}, ids being numbers as text, messages only where there is more than a question.
 * On failure what was written stays for the caller to remove with its directories. INVALID_ARGUMENT: the data; its text
 * names file, line and column. CANCELLED: *cancel. Free out_summary->common in every case. */
kit_status job_prepare(const job_prepare_options *options, job_summary *out_summary, kolm_error_t *err) KIT_MUST_USE;

/* The smaller half for `score`: only an evaluation file, cleaned of nothing. Writes JOB/eval.jsonl and
 * PRIVATE/heldout.jsonl. */
kit_status job_prepare_eval(const job_prepare_options *options, job_summary *out_summary,
                            kolm_error_t *err) KIT_MUST_USE;

#endif
