/* SPDX-License-Identifier: Apache-2.0 */
/* From out-of-fold scores to one temperature, its calibration error, and the threshold that reaches an accuracy. */
#include "choose.h"
#include "numeric.h"

#include <stdlib.h>

/* Mean negative log-likelihood of the truth under softmax(scores / temperature). */
static double unlikelihood(const calibration_rows *c, double temperature) {
    double sum = 0.0;
    for (uint32_t i = 0; i < c->rows; i++) {
        const float *s = c->scores + (size_t)i * c->stride;
        double most = s[0], total = 0.0;
        for (uint32_t m = 1; m < c->labels; m++)
            if (s[m] > most) most = s[m];
        for (uint32_t m = 0; m < c->labels; m++) total += num_exp((s[m] - most) / temperature);
        sum += num_log(total) - (s[c->truth[i]] - most) / temperature;
    }
    return sum;
}

double calibrate_temperature(const calibration_rows *c) {
    /* Golden section over the logarithm of the temperature: the likelihood has one peak in 1 / temperature. */
    const double ratio = 0.6180339887498949;
    double low = -5.0, high = 3.0;
    double a = high - ratio * (high - low), b = low + ratio * (high - low);
    if (c->rows == 0) return 0.3;
    double at_a = unlikelihood(c, num_exp(a)), at_b = unlikelihood(c, num_exp(b));
    for (int i = 0; i < 22; i++) {
        if (at_a <= at_b) {
            high = b;
            b = a;
            at_b = at_a;
            a = high - ratio * (high - low);
            at_a = unlikelihood(c, num_exp(a));
        } else {
            low = a;
            a = b;
            at_a = at_b;
            b = low + ratio * (high - low);
            at_b = unlikelihood(c, num_exp(b));
        }
    }
    return num_exp((low + high) / 2);
}

uint64_t calibrate_ece(const calibration_rows *c, double temperature) {
    uint64_t sure[CHOOSE_ECE_BINS] = {0}, right[CHOOSE_ECE_BINS] = {0}, sum = 0;
    if (c->rows == 0) return 0;
    for (uint32_t i = 0; i < c->rows; i++) {
        uint32_t best, micro = model_confidence(c->scores + (size_t)i * c->stride, c->labels, temperature, &best);
        uint32_t bin = (uint32_t)((uint64_t)micro * CHOOSE_ECE_BINS / (MODEL_MICRO + 1));
        sure[bin] += micro;
        if (best == c->truth[i]) right[bin] += MODEL_MICRO;
    }
    for (uint32_t b = 0; b < CHOOSE_ECE_BINS; b++) sum += sure[b] > right[b] ? sure[b] - right[b] : right[b] - sure[b];
    return sum / c->rows;
}

static int descending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

uint64_t calibrate_threshold(const calibration_rows *c, double temperature, uint64_t target_micro) {
    /* Confidence in the upper bits, right or not in the lowest. */
    uint32_t *key = malloc((c->rows + 1) * sizeof *key);
    uint64_t right = 0, threshold = MODEL_MICRO + 1;
    if (key == NULL) return threshold;
    for (uint32_t i = 0; i < c->rows; i++) {
        uint32_t best, micro = model_confidence(c->scores + (size_t)i * c->stride, c->labels, temperature, &best);
        key[i] = micro << 1 | (best == c->truth[i]);
    }
    qsort(key, c->rows, sizeof *key, descending);
    for (uint32_t i = 0; i < c->rows; i++) {
        right += key[i] & 1u;
        bool last_of_its_kind = i + 1 == c->rows || key[i + 1] >> 1 != key[i] >> 1;
        if (last_of_its_kind && right * MODEL_MICRO >= target_micro * (i + 1)) threshold = key[i] >> 1;
    }
    free(key);
    return threshold;
}
