/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the picker: the decision without its texts. */
/* Sources: flips.c, pick.c and words.c. */
#ifndef KOLM_PICK_INTERNAL_H
#define KOLM_PICK_INTERNAL_H

#include "pick/pick.h"

#define PICK_NOBODY SIZE_MAX

/* One bit (1u << filter) for every filter that the candidate fails. */
uint32_t pick_failed_filters(const pick_candidate *candidate, const pick_constraints *constraints);
/* True if a ranks before b; both are eligible. */
bool pick_before(const pick_candidate *a, uint32_t score_a, const pick_candidate *b, uint32_t score_b);
/* Index of the winner, or PICK_NOBODY. */
size_t pick_winner(const pick_candidate *candidates, size_t count, const pick_constraints *constraints);
/* The sentence for a failed filter. */
void pick_reason_text(pick_filter filter, const pick_candidate *candidate, const pick_constraints *constraints,
                      char *out, size_t capacity);
/* "2.50", "0.3125": dollars with at least two decimals and no superfluous zeros. */
void pick_usd_text(uint64_t micro_usd, char out[32]);
/* "80", "25.8": gigabytes with at most one decimal. */
void pick_gb_text(uint64_t bytes, char out[32]);

/* Fills result->flips. */
kit_status pick_find_flips(pick_result *result, const pick_constraints *constraints, kolm_error_t *err) KIT_MUST_USE;

#endif
