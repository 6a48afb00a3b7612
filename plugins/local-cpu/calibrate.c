/* SPDX-License-Identifier: Apache-2.0 */
/* Computes a temperature and a share of noise from out-of-fold scores, the calibration error, and the threshold for a
 * target accuracy. */
#include "choose.h"
#include "numeric.h"

#include <stdlib.h>

#define FIT_ROWS 4000u /* rows used by the fit; more make no relevant difference */

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the memory limit",
                    "out of memory while the answers are calibrated");
}

/* The shares of wrong labels to try. */
static const double shares[] = {0.0, 0.004, 0.01, 0.02, 0.035, 0.05, 0.07, 0.1, 0.14, 0.19, 0.25};
#define SHARES (sizeof shares / sizeof shares[0])

static double probability_of_truth(const calibration_rows *c, uint32_t i, double temperature) {
    const float *s = c->scores + (size_t)i * c->stride;
    double most = s[0], total = 0.0;
    for (uint32_t m = 1; m < c->labels; m++)
        if (s[m] > most) most = s[m];
    for (uint32_t m = 0; m < c->labels; m++) {
        double x = (s[m] - most) / temperature;
        if (x > -40.0) total += num_exp(x);
    }
    return num_exp((s[c->truth[i]] - most) / temperature) / total;
}

/* Negative log-likelihood of the truth at the temperature, with the best share of noise for it. */
static double unlikelihood(const calibration_rows *c, double temperature, double *out_share) {
    uint32_t step = (c->rows + FIT_ROWS - 1) / FIT_ROWS;
    double sum[SHARES] = {0};
    for (uint32_t i = 0; i < c->rows; i += step) {
        double p = probability_of_truth(c, i, temperature);
        for (size_t k = 0; k < SHARES; k++) {
            double q = (1.0 - shares[k]) * p + shares[k] / c->labels;
            sum[k] -= q > 1e-300 ? num_log(q) : -690.0;
        }
    }
    size_t best = 0;
    for (size_t k = 1; k < SHARES; k++)
        if (sum[k] < sum[best]) best = k;
    *out_share = shares[best];
    return sum[best];
}

calibration calibrate(const calibration_rows *c) {
    /* Golden section over the logarithm of the temperature. */
    const double ratio = 0.6180339887498949;
    double low = -5.0, high = 3.0, share;
    double a = high - ratio * (high - low), b = low + ratio * (high - low);
    if (c->rows == 0) return (calibration){300000, 0};
    double at_a = unlikelihood(c, num_exp(a), &share), at_b = unlikelihood(c, num_exp(b), &share);
    for (int i = 0; i < 18; i++) {
        if (at_a <= at_b) {
            high = b;
            b = a;
            at_b = at_a;
            a = high - ratio * (high - low);
            at_a = unlikelihood(c, num_exp(a), &share);
        } else {
            low = a;
            a = b;
            at_a = at_b;
            b = low + ratio * (high - low);
            at_b = unlikelihood(c, num_exp(b), &share);
        }
    }
    uint64_t micro = (uint64_t)(num_exp((low + high) / 2) * MODEL_MICRO + 0.5);
    if (micro == 0) micro = 1;
    (void)unlikelihood(c, (double)micro / MODEL_MICRO, &share);
    return (calibration){micro, (uint64_t)(share * MODEL_MICRO + 0.5)};
}

uint64_t calibrate_ece_of(const uint32_t *micro, const uint8_t *right, uint32_t rows_) {
    uint64_t sure[CHOOSE_ECE_BINS] = {0}, correct[CHOOSE_ECE_BINS] = {0}, sum = 0;
    if (rows_ == 0) return 0;
    for (uint32_t i = 0; i < rows_; i++) {
        uint32_t bin = (uint32_t)((uint64_t)micro[i] * CHOOSE_ECE_BINS / (MODEL_MICRO + 1));
        sure[bin] += micro[i];
        if (right[i]) correct[bin] += MODEL_MICRO;
    }
    for (uint32_t b = 0; b < CHOOSE_ECE_BINS; b++)
        sum += sure[b] > correct[b] ? sure[b] - correct[b] : correct[b] - sure[b];
    return sum / rows_;
}

static int descending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* The best of many thresholds is optimistic: one standard error on top of the target compensates for that. */
static bool surely_reaches(uint64_t right, uint64_t answered, uint64_t target_micro) {
    double target = (double)target_micro / MODEL_MICRO, n = (double)answered;
    return (double)right >= target * n + num_sqrt(n * target * (1.0 - target));
}

kit_status calibrate_threshold_of(const uint32_t *micro, const uint8_t *right, uint32_t rows_, uint64_t target_micro,
                                  uint64_t *out, kolm_error_t *err) {
    /* Confidence in the upper bits, right or not in the lowest. */
    uint32_t *key = malloc(((size_t)rows_ + 1) * sizeof *key);
    uint64_t correct = 0, threshold = MODEL_MICRO + 1;
    if (key == NULL) return out_of_memory(err);
    for (uint32_t i = 0; i < rows_; i++)
        key[i] = micro[i] << 1 | (right[i] != 0);
    qsort(key, rows_, sizeof *key, descending);
    for (uint32_t i = 0; i < rows_; i++) {
        correct += key[i] & 1u;
        bool last_of_its_kind = i + 1 == rows_ || key[i + 1] >> 1 != key[i] >> 1;
        if (last_of_its_kind && surely_reaches(correct, i + 1, target_micro)) threshold = key[i] >> 1;
    }
    free(key);
    *out = threshold;
    return KOLM_OK;
}

/* Returns the confidence of the answer to each row, and whether it is correct; NULL if out of memory. Correct ones come
 * last. */
static uint32_t *answers_of(const calibration_rows *c, calibration with, uint8_t **out_right) {
    uint32_t *micro = malloc((size_t)(c->rows + 1) * (sizeof *micro + 1));
    if (micro == NULL) return NULL;
    *out_right = (uint8_t *)(micro + c->rows + 1);
    for (uint32_t i = 0; i < c->rows; i++) {
        uint32_t best;
        micro[i] = model_confidence(c->scores + (size_t)i * c->stride, c->labels, with, &best);
        (*out_right)[i] = best == c->truth[i];
    }
    return micro;
}

kit_status calibrate_ece(const calibration_rows *c, calibration with, uint64_t *out, kolm_error_t *err) {
    uint8_t *right;
    uint32_t *micro = answers_of(c, with, &right);
    if (micro == NULL) return out_of_memory(err);
    *out = calibrate_ece_of(micro, right, c->rows);
    free(micro);
    return KOLM_OK;
}

kit_status calibrate_threshold(const calibration_rows *c, calibration with, uint64_t target_micro, uint64_t *out,
                               kolm_error_t *err) {
    uint8_t *right;
    uint32_t *micro = answers_of(c, with, &right);
    if (micro == NULL) return out_of_memory(err);
    kit_status status = calibrate_threshold_of(micro, right, c->rows, target_micro, out, err);
    free(micro);
    return status;
}
