/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that kolm prints: results on standard output, the rest on standard error, as text or as JSON. */
#ifndef KOLM_CLI_OUTPUT_H
#define KOLM_CLI_OUTPUT_H

#include "cli/context.h"
#include "cli/exit.h"

/* ---- Results: standard output. Text that came from a plugin, a file or the user goes through cli_safe first. */
void cli_print(cli_context *context, const char *format, ...) KIT_PRINTF(2, 3);
/* Flushes standard output, for a reader that waits for it. Errors of both functions are stored in context->out_errno: a
 * verb with much output checks it and stops; cli_output_finish reports it. */
void cli_flush(cli_context *context);
/* A string for a terminal: control characters and bad UTF-8 become \xNN. A ring of 16 buffers; at most 16 per printf.
 */
const char *cli_safe(const char *text);
/* Appends JSON text with characters that a terminal might interpret (DEL, C1, bidirectional controls) as \uNNNN: the
 * same value, escaped. */
void cli_add_json(kit_buf *buf, const char *text);
/* Prints value, indented, with a newline, and with "log", the log lines of backends, unless it is a pick record or one
 * of many lines. Takes ownership of value. Returns exit_code, or CLI_EXIT_INTERNAL if out of memory (value NULL). */
int cli_print_json(cli_context *context, cJSON *value, int exit_code);
/* Documents are built like this: members are added while `good` holds, and an incomplete document is reported as out of
 * memory. */
/* Returns value if good; otherwise frees it and returns NULL. */
cJSON *cli_whole(cJSON *value, bool good);
/* Appends item to array if good; otherwise frees it and returns false. */
bool cli_append(cJSON *array, cJSON *item, bool good);
/* "text" in the given style if colour is on. Uses the ring of cli_safe. */
typedef enum cli_style { CLI_BOLD, CLI_DIM, CLI_GREEN, CLI_YELLOW, CLI_RED } cli_style;
const char *cli_styled(const cli_context *context, cli_style style, const char *text);

/* ---- Errors and warnings: standard error. The shape of an error is
 *     kolm: what happened, to what
 *       -> what to do next
 * With --json the same goes to standard output as {"schema":"kolm.error/1","exit","code","text","remedy"} as well. */
int cli_error(cli_context *context, int exit_code, const kolm_error_t *err);
/* The same with the exit code of the reason, or if that is NONE, of the error's code. */
int cli_fail(cli_context *context, session_reason reason, const kolm_error_t *err);
/* The same for keys and grants, where the user can change a denied permission. */
int cli_fail_own(cli_context *context, const kolm_error_t *err);
/* A usage error: quotes what is wrong and refers to the help of command. Returns CLI_EXIT_USAGE. */
int cli_usage_error(cli_context *context, const char *command, const char *format, ...) KIT_PRINTF(3, 4);
/* "kolm: KIND: ..." with a kind such as "info" or "error". */
void cli_note(cli_context *context, const char *kind, const char *format, ...) KIT_PRINTF(3, 4);
void cli_warn(cli_context *context, const char *format, ...) KIT_PRINTF(2, 3);
/* ---- Progress: one line that is rewritten on a terminal; on a pipe a plain line at most every five seconds,
 * regardless of phases, and the last one at the end; nothing with --json. Goes to standard error. */
/* step and total as in kolm_progress_t. The ETA is elapsed * (total - step) / step, shown once a second has passed. */
void cli_progress_update(cli_context *context, cli_progress *progress, const kolm_progress_t *report);
/* The same with the caller's time, in milliseconds of any monotonic clock. */
void cli_progress_at(cli_context *context, cli_progress *progress, const kolm_progress_t *report, int64_t now);
/* Ends the line, and prints one that was held back, so that other text may follow. A later update starts a new line,
 * but no sooner. */
void cli_progress_end(cli_context *context, cli_progress *progress);

/* Flushes standard output. CLI_EXIT_INTERNAL with a message if it could not be written (but exit_code for a closed
 * pipe), else exit_code. */
int cli_output_finish(cli_context *context, int exit_code);

#endif
