/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of a job in the form that a chat service accepts, checked before anything is sent. */
#include "queue_task.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Conversations */

static bool add_message(cJSON *list, const char *role, const char *content) {
    cJSON *message = cJSON_CreateObject();
    bool good = message != NULL && kit_json_put_string(message, "role", role) &&
                kit_json_put_string(message, "content", content) && cJSON_AddItemToArray(list, message);
    if (!good) cJSON_Delete(message);
    return good;
}

static kit_status take_messages(const cJSON *given, cJSON *list, kolm_error_t *err) {
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, given) {
        const char *role = "", *content = "";
        (void)kit_json_get_string(item, "role", &role);
        (void)kit_json_get_string(item, "content", &content);
        bool known = strcmp(role, "system") == 0 || strcmp(role, "user") == 0 || strcmp(role, "assistant") == 0;
        if (!known || kit_json_get(item, "tool_calls") != NULL)
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                            "leave such rows out, or train on a backend that accepts them",
                            "a row has a message of the role '%s'%s; here the roles are system, user and assistant",
                            role, known ? " with calls of tools" : "");
        if (!add_message(list, role, content)) return kit_no_memory(err);
    }
    return KOLM_OK;
}

/* An optional system message, then user and assistant in turn. */
static kit_status check_turns(const cJSON *list, bool with_answer, kolm_error_t *err) {
    const char *expected = "user", *role = "";
    const cJSON *item = NULL;
    bool first = true;
    cJSON_ArrayForEach(item, list) {
        (void)kit_json_get_string(item, "role", &role);
        if (first && strcmp(role, "system") == 0) {
            first = false;
            continue;
        }
        first = false;
        if (strcmp(role, expected) != 0)
            return kit_fail(
                err, KOLM_E_INVALID_ARGUMENT, "leave such rows out, or train on a backend that accepts them",
                "a conversation has a message of the role '%s' where one of '%s' is required", role, expected);
        expected = strcmp(role, "user") == 0 ? "assistant" : "user";
    }
    if (strcmp(role, with_answer ? "assistant" : "user") == 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "leave such rows out",
                    "a conversation does not end with a message of %s", with_answer ? "the assistant" : "the user");
}

static bool has_system(const cJSON *given) {
    const char *role = NULL;
    return kit_json_get_string(cJSON_GetArrayItem(given, 0), "role", &role) && strcmp(role, "system") == 0;
}

kit_status kit_queue_messages(const cJSON *row, const char *system, bool with_answer, cJSON **out, kolm_error_t *err) {
    const char *input = NULL, *output = NULL;
    const cJSON *given = kit_json_get(row, "messages");
    cJSON *list = cJSON_CreateArray();
    kit_status status = list != NULL ? KOLM_OK : kit_no_memory(err);
    if (status == KOLM_OK && kit_json_get(row, "tools") != NULL)
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "leave such rows out, or train on a backend that accepts them",
                          "a row has tools, which are not passed on here");
    if (status == KOLM_OK && system != NULL && system[0] != '\0' && !has_system(given) &&
        !add_message(list, "system", system))
        status = kit_no_memory(err);
    if (status == KOLM_OK && given != NULL) {
        status = take_messages(given, list, err);
    } else if (status == KOLM_OK) {
        if (!kit_json_get_string(row, "input", &input) || (with_answer && !kit_json_get_string(row, "output", &output)))
            status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "a row lacks input or output");
        else if (!add_message(list, "user", input) || (with_answer && !add_message(list, "assistant", output)))
            status = kit_no_memory(err);
    }
    if (status == KOLM_OK) status = check_turns(list, with_answer, err);
    if (status == KOLM_OK)
        *out = list;
    else
        cJSON_Delete(list);
    return status;
}

/* ---- Lines */

kit_status queue_rows_each(const kit_queue_task *task, const char *path, queue_row_fn row,
                           kit_status (*before_wait)(void *user, int fd, kolm_error_t *err), void *user,
                           kolm_error_t *err) {
    kit_lines *lines = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    kit_status status = kit_lines_open(fd, QUEUE_LINE_MAX, &lines, err);
    while (status == KOLM_OK) {
        const char *line = NULL;
        size_t length = 0;
        cJSON *value = NULL;
        if (before_wait != NULL && !kit_lines_ready(lines)) status = before_wait(user, fd, err);
        if (status == KOLM_OK) status = kit_lines_next(lines, &line, &length, err);
        if (status != KOLM_OK || line == NULL) break;
        status = kit_json_parse(line, length, &value, err);
        if (status == KOLM_OK) status = row(user, value, err);
        if (status == KOLM_E_INVALID_ARGUMENT)
            (void)kit_fail_context(err, "row %llu", (unsigned long long)kit_lines_number(lines));
        cJSON_Delete(value);
        if (status == KOLM_OK && queue_task_stopped(task))
            status = kit_fail(err, KOLM_E_CANCELLED, "", "stopped on request");
    }
    kit_lines_close(lines);
    close(fd);
    return status;
}

typedef struct writing {
    kit_queue_task *task;
    kit_sha256 *sum;
    kit_buf text;
    int fd;
    uint64_t longest;
} writing;

static kit_status write_row(void *user, const cJSON *row, kolm_error_t *err) {
    writing *w = user;
    const char *output = "";
    kit_buf_clear(&w->text);
    KIT_TRY(w->task->backend->row(w->task, row, &w->text, err));
    if (kit_json_get_string(row, "output", &output) && output[0] == '\0')
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "leave such rows out", "its output is empty");
    if (strlen(output) > w->longest) w->longest = strlen(output);
    kit_buf_char(&w->text, '\n');
    KIT_TRY(kit_buf_ok(&w->text, err));
    KIT_TRY(kit_sha256_update(w->sum, w->text.data, w->text.length, err));
    w->task->rows++;
    w->task->row_bytes += w->text.length;
    return kit_write_all(w->fd, w->text.data, w->text.length, err);
}

kit_status queue_rows_write(kit_queue_task *task, kolm_error_t *err) {
    char *rows = NULL, *path = NULL;
    uint8_t sum[KIT_SHA256_BYTES];
    writing w = {.task = task, .fd = -1};
    kit_status status = kit_path_join(task->job->dir, "train.jsonl", &rows, err);
    if (status == KOLM_OK) status = kit_path_join(task->host->scratch_dir, "rows.jsonl", &path, err);
    if (status == KOLM_OK) status = kit_sha256_new(&w.sum, err);
    if (status == KOLM_OK) {
        w.fd = task->rows_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (w.fd < 0) status = kit_fail_errno(err, errno, "cannot create %s", path);
    }
    if (status == KOLM_OK) status = queue_rows_each(task, rows, write_row, NULL, &w, err);
    if (status == KOLM_OK && task->rows == 0)
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "add rows", "there is nothing to learn from");
    if (status == KOLM_OK) status = kit_sha256_final(w.sum, sum, err);
    if (status == KOLM_OK) {
        for (size_t i = 0; i < sizeof sum; i++)
            kit_format(task->rows_sha256 + 2 * i, 3, "%02x", sum[i]);
        /* about three bytes per token, plus half as much again */
        task->model.max_tokens = w.longest / 2 + 16;
    }
    kit_sha256_free(w.sum);
    kit_buf_free(&w.text);
    free(path);
    free(rows);
    return status;
}

kit_status queue_rows_open(kit_queue_task *task, const char *path, kolm_error_t *err) {
    task->rows_fd = open(path, O_RDONLY | O_CLOEXEC);
    return task->rows_fd >= 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot open %s", path);
}
