/* SPDX-License-Identifier: Apache-2.0 */
/* The paths of an environment, its lock, and the interpreter that makes it. */
#include "runtime/setup.h"

#include "host/scan.h"
#include "kolm/kit/file.h"
#include "kolm/kit/lock.h"
#include "kolm/kit/process.h"
#include "runtime/child.h"
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_WAIT_MS 3000 /* the child of a killed kolm takes a moment to notice */
#define PYTHON_NEWEST 20  /* python3.20 and older are tried */
#define PYTHON_OLDEST 9

static kit_status place(const setup *s, const char *format_before, const char *after, char **out, kolm_error_t *err) {
    kit_buf path = {0};
    kit_buf_fmt(&path, "%s/%s%s%s", s->root, format_before, s->name, after);
    kit_status status = kit_buf_ok(&path, err);
    if (status == KOLM_OK)
        *out = kit_buf_take(&path);
    else
        kit_buf_free(&path);
    return status;
}

kit_status setup_open(setup *s, kolm_error_t *err) {
    s->lock_fd = -1;
    KIT_TRY(session_home(s->session, &s->home, err));
    KIT_TRY(store_home_place(s->home, STORE_RUNTIMES, &s->root, err));
    KIT_TRY(place(s, "", "", &s->place, err));
    KIT_TRY(place(s, ".", ".partial", &s->partial, err));
    KIT_TRY(place(s, ".", ".old", &s->old, err));
    KIT_TRY(kit_path_join(s->partial, "venv", &s->venv, err));
    KIT_TRY(kit_path_join(s->partial, "cache", &s->cache, err));
    KIT_TRY(kit_path_join(s->partial, "tmp", &s->temporary, err));
    return kit_path_join(s->partial, "setup.log", &s->log, err);
}

void setup_close(setup *s) {
    char *const texts[] = {s->root,      s->place, s->partial, s->venv,   s->cache,
                           s->temporary, s->log,   s->old,     s->wheels, s->interpreter};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    if (s->lock_fd >= 0) close(s->lock_fd);
    cJSON_Delete(s->about);
    runtime_lock_free(&s->lock);
}

static bool stopped(void *session) {
    return session_stopped(session);
}

kit_status setup_take_lock(setup *s, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(store_home_create(s->home, err));
    KIT_TRY(kit_mkdirs(s->root, 0700, err));
    KIT_TRY(place(s, ".", ".lock", &path, err));
    kit_status status = kit_lock_open(path, &s->lock_fd, err);
    if (status == KOLM_OK) status = kit_lock_wait(s->lock_fd, path, LOCK_WAIT_MS, stopped, s->session, err);
    if (status == KOLM_E_UNAVAILABLE)
        status = kit_fail(err, KOLM_E_UNAVAILABLE, "wait for it to end, then check with `kolm compute info`",
                          "another `kolm compute setup %s` is running", s->name);
    free(path);
    return status;
}

void setup_look(setup *s) {
    cJSON_Delete(s->about);
    s->about = runtime_about(s->place);
}

const char *setup_shown_url(const char *url, char *out, size_t capacity) {
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    size_t n = strcspn(host, "/");
    const char *at = NULL;
    for (size_t i = 0; i < n; i++)
        if (host[i] == '@') at = host + i;
    kit_format(out, capacity, "%.*s%s", (int)(host - url), url, at ? at + 1 : host);
    return out;
}

/* ---- Sizes */

static _Thread_local uint64_t counted;

static int count(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)path, (void)walk;
    if (kind == FTW_F) counted += (uint64_t)info->st_size;
    return 0;
}

uint64_t setup_bytes_below(const char *path) {
    counted = 0;
    (void)nftw(path, count, 32, FTW_PHYS);
    return counted;
}

/* ---- The interpreter */

kit_status setup_probe(const kolm_session *session, const char *path, cJSON **out_answer, kolm_error_t *err) {
    const char *const words[] = {"probe", NULL};
    const runtime_child_run run = {.stop = session->stop, .python = path, .words = words, .lock_fd = -1};
    kit_buf said = {0};
    struct stat info;
    *out_answer = NULL;
    if (stat(path, &info) != 0) return kit_fail_errno(err, errno, "cannot find the Python %s", path);
    KIT_TRY(host_trust_python(path, "name another Python", err));
    kit_status status = runtime_child(&run, out_answer, &said, err);
    uint64_t major = 0;
    if (status == KOLM_OK && !kit_json_get_u64(*out_answer, "major", &major)) {
        cJSON_Delete(*out_answer);
        *out_answer = NULL;
        status =
            kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name the program itself, for instance /usr/bin/python3.11",
                     "%s is not a Python 3: %.200s", path, said.length ? kit_buf_text(&said) : "it printed nothing");
    }
    kit_buf_free(&said);
    return status;
}

/* True if the Python at path satisfies the lock; otherwise err says why not. */
static kit_status try_python(setup *s, const char *path, kolm_error_t *err) {
    cJSON *answer = NULL;
    uint64_t major = 0, minor = 0;
    const char *version = "", *executable = path, *system = "", *machine = "";
    bool able = false;
    KIT_TRY(setup_probe(s->session, path, &answer, err));
    /* Missing members leave the variables unchanged. */
    (void)kit_json_get_u64(answer, "major", &major);
    (void)kit_json_get_u64(answer, "minor", &minor);
    (void)kit_json_get_string(answer, "version", &version);
    (void)kit_json_get_string(answer, "executable", &executable);
    (void)kit_json_get_string(answer, "system", &system);
    (void)kit_json_get_string(answer, "machine", &machine);
    (void)kit_json_get_bool(answer, "venv", &able);
    kit_status status = KOLM_OK;
    if (!runtime_lock_python_ok(s->lock.python, major, minor))
        status =
            kit_fail(err, KOLM_E_FAILED_PRECONDITION, "name another one with --python PATH",
                     "the runtime of %s needs Python %s, and %s is Python %s", s->name, s->lock.python, path, version);
    else if (!runtime_lock_allows(s->lock.system, system) || !runtime_lock_allows(s->lock.machine, machine))
        status =
            kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                     "`kolm compute detect` shows the backends of this machine; --use PATH takes a Python of yours",
                     "the runtime of %s is for %s %s, and this is %s %s", s->name, s->lock.system, s->lock.machine,
                     system, machine);
    else if (!able)
        status = kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                          "apt install python3-venv (Debian, Ubuntu), or name another Python with --python PATH",
                          "%s cannot make virtual environments: its modules venv and ensurepip are missing", path);
    if (status == KOLM_OK) {
        kit_copy(s->version, sizeof s->version, version);
        free(s->interpreter);
        s->interpreter = NULL;
        status = kit_strdup(executable[0] == '/' ? executable : path, &s->interpreter, err);
    }
    cJSON_Delete(answer);
    return status;
}

kit_status setup_find_python(setup *s, kolm_error_t *err) {
    if (s->python) {
        char *real = NULL;
        if (s->python[0] != '/')
            return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "write --python /usr/bin/python3.11, for instance",
                            "--python: '%s' is not an absolute path", s->python);
        KIT_TRY(kit_strdup(s->python, &real, err));
        kit_status status = try_python(s, real, err);
        free(real);
        return status;
    }
    char *path = runtime_child_search("python3");
    bool any = path != NULL;
    kit_status status = path ? try_python(s, path, err) : KOLM_E_NOT_FOUND;
    free(path);
    /* python3 may be too new or too old, while another version is installed next to it. */
    for (int minor = PYTHON_NEWEST; status != KOLM_OK && status != KOLM_E_CANCELLED && minor >= PYTHON_OLDEST;
         minor--) {
        char name[32];
        kolm_error_t ignored = KIT_ERROR_INIT;
        kit_format(name, sizeof name, "python3.%d", minor);
        if (!runtime_lock_python_ok(s->lock.python, 3, (uint64_t)minor)) continue;
        path = runtime_child_search(name);
        if (path && try_python(s, path, any ? &ignored : err) == KOLM_OK) status = KOLM_OK;
        any = any || path;
        free(path);
    }
    if (any) return status;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                    "apt install python3 python3-venv (Debian, Ubuntu), or name one with --python PATH",
                    "there is no python3 in PATH");
}
