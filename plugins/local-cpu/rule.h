/* SPDX-License-Identifier: Apache-2.0 */
/* The one-standard-error rule: chooses the simplest of the candidates that are about as good as the best one. */
#ifndef LOCAL_CPU_RULE_H
#define LOCAL_CPU_RULE_H

#include <stdint.h>

/*
 * Breiman, Friedman, Olshen and Stone, Classification and Regression Trees (1984), section 3.4.3. Candidates answer the
 * same rows, so the standard error of their difference counts: with d the differences of n rows it is
 * sqrt(sum d^2 - (sum d)^2 / n), the error of a sum of n independent numbers. A row of weight 0 is not compared and not
 * one of the n.
 */

/* Computes how far a is behind b, with weighted rows, and the standard error of that. a, b: 1 for each right answer. */
void rule_compare(const uint8_t *a, const uint8_t *b, const float *weight, uint32_t count, double *out_behind,
                  double *out_error);
/* Returns the first of the candidates, simplest first, that is behind the best by at most one standard error. right: of
 * each candidate, count long. */
uint32_t rule_plainest(const uint8_t *const *right, uint32_t candidates, const float *weight, uint32_t count);

#endif
