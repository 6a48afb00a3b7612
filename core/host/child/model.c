/* SPDX-License-Identifier: Apache-2.0 */
/* For a plugin that cannot read slices of a file: copies them to files below JOB_DIR/model, and names those in
 * job.json. */
#include "host/child/child.h"
#include "kolm/kit/job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JOB_MAX (64u << 20) /* bytes of job.json: it may name thousands of files */
#define PIECE (1u << 20)

static kit_status copy_bytes(int in, int out, const kit_job_model_file *file, kolm_error_t *err) {
    uint64_t done = 0;
    char *piece = malloc(PIECE);
    if (!piece) return kit_no_memory(err);
    kit_status status = KOLM_OK;
    while (status == KOLM_OK && done < file->size) {
        size_t want = file->size - done < PIECE ? (size_t)(file->size - done) : PIECE;
        ssize_t n = pread(in, piece, want, (off_t)(file->offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            status = kit_fail_errno(err, errno, "cannot read %s", file->path);
        else if (n == 0)
            status = kit_fail(err, KOLM_E_DATA_LOSS, "download the file again", "%s ends before the model file %s does",
                              file->path, file->name);
        else
            status = kit_write_all(out, piece, (size_t)n, err);
        if (n > 0) done += (uint64_t)n;
    }
    free(piece);
    return status;
}

static kit_status copy_file(const kit_job_model_file *file, const char *to, kolm_error_t *err) {
    char *parent = NULL;
    KIT_TRY(kit_strdup(to, &parent, err));
    *strrchr(parent, '/') = '\0';
    kit_status status = kit_mkdirs(parent, 0700, err);
    free(parent);
    if (status != KOLM_OK) return status;
    int in = open(file->path, O_RDONLY | O_CLOEXEC);
    if (in < 0) return kit_fail_errno(err, errno, "cannot open %s", file->path);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0) status = kit_fail_errno(err, errno, "cannot create %s", to);
    if (status == KOLM_OK) status = copy_bytes(in, out, file, err);
    if (out >= 0 && close(out) != 0 && status == KOLM_OK) status = kit_fail_errno(err, errno, "cannot write %s", to);
    close(in);
    return status;
}

static kit_status place_file(const char *model_dir, const kit_job_model_file *file, cJSON *list, kolm_error_t *err) {
    char *to = NULL;
    if (!kit_path_is_safe(file->name))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "job.json: the model file name %s leaves its directory",
                        file->name);
    KIT_TRY(kit_path_join(model_dir, file->name, &to, err));
    /* A whole file that is already there need not be copied. */
    bool in_place = file->offset == 0 && strcmp(file->path, to) == 0;
    kit_status status = in_place ? KOLM_OK : copy_file(file, to, err);
    cJSON *entry = cJSON_CreateObject();
    bool built = kit_json_put_string(entry, "name", file->name) && kit_json_put_string(entry, "path", to) &&
                 kit_json_put_u64(entry, "offset", 0) && kit_json_put_u64(entry, "size", file->size);
    if (!cJSON_AddItemToArray(list, entry)) cJSON_Delete(entry);
    if (status == KOLM_OK && !built) status = kit_no_memory(err);
    free(to);
    return status;
}

static kit_status write_job(const char *job_dir, cJSON *list, kolm_error_t *err) {
    char *path = NULL;
    cJSON *json = NULL;
    kit_buf text = {0};
    kit_status status = kit_path_join(job_dir, "job.json", &path, err);
    if (status == KOLM_OK) status = kit_json_read(path, JOB_MAX, &json, err);
    if (status == KOLM_OK) {
        cJSON_DeleteItemFromObjectCaseSensitive(json, "model_files");
        if (!kit_json_put(json, "model_files", list)) status = kit_no_memory(err);
        list = NULL;
    }
    if (status == KOLM_OK) status = kit_json_pretty(json, &text, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, kit_buf_text(&text), text.length, err);
    cJSON_Delete(list);
    cJSON_Delete(json);
    kit_buf_free(&text);
    free(path);
    return status;
}

kit_status child_copy_model(const char *job_dir, kolm_error_t *err) {
    kit_job *job = NULL;
    char *model_dir = NULL;
    KIT_TRY(kit_job_read(job_dir, &job, err));
    cJSON *list = cJSON_CreateArray();
    kit_status status = list ? kit_path_join(job_dir, "model", &model_dir, err) : kit_no_memory(err);
    for (size_t i = 0; status == KOLM_OK && i < job->model_file_count; i++)
        status = place_file(model_dir, &job->model_files[i], list, err);
    if (status == KOLM_OK && job->model_file_count > 0)
        status = write_job(job_dir, list, err);
    else
        cJSON_Delete(list);
    free(model_dir);
    kit_job_free(job);
    return status;
}
