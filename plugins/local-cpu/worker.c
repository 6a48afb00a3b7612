/* SPDX-License-Identifier: Apache-2.0 */
/* kolm-linear: the embedded engine as a program of its own, for machines that have no kolm: does one job directory. */
#include "backend.h"

#include "kolm/kit/file.h"
#include "kolm/kit/job.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <limits.h>
#include <link.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 *     kolm-linear --threads N DIR     trains or answers DIR as docs/job-protocol.md has it; events on standard output
 *     kolm-linear --files             the files that it is made of: itself, its libraries, and the loader, a line each
 *
 * With those files in one directory, LOADER --library-path THERE THERE/kolm-linear ... runs on any machine of the same
 * architecture, whatever C library that has. SIGTERM stops it.
 */

extern const kolm_backend_v1_t kolm_backend_v1;

static volatile sig_atomic_t stopping;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

/* ---- Events; as `kolm job run` prints them. A field that could not be added leaves the event unsaid. */

static void say(cJSON *event, bool good) {
    kit_buf line = {0};
    if (good && kit_json_line(event, &line, NULL) == KOLM_OK) {
        fprintf(stdout, "%s\n", kit_buf_text(&line));
        fflush(stdout);
    }
    kit_buf_free(&line);
    cJSON_Delete(event);
}

static void say_log(void *user, uint32_t level, const char *text) {
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    cJSON *event = cJSON_CreateObject();
    (void)user;
    say(event, kit_json_put_string(event, "event", "log") &&
                   kit_json_put_string(event, "level", levels[level < 4 ? level : 3]) &&
                   kit_json_put_string(event, "text", text));
}

static void say_progress(void *user, const kolm_progress_t *p) {
    cJSON *event = cJSON_CreateObject();
    (void)user;
    bool good = kit_json_put_string(event, "event", "progress") && kit_json_put_string(event, "phase", p->phase) &&
                kit_json_put_u64(event, "step", p->step);
    if (p->total != KOLM_UNKNOWN_COUNT) good = good && kit_json_put_u64(event, "total", p->total);
    if (isfinite(p->loss)) good = good && kit_json_put_number(event, "loss", p->loss);
    if (isfinite(p->tokens_per_second))
        good = good && kit_json_put_number(event, "tokens_per_second", p->tokens_per_second);
    say(event, good);
}

static void say_metric(void *user, const char *name, double value) {
    cJSON *event = cJSON_CreateObject();
    (void)user;
    say(event, kit_json_put_string(event, "event", "metric") && kit_json_put_string(event, "name", name) &&
                   kit_json_put_number(event, "value", value));
}

static void say_error(const kolm_error_t *err) {
    cJSON *event = cJSON_CreateObject();
    say(event, kit_json_put_string(event, "event", "error") && kit_json_put_u64(event, "code", (uint64_t)err->code) &&
                   kit_json_put_string(event, "text", err->text) && kit_json_put_string(event, "remedy", err->remedy));
}

static void say_result(const char *device, const char *toolchain) {
    cJSON *event = cJSON_CreateObject();
    say(event, kit_json_put_string(event, "event", "result") && kit_json_put_string(event, "device", device) &&
                   kit_json_put_string(event, "toolchain", toolchain));
}

/* ---- The host that the engine sees */

static void no_device(void *user, const kolm_device_t *device) {
    (void)user, (void)device;
}

static void no_step(void *user, const kolm_test_step_t *step) {
    (void)user, (void)step;
}

static int32_t is_cancelled(void *user) {
    (void)user;
    return stopping != 0;
}

static int64_t no_deadline(void *user) {
    (void)user;
    return INT64_MAX;
}

static int32_t no_value(void *user, const char *name, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user, (void)name, (void)buffer, (void)capacity, (void)out_length;
    return KOLM_E_NOT_FOUND;
}

/* ---- The work */

static kit_status do_train(const kolm_host_v1_t *host, const char *dir, uint32_t threads, kolm_error_t *err) {
    const kolm_train_args_t args = {.struct_size = (uint32_t)sizeof args, .threads = threads, .job_dir = dir};
    kolm_train_result_t result = {.struct_size = (uint32_t)sizeof result};
    KIT_TRY(kolm_backend_v1.train(host, &args, &result, err));
    say_result(result.device, result.toolchain);
    return KOLM_OK;
}

static kit_status do_infer(const kolm_host_v1_t *host, const char *dir, uint32_t threads, kolm_error_t *err) {
    kolm_infer_args_t args = {.struct_size = (uint32_t)sizeof args, .threads = threads, .job_dir = dir};
    kolm_infer_result_t result = {.struct_size = (uint32_t)sizeof result};
    char *input = NULL, *output = NULL;
    kit_status status = kit_path_join(dir, "eval.jsonl", &input, err);
    if (status == KOLM_OK) status = kit_path_join(dir, "predictions.jsonl", &output, err);
    args.input_path = input;
    args.output_path = output;
    if (status == KOLM_OK) status = kolm_backend_v1.infer(host, &args, &result, err);
    if (status == KOLM_OK) say_result(result.device, LOCAL_CPU_TOOLCHAIN);
    free(input);
    free(output);
    return status;
}

static kit_status work(const char *dir, uint32_t threads, kolm_error_t *err) {
    char *scratch = NULL;
    kit_job *job = NULL;
    KIT_TRY(kit_path_join(dir, "scratch", &scratch, err));
    kit_status status = kit_remove_tree(scratch, err);
    if (status == KOLM_OK) status = kit_mkdirs(scratch, 0700, err);
    if (status == KOLM_OK) status = kit_job_read(dir, &job, err);
    const kolm_host_v1_t host = {.struct_size = (uint32_t)sizeof host,
                                 .abi_major = KOLM_ABI_MAJOR,
                                 .abi_minor = KOLM_ABI_MINOR,
                                 .features = KOLM_FEATURE_MODEL_SLICES,
                                 .log = say_log,
                                 .progress = say_progress,
                                 .metric = say_metric,
                                 .device = no_device,
                                 .test_step = no_step,
                                 .cancelled = is_cancelled,
                                 .time_left_ms = no_deadline,
                                 .secret = no_value,
                                 .setting = no_value,
                                 .scratch_dir = scratch};
    if (status == KOLM_OK)
        status =
            strcmp(job->kind, "train") == 0 ? do_train(&host, dir, threads, err) : do_infer(&host, dir, threads, err);
    kit_job_free(job);
    kolm_error_t ignored = KIT_ERROR_INIT;
    if (kit_remove_tree(scratch, &ignored) != KOLM_OK) fprintf(stderr, "%s\n", ignored.text);
    free(scratch);
    return status;
}

static int print_file(struct dl_phdr_info *info, size_t size, void *user) {
    (void)size, (void)user;
    if (info->dlpi_name[0] == '/') printf("%s\n", info->dlpi_name);
    return 0;
}

static int print_files(void) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return 1;
    self[n] = '\0';
    printf("%s\n", self);
    (void)dl_iterate_phdr(print_file, NULL);
    return fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    uint64_t threads = 0;
    char dir[PATH_MAX];
    kolm_error_t err = KIT_ERROR_INIT;
    struct sigaction act;
    if (argc == 2 && strcmp(argv[1], "--files") == 0) return print_files();
    if (argc != 4 || strcmp(argv[1], "--threads") != 0 || !kit_parse_u64(argv[2], &threads) || threads < 1 ||
        threads > 4096) {
        fprintf(stderr, "use: kolm-linear --threads N DIR, or kolm-linear --files\n");
        return 2;
    }
    memset(&act, 0, sizeof act);
    act.sa_handler = on_signal;
    (void)sigaction(SIGTERM, &act, NULL);
    (void)sigaction(SIGINT, &act, NULL);
    kit_status status = realpath(argv[3], dir) ? work(dir, (uint32_t)threads, &err)
                                               : kit_fail_errno(&err, errno, "cannot find %s", argv[3]);
    if (status == KOLM_OK) return 0;
    say_error(&err);
    return 1;
}
