/* SPDX-License-Identifier: Apache-2.0 */
/* Runs Python children, reads what they print, and leaves none behind. */
#include "runtime/child.h"

#include "kolm/kit/child.h"
#include "kolm/kit/file.h"
#include "runtime_driver.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK "kolm-answer "
#define SAID_MAX (256u << 10)
#define LINE_MAX_BYTES (64u << 10)
#define WORDS_MAX 64
#define ENV_MAX 32
#define GRACE_MS 5000 /* between the request to exit and killing it */

/* ---- Environment and arguments */

typedef struct environment {
    char *lines[ENV_MAX + 1];
    size_t count;
    bool failed; /* out of memory: the environment is incomplete */
} environment;

static void env_add(environment *env, const char *name, const char *value) {
    kit_buf line = {0};
    if (!value || !*value || env->count >= ENV_MAX) return;
    kit_buf_fmt(&line, "%s=%s", name, value);
    char *text = kit_buf_take(&line);
    if (text)
        env->lines[env->count++] = text;
    else
        env->failed = true;
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

char *runtime_child_search(const char *name) {
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
    const runtime_child_run *run;
    kit_buf line, said;
    cJSON *answer;
    kit_status status; /* of reading its output: on failure, a missing answer proves nothing */
    kolm_error_t error;
} child;

static void end_line(child *c) {
    const char *line = kit_buf_text(&c->line);
    if (c->status == KOLM_OK) c->status = kit_buf_ok(&c->line, &c->error);
    if (c->status != KOLM_OK) {
        /* its output is incomplete */
    } else if (strncmp(line, MARK, strlen(MARK)) == 0) {
        kolm_error_t why = KIT_ERROR_INIT;
        cJSON_Delete(c->answer);
        c->answer = NULL;
        const char *text = line + strlen(MARK);
        kit_status status = kit_json_parse(text, strlen(text), &c->answer, &why);
        if (status != KOLM_OK) c->answer = NULL;
        if (status == KOLM_E_RESOURCE_EXHAUSTED) {
            c->status = status;
            c->error = why;
        }
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

static void take(void *user, const char *bytes, size_t length) {
    child *c = user;
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '\n' || bytes[i] == '\r')
            end_line(c);
        else if (bytes[i] != '\0' && c->line.length < LINE_MAX_BYTES)
            kit_buf_char(&c->line, bytes[i]);
    }
}

static kit_child_stop may_go_on(void *user, bool out_ended) {
    const child *c = user;
    (void)out_ended;
    return *c->run->stop != 0 ? KIT_CHILD_CANCELLED : KIT_CHILD_GOES_ON;
}

static kit_status run_to_its_end(child *c, kit_child_end *out_end, kolm_error_t *err) {
    const runtime_child_run *run = c->run;
    const char *argv[WORDS_MAX + 6] = {run->python, "-I", "-B", "-c", runtime_driver_files[run->reach ? 1 : 0].text};
    environment env = {0};
    const kit_spawn_fd lock = {run->lock_fd, 3};
    for (size_t n = 0; run->words[n] && n < WORDS_MAX; n++)
        argv[n + 5] = run->words[n];
    env_make(&env, run->temporary);
    const kit_child options = {.path = run->python,
                               .argv = argv,
                               .envp = (const char *const *)env.lines,
                               .fds = &lock,
                               .fd_count = run->lock_fd >= 0 ? 1 : 0,
                               .tied = true,
                               .joined = true,
                               .user = c,
                               .out = take,
                               .stop = may_go_on,
                               .grace_ms = GRACE_MS};
    kit_status status = KOLM_OK;
    if (env.failed) status = kit_no_memory(err);
    if (status == KOLM_OK) status = kit_child_run(&options, out_end, err);
    if (c->line.length || c->line.failed) end_line(c);
    env_free(&env);
    return status;
}

kit_status runtime_child(const runtime_child_run *run, cJSON **out_answer, kit_buf *out_said, kolm_error_t *err) {
    child c = {.run = run, .error = KIT_ERROR_INIT};
    kit_child_end end;
    *out_answer = NULL;
    kit_status status = run_to_its_end(&c, &end, err);
    if (status == KOLM_OK && *run->stop != 0) status = kit_fail(err, KOLM_E_CANCELLED, "", "interrupted");
    if (status == KOLM_OK && c.status != KOLM_OK) {
        status = c.status;
        *err = c.error;
    }
    if (status == KOLM_OK && end.exit_code == 0) {
        *out_answer = c.answer;
        c.answer = NULL;
    }
    *out_said = c.said;
    cJSON_Delete(c.answer);
    kit_buf_free(&c.line);
    return status;
}
