/* SPDX-License-Identifier: Apache-2.0 */
/* From answers to a decision: counts, K-score, Wilson interval, calibration, confusions, report of a missed gate. */
/* Sources: answers.c, baseline.c, kscore.c, reading.c and report.c. */
#ifndef KOLM_SCORE_SCORE_H
#define KOLM_SCORE_SCORE_H

/*
 * K = 0.40 A + 0.15 S + 0.15 L + 0.15 C + 0.15 V, each term clamped to [0, 1]:
 *
 *     A  accuracy   correct / answered (0 if nothing was answered)
 *     V  coverage   answered / rows
 *     S  size       1 - sqrt(bytes / 80e9)                      against a reference model of 80 GB
 *     L  latency    1 - reference latency / 1240 ms             reference latency = bytes read / 50 GB/s: a model of the
 *                                                               artifact, not of a machine
 *     C  cost       1 - dollars per call / 0.018 $              dollars per call = reference latency x 2.50 $ an hour
 *
 * bytes are those of the payload, without a base model that is referenced by digest. Bytes read are those per answer:
 * payload and base, once for each pass (a causal model makes one pass per token of its answer). All values are integers
 * in millionths, so that the result is the same for every compiler, flag and machine: A and V are rounded half up, what
 * is subtracted in S, L and C is rounded down (isqrt(bytes * 12.5), bytes / 62000, bytes / 1296000), and K is rounded
 * half up.
 *
 * The 95% interval is Wilson's: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z = 1.959963984540054
 * (Wilson 1927; Brown, Cai, DasGupta 2001). For K it is that of A, transformed by the formula.
 *
 * ECE is the mean over 15 equal bins of confidence of |accuracy - mean confidence|, weighted by rows (Guo et al. 2017),
 * over answered rows.
 */

#include "kolm/kit/file.h"
#include "kolm/kit/json.h"
#include <signal.h>

#define SCORE_MICRO 1000000u

typedef struct score_interval {
    uint32_t low_micro, high_micro;
} score_interval;

typedef struct score_k {
    uint32_t k, accuracy, size, latency, cost, coverage; /* millionths */
    score_interval accuracy_interval, k_interval;
} score_k;

/* Pure. correct <= answered <= rows. read_bytes: bytes read per answer, including the base and every pass; it
 * determines L and C, payload_bytes determines S. */
void score_compute_read(uint64_t rows, uint64_t answered, uint64_t correct, uint64_t payload_bytes, uint64_t read_bytes,
                        score_k *out_k);
/* The same for a model that reads its payload once. */
void score_compute(uint64_t rows, uint64_t answered, uint64_t correct, uint64_t payload_bytes, score_k *out_k);
score_interval score_wilson(uint64_t hits, uint64_t n);

/* The evaluation of the answers. Free with score_answers_free. */
typedef struct score_answers score_answers;

/*
 * A model that always gives the same answer has learned nothing, but its accuracy can be the share of the commonest
 * label. That share is the baseline: of the rows that the model answered, those with the commonest output (the "no
 * information rate" of Kuhn, Journal of Statistical Software 28(5), 2008). The model is better if the lower end of its
 * interval is above the baseline. With few rows even a perfect model could not show that: then a perfect one passes,
 * marked as SCORE_TOO_FEW. If all rows have the same label, nothing can be shown, and the result is SCORE_NOT_BETTER.
 * If no output of the answered rows occurs twice (texts, or a handful of rows), there is no baseline.
 *
 * Balanced accuracy is the mean of the recalls of the labels that have held-out rows (Brodersen et al., ICPR 2010); a
 * withheld answer counts as wrong. Always giving the same answer reaches 1 / labels. Its interval is combined from
 * Wilson's for each recall, as by Zou and Donner (Statistics in Medicine 27, 2008) for a sum: mean -+ 1/labels
 * sqrt(sum of (recall - its bound)^2). A model that was trained with balanced class weights is judged by it instead of
 * by accuracy, because such weights trade correct answers of common labels for those of rare ones.
 */
typedef struct score_baseline {
    bool known;
    const char *label;       /* the commonest; of several the first in byte order; owned by the answers */
    uint64_t correct;        /* answered rows with this label */
    uint32_t accuracy;       /* correct / answered, millionths */
    uint64_t labels;         /* of held-out rows */
    uint64_t never_answered; /* of these, labels that were never answered */
    uint32_t balanced;
    score_interval balanced_interval;
    uint32_t balanced_perfect_low; /* the lower end for a perfect model on these rows */
} score_baseline;
void score_baseline_of(const score_answers *answers, score_baseline *out);

typedef enum score_standing { SCORE_NO_BASELINE, SCORE_BETTER, SCORE_TOO_FEW, SCORE_NOT_BETTER } score_standing;
/* baseline: that of answers. balanced: compare by balanced accuracy. */
score_standing score_stands(const score_answers *answers, const score_baseline *baseline, bool balanced);

typedef struct score_gates {
    uint32_t k_micro;
    uint32_t accuracy_micro;
    bool allow_baseline; /* ship even if it may be no better than always giving the same answer */
    bool balanced;       /* compare with the baseline by balanced accuracy */
} score_gates;
/* True if K and accuracy both reach their gates. */
bool score_reaches(const score_k *k, const score_gates *gates);
/* True if they do, and the model is better than the baseline, or need not be. */
bool score_ships(const score_k *k, const score_answers *answers, const score_gates *gates);

/* given NULL: withheld. The texts are valid until it returns; any result but KOLM_OK stops the reading with that code.
 * */
typedef kit_status (*score_each_fn)(void *user, uint64_t number, const char *truth, const char *given,
                                    double confidence, kolm_error_t *err);

typedef struct score_question {
    int heldout_fd;             /* lines {"id","input","output"}; read from its start with pread; owned by the caller */
    const char *heldout_sha256; /* of these bytes when written; NULL: not compared */
    const char *predictions;    /* path; lines {"id","output","confidence"[,"best"]} */
    const char *backend;        /* its name, for errors; NULL: "the backend" */
    const volatile sig_atomic_t *cancel; /* NULL: never */
    /* Called with each row and its answer, in order; number counts from 1. May be NULL. */
    score_each_fn each;
    void *user;
} score_question;

/* Reads rows and answers side by side. They must have the same ids in the same order: a missing, additional, repeated
 * or malformed answer is DATA_LOSS, a fault of the backend, with the line and what was expected. So is a file of
 * answers that is not a regular file. Reading stops at the first extra answer. ABORTED if the rows are not those that
 * were written, because the answers are then meaningless. CANCELLED: *cancel is set. Memory grows with the number of
 * distinct labels and of confusions, not with rows. */
kit_status score_answers_read(const score_question *question, score_answers **out_answers,
                              kolm_error_t *err) KIT_MUST_USE;
void score_answers_free(score_answers *answers);

uint64_t score_rows(const score_answers *answers);
uint64_t score_answered(const score_answers *answers);
uint64_t score_correct(const score_answers *answers);
uint32_t score_ece_micro(const score_answers *answers);
const char *score_predictions_sha256(const score_answers *answers); /* of the bytes of PREDICTIONS */

/* {k, accuracy, size, latency, cost, coverage, balanced_accuracy: decimals; n, correct, answered; baseline: {correct,
 * accuracy} or null; reference: {...}}: the manifest's object. with_labels: also the baseline's label and, if there are
 * at most SCORE_MANIFEST_LABELS, labels: [{label, rows, answers, correct}]; not for outputs that are texts. NULL if out
 * of memory. */
#define SCORE_MANIFEST_LABELS 1000u
cJSON *score_manifest_object(const score_k *k, const score_answers *answers, bool with_labels);
/* Everything, for --json and report.json: the above, intervals, ECE, labels with precision and recall, confusions by
 * count, and accuracy by threshold. NULL if out of memory. */
cJSON *score_report_object(const score_k *k, const score_answers *answers, const score_gates *gates);
/* Appends up to `most` labels of held-out rows that were never answered, those with most rows first: "\"fraud\" (10
 * rows), ...". */
kit_status score_never_answered_text(const score_answers *answers, size_t most, kit_buf *out,
                                     kolm_error_t *err) KIT_MUST_USE;
/* The label of held-out rows with the lowest recall (of several the one with most rows, then by bytes); NULL: no rows.
 * */
const char *score_lowest_recall(const score_answers *answers, uint64_t *out_correct, uint64_t *out_rows);
/* Finds the number of a label, as in score_label_at; false if no row and no answer has it. */
bool score_label_find(const score_answers *answers, const char *label, size_t *out_number);
/* Number of rows whose output is label. */
uint64_t score_label_rows(const score_answers *answers, const char *label);
/* The labels by number, from 0, in the order of their first row or answer; NULL after the last. Labels that occur only
 * as answers have 0 rows. */
const char *score_label_at(const score_answers *answers, size_t number, uint64_t *out_rows);
/* Number of answers with this label, and how many of them were correct. number: of an existing label, as in
 * score_label_at. */
void score_label_answers(const score_answers *answers, size_t number, uint64_t *out_answers, uint64_t *out_correct);
/* The confusions by number, from 0, in the order of their first row: how many rows of one label were answered with
 * another. Labels are numbers as in score_label_at. False after the last. */
bool score_confusion_at(const score_answers *answers, size_t number, size_t *out_truth, size_t *out_given,
                        uint64_t *out_rows);
/* The text report, sorted so that two can be compared with diff; at most `confusions` confusions, the commonest. */
kit_status score_report_text(const score_k *k, const score_answers *answers, const score_gates *gates,
                             const char *advice, size_t confusions, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;

/* Fills the existing directory with report.json, report.txt, confusions.csv and a copy of predictions.jsonl. */
kit_status score_write_failed(const char *directory, const score_k *k, const score_answers *answers,
                              const score_gates *gates, const char *advice, const char *predictions_path,
                              kolm_error_t *err) KIT_MUST_USE;

#endif
