/* SPDX-License-Identifier: Apache-2.0 */
/* Places: job directories that the nodes can see, found again by a digest of the request. */
#include "copy.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/lock.h"
#include "kolm/kit/text.h"
#include "slurm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID_FILE "slurm.id"
#define NAME_FILE "slurm.name"
#define CHECKPOINT "checkpoint"
#define LOCK_SUFFIX ".lock"
#define DIGEST_SHOWN 32 /* digits: enough to avoid collisions */

void slurm_place_free(slurm_place *place) {
    free(place->dir);
    free(place->job_dir);
    if (place->lock >= 0) close(place->lock);
    *place = (slurm_place)SLURM_NO_PLACE;
}

bool slurm_place_has(const slurm_place *place, const char *name) {
    char *path = NULL;
    bool there = kit_path_join(place->dir, name, &path, NULL) == KOLM_OK && access(path, F_OK) == 0;
    free(path);
    return there;
}

/* ---- Removing */

static void remove_lock(const slurm_place *place) {
    char path[4096];
    if (place->lock >= 0 && kit_format(path, sizeof path, "%s" LOCK_SUFFIX, place->dir)) (void)unlink(path);
}

/* Everything in the place but the checkpoint. */
static kit_status empty(const slurm_place *place, kolm_error_t *err) {
    DIR *dir = opendir(place->dir);
    if (!dir && errno == ENOENT) return KOLM_OK;
    kit_status status = dir ? KOLM_OK : kit_fail_errno(err, errno, "cannot read %s", place->dir);
    for (const struct dirent *entry; status == KOLM_OK && (entry = readdir(dir)) != NULL;) {
        char *path = NULL;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            strcmp(entry->d_name, CHECKPOINT) == 0)
            continue;
        status = kit_path_join(place->dir, entry->d_name, &path, err);
        if (status == KOLM_OK) status = kit_remove_tree(path, err);
        free(path);
    }
    if (dir) closedir(dir);
    return status;
}

static void forget(slurm_place *place, const char *name) {
    char *path = NULL;
    if (kit_path_join(place->dir, name, &path, NULL) == KOLM_OK) (void)unlink(path);
    free(path);
}

/* The id is removed first: even if a later step fails, the dead job is not found again. */
static void forget_job(slurm_place *place) {
    forget(place, ID_FILE);
    forget(place, NAME_FILE);
    place->id = (slurm_id){.number = ""};
    place->name[0] = '\0';
}

void slurm_place_end(slurm_place *place, bool keep) {
    if (!place->dir) return;
    forget_job(place);
    if (keep) return;
    kit_status ignored = slurm_place_has(place, CHECKPOINT) ? empty(place, NULL) : kit_remove_tree(place->dir, NULL);
    (void)ignored; /* the rest is removed when the same command is run again */
    if (!slurm_place_has(place, CHECKPOINT)) remove_lock(place);
}

void slurm_place_done(slurm_place *place, bool keep) {
    if (!place->dir) return;
    forget_job(place);
    if (keep) return;
    kit_status ignored = kit_remove_tree(place->dir, NULL);
    (void)ignored;
    remove_lock(place);
}

/* ---- The digest of a request */

/* Adds a file to the digest; a missing file is hashed as missing. */
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
    /* job.json of an infer job names paths of this run, so the contents of the model files are hashed instead. */
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

/* ---- Filling */

/* Points json at the model files in the directory model. */
static kit_status name_model(cJSON *json, const kit_job *job, const char *model, kolm_error_t *err) {
    size_t i = 0;
    cJSON *item;
    kit_status status = KOLM_OK;
    cJSON_ArrayForEach(item, kit_json_get(json, "model_files")) {
        char *path = NULL;
        if (status == KOLM_OK) status = kit_path_join(model, job->model_files[i++].name, &path, err);
        if (status == KOLM_OK) {
            cJSON_DeleteItemFromObjectCaseSensitive(item, "path");
            if (!kit_json_put_string(item, "path", path)) status = kit_no_memory(err);
        }
        free(path);
    }
    return status;
}

static kit_status write_description(const char *place, const cJSON *json, kolm_error_t *err) {
    char *path = NULL;
    kit_buf text = {0};
    kit_status status = kit_json_line(json, &text, err);
    if (status == KOLM_OK) status = kit_path_join(place, "job.json", &path, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, kit_buf_text(&text), text.length, err);
    kit_buf_free(&text);
    free(path);
    return status;
}

/* Copies the model files to the place, with a job.json that names them there. */
static kit_status place_model(const slurm_place *place, const kit_job *job, kolm_error_t *err) {
    char *path = NULL, *model = NULL, *target = NULL;
    cJSON *json = NULL;
    kit_status status = kit_path_join(place->job_dir, "job.json", &path, err);
    if (status == KOLM_OK) status = kit_json_read(path, 1u << 20, &json, err);
    if (status == KOLM_OK) status = kit_path_join(place->job_dir, "model", &model, err);
    if (status == KOLM_OK) status = kit_path_join(place->dir, "model", &target, err);
    if (status == KOLM_OK && job->model_file_count > 0) status = copy_tree(model, target, COPY_DEPTH, err);
    if (status == KOLM_OK) status = name_model(json, job, target, err);
    if (status == KOLM_OK) status = write_description(place->dir, json, err);
    cJSON_Delete(json);
    free(path);
    free(model);
    free(target);
    return status;
}

/* Copies the checkpoint that kolm kept of this work, unless the place has one, which is newer. */
static kit_status place_checkpoint(const slurm_place *place, kolm_error_t *err) {
    char *from = NULL, *to = NULL;
    kit_status status = kit_path_join(place->job_dir, CHECKPOINT, &from, err);
    if (status == KOLM_OK) status = kit_path_join(place->dir, CHECKPOINT, &to, err);
    if (status == KOLM_OK && access(from, F_OK) == 0 && access(to, F_OK) != 0)
        status = copy_tree(from, to, COPY_DEPTH, err);
    free(from);
    free(to);
    return status;
}

static kit_status fill(slurm_place *place, const kit_job *job, kolm_error_t *err) {
    KIT_TRY(kit_mkdirs(place->dir, 0700, err));
    KIT_TRY(empty(place, err)); /* an incomplete place, from a crash before submission, or the remains of a dead job */
    KIT_TRY(copy_named(place->job_dir, place->dir, "train.jsonl", err));
    KIT_TRY(copy_named(place->job_dir, place->dir, "eval.jsonl", err));
    KIT_TRY(place_checkpoint(place, err));
    return place_model(place, job, err);
}

kit_status slurm_place_renew(slurm_place *place, kolm_error_t *err) {
    kit_job *job = NULL;
    forget_job(place);
    KIT_TRY(kit_job_read(place->job_dir, &job, err));
    kit_status status = fill(place, job, err);
    kit_job_free(job);
    return status;
}

/* ---- Making a place */

static bool read_small(const slurm_place *place, const char *name, char *out, size_t capacity) {
    char *path = NULL;
    kit_buf text = {0};
    bool good = kit_path_join(place->dir, name, &path, NULL) == KOLM_OK &&
                kit_read_file(path, capacity - 1, &text, NULL) == KOLM_OK &&
                kit_copy(out, capacity, kit_buf_text(&text));
    if (!good) out[0] = '\0';
    kit_buf_free(&text);
    free(path);
    return good;
}

/* Reads the earlier submission. A name without an id: kolm died in between, and the job may exist. */
static void recall(slurm_place *place) {
    char text[128];
    (void)read_small(place, NAME_FILE, place->name, sizeof place->name);
    if (!read_small(place, ID_FILE, text, sizeof text) || !slurm_id_read(text, &place->id))
        place->id = (slurm_id){.number = ""};
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

/* UNAVAILABLE if another process holds it. */
static kit_status try_lock(slurm_place *place, const char *path, kolm_error_t *err) {
    kit_status status = kit_lock_open(path, &place->lock, err);
    if (status == KOLM_OK) status = kit_lock_try(place->lock, path, err);
    if (status == KOLM_OK && !kit_lock_names(place->lock, path)) status = KOLM_E_UNAVAILABLE;
    if (status != KOLM_OK && place->lock >= 0) {
        close(place->lock);
        place->lock = -1;
    }
    return status;
}

bool slurm_place_try(slurm_place *place) {
    char path[4096];
    if (!kit_format(path, sizeof path, "%s" LOCK_SUFFIX, place->dir) || try_lock(place, path, NULL) != KOLM_OK)
        return false;
    recall(place);
    return true;
}

/* Takes the lock of the place, waiting for its holder. */
static kit_status take_lock(const kolm_host_v1_t *host, slurm_place *place, kolm_error_t *err) {
    char path[4096];
    bool told = false;
    if (!kit_format(path, sizeof path, "%s" LOCK_SUFFIX, place->dir))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use a shorter shared_dir",
                        "the path of the shared directory is too long");
    for (;;) {
        kit_status status = try_lock(place, path, err);
        if (status != KOLM_E_UNAVAILABLE) return status;
        if (!told) host->log(host->user, KOLM_LOG_INFO, "another kolm is running the same request: waiting for it");
        told = true;
        if (!slurm_pause(host, 200))
            return kit_fail(err, KOLM_E_CANCELLED, "", "stopped while waiting for another kolm with the same request");
    }
}

kit_status slurm_place_make(const kolm_host_v1_t *host, const slurm_settings *settings, const char *job_dir,
                            const char *input_path, slurm_place *out_place, kolm_error_t *err) {
    char hex[KIT_SHA256_HEX];
    kit_job *job = NULL;
    *out_place = (slurm_place)SLURM_NO_PLACE;
    kit_status status = input_path ? keep_input(job_dir, input_path, err) : KOLM_OK;
    if (status == KOLM_OK) status = kit_strdup(job_dir, &out_place->job_dir, err);
    if (status == KOLM_OK) status = kit_job_read(job_dir, &job, err);
    if (status == KOLM_OK) status = digest_of(job_dir, job, hex, err);
    if (status == KOLM_OK) status = kit_mkdirs(settings->shared_dir, 0700, err);
    if (status == KOLM_OK) {
        out_place->trains = strcmp(job->kind, "train") == 0;
        hex[DIGEST_SHOWN] = '\0';
        status = kit_path_join(settings->shared_dir, hex, &out_place->dir, err);
    }
    if (status == KOLM_OK) status = take_lock(host, out_place, err);
    if (status == KOLM_OK) recall(out_place);
    if (status == KOLM_OK && !out_place->id.number[0] && !out_place->name[0]) status = fill(out_place, job, err);
    kit_job_free(job);
    if (status != KOLM_OK) slurm_place_free(out_place);
    return status;
}

/* ---- What was submitted */

static kit_status write_small(const slurm_place *place, const char *name, const char *text, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(place->dir, name, &path, err));
    kit_status status = kit_write_file(path, 0600, text, strlen(text), err);
    free(path);
    return status;
}

kit_status slurm_place_name(slurm_place *place, const char *task, kolm_error_t *err) {
    uint8_t random[4];
    char hex[2 * sizeof random + 1];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return kit_fail_errno(err, errno, "cannot generate a name for the Slurm job");
    kit_hex(random, sizeof random, hex);
    (void)kit_format(place->name, sizeof place->name, "kolm-%.64s-%s", task, hex);
    return write_small(place, NAME_FILE, place->name, err);
}

kit_status slurm_place_submitted(slurm_place *place, const slurm_id *id, kolm_error_t *err) {
    char text[128];
    place->id = *id;
    (void)kit_format(text, sizeof text, "%s%s%s", id->number, id->cluster[0] ? ";" : "", id->cluster);
    return write_small(place, ID_FILE, text, err);
}
