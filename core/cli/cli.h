/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of the kolm command: one function each, one row of the table in main.c each.
 * Sources: cmd_*.c. */
#ifndef KOLM_CLI_CLI_H
#define KOLM_CLI_CLI_H

/*
 * A verb gets argv, in which argv[0] is its own name ("compile", "list"), and returns the exit code of the process. It
 * parses its options with cli_options_parse (options.h), prints with the functions of output.h, and finds the home
 * directory through context.h. It frees what it allocates; main frees the context.
 */

#include "cli/context.h"

struct setup;

typedef int (*cli_command_fn)(struct cli_context *context, int argc, char **argv);

typedef struct cli_command {
    const char *name;
    const char *help; /* one line, no full stop */
    cli_command_fn run;
} cli_command;

/* Runs the command that argv[0] names; usage error (2) with the nearest name if there is none. prefix precedes the name
 * in messages: "kolm" or "kolm compute". */
int cli_dispatch(struct cli_context *context, const char *prefix, const cli_command *table, size_t count, int argc,
                 char **argv);
/* A verb that is only a group of others, with argv as received: dispatches, or prints the list. summary: start of the
 * help. */
int cli_group_of(struct cli_context *context, const char *prefix, const char *summary, const cli_command *table,
                 size_t count, int argc, char **argv);

int cli_cmd_compile(struct cli_context *context, int argc, char **argv);
int cli_cmd_run(struct cli_context *context, int argc, char **argv);
int cli_cmd_export(struct cli_context *context, int argc, char **argv);
int cli_cmd_score(struct cli_context *context, int argc, char **argv);
int cli_cmd_report(struct cli_context *context, int argc, char **argv);
int cli_cmd_inspect(struct cli_context *context, int argc, char **argv);
int cli_cmd_verify(struct cli_context *context, int argc, char **argv);
int cli_cmd_backend(struct cli_context *context, int argc, char **argv);
int cli_cmd_job(struct cli_context *context, int argc, char **argv);
int cli_cmd_keys(struct cli_context *context, int argc, char **argv);
int cli_cmd_compute(struct cli_context *context, int argc, char **argv);

/* The verbs below `kolm compute`. */
int cli_compute_list(struct cli_context *context, int argc, char **argv);
int cli_compute_detect(struct cli_context *context, int argc, char **argv);
int cli_compute_pick(struct cli_context *context, int argc, char **argv);
int cli_compute_use(struct cli_context *context, int argc, char **argv);
int cli_compute_info(struct cli_context *context, int argc, char **argv);
int cli_compute_status(struct cli_context *context, int argc, char **argv);
int cli_compute_reap(struct cli_context *context, int argc, char **argv);
int cli_compute_test(struct cli_context *context, int argc, char **argv);
int cli_compute_setup(struct cli_context *context, int argc, char **argv);
int cli_compute_quote(struct cli_context *context, int argc, char **argv);

/* Shows what a setup is about to do, so that the user can cancel it; for the sink. */
void cli_setup_plan(struct cli_context *context, const struct setup *plan);

/* The verbs below `kolm backend`. */
int cli_backend_new(struct cli_context *context, int argc, char **argv);
int cli_backend_check(struct cli_context *context, int argc, char **argv);
int cli_backend_list(struct cli_context *context, int argc, char **argv);
int cli_backend_why(struct cli_context *context, int argc, char **argv);
int cli_backend_trust(struct cli_context *context, int argc, char **argv);
int cli_backend_grant(struct cli_context *context, int argc, char **argv);
int cli_backend_untrust(struct cli_context *context, int argc, char **argv);
int cli_backend_keys(struct cli_context *context, int argc, char **argv);
int cli_backend_sign(struct cli_context *context, int argc, char **argv);

#endif
