/* SPDX-License-Identifier: Apache-2.0 */
/* What people see of a compile, and of files of rows. */
#ifndef KOLM_CLI_COMPILE_TEXT_H
#define KOLM_CLI_COMPILE_TEXT_H

#include "cli/context.h"
#include "compile/compile.h"

/* Prints what the event of a compile says, as lines with a label; nothing with --json. */
void cli_compile_event(cli_context *context, const session_event *event);
/* One line about what was rented for it, and what it cost; nothing where nothing was. */
void cli_compile_rented(cli_context *context, const compile *c);

#endif
