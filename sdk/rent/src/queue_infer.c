/* SPDX-License-Identifier: Apache-2.0 */
/* infer: one question after another, or many at once, to a model that stays with its provider. */
#include "queue_task.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct answering {
    kit_queue_task *task;
    int fd;
    kit_buf text, output;
    uint64_t answers;
    cJSON *batch; /* of answers(): questions that wait for more to arrive */
    uint64_t batch_bytes;
} answering;

#define MORE_MS 50 /* how long a batch waits for its next question */

static kit_status flush(void *user, kolm_error_t *err) {
    answering *a = user;
    KIT_TRY(kit_buf_ok(&a->text, err));
    kit_status status = kit_write_all(a->fd, kit_buf_text(&a->text), a->text.length, err);
    kit_buf_clear(&a->text);
    return status;
}

static kit_status answer_row(void *user, const cJSON *row, kolm_error_t *err) {
    answering *a = user;
    const char *id = NULL;
    double confidence = 0;
    if (!kit_json_get_string(row, "id", &id))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "a question lacks its id");
    kit_buf_clear(&a->output);
    KIT_TRY(a->task->backend->answer(a->task, row, &a->output, &confidence, err));
    KIT_TRY(kit_buf_ok(&a->output, err));
    size_t from = strspn(kit_buf_text(&a->output), " \t\r\n"), to = a->output.length;
    while (to > from && strchr(" \t\r\n", a->output.data[to - 1]) != NULL)
        to--;
    kit_buf_str(&a->text, "{\"id\":");
    kit_json_string(&a->text, id, strlen(id));
    kit_buf_str(&a->text, ",\"output\":");
    kit_json_string(&a->text, kit_buf_text(&a->output) + from, to - from);
    confidence = confidence >= 0 && confidence <= 1 ? confidence : 0;
    kit_buf_fmt(&a->text, ",\"confidence\":%.6f}\n", confidence);
    a->answers++;
    return flush(a, err); /* the next one may take a minute */
}

/* ---- Many at once */

static kit_status answer_batch(answering *a, kolm_error_t *err) {
    int count = cJSON_GetArraySize(a->batch);
    if (count == 0) return KOLM_OK;
    kit_status status = a->task->backend->answers(a->task, a->batch, &a->text, err);
    cJSON_Delete(a->batch);
    a->batch = NULL;
    a->batch_bytes = 0;
    /* the request is invalid, not the row that was read last */
    if (status == KOLM_E_INVALID_ARGUMENT) err->code = status = KOLM_E_FAILED_PRECONDITION;
    KIT_TRY(status);
    a->answers += (uint64_t)count;
    return flush(a, err);
}

static kit_status add_row(void *user, const cJSON *row, kolm_error_t *err) {
    answering *a = user;
    const kit_queue_backend *b = a->task->backend;
    const char *id = NULL;
    if (!kit_json_get_string(row, "id", &id))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "a question lacks its id");
    kit_buf_clear(&a->output);
    KIT_TRY(kit_json_line(row, &a->output, err));
    if (a->batch_bytes + a->output.length > b->batch_bytes) KIT_TRY(answer_batch(a, err));
    if (a->batch == NULL) a->batch = cJSON_CreateArray();
    cJSON *copy = cJSON_Duplicate(row, true);
    if (copy == NULL || a->batch == NULL || !cJSON_AddItemToArray(a->batch, copy)) {
        cJSON_Delete(copy);
        return kit_no_memory(err);
    }
    a->batch_bytes += a->output.length;
    return (uint32_t)cJSON_GetArraySize(a->batch) < b->batch_rows ? KOLM_OK : answer_batch(a, err);
}

/* Answers what is there before waiting: the caller may wait for it before it sends more. */
static kit_status answer_before_wait(void *user, int fd, kolm_error_t *err) {
    struct pollfd more = {.fd = fd, .events = POLLIN};
    return poll(&more, 1, MORE_MS) > 0 ? KOLM_OK : answer_batch(user, err);
}

static kit_status answer_all(answering *a, const char *path, kolm_error_t *err) {
    if (a->task->backend->answers == NULL) return queue_rows_each(a->task, path, answer_row, NULL, a, err);
    KIT_TRY(queue_rows_each(a->task, path, add_row, answer_before_wait, a, err));
    return answer_batch(a, err);
}

static kit_status read_model(kit_queue_task *task, kolm_error_t *err) {
    const kit_job_model_file *file = NULL;
    kolm_error_t absent = KIT_ERROR_INIT;
    if (kit_job_model(task->job, "hosted.json", &file, &absent) == KOLM_OK) {
        char *bytes = file->size <= 65536 ? malloc((size_t)file->size + 1) : NULL;
        int fd = bytes != NULL ? open(file->path, O_RDONLY | O_CLOEXEC) : -1;
        kit_status status = KOLM_OK;
        if (bytes == NULL)
            status = kit_fail(err, KOLM_E_DATA_LOSS, "compile the model again", "hosted.json is too large");
        else if (fd < 0 || lseek(fd, (off_t)file->offset, SEEK_SET) < 0)
            status = kit_fail_errno(err, errno, "cannot read %s", file->path);
        if (status == KOLM_OK) status = kit_read_exact(fd, bytes, (size_t)file->size, err);
        if (status == KOLM_OK) status = queue_model_read(task, bytes, (size_t)file->size, err);
        if (fd >= 0) close(fd);
        free(bytes);
        KIT_TRY(status);
    }
    if (task->backend->open != NULL) KIT_TRY(task->backend->open(task, err));
    if (task->model.model[0] != '\0') return KOLM_OK;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "leave out --backend", "this model is not at %s",
                    task->backend->site->title);
}

/* Forgets the job, once its answers exist. */
static void forget_job(const kit_queue_task *task) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    char *path = NULL;
    if (kit_path_join(task->job->dir, "checkpoint", &path, &ignored) == KOLM_OK) {
        kit_status status = kit_remove_tree(path, &ignored);
        (void)status;
    }
    free(path);
}

int32_t kit_queue_infer(const kit_queue_backend *backend, const kolm_host_v1_t *host, const kolm_infer_args_t *args,
                        kolm_infer_result_t *out_result, kolm_error_t *err) {
    kit_queue_task task;
    answering a = {.task = &task, .fd = -1};
    kit_status status = queue_task_open(backend, host, args->job_dir, &task, err);
    if (status == KOLM_OK) status = read_model(&task, err);
    if (status == KOLM_OK) {
        a.fd = open(args->output_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (a.fd < 0) status = kit_fail_errno(err, errno, "cannot open %s", args->output_path);
    }
    if (status == KOLM_OK) status = answer_all(&a, args->input_path, err);
    if (status == KOLM_OK) forget_job(&task);
    out_result->answers = a.answers;
    out_result->billed_micro_usd = UINT64_MAX;
    kit_format(out_result->device, sizeof out_result->device, "%s: %s", backend->site->title, task.model.model);
    if (a.fd >= 0) close(a.fd);
    cJSON_Delete(a.batch);
    kit_buf_free(&a.text);
    kit_buf_free(&a.output);
    queue_task_close(&task);
    return status;
}
