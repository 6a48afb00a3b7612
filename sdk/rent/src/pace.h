/* SPDX-License-Identifier: Apache-2.0 */
/* How often a provider is polled: pure functions of times, in milliseconds of any clock. */
#ifndef KOLM_RENT_PACE_H
#define KOLM_RENT_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* Returns the pause before the next poll of something that has been in its state for age_ms: at first a quarter of a
 * second, growing by two thirds of the age up to twice poll_ms, because many things end within seconds; after a minute
 * four times poll_ms. */
uint64_t rent_pace_pause(uint64_t poll_ms, uint64_t age_ms);

/* Returns when the next request may be sent. asked_ms, created_ms: when the last request, and the last creation, was
 * sent; 0: never. */
int64_t rent_pace_next(uint32_t gap_ms, uint32_t create_gap_ms, int64_t asked_ms, int64_t created_ms, bool creates);

#endif
