/* SPDX-License-Identifier: Apache-2.0 */
/* Text output of what backends keep elsewhere. */
#ifndef KOLM_CLI_ELSEWHERE_TEXT_H
#define KOLM_CLI_ELSEWHERE_TEXT_H

#include "cli/context.h"
#include "fleet/holdings.h"

void cli_elsewhere_print(cli_context *context, const fleet_holdings *elsewhere);

#endif
