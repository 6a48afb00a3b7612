/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a job.json that a backend accepts is complete, names only allowed files, and is equivalent after kolm
 * writes it again. */
#include "fuzz.h"
#include "job/directory.h"

#include <string.h>

static void check(const kit_job *job) {
    must(job->dir != NULL && job->task != NULL && job->recipe != NULL && job->effort != NULL);
    must(strcmp(job->kind, "train") == 0 || strcmp(job->kind, "infer") == 0);
    must(cJSON_IsObject(job->options));
    for (size_t i = 0; i < job->model_file_count; i++) {
        const kit_job_model_file *file = &job->model_files[i], *found = NULL;
        must(kit_path_is_safe(file->name) && file->path[0] == '/');
        must(kit_job_model(job, file->name, &found, NULL) == KOLM_OK && strcmp(found->name, file->name) == 0);
    }
}

static void same_again(const kit_job *job) {
    kit_job *again = NULL;
    const job_description description = {.kind = job->kind,
                                         .task = job->task,
                                         .recipe = job->recipe,
                                         .effort = job->effort,
                                         .seed = job->seed,
                                         .rows = job->rows,
                                         .labels = job->labels,
                                         .model_files = job->model_files,
                                         .model_file_count = job->model_file_count};
    must(job_describe(fuzz_directory(), &description, NULL) == KOLM_OK);
    must(kit_job_read(fuzz_directory(), &again, NULL) == KOLM_OK);
    must(strcmp(again->kind, job->kind) == 0 && strcmp(again->task, job->task) == 0 &&
         strcmp(again->recipe, job->recipe) == 0 && strcmp(again->effort, job->effort) == 0);
    must(again->seed == job->seed && again->rows == job->rows && again->labels == job->labels);
    must(again->model_file_count == job->model_file_count);
    for (size_t i = 0; i < job->model_file_count; i++) {
        const kit_job_model_file *a = &job->model_files[i], *b = &again->model_files[i];
        must(strcmp(a->name, b->name) == 0 && strcmp(a->path, b->path) == 0 && a->offset == b->offset &&
             a->size == b->size);
    }
    kit_job_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_job *job = NULL;
    fuzz_put("job.json", data, size);
    kit_status status = kit_job_read(fuzz_directory(), &job, &err);
    if (status == KOLM_OK) {
        check(job);
        same_again(job);
    } else {
        must(status == KOLM_E_INVALID_ARGUMENT && job == NULL && err.remedy[0] != '\0');
        fuzz_refused(status, &err);
    }
    kit_job_free(job);
    return 0;
}
