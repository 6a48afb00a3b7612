/* SPDX-License-Identifier: Apache-2.0 */
/* Results of a job: checks whether they are complete, and copies them here. */
#include "copy.h"
#include "slurm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESULT_MAX (1u << 22)

/* Lists the directory, after creating and removing a file in it. A network filesystem may cache a listing, or the
 * absence of a name, for a minute (acdirmax of nfs(5)); a change of the directory makes this machine ask the server
 * again. *out_entries: number of entries. */
static kit_status look_again(const char *path, size_t *out_entries, kolm_error_t *err) {
    char *mark = NULL;
    *out_entries = 0;
    KIT_TRY(kit_path_join(path, ".look", &mark, err));
    int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) {
        close(fd);
        (void)unlink(mark);
    }
    free(mark);
    DIR *dir = opendir(path);
    if (!dir) return kit_fail_errno(err, errno, "cannot list %s", path);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        *out_entries += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return KOLM_OK;
}

static kit_status model_ready(const slurm_place *place, kolm_error_t *err) {
    char *result = NULL, *model = NULL;
    cJSON *json = NULL;
    size_t entries = 0;
    kit_status status = kit_path_join(place->dir, "result.json", &result, err);
    if (status == KOLM_OK) status = kit_path_join(place->dir, "model", &model, err);
    if (status == KOLM_OK) status = kit_json_read(result, RESULT_MAX, &json, err);
    if (status == KOLM_OK) status = look_again(model, &entries, err);
    if (status == KOLM_OK && entries == 0) status = kit_fail(err, KOLM_E_NOT_FOUND, "", "%s is empty", model);
    cJSON_Delete(json);
    free(result);
    free(model);
    return status;
}

/* *out_whole: the last line is complete. */
static kit_status count_lines(const slurm_place *place, const char *name, uint64_t *out_lines, bool *out_whole,
                              kolm_error_t *err) {
    char *path = NULL, chunk[8192];
    ssize_t n = 0;
    *out_lines = 0;
    *out_whole = true;
    KIT_TRY(kit_path_join(place->dir, name, &path, err));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    kit_status status = fd < 0 ? kit_fail_errno(err, errno, "cannot open %s", path) : KOLM_OK;
    while (status == KOLM_OK && (n = read(fd, chunk, sizeof chunk)) != 0) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = kit_fail_errno(err, errno, "cannot read %s", path);
        for (ssize_t i = 0; i < n; i++)
            *out_lines += chunk[i] == '\n';
        if (n > 0) *out_whole = chunk[n - 1] == '\n';
    }
    if (fd >= 0) close(fd);
    free(path);
    return status;
}

static kit_status answers_ready(const slurm_place *place, kolm_error_t *err) {
    uint64_t asked, answered;
    bool asked_whole, answered_whole;
    KIT_TRY(count_lines(place, "predictions.jsonl", &answered, &answered_whole, err));
    KIT_TRY(count_lines(place, "eval.jsonl", &asked, &asked_whole, err));
    asked += !asked_whole;
    if (answered < asked || !answered_whole)
        return kit_fail(err, KOLM_E_DATA_LOSS, "", "predictions.jsonl has %llu answers to %llu inputs",
                        (unsigned long long)answered, (unsigned long long)asked);
    return KOLM_OK;
}

kit_status slurm_results_ready(const slurm_place *place, kolm_error_t *err) {
    size_t entries;
    KIT_TRY(look_again(place->dir, &entries, err));
    return place->trains ? model_ready(place, err) : answers_ready(place, err);
}

kit_status slurm_bring_model(const slurm_place *place, kolm_error_t *err) {
    char *from = NULL, *to = NULL;
    kit_status status = kit_path_join(place->dir, "model", &from, err);
    if (status == KOLM_OK) status = kit_path_join(place->job_dir, "model", &to, err);
    if (status == KOLM_OK) status = kit_remove_tree(to, err); /* partial, from a failed attempt */
    if (status == KOLM_OK) status = copy_tree(from, to, COPY_DEPTH, err);
    if (status == KOLM_OK) status = copy_named(place->dir, place->job_dir, "result.json", err);
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
