/* SPDX-License-Identifier: Apache-2.0 */
/* kolm job: does a job directory with a backend of this machine, telling its events as the job protocol has it. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "fleet/call.h"
#include "fleet/choose.h"
#include "kolm/kit/events.h"
#include "kolm/kit/file.h"
#include "kolm/kit/job.h"
#include "runtime/files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct job_run {
    cli_context *context;
    const char *backend;
    session_number threads;
    char dir[PATH_MAX];
    host_result result;
    bool lost; /* an event: there was no memory for it */
} job_run;

/* ---- Events, on standard output. One that memory does not suffice for is left out, and the job fails for it. */

/* Takes line. */
static void print_event(job_run *r, kit_buf *line) {
    if (kit_buf_ok(line, NULL) != KOLM_OK)
        r->lost = true;
    else if (line->length > 0)
        cli_print(r->context, "%s", kit_buf_text(line));
    kit_buf_free(line);
    cli_flush(r->context);
}

static void print_log(void *user, const char *backend, uint32_t level, const char *text) {
    kit_buf line = {0};
    (void)backend;
    kit_event_log(&line, level, text);
    print_event(user, &line);
}

static void print_progress(void *user, const kolm_progress_t *progress) {
    kit_buf line = {0};
    kit_event_progress(&line, progress);
    print_event(user, &line);
}

static void print_metric(void *user, const char *name, double value) {
    kit_buf line = {0};
    kit_event_metric(&line, name, value);
    print_event(user, &line);
}

static void print_error(job_run *r, const kolm_error_t *err) {
    kit_buf line = {0};
    kit_event_error(&line, err);
    print_event(r, &line);
}

static void print_result(job_run *r, const fleet_backend *backend) {
    const host_result *result = &r->result;
    kit_buf line = {0};
    kit_event_result(&line, backend->name, *result->train.device ? result->train.device : result->infer.device,
                     result->train.toolchain);
    print_event(r, &line);
}

/* ---- The work */

#define JOB_TEXT_MAX (64u << 20)

/* Backends of this machine only: a job that came here is not sent on. */
static kit_status choose(cli_context *context, const job_run *r, bool trains, fleet_choice **out_choice, int *out_exit,
                         kolm_error_t *err) {
    const fleet_choose_options options = {
        .backend = r->backend, .picker_only = true, .constraints = {.airgap = true, .infer = !trains}};
    return fleet_choose(&context->session, &options, out_choice, out_exit, err);
}

static kit_status work(cli_context *context, job_run *r, const fleet_choice *choice, bool trains, int *out_exit,
                       kolm_error_t *err) {
    long here = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t threads = r->threads.set ? (uint32_t)r->threads.value : here > 0 ? (uint32_t)here : 1;
    KIT_TRY(runtime_check(&context->session, choice->backend->name, NULL, out_exit, err));
    const host_events events = {.user = r, .log = print_log, .progress = print_progress, .metric = print_metric};
    const fleet_call call = {.slot = trains ? HOST_SLOT_TRAIN : HOST_SLOT_INFER,
                             .airgap = SESSION_AIRGAP_ADVISORY,
                             .threads = threads,
                             .job_dir = r->dir,
                             .input_fd = -1,
                             .output_fd = -1,
                             .events = &events};
    kit_status status = fleet_call_one(&context->session, choice->registry, choice->backend, &call, &r->result, err);
    if (status == KOLM_OK) return fleet_verdict(&r->result, trains ? "training" : "answering", out_exit, err);
    *out_exit = session_exit_of(status); /* there was no call, and so no verdict */
    return status;
}

/* What the backend would open: a pipe of that name would keep it waiting for ever. */
static kit_status check_rows(const char *dir, bool trains, kolm_error_t *err) {
    const char *name = trains ? "train.jsonl" : "eval.jsonl";
    char *path = NULL;
    struct stat info;
    KIT_TRY(kit_path_join(dir, name, &path, err));
    kit_status status = KOLM_OK;
    if (stat(path, &info) != 0)
        status = kit_fail_errno(err, errno, "cannot find %s", path);
    else if (!S_ISREG(info.st_mode))
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "put the rows there as a regular file",
                          "%s is not a regular file", path);
    free(path);
    return status;
}

/* What job.json names is what a backend may read: one that was there must not say it for those that come after it. */
static kit_status put_back(const char *path, const kit_buf *text, kolm_error_t *err) {
    kit_buf now = {0};
    struct stat info;
    bool same = lstat(path, &info) == 0 && S_ISREG(info.st_mode) &&
                kit_read_file(path, text->length, &now, NULL) == KOLM_OK && now.length == text->length &&
                (now.length == 0 || memcmp(now.data, text->data, now.length) == 0);
    kit_buf_free(&now);
    if (same) return KOLM_OK;
    KIT_TRY(kit_remove_tree(path, err));
    return kit_write_file(path, 0600, kit_buf_text(text), text->length, err);
}

static kit_status work_in_place(cli_context *context, job_run *r, const fleet_choice *choice, bool trains,
                                int *out_exit, kolm_error_t *err) {
    char *path = NULL;
    kit_buf text = {0};
    KIT_TRY(kit_path_join(r->dir, "job.json", &path, err));
    kit_status status = kit_read_file(path, JOB_TEXT_MAX, &text, err);
    if (status == KOLM_OK) {
        kolm_error_t why = KIT_ERROR_INIT;
        status = work(context, r, choice, trains, out_exit, err);
        if (put_back(path, &text, &why) != KOLM_OK && status == KOLM_OK) {
            *err = why;
            status = (kit_status)why.code;
            *out_exit = SESSION_EXIT_DATA;
        }
    }
    kit_buf_free(&text);
    free(path);
    return status;
}

static int run(cli_context *context, job_run *r, const char *directory) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_job *job = NULL;
    fleet_choice *choice = NULL;
    int exit_code = SESSION_EXIT_DATA;
    kit_status status =
        realpath(directory, r->dir) ? KOLM_OK : kit_fail_errno(&err, errno, "cannot find %s", directory);
    if (status == KOLM_OK) status = kit_job_read(r->dir, &job, &err);
    bool trains = status == KOLM_OK && strcmp(job->kind, "train") == 0;
    if (status == KOLM_OK) status = check_rows(r->dir, trains, &err);
    if (status == KOLM_OK) status = choose(context, r, trains, &choice, &exit_code, &err);
    if (status == KOLM_OK) status = work_in_place(context, r, choice, trains, &exit_code, &err);
    if (status == KOLM_OK && !r->lost) print_result(r, choice->backend);
    if (status == KOLM_OK && r->lost) {
        exit_code = SESSION_EXIT_INTERNAL;
        status = kit_fail(&err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                          "out of memory for an event of the job");
    }
    if (status == KOLM_OK) {
        exit_code = SESSION_EXIT_OK;
    } else {
        if (exit_code == SESSION_EXIT_OK) exit_code = session_exit_of(status); /* nobody had a better one */
        print_error(r, &err);
        context->json = false; /* the event was the report for programs */
        exit_code = cli_error(context, exit_code, &err);
    }
    fleet_choice_free(choice);
    kit_job_free(job);
    return exit_code;
}

static int job_run_verb(cli_context *context, int argc, char **argv) {
    job_run *r = calloc(1, sizeof *r);
    kolm_error_t err = KIT_ERROR_INIT;
    if (!r) {
        kit_status status =
            kit_fail(&err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit", "out of memory");
        return status == KOLM_OK ? SESSION_EXIT_OK : cli_error(context, SESSION_EXIT_INTERNAL, &err);
    }
    r->context = context;
    const cli_option options[] = {
        {"backend", 0, CLI_STRING, &r->backend, "NAME", "the backend of this machine; by default the best one"},
        {"threads", 0, CLI_U64, &r->threads, "N", "processors to use"},
    };
    const cli_syntax syntax = {.command = "kolm job run",
                               .words = "DIR",
                               .summary = "Trains, or answers, a job directory with a backend of this machine.",
                               .notes = "Prints the events of the job protocol, one JSON object a line. This is what a "
                                        "backend of one's own starts\n"
                                        "on the machines that it rents or queues for.",
                               .options = options,
                               .option_count = sizeof options / sizeof *options,
                               .min_words = 1,
                               .max_words = 1,
                               .words_out = argv};
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code < 0 && r->threads.set && (r->threads.value == 0 || r->threads.value > 1024))
        exit_code = cli_usage_error(context, "kolm job run", "--threads %llu is out of range: use 1 to 1024",
                                    (unsigned long long)r->threads.value);
    if (exit_code < 0) exit_code = run(context, r, argv[0]);
    free(r);
    return exit_code;
}

static const cli_command verbs[] = {{"run", "do a job directory on this machine", job_run_verb}};

int cli_cmd_job(cli_context *context, int argc, char **argv) {
    return cli_group_of(context, "kolm job",
                        "job directories, as backends get them (job-protocol.md of the documentation).", verbs,
                        sizeof verbs / sizeof *verbs, argc, argv);
}
