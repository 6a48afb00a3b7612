/* SPDX-License-Identifier: Apache-2.0 */
/* kolm-linear: the embedded engine as a separate program, for machines without kolm: runs one job directory. */
#include "backend.h"

#include "kolm/kit/events.h"
#include "kolm/kit/file.h"
#include "kolm/kit/job.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <limits.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 *     kolm-linear --threads N DIR     runs the job in DIR, see docs/job-protocol.md; events on standard output
 *     kolm-linear --files             prints its files: itself, its libraries, and the loader, one per line
 *
 * With those files in one directory, LOADER --library-path THERE THERE/kolm-linear ... runs on any machine of the same
 * architecture, with any C library. SIGTERM stops it.
 */

static volatile sig_atomic_t stopping;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

/* ---- Events, in the format of `kolm job run`. An event is dropped if out of memory. */

/* Takes ownership of line. */
static void print_event(kit_buf *line) {
    if (kit_buf_ok(line, NULL) == KOLM_OK && line->length > 0) {
        fputs(kit_buf_text(line), stdout);
        fflush(stdout);
    }
    kit_buf_free(line);
}

static void print_log(void *user, uint32_t level, const char *text) {
    kit_buf line = {0};
    (void)user;
    kit_event_log(&line, level, text);
    print_event(&line);
}

static void print_progress(void *user, const kolm_progress_t *progress) {
    kit_buf line = {0};
    (void)user;
    kit_event_progress(&line, progress);
    print_event(&line);
}

static void print_metric(void *user, const char *name, double value) {
    kit_buf line = {0};
    (void)user;
    kit_event_metric(&line, name, value);
    print_event(&line);
}

static void print_error(const kolm_error_t *err) {
    kit_buf line = {0};
    kit_event_error(&line, err);
    print_event(&line);
}

static void print_result(const char *device, const char *toolchain) {
    kit_buf line = {0};
    kit_event_result(&line, NULL, device, toolchain);
    print_event(&line);
}

/* ---- The host services of the engine */

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
    print_result(result.device, result.toolchain);
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
    if (status == KOLM_OK) print_result(result.device, LOCAL_CPU_TOOLCHAIN);
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
                                 .log = print_log,
                                 .progress = print_progress,
                                 .metric = print_metric,
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
    print_error(&err);
    return 1;
}
