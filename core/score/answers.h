/* SPDX-License-Identifier: Apache-2.0 */
/* The tallies behind score_answers; private. */
#ifndef KOLM_SCORE_ANSWERS_H
#define KOLM_SCORE_ANSWERS_H

#include "kolm/kit/digest.h"
#include "kolm/kit/hash.h"
#include "score/score.h"

#define SCORE_ECE_BINS 15
#define SCORE_THRESHOLDS 100 /* in steps of one per cent */

typedef struct score_label {
    char *text;
    uint64_t rows;     /* held-out rows whose output it is */
    uint64_t answered; /* of these, answered, correctly or not */
    uint64_t given;    /* answers with this label */
    uint64_t correct;
} score_label;

typedef struct score_pair {
    uint32_t truth, given; /* indices of labels */
    uint64_t count;
} score_pair;

typedef struct score_bin {
    uint64_t rows, correct;
    double confidence; /* sum */
} score_bin;

struct score_answers {
    uint64_t rows, answered, correct;
    score_label *labels;
    size_t label_count, label_capacity;
    uint32_t *label_places; /* hash of text -> index + 1 */
    size_t label_places_count;
    kit_hash_secret secret; /* of both tables: their contents come from a backend and a data file */
    score_pair *pairs;      /* confusions: truth and given differ */
    size_t pair_count, pair_capacity;
    uint32_t *pair_places;
    size_t pair_places_count;
    score_bin bins[SCORE_ECE_BINS];
    score_bin thresholds[SCORE_THRESHOLDS + 1]; /* by whole per cent of confidence */
    char predictions_sha256[KIT_SHA256_HEX];
};

kit_status score_answers_new(score_answers **out_answers, kolm_error_t *err) KIT_MUST_USE;
/* Counts one held-out row and its answer. given NULL: withheld; confidence from 0 to 1. */
kit_status score_tally(score_answers *answers, const char *truth, const char *given, double confidence,
                       kolm_error_t *err) KIT_MUST_USE;

/* Indices in display order: labels by text, confusions by count (most first), then texts. NULL if out of memory. */
uint32_t *score_sorted_labels(const score_answers *answers);
uint32_t *score_sorted_pairs(const score_answers *answers);

#endif
