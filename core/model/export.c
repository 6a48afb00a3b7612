/* SPDX-License-Identifier: Apache-2.0 */
/* kolm export: the adapter of an artifact in PEFT's files, or merged with its base, in a directory of its own. */
#include "model/export.h"

#include "host/host.h"
#include "kolm/kit/trainer.h"
#include "model/export_encoder.h"
#include "model/model.h"
#include "runtime/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MERGE_FD_LEAST 16        /* above the numbers that the trainer uses otherwise */
#define META "kolm_trainer.json" /* used only by the trainer; every artifact that can be exported has it */

/* ---- The place: DIR is absent or empty; the files are made beside it and moved when they are whole */

static kit_status check_target(const char *to, kolm_error_t *err) {
    struct stat info;
    if (lstat(to, &info) != 0) return errno == ENOENT ? KOLM_OK : kit_fail_errno(err, errno, "cannot access %s", to);
    /* rmdir removes only an empty directory. */
    if (S_ISDIR(info.st_mode) && rmdir(to) == 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_ALREADY_EXISTS, "pass with --to a directory that does not exist yet",
                    "%s already exists, and is not empty", to);
}

static kit_status make_beside(const char *to, char **out_path, kolm_error_t *err) {
    kit_buf path = {0};
    size_t length = strlen(to);
    while (length > 1 && to[length - 1] == '/')
        length--;
    kit_buf_fmt(&path, "%.*s.tmp-XXXXXX", (int)length, to);
    kit_status status = kit_buf_ok(&path, err);
    if (status == KOLM_OK && mkdtemp(path.data) == NULL)
        status = kit_fail_errno(err, errno, "cannot create a directory next to %s", to);
    if (status == KOLM_OK && chmod(path.data, 0755) != 0)
        status = kit_fail_errno(err, errno, "cannot prepare %s", path.data);
    if (status == KOLM_OK) *out_path = kit_buf_take(&path);
    kit_buf_free(&path);
    return status;
}

/* ---- The adapter as it is */

/* PEFT loads the base by the path that the adapter names; in the artifact that is only a name. */
static kit_status name_base(const char *directory, const job_base *base, kolm_error_t *err) {
    char *path = NULL;
    cJSON *config = NULL;
    kit_buf text = {0};
    KIT_TRY(kit_path_join(directory, "adapter_config.json", &path, err));
    bool there = false;
    kit_status status = kit_path_exists(path, &there, err);
    if (status == KOLM_OK && there) status = kit_json_read(path, 1u << 20, &config, err);
    if (status == KOLM_OK && config != NULL) {
        cJSON_DeleteItemFromObjectCaseSensitive(config, "base_model_name_or_path");
        if (!kit_json_put_string(config, "base_model_name_or_path", base->path)) status = kit_no_memory(err);
        if (status == KOLM_OK) status = kit_json_pretty(config, &text, err);
        if (status == KOLM_OK) kit_buf_char(&text, '\n');
        if (status == KOLM_OK) status = kit_write_file(path, 0644, kit_buf_text(&text), text.length, err);
    }
    cJSON_Delete(config);
    kit_buf_free(&text);
    free(path);
    return status;
}

static kit_status write_labels(const char *directory, const cJSON *labels, kolm_error_t *err) {
    char *path = NULL;
    kit_buf text = {0};
    if (cJSON_GetArraySize(labels) == 0) return KOLM_OK;
    KIT_TRY(kit_path_join(directory, "labels.json", &path, err));
    kit_status status = kit_json_pretty(labels, &text, err);
    if (status == KOLM_OK) kit_buf_char(&text, '\n');
    if (status == KOLM_OK) status = kit_write_file(path, 0644, kit_buf_text(&text), text.length, err);
    kit_buf_free(&text);
    free(path);
    return status;
}

static bool stop(void *user, uint64_t done, uint64_t total) {
    (void)done, (void)total;
    return session_stopped(user);
}

/* Copies the payload's files, except META, to directory. */
static kit_status copy_payload(kolm_session *session, model_handle *model, const char *scratch, const char *directory,
                               kolm_error_t *err) {
    KIT_TRY(artifact_extract(model->artifact, scratch, stop, session, err));
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < artifact_entry_count(model->artifact) && status == KOLM_OK; i++) {
        const char *name = artifact_entry_at(model->artifact, i)->name;
        char *from = NULL, *to = NULL;
        if (strncmp(name, "model/", 6) != 0 || strcmp(name + 6, META) == 0 || strchr(name + 6, '/') != NULL) continue;
        kit_buf content = {0};
        status = kit_path_join(scratch, name, &from, err);
        if (status == KOLM_OK) status = kit_path_join(directory, name + 6, &to, err);
        /* Usually on the same file system; otherwise copy. */
        if (status == KOLM_OK && rename(from, to) != 0) {
            status = kit_read_file(from, SIZE_MAX / 2, &content, err);
            if (status == KOLM_OK) status = kit_write_file(to, 0644, kit_buf_text(&content), content.length, err);
        }
        if (status == KOLM_OK && chmod(to, 0644) != 0) status = kit_fail_errno(err, errno, "cannot prepare %s", to);
        kit_buf_free(&content);
        free(from);
        free(to);
    }
    return status;
}

/* ---- Merged: the trainer does it, as a child of this process, with a host table of our own */

typedef struct merging {
    kolm_session *session;
    const char *python, *trainer;
} merging;

static void on_log(void *user, uint32_t level, const char *text) {
    merging *m = user;
    session_said(m->session, "export", level, text);
}

static void on_progress(void *user, const kolm_progress_t *progress) {
    (void)user, (void)progress;
}

static void on_metric(void *user, const char *name, double value) {
    (void)user, (void)name, (void)value;
}

static int32_t cancelled(void *user) {
    return session_stopped(((merging *)user)->session);
}

static int64_t time_left(void *user) {
    (void)user;
    return INT64_MAX;
}

static int32_t setting(void *user, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length) {
    const merging *m = user;
    const char *value = strcmp(key, "runtime.python") == 0    ? m->python
                        : strcmp(key, "runtime.trainer") == 0 ? m->trainer
                                                              : NULL;
    if (value == NULL) return KOLM_E_NOT_FOUND;
    if (out_length != NULL) *out_length = strlen(value);
    return kit_copy(buffer, (size_t)capacity, value) ? KOLM_OK : KOLM_E_OUT_OF_RANGE;
}

/* Finds the runtime of the named backend, else of the model's maker, else any: merging needs torch, but no device. */
static kit_status find_runtime(merging *m, const model_handle *model, const char *backend, kolm_error_t *err) {
    const cJSON *config = NULL;
    char maker[64];
    session_reason unused;
    KIT_TRY(session_config(m->session, &config, err));
    const cJSON *runtimes = kit_json_get(config, "runtimes");
    model_maker(model, maker, sizeof maker);
    const char *name = backend != NULL ? backend : maker;
    if (kit_json_get_string(runtimes, name, &m->python)) return runtime_check(m->session, name, NULL, &unused, err);
    for (const cJSON *one = backend == NULL && cJSON_IsObject(runtimes) ? runtimes->child : NULL; one; one = one->next)
        if (cJSON_IsString(one)) {
            m->python = one->valuestring;
            return runtime_check(m->session, one->string, NULL, &unused, err);
        }
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "make one with `kolm compute setup`, or export without --merge",
                    "merging needs a Python runtime, and %s has none", backend != NULL ? backend : "no backend here");
}

static kit_status merge(kolm_session *session, const model_handle *model, const export_request *r,
                        const job_directory *job, const char *directory, kolm_error_t *err) {
    merging m = {.session = session};
    host_registry *registry = NULL;
    KIT_TRY(find_runtime(&m, model, r->backend, err));
    KIT_TRY(host_trust_python(m.python, "make another one with `kolm compute setup`", err));
    KIT_TRY(host_scan(NULL, &registry, err));
    m.trainer = registry->trainer;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    const kolm_host_v1_t host = {.struct_size = (uint32_t)sizeof host,
                                 .abi_major = KOLM_ABI_MAJOR,
                                 .abi_minor = KOLM_ABI_MINOR,
                                 .user = &m,
                                 .log = on_log,
                                 .progress = on_progress,
                                 .metric = on_metric,
                                 .cancelled = cancelled,
                                 .time_left_ms = time_left,
                                 .setting = setting,
                                 .scratch_dir = job->private};
    const kit_trainer trainer = {.device = "cpu", .backend = r->backend};
    kit_status status =
        kit_trainer_merge(&host, &trainer, job->job, directory, processors > 0 ? (uint32_t)processors : 1, err);
    host_registry_free(registry);
    return status;
}

static kit_status describe_and_merge(kolm_session *session, const model_handle *model, const export_request *r,
                                     const job_base *base, const job_directory *job, job_described *out_described,
                                     const char *directory, kolm_error_t *err) {
    char bytes[64];
    int fd = fcntl(artifact_descriptor(model->artifact), F_DUPFD_CLOEXEC, MERGE_FD_LEAST);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", model->path);
    kit_format(bytes, sizeof bytes, "%.*s%d", (int)(strrchr(HOST_MODEL_PATH, '/') + 1 - HOST_MODEL_PATH),
               HOST_MODEL_PATH, fd);
    kit_status status = model_describe(model, base, bytes, job, out_described, err);
    if (status == KOLM_OK) status = merge(session, model, r, job, directory, err);
    close(fd);
    return status;
}

/* ---- Both */

static kit_status write_directory(kolm_session *session, model_handle *model, const export_request *r,
                                  const job_base *base, const job_directory *job, job_described *out_described,
                                  const char *directory, kolm_error_t *err) {
    const cJSON *labels = kit_json_get(kit_json_get(artifact_manifest(model->artifact), "report"), "labels");
    if (r->merge) return describe_and_merge(session, model, r, base, job, out_described, directory, err);
    char *scratch = NULL;
    KIT_TRY(kit_path_join(job->private, "payload", &scratch, err));
    kit_status status = kit_mkdirs(scratch, 0700, err);
    if (status == KOLM_OK && export_is_encoder(model)) {
        status = export_encoder(session, model, base, scratch, directory, err);
        free(scratch);
        return status;
    }
    if (status == KOLM_OK) status = copy_payload(session, model, scratch, directory, err);
    if (status == KOLM_OK) status = name_base(directory, base, err);
    if (status == KOLM_OK) status = write_labels(directory, labels, err);
    free(scratch);
    return status;
}

static kit_status kind_of(const model_handle *model, const export_request *r, export_kind *out, kolm_error_t *err) {
    *out = r->merge ? EXPORT_MERGED : EXPORT_ADAPTER;
    if (artifact_find(model->artifact, "model/" META) != NULL) return KOLM_OK;
    if (!export_is_encoder(model))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                        "use it with `kolm run`; models that were made with --base, a language model or a sentence "
                        "encoder, can be exported",
                        "%s contains no model that PEFT, transformers or sentence-transformers could read",
                        model->path);
    *out = EXPORT_ENCODER;
    if (!r->merge) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "leave out --merge",
                    "%s is a head on a sentence encoder, which has no adapter to merge", model->path);
}

static kit_status export_model(kolm_session *session, const export_request *r, model_handle *model,
                               export_kind *out_kind, session_reason *out_reason, kolm_error_t *err) {
    job_base base = {0};
    job_directory job = {.lock_fd = -1};
    job_described described = {0};
    char *directory = NULL;
    bool needed = false;
    *out_reason = SESSION_REASON_DATA;
    KIT_TRY(kind_of(model, r, out_kind, err));
    kit_status status = model_base_of(session, artifact_manifest(model->artifact), r->base, &base, &needed, err);
    if (status == KOLM_OK) {
        *out_reason = SESSION_REASON_USAGE;
        status = check_target(r->to, err);
    }
    if (status == KOLM_OK) status = make_beside(r->to, &directory, err);
    *out_reason = status == KOLM_OK ? SESSION_REASON_INTERNAL : *out_reason;
    if (status == KOLM_OK) status = model_job_make(session, &job, err);
    if (status == KOLM_OK) {
        *out_reason = r->merge ? SESSION_REASON_BACKEND : SESSION_REASON_INTERNAL;
        status = write_directory(session, model, r, &base, &job, &described, directory, err);
    }
    if (status == KOLM_OK) status = model_unchanged(model, &base, &job, &described, out_reason, err);
    if (status == KOLM_OK && rename(directory, r->to) != 0)
        status = kit_fail_errno(err, errno, "cannot put %s in place", r->to);
    if (status != KOLM_OK && directory != NULL) {
        kit_status ignored = kit_remove_tree(directory, NULL);
        (void)ignored;
    }
    job_directory_close(&job, false);
    job_described_free(&described);
    job_base_free(&base);
    free(directory);
    return status;
}

kit_status model_export(kolm_session *session, const export_request *r, export_kind *out_kind,
                        session_reason *out_reason, kolm_error_t *err) {
    model_handle model;
    kit_status status = model_open_to_run(session, r->model, r->allow_pickle, &model, out_reason, err);
    if (status == KOLM_OK) status = export_model(session, r, &model, out_kind, out_reason, err);
    model_handle_close(&model);
    if (status != KOLM_OK && (status == KOLM_E_CANCELLED || session_stopped(session)))
        *out_reason = SESSION_REASON_INTERRUPTED;
    return status;
}
