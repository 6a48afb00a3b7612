/* SPDX-License-Identifier: Apache-2.0 */
/* What a backend asks for, shown to the person who may grant it. */
#ifndef KOLM_CLI_GRANT_TEXT_H
#define KOLM_CLI_GRANT_TEXT_H

#include "cli/context.h"
#include "fleet/grants.h"

#include <stdio.h>

/* Shows what a row asks for, and who it is. */
void cli_grant_show(const host_backend *row, const fleet_grantee *to, FILE *stream);
/* The same on standard error, and the question; true for yes. */
bool cli_grant_ask(cli_context *context, const host_backend *row, const fleet_grantee *to);

#endif
