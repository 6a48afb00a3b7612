/* SPDX-License-Identifier: Apache-2.0 */
/* From a data file to a job directory: cleaned, split, digested, in memory that does not grow with the rows. */
#ifndef KOLM_JOB_DATASET_H
#define KOLM_JOB_DATASET_H

/*
 * Cleaning. Rows are compared by what the model sees of them (job_row.seen), by 128 bits of SHA-256. A row that repeats
 * an earlier one (same question, same output) is dropped: `duplicates`. A question with more than one output is a
 * contradiction, for which the caller chooses a rule:
 *
 *   majority  if there is a clear majority, its first row stays and the rows of the other outputs are dropped:
 *             `outvoted`. Clear: two thirds of the rows, and two more than all others together, so that a single wrong
 *             label cannot decide. Otherwise as drop.
 *   drop      all of them are dropped, because it is unknown which is right: `contradictions`.
 *   keep      the first row of each output stays: `kept_contradictions`.
 *   error     INVALID_ARGUMENT, which names two lines.
 *
 * Labels. Spaces around an output do not make it different. If the outputs form a closed set (`closed`), they are
 * labels, and are written without these spaces: `trimmed_labels`. Labels that differ only in case, inner spaces or
 * Unicode form (job/fingerprint.h) remain different, and are reported: `alike_labels`.
 *
 * Groups. Rows are alike if both the normalised texts of their questions (job_row.input) and what precedes them are
 * equal, or if the sketches of their questions agree by JOB_NEAR_PERCENT or more (job/fingerprint.h); groups are the
 * transitive closure. So that a chain or a template does not become one group of everything, a group of more than
 * JOB_GROUP_FREE texts that has more than 1 / JOB_GROUP_SHARE of the rows, or more than half of the rows of a label, is
 * split: into groups at 85 per cent, if these are still too large at 95, and then of equal normalised texts:
 * `templates`. So are all groups if otherwise fewer than two labels could be tested, or no evaluation row would be
 * left.
 *
 * Split. Without an evaluation file a fifth of each label's rows is held out; of more than 250,000 rows a smaller
 * share, about 50,000 in all. Rows of a group stay together. A group's hash is SHA-256(seed as 8 bytes, little endian;
 * input) of its row with the smallest SHA-256(seen), as a number: its first 8 bytes, most significant first. A group
 * with several labels is held out if its hash is below the share of the whole range, and counts for each of them. The
 * groups of a single label fill up its share (of its rows, rounded to the nearest, at least one): for labels of up to
 * JOB_EXACT_LABEL rows those with the smallest hashes, each that still fits; if none does, the smallest of
 * them. For larger labels, groups of at most the share whose hash is below the share of the range, and the one with the
 * smallest hash. If a label of two groups or more is still not held out, its group with the smallest hash is; then, if
 * a label would not be trained on, all of its groups are moved back. A label that is one group is only trained on:
 * `lonely_labels` of a single row, `untested_labels` of more. With more than JOB_LABELS_MAX distinct outputs only the
 * hash decides: they are not labels. The result depends on seed, inputs and outputs, not on the order of the file.
 *
 * With an evaluation file, all of the data is trained on. Evaluation rows whose question is trained on, also in the
 * same normalised text, are dropped: `leaked`. So are those in a group with a row of the data: `nearly_leaked`. Here,
 * questions in different contexts are never alike. Duplicates among the remaining rows are allowed.
 *
 * Memory: a bit per row, 210 to 420 bytes per distinct output (at most JOB_LABELS_MAX of them), one row at a time,
 * 3 MiB of buffers (job/scratch.h), and the held-out rows up to JOB_HELDOUT_MEMORY (job/heldout.h). Disk, in
 * private_dir: the rows, 250 bytes per row, and 400 more if inputs are long enough for sketches.
 */

#include "job/common.h"
#include <signal.h>

#define JOB_LABELS_MAX 65536u
#define JOB_EXACT_LABEL 64u
#define JOB_LABEL_BYTES 1000u /* a longer output is a text, not a label */
#define JOB_NEAR_PERCENT 70u
#define JOB_GROUP_FREE 16u
#define JOB_GROUP_SHARE 20u
#define JOB_ALIKE_EXAMPLES 3
#define JOB_BAD_EXAMPLES 10
#define JOB_BAD_KINDS 16
#define JOB_SOURCES_MAX 4096u

typedef enum job_contradictions {
    JOB_CONTRADICTIONS_MAJORITY,
    JOB_CONTRADICTIONS_DROP,
    JOB_CONTRADICTIONS_KEEP,
    JOB_CONTRADICTIONS_ERROR,
} job_contradictions;

/* One file of rows: the caller sets fd and path; the other fields are filled in. */
typedef struct job_source {
    int fd;           /* read from start to end, in any format; owned by the caller */
    const char *path; /* shown in errors */
    uint64_t rows;    /* good rows */
    uint64_t bad_rows;
    job_table_notes table;
} job_source;

typedef struct job_prepare_options {
    /* Read one after the other, which is the order of the rows in train.jsonl: sort them if the result must not depend
     * on it. At most JOB_SOURCES_MAX. */
    job_source *data;
    size_t data_count;
    job_source *eval;
    size_t eval_count;         /* 0: split */
    job_reader_options reader; /* of every source; path, cancel and scratch are set for each */
    bool skip_bad;             /* count bad rows instead of failing at the first */
    const job_common *common; /* for job_prepare_eval: what the rows of the model's data had in common; NULL: nothing */
    job_contradictions contradictions;
    bool labels; /* for job_prepare_eval: outputs are labels, because the model was trained on labels */
    uint64_t seed;
    const char *job_dir;                 /* exists; train.jsonl and eval.jsonl are written into it */
    const char *private_dir;             /* exists, inaccessible to backends; for scratch files, which are removed */
    const volatile sig_atomic_t *cancel; /* NULL: never */
} job_prepare_options;

/* Bad rows with the same error except for places, names and numbers. */
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
    char bad_examples[JOB_BAD_EXAMPLES][256]; /* the first ones */
    job_bad_kind bad_kinds[JOB_BAD_KINDS]; /* in the order of their first row; the last stands for all further ones */
    size_t bad_kind_count;
    uint64_t duplicates;     /* rows dropped */
    uint64_t contradictions; /* rows dropped, and how many questions they ask */
    uint64_t contradicting_inputs;
    job_place contradiction_places[2]; /* an example: the first two rows that contradict each other */
    uint64_t outvoted;                 /* rows dropped, and how many questions they ask */
    uint64_t outvoted_inputs;
    job_place outvoted_places[2];
    uint64_t kept_contradictions; /* rows */
    job_place kept_places[2];
    uint64_t groups;       /* of two rows or more; if the data is split, of the data */
    uint64_t grouped_rows; /* in them */
    uint64_t templates;    /* groups that were split */
    uint64_t train_rows;
    uint64_t eval_rows;
    uint64_t leaked;          /* evaluation rows dropped because their input is trained on */
    uint64_t nearly_leaked;   /* evaluation rows dropped because their input is similar to one that is trained on */
    uint64_t unseen_labels;   /* evaluation rows whose output is never trained on: kept, and necessarily wrong */
    uint64_t labels;          /* distinct outputs in training; JOB_LABELS_MAX + 1 stands for "more" */
    uint64_t lonely_labels;   /* labels with a single row: trained on, never tested */
    uint64_t untested_labels; /* labels that are a single group of several rows: only trained on */
    uint64_t trimmed_labels;  /* rows whose label had spaces around it */
    uint64_t alike_labels;    /* labels that differ from another one only in spelling */
    char alike_examples[JOB_ALIKE_EXAMPLES][256];
    uint64_t train_input_bytes;
    job_common common;      /* what all rows of the data have in common besides their questions */
    job_unused unused;      /* keys and columns of data and evaluation that are not used */
    job_guess guess;        /* which keys were guessed for input and output; of several files, the first guess */
    bool closed;            /* the outputs form a closed set: `linear` can learn them */
    char closed_why[256];   /* why, or why not, in words */
    const char *closed_fix; /* what to do if they should but do not; static */
    char train_sha256[65];  /* of the lines of train.jsonl */
    char eval_sha256[65];   /* of the lines in heldout_fd */
    /* For each line of eval.jsonl, in its order, a line {"id","input","row","output"[,"messages"[,"tools"]]}: in an
     * unnamed file, or sealed memory (job/heldout.h). row, a number as text, is the position of the row: the 17th good
     * one of the evaluation, or else of the data. Read it with pread: its offset is undefined. The caller closes it;
     * -1: none, as after every failure. */
    int heldout_fd;
} job_summary;

/* Writes JOB/train.jsonl {"id","input","output"[,"messages"[,"tools"]]} and JOB/eval.jsonl
 * {"id","input"[,"messages"[,"tools"]]}; ids are the line numbers as text, messages are present only if there is more
 * than a question. Rows of train.jsonl are in the order of the data. Those of eval.jsonl are sorted by 64 bits of
 * SHA-256(job_row.seen), rows with the same question in their original order: neither the order nor the ids reveal
 * where a row was, because its neighbours there may well have the same label. Their outputs are only in
 * out_summary->heldout_fd. On failure the caller must remove what was written, with its directories. INVALID_ARGUMENT:
 * the data is bad; the text names file, line and column. CANCELLED: *cancel is set. Free out_summary->common in every
 * case. */
kit_status job_prepare(const job_prepare_options *options, job_summary *out_summary, kolm_error_t *err) KIT_MUST_USE;

/* The same for `score`: only an evaluation file, without cleaning. Writes JOB/eval.jsonl, and the outputs as above. */
kit_status job_prepare_eval(const job_prepare_options *options, job_summary *out_summary,
                            kolm_error_t *err) KIT_MUST_USE;

#endif
