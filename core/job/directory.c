/* SPDX-License-Identifier: Apache-2.0 */
/* Creates, describes and removes job directories. */
#include "job/directory.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/lock.h"
#include "kolm/kit/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KEY_FILE "resume-key"
#define CHECKPOINT_PREFIX "checkpoint-"
#define CHECKPOINT_SECONDS (14 * 24 * 3600)

static bool looks_like_key(const char *text) {
    return strlen(text) == KIT_SHA256_HEX - 1 && strspn(text, "0123456789abcdef") == KIT_SHA256_HEX - 1;
}

/* Moves job/checkpoint of the job at path to ROOT/checkpoint-KEY, if its key is known. A failure only costs time: the
 * work then starts from the beginning. */
static void save_checkpoint(const char *path) {
    kit_buf file = {0}, key = {0}, from = {0}, to = {0};
    const char *slash = strrchr(path, '/');
    kit_buf_fmt(&file, "%s/private/" KEY_FILE, path);
    kit_buf_fmt(&from, "%s/job/checkpoint", path);
    if (!file.failed && !from.failed && slash != NULL && access(from.data, F_OK) == 0 &&
        kit_read_file(file.data, KIT_SHA256_HEX, &key, NULL) == KOLM_OK && looks_like_key(kit_buf_text(&key))) {
        kit_buf_fmt(&to, "%.*s/" CHECKPOINT_PREFIX "%s", (int)(slash - path), path, key.data);
        if (!to.failed && kit_remove_tree(to.data, NULL) == KOLM_OK) (void)!rename(from.data, to.data);
    }
    kit_buf_free(&file);
    kit_buf_free(&key);
    kit_buf_free(&from);
    kit_buf_free(&to);
}

static void forget_old_checkpoint(const char *root, const char *name) {
    struct stat info;
    char *path = NULL;
    if (kit_path_join(root, name, &path, NULL) == KOLM_OK && lstat(path, &info) == 0 &&
        time(NULL) - info.st_mtime > CHECKPOINT_SECONDS) {
        kit_status ignored = kit_remove_tree(path, NULL);
        (void)ignored;
    }
    free(path);
}

static bool looks_like_id(const char *name) {
    return strlen(name) == 16 && strspn(name, "0123456789abcdef") == 16;
}

/* Removes jobs whose owner is dead. The lock file is created before the directory and removed after it, so a directory
 * without one has no owner, and neither has one whose lock can be taken. */
static void remove_dead(const char *root) {
    DIR *listing = opendir(root);
    if (listing == NULL) return;
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        if (strncmp(entry->d_name, CHECKPOINT_PREFIX, strlen(CHECKPOINT_PREFIX)) == 0)
            forget_old_checkpoint(root, entry->d_name);
        bool lock = entry->d_name[0] == '.' && strlen(entry->d_name) == 17 && looks_like_id(entry->d_name + 1);
        if (!lock && !looks_like_id(entry->d_name)) continue;
        const char *id = entry->d_name + (lock ? 1 : 0);
        kit_buf path = {0};
        kit_buf_fmt(&path, "%s/.%s", root, id);
        int fd = path.failed ? -1 : open(path.data, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        bool dead = fd < 0 ? !path.failed && errno == ENOENT : kit_lock_try(fd, path.data, NULL) == KOLM_OK;
        if (dead) {
            kit_buf directory = {0};
            kit_buf_fmt(&directory, "%s/%s", root, id);
            if (!directory.failed) save_checkpoint(directory.data);
            if (!directory.failed && kit_remove_tree(directory.data, NULL) == KOLM_OK) unlink(path.data);
            kit_buf_free(&directory);
        }
        if (fd >= 0) close(fd);
        kit_buf_free(&path);
    }
    closedir(listing);
}

static kit_status make_inside(job_directory *d, const char *name, char **out, kolm_error_t *err) {
    KIT_TRY(kit_path_join(d->path, name, out, err));
    if (mkdir(*out, 0700) != 0) return kit_fail_errno(err, errno, "cannot create the directory %s", *out);
    return KOLM_OK;
}

/* Chooses a random id and locks it. Another kolm that cleans up may remove the lock file before it is locked: then
 * tries another id. */
static kit_status take_lock(const char *root, job_directory *d, kolm_error_t *err) {
    for (int attempt = 0; attempt < 16; attempt++) {
        uint8_t random[8];
        char name[18];
        if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
            return kit_fail_errno(err, errno, "cannot generate a job id");
        kit_hex(random, sizeof random, d->id);
        kit_format(name, sizeof name, ".%s", d->id);
        free(d->lock_path);
        d->lock_path = NULL;
        KIT_TRY(kit_path_join(root, name, &d->lock_path, err));
        d->lock_fd = open(d->lock_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (d->lock_fd < 0) return kit_fail_errno(err, errno, "cannot create %s", d->lock_path);
        if (kit_lock_try(d->lock_fd, d->lock_path, NULL) == KOLM_OK && kit_lock_is_linked(d->lock_fd)) return KOLM_OK;
        close(d->lock_fd);
        d->lock_fd = -1;
    }
    return kit_fail(err, KOLM_E_ABORTED, "run the command again", "cannot lock a job directory in %s", root);
}

kit_status job_directory_make(const char *root, job_directory *out_directory, kolm_error_t *err) {
    job_directory *d = out_directory;
    *d = (job_directory){.lock_fd = -1};
    KIT_TRY(kit_mkdirs(root, 0700, err));
    remove_dead(root);
    kit_status status = take_lock(root, d, err);
    if (status == KOLM_OK) status = kit_path_join(root, d->id, &d->path, err);
    if (status == KOLM_OK && mkdir(d->path, 0700) != 0)
        status = kit_fail_errno(err, errno, "cannot create the directory %s", d->path);
    if (status == KOLM_OK) status = make_inside(d, "job", &d->job, err);
    if (status == KOLM_OK) status = make_inside(d, "private", &d->private, err);
    if (status != KOLM_OK) job_directory_close(d, false);
    return status;
}

void job_directory_close(job_directory *directory, bool keep) {
    if (!keep && directory->path != NULL) save_checkpoint(directory->path);
    bool gone = keep || directory->path == NULL || kit_remove_tree(directory->path, NULL) == KOLM_OK;
    /* The next job under this root removes what could not be removed: it can take the lock once this process has
     * exited. */
    if (directory->lock_fd >= 0 && gone) unlink(directory->lock_path);
    if (directory->lock_fd >= 0) close(directory->lock_fd);
    free(directory->lock_path);
    free(directory->path);
    free(directory->job);
    free(directory->private);
    *directory = (job_directory){.lock_fd = -1};
}

kit_status job_directory_go_on(job_directory *directory, const char key[KIT_SHA256_HEX], bool *out_found,
                               kolm_error_t *err) {
    char *file = NULL;
    kit_buf from = {0}, to = {0};
    *out_found = false;
    KIT_TRY(kit_path_join(directory->private, KEY_FILE, &file, err));
    kit_status status = kit_write_file(file, 0600, key, strlen(key), err);
    free(file);
    kit_buf_fmt(&from, "%.*s" CHECKPOINT_PREFIX "%s", (int)(strlen(directory->path) - strlen(directory->id)),
                directory->path, key);
    kit_buf_fmt(&to, "%s/checkpoint", directory->job);
    if (status == KOLM_OK) status = kit_buf_ok(&from, err);
    if (status == KOLM_OK) status = kit_buf_ok(&to, err);
    /* Of two concurrent jobs one gets it, and the other starts from the beginning. */
    *out_found = status == KOLM_OK && rename(from.data, to.data) == 0;
    kit_buf_free(&from);
    kit_buf_free(&to);
    return status;
}

/* The descriptions of both steps, which backends cannot write. */
#define TRAIN_FILE "private/train.json"
#define INFER_FILE "private/infer.json"

kit_status job_directory_next(job_directory *directory, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(directory->job, "job.json", &path, err));
    kit_status status = kit_remove_tree(path, err); /* whatever the backend changed */
    free(path);
    return status;
}

/* Replaces the directory of the model files in the description: old by path. */
static kit_status move_model_files(cJSON *description, const char *old, const char *path, kolm_error_t *err) {
    size_t n = strlen(old);
    cJSON *item;
    cJSON_ArrayForEach(item, kit_json_get(description, "model_files")) {
        const char *file = NULL;
        kit_buf moved = {0};
        if (!kit_json_get_string(item, "path", &file) || strncmp(file, old, n) != 0 || file[n] != '/') continue;
        kit_buf_fmt(&moved, "%s%s", path, file + n);
        cJSON *text = moved.failed ? NULL : cJSON_CreateString(moved.data);
        kit_buf_free(&moved);
        if (text == NULL || !cJSON_ReplaceItemInObjectCaseSensitive(item, "path", text)) {
            cJSON_Delete(text);
            return kit_no_memory(err);
        }
        if (text->string == NULL) /* cJSON 1.7.15 returns success, but without a key, if out of memory */
            return kit_no_memory(err);
    }
    return KOLM_OK;
}

/* Links FROM/NAME as TO/NAME. */
static kit_status link_named(const char *from, const char *to, const char *name, kolm_error_t *err) {
    char *source = NULL, *target = NULL;
    kit_status status = kit_path_join(from, name, &source, err);
    if (status == KOLM_OK) status = kit_path_join(to, name, &target, err);
    if (status == KOLM_OK && link(source, target) != 0) status = kit_fail_errno(err, errno, "cannot keep %s", source);
    free(source);
    free(target);
    return status;
}

/* Makes answers/ for the infer job, whose model files were below old. from: its description. */
static kit_status keep_answers(const char *kept, const char *job, const char *from, const char *old,
                               kolm_error_t *err) {
    char *answers = NULL, *to = NULL;
    cJSON *description = NULL;
    kit_buf text = {0};
    kit_status status = kit_path_join(kept, "answers", &answers, err);
    if (status == KOLM_OK) status = kit_path_join(answers, "job.json", &to, err);
    if (status == KOLM_OK) status = kit_json_read(from, 64u << 20, &description, err);
    if (status == KOLM_OK) status = move_model_files(description, old, kept, err);
    if (status == KOLM_OK) status = kit_json_line(description, &text, err);
    if (status == KOLM_OK && mkdir(answers, 0700) != 0)
        status = kit_fail_errno(err, errno, "cannot create the directory %s", answers);
    if (status == KOLM_OK) status = kit_write_file(to, 0600, kit_buf_text(&text), text.length, err);
    if (status == KOLM_OK) status = link_named(job, answers, "eval.jsonl", err);
    cJSON_Delete(description);
    kit_buf_free(&text);
    free(answers);
    free(to);
    return status;
}

/* Separates the two steps, each with its original description, because the backend may have changed the one in job/.
 * old: the previous path. */
static kit_status part_steps(const char *kept, const char *old, kolm_error_t *err) {
    char *train = NULL, *infer = NULL, *job = NULL, *description = NULL;
    kit_status status = kit_path_join(kept, TRAIN_FILE, &train, err);
    if (status == KOLM_OK) status = kit_path_join(kept, INFER_FILE, &infer, err);
    if (status == KOLM_OK) status = kit_path_join(kept, "job", &job, err);
    if (status == KOLM_OK) status = kit_path_join(job, "job.json", &description, err);
    if (status == KOLM_OK && access(train, F_OK) == 0) {
        if (access(infer, F_OK) == 0)
            status = keep_answers(kept, job, infer, old, err); /* else there were no answers */
        if (status == KOLM_OK) status = kit_remove_tree(description, err);
        if (status == KOLM_OK && rename(train, description) != 0)
            status = kit_fail_errno(err, errno, "cannot put %s back", train);
    }
    free(train);
    free(infer);
    free(job);
    free(description);
    return status;
}

kit_status job_directory_keep(job_directory *directory, kolm_error_t *err) {
    kit_buf kept = {0};
    kit_buf_fmt(&kept, "%.*skept-%s", (int)(strlen(directory->path) - strlen(directory->id)), directory->path,
                directory->id);
    kit_status status = kit_buf_ok(&kept, err);
    if (status == KOLM_OK && rename(directory->path, kept.data) != 0)
        status = kit_fail_errno(err, errno, "cannot keep %s", directory->path);
    if (status == KOLM_OK) {
        char *old = directory->path;
        directory->path = kit_buf_take(&kept);
        status = part_steps(directory->path, old, err);
        free(old);
    }
    kit_buf_free(&kept);
    return status;
}

/* Replaces every PATH/ in text. */
static void replace_path(const char *path, const char *with, char *text, size_t capacity) {
    kit_buf mended = {0};
    size_t n = strlen(path);
    const char *at = text;
    for (const char *found; (found = strstr(at, path)) != NULL; at = found + n) {
        kit_buf_add(&mended, at, (size_t)(found - at));
        kit_buf_str(&mended, with);
    }
    if (at != text && !mended.failed) {
        kit_buf_str(&mended, at);
        if (!mended.failed) kit_copy(text, capacity, mended.data);
    }
    kit_buf_free(&mended);
}

void job_directory_mend_error(const job_directory *directory, bool kept, kolm_error_t *err) {
    static const char *const parts[] = {"/job/", "/private/", ""};
    if (directory->path == NULL) return;
    const char *slash = strrchr(directory->path, '/');
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        kit_buf path = {0}, with = {0};
        kit_buf_fmt(&path, "%s%s", directory->path, parts[i]);
        if (kept)
            kit_buf_fmt(&with, "%.*s/kept-%s%s", (int)(slash - directory->path), directory->path, directory->id,
                        parts[i]);
        else
            kit_buf_str(&with, parts[i][0] != '\0' ? "" : "the job directory");
        if (!path.failed && !with.failed) {
            replace_path(path.data, kit_buf_text(&with), err->text, sizeof err->text);
            replace_path(path.data, kit_buf_text(&with), err->remedy, sizeof err->remedy);
        }
        kit_buf_free(&path);
        kit_buf_free(&with);
    }
}

static bool put_model_files(cJSON *object, const job_description *d) {
    cJSON *array = cJSON_CreateArray();
    bool good = array != NULL;
    for (size_t i = 0; good && i < d->model_file_count; i++) {
        cJSON *item = cJSON_CreateObject();
        good = kit_json_put_string(item, "name", d->model_files[i].name) &&
               kit_json_put_string(item, "path", d->model_files[i].path) &&
               kit_json_put_u64(item, "offset", d->model_files[i].offset) &&
               kit_json_put_u64(item, "size", d->model_files[i].size) && cJSON_AddItemToArray(array, item);
        if (!good) cJSON_Delete(item);
    }
    if (good) return kit_json_put(object, "model_files", array);
    cJSON_Delete(array);
    return false;
}

static bool put_base(cJSON *options, const job_base *base) {
    cJSON *object = cJSON_CreateObject();
    if (kit_json_put_string(object, "path", base->path) && kit_json_put_string(object, "name", base->name) &&
        kit_json_put_string(object, "digest", base->digest) && kit_json_put_u64(object, "bytes", base->weight_bytes) &&
        (!base->part || kit_json_put(object, "files", job_base_files(base))))
        return kit_json_put(options, "base", object);
    cJSON_Delete(object);
    return false;
}

/* Not synced: a job directory does not outlive its command. */
static kit_status write_plainly(const char *path, const kit_buf *text, kolm_error_t *err) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot write %s", path);
    kit_status status = kit_write_all(fd, kit_buf_text(text), text->length, err);
    if (close(fd) != 0 && status == KOLM_OK) status = kit_fail_errno(err, errno, "cannot write %s", path);
    return status;
}

kit_status job_description_text(const job_description *d, kit_buf *out, kolm_error_t *err) {
    cJSON *object = cJSON_CreateObject(), *options = cJSON_CreateObject();
    bool good = kit_json_put_u64(object, "format", KIT_JOB_FORMAT) && kit_json_put_string(object, "kind", d->kind) &&
                kit_json_put_string(object, "task", d->task) && kit_json_put_string(object, "recipe", d->recipe) &&
                kit_json_put_u64(object, "seed", d->seed) && kit_json_put_string(object, "effort", d->effort) &&
                kit_json_put_u64(object, "rows", d->rows) && kit_json_put_u64(object, "labels", d->labels);
    if (good && d->has_abstain) good = kit_json_put_u64(options, "abstain_micro", d->abstain_micro);
    if (good && d->class_weight != NULL) good = kit_json_put_string(options, "class_weight", d->class_weight);
    if (good && d->has_target) good = kit_json_put_u64(options, "target_accuracy_micro", d->target_accuracy_micro);
    if (good && d->base != NULL) good = put_base(options, d->base);
    if (good && d->embed_base) good = kit_json_put_bool(options, "embed_base", true);
    if (good && d->trainer != NULL) good = kit_json_put(options, "trainer", cJSON_Duplicate(d->trainer, 1));
    if (good && d->model_files != NULL) good = put_model_files(object, d);
    kit_status status = KOLM_OK;
    if (good)
        good = kit_json_put(object, "options", options);
    else
        cJSON_Delete(options);
    if (!good) status = kit_no_memory(err);
    if (status == KOLM_OK) status = kit_json_line(object, out, err);
    if (status == KOLM_OK) kit_buf_char(out, '\n');
    cJSON_Delete(object);
    return status == KOLM_OK ? kit_buf_ok(out, err) : status;
}

kit_status job_describe(const char *dir, const job_description *d, kolm_error_t *err) {
    kit_buf text = {0};
    char *path = NULL;
    kit_status status = job_description_text(d, &text, err);
    if (status == KOLM_OK) status = kit_path_join(dir, "job.json", &path, err);
    if (status == KOLM_OK) status = write_plainly(path, &text, err);
    kit_buf_free(&text);
    free(path);
    return status;
}

kit_status job_directory_describe(const job_directory *directory, const job_description *d, kolm_error_t *err) {
    kit_buf text = {0};
    char *path = NULL;
    kit_status status = job_description_text(d, &text, err);
    if (status == KOLM_OK)
        status = kit_path_join(directory->path, strcmp(d->kind, "train") == 0 ? TRAIN_FILE : INFER_FILE, &path, err);
    if (status == KOLM_OK) status = write_plainly(path, &text, err);
    if (status == KOLM_OK) status = job_describe(directory->job, d, err);
    kit_buf_free(&text);
    free(path);
    return status;
}
