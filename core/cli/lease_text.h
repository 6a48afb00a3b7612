/* SPDX-License-Identifier: Apache-2.0 */
/* Leases as text and as JSON. */
#ifndef KOLM_CLI_LEASE_TEXT_H
#define KOLM_CLI_LEASE_TEXT_H

#include "cli/context.h"
#include "fleet/reap.h"

/* One line: what, where, since when, for how much an hour; state: "open", "in use", ... */
void cli_lease_print(cli_context *context, const lease_entry *lease, const char *state);
/* An object with all of it; NULL if out of memory. */
cJSON *cli_lease_json(const lease_entry *lease, const char *state);

#endif
