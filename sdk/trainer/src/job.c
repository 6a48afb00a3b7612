/* SPDX-License-Identifier: Apache-2.0 */
/* The train, infer and test slots of a backend that uses the Python trainer. */
#include "internal.h"

#include "kolm/kit/job.h"
#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>

#define STEPS 4u

static void copy_text(const cJSON *result, const char *key, const char *fallback, char *out, size_t capacity) {
    const char *text = fallback;
    (void)kit_json_get_string(result, key, &text);
    kit_copy(out, capacity, text);
}

/* Returns true if path names a descriptor of this process; *out_fd is its number, -1 if it is not open. */
static bool is_descriptor(const char *path, int *out_fd, const char **out_folder) {
    static const char *const folders[] = {"/proc/self/fd/", "/dev/fd/"};
    uint64_t number = 0;
    *out_fd = -1;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        size_t length = strlen(folders[i]);
        if (strncmp(path, folders[i], length) != 0) continue;
        *out_folder = folders[i];
        if (kit_parse_u64(path + length, &number) && number <= 1u << 20 && fcntl((int)number, F_GETFD) >= 0)
            *out_fd = (int)number;
        return true;
    }
    return false;
}

/* Model files may be slices of open descriptors: the child needs those under the numbers in job.json. */
static kit_status find_models(const kit_job *job, int same[TRAINER_SAME], kolm_error_t *err) {
    const char *folder;
    for (size_t i = 0; i < job->model_file_count; i++) {
        int fd, at = 0;
        if (!is_descriptor(job->model_files[i].path, &fd, &folder)) continue;
        while (at < TRAINER_SAME && same[at] != 0 && same[at] != fd)
            at++;
        if (at == TRAINER_SAME || fd < 5)
            return kit_fail(err, KOLM_E_NOT_FOUND, "report this", "the model file %s cannot be read from %s",
                            job->model_files[i].name, job->model_files[i].path);
        same[at] = fd;
    }
    return KOLM_OK;
}

static kit_status check_job(const kit_trainer *trainer, const char *dir, const char *kind, int same[TRAINER_SAME],
                            kolm_error_t *err) {
    kit_job *job = NULL;
    char name[64];
    kit_status status = kit_job_read(dir, &job, err);
    trainer_backend(trainer, name, sizeof name);
    if (status == KOLM_OK && strcmp(job->kind, kind) != 0)
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "report this", "%s/job.json is a job of kind %s, not %s", dir,
                          job->kind, kind);
    if (status == KOLM_OK && strcmp(job->recipe, "lora") != 0)
        status =
            kit_fail(err, KOLM_E_UNIMPLEMENTED,
                     "pass a base model with --base, or use a backend that supports this recipe: `kolm compute list`",
                     "%s supports the recipe lora, not %s", name, job->recipe);
    if (status == KOLM_OK) status = find_models(job, same, err);
    kit_job_free(job);
    return status;
}

int32_t kit_trainer_train(const kolm_host_v1_t *host, const kit_trainer *trainer, const kolm_train_args_t *args,
                          kolm_train_result_t *out_result, kolm_error_t *out_error) {
    const char *const words[] = {"--job", args->job_dir, NULL};
    trainer_call call = {.host = host,
                         .trainer = trainer,
                         .threads = args->threads,
                         .processes = trainer->processes,
                         .verb = "train",
                         .words = words,
                         .pass = {-1, -1}};
    cJSON *result = NULL;
    kit_status status = check_job(trainer, args->job_dir, "train", call.same, out_error);
    if (status == KOLM_OK) status = trainer_run(&call, &result, out_error);
    if (status == KOLM_OK) {
        out_result->billed_micro_usd = 0;
        copy_text(result, "device", trainer->device, out_result->device, sizeof out_result->device);
        copy_text(result, "toolchain", "", out_result->toolchain, sizeof out_result->toolchain);
    }
    cJSON_Delete(result);
    return status;
}

/* ---- infer */

typedef struct place {
    int fd;           /* of this process, to be passed on; -1: the child opens path itself */
    char path[64];    /* as the child knows it */
    const char *name; /* passed to the child */
} place;

/* A path like /proc/self/fd/5 names a different descriptor in the child. */
static kit_status find_place(const char *path, int child, place *out, kolm_error_t *err) {
    const char *folder;
    out->name = path;
    if (!is_descriptor(path, &out->fd, &folder)) return KOLM_OK;
    if (out->fd < 0) return kit_fail(err, KOLM_E_NOT_FOUND, "report this", "%s is not open", path);
    kit_format(out->path, sizeof out->path, "%s%d", folder, child);
    out->name = out->path;
    return KOLM_OK;
}

int32_t kit_trainer_infer(const kolm_host_v1_t *host, const kit_trainer *trainer, const kolm_infer_args_t *args,
                          kolm_infer_result_t *out_result, kolm_error_t *out_error) {
    place input, output;
    cJSON *result = NULL;
    int same[TRAINER_SAME] = {0};
    KIT_TRY(check_job(trainer, args->job_dir, "infer", same, out_error));
    KIT_TRY(find_place(args->input_path, 3, &input, out_error));
    KIT_TRY(find_place(args->output_path, 4, &output, out_error));
    const char *const words[] = {"--job", args->job_dir, "--input", input.name, "--output", output.name, NULL};
    trainer_call call = {.host = host,
                         .trainer = trainer,
                         .threads = args->threads,
                         .verb = "infer",
                         .words = words,
                         .pass = {input.fd, output.fd}};
    memcpy(call.same, same, sizeof same);
    kit_status status = trainer_run(&call, &result, out_error);
    if (status == KOLM_OK && !kit_json_get_u64(result, "answers", &out_result->answers))
        status = kit_fail(out_error, KOLM_E_INTERNAL, "report this with the version of kolm",
                          "the trainer did not report how many answers it wrote");
    if (status == KOLM_OK) {
        out_result->billed_micro_usd = 0;
        copy_text(result, "device", trainer->device, out_result->device, sizeof out_result->device);
    }
    cJSON_Delete(result);
    return status;
}

int32_t kit_trainer_merge(const kolm_host_v1_t *host, const kit_trainer *trainer, const char *job_dir,
                          const char *target, uint32_t threads, kolm_error_t *out_error) {
    const char *const words[] = {"--job", job_dir, "--to", target, NULL};
    trainer_call call = {
        .host = host, .trainer = trainer, .threads = threads, .verb = "merge", .words = words, .pass = {-1, -1}};
    cJSON *result = NULL;
    kit_status status = check_job(trainer, job_dir, "infer", call.same, out_error);
    if (status == KOLM_OK) status = trainer_run(&call, &result, out_error);
    cJSON_Delete(result);
    return status;
}

/* ---- test */

typedef struct bench {
    const kolm_host_v1_t *host;
    const kit_trainer *trainer;
    uint32_t threads;
    char note[256];
    cJSON *dry; /* result of the dry run */
} bench;

static kit_status call_for(bench *b, const char *verb, const char *const *words, cJSON **out, kolm_error_t *err) {
    const trainer_call call = {
        .host = b->host, .trainer = b->trainer, .threads = b->threads, .verb = verb, .words = words, .pass = {-1, -1}};
    return trainer_run(&call, out, err);
}

static kit_status check_runtime(bench *b, kolm_error_t *err) {
    char missing[KIT_TRAINER_MISSING], remedy[KIT_TRAINER_MISSING], directory[TRAINER_PATH_MAX] = "";
    if (!kit_trainer_runtime(b->host, b->trainer, b->note, missing, remedy))
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "%s", missing);
    return trainer_directory(b->host, directory, err);
}

static kit_status check_device(bench *b, kolm_error_t *err) {
    static const char *const none[] = {NULL};
    cJSON *result = NULL;
    uint64_t bytes = 0;
    char device[160];
    KIT_TRY(call_for(b, "probe", none, &result, err));
    copy_text(result, "device", b->trainer->device, device, sizeof device);
    if (kit_json_get_u64(result, "free_bytes", &bytes))
        kit_format(b->note, sizeof b->note, "%s, %.1f GB free", device, (double)bytes / 1e9);
    else
        kit_copy(b->note, sizeof b->note, device);
    cJSON_Delete(result);
    return KOLM_OK;
}

static kit_status dry_run(bench *b, kolm_error_t *err) {
    const char *const words[] = {"--dir", b->host->scratch_dir, NULL};
    const char *digest = "";
    bool same = false;
    KIT_TRY(call_for(b, "selftest", words, &b->dry, err));
    if (!kit_json_get_bool(b->dry, "reproducible", &same))
        return kit_fail(err, KOLM_E_INTERNAL, "report this with the version of kolm",
                        "the trainer did not report whether its dry run is reproducible");
    (void)kit_json_get_string(b->dry, "digest", &digest);
    kit_format(b->note, sizeof b->note, "%s%s%.16s",
               same ? "two runs gave the same bytes" : "two runs gave different bytes", digest[0] != '\0' ? ": " : "",
               digest);
    b->host->metric(b->host->user, "test.reproducible.lora", same ? 1 : 0);
    return KOLM_OK;
}

static kit_status round_trip(bench *b, kolm_error_t *err) {
    uint64_t answers = 0;
    if (kit_json_get(b->dry, "answers") == NULL) {
        kit_copy(b->note, sizeof b->note, "as part of the dry run");
        return KOLM_OK;
    }
    if (!kit_json_get_u64(b->dry, "answers", &answers) || answers == 0)
        return kit_fail(err, KOLM_E_INTERNAL, "report this with the versions of the runtime",
                        "the model of the dry run gave no answers");
    kit_format(b->note, sizeof b->note, "%llu answers", (unsigned long long)answers);
    return KOLM_OK;
}

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

int32_t kit_trainer_test(const kolm_host_v1_t *host, const kit_trainer *trainer, const kolm_test_args_t *args,
                         kolm_test_result_t *out_result, kolm_error_t *out_error) {
    static const struct {
        const char *title;
        kit_status (*run)(bench *b, kolm_error_t *err);
    } steps[STEPS] = {
        {"runtime check", check_runtime},
        {"device", check_device},
        {"trainer dry run (twice)", dry_run},
        {"answer round-trip", round_trip},
    };
    bench b = {.host = host, .trainer = trainer, .threads = args->threads};
    kolm_error_t error = KIT_ERROR_INIT;
    kit_status status = KOLM_OK;
    char name[64];
    for (uint32_t i = 0; i < STEPS && status == KOLM_OK; i++) {
        uint64_t start = now_us();
        b.note[0] = '\0';
        status = steps[i].run(&b, &error);
        const kolm_test_step_t step = {.struct_size = (uint32_t)sizeof step,
                                       .outcome = status == KOLM_OK ? KOLM_STEP_OK : KOLM_STEP_FAILED,
                                       .number = trainer->steps_before + i + 1,
                                       .total = trainer->steps_before + STEPS,
                                       .duration_us = now_us() - start,
                                       .title = steps[i].title,
                                       .note = status == KOLM_OK ? b.note : error.text};
        host->test_step(host->user, &step);
    }
    cJSON_Delete(b.dry);
    trainer_backend(trainer, name, sizeof name);
    out_result->passed = status == KOLM_OK;
    kit_format(out_result->summary, sizeof out_result->summary,
               status == KOLM_OK ? "%s is ready for kolm compile" : "%s failed its test", name);
    return status == KOLM_OK ? KOLM_OK : kit_fail(out_error, error.code, error.remedy, "%s", error.text);
}
