/* SPDX-License-Identifier: Apache-2.0 */
/* Job directories: from here to where the nodes see them, and back. */
#include "slurm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID_FILE "slurm.id"
#define LOCK_SUFFIX ".lock"
#define CHUNK (1u << 16)
#define MODEL_DEPTH 16
#define DIGEST_SHOWN 32 /* digits: enough that no two questions meet */

void slurm_place_free(slurm_place *place) {
    free(place->dir);
    if (place->lock >= 0) close(place->lock);
    *place = (slurm_place)SLURM_NO_PLACE;
}

void slurm_place_remove(slurm_place *place) {
    char path[4096];
    kit_status ignored = place->dir ? kit_remove_tree(place->dir, NULL) : KOLM_OK;
    (void)ignored; /* what is left is found, and its job followed, when the same is asked again */
    if (place->dir && place->lock >= 0 && kit_format(path, sizeof path, "%s" LOCK_SUFFIX, place->dir))
        (void)unlink(path);
}

/* ---- Copying */

static kit_status copy_bytes(int from, int to, const char *path, uint64_t *out_lines, kolm_error_t *err) {
    char *chunk = malloc(CHUNK);
    if (!chunk) return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    kit_status status = KOLM_OK;
    for (;;) {
        ssize_t n = read(from, chunk, CHUNK);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = kit_fail_errno(err, errno, "cannot read %s", path);
        if (n <= 0) break;
        for (ssize_t i = 0; out_lines && i < n; i++)
            *out_lines += chunk[i] == '\n';
        status = kit_write_all(to, chunk, (size_t)n, err);
        if (status != KOLM_OK) break;
    }
    free(chunk);
    return status;
}

static kit_status copy_file(const char *from, const char *to, int flags, uint64_t *out_lines, kolm_error_t *err) {
    int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
    if (in < 0) return kit_fail_errno(err, errno, "cannot open %s", from);
    kit_status status = KOLM_OK;
    if ((out = open(to, O_WRONLY | O_CLOEXEC | flags, 0600)) < 0)
        status = kit_fail_errno(err, errno, "cannot write %s", to);
    if (status == KOLM_OK) status = copy_bytes(in, out, from, out_lines, err);
    if (out >= 0 && close(out) != 0 && status == KOLM_OK) status = kit_fail_errno(err, errno, "cannot write %s", to);
    close(in);
    return status;
}

/* Regular files and directories only: what came back from a node is distrusted. */
static kit_status copy_tree(const char *from, const char *to, int depth, kolm_error_t *err) {
    if (mkdir(to, 0700) != 0 && errno != EEXIST) return kit_fail_errno(err, errno, "cannot make %s", to);
    DIR *dir = opendir(from);
    kit_status status = dir ? KOLM_OK : kit_fail_errno(err, errno, "cannot read %s", from);
    for (const struct dirent *entry; status == KOLM_OK && (entry = readdir(dir)) != NULL;) {
        struct stat info;
        char *source = NULL, *target = NULL;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        status = kit_path_join(from, entry->d_name, &source, err);
        if (status == KOLM_OK) status = kit_path_join(to, entry->d_name, &target, err);
        if (status == KOLM_OK && lstat(source, &info) != 0)
            status = kit_fail_errno(err, errno, "cannot look at %s", source);
        if (status == KOLM_OK && S_ISREG(info.st_mode))
            status = copy_file(source, target, O_CREAT | O_EXCL | O_NOFOLLOW, NULL, err);
        else if (status == KOLM_OK && S_ISDIR(info.st_mode) && depth > 0)
            status = copy_tree(source, target, depth - 1, err);
        else if (status == KOLM_OK)
            status = kit_fail(err, KOLM_E_DATA_LOSS, "look at what the trainer wrote",
                              "%s is neither a file nor a directory", source);
        free(source);
        free(target);
    }
    if (dir) closedir(dir);
    return status;
}

/* NAME of one directory to another; a file that is not there is none. */
static kit_status copy_named(const char *from, const char *to, const char *name, kolm_error_t *err) {
    char *source = NULL, *target = NULL;
    kit_status status = kit_path_join(from, name, &source, err);
    if (status == KOLM_OK) status = kit_path_join(to, name, &target, err);
    if (status == KOLM_OK && access(source, F_OK) == 0)
        status = copy_file(source, target, O_CREAT | O_TRUNC | O_NOFOLLOW, NULL, err);
    free(source);
    free(target);
    return status;
}

/* ---- What is asked, as a digest */

/* Adds a file to the sum; one that is not there counts as such. */
static kit_status add_digest(const char *dir, const char *name, kit_buf *sums, kolm_error_t *err) {
    char hex[KIT_SHA256_HEX] = "";
    char *path = NULL;
    KIT_TRY(kit_path_join(dir, name, &path, err));
    kit_status status = access(path, F_OK) == 0 ? kit_sha256_file(path, hex, NULL, err) : KOLM_OK;
    free(path);
    kit_buf_fmt(sums, "%s %s\n", name, hex);
    return status;
}

static kit_status digest_of(const char *job_dir, const kit_job *job, char out_hex[KIT_SHA256_HEX], kolm_error_t *err) {
    kit_buf sums = {0};
    kit_status status = KOLM_OK;
    /* job.json of an infer job names paths of this run: what counts is what the model files hold. */
    if (job->model_file_count == 0) status = add_digest(job_dir, "job.json", &sums, err);
    if (status == KOLM_OK) status = add_digest(job_dir, "train.jsonl", &sums, err);
    if (status == KOLM_OK) status = add_digest(job_dir, "eval.jsonl", &sums, err);
    for (size_t i = 0; status == KOLM_OK && i < job->model_file_count; i++) {
        char hex[KIT_SHA256_HEX];
        status = kit_sha256_file(job->model_files[i].path, hex, NULL, err);
        kit_buf_fmt(&sums, "%s %s\n", job->model_files[i].name, hex);
    }
    if (status == KOLM_OK) status = kit_buf_ok(&sums, err);
    if (status == KOLM_OK) status = kit_sha256_bytes(sums.data, sums.length, out_hex, err);
    kit_buf_free(&sums);
    return status;
}

/* ---- Making a place */

/* The model files beside the job, and a job.json that names them there. */
static kit_status place_model(const char *job_dir, const char *place, const kit_job *job, kolm_error_t *err) {
    char *path = NULL, *model = NULL, *target = NULL;
    cJSON *json = NULL, *item;
    kit_buf text = {0};
    size_t i = 0;
    kit_status status = kit_path_join(job_dir, "job.json", &path, err);
    if (status == KOLM_OK) status = kit_json_read(path, 1u << 20, &json, err);
    if (status == KOLM_OK) status = kit_path_join(job_dir, "model", &model, err);
    if (status == KOLM_OK) status = kit_path_join(place, "model", &target, err);
    if (status == KOLM_OK && job->model_file_count > 0) status = copy_tree(model, target, MODEL_DEPTH, err);
    cJSON_ArrayForEach(item, kit_json_get(json, "model_files")) {
        char *one = NULL;
        if (status == KOLM_OK) status = kit_path_join(target, job->model_files[i++].name, &one, err);
        if (status == KOLM_OK) {
            cJSON_DeleteItemFromObjectCaseSensitive(item, "path");
            if (!kit_json_put_string(item, "path", one))
                status = kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
        }
        free(one);
    }
    if (status == KOLM_OK) status = kit_json_line(json, &text, err);
    free(path);
    path = NULL;
    if (status == KOLM_OK) status = kit_path_join(place, "job.json", &path, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, kit_buf_text(&text), text.length, err);
    kit_buf_free(&text);
    cJSON_Delete(json);
    free(path);
    free(model);
    free(target);
    return status;
}

static kit_status read_id(slurm_place *place, kolm_error_t *err) {
    char *path = NULL;
    kit_buf text = {0};
    KIT_TRY(kit_path_join(place->dir, ID_FILE, &path, err));
    if (access(path, F_OK) == 0 && kit_read_file(path, 64, &text, NULL) == KOLM_OK)
        place->attached = kit_copy(place->id, sizeof place->id, kit_buf_text(&text)) && place->id[0] != '\0';
    kit_buf_free(&text);
    free(path);
    return KOLM_OK;
}

static kit_status fill(const char *job_dir, slurm_place *place, const kit_job *job, kolm_error_t *err) {
    KIT_TRY(kit_remove_tree(place->dir, err)); /* half of a place, from a death before it was submitted */
    KIT_TRY(kit_mkdirs(place->dir, 0700, err));
    KIT_TRY(copy_named(job_dir, place->dir, "train.jsonl", err));
    KIT_TRY(copy_named(job_dir, place->dir, "eval.jsonl", err));
    return place_model(job_dir, place->dir, job, err);
}

/* The inputs of an infer job may come through a pipe: they become the eval.jsonl of the job first. */
static kit_status keep_input(const char *job_dir, const char *input_path, kolm_error_t *err) {
    char *target = NULL;
    KIT_TRY(kit_path_join(job_dir, "eval.jsonl", &target, err));
    kit_status status = KOLM_OK;
    if (strcmp(input_path, target) != 0) status = copy_file(input_path, target, O_CREAT | O_TRUNC, NULL, err);
    free(target);
    return status;
}

/* True when the lock that is held is still the one that others would find under its name. */
static bool still_named(int fd, const char *path) {
    struct stat mine, named;
    return fstat(fd, &mine) == 0 && stat(path, &named) == 0 && mine.st_dev == named.st_dev &&
           mine.st_ino == named.st_ino;
}

/* Takes the lock of the place, or waits for who has it. */
static kit_status take_lock(const kolm_host_v1_t *host, slurm_place *place, kolm_error_t *err) {
    char path[4096];
    bool told = false;
    if (!kit_format(path, sizeof path, "%s" LOCK_SUFFIX, place->dir))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use a shorter shared_dir",
                        "the path of the shared directory is too long");
    for (;;) {
        place->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (place->lock < 0) return kit_fail_errno(err, errno, "cannot make %s", path);
        if (flock(place->lock, LOCK_EX | LOCK_NB) == 0 && still_named(place->lock, path)) return KOLM_OK;
        close(place->lock);
        place->lock = -1;
        if (host->cancelled(host->user))
            return kit_fail(err, KOLM_E_CANCELLED, "", "stopped while another kolm did the same");
        if (!told) host->log(host->user, KOLM_LOG_INFO, "another kolm asks the same of Slurm: waiting for it");
        told = true;
        (void)poll(NULL, 0, 200);
    }
}

kit_status slurm_place_make(const kolm_host_v1_t *host, const slurm_settings *settings, const char *job_dir,
                            const char *input_path, slurm_place *out_place, kolm_error_t *err) {
    char hex[KIT_SHA256_HEX];
    kit_job *job = NULL;
    *out_place = (slurm_place)SLURM_NO_PLACE;
    kit_status status = input_path ? keep_input(job_dir, input_path, err) : KOLM_OK;
    if (status == KOLM_OK) status = kit_job_read(job_dir, &job, err);
    if (status == KOLM_OK) status = digest_of(job_dir, job, hex, err);
    if (status == KOLM_OK) status = kit_mkdirs(settings->shared_dir, 0700, err);
    if (status == KOLM_OK) {
        hex[DIGEST_SHOWN] = '\0';
        status = kit_path_join(settings->shared_dir, hex, &out_place->dir, err);
    }
    if (status == KOLM_OK) status = take_lock(host, out_place, err);
    if (status == KOLM_OK) status = read_id(out_place, err);
    if (status == KOLM_OK && !out_place->attached) status = fill(job_dir, out_place, job, err);
    kit_job_free(job);
    if (status != KOLM_OK) slurm_place_free(out_place);
    return status;
}

kit_status slurm_place_submitted(slurm_place *place, const char *id, kolm_error_t *err) {
    char *path = NULL;
    (void)kit_copy(place->id, sizeof place->id, id);
    KIT_TRY(kit_path_join(place->dir, ID_FILE, &path, err));
    kit_status status = kit_write_file(path, 0600, id, strlen(id), err);
    free(path);
    return status;
}

/* ---- Bringing home */

kit_status slurm_bring_model(const slurm_place *place, const char *job_dir, kolm_error_t *err) {
    char *from = NULL, *to = NULL;
    kit_status status = kit_path_join(place->dir, "model", &from, err);
    if (status == KOLM_OK) status = kit_path_join(job_dir, "model", &to, err);
    if (status == KOLM_OK) status = copy_tree(from, to, MODEL_DEPTH, err);
    if (status == KOLM_OK) status = copy_named(place->dir, job_dir, "result.json", err);
    free(from);
    free(to);
    return status;
}

kit_status slurm_bring_answers(const slurm_place *place, const char *output_path, uint64_t *out_answers,
                               kolm_error_t *err) {
    char *from = NULL;
    *out_answers = 0;
    KIT_TRY(kit_path_join(place->dir, "predictions.jsonl", &from, err));
    kit_status status = copy_file(from, output_path, O_CREAT | O_TRUNC, out_answers, err);
    free(from);
    return status;
}
