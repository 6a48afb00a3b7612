/* SPDX-License-Identifier: Apache-2.0 */
/* hosted.json, the record of a model that stays with its provider, and the result.json next to it. */
#include "queue_task.h"

#include <stdlib.h>
#include <string.h>

static kit_status write_json(const char *path, const cJSON *value, kolm_error_t *err) {
    kit_buf text = {0};
    kit_status status = kit_json_canonical(value, &text, err);
    if (status == KOLM_OK) {
        kit_buf_char(&text, '\n');
        status = kit_buf_ok(&text, err);
    }
    if (status == KOLM_OK) status = kit_write_file(path, 0600, text.data, text.length, err);
    kit_buf_free(&text);
    return status;
}

static cJSON *adapter_of(const kit_queue_model *m) {
    cJSON *adapter = cJSON_CreateObject();
    if (kit_json_put_string(adapter, "file", m->file) && kit_json_put_string(adapter, "sha256", m->sha256) &&
        kit_json_put_u64(adapter, "bytes", m->size))
        return adapter;
    cJSON_Delete(adapter);
    return NULL;
}

kit_status queue_model_write(const kit_queue_task *task, const char *path, kolm_error_t *err) {
    const kit_queue_model *m = &task->model;
    cJSON *value = cJSON_CreateObject();
    bool good =
        value != NULL && kit_json_put_u64(value, "format", 1) &&
        kit_json_put_string(value, "provider", task->backend->site->name) &&
        kit_json_put_string(value, "model", m->model) && kit_json_put_string(value, "version", m->version) &&
        kit_json_put_string(value, "job", m->job) && kit_json_put_string(value, "base", m->base) &&
        kit_json_put_u64(value, "max_tokens", m->max_tokens) && kit_json_put_string(value, "system", m->system) &&
        (m->file[0] != '\0' ? kit_json_put(value, "adapter", adapter_of(m)) : kit_json_put_null(value, "adapter"));
    kit_status status = good ? write_json(path, value, err) : kit_no_memory(err);
    cJSON_Delete(value);
    return status;
}

kit_status queue_model_read(kit_queue_task *task, const char *text, size_t length, kolm_error_t *err) {
    kit_queue_model *m = &task->model;
    const char *provider = "", *system = NULL;
    cJSON *value = NULL;
    KIT_TRY(kit_json_parse(text, length, &value, err));
    kit_status status = KOLM_OK;
    if (!kit_json_get_string(value, "provider", &provider) ||
        !kit_service_text(value, "model", m->model, sizeof m->model))
        status =
            kit_fail(err, KOLM_E_DATA_LOSS, "compile the model again", "hosted.json lacks the provider or the model");
    else if (strcmp(provider, task->backend->site->name) != 0)
        status = kit_fail(err, KOLM_E_FAILED_PRECONDITION, "leave out --backend", "this model is at %.32s, not at %s",
                          provider, task->backend->site->name);
    if (status == KOLM_OK) {
        (void)kit_service_text(value, "version", m->version, sizeof m->version);
        (void)kit_service_text(value, "job", m->job, sizeof m->job);
        (void)kit_service_text(value, "base", m->base, sizeof m->base);
        if (!kit_json_get_u64(value, "max_tokens", &m->max_tokens)) m->max_tokens = 256;
        if (kit_json_get_string(value, "system", &system)) status = kit_strdup(system, &m->system, err);
    }
    cJSON_Delete(value);
    return status;
}

kit_status queue_result_write(const kit_queue_task *task, char *out_toolchain, size_t capacity, kolm_error_t *err) {
    char *path = NULL;
    cJSON *value = cJSON_CreateObject(), *report = cJSON_Duplicate(task->report, 1);
    const uint64_t weights = task->parameters < UINT64_MAX / 2 ? task->parameters * 2 : 0; /* 16 bits each */
    kit_format(out_toolchain, capacity, KIT_QUEUE_FORMAT " %s %s", task->backend->site->name, task->model.base);
    bool good = value != NULL && report != NULL && kit_json_put_u64(value, "format", 1) &&
                kit_json_put_string(value, "toolchain", out_toolchain) &&
                kit_json_put_string(report, "provider", task->backend->site->name) &&
                kit_json_put_string(report, "model", task->model.base) &&
                kit_json_put_u64(report, "rows", task->rows) &&
                kit_json_put_u64(report, "base_parameters", task->parameters) &&
                kit_json_put_u64(report, "weights_elsewhere_bytes", weights);
    if (good) {
        good = kit_json_put(value, "report", report);
        report = NULL;
    }
    kit_status status = good ? kit_path_join(task->job->dir, "result.json", &path, err) : kit_no_memory(err);
    if (status == KOLM_OK) status = write_json(path, value, err);
    cJSON_Delete(report);
    cJSON_Delete(value);
    free(path);
    return status;
}
