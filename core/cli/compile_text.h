/* SPDX-License-Identifier: Apache-2.0 */
/* Text output of a compile, and of files of rows. */
#ifndef KOLM_CLI_COMPILE_TEXT_H
#define KOLM_CLI_COMPILE_TEXT_H

#include "cli/context.h"
#include "compile/compile.h"

/* Prints an event of a compile as labelled lines; nothing with --json. */
void cli_compile_event(cli_context *context, const session_event *event);
/* One line about what was rented for it, and its cost; nothing if nothing was rented. */
void cli_compile_rented(cli_context *context, const compile *c);

#endif
