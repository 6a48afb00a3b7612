/* SPDX-License-Identifier: Apache-2.0 */
/* A host that records what it receives, a job, and a trainer that consists of a few lines of Python. */
#ifndef KOLM_TESTS_TRAINER_FIXTURE_H
#define KOLM_TESTS_TRAINER_FIXTURE_H

#include "../suite.h"
#include "kolm/kit/buf.h"
#include "kolm/kit/file.h"
#include "kolm/kit/process.h"
#include "kolm/kit/trainer.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[256], job[300], scratch[300], python[512];
static kolm_error_t err;
static const kit_trainer trainer = {.device = "cpu"};

/* ---- A host that records */

static struct {
    kit_buf logs, steps, metrics;
    uint32_t progressed, cancel_after; /* cancelled after that many progress reports; 0: never */
    kolm_progress_t last;
    int64_t time_left;
    char trainer[320];
} seen;

static inline void host_log(void *user, uint32_t level, const char *text) {
    (void)user;
    kit_buf_fmt(&seen.logs, "%u %s\n", level, text);
}

static inline void host_progress(void *user, const kolm_progress_t *progress) {
    (void)user;
    seen.last = *progress;
    seen.last.phase = NULL;
    seen.progressed++;
}

static inline void host_metric(void *user, const char *name, double value) {
    (void)user;
    kit_buf_fmt(&seen.metrics, "%s=%g ", name, value);
}

static inline void host_device(void *user, const kolm_device_t *device) {
    (void)user, (void)device;
}

static inline void host_step(void *user, const kolm_test_step_t *step) {
    (void)user;
    kit_buf_fmt(&seen.steps, "%u/%u %s: %u %s\n", step->number, step->total, step->title, step->outcome, step->note);
}

static inline int32_t host_cancelled(void *user) {
    (void)user;
    return seen.cancel_after > 0 && seen.progressed >= seen.cancel_after;
}

static inline int64_t host_time_left(void *user) {
    (void)user;
    if (seen.time_left == INT64_MAX) return seen.time_left;
    return seen.progressed > 0 ? 0 : seen.time_left;
}

static inline int32_t host_secret(void *user, const char *name, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user, (void)name, (void)buffer, (void)capacity, (void)out_length;
    return KOLM_E_NOT_FOUND;
}

static inline int32_t host_setting(void *user, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user, (void)out_length;
    const char *value = strcmp(key, "runtime.python") == 0    ? python
                        : strcmp(key, "runtime.trainer") == 0 ? seen.trainer
                                                              : "";
    if (value[0] == '\0') return KOLM_E_NOT_FOUND;
    return kit_copy(buffer, capacity, value) ? KOLM_OK : KOLM_E_OUT_OF_RANGE;
}

static kolm_host_v1_t host = {.struct_size = (uint32_t)sizeof host,
                              .log = host_log,
                              .progress = host_progress,
                              .metric = host_metric,
                              .device = host_device,
                              .test_step = host_step,
                              .cancelled = host_cancelled,
                              .time_left_ms = host_time_left,
                              .secret = host_secret,
                              .setting = host_setting};

static inline void put_file(const char *name, const char *text) {
    char path[600];
    kit_format(path, sizeof path, "%s/%s", dir, name);
    ck_assert_msg(kit_write_file(path, 0700, text, strlen(text), &err) == KOLM_OK, "%s", err.text);
}

static inline void make_dir(const char *name) {
    char path[600];
    kit_format(path, sizeof path, "%s/%s", dir, name);
    ck_assert_int_eq(kit_mkdirs(path, 0700, &err), KOLM_OK);
}

static inline void put_job(const char *kind, const char *recipe) {
    char text[300];
    kit_format(
        text, sizeof text,
        "{\"format\":1,\"kind\":\"%s\",\"task\":\"t\",\"recipe\":\"%s\",\"seed\":1,\"effort\":\"quick\",\"rows\":0,"
        "\"labels\":0,\"options\":{}}",
        kind, recipe);
    put_file("job/job.json", text);
}

static inline void setup(void) {
    const char *tmp = getenv("TMPDIR");
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_format(dir, sizeof dir, "%.200s/kit-trainer-XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    kit_format(job, sizeof job, "%s/job", dir);
    kit_format(scratch, sizeof scratch, "%s/scratch", dir);
    make_dir("job");
    make_dir("scratch");
    make_dir("trainer");
    put_job("train", "lora");
    memset(&seen, 0, sizeof seen);
    seen.time_left = INT64_MAX;
    kit_format(seen.trainer, sizeof seen.trainer, "%s/trainer", dir);
    kit_copy(python, sizeof python, PYTHON);
    host.scratch_dir = scratch;
}

static inline void teardown(void) {
    kit_buf_free(&seen.logs);
    kit_buf_free(&seen.steps);
    kit_buf_free(&seen.metrics);
    ck_assert_int_eq(kit_remove_tree(dir, &err), KOLM_OK);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* no child was left behind */
}

/* The beginning of every fake trainer: say(x) prints an event. */
#define PRELUDE                                                                                                        \
    "import json, os, signal, sys, time\n"                                                                             \
    "def say(**event):\n"                                                                                              \
    "    sys.stdout.write(json.dumps(event) + '\\n'); sys.stdout.flush()\n"                                            \
    "def done(**result):\n"                                                                                            \
    "    say(event='result', result=result)\n"                                                                         \
    "def step(n):\n"                                                                                                   \
    "    say(event='progress', phase='training', step=n, total=9, loss=0.5, tokens_per_second=100.0)\n"                \
    "arg = dict(zip(sys.argv[2::2], sys.argv[3::2]))\n"

static inline int32_t train_with(const char *script, const kit_trainer *with, kolm_train_result_t *out) {
    kit_buf text = {0};
    kit_buf_fmt(&text, "%s%s", PRELUDE, script);
    put_file("trainer/__main__.py", kit_buf_text(&text));
    kit_buf_free(&text);
    const kolm_train_args_t args = {.struct_size = (uint32_t)sizeof args, .threads = 3, .job_dir = job};
    *out = (kolm_train_result_t){.struct_size = (uint32_t)sizeof *out, .billed_micro_usd = UINT64_MAX};
    return kit_trainer_train(&host, with, &args, out, &err);
}

static inline int32_t train(const char *script) {
    kolm_train_result_t result;
    return train_with(script, &trainer, &result);
}

static inline bool logged(const char *what) {
    return strstr(kit_buf_text(&seen.logs), what) != NULL;
}

static inline void fails(const char *script, int32_t code, const char *word) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    int32_t got = train(script);
    ck_assert_msg(got == code, "%d instead of %d: %s", got, code, err.text);
    ck_assert_int_eq(err.code, code);
    ck_assert_msg(strstr(err.text, word) != NULL, "no '%s' in: %s", word, err.text);
    ck_assert_msg(err.remedy[0] != '\0', "no remedy: %s", err.text);
}

#endif
