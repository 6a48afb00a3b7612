/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the environment: venv, pip with hashes, runtime.json, and a rename into place. */
#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "runtime/child.h"
#include "runtime/files.h"
#include "runtime/pip.h"
#include "runtime/setup.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS_MAX 32

/* ---- pip's failures, as messages of kolm */

typedef struct pip_watch {
    kolm_session *session;
    kolm_progress_t report;
} pip_watch;

static void on_pip_line(void *user, const char *line) {
    pip_watch *w = user;
    const char *word = line + strspn(line, " ");
    if (strncmp(word, "Collecting ", 11) == 0) {
        if (w->report.step < w->report.total) w->report.step++;
    } else if (strncmp(word, "Installing collected", 20) == 0) {
        w->report.step = 0;
        w->report.total = KOLM_UNKNOWN_COUNT;
        w->report.phase = "installing";
    } else {
        return;
    }
    session_progress(w->session, "[setup]", &w->report);
}

/* Lists the indexes that pip uses; returns their number. */
static size_t indexes_of(const setup *s, const char *urls[RUNTIME_LOCK_URLS]) {
    size_t count = 0;
    if (s->index_url)
        urls[count++] = s->index_url;
    else
        for (; count < s->lock.url_count; count++)
            urls[count] = s->lock.url[count];
    if (count == 0) urls[count++] = "https://pypi.org/simple"; /* pip's default */
    return count;
}

/* Names the index that did not answer, if pip reports it, else all candidates. */
static void name_host(const setup *s, const char *host, char *out, size_t capacity) {
    const char *urls[RUNTIME_LOCK_URLS];
    size_t count = host[0] == '\0' ? indexes_of(s, urls) : 0;
    kit_copy(out, capacity, host);
    for (size_t i = 0; i < count; i++) {
        char url[300];
        size_t used = strlen(out);
        kit_format(out + used, capacity - used, "%s%s", i ? " or " : "", setup_shown_url(urls[i], url, sizeof url));
    }
}

static kit_status pip_failed_missing(setup *s, const char *package, kolm_error_t *err) {
    char remedy[512];
    kit_format(remedy, sizeof remedy,
               "add it: `pip download --require-hashes --only-binary :all: -d DIR -r %s` fills such a directory, on a "
               "machine with the same system and Python",
               s->lock.path);
    if (s->wheels)
        return kit_fail(err, KOLM_E_NOT_FOUND, remedy, "%s has no wheel of %s for Python %s", s->wheels, package,
                        s->version);
    return kit_fail(err, KOLM_E_NOT_FOUND, "try another Python with --python PATH",
                    "%s has no file for Python %s on this machine", package, s->version);
}

static kit_status pip_failed_verify(setup *s, const char *package, kolm_error_t *err) {
    char remedy[512];
    s->reason = SESSION_REASON_VERIFY;
    kit_format(remedy, sizeof remedy, "%s; if the error persists, do not use it: it does not match %s",
               s->wheels ? "download the file again"
                         : "run the same command again, because the download may be incomplete",
               s->lock.path);
    return kit_fail(err, KOLM_E_DATA_LOSS, remedy,
                    "the file of %s does not match the lock: its SHA-256 differs, so nothing was installed", package);
}

static kit_status pip_failed(setup *s, const char *said, kolm_error_t *err) {
    char hosts[512], remedy[512];
    runtime_pip_end end;
    runtime_pip_read(said, s->wheels == NULL, &end);
    kit_format(remedy, sizeof remedy,
               "%s has pip's whole output; downloads are kept, and the same command resumes them", s->log);
    switch (end.failure) {
    case RUNTIME_PIP_OTHER_FILE:
        return pip_failed_verify(s, end.about, err);
    case RUNTIME_PIP_NETWORK:
        name_host(s, end.about, hosts, sizeof hosts);
        return kit_fail(err, KOLM_E_UNAVAILABLE, remedy,
                        "the packages could not be downloaded: the network, or %s, does not respond", hosts);
    case RUNTIME_PIP_MISSING:
        return pip_failed_missing(s, end.about, err);
    case RUNTIME_PIP_DISK_FULL:
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED,
                        "free some space, then run it again: what was downloaded is kept", "the disk is full: %s",
                        s->root);
    case RUNTIME_PIP_OTHER:
        break;
    }
    return kit_fail(err, KOLM_E_DATA_LOSS, remedy, "pip could not install the packages: %s", end.about);
}

/* ---- Steps */

static kit_status keep_log(const setup *s, const kit_buf *said, kolm_error_t *err) {
    return kit_write_file(s->log, 0600, kit_buf_text(said), said->length, err);
}

/* Tries each index first, because pip retries an unreachable one for minutes, and does not report which it was. */
static kit_status reach_indexes(setup *s, kolm_error_t *err) {
    const char *words[RUNTIME_LOCK_URLS + 1] = {NULL}, *urls[RUNTIME_LOCK_URLS], *why = NULL;
    char shown[300];
    uint64_t number = 0;
    if (s->wheels) return KOLM_OK;
    size_t count = indexes_of(s, urls);
    memcpy(words, urls, count * sizeof *urls);
    const runtime_child_run run = {.stop = s->session->stop,
                                   .python = s->interpreter,
                                   .words = words,
                                   .reach = true,
                                   .temporary = s->temporary,
                                   .lock_fd = s->lock_fd};
    kit_buf said = {0};
    cJSON *answer = NULL;
    kit_status status = runtime_child(&run, &answer, &said, err);
    if (status == KOLM_OK && kit_json_get_u64(answer, "number", &number) && number < count &&
        kit_json_get_string(answer, "why", &why))
        status =
            kit_fail(err, KOLM_E_UNAVAILABLE, "try again later; --index-url names another index, --from DIR needs none",
                     "the packages could not be downloaded: %s is unavailable: %.200s",
                     setup_shown_url(urls[number], shown, sizeof shown), why);
    cJSON_Delete(answer);
    kit_buf_free(&said);
    return status;
}

static kit_status make_venv(setup *s, kolm_error_t *err) {
    const char *const words[] = {"venv", s->venv, NULL};
    const runtime_child_run run = {.stop = s->session->stop,
                                   .python = s->interpreter,
                                   .words = words,
                                   .temporary = s->temporary,
                                   .lock_fd = s->lock_fd};
    kit_buf said = {0};
    cJSON *answer = NULL;
    kit_status status = kit_remove_tree(s->venv, err);
    if (status == KOLM_OK) status = runtime_child(&run, &answer, &said, err);
    if (status == KOLM_OK && !answer) {
        status = keep_log(s, &said, err);
        if (status == KOLM_OK)
            status = kit_fail(err, KOLM_E_UNAVAILABLE,
                              "apt install python3-venv (Debian, Ubuntu), or name another Python with --python PATH",
                              "%s could not make a virtual environment; its output is in %s", s->interpreter, s->log);
    }
    cJSON_Delete(answer);
    kit_buf_free(&said);
    return status;
}

/* newer: pip is the version that the lock pins. */
static void pip_words(const setup *s, const char *requirements, bool newer, const char *words[WORDS_MAX]) {
    size_t n = 0;
    static const char *const always[] = {"install",
                                         "--require-hashes",
                                         "--only-binary",
                                         ":all:",
                                         "--no-input",
                                         "--progress-bar",
                                         "off",
                                         "--no-color",
                                         "--no-warn-script-location",
                                         "--retries",
                                         "4",
                                         "--timeout",
                                         "20"};
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        words[n++] = always[i];
    if (s->wheels) {
        words[n++] = "--no-index";
        words[n++] = "--find-links";
        words[n++] = s->wheels;
        words[n++] = "--no-cache-dir";
    } else {
        words[n++] = "--cache-dir";
        words[n++] = s->cache;
        if (s->index_url) {
            words[n++] = "--index-url";
            words[n++] = s->index_url;
        }
        for (size_t i = 0; !s->index_url && i < s->lock.url_count; i++) {
            words[n++] = i ? "--extra-index-url" : "--index-url";
            words[n++] = s->lock.url[i];
        }
    }
    if (newer) { /* options of pip 25.1 */
        words[n++] = "--resume-retries";
        words[n++] = "10";
    }
    words[n++] = "-r";
    words[n++] = requirements;
    words[n] = NULL;
}

static kit_status run_pip(setup *s, const char *requirements, bool newer, pip_watch *watch, kolm_error_t *err) {
    kit_buf python = {0}, said = {0};
    const char *words[WORDS_MAX];
    cJSON *answer = NULL;
    pip_words(s, requirements, newer, words);
    kit_buf_fmt(&python, "%s/bin/python", s->venv);
    kit_status status = kit_buf_ok(&python, err);
    const runtime_child_run run = {.stop = s->session->stop,
                                   .python = kit_buf_text(&python),
                                   .words = words,
                                   .temporary = s->temporary,
                                   .lock_fd = s->lock_fd,
                                   .on_line = on_pip_line,
                                   .user = watch};
    if (status == KOLM_OK) status = runtime_child(&run, &answer, &said, err);
    session_progress_end(s->session);
    kolm_error_t ignored = KIT_ERROR_INIT;
    if (keep_log(s, &said, &ignored) != KOLM_OK) session_warn(s->session, "%s", ignored.text);
    if (status == KOLM_OK && !answer) status = pip_failed(s, kit_buf_text(&said), err);
    cJSON_Delete(answer);
    kit_buf_free(&python);
    kit_buf_free(&said);
    return status;
}

/* True for "pip==25.1" and later, which resume interrupted downloads. */
static bool can_resume(const char *line) {
    const char *version = line + strlen("pip==");
    char *end = NULL;
    unsigned long major = strtoul(version, &end, 10);
    unsigned long minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
    return major > 25 || (major == 25 && minor >= 1);
}

/* Appends the lines of the lock that pin pip itself, if any. */
static void pip_of_lock(const setup *s, kit_buf *out) {
    const char *line = strstr(kit_buf_text(&s->lock.text), "\npip==");
    while (line) {
        line++;
        size_t n = strcspn(line, "\n");
        kit_buf_add(out, line, n);
        kit_buf_char(out, '\n');
        bool goes_on = n > 0 && line[n - 1] == '\\' && line[n] == '\n';
        line = goes_on ? line + n : NULL;
    }
}

/* Writes text to a private file of this setup. The lock is read only once: pip gets the bytes that were digested, even
 * if the file was replaced since. */
static kit_status put_requirements(const setup *s, const char *name, const kit_buf *text, char **out_path,
                                   kolm_error_t *err) {
    KIT_TRY(kit_path_join(s->partial, name, out_path, err));
    return kit_write_file(*out_path, 0600, kit_buf_text(text), text->length, err);
}

static kit_status check_requirements(const setup *s, const char *path, kolm_error_t *err) {
    char now[KIT_SHA256_HEX];
    KIT_TRY(kit_sha256_file(path, now, NULL, err));
    if (strcmp(now, s->lock.sha256) == 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_DATA_LOSS, "run the same command again, and find out which program did that",
                    "%s was changed while pip used it", path);
}

/* Old versions of pip keep several copies of a whole file in memory: so the pip that the lock pins is installed first,
 * and installs the rest. */
static kit_status install(setup *s, kolm_error_t *err) {
    kit_buf lines = {0};
    char *path = NULL, *lock = NULL;
    pip_watch watch = {.session = s->session,
                       .report = {.struct_size = (uint32_t)sizeof watch.report,
                                  .total = 1,
                                  .loss = NAN,
                                  .tokens_per_second = NAN,
                                  .phase = "fetching pip"}};
    pip_of_lock(s, &lines);
    bool newer = lines.length > 0;
    kit_status status = kit_buf_ok(&lines, err);
    if (status == KOLM_OK && newer) status = put_requirements(s, "pip.txt", &lines, &path, err);
    if (status == KOLM_OK) status = put_requirements(s, "lock.txt", &s->lock.text, &lock, err);
    if (status == KOLM_OK && newer) status = run_pip(s, path, false, &watch, err);
    watch.report.step = 0;
    watch.report.total = s->lock.pins - (newer ? 1 : 0);
    watch.report.phase = "fetching";
    if (status == KOLM_OK) status = run_pip(s, lock, newer && can_resume(lines.data), &watch, err);
    if (status == KOLM_OK) status = check_requirements(s, lock, err);
    kit_buf_free(&lines);
    free(lock);
    free(path);
    return status;
}

/* Completes the description of the environment for runtime.json. */
static kit_status describe(setup *s, cJSON *answer, kolm_error_t *err) {
    cJSON *about = cJSON_CreateObject();
    const char *version = "";
    (void)kit_json_get_string(answer, "python", &version);
    bool good = about && kit_json_put_u64(about, "format", 1) && kit_json_put_string(about, "backend", s->name) &&
                kit_json_put_string(about, "lock_sha256", s->lock.sha256) &&
                kit_json_put_string(about, "python", version) &&
                kit_json_put(about, "packages", cJSON_DetachItemFromObjectCaseSensitive(answer, "packages")) &&
                kit_json_put_u64(about, "bytes", setup_bytes_below(s->venv));
    if (!good) {
        cJSON_Delete(about);
        return kit_no_memory(err);
    }
    cJSON_Delete(s->about);
    s->about = about;
    return KOLM_OK;
}

static kit_status finish(setup *s, kolm_error_t *err) {
    const char *const words[] = {"finish", s->venv, s->place, NULL};
    kit_buf python = {0}, said = {0};
    cJSON *answer = NULL;
    kit_buf_fmt(&python, "%s/bin/python", s->venv);
    kit_status status = kit_buf_ok(&python, err);
    const runtime_child_run run = {.stop = s->session->stop,
                                   .python = kit_buf_text(&python),
                                   .words = words,
                                   .temporary = s->temporary,
                                   .lock_fd = s->lock_fd};
    if (status == KOLM_OK) status = runtime_child(&run, &answer, &said, err);
    if (status == KOLM_OK && !answer) {
        status = kit_fail(err, KOLM_E_DATA_LOSS,
                          "run the same command again; if the error persists, name another Python with --python PATH",
                          "the new environment does not start: %.300s", kit_buf_text(&said));
    }
    if (status == KOLM_OK) status = describe(s, answer, err);
    cJSON_Delete(answer);
    kit_buf_free(&python);
    kit_buf_free(&said);
    return status;
}

/* Syncs what was written below path before anything else is written. */
static void flush(const char *path) {
#if defined(__linux__)
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return;
    (void)syncfs(directory);
    close(directory);
#else
    (void)path;
    sync();
#endif
}

/* Syncs all data first, then writes runtime.json, then renames: if the name exists, the environment is complete. */
static kit_status put_into_place(setup *s, kolm_error_t *err) {
    kit_buf text = {0}, path = {0};
    kit_buf_fmt(&path, "%s/runtime.json", s->venv);
    kit_status status = kit_json_pretty(s->about, &text, err);
    kit_buf_char(&text, '\n');
    if (status == KOLM_OK) status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = kit_buf_ok(&path, err);
    flush(s->venv);
    if (status == KOLM_OK) status = kit_write_file(path.data, 0644, text.data, text.length, err);
    if (status == KOLM_OK) status = kit_remove_tree(s->old, err);
    if (status == KOLM_OK) status = runtime_files_forget(s->root, s->name, err);
    if (status == KOLM_OK && rename(s->place, s->old) != 0 && errno != ENOENT)
        status = kit_fail_errno(err, errno, "cannot move %s away", s->place);
    if (status == KOLM_OK && rename(s->venv, s->place) != 0)
        status = kit_fail_errno(err, errno, "cannot move the new environment to %s", s->place);
    if (status == KOLM_OK) {
        int directory = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (directory >= 0) {
            (void)fsync(directory);
            close(directory);
        }
        kolm_error_t ignored = KIT_ERROR_INIT;
        if (kit_remove_tree(s->old, &ignored) != KOLM_OK || kit_remove_tree(s->partial, &ignored) != KOLM_OK)
            session_warn(s->session, "temporary files of the setup could not be removed: %s", ignored.text);
    }
    if (status == KOLM_OK) status = runtime_files_keep(s->session, s->root, s->name, err);
    kit_buf_free(&text);
    kit_buf_free(&path);
    return status;
}

kit_status setup_make(setup *s, kolm_error_t *err) {
    kit_status status = kit_mkdirs(s->temporary, 0700, err);
    if (status == KOLM_OK) status = reach_indexes(s, err);
    if (status == KOLM_OK) status = make_venv(s, err);
    if (status == KOLM_OK) status = install(s, err);
    if (status == KOLM_OK) status = finish(s, err);
    if (status == KOLM_OK) status = put_into_place(s, err);
    if (status == KOLM_E_CANCELLED)
        return kit_fail(err, KOLM_E_CANCELLED, "run the same command again to continue",
                        "interrupted: the runtime of %s is not finished; what was downloaded is kept", s->name);
    return status;
}
