/* SPDX-License-Identifier: Apache-2.0 */
/* Reading job.json. */
#include "kolm/kit/job.h"

#include "kolm/kit/file.h"

#include <stdlib.h>
#include <string.h>

#define JOB_JSON_MAX (16u << 20)

static kit_status wrong(kolm_error_t *err, const char *key, const char *expected) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "the job directory was not written by a compatible kolm",
                    "job.json: %s must be %s", key, expected);
}

static kit_status take_string(const cJSON *object, const char *key, char **out, kolm_error_t *err) {
    const char *text = NULL;
    if (!kit_json_get_string(object, key, &text)) return wrong(err, key, "a string");
    return kit_strdup(text, out, err);
}

static kit_status take_model_file(const cJSON *item, const char *dir, kit_job_model_file *out, kolm_error_t *err) {
    const char *name = NULL, *path = NULL;
    if (!cJSON_IsObject(item)) return wrong(err, "model_files", "an array of objects");
    if (!kit_json_get_string(item, "name", &name) || !kit_path_is_safe(name))
        return wrong(err, "model_files.name", "a relative path that stays inside its directory");
    if (!kit_json_get_string(item, "path", &path) || *path == '\0') return wrong(err, "model_files.path", "a path");
    if (!kit_json_get_u64(item, "offset", &out->offset)) return wrong(err, "model_files.offset", "an integer");
    if (!kit_json_get_u64(item, "size", &out->size)) return wrong(err, "model_files.size", "an integer");
    KIT_TRY(kit_strdup(name, &out->name, err));
    return path[0] == '/' ? kit_strdup(path, &out->path, err) : kit_path_join(dir, path, &out->path, err);
}

static kit_status take_model_files(const cJSON *object, kit_job *job, kolm_error_t *err) {
    const cJSON *files = kit_json_get(object, "model_files");
    if (files == NULL) return KOLM_OK;
    if (!cJSON_IsArray(files)) return wrong(err, "model_files", "an array");
    int count = cJSON_GetArraySize(files);
    job->model_files = calloc(count > 0 ? (size_t)count : 1, sizeof *job->model_files);
    if (job->model_files == NULL) return kit_no_memory(err);
    job->model_file_count = (size_t)count;
    size_t i = 0;
    for (const cJSON *item = files->child; item != NULL; item = item->next)
        KIT_TRY(take_model_file(item, job->dir, &job->model_files[i++], err));
    return KOLM_OK;
}

static kit_status take_all(const cJSON *object, kit_job *job, kolm_error_t *err) {
    uint64_t format = 0;
    if (!cJSON_IsObject(object)) return wrong(err, "the file", "an object");
    if (!kit_json_get_u64(object, "format", &format) || format != KIT_JOB_FORMAT) return wrong(err, "format", "1");
    KIT_TRY(take_string(object, "kind", &job->kind, err));
    if (strcmp(job->kind, "train") != 0 && strcmp(job->kind, "infer") != 0)
        return wrong(err, "kind", "\"train\" or \"infer\"");
    KIT_TRY(take_string(object, "task", &job->task, err));
    KIT_TRY(take_string(object, "recipe", &job->recipe, err));
    KIT_TRY(take_string(object, "effort", &job->effort, err));
    if (!kit_json_get_u64(object, "seed", &job->seed)) return wrong(err, "seed", "an integer");
    if (!kit_json_get_u64(object, "rows", &job->rows)) return wrong(err, "rows", "an integer");
    if (!kit_json_get_u64(object, "labels", &job->labels)) return wrong(err, "labels", "an integer");
    const cJSON *options = kit_json_get(object, "options");
    if (!cJSON_IsObject(options)) return wrong(err, "options", "an object");
    job->options = cJSON_Duplicate(options, 1);
    if (job->options == NULL) return kit_no_memory(err);
    return take_model_files(object, job, err);
}

kit_status kit_job_read(const char *dir, kit_job **out, kolm_error_t *err) {
    *out = NULL;
    char *path = NULL;
    cJSON *object = NULL;
    kit_job *job = calloc(1, sizeof *job);
    kit_status status = job != NULL ? KOLM_OK : kit_no_memory(err);
    if (status == KOLM_OK) status = kit_strdup(dir, &job->dir, err);
    if (status == KOLM_OK) status = kit_path_join(dir, "job.json", &path, err);
    if (status == KOLM_OK) status = kit_json_read(path, JOB_JSON_MAX, &object, err);
    if (status == KOLM_OK) status = take_all(object, job, err);
    if (status == KOLM_OK)
        *out = job;
    else
        kit_job_free(job);
    cJSON_Delete(object);
    free(path);
    return status;
}

void kit_job_free(kit_job *job) {
    if (job == NULL) return;
    for (size_t i = 0; i < job->model_file_count; i++) {
        free(job->model_files[i].name);
        free(job->model_files[i].path);
    }
    free(job->model_files);
    cJSON_Delete(job->options);
    free(job->dir);
    free(job->kind);
    free(job->task);
    free(job->recipe);
    free(job->effort);
    free(job);
}

kit_status kit_job_model(const kit_job *job, const char *name, const kit_job_model_file **out, kolm_error_t *err) {
    *out = NULL;
    for (size_t i = 0; i < job->model_file_count && *out == NULL; i++)
        if (strcmp(job->model_files[i].name, name) == 0) *out = &job->model_files[i];
    if (*out != NULL) return KOLM_OK;
    return kit_fail(err, KOLM_E_NOT_FOUND,
                    "this artifact was made by another engine; run it with the backend that made it",
                    "the model has no file called %s", name);
}
