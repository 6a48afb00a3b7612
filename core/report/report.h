/* SPDX-License-Identifier: Apache-2.0 */
/* Makes one self-contained HTML page about a model from typed facts. */
/* Sources: page.c. */
#ifndef KOLM_REPORT_REPORT_H
#define KOLM_REPORT_REPORT_H

/*
 * The page. One file, HTML (WHATWG living standard) in UTF-8, with inline style and its charts as inline SVG. It has no
 * script, font, image or external link, and its Content-Security-Policy (CSP level 3, in a meta element) allows only
 * the style, by its SHA-256: a browser that shows it loads nothing. The same facts give the same bytes; no clock is
 * used.
 *
 * Trust. Nothing is trusted: every text of the facts may come from an artifact or from untrusted data. All texts go
 * through html_text (html.h): markup is escaped, invisible characters and those that change the direction of writing
 * are shown by number, and texts are truncated at a stated length. Numbers that are not finite, or out of range, are
 * shown as unknown. What exceeds the limits below is folded or omitted, and the page says how much. So the size of a
 * page is bounded for any facts.
 *
 * Facts. Pointers are borrowed for the call; texts may be NULL ("not known"). Shares are from 0 to 1; NAN means "not
 * known". A section without facts is omitted, or has a text that says why. Threads: pure.
 */

#include "kolm/kit/buf.h"

#include <stdint.h>

#define REPORT_LABELS_MAX 1000u    /* rows of the table of labels */
#define REPORT_LABELS_OPEN 10u     /* of these, visible without unfolding */
#define REPORT_MATRIX_MAX 16u      /* labels of the confusion table; the others share one row and one column */
#define REPORT_CONFUSIONS_MAX 100u /* rows of the list of confusions */
#define REPORT_MISTAKES_MAX 20u
#define REPORT_NEAR_MAX 3u      /* nearest rows of a mistake */
#define REPORT_PAIRS_MAX 20u    /* contradictions */
#define REPORT_ITEMS_MAX 64u    /* rows of every other table */
#define REPORT_LABEL_CHARS 120u /* shown of a label or a name */
#define REPORT_TEXT_CHARS 600u  /* shown of a text of the data */

typedef enum report_tone { REPORT_PLAIN, REPORT_GOOD, REPORT_DOUBT, REPORT_BAD } report_tone;

/* Shown at the top: the verdict, and missing input of the page. */
typedef struct report_notice {
    report_tone tone;
    const char *title, *text;
} report_notice;

typedef struct report_interval {
    double low, high; /* 95% */
} report_interval;

typedef struct report_score {
    double k, accuracy, size, latency, cost, coverage, balanced, baseline, ece;
    report_interval k_interval, accuracy_interval, balanced_interval;
    double k_gate, accuracy_gate;
    const char *baseline_label;
    uint64_t rows, answered, correct;
} report_score;

typedef struct report_label {
    const char *label;
    uint64_t rows, answers, correct;
    report_interval recall; /* of correct / rows */
} report_label;

/* truth and given are indices of report_facts.labels, and differ. */
typedef struct report_confusion {
    size_t truth, given;
    uint64_t rows;
} report_confusion;

/* Answers with about the same confidence. */
typedef struct report_bin {
    double from, to, confidence; /* the mean */
    uint64_t rows, correct;
    report_interval accuracy;
} report_bin;

/* Answers with at least this confidence. */
typedef struct report_threshold {
    double confidence;
    uint64_t answers, correct;
} report_threshold;

typedef struct report_near {
    const char *text, *label, *place;
    double likeness; /* 1: identical */
} report_near;

typedef struct report_mistake {
    const char *text; /* NULL: only its place is known */
    const char *place, *truth, *given;
    double confidence;
    report_near near[REPORT_NEAR_MAX]; /* nearest first */
    size_t near_count;
} report_mistake;

/* The same question with two outputs. */
typedef struct report_pair {
    const char *text, *labels[2], *places[2];
} report_pair;

/* A row of a two-column table; note is small print below the value. mono: monospaced, for digests. */
typedef struct report_item {
    const char *name, *value, *note;
    bool mono;
} report_item;

typedef struct report_items {
    const report_item *at;
    size_t count;
} report_items;

typedef struct report_facts {
    const char *name, *version, *file, *maker; /* maker: the program that made the page */
    report_tone tone;                          /* of the verdict */
    const char *verdict;                       /* a word or two */
    const report_notice *notices;
    size_t notice_count;
    report_score score;
    const report_label *labels;
    size_t label_count;
    const report_confusion *confusions; /* NULL with a count of 0: unknown, or none */
    size_t confusion_count;
    const char *confusions_how; /* what is missing from them; NULL: nothing */
    const report_bin *bins;
    size_t bin_count;
    const report_threshold *thresholds; /* ascending */
    size_t threshold_count;
    const char *answers_how; /* where single answers come from, or how to get them into the page */
    bool answers_known;
    const report_mistake *mistakes; /* most confident first */
    size_t mistake_count;
    uint64_t mistakes_in_all;
    const char *near_how; /* what "near" means; NULL: no rows */
    bool near_by_model;   /* by its embeddings, whose cosines have another scale than those of texts */
    report_items data;
    const report_pair *pairs;
    size_t pair_count;
    uint64_t pairs_in_all;
    report_items candidates; /* what the backend compared, its choice first */
    report_items origin;     /* who chose, device, price */
    report_items receipts;
    report_items contents;
} report_facts;

/* Appends the page. Fails only with RESOURCE_EXHAUSTED. */
kit_status report_page(const report_facts *facts, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;

#endif
