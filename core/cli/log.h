/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines of backends: which levels are shown, and where. */
#ifndef KOLM_CLI_LOG_H
#define KOLM_CLI_LOG_H

#include "cli/context.h"

/*
 * Errors and warnings of a backend always go to standard error, with its name; -v (--verbose) adds info lines and what
 * it prints, -v -v debug lines. KOLM_LOG=LEVEL[,NAME=LEVEL...] sets the same, for all backends or for one: debug, info,
 * warning or error. The more verbose of the two applies. A repeated warning of a backend is shown once, because detect,
 * cost and train may each report the same thing.
 *
 * With --json the lines that are shown are also kept, at most 200, and put into the document as "log": an array of
 * {"backend","level","text"} (output.h).
 */
/* Reads KOLM_LOG (secure_getenv). INVALID_ARGUMENT quotes the word that is not a level. */
kit_status cli_log_setup(cli_context *context, kolm_error_t *err) KIT_MUST_USE;
/* True for -v, -vv and --verbose, which then count. */
bool cli_log_option(cli_context *context, const char *word);
/* One line of a backend. level: KOLM_LOG_*. */
void cli_log(cli_context *context, const char *backend, uint32_t level, const char *text);
/* Removes and returns the kept lines: an array, or NULL if there are none. The caller frees it. */
cJSON *cli_log_take(cli_context *context);
void cli_log_free(cli_context *context);

#endif
