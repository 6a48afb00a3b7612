/* SPDX-License-Identifier: Apache-2.0 */
/* Runs Python children, reads what they print, and leaves none behind. */
#include "runtime/child.h"

#include "kolm/kit/file.h"
#include "kolm/kit/process.h"
#include "runtime_driver.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARK "kolm-answer "
#define SAID_MAX (256u << 10)
#define LINE_MAX_BYTES (64u << 10)
#define WORDS_MAX 64
#define ENV_MAX 32
#define LOOK_MS 200   /* between two looks at the interrupt flag */
#define GRACE_MS 5000 /* between asking it to end and killing it */

/* ---- Environment and arguments */

typedef struct environment {
    char *lines[ENV_MAX + 1];
    size_t count;
} environment;

static void env_add(environment *env, const char *name, const char *value) {
    kit_buf line = {0};
    if (!value || !*value || env->count >= ENV_MAX) return;
    kit_buf_fmt(&line, "%s=%s", name, value);
    char *text = kit_buf_take(&line);
    if (text) env->lines[env->count++] = text;
}

static void env_make(environment *env, const char *temporary) {
    static const char *const kept[] = {"HOME",
                                       "http_proxy",
                                       "https_proxy",
                                       "no_proxy",
                                       "all_proxy",
                                       "HTTP_PROXY",
                                       "HTTPS_PROXY",
                                       "NO_PROXY",
                                       "ALL_PROXY",
                                       "PIP_CERT",
                                       "PIP_PROXY",
                                       "SSL_CERT_FILE",
                                       "REQUESTS_CA_BUNDLE",
                                       "CURL_CA_BUNDLE",
                                       "SSL_CERT_DIR",
                                       "PIP_CLIENT_CERT",
                                       "LD_LIBRARY_PATH"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        env_add(env, kept[i], secure_getenv(kept[i]));
    const char *path = secure_getenv("PATH");
    env_add(env, "PATH", path && *path ? path : "/usr/local/bin:/usr/bin:/bin");
    env_add(env, "TMPDIR", temporary ? temporary : "/tmp");
    env_add(env, "LC_ALL", "C.UTF-8");
    env_add(env, "PIP_CONFIG_FILE", "/dev/null");
    env_add(env, "PIP_NO_INPUT", "1");
    env_add(env, "PIP_DISABLE_PIP_VERSION_CHECK", "1");
}

static void env_free(environment *env) {
    for (size_t i = 0; i < env->count; i++)
        free(env->lines[i]);
}

char *cli_child_search(const char *name) {
    const char *at = secure_getenv("PATH");
    if (!at || !*at) at = "/usr/local/bin:/usr/bin:/bin";
    while (*at) {
        size_t n = strcspn(at, ":");
        kit_buf path = {0};
        struct stat info;
        if (n > 0 && *at == '/') kit_buf_fmt(&path, "%.*s/%s", (int)n, at, name);
        if (path.length && stat(path.data, &info) == 0 && S_ISREG(info.st_mode) && access(path.data, X_OK) == 0)
            return kit_buf_take(&path);
        kit_buf_free(&path);
        at += n;
        if (*at) at++;
    }
    return NULL;
}

/* ---- One child */

typedef struct child {
    const cli_child_run *run;
    pid_t pid;
    int in;  /* our end of its standard input: nothing is ever written */
    int out; /* our end of its output */
    kit_buf line, said;
    cJSON *answer;
    int64_t asked_ms; /* when it was asked to end; 0: not yet */
} child;

static kit_status start(child *c, kolm_error_t *err) {
    const cli_child_run *run = c->run;
    const char *argv[WORDS_MAX + 6];
    size_t n = 0;
    int child_in = -1, child_out = -1;
    environment env = {0};
    argv[n++] = run->python;
    argv[n++] = "-I";
    argv[n++] = "-B";
    argv[n++] = "-c";
    argv[n++] = runtime_driver_files[run->reach ? 1 : 0].text;
    for (size_t i = 0; run->words[i] && i < WORDS_MAX; i++)
        argv[n++] = run->words[i];
    argv[n] = NULL;
    env_make(&env, run->temporary);
    kit_status status = kit_pipe(&child_in, &c->in, err);
    if (status == KOLM_OK) status = kit_pipe(&c->out, &child_out, err);
    if (status == KOLM_OK) {
        const kit_spawn_fd fds[] = {{child_in, 0}, {child_out, 1}, {child_out, 2}, {run->lock_fd, 3}};
        const kit_spawn_options options = {.path = run->python,
                                           .argv = (char *const *)(uintptr_t)argv,
                                           .envp = env.lines,
                                           .fds = fds,
                                           .fd_count = run->lock_fd >= 0 ? 4 : 3};
        status = kit_spawn(&options, &c->pid, err);
    }
    if (child_in >= 0) close(child_in);
    if (child_out >= 0) close(child_out);
    env_free(&env);
    return status;
}

static void end_line(child *c) {
    const char *line = kit_buf_text(&c->line);
    if (strncmp(line, MARK, strlen(MARK)) == 0) {
        kolm_error_t ignored = KIT_ERROR_INIT;
        cJSON_Delete(c->answer);
        c->answer = NULL;
        const char *text = line + strlen(MARK);
        if (kit_json_parse(text, strlen(text), &c->answer, &ignored) != KOLM_OK) c->answer = NULL;
    } else {
        if (c->said.length > 2 * SAID_MAX) {
            memmove(c->said.data, c->said.data + c->said.length - SAID_MAX, SAID_MAX);
            c->said.length = SAID_MAX;
        }
        kit_buf_fmt(&c->said, "%s\n", line);
        if (c->run->on_line) c->run->on_line(c->run->user, line);
    }
    kit_buf_clear(&c->line);
}

/* False at the end of the output. */
static bool read_some(child *c) {
    char bytes[8192];
    ssize_t got = read(c->out, bytes, sizeof bytes);
    if (got < 0) return errno == EINTR || errno == EAGAIN;
    for (ssize_t i = 0; i < got; i++) {
        if (bytes[i] == '\n' || bytes[i] == '\r')
            end_line(c);
        else if (bytes[i] != '\0' && c->line.length < LINE_MAX_BYTES)
            kit_buf_char(&c->line, bytes[i]);
    }
    return got > 0;
}

static void look_at_interrupt(child *c) {
    if (!cli_interrupted()) return;
    int64_t now = kit_now_ms();
    if (c->asked_ms == 0) {
        c->asked_ms = now;
        kill(-c->pid, SIGTERM);
    } else if (now - c->asked_ms > GRACE_MS) {
        kill(-c->pid, SIGKILL);
    }
}

/* True when the child has ended; it stays there to be waited for, so that its group cannot become another's. */
static bool has_ended(const child *c) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == c->pid;
}

/* Reads until the child has ended; returns what waitpid said. */
static int follow(child *c) {
    int ended = 0;
    bool open = true;
    while (!has_ended(c)) {
        look_at_interrupt(c);
        struct pollfd wait_for = {.fd = open ? c->out : -1, .events = POLLIN};
        if (poll(&wait_for, 1, LOOK_MS) > 0) open = read_some(c);
    }
    kill(-c->pid, SIGKILL); /* whatever it left in its group */
    while (waitpid(c->pid, &ended, 0) < 0 && errno == EINTR) {
    }
    struct pollfd rest = {.fd = c->out, .events = POLLIN};
    while (open && poll(&rest, 1, 0) > 0)
        open = read_some(c);
    if (c->line.length) end_line(c);
    return ended;
}

kit_status cli_child(const cli_child_run *run, cJSON **out_answer, kit_buf *out_said, kolm_error_t *err) {
    child c = {.run = run, .in = -1, .out = -1};
    *out_answer = NULL;
    kit_status status = start(&c, err);
    int ended = status == KOLM_OK ? follow(&c) : 0;
    if (status == KOLM_OK && cli_interrupted()) status = kit_fail(err, KOLM_E_CANCELLED, "", "interrupted");
    if (status == KOLM_OK && WIFEXITED(ended) && WEXITSTATUS(ended) == 0) {
        *out_answer = c.answer;
        c.answer = NULL;
    }
    *out_said = c.said;
    cJSON_Delete(c.answer);
    kit_buf_free(&c.line);
    if (c.in >= 0) close(c.in);
    if (c.out >= 0) close(c.out);
    return status;
}
