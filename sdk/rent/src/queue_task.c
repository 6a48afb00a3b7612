/* SPDX-License-Identifier: Apache-2.0 */
/* A task: its account, its job, its options. */
#include "queue_task.h"

#include "kolm/kit/backend.h"
#include "kolm/kit/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SLICE_MS 100

_Static_assert(KIT_RENT_HANDLE_BYTES == KIT_SERVICE_ID_BYTES, "an id that was created is a handle");

kit_status queue_task_open(const kit_queue_backend *backend, const kolm_host_v1_t *host, const char *job_dir,
                           kit_queue_task *out, kolm_error_t *err) {
    *out = (kit_queue_task){.backend = backend, .host = host, .rows_fd = -1};
    out->own = calloc(1, backend->own_bytes > 0 ? backend->own_bytes : 1);
    out->report = cJSON_CreateObject();
    if (out->own == NULL || out->report == NULL) return kit_no_memory(err);
    if (job_dir != NULL) KIT_TRY(kit_job_read(job_dir, &out->job, err));
    return kit_service_open(backend->site, host, &out->service, err);
}

void queue_task_close(kit_queue_task *task) {
    if (task->backend != NULL && task->backend->close != NULL && task->own != NULL) task->backend->close(task);
    kit_service_close(&task->service);
    kit_job_free(task->job);
    cJSON_Delete(task->report);
    if (task->rows_fd >= 0) close(task->rows_fd);
    free(task->model.system);
    free(task->own);
    *task = (kit_queue_task){.rows_fd = -1};
}

bool queue_task_stopped(const kit_queue_task *task) {
    return task->host->cancelled(task->host->user) != 0;
}

int64_t queue_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void queue_wait(const kit_queue_task *task, int64_t due_ms, bool stoppable) {
    for (int64_t left = due_ms - queue_now(); left > 0 && !(stoppable && queue_task_stopped(task));
         left = due_ms - queue_now()) {
        const struct timespec slice = {.tv_nsec = (left < SLICE_MS ? left : SLICE_MS) * 1000000};
        nanosleep(&slice, NULL);
    }
}

/* ---- Options and settings */

static kit_status too_long(const char *key, size_t capacity, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use a shorter one", "%s is longer than %zu bytes", key,
                    capacity - 1);
}

kit_status kit_queue_setting(const kit_queue_task *task, const char *key, char *out, size_t capacity,
                             kolm_error_t *err) {
    return kit_setting(task->host, key, "", out, capacity) ? KOLM_OK : too_long(key, capacity, err);
}

kit_status kit_queue_option(const kit_queue_task *task, const char *key, const char *fallback, char *out,
                            size_t capacity, kolm_error_t *err) {
    const char *text = fallback;
    (void)kit_json_get_string(task->job != NULL ? kit_json_get(task->job->options, "trainer") : NULL, key, &text);
    return kit_copy(out, capacity, text) ? KOLM_OK : too_long(key, capacity, err);
}

kit_status kit_queue_count(const kit_queue_task *task, const char *key, uint64_t fallback, uint64_t *out,
                           kolm_error_t *err) {
    char text[32];
    *out = fallback;
    KIT_TRY(kit_queue_option(task, key, "", text, sizeof text, err));
    if (text[0] == '\0' || kit_parse_u64(text, out)) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use a whole number", "%s '%s' is not a whole number", key, text);
}

static kit_status read_micro(const char *key, const char *text, uint64_t *out, kolm_error_t *err) {
    if (text[0] == '\0' || kit_parse_micro(text, out)) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use a number, such as 0.0001, with at most six decimals",
                    "%s '%s' is not such a number", key, text);
}

kit_status kit_queue_micro(const kit_queue_task *task, const char *key, uint64_t fallback, uint64_t *out,
                           kolm_error_t *err) {
    char text[32];
    *out = fallback;
    KIT_TRY(kit_queue_option(task, key, "", text, sizeof text, err));
    return read_micro(key, text, out, err);
}

static kit_status micro_setting(const kit_queue_task *task, const char *key, uint64_t fallback, uint64_t *out,
                                kolm_error_t *err) {
    char text[32];
    *out = fallback;
    KIT_TRY(kit_queue_setting(task, key, text, sizeof text, err));
    return read_micro(key, text, out, err);
}

/* "Llama-3.1-8B-Instruct": a separate word of a number and 'b'. The largest of several. */
static uint64_t size_in_name(const char *name) {
    uint64_t largest = 0;
    for (const char *p = name; *p != '\0'; p++) {
        char number[16];
        uint64_t micro = 0;
        size_t n = strspn(p, "0123456789.");
        bool begins = p == name || strchr("-_/ .", p[-1]) != NULL;
        if (!begins || n == 0 || n >= sizeof number || (p[n] != 'b' && p[n] != 'B')) continue;
        if (p[n + 1] != '\0' && strchr("-_/ .:", p[n + 1]) == NULL) continue;
        kit_format(number, sizeof number, "%.*s", (int)n, p);
        if (kit_parse_micro(number, &micro) && micro < UINT64_MAX / 1000 && micro * 1000 > largest)
            largest = micro * 1000;
    }
    return largest;
}

kit_status kit_queue_size(kit_queue_task *task, const char *model, kolm_error_t *err) {
    uint64_t billions = 0;
    KIT_TRY(kit_queue_micro(task, "parameters_b", 0, &billions, err));
    task->parameters = billions > 0 && billions < UINT64_MAX / 1000 ? billions * 1000 : size_in_name(model);
    if (task->parameters > 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "pass its size in billions of parameters: --set parameters_b=8",
                    "the size of '%s' does not follow from its name, and the score counts what an answer reads", model);
}

static uint64_t passed_on(const kolm_host_v1_t *host, const char *key) {
    char text[32];
    uint64_t value = 0;
    return kit_setting(host, key, "", text, sizeof text) && kit_parse_u64(text, &value) ? value : 0;
}

kit_status queue_poll_of(const kit_queue_task *task, uint64_t fallback_ms, uint64_t *out_ms, kolm_error_t *err) {
    uint64_t seconds = 0;
    KIT_TRY(micro_setting(task, "poll_seconds", 0, &seconds, err));
    *out_ms = seconds >= 1000 ? seconds / 1000 : fallback_ms;
    return KOLM_OK;
}

kit_status queue_plan_of(const kit_queue_task *task, kit_queue_plan *out, kolm_error_t *err) {
    uint64_t budget = 0, hours = 0, poll_ms = 0, settle = 0, patience = 0,
             job = passed_on(task->host, "job.budget_micro_usd");
    KIT_TRY(micro_setting(task, "budget_usd", 0, &budget, err));
    KIT_TRY(micro_setting(task, "max_hours", 24000000, &hours, err));
    KIT_TRY(micro_setting(task, "settle_seconds", 0, &settle, err));
    KIT_TRY(micro_setting(task, "patience_seconds", 0, &patience, err));
    KIT_TRY(queue_poll_of(task, task->backend->poll_ms, &poll_ms, err));
    if (budget == 0 || (job > 0 && job < budget)) budget = job;
    int64_t left = task->host->time_left_ms(task->host->user);
    uint64_t deadline = hours * 36 / 10;
    if (left != INT64_MAX && (uint64_t)left < deadline) deadline = left > 0 ? (uint64_t)left : 1;
    *out = (kit_queue_plan){.provider = task->backend->queue,
                            .provider_state = (void *)(uintptr_t)task,
                            .budget_micro_usd = budget,
                            .deadline_ms = deadline,
                            .settle_ms = settle / 1000,
                            .give_up_ms = patience / 1000,
                            .poll_ms = poll_ms};
    return KOLM_OK;
}

/* ---- To the user */

void kit_queue_progress(const kit_queue_task *task, uint64_t step, uint64_t total) {
    const kolm_progress_t progress = {.struct_size = (uint32_t)sizeof progress,
                                      .step = step,
                                      .total = total,
                                      .loss = NAN,
                                      .tokens_per_second = NAN,
                                      .phase = "training"};
    task->host->progress(task->host->user, &progress);
}

void kit_queue_say(const kit_queue_task *task, const char *format, ...) {
    char text[1024];
    kit_buf line = {0};
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    kit_buf_escaped(&line, text, strlen(text));
    task->host->log(task->host->user, KOLM_LOG_INFO, kit_buf_text(&line));
    kit_buf_free(&line);
}

kit_status kit_queue_download(kit_queue_task *task, const char *url, const char *file, kolm_error_t *err) {
    char *model = NULL, *path = NULL;
    kit_atomic_file out = {.fd = -1};
    kit_service_reply reply = {0};
    kit_status status = kit_path_join(task->job->dir, "model", &model, err);
    if (status == KOLM_OK) status = kit_mkdirs(model, 0700, err);
    if (status == KOLM_OK) status = kit_path_join(model, file, &path, err);
    if (status == KOLM_OK) status = kit_atomic_open(path, 0600, &out, err);
    if (status == KOLM_OK)
        status = kit_service_ask(
            &task->service, &(kit_service_call){.path = url, .has_out_file = true, .out_file = out.fd}, &reply, err);
    if (status == KOLM_OK && reply.http.size == 0)
        status = kit_fail(err, KOLM_E_DATA_LOSS, "download it from the provider", "%s returned an empty file",
                          task->backend->site->title);
    if (status == KOLM_OK) {
        kit_copy(task->model.file, sizeof task->model.file, file);
        kit_copy(task->model.sha256, sizeof task->model.sha256, reply.http.sha256_hex);
        task->model.size = reply.http.size;
        status = kit_atomic_commit(&out, true, err);
    }
    if (status != KOLM_OK) kit_atomic_abort(&out);
    kit_service_reply_free(&reply);
    free(path);
    free(model);
    return status;
}
