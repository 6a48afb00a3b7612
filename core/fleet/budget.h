/* SPDX-License-Identifier: Apache-2.0 */
/* What a job may cost at most, by the user's environment. */
#ifndef KOLM_FLEET_BUDGET_H
#define KOLM_FLEET_BUDGET_H

#include "kolm/kit/status.h"

#include <stdbool.h>
#include <stdint.h>

#define FLEET_BUDGET_VARIABLE "KOLM_COMPUTE_BUDGET_USD"

/* KOLM_COMPUTE_BUDGET_USD: dollars, at most six decimals, that no job may cost more than, whatever --budget says.
 * *out_set false: it is not set, or empty. INVALID_ARGUMENT for anything else: a cap that is not understood must not be
 * ignored. */
kit_status fleet_budget_cap(bool *out_set, uint64_t *out_micro_usd, kolm_error_t *err) KIT_MUST_USE;

#endif
