/* SPDX-License-Identifier: Apache-2.0 */
/* What backends keep outside this machine, as they report it for `kolm compute status`. */
#ifndef KOLM_FLEET_HOLDINGS_H
#define KOLM_FLEET_HOLDINGS_H

#include "fleet/registry.h"

typedef struct fleet_holdings_options {
    const char *only; /* NULL: every backend that is not local */
    session_airgap airgap;
    bool prune; /* remove what is idle and unused for at least older_seconds */
    uint64_t older_seconds;
} fleet_holdings_options;

typedef struct fleet_holdings {
    cJSON *held;  /* [{backend, place, kind, name, state, bytes, age_seconds, cost_per_hour_usd, note}] */
    cJSON *asked; /* [{backend, summary}] or, for one that failed, [{backend, error, remedy}] */
    bool failed;  /* a backend could not be queried */
} fleet_holdings;

/* Queries them, over the network unless there is an airgap. Backends that cannot answer are reported in out_elsewhere;
 * it is an error, with *out_reason set, if `only` is unknown or has no status slot. Warnings of the backends go to the
 * sink. */
kit_status fleet_holdings_query(kolm_session *session, const fleet_holdings_options *options,
                                fleet_holdings *out_elsewhere, session_reason *out_reason,
                                kolm_error_t *err) KIT_MUST_USE;
void fleet_holdings_free(fleet_holdings *elsewhere);

#endif
