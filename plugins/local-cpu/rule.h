/* SPDX-License-Identifier: Apache-2.0 */
/* The one-standard-error rule: of candidates that do about as well as the best one, the plainest. */
#ifndef LOCAL_CPU_RULE_H
#define LOCAL_CPU_RULE_H

#include <stdint.h>

/*
 * Breiman, Friedman, Olshen and Stone, Classification and Regression Trees (1984), section 3.4.3. Candidates answer the
 * same rows, so what counts is the standard error of their difference: with d the differences of n rows it is
 * sqrt(sum d^2 - (sum d)^2 / n), the error of a sum of n independent numbers. A row of weight 0 is not compared, and is
 * not one of the n.
 */

/* How far a is behind b, both 1 for each row answered right, rows weighed; and the standard error of that. */
void rule_compare(const uint8_t *a, const uint8_t *b, const float *weight, uint32_t count, double *out_behind,
                  double *out_error);
/* The first of the candidates, plainest first, that is behind the best by no more than one standard error. right: of
 * each candidate, count long. */
uint32_t rule_plainest(const uint8_t *const *right, uint32_t candidates, const float *weight, uint32_t count);

#endif
