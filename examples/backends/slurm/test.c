/* SPDX-License-Identifier: Apache-2.0 */
/* The slot test: Slurm's commands, its controller, the settings, and a small job through the shared directory. */
#include "slurm.h"

#include "kolm/kit/process.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS 4
#define QUEUE_MS 60000
#define TRY_MS 500

/* Checks on the node whether the trainer is installed. */
static const char script[] = "#!/bin/sh\n"
                             "command -v \"$1\" >/dev/null || { echo \"$1 is not in PATH on $(uname -n)\"; exit 1; }\n"
                             "echo ready\n";

typedef struct steps {
    const kolm_host_v1_t *host;
    slurm_settings settings;
    uint32_t done;
    bool good;
    int64_t begun;
    char note[500];
} steps;

static void report(steps *t, const char *title, uint32_t outcome) {
    const kolm_test_step_t step = {.struct_size = (uint32_t)sizeof step,
                                   .outcome = outcome,
                                   .number = ++t->done,
                                   .total = STEPS,
                                   .duration_us = (uint64_t)(kit_now_ms() - t->begun) * 1000,
                                   .title = title,
                                   .note = t->note};
    t->host->test_step(t->host->user, &step);
    if (outcome == KOLM_STEP_FAILED) t->good = false;
    t->note[0] = '\0';
    t->begun = kit_now_ms();
}

/* ---- Steps: true on success, else the note is filled */

static bool commands(steps *t, kolm_error_t *err) {
    static const char *const argv[] = {"--version", NULL};
    slurm_output output;
    if (slurm_command(&t->settings, "sbatch", argv, &output, err) != KOLM_OK) return false;
    bool good = output.exit_code == 0 && strcasestr(kit_buf_text(&output.out), "slurm");
    if (!good) slurm_said(kit_buf_text(&output.err), t->note, sizeof t->note);
    slurm_output_free(&output);
    return good;
}

static bool controller(steps *t, kolm_error_t *err) {
    static const char *const argv[] = {"ping", NULL};
    slurm_output output;
    if (slurm_command(&t->settings, "scontrol", argv, &output, err) != KOLM_OK) return false;
    bool good = strstr(kit_buf_text(&output.out), "is UP") != NULL; /* the backup suffices */
    if (!good) slurm_said(kit_buf_text(output.err.length > 0 ? &output.err : &output.out), t->note, sizeof t->note);
    slurm_output_free(&output);
    return good;
}

static bool write_script(const steps *t, char *out_path, size_t capacity, kolm_error_t *err) {
    if (!kit_format(out_path, capacity, "%s/test.sh", t->host->scratch_dir)) return false;
    return kit_write_file(out_path, 0700, script, sizeof script - 1, err) == KOLM_OK;
}

/* Validates the whole request of a job with these settings, without running it. */
static bool accepted(steps *t, kolm_error_t *err) {
    char path[600], said[300], remedy[400];
    slurm_options options;
    slurm_output output;
    const char *argv[SLURM_OPTIONS_MAX + 6] = {"--test-only", "--ntasks-per-node=1"};
    size_t n = 2;
    if (!write_script(t, path, sizeof path, err) || slurm_options_all(&t->settings, &options, err) != KOLM_OK)
        return false;
    for (size_t i = 0; i < options.count; i++)
        argv[n++] = options.argv[i];
    argv[n++] = path;
    argv[n] = NULL;
    if (slurm_command(&t->settings, "sbatch", argv, &output, err) != KOLM_OK) return false;
    bool good = output.exit_code == 0;
    if (!good) {
        slurm_said(kit_buf_text(&output.err), said, sizeof said);
        slurm_remedy(&t->settings, said, 1, remedy, sizeof remedy);
        (void)kit_format(t->note, sizeof t->note, "%s: %s", said, remedy);
    }
    slurm_output_free(&output);
    return good;
}

/* ---- A job */

/* Unique among tests on this machine: the process id alone may be 2 in every PID namespace. */
static unsigned long long own_number(void) {
    static int64_t drawn;
    if (drawn == 0) drawn = kit_now_ms() * 65536 + (getpid() & 65535);
    return (unsigned long long)drawn;
}

/* SHARED/test-NUMBER, with the script in it. */
static kit_status make_place(const steps *t, char **out_dir, char **out_script, kolm_error_t *err) {
    char name[32];
    (void)kit_format(name, sizeof name, "test-%llx", own_number());
    KIT_TRY(kit_path_join(t->settings.shared_dir, name, out_dir, err));
    KIT_TRY(kit_remove_tree(*out_dir, err));
    KIT_TRY(kit_mkdirs(*out_dir, 0700, err));
    KIT_TRY(kit_path_join(*out_dir, "test.sh", out_script, err));
    return kit_write_file(*out_script, 0700, script, sizeof script - 1, err);
}

static kit_status submit(const steps *t, const char *dir, const char *path, slurm_id *out_id, kolm_error_t *err) {
    char name[64], chdir_to[600], output[640];
    slurm_options options;
    const char *argv[SLURM_OPTIONS_MAX + 12] = {"--parsable", "--ntasks=1", "--time=1", "--export=PATH,HOME,LANG"};
    size_t n = 4;
    KIT_TRY(slurm_options_who(&t->settings, &options, err));
    (void)kit_format(name, sizeof name, "--job-name=kolm-test-%llx", own_number());
    if (!kit_format(chdir_to, sizeof chdir_to, "--chdir=%s", dir) ||
        !kit_format(output, sizeof output, "--output=%s/said.txt", dir))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use a shorter one", "shared_dir is too long");
    argv[n++] = name;
    argv[n++] = chdir_to;
    argv[n++] = output;
    for (size_t i = 0; i < options.count; i++)
        argv[n++] = options.argv[i];
    argv[n++] = path;
    argv[n++] = t->settings.trainer[0];
    argv[n] = NULL;
    return slurm_sbatch(&t->settings, argv, name + strlen("--job-name="), 1, out_id, err);
}

/* True if the job's output is visible on this machine; else the note says what is there. */
static bool has_said(steps *t, const char *dir) {
    char *path = NULL;
    kit_buf text = {0};
    bool good = kit_path_join(dir, "said.txt", &path, NULL) == KOLM_OK &&
                kit_read_file(path, sizeof t->note, &text, NULL) == KOLM_OK;
    if (good) slurm_said(kit_buf_text(&text), t->note, sizeof t->note);
    good = good && strncmp(kit_buf_text(&text), "ready", 5) == 0;
    if (good) t->note[0] = '\0';
    kit_buf_free(&text);
    free(path);
    return good;
}

/* Waits for the job to start, up to the queue limit, and then for its end and its file. */
static uint32_t watch(steps *t, const slurm_id *id, const char *dir, kolm_error_t *err) {
    slurm_job job = {.exit_code = 0};
    slurm_view view = SLURM_VIEW_AWAY;
    int64_t end = kit_now_ms() + QUEUE_MS;
    bool ended = false;
    for (bool good = false; kit_now_ms() < end; good = has_said(t, dir)) {
        if (good) return KOLM_STEP_OK;
        if (!ended && slurm_ask(&t->settings, id, &job, &view, t->note, sizeof t->note, err) != KOLM_OK)
            return KOLM_STEP_FAILED;
        if (!ended && (view == SLURM_VIEW_FORGOTTEN || (view == SLURM_VIEW_JOB && job.state.phase == SLURM_ENDED))) {
            ended = true;
            int64_t settled = kit_now_ms() + (int64_t)t->settings.settle_seconds * 1000;
            if (settled < end) end = settled;
            if (strcmp(job.state.name, "COMPLETED") != 0 && view == SLURM_VIEW_JOB) end = kit_now_ms() + 4 * TRY_MS;
        }
        if (!slurm_pause(t->host, TRY_MS)) return KOLM_STEP_FAILED;
    }
    if (view == SLURM_VIEW_JOB && job.state.phase == SLURM_WAITS) {
        (void)kit_format(t->note, sizeof t->note, "the queue is longer than a minute (%s)", job.reason);
        return KOLM_STEP_SKIPPED;
    }
    if (!t->note[0])
        (void)kit_format(t->note, sizeof t->note,
                         "job %s is %s, but its output did not appear in %s: do the nodes see the same directory?",
                         id->number, job.state.name[0] ? job.state.name : "gone", dir);
    return KOLM_STEP_FAILED;
}

static uint32_t runs(steps *t, kolm_error_t *err) {
    char *dir = NULL, *path = NULL;
    slurm_id id = {.number = ""};
    uint32_t outcome = KOLM_STEP_FAILED;
    kit_status status = make_place(t, &dir, &path, err);
    if (status == KOLM_OK) status = submit(t, dir, path, &id, err);
    if (status == KOLM_OK) outcome = watch(t, &id, dir, err);
    if (outcome != KOLM_STEP_OK && id.number[0]) {
        kit_status ignored = slurm_cancel(&t->settings, &id, NULL);
        (void)ignored;
    }
    if (dir) {
        kit_status ignored = kit_remove_tree(dir, NULL);
        (void)ignored;
    }
    free(dir);
    free(path);
    return outcome;
}

static void step(steps *t, const char *title, bool (*what)(steps *, kolm_error_t *)) {
    kolm_error_t err = KIT_ERROR_INIT;
    uint32_t outcome = !t->good ? KOLM_STEP_SKIPPED : what(t, &err) ? KOLM_STEP_OK : KOLM_STEP_FAILED;
    if (err.code != KOLM_OK) (void)kit_format(t->note, sizeof t->note, "%.240s: %.240s", err.text, err.remedy);
    report(t, title, outcome);
}

int32_t slurm_test(const kolm_host_v1_t *host, const kolm_test_args_t *args, kolm_test_result_t *out_result,
                   kolm_error_t *out_error) {
    steps t = {.host = host, .good = true, .begun = kit_now_ms()};
    kolm_error_t err = KIT_ERROR_INIT;
    (void)args;
    KIT_TRY(slurm_settings_read(host, &t.settings, out_error));
    step(&t, "commands", commands);
    step(&t, "controller answers", controller);
    step(&t, "settings are accepted", accepted);
    uint32_t ran = t.good ? runs(&t, &err) : KOLM_STEP_SKIPPED;
    bool tried = t.good;
    if (err.code != KOLM_OK) (void)kit_format(t.note, sizeof t.note, "%.240s: %.240s", err.text, err.remedy);
    report(&t, "a job runs", ran);
    out_result->passed = t.good ? 1 : 0;
    (void)kit_copy(out_result->summary, sizeof out_result->summary,
                   !t.good ? "slurm is not ready: the first step that failed says why"
                   : tried && ran == KOLM_STEP_SKIPPED
                       ? "slurm accepts jobs of kolm compile; the queue was too long to wait for one to run"
                       : "slurm is ready for kolm compile");
    slurm_settings_free(&t.settings);
    return KOLM_OK;
}
