/* SPDX-License-Identifier: Apache-2.0 */
/* Checks that a backend can only have read the job description that was written for it. */
#include "job/directory.h"
#include "kolm/kit/file.h"
#include "kolm/kit/mark.h"

#include <stdlib.h>
#include <string.h>

#define DESCRIPTION_MAX (64u << 20)

static kit_status mark_file(const job_directory *directory, kit_file_mark *out, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(directory->job, "job.json", &path, err));
    kit_status status = kit_file_mark_path(path, out, err);
    free(path);
    return status;
}

static kit_status read_file(const job_directory *directory, kit_buf *out, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(directory->job, "job.json", &path, err));
    kit_status status = kit_read_file(path, DESCRIPTION_MAX, out, err);
    free(path);
    return status;
}

static kit_status changed(const job_directory *directory, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_DATA_LOSS,
                    "leave kolm's job directories alone while they are used, and run the command again",
                    "the description of the job, %s/job.json, was changed while it was used", directory->job);
}

kit_status job_describe_marked(const job_directory *directory, const job_description *description, job_described *out,
                               kolm_error_t *err) {
    kit_buf text = {0}, there = {0};
    *out = (job_described){0};
    kit_status status = job_description_text(description, &text, err);
    if (status == KOLM_OK) status = job_describe(directory->job, description, err);
    if (status == KOLM_OK) status = kit_file_mark_path(directory->path, &out->place, err);
    if (status == KOLM_OK) status = mark_file(directory, &out->file, err);
    /* Read after taking the mark: the contents reveal an earlier change, the times a later one. */
    if (status == KOLM_OK) status = read_file(directory, &there, err);
    if (status == KOLM_OK && strcmp(kit_buf_text(&there), kit_buf_text(&text)) != 0) status = changed(directory, err);
    kit_buf_free(&there);
    out->text = kit_buf_take(&text);
    return status;
}

void job_described_free(job_described *described) {
    free(described->text);
    *described = (job_described){0};
}

/* True if copy is kolm-host's copy of a model file. */
static bool is_copy_of(const job_directory *directory, const cJSON *file, const cJSON *copy) {
    const char *name = NULL, *copied = NULL, *path = NULL;
    uint64_t size = 0, copied_size = 0, offset = 1;
    char place[4096];
    return kit_json_get_string(file, "name", &name) && kit_json_get_string(copy, "name", &copied) &&
           strcmp(name, copied) == 0 && kit_json_get_u64(file, "size", &size) &&
           kit_json_get_u64(copy, "size", &copied_size) && size == copied_size &&
           kit_json_get_u64(copy, "offset", &offset) && offset == 0 && kit_json_get_string(copy, "path", &path) &&
           kit_format(place, sizeof place, "%s/model/%s", directory->job, name) && strcmp(path, place) == 0;
}

/* True if it is the same job, with copies of the same files. */
static bool is_of_copies(const job_directory *directory, cJSON *before, cJSON *now) {
    cJSON *files = cJSON_DetachItemFromObjectCaseSensitive(before, "model_files");
    cJSON *copies = cJSON_DetachItemFromObjectCaseSensitive(now, "model_files");
    int count = cJSON_GetArraySize(files);
    bool same = count > 0 && cJSON_GetArraySize(copies) == count && cJSON_Compare(before, now, true);
    const cJSON *copy = same ? copies->child : NULL;
    for (const cJSON *file = same ? files->child : NULL; same && file != NULL; file = file->next, copy = copy->next)
        same = is_copy_of(directory, file, copy);
    cJSON_Delete(files);
    cJSON_Delete(copies);
    return same;
}

static kit_status check_copies(const job_directory *directory, const job_described *described, kolm_error_t *err) {
    kit_buf text = {0};
    cJSON *before = NULL, *now = NULL;
    kit_status status = read_file(directory, &text, err);
    if (status == KOLM_OK) status = kit_json_parse(described->text, strlen(described->text), &before, err);
    if (status == KOLM_OK && kit_json_parse(kit_buf_text(&text), text.length, &now, err) != KOLM_OK)
        status = changed(directory, err);
    if (status == KOLM_OK && !is_of_copies(directory, before, now)) status = changed(directory, err);
    cJSON_Delete(before);
    cJSON_Delete(now);
    kit_buf_free(&text);
    return status == KOLM_E_NOT_FOUND ? changed(directory, err) : status;
}

kit_status job_described_unchanged(const job_directory *directory, const job_described *described, bool *out_copied,
                                   kolm_error_t *err) {
    kit_file_mark file, place;
    *out_copied = false;
    if (described->text == NULL) return KOLM_OK;
    /* Replacing the directory temporarily changes the times of its parent. */
    kit_status status = kit_file_mark_path(directory->path, &place, err);
    if (status == KOLM_OK && !kit_file_mark_same(&place, &described->place)) return changed(directory, err);
    if (status == KOLM_OK) status = mark_file(directory, &file, err);
    if (status == KOLM_E_NOT_FOUND) return changed(directory, err);
    if (status != KOLM_OK || kit_file_mark_same(&file, &described->file)) return status;
    *out_copied = true;
    return check_copies(directory, described, err);
}
