/* SPDX-License-Identifier: Apache-2.0 */
/* The picker: which backend a job should use, why, which were filtered out, and what would have changed the result. */
#ifndef KOLM_PICK_PICK_H
#define KOLM_PICK_PICK_H

/*
 * Pure: does not use files, clock, environment or plugins. The same candidates and constraints give the same result on
 * every machine, compiler and flag, because all arithmetic is on integers.
 *
 *     S = 0.35 available + 0.20 cost_inv + 0.15 latency_inv + 0.15 repro + 0.15 perf
 *
 *     available    1 or 0
 *     cost_inv     max(0, 1 - dollars per hour / 5); 0.5 if a backend is not billed by the hour
 *     latency_inv  max(0, 1 - cold start seconds / 120)
 *     repro        1.0 local, 0.9 self-hosted, 0.6 anything else
 *     perf         from the manifest; 0.5 if absent
 *
 * The unit is 1/100000 (PICK_UNIT units are 1). Each weighted term is an integer; if a price or perf does not give a
 * whole number of units, its term is rounded half to even. Sums are exact. Three decimals are printed, rounded half to
 * even from the exact sum; JSON has five.
 *
 * Order: available first, then score, then tier (lower first), then name (bytes). The winner is the best AVAILABLE
 * backend that passes every filter. A backend that is not available never wins, however high its score.
 *
 * Ownership: a candidate's strings belong to the caller and must outlive the result. The result is freed with
 * pick_result_free. Threads: no shared state.
 */

#include "kolm/kit/json.h"
#include "pick/offer.h"
#include <stdbool.h>

#define PICK_VERSION "2" /* of formula, filters and order; stored in every record */
#define PICK_RUNNERS_UP 3

/* Weights, in units. */
#define PICK_WEIGHT_AVAILABLE 35000u
#define PICK_WEIGHT_COST 20000u
#define PICK_WEIGHT_LATENCY 15000u
#define PICK_WEIGHT_REPRO 15000u
#define PICK_WEIGHT_PERF 15000u

/* What is known about a function of the plugin without loading it. */
typedef enum pick_slot { PICK_SLOT_UNKNOWN, PICK_SLOT_PRESENT, PICK_SLOT_MISSING } pick_slot;

typedef struct pick_candidate {
    const char *name;
    /* If not NULL, the entry was refused (bad manifest, permissions): only name is used. */
    const char *refused;
    pick_offer offer;
    bool private_target; /* PICK_AIRGAP_DEPENDS: its target is known to be loopback or private */
    /* From detection. */
    bool available;
    const char *state;     /* "available", "absent", "broken", "refused", "crashed", "timed out", ... */
    const char *reason;    /* one line, may be NULL */
    const char *remedy;    /* one line, may be NULL */
    const char *device;    /* the device that would be used, one line, may be NULL */
    uint64_t memory_bytes; /* total memory of the largest device found; 0: none */
    pick_slot train_slot;
    pick_slot infer_slot;
} pick_candidate;

typedef struct pick_constraints {
    bool infer;     /* the job infers; otherwise it trains */
    bool need_slot; /* the plugin must have the function today, as compile asks; else the manifest\'s promise counts */
    bool need_answers; /* the job trains and then answers, as compile does: a backend that cannot answer is not a
                          candidate */
    bool airgap;
    bool allow_private_remote; /* under airgap a PICK_AIRGAP_DEPENDS backend with a private target passes */
    bool has_min_vram;
    /* Gigabytes of 10^9 bytes, as advertised; 0: no requirement, so that everything passes. */
    uint64_t min_vram_bytes;
    bool has_budget;                    /* --max-price, once called --budget here: at most that price per hour */
    uint64_t budget_micro_usd_per_hour; /* if 0, a backend whose cost is not known beforehand fails */
    bool has_job_budget;                /* --budget of a job; only recorded, not used by the picker */
    uint64_t job_budget_micro_usd;
    bool has_max_tier;
    uint32_t max_tier;
    const char *recipe;         /* of the job; NULL: unknown, no filter */
    const char *const *exclude; /* names */
    size_t exclude_count;
} pick_constraints;

typedef struct pick_terms { /* weighted points, in units; their sum is the score */
    uint32_t available, cost, latency, repro, perf;
} pick_terms;

typedef enum pick_filter {
    PICK_FILTER_REFUSED,
    PICK_FILTER_EXCLUDED,
    PICK_FILTER_PURPOSE,     /* does not train (or does not infer) */
    PICK_FILTER_DETECT_ONLY, /* in its manifest, but its plugin lacks the function */
    PICK_FILTER_AIRGAP,
    PICK_FILTER_MIN_VRAM,
    PICK_FILTER_BUDGET,
    PICK_FILTER_MAX_TIER,
    PICK_FILTER_RECIPE, /* does not offer the recipe */
    PICK_FILTER_ANSWER, /* trains but cannot infer */
} pick_filter;
#define PICK_FILTERS 10
const char *pick_filter_name(pick_filter filter); /* "refused", "exclude", "train", "detect-only", "airgap", ... */

typedef struct pick_reason {
    pick_filter filter;
    char text[320]; /* "$2.50/hr > 1.00" */
} pick_reason;

typedef struct pick_entry {
    size_t candidate; /* index */
    bool eligible;    /* passed every filter: has a rank */
    uint32_t rank;    /* from 1 among the eligible; else 0 */
    uint32_t score;   /* in units; meaningless for a refused entry */
    pick_terms terms;
    bool unpriced_pass; /* passed --max-price only because it has no hourly price: warn */
    pick_reason reasons[PICK_FILTERS];
    size_t reason_count; /* every filter that it fails; 0 if eligible */
} pick_entry;

/* One change that would have made another backend the winner. Sorted, smallest change first. */
typedef enum pick_flip_kind {
    PICK_FLIP_WINNER_PRICE, /* the winner's price is at least value micro dollars per hour */
    PICK_FLIP_PRICE,        /* its own price is at most value */
    PICK_FLIP_COLD_START,   /* its own cold start is at most value seconds */
    PICK_FLIP_AVAILABLE,    /* it is available */
    PICK_FLIP_CONSTRAINT,   /* without the one filter that it fails */
} pick_flip_kind;
typedef struct pick_flip {
    pick_flip_kind kind;
    size_t candidate; /* who would win */
    uint64_t value;
    pick_filter filter; /* for PICK_FLIP_CONSTRAINT */
    uint32_t units;     /* difference of the scores: the size of the change */
    char text[256];     /* "NAME would win if ..." */
} pick_flip;

typedef struct pick_result {
    const pick_candidate *candidates;
    size_t count;
    pick_entry *entries; /* one per candidate: eligible ones in rank order, then the others by name */
    size_t eligible_count;
    const pick_entry *winner; /* NULL if nothing available passes */
    /* The first of the ranking: the winner, or the best match that is not available; may be NULL. */
    const pick_entry *best;
    pick_flip *flips;
    size_t flip_count;
} pick_result;

/* The five terms of a candidate and their sum. */
uint32_t pick_score(const pick_candidate *candidate, pick_terms *out_terms);

/* Fails only if out of memory. */
kit_status pick_run(const pick_candidate *candidates, size_t count, const pick_constraints *constraints,
                    pick_result **out_result, kolm_error_t *err) KIT_MUST_USE;
void pick_result_free(pick_result *result);

/* Three decimals of a score, rounded half to even: 97750 -> "0.978", 62750 -> "0.628", 61250 -> "0.612". */
/* The error if nothing available passes: what the best match lacks and what to do. NOT_FOUND. */
kit_status pick_nothing(const pick_result *result, kolm_error_t *err);
void pick_score_text(uint32_t score, char out[8]);
/* Why an eligible candidate is not available: "not detected", "broken: ..."; "" if it is. */
void pick_state_text(const pick_candidate *candidate, char *out, size_t capacity);

/* ---- Records: schema "kolm.compute.pick/1". The whole question (constraints, candidates with their detections) and
 * the whole answer (weights, ranking with terms, winner, runners-up, exclusions with reasons, warnings, flips), so that
 * it can be replayed. All numbers are exact decimals: canonical JSON accepts the record. */
kit_status pick_record(const pick_result *result, const pick_constraints *constraints, cJSON **out_record,
                       kolm_error_t *err) KIT_MUST_USE;

/* A question read back from a record, which must outlive it. */
typedef struct pick_question {
    pick_candidate *candidates;
    size_t count;
    pick_constraints constraints;
} pick_question;
/* INVALID_ARGUMENT if record has another schema, or lacks a member, which it names. */
kit_status pick_question_read(const cJSON *record, pick_question **out_question, kolm_error_t *err) KIT_MUST_USE;
void pick_question_free(pick_question *question);
/* DATA_LOSS if the answer in `recorded` differs from that in `again`; the text names the first part that differs. */
kit_status pick_records_agree(const cJSON *recorded, const cJSON *again, kolm_error_t *err) KIT_MUST_USE;

#endif
