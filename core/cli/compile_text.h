/* SPDX-License-Identifier: Apache-2.0 */
/* What people see of a compile, and of files of rows. */
#ifndef KOLM_CLI_COMPILE_TEXT_H
#define KOLM_CLI_COMPILE_TEXT_H

#include "cli/context.h"
#include "compile/compile.h"

/* Prints what the event of a compile says, as lines with a label; nothing with --json. */
void cli_compile_event(cli_context *context, const session_event *event);

/* "[data]  ..." lines: rows by file when there are several, bad rows (the first ten, and all by kind), headers that
 * were left out, keys that were guessed and keys that are not used. `files` are of one run; eval may be NULL. */
void cli_data_print(cli_context *context, const compile_data_files *data, const compile_data_files *eval,
                    const job_summary *summary);

#endif
