/* SPDX-License-Identifier: Apache-2.0 */
/* Shows what a backend requests to the user who may grant it. */
#ifndef KOLM_CLI_GRANT_TEXT_H
#define KOLM_CLI_GRANT_TEXT_H

#include "cli/context.h"
#include "fleet/grants.h"

#include <stdio.h>

/* Shows what a row requests, and its identity. */
void cli_grant_show(const host_backend *row, const fleet_grantee *to, FILE *stream);
/* The same on standard error, and the question; true for yes. */
bool cli_grant_ask(cli_context *context, const host_backend *row, const fleet_grantee *to);

#endif
