/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the cap on the cost of jobs. */
#include "fleet/budget.h"

#include "kolm/kit/text.h"

#include <stdlib.h>

#define MOST_MICRO_USD 1000000000000u /* a million dollars: more is a mistake */

kit_status fleet_budget_cap(bool *out_set, uint64_t *out_micro_usd, kolm_error_t *err) {
    const char *said = secure_getenv(FLEET_BUDGET_VARIABLE);
    *out_set = said && *said;
    *out_micro_usd = 0;
    if (!*out_set) return KOLM_OK;
    if (kit_parse_micro(said, out_micro_usd) && *out_micro_usd <= MOST_MICRO_USD) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write dollars, such as 5 or 0.50, or unset it",
                    FLEET_BUDGET_VARIABLE " is '%s', which is not an amount", said);
}
