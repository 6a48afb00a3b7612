/* SPDX-License-Identifier: Apache-2.0 */
/* Opens the files of rows that a command line names, and describes their contents as JSON. */
#include "compile/files.h"
#include "model/path.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_stdin(const char *path) {
    return strcmp(path, "-") == 0;
}

bool compile_data_stdin_twice(const session_words *a, const session_words *b) {
    size_t found = 0;
    for (size_t i = 0; i < a->count; i++)
        found += is_stdin(a->items[i]);
    for (size_t i = 0; i < b->count; i++)
        found += is_stdin(b->items[i]);
    return found > 1;
}

kit_status compile_data_check(const session_words *paths, const char *option, kolm_error_t *err) {
    for (size_t i = 0; i < paths->count; i++)
        KIT_TRY(model_check_rows_path(paths->items[i], option, err));
    return KOLM_OK;
}

/* ---- Opening */

static kit_status interrupted(const char *path, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_CANCELLED, "", "interrupted while waiting for %s", path);
}

/* A FIFO without a writer gives neither rows nor an error, so the wait is reported. */
static kit_status wait_for_writer(kolm_session *session, int fd, const char *path, kolm_error_t *err) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    for (int timeout = 1000;; timeout = -1) {
        int found = session_stopped(session) ? -1 : poll(&ready, 1, timeout);
        if (session_stopped(session)) return interrupted(path, err);
        if (found > 0) break;
        if (found == 0) session_warn(session, "%s is a FIFO: waiting for a writer (Ctrl-C cancels)", path);
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0)
        return kit_fail_errno(err, errno, "cannot read %s", path);
    return KOLM_OK;
}

static kit_status open_file(kolm_session *session, const char *path, int *out_fd, kolm_error_t *err) {
    struct stat info;
    bool fifo = stat(path, &info) == 0 && S_ISFIFO(info.st_mode);
    *out_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (fifo ? O_NONBLOCK : 0));
    if (*out_fd < 0 && errno == EINTR && session_stopped(session)) return interrupted(path, err);
    if (*out_fd < 0) return kit_fail_errno(err, errno, "cannot open the data %s", path);
    if (fstat(*out_fd, &info) == 0 && S_ISDIR(info.st_mode))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name the files in it; the option may be given once for each",
                        "cannot read the data %s: Is a directory", path);
    return fifo ? wait_for_writer(session, *out_fd, path, err) : KOLM_OK;
}

static int compare_sources(const void *a, const void *b) {
    return strcmp(((const job_source *)a)->path, ((const job_source *)b)->path);
}

kit_status compile_data_open(kolm_session *session, const session_words *paths, compile_data_files *out,
                             kolm_error_t *err) {
    *out = (compile_data_files){.at = calloc(paths->count + 1, sizeof *out->at)};
    if (out->at == NULL) return kit_no_memory(err);
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < paths->count && status == KOLM_OK; i++) {
        job_source *source = &out->at[out->count++];
        source->path = is_stdin(paths->items[i]) ? "standard input" : paths->items[i];
        source->fd = -1;
        if (!is_stdin(paths->items[i]))
            status = open_file(session, source->path, &source->fd, err);
        else if ((source->fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)) < 0)
            status = kit_fail_errno(err, errno, "cannot open the data %s", source->path);
    }
    if (status != KOLM_OK) compile_data_close(out);
    if (out->count > 1) qsort(out->at, out->count, sizeof *out->at, compare_sources);
    return status;
}

void compile_data_close(compile_data_files *files) {
    for (size_t i = 0; i < files->count; i++)
        if (files->at[i].fd >= 0) close(files->at[i].fd);
    free(files->at);
    *files = (compile_data_files){0};
}

/* ---- As JSON */

static bool put_files(cJSON *array, const compile_data_files *files) {
    for (size_t i = 0; files != NULL && i < files->count; i++) {
        const job_source *source = &files->at[i];
        cJSON *item = cJSON_CreateObject();
        if (!kit_json_put_string(item, "path", source->path) || !kit_json_put_u64(item, "rows", source->rows) ||
            !kit_json_put_u64(item, "bad_rows", source->bad_rows) ||
            !kit_json_put_u64(item, "repeated_headers", source->table.headers) ||
            !kit_json_put_u64(item, "suspect_fields", source->table.suspects) || !cJSON_AddItemToArray(array, item)) {
            cJSON_Delete(item);
            return false;
        }
    }
    return true;
}

static bool put_kinds(cJSON *array, const job_summary *summary) {
    for (size_t i = 0; i < summary->bad_kind_count; i++) {
        cJSON *item = cJSON_CreateObject();
        if (!kit_json_put_string(item, "what", summary->bad_kinds[i].text) ||
            !kit_json_put_u64(item, "rows", summary->bad_kinds[i].rows) || !cJSON_AddItemToArray(array, item)) {
            cJSON_Delete(item);
            return false;
        }
    }
    return true;
}

static bool put_unused(cJSON *array, const job_unused *unused) {
    for (size_t i = 0; i < unused->count; i++) {
        cJSON *item = cJSON_CreateObject();
        if (!kit_json_put_string(item, "key", unused->keys[i].name) ||
            !kit_json_put_u64(item, "rows", unused->keys[i].rows) || !cJSON_AddItemToArray(array, item)) {
            cJSON_Delete(item);
            return false;
        }
    }
    return true;
}

/* An array member. */
static bool put_array(cJSON *object, const char *key, cJSON *array, bool filled) {
    if (filled) return kit_json_put(object, key, array);
    cJSON_Delete(array);
    return false;
}

bool compile_data_put(cJSON *object, const compile_data_files *data, const compile_data_files *eval,
                      const job_summary *summary) {
    cJSON *files = cJSON_CreateArray(), *kinds, *unused;
    if (!put_array(object, "files", files, put_files(files, data) && put_files(files, eval))) return false;
    kinds = cJSON_CreateArray();
    if (!put_array(object, "bad_kinds", kinds, put_kinds(kinds, summary))) return false;
    unused = cJSON_CreateArray();
    if (!put_array(object, "unused_keys", unused, put_unused(unused, &summary->unused))) return false;
    const job_guess *guess = &summary->guess;
    return guess->input == NULL || (kit_json_put_string(object, "guessed_input", guess->input) &&
                                    kit_json_put_string(object, "guessed_output", guess->output));
}
