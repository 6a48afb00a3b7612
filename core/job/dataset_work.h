/* SPDX-License-Identifier: Apache-2.0 */
/* What the steps of job/dataset.h share: the state of one preparation, and its steps in the order in which they run. */
#ifndef KOLM_JOB_DATASET_WORK_H
#define KOLM_JOB_DATASET_WORK_H

#include "job/dataset.h"
#include "job/fingerprint.h"
#include "job/internal.h"
#include "job/scratch.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/hash.h"

typedef enum part { PART_DATA, PART_EVAL } part;

/* Rows are numbered: those of the data from 0, then those of the evaluation file. */

/* Metadata of a row, by its number. */
typedef struct row_card {
    uint64_t tag;    /* of SHA-256(seen): an order of rows that does not depend on their places */
    uint64_t output; /* of SHA-256(output without spaces around it), never 0 */
    uint64_t split;  /* the first 8 bytes of SHA-256(seed; input) */
    uint64_t place;  /* in the caller's files: its source and line, see row_place */
    uint64_t offset; /* in the spool */
    uint64_t alike;  /* equal for labels that differ only in spelling */
    uint32_t output_length;
    uint32_t output_trimmed; /* bytes of spaces around the output */
} row_card;

/* Similar rows are joined at four levels; the groups of each level are parts of those of the next. */
typedef enum near_level { NEAR_KEY, NEAR_HIGH, NEAR_MIDDLE, NEAR_LOW, NEAR_LEVELS } near_level;

/* A row as a node of these union-find forests, by its number; zeros: not joined. A root represents its group. */
typedef struct row_node {
    uint64_t parent_and_1[NEAR_LEVELS]; /* 0: a root */
    uint32_t texts[NEAR_LEVELS];        /* of a root: distinct keys below it */
    uint32_t cut;                       /* of a root: bit l is set if its tree at level l is considered a template */
    uint32_t rows;                      /* of a group: kept rows */
    uint32_t state;                     /* of a group: GROUP_* */
    uint64_t group_and_1;               /* the root of this row's group; 0: alone */
    uint64_t tag, split;                /* of a group: of its row with the smallest tag */
    uint64_t owner;                     /* of a group: a label in it, the only one unless it is mixed */
} row_node;

#define GROUP_HAS_DATA 1u /* it has a kept row of the data */
#define GROUP_MIXED 2u    /* it has several labels */
#define GROUP_HELD 4u     /* held out, regardless of its hash */
#define GROUP_STAYS 8u    /* trained on, regardless of everything else */

typedef struct label {
    uint64_t key; /* row_card.output; 0: an empty slot */
    uint64_t alike;
    uint64_t rows;
    uint64_t offset; /* in the spool: of its first row */
    uint32_t held;   /* how many of its rows should be held out */
    uint32_t gathered;
    uint64_t *hashes;          /* split hashes of an exact label, sorted, then only those held out; NULL otherwise */
    uint64_t smallest;         /* for any other label: smallest split hash of groups within its share */
    uint64_t least, most;      /* split hashes of all groups that have rows of it */
    uint64_t candidate, votes; /* for a majority: of roots among its rows */
    uint64_t mixed_held;       /* its rows in mixed groups that are held out */
    uint64_t train_rows;       /* after the split */
} label;

typedef struct spool {
    FILE *file;
    uint64_t rows, bytes;
    uint8_t *dropped; /* one bit per row */
} spool;

typedef struct work {
    const job_prepare_options *options;
    job_summary *summary;
    kolm_error_t *err;
    kit_sha256 *sha;
    char data_name[400], eval_name[400]; /* for messages about all of it */
    spool parts[2];
    uint64_t first_eval;                 /* number of the first evaluation row */
    job_sorter *index, *keys, *bands;    /* NULL once processed */
    job_table *cards, *sketches, *nodes; /* nodes NULL: no two kept rows are alike */
    bool only_keys;                      /* similar texts form no groups: all are templates */
    label *labels;                       /* open addressing by a keyed hash of the key */
    kit_hash_secret label_secret;
    size_t label_capacity, label_count;
    bool too_many_labels;
    uint64_t kept;         /* rows of the data */
    uint64_t threshold;    /* of the split hash, for labels that are not exact */
    kit_buf seen, context; /* of an evaluation row with added common parts */
} work;

/* ---- spool.c: stores rows and their cards, and returns the kept ones */

kit_status dataset_no_memory(kolm_error_t *err);
kit_status dataset_cancelled(const work *w) KIT_MUST_USE;
kit_status dataset_write_failed(const work *w, const char *directory, const char *what);
kit_status dataset_open(work *w) KIT_MUST_USE;
void dataset_close(work *w);
/* What rows have in common: from the data, or if there is none, given by the caller. */
const job_common *dataset_common(const work *w);
kit_status spool_read(work *w, part which, job_source *sources, size_t count) KIT_MUST_USE;
/* Decodes row_card.place. Places are ordered by source, then by line. */
job_place row_place(uint64_t place);

bool row_is_dropped(const work *w, uint64_t number);
void row_drop(work *w, uint64_t number, bool dropped);
uint64_t row_end(const work *w); /* one more than the last number */

typedef struct spooled {
    cJSON *json;          /* the spool's line */
    job_row parts;        /* texts belong to json */
    uint64_t number, row; /* row: within its part */
    row_card card;
} spooled;

typedef kit_status (*spool_visit_fn)(work *w, spooled *row, void *user);
kit_status spool_visit(work *w, part which, spool_visit_fn visit, void *user) KIT_MUST_USE;
/* One row alone, by its number and row_card.offset. */
kit_status spool_visit_at(work *w, part which, uint64_t number, uint64_t offset, spool_visit_fn visit,
                          void *user) KIT_MUST_USE;
/* The output of the row at this place of the data's spool. */
kit_status spool_output_at(work *w, uint64_t offset, kit_buf *out) KIT_MUST_USE;

/* ---- cleaning.c: duplicates, contradictions, evaluation rows that are trained on */
kit_status cleaning_run(work *w) KIT_MUST_USE;

/* ---- labels.c */
kit_status labels_count(work *w) KIT_MUST_USE;
label *labels_find(const work *w, uint64_t key); /* its key is 0 if there is none */
bool labels_known(const work *w);                /* the table has all labels */
void labels_free(work *w);

/* ---- groups.c: similar rows, which must be on the same side of the split */
kit_status groups_make(work *w) KIT_MUST_USE;
/* Returns the group of a kept row, and its root; for a row without similar rows, the row itself. */
kit_status groups_of(work *w, uint64_t number, const row_card *card, uint64_t *out_root,
                     row_node *out_group) KIT_MUST_USE;
/* Replaces the groups by groups of equal keys only. */
kit_status groups_of_keys(work *w) KIT_MUST_USE;
/* Sets a GROUP_* in a group's state. */
kit_status groups_mark(work *w, uint64_t root, uint32_t state) KIT_MUST_USE;

/* ---- split.c */
kit_status split_plan(work *w) KIT_MUST_USE;
kit_status split_is_held_out(work *w, uint64_t number, const row_card *card, bool *out_held) KIT_MUST_USE;

/* ---- writing.c */
kit_status writing_run(work *w, bool train) KIT_MUST_USE;

#endif
