/* SPDX-License-Identifier: Apache-2.0 */
/* Looks up what a run of kolm needs once, and turns the signals that end it into a flag. */
#include "cli/context.h"

#include "cli/log.h"
#include "runtime/runtime.h"
#include "session/site.h"
#include "host/scan.h"

#include <errno.h>
#include <fcntl.h>
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    if (interrupted && number == SIGINT) _exit(130);
    interrupted = 1;
    alarm(1);
}

/* A signal that comes between a look at the flag and a system call that waits would be slept through: from the first
 * interrupt on, every wait is broken again and again. */
static void on_alarm(int number) {
    (void)number;
    if (interrupted) alarm(1);
}

void cli_standard_files_keep(void) {
    static const int modes[] = {O_WRONLY, O_RDONLY, O_RDWR}; /* only messages may vanish without a word */
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", modes[fd]) != fd) return;
}

void cli_signals_install(void) {
    struct sigaction action;
    /* A caller that ignores the end of its children hands that on, and then nobody learns how a backend ended. */
    signal(SIGCHLD, SIG_DFL);
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    /* No SA_RESTART: a wait must end, so that the flag is looked at. */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* A terminal that is closed ends a compile as Ctrl-C does, unless it was started to outlive it (nohup). */
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, NULL);
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    /* A limit on the size of files is an error to report (EFBIG), like a disk that is full. */
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
    context->program = program ? program : "";
    context->out_tty = isatty(STDOUT_FILENO) == 1;
    context->err_tty = isatty(STDERR_FILENO) == 1;
    context->colour = colour_wanted(context->out_tty);
}

static void forget_config(cli_context *context) {
    cJSON_Delete(context->config_kept);
    cJSON_Delete(context->config_own);
    cJSON_Delete(context->config_site);
    free(context->config_path);
    free(context->config_site_path);
    context->config_kept = context->config_own = context->config_site = NULL;
    context->config_path = context->config_site_path = NULL;
}

void cli_context_free(cli_context *context) {
    if (!context) return;
    store_home_free(context->home_kept);
    forget_config(context);
    cli_log_free(context);
    memset(context, 0, sizeof *context);
}

/* Whose ~/.kolm it is that root was led to. */
static const char *home_remedy(void) {
    static const char plain[] = "set KOLM_HOME to a directory that only you can change";
    const char *named = secure_getenv("KOLM_HOME");
    if (geteuid() != 0 || (named && *named)) return plain;
    return "use `sudo -H`, or set KOLM_HOME to a directory that only root can change";
}

/* Keys, settings and what was detected are believed, so nobody else may be able to write there, or put another directory in
 * its place: the rule for plugins. */
static kit_status check_home(store_home **home, kolm_error_t *err) {
    const char *path = store_home_path(*home);
    char *real = NULL;
    if (kit_utf8_valid(path, strlen(path)) != strlen(path))
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "set KOLM_HOME to another path",
                        "the path of kolm's home, %s, is not UTF-8 text", path);
    kit_status status = host_trust_home(path, home_remedy(), &real, err);
    if (status == KOLM_E_PERMISSION_DENIED) err->code = KOLM_E_FAILED_PRECONDITION; /* the environment is wrong */
    if (status != KOLM_OK) return kit_fail_context(err, "kolm's home %s is not used", path);
    if (real == NULL || strcmp(real, path) == 0) {
        free(real);
        return KOLM_OK;
    }
    /* A link on the way there may be changed by whoever could not change the place itself. */
    store_home *resolved = NULL;
    status = store_home_at(real, &resolved, err);
    free(real);
    if (status != KOLM_OK) return status;
    store_home_free(*home);
    *home = resolved;
    return KOLM_OK;
}

kit_status cli_home(cli_context *context, store_home **out_home, kolm_error_t *err) {
    if (!context->home_kept) {
        store_home *home = NULL;
        KIT_TRY(store_home_find(&home, err));
        kit_status status = check_home(&home, err);
        if (status != KOLM_OK) {
            store_home_free(home);
            return status;
        }
        context->home_kept = home;
    }
    *out_home = context->home_kept;
    return KOLM_OK;
}

/* A link into nowhere is a file that cannot be read, not none. */
static kit_status check_config(const char *path, kolm_error_t *err) {
    struct stat info;
    if (lstat(path, &info) != 0)
        return errno == ENOENT || errno == ENOTDIR ? KOLM_OK : kit_fail_errno(err, errno, "cannot look at %s", path);
    kit_status status = host_trust_kept(path, "replace it by one that only you can change, after a look at what is in it", err);
    return status == KOLM_E_PERMISSION_DENIED ? kit_fail_context(err, "%s is not used", path) : status;
}

static kit_status read_config(cli_context *context, kolm_error_t *err) {
    store_home *home = NULL;
    KIT_TRY(cli_home(context, &home, err));
    KIT_TRY(store_home_place(home, STORE_CONFIG, &context->config_path, err));
    KIT_TRY(check_config(context->config_path, err));
    KIT_TRY(store_config_read(home, &context->config_own, err));
    KIT_TRY(store_config_check(context->config_path, context->config_own, err));
    context->config_kept = cJSON_Duplicate(context->config_own, 1);
    if (!context->config_kept) return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    KIT_TRY(cli_runtimes_add(home, context->config_kept, err));
    return cli_site_merge(context, err);
}

kit_status cli_config(cli_context *context, const cJSON **out_config, kolm_error_t *err) {
    if (!context->config_kept) {
        kit_status status = read_config(context, err);
        if (status != KOLM_OK) {
            forget_config(context);
            return status;
        }
    }
    *out_config = context->config_kept;
    return KOLM_OK;
}
