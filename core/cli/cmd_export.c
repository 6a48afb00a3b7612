/* SPDX-License-Identifier: Apache-2.0 */
/* kolm export: the adapter of an artifact in PEFT's files, or merged with its base, in a directory of its own. */
#include "cli/cli.h"
#include "cli/log.h"
#include "cli/options.h"
#include "cli/output.h"
#include "kolm/kit/trainer.h"
#include "model/model.h"
#include "runtime/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MERGE_FD_LEAST 16        /* above the numbers that the trainer has other uses for */
#define META "kolm_trainer.json" /* of the trainer alone; every artifact that can be exported has it */

typedef struct export_request {
    const char *to, *base, *backend;
    bool merge, allow_pickle;
    char **words;
} export_request;

/* ---- The place: DIR is absent or empty; the files are made beside it and moved when they are whole */

static kit_status check_target(const char *to, kolm_error_t *err) {
    struct stat info;
    if (lstat(to, &info) != 0) return errno == ENOENT ? KOLM_OK : kit_fail_errno(err, errno, "cannot look at %s", to);
    /* rmdir removes what is empty and nothing else. */
    if (S_ISDIR(info.st_mode) && rmdir(to) == 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_ALREADY_EXISTS, "give --to a directory that does not exist yet",
                    "%s is there already, and not empty", to);
}

static kit_status make_beside(const char *to, char **out_path, kolm_error_t *err) {
    kit_buf path = {0};
    size_t length = strlen(to);
    while (length > 1 && to[length - 1] == '/')
        length--;
    kit_buf_fmt(&path, "%.*s.tmp-XXXXXX", (int)length, to);
    kit_status status = kit_buf_ok(&path, err);
    if (status == KOLM_OK && mkdtemp(path.data) == NULL)
        status = kit_fail_errno(err, errno, "cannot create a directory beside %s", to);
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
        if (!kit_json_put_string(config, "base_model_name_or_path", base->path))
            status =
                kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit", "out of memory");
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
    (void)user, (void)done, (void)total;
    return cli_interrupted();
}

/* The payload's files into directory; META stays behind. */
static kit_status copy_payload(model_handle *model, const char *scratch, const char *directory, kolm_error_t *err) {
    KIT_TRY(artifact_extract(model->artifact, scratch, stop, NULL, err));
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < artifact_entry_count(model->artifact) && status == KOLM_OK; i++) {
        const char *name = artifact_entry_at(model->artifact, i)->name;
        char *from = NULL, *to = NULL;
        if (strncmp(name, "model/", 6) != 0 || strcmp(name + 6, META) == 0 || strchr(name + 6, '/') != NULL) continue;
        kit_buf content = {0};
        status = kit_path_join(scratch, name, &from, err);
        if (status == KOLM_OK) status = kit_path_join(directory, name + 6, &to, err);
        /* The same file system as a rule; a job directory elsewhere is copied from. */
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
    cli_context *context;
    const char *python, *trainer;
    cli_progress progress;
} merging;

static void on_log(void *user, uint32_t level, const char *text) {
    merging *m = user;
    cli_log(m->context, "export", level, text);
}

static void on_progress(void *user, const kolm_progress_t *progress) {
    (void)user, (void)progress;
}

static void on_metric(void *user, const char *name, double value) {
    (void)user, (void)name, (void)value;
}

static int32_t cancelled(void *user) {
    (void)user;
    return cli_interrupted();
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

/* The runtime of the backend that is named, else of the model's maker, else any: merging needs torch and no device. */
static kit_status find_runtime(merging *m, const model_handle *model, const char *backend, kolm_error_t *err) {
    const cJSON *config = NULL;
    char maker[64];
    int unused = 0;
    KIT_TRY(session_config(&m->context->session, &config, err));
    const cJSON *runtimes = kit_json_get(config, "runtimes");
    model_maker(model, maker, sizeof maker);
    const char *name = backend != NULL ? backend : maker;
    if (kit_json_get_string(runtimes, name, &m->python))
        return runtime_check(&m->context->session, name, NULL, &unused, err);
    for (const cJSON *one = backend == NULL && cJSON_IsObject(runtimes) ? runtimes->child : NULL; one; one = one->next)
        if (cJSON_IsString(one)) {
            m->python = one->valuestring;
            return runtime_check(&m->context->session, one->string, NULL, &unused, err);
        }
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "make one with `kolm compute setup`, or export without --merge",
                    "merging needs a Python runtime, and %s has none", backend != NULL ? backend : "no backend here");
}

static kit_status merge(cli_context *context, const model_handle *model, const export_request *r,
                        const job_directory *job, const char *directory, kolm_error_t *err) {
    merging m = {.context = context};
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

static kit_status describe_and_merge(cli_context *context, const model_handle *model, const export_request *r,
                                     const job_base *base, const job_directory *job, job_described *out_described,
                                     const char *directory, kolm_error_t *err) {
    char bytes[64];
    int fd = fcntl(artifact_descriptor(model->artifact), F_DUPFD_CLOEXEC, MERGE_FD_LEAST);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", model->path);
    kit_format(bytes, sizeof bytes, "%.*s%d", (int)(strrchr(HOST_MODEL_PATH, '/') + 1 - HOST_MODEL_PATH),
               HOST_MODEL_PATH, fd);
    kit_status status = model_describe(model, base, bytes, job, out_described, err);
    if (status == KOLM_OK) status = merge(context, model, r, job, directory, err);
    close(fd);
    return status;
}

/* ---- Both */

static kit_status write_directory(cli_context *context, model_handle *model, const export_request *r,
                                  const job_base *base, const job_directory *job, job_described *out_described,
                                  const char *directory, kolm_error_t *err) {
    const cJSON *labels = kit_json_get(kit_json_get(artifact_manifest(model->artifact), "report"), "labels");
    if (r->merge) return describe_and_merge(context, model, r, base, job, out_described, directory, err);
    char *scratch = NULL;
    KIT_TRY(kit_path_join(job->private, "payload", &scratch, err));
    kit_status status = kit_mkdirs(scratch, 0700, err);
    if (status == KOLM_OK) status = copy_payload(model, scratch, directory, err);
    if (status == KOLM_OK) status = name_base(directory, base, err);
    if (status == KOLM_OK) status = write_labels(directory, labels, err);
    free(scratch);
    return status;
}

static kit_status export_model(cli_context *context, const export_request *r, model_handle *model, int *out_exit,
                               kolm_error_t *err) {
    job_base base = {0};
    job_directory job = {.lock_fd = -1};
    job_described described = {0};
    char *directory = NULL;
    bool needed = false;
    *out_exit = SESSION_EXIT_DATA;
    if (artifact_find(model->artifact, "model/" META) == NULL)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use it with `kolm run`; models of --base can be exported",
                        "%s holds no model that PEFT or transformers could read", model->path);
    kit_status status =
        model_base_of(&context->session, artifact_manifest(model->artifact), r->base, &base, &needed, err);
    if (status == KOLM_OK) {
        *out_exit = SESSION_EXIT_USAGE;
        status = check_target(r->to, err);
    }
    if (status == KOLM_OK) status = make_beside(r->to, &directory, err);
    *out_exit = status == KOLM_OK ? SESSION_EXIT_INTERNAL : *out_exit;
    if (status == KOLM_OK) status = model_job_make(&context->session, &job, err);
    if (status == KOLM_OK) {
        *out_exit = r->merge ? SESSION_EXIT_BACKEND : SESSION_EXIT_INTERNAL;
        status = write_directory(context, model, r, &base, &job, &described, directory, err);
    }
    if (status == KOLM_OK) status = model_unchanged(model, &base, &job, &described, out_exit, err);
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

static int say(cli_context *context, const export_request *r) {
    if (!context->json) {
        cli_print(context, "[export]      %s  %s\n", cli_safe(r->to),
                  r->merge ? "a whole model" : "an adapter, in PEFT's files");
        return SESSION_EXIT_OK;
    }
    cJSON *record = cJSON_CreateObject();
    if (kit_json_put_string(record, "schema", "kolm.export/1") && kit_json_put_string(record, "path", r->to) &&
        kit_json_put_bool(record, "merged", r->merge))
        return cli_print_json(context, record, SESSION_EXIT_OK);
    cJSON_Delete(record);
    return cli_print_json(context, NULL, SESSION_EXIT_OK);
}

int cli_cmd_export(cli_context *context, int argc, char **argv) {
    export_request r = {.words = argv};
    size_t word_count = 0;
    const cli_option options[] = {
        {"to", 0, CLI_STRING, &r.to, "DIR", "the directory to make; must not be there, or be empty"},
        {"merge", 0, CLI_FLAG, &r.merge, NULL, "add the adapter into the weights of the base: a whole model"},
        {"base", 0, CLI_STRING, &r.base, "DIR", "where the base model is; found by its digest otherwise"},
        {"allow-pickle", 0, CLI_FLAG, &r.allow_pickle, NULL,
         "load a base whose weights are pickles, which can run any program: only files that you made"},
        {"backend", 0, CLI_STRING, &r.backend, "NAME", "merge with this backend's Python runtime"},
    };
    const cli_syntax syntax = {
        .command = "kolm export",
        .words = "FILE.kolm",
        .summary = "Writes a fine-tuned model for other programs: the adapter as PEFT stores it, which vLLM and "
                   "llama.cpp's converter read\ntoo, or with --merge a directory that transformers loads by itself.",
        .options = options,
        .option_count = sizeof options / sizeof *options,
        .min_words = 1,
        .max_words = 2, /* to name what the second was meant for */
        .words_out = argv,
        .word_count_out = &word_count,
    };
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    if (word_count == 2 && r.to == NULL)
        return cli_usage_error(context, syntax.command, "the directory to make goes with --to: kolm export %s --to %s",
                               cli_safe(r.words[0]), cli_safe(r.words[1]));
    if (word_count == 2)
        return cli_usage_error(context, syntax.command, "one FILE.kolm at a time: unexpected word '%s'",
                               cli_safe(r.words[1]));
    if (r.to == NULL) return cli_usage_error(context, syntax.command, "--to is missing: the directory to make");
    model_handle model;
    kolm_error_t err = KIT_ERROR_INIT;
    kit_status status = model_handle_open(&context->session, r.words[0], MODEL_TRUST_CONTENT, &model, &exit_code, &err);
    if (status == KOLM_OK) {
        exit_code = SESSION_EXIT_VERIFY;
        status = model_may_run(&context->session, &model, &err);
        model.allow_pickle = r.allow_pickle;
    }
    if (status == KOLM_OK) status = export_model(context, &r, &model, &exit_code, &err);
    model_handle_close(&model);
    if (status == KOLM_OK) return say(context, &r);
    return cli_error(context, status == KOLM_E_CANCELLED || cli_interrupted() ? SESSION_EXIT_INTERRUPTED : exit_code,
                     &err);
}
