/* SPDX-License-Identifier: Apache-2.0 */
/* From answers to a decision: counts, K-score, Wilson interval, calibration, confusions, report of a missed gate. */
#ifndef KOLM_SCORE_SCORE_H
#define KOLM_SCORE_SCORE_H

/*
 * K = 0.40 A + 0.15 S + 0.15 L + 0.15 C + 0.15 V, each term clamped to [0, 1]:
 *
 *     A  accuracy   correct / answered (0 when nothing was answered)
 *     V  coverage   answered / rows
 *     S  size       1 - sqrt(bytes / 80e9)                      against a reference model of 80 GB
 *     L  latency    1 - reference latency / 1240 ms             reference latency = bytes read / 50 GB/s: a model of the
 *                                                               artifact, not of a machine
 *     C  cost       1 - dollars per call / 0.018 $              dollars per call = reference latency x 2.50 $ an hour
 *
 * bytes are those of the payload; a base model that is referenced by digest does not count. Bytes read are those of an
 * answer: payload and base, once for each pass (a causal model makes one for each token of its answer). Everything is an integer
 * number of millionths, so that no compiler, flag or machine moves a digit: A and V are rounded half up, what S, L and
 * C lose is rounded down (isqrt(bytes * 12.5), bytes / 62000, bytes / 1296000), and K is rounded half up.
 *
 * The 95% interval is Wilson's: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z = 1.959963984540054
 * (Wilson 1927; Brown, Cai, DasGupta 2001). For K it is that of A carried through the formula.
 *
 * ECE is the mean over 15 equal bins of confidence of |accuracy - mean confidence|, weighted by rows (Guo et al. 2017),
 * over answered rows.
 */

#include "kolm/kit/file.h"
#include "kolm/kit/json.h"

#define SCORE_MICRO 1000000u

typedef struct score_interval {
    uint32_t low_micro, high_micro;
} score_interval;

typedef struct score_k {
    uint32_t k, accuracy, size, latency, cost, coverage; /* millionths */
    score_interval accuracy_interval, k_interval;
} score_k;

/* Pure. correct <= answered <= rows. read_bytes: what an answer reads, the base and every pass included; it decides L and C,
 * payload_bytes decides S. */
void score_compute_read(uint64_t rows, uint64_t answered, uint64_t correct, uint64_t payload_bytes, uint64_t read_bytes,
                        score_k *out_k);
/* The same for a model that reads its payload once. */
void score_compute(uint64_t rows, uint64_t answered, uint64_t correct, uint64_t payload_bytes, score_k *out_k);
score_interval score_wilson(uint64_t hits, uint64_t n);

typedef struct score_gates {
    uint32_t k_micro;
    uint32_t accuracy_micro;
} score_gates;
/* Ships when K and accuracy both reach their gates. */
bool score_ships(const score_k *k, const score_gates *gates);

/* What the answers showed. Free with score_answers_free. */
typedef struct score_answers score_answers;

/* Reads HELDOUT ({"id","input","output"} a line) and PREDICTIONS ({"id","output","confidence"[,"best"]} a line) side by
 * side. They must have the same ids in the same order: a missing, additional, repeated or malformed answer is
 * DATA_LOSS, with the line and what was expected: the backend is at fault. So is a PREDICTIONS that is no
 * regular file. Memory grows with the number of distinct labels and of confusions, not with rows. */
kit_status score_answers_read(const char *heldout_path, const char *predictions_path, score_answers **out_answers,
                              kolm_error_t *err) KIT_MUST_USE;
void score_answers_free(score_answers *answers);

uint64_t score_rows(const score_answers *answers);
uint64_t score_answered(const score_answers *answers);
uint64_t score_correct(const score_answers *answers);
uint32_t score_ece_micro(const score_answers *answers);
const char *score_predictions_sha256(const score_answers *answers); /* of the bytes of PREDICTIONS */

/* {k, accuracy, size, latency, cost, coverage: decimals; n, correct, answered; reference: {...}}: the manifest's
 * object. NULL when memory is out. */
cJSON *score_manifest_object(const score_k *k, const score_answers *answers);
/* All there is to say, for --json and report.json: the above, intervals, ECE, labels with precision and recall,
 * confusions by count, and accuracy by threshold. NULL when memory is out. */
cJSON *score_report_object(const score_k *k, const score_answers *answers, const score_gates *gates);
/* The same for people, sorted so that two reports can be compared with diff. */
kit_status score_report_text(const score_k *k, const score_answers *answers, const score_gates *gates,
                             const char *advice, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;

/* Fills the existing directory with report.json, report.txt, confusions.csv and a copy of predictions.jsonl. */
kit_status score_write_failed(const char *directory, const score_k *k, const score_answers *answers,
                              const score_gates *gates, const char *advice, const char *predictions_path,
                              kolm_error_t *err) KIT_MUST_USE;

#endif
