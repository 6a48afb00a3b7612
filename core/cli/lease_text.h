/* SPDX-License-Identifier: Apache-2.0 */
/* Leases as text and as JSON. */
#ifndef KOLM_CLI_LEASE_TEXT_H
#define KOLM_CLI_LEASE_TEXT_H

#include "cli/context.h"
#include "fleet/reap.h"

/* Prints one line: what, where, since when, price per hour; state: "open", "in use", ... */
void cli_lease_print(cli_context *context, const lease_entry *lease, const char *state);
/* The same as an object, with all fields; NULL if out of memory. */
cJSON *cli_lease_json(const lease_entry *lease, const char *state);

#endif
