/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over rows in order, so that every machine makes the same choice. */
#include "rule.h"
#include "numeric.h"

void rule_compare(const uint8_t *a, const uint8_t *b, const float *weight, uint32_t count, double *out_behind,
                  double *out_error) {
    double sum = 0.0, squares = 0.0;
    uint32_t weighed = 0;
    for (uint32_t i = 0; i < count; i++) {
        const double difference = ((double)b[i] - (double)a[i]) * (double)weight[i];
        sum += difference;
        squares += difference * difference;
        weighed += weight[i] > 0.0f;
    }
    const double variance = weighed > 0 ? squares - sum * sum / weighed : 0.0;
    *out_behind = sum;
    *out_error = variance > 0.0 ? num_sqrt(variance) : 0.0;
}

static double merit_of(const uint8_t *right, const float *weight, uint32_t count) {
    double sum = 0.0;
    for (uint32_t i = 0; i < count; i++)
        if (right[i]) sum += (double)weight[i];
    return sum;
}

uint32_t rule_plainest(const uint8_t *const *right, uint32_t candidates, const float *weight, uint32_t count) {
    uint32_t best = 0;
    double most = -1.0;
    for (uint32_t c = 0; c < candidates; c++) {
        const double merit = merit_of(right[c], weight, count);
        if (merit <= most) continue;
        most = merit;
        best = c;
    }
    for (uint32_t c = 0; c < best && count > 0; c++) {
        double behind, error;
        rule_compare(right[c], right[best], weight, count, &behind, &error);
        if (behind <= error) return c;
    }
    return best;
}
