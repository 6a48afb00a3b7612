/* SPDX-License-Identifier: Apache-2.0 */
/* What every verb needs to know about this run of kolm: home directory, configuration, output mode, interruption. */
#ifndef KOLM_CLI_CONTEXT_H
#define KOLM_CLI_CONTEXT_H

#include "kolm/kit/json.h"
#include "store/store.h"
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

/*
 * One per process, made by main, used by one thread. Everything that costs time (home, configuration) is looked up on
 * the first question and kept. What the functions give belongs to the context.
 */
typedef struct cli_context {
    const char *program; /* path of this executable as far as known; "" otherwise */
    bool json;           /* --json was given */
    bool json_lines;     /* one line for each document: kolm run prints many */
    bool out_tty;        /* standard output is a terminal */
    bool err_tty;        /* standard error is a terminal */
    bool colour;         /* colour may be used on standard output: a terminal, no NO_COLOR, TERM not dumb */
    bool progress_open;  /* a progress line stands on standard error and must be ended before other text */
    atomic_int out_errno; /* why standard output could not be written, the first time; 0: it could */
    store_home *home_kept;
    cJSON *config_kept; /* what counts */
    cJSON *config_own;  /* the user's file by itself */
    char *config_path;  /* its name */
    cJSON *config_site; /* the machine's; NULL: there is none (site.h) */
    char *config_site_path;
    struct cli_log_state *log_kept; /* log.h */
} cli_context;

/* What --airgap asks for, wherever it stands. Strict: the kernel keeps what runs from the network, or nothing runs.
 * Advisory: only backends that need no network are considered, and nothing enforces that. */
typedef enum cli_airgap { CLI_AIRGAP_OFF, CLI_AIRGAP_ADVISORY, CLI_AIRGAP_STRICT } cli_airgap;

void cli_context_init(cli_context *context, const char *program);
void cli_context_free(cli_context *context);

/* KOLM_HOME, else $HOME/.kolm. Nothing is created. FAILED_PRECONDITION when neither is set or it is not
 * absolute. */
kit_status cli_home(cli_context *context, store_home **out_home, kolm_error_t *err) KIT_MUST_USE;
/* config.json with the runtimes that were found added (runtime.h), over the machine's (site.h); an empty object when there is none or no home;
 * DATA_LOSS when it is not a JSON object, or has a key that there is not. */
kit_status cli_config(cli_context *context, const cJSON **out_config, kolm_error_t *err) KIT_MUST_USE;

/* Gives standard input, output and error a place when the caller closed them: otherwise the next file that is opened
 * would be taken for one of them, and what is printed would go into it. Reading and writing there still fails. */
void cli_standard_files_keep(void);
/* Installs handlers for SIGINT and SIGTERM that only set a flag, and ignores SIGPIPE and SIGXFSZ (writes fail with
 * EPIPE or EFBIG). A second SIGINT ends the process at once, with what a signal death means: no clean-up. */
void cli_signals_install(void);
bool cli_interrupted(void);
/* The flag itself: non-zero once a signal came. */
const volatile sig_atomic_t *cli_interrupt_flag(void);

#endif
