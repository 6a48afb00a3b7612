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

#include "job/rows.h"
#include <signal.h>

#define JOB_LABELS_MAX 65536u
#define JOB_EXACT_LABEL 64u
#define JOB_BAD_EXAMPLES 3

typedef struct job_prepare_options {
    int data_fd; /* read from its start to its end */
    int eval_fd; /* -1: split */
    job_reader_options data;
    job_reader_options eval;
    bool skip_bad; /* count bad rows instead of failing at the first */
    uint64_t seed;
    const char *job_dir;                 /* exists; train.jsonl and eval.jsonl are written into it */
    const char *private_dir;             /* exists, never shown to a backend; heldout.jsonl is left in it */
    const volatile sig_atomic_t *cancel; /* NULL: never */
} job_prepare_options;

typedef struct job_summary {
    uint64_t rows_read;                       /* good rows of the data file */
    uint64_t bad_rows;                        /* both files, with skip_bad */
    char bad_examples[JOB_BAD_EXAMPLES][256]; /* the first of them */
    uint64_t duplicates;                      /* rows dropped */
    uint64_t contradictions;                  /* rows dropped */
    uint64_t contradiction_lines[2];          /* an example: two lines of the data file; 0 when there is none */
    uint64_t train_rows;
    uint64_t eval_rows;
    uint64_t leaked;        /* evaluation rows dropped because their input is trained on */
    uint64_t unseen_labels; /* evaluation rows whose output is never trained on: kept, and bound to be wrong */
    uint64_t labels;        /* distinct outputs in training; JOB_LABELS_MAX + 1 stands for "more" */
    uint64_t lonely_labels; /* labels with a single row: trained on, never tested */
    uint64_t train_input_bytes;
    bool closed;           /* the outputs form a closed set: `linear` can learn them */
    char closed_why[256];  /* why, or why not, in words */
    char train_sha256[65]; /* of the lines of train.jsonl */
    char eval_sha256[65];  /* of the lines of heldout.jsonl */
} job_summary;

/* Writes JOB/train.jsonl {"id","input","output"[,"messages"]}, JOB/eval.jsonl {"id","input"} and PRIVATE/heldout.jsonl
 * {"id","input","output"}, ids being numbers as text. On failure what was written stays for the caller to remove with
 * its directories. INVALID_ARGUMENT: the data; its text names file, line and column. CANCELLED: *cancel. */
kit_status job_prepare(const job_prepare_options *options, job_summary *out_summary, kolm_error_t *err) KIT_MUST_USE;

/* The smaller half for `score`: only an evaluation file, cleaned of nothing. Writes JOB/eval.jsonl and
 * PRIVATE/heldout.jsonl. */
kit_status job_prepare_eval(const job_prepare_options *options, job_summary *out_summary,
                            kolm_error_t *err) KIT_MUST_USE;

#endif
