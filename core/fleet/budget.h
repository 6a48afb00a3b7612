/* SPDX-License-Identifier: Apache-2.0 */
/* The cap on the cost of a job that the user's environment sets. */
#ifndef KOLM_FLEET_BUDGET_H
#define KOLM_FLEET_BUDGET_H

#include "kolm/kit/status.h"

#include <stdbool.h>
#include <stdint.h>

#define FLEET_BUDGET_VARIABLE "KOLM_COMPUTE_BUDGET_USD"

/* Reads KOLM_COMPUTE_BUDGET_USD: the most that any job may cost, whatever --budget says, in dollars with at most six
 * decimals. *out_set is false if it is unset or empty. INVALID_ARGUMENT if it cannot be parsed: a malformed cap must
 * not be ignored. */
kit_status fleet_budget_cap(bool *out_set, uint64_t *out_micro_usd, kolm_error_t *err) KIT_MUST_USE;

#endif
