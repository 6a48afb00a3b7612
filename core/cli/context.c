/* SPDX-License-Identifier: Apache-2.0 */
/* Initialises a run of kolm, and turns termination signals into a flag. */
#include "cli/context.h"

#include "cli/log.h"
#include "cli/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

/* The first asks a backend to stop, and waits for it; the second kills it, but still cleans up; the third leaves the
 * clean-up to the next kolm. */
static void on_signal(int number) {
    if (interrupted > 1 && number == SIGINT) _exit(130);
    if (!interrupted || number == SIGINT) interrupted++;
    alarm(1);
}

/* A signal that arrives between a check of the flag and a blocking system call would go unnoticed: from the first
 * interrupt on, a timer interrupts every wait. */
static void on_alarm(int number) {
    (void)number;
    if (interrupted) alarm(1);
}

void cli_standard_files_keep(void) {
    static const int modes[] = {O_WRONLY, O_RDONLY, O_RDWR}; /* only lost messages may go unreported */
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", modes[fd]) != fd) return;
}

void cli_signals_install(void) {
    struct sigaction action;
    /* An ignored SIGCHLD is inherited, and then the exit status of a backend would be lost. */
    signal(SIGCHLD, SIG_DFL);
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    /* No SA_RESTART: a wait must end, so that the flag is checked. */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* Closing the terminal ends a compile like Ctrl-C, unless it was started with nohup. */
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, NULL);
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    /* A file size limit is an error to report (EFBIG), like a full disk. */
    sigaction(SIGXFSZ, &action, NULL);
}

bool cli_interrupted(void) {
    return interrupted != 0;
}

const volatile sig_atomic_t *cli_interrupt_flag(void) {
    return &interrupted;
}

static bool colour_wanted(bool tty) {
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    if (!tty || (no_color && *no_color)) return false;
    return term && strcmp(term, "dumb") != 0;
}

void cli_context_init(cli_context *context, const char *program) {
    memset(context, 0, sizeof *context);
    session_init(&context->session, &interrupted, (session_sink){.event = cli_sink, .user = context});
    context->program = program ? program : "";
    context->out_tty = isatty(STDOUT_FILENO) == 1;
    context->err_tty = isatty(STDERR_FILENO) == 1;
    context->colour = colour_wanted(context->out_tty);
}

void cli_context_free(cli_context *context) {
    if (!context) return;
    session_free(&context->session);
    cli_log_free(context);
    memset(context, 0, sizeof *context);
}
