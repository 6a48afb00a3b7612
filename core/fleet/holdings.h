/* SPDX-License-Identifier: Apache-2.0 */
/* What backends keep elsewhere than on this machine, asked of each, for `kolm compute status`. */
#ifndef KOLM_FLEET_HOLDINGS_H
#define KOLM_FLEET_HOLDINGS_H

#include "fleet/registry.h"

typedef struct cli_elsewhere_options {
    const char *only; /* NULL: every backend that is not of this machine */
    bool prune;       /* remove what is idle and was of no use for older_seconds */
    uint64_t older_seconds;
} cli_elsewhere_options;

typedef struct cli_elsewhere {
    cJSON *held;  /* [{backend, place, kind, name, state, bytes, age_seconds, cost_per_hour_usd, note}] */
    cJSON *asked; /* [{backend, summary}] or, of one that failed, [{backend, error, remedy}] */
    bool failed;  /* somebody could not be asked */
} cli_elsewhere;

/* Asks, over the network. That one cannot answer is in out_elsewhere; that `only` has no such slot, or is not known, is an
 * error, with *out_exit. Warnings of the backends go to the sink. */
kit_status cli_elsewhere_ask(kolm_session *session, const cli_elsewhere_options *options, cli_elsewhere *out_elsewhere,
                             int *out_exit, kolm_error_t *err) KIT_MUST_USE;
void cli_elsewhere_free(cli_elsewhere *elsewhere);

#endif
