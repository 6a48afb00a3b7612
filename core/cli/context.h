/* SPDX-License-Identifier: Apache-2.0 */
/* State of this run of kolm that every verb needs: the session for the rooms, output mode, interruption. */
#ifndef KOLM_CLI_CONTEXT_H
#define KOLM_CLI_CONTEXT_H

#include "cli/progress.h"
#include "session/log.h"
#include "session/session.h"
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

/* One per process, made by main, used by one thread. */
typedef struct cli_context {
    kolm_session session;  /* passed to the rooms below; its events are printed (sink.h) */
    const char *program;   /* path of this executable as far as known; "" otherwise */
    bool json;             /* --json was given */
    bool quiet;            /* --quiet was given to a verb that has it: results, warnings and errors only */
    bool json_lines;       /* one line for each document: kolm run prints many */
    bool out_tty;          /* standard output is a terminal */
    bool err_tty;          /* standard error is a terminal */
    bool colour;           /* colour may be used on standard output: a terminal, no NO_COLOR, TERM not dumb */
    bool progress_open;    /* a progress line is on standard error and must be ended before other text */
    atomic_int out_errno;  /* errno of the first failed write to standard output; 0: none */
    cli_progress progress; /* of the current work */
    session_log log;
    cJSON *log_kept; /* lines for the document (log.h); NULL: none */
} cli_context;

void cli_context_init(cli_context *context, const char *program);
void cli_context_free(cli_context *context);

/* Occupies descriptors 0, 1 and 2 if the caller closed them: otherwise the next file that is opened would get one of
 * these numbers, and output would be written into it. Reading and writing them still fails. */
void cli_standard_files_keep(void);
/* Installs handlers for SIGINT and SIGTERM that only set a flag, and ignores SIGPIPE and SIGXFSZ (writes fail with
 * EPIPE or EFBIG). A second SIGINT kills the process at once, without clean-up. */
void cli_signals_install(void);
bool cli_interrupted(void);
/* The flag itself: non-zero once a signal has arrived. */
const volatile sig_atomic_t *cli_interrupt_flag(void);

#endif
