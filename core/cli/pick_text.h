/* SPDX-License-Identifier: Apache-2.0 */
/* A pick as text, in the format of the transcripts in the guide. */
#ifndef KOLM_CLI_PICK_TEXT_H
#define KOLM_CLI_PICK_TEXT_H

#include "cli/context.h"
#include "pick/pick.h"

/* picked, device, score, reason, runners-up, filtered out; warnings to standard error. */
void cli_pick_print(cli_context *context, const pick_result *result);
/* The five terms of every backend and the changes that would flip the choice. */
void cli_pick_explain(cli_context *context, const pick_result *result);

#endif
