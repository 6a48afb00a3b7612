/* SPDX-License-Identifier: Apache-2.0 */
/* The K-score in integers, and Wilson's interval. */
#include "score/score.h"

#include <math.h>

/* Largest r with r * r <= n. */
static uint64_t isqrt(uint64_t n) {
    uint64_t root = 0;
    for (uint64_t bit = 1ull << 31; bit > 0; bit >>= 1)
        if ((root + bit) * (root + bit) <= n) root += bit;
    return root;
}

static uint32_t share(uint64_t part, uint64_t whole) {
    if (whole == 0) return 0;
    return (uint32_t)((part * SCORE_MICRO + whole / 2) / whole);
}

static uint32_t without(uint64_t loss) {
    return loss >= SCORE_MICRO ? 0 : (uint32_t)(SCORE_MICRO - loss);
}

static uint32_t weigh(const score_k *k, uint32_t accuracy) {
    uint64_t others = (uint64_t)k->size + k->latency + k->cost + k->coverage;
    return (uint32_t)((40ull * accuracy + 15ull * others + 50) / 100);
}

static uint32_t to_micro(double value) {
    if (value <= 0) return 0;
    if (value >= 1) return SCORE_MICRO;
    return (uint32_t)(value * SCORE_MICRO + 0.5);
}

score_interval score_wilson(uint64_t hits, uint64_t n) {
    if (n == 0) return (score_interval){0, SCORE_MICRO};
    const double z = 1.959963984540054;
    double count = (double)n, p = (double)hits / count, z2 = z * z;
    double middle = p + z2 / (2 * count);
    double half = z * sqrt(p * (1 - p) / count + z2 / (4 * count * count));
    double scale = 1 + z2 / count;
    score_interval interval = {to_micro((middle - half) / scale), to_micro((middle + half) / scale)};
    if (hits == 0) interval.low_micro = 0;
    if (hits == n) interval.high_micro = SCORE_MICRO;
    return interval;
}

void score_compute(uint64_t rows, uint64_t answered, uint64_t correct, uint64_t payload_bytes, score_k *out_k) {
    score_compute_read(rows, answered, correct, payload_bytes, payload_bytes, out_k);
}

void score_compute_read(uint64_t rows, uint64_t answered, uint64_t correct, uint64_t payload_bytes, uint64_t read_bytes,
                        score_k *out_k) {
    /* C is the last to reach zero, at 1.296 TB; far above it the product below would overflow. */
    uint64_t bytes = payload_bytes < 2000000000000ull ? payload_bytes : 2000000000000ull;
    uint64_t read = read_bytes < 2000000000000ull ? read_bytes : 2000000000000ull;
    *out_k = (score_k){
        .accuracy = share(correct, answered),
        .coverage = share(answered, rows),
        .size = without(isqrt(bytes * 25 / 2)),
        .latency = without(read / 62000),
        .cost = without(read / 1296000),
        .accuracy_interval = score_wilson(correct, answered),
    };
    out_k->k = weigh(out_k, out_k->accuracy);
    out_k->k_interval = (score_interval){weigh(out_k, out_k->accuracy_interval.low_micro),
                                         weigh(out_k, out_k->accuracy_interval.high_micro)};
}

bool score_reaches(const score_k *k, const score_gates *gates) {
    return k->k >= gates->k_micro && k->accuracy >= gates->accuracy_micro;
}

bool score_ships(const score_k *k, const score_answers *answers, const score_gates *gates) {
    score_baseline baseline;
    if (!score_reaches(k, gates)) return false;
    score_baseline_of(answers, &baseline);
    return gates->allow_baseline || score_stands(answers, &baseline, gates->balanced) != SCORE_NOT_BETTER;
}
