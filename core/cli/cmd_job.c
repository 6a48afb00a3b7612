/* SPDX-License-Identifier: Apache-2.0 */
/* kolm job: runs a job directory with a local backend, and prints the events of the job protocol. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "fleet/job_here.h"
#include "kolm/kit/events.h"

#include <stdlib.h>

typedef struct job_run {
    cli_context *context;
    fleet_job_done done;
    bool lost; /* an event was lost: out of memory */
} job_run;

/* ---- Events, on standard output. If memory runs out for one, it is left out and the job fails. */

/* Takes ownership of line. */
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

static void print_result(job_run *r) {
    const host_result *result = &r->done.result;
    kit_buf line = {0};
    kit_event_result(&line, r->done.backend, *result->train.device ? result->train.device : result->infer.device,
                     result->train.toolchain);
    print_event(r, &line);
}

static int run(cli_context *context, job_run *r, const fleet_job_request *request) {
    const host_events events = {.user = r, .log = print_log, .progress = print_progress, .metric = print_metric};
    kolm_error_t err = KIT_ERROR_INIT;
    session_reason reason = SESSION_REASON_NONE;
    kit_status status = fleet_job_here(&context->session, request, &events, &r->done, &reason, &err);
    if (status == KOLM_OK && !r->lost) print_result(r);
    if (status == KOLM_OK && r->lost) {
        reason = SESSION_REASON_INTERNAL;
        status = kit_fail(&err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                          "out of memory for an event of the job");
    }
    if (status == KOLM_OK) return CLI_EXIT_OK;
    print_error(r, &err);
    context->json = false; /* the event is the report for programs */
    return cli_fail(context, reason, &err);
}

static int job_run_verb(cli_context *context, int argc, char **argv) {
    fleet_job_request request = {0};
    session_number threads = {0};
    job_run *r = calloc(1, sizeof *r);
    kolm_error_t err = KIT_ERROR_INIT;
    if (!r) {
        kit_status status = kit_no_memory(&err);
        return status == KOLM_OK ? CLI_EXIT_OK : cli_error(context, CLI_EXIT_INTERNAL, &err);
    }
    r->context = context;
    const cli_option options[] = {
        {"backend", 0, CLI_STRING, &request.backend, "NAME", "the backend of this machine; by default the best one"},
        {"threads", 0, CLI_U64, &threads, "N", "processors to use"},
    };
    const cli_syntax syntax = {
        .command = "kolm job run",
        .words = "DIR",
        .summary = "Runs the training or the inference of a job directory with a backend of this machine.",
        .notes = "Prints the events of the job protocol, one JSON object a line. A backend can start it on\nmachines "
                 "that it rents or queues for.",
        CLI_ROWS(options),
    };
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code < 0 && threads.set && (threads.value == 0 || threads.value > 1024))
        exit_code = cli_usage_error(context, "kolm job run", "--threads %llu is out of range: use 1 to 1024",
                                    (unsigned long long)threads.value);
    request.directory = argv[0];
    request.threads = (uint32_t)threads.value;
    if (exit_code < 0) exit_code = run(context, r, &request);
    free(r);
    return exit_code;
}

static const cli_command verbs[] = {{"run", "run a job directory on this machine", job_run_verb}};

int cli_cmd_job(cli_context *context, int argc, char **argv) {
    return cli_group_of(context, "kolm job",
                        "job directories, as backends get them (job-protocol.md of the documentation).", verbs,
                        sizeof verbs / sizeof *verbs, argc, argv);
}
