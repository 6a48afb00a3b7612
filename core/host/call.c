/* SPDX-License-Identifier: Apache-2.0 */
/* The public calls: one function per slot, and the two that call many backends at once. */
#include "host/call.h"
#include "host/run.h"

#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define LIGHT_TIMEOUT_MS 5000
#define GRACE_MS 10000

static const host_call_options no_options;

const char *host_verdict_name(host_verdict verdict) {
    static const char *const names[] = {"ok",        "failed",    "not implemented",        "could not load",
                                        "crashed",   "timed out", "exited without a reply", "interrupted",
                                        "no sandbox"};
    return (size_t)verdict < sizeof names / sizeof *names ? names[verdict] : "unknown";
}

void host_verdict_text(const host_result *result, char *out, size_t capacity) {
    if (result->verdict == HOST_OK)
        kit_copy(out, capacity, "ok");
    else
        kit_format(out, capacity, "%s: %s", host_verdict_name(result->verdict), result->error.text);
}

/* ---- Before anything is started: may this row be called with these options? If not, false, with the verdict. */
static bool may_call(const host_registry *registry, const host_backend *backend, const host_call_options *options,
                     host_result *result) {
    kolm_error_t *error = &result->error;
    if (backend->state != HOST_ROW_OK || !backend->granted) {
        result->verdict = HOST_NOT_LOADED;
        *error = backend->why;
        return false;
    }
    bool forced = options->audit && options->audit->any_airgap;
    bool own = options->private_only && backend->manifest->offer.airgap == PICK_AIRGAP_DEPENDS;
    if (options->airgap_strict && !forced && !own && backend->manifest->offer.airgap != PICK_AIRGAP_YES) {
        result->verdict = HOST_NOT_LOADED;
        (void)kit_fail(error, KOLM_E_PERMISSION_DENIED, "leave out --airgap, or choose a local backend",
                       "%s needs a network, but the airgap allows none: it is not loaded", backend->name);
        return false;
    }
    if (!registry->program) {
        result->verdict = HOST_NOT_LOADED;
        *error = registry->program_error;
        return false;
    }
    return true;
}

static void run_init(host_run *run, const host_backend *backend, const char *slot, const host_call_options *options,
                     host_result *result) {
    bool light = host_call_is_light(slot);
    *result = (host_result){.error = KIT_ERROR_INIT, .sandbox = {.requested = options->airgap_strict}};
    *run = (host_run){.backend = backend,
                      .options = options,
                      .slot = slot,
                      .lease_fd = light ? 0 : options->lease_fd,
                      .result = result,
                      .input_fd = -1,
                      .output_fd = -1,
                      .request_fd = -1,
                      .reply_fd = -1,
                      .log_fd = -1,
                      .exit_fd = -1};
    run->timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : light ? LIGHT_TIMEOUT_MS : 0;
    run->grace_ms = options->grace_ms > 0 ? options->grace_ms : light ? 0 : GRACE_MS;
}

/* Prepares the run, or sets its verdict. Takes ownership of args. */
static kit_status prepare(const host_registry *registry, host_run *run, cJSON *args, kolm_error_t *err) {
    run->args = args;
    if (!args) return kit_no_memory(err);
    if (!may_call(registry, run->backend, run->options, run->result)) return KOLM_OK;
    if (run->options->airgap_strict && run->options->network)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "a call cannot have the airgap and the network");
    KIT_TRY(host_run_ask(run, err));
    run->prepared = true;
    return KOLM_OK;
}

static kit_status call_one(const host_registry *registry, host_run *run, cJSON *args, kolm_error_t *err) {
    host_scratch scratch = HOST_SCRATCH_NONE;
    run->place = &scratch;
    run->registry = registry;
    run->trainer = registry->trainer;
    kit_status prepared = host_scratch_open(run->options, host_call_is_light(run->slot), &scratch, err);
    if (prepared == KOLM_OK)
        prepared = prepare(registry, run, args, err);
    else
        cJSON_Delete(args);
    if (prepared != KOLM_OK) run->prepared = false;
    kit_status status = host_run_all(registry->program, run, 1, err); /* also frees a run that was not prepared */
    host_scratch_end(&scratch);
    return prepared != KOLM_OK ? prepared : status;
}

/* ---- Arguments */
static cJSON *detect_args(const host_backend *backend, const void *unused) {
    (void)backend;
    (void)unused;
    return cJSON_CreateObject();
}

static cJSON *args_of(const host_record *record, const void *from) {
    cJSON *json = cJSON_CreateObject();
    if (host_record_add(json, record, from)) return json;
    cJSON_Delete(json);
    return NULL;
}

static uint32_t at_least_one(uint32_t threads) {
    return threads > 0 ? threads : 1;
}

static cJSON *cost_args(const host_backend *backend, const void *question) {
    const host_manifest *manifest = backend->manifest;
    kolm_cost_args_t args = *(const kolm_cost_args_t *)question;
    args.price_micro_usd_per_hour = manifest ? manifest->offer.price_micro_usd_per_hour : PICK_UNPRICED;
    args.cold_start_seconds = manifest ? manifest->offer.cold_start_seconds : 0;
    args.threads = at_least_one(args.threads);
    return args_of(&host_record_cost_args, &args);
}

static kit_status check_job(const char *job_dir, kolm_error_t *err) {
    if (job_dir[0] == '/' && kit_utf8_valid(job_dir, strlen(job_dir)) == strlen(job_dir)) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use another path",
                    "the job directory %s is not an absolute path in UTF-8", job_dir);
}

/* ---- One */
kit_status host_detect(const host_registry *registry, const host_backend *backend, const host_call_options *options,
                       host_result *out_result, kolm_error_t *err) {
    host_run run;
    run_init(&run, backend, HOST_CALL_DETECT, options ? options : &no_options, out_result);
    return call_one(registry, &run, detect_args(backend, NULL), err);
}

kit_status host_cost(const host_registry *registry, const host_backend *backend, const kolm_cost_args_t *args,
                     const host_call_options *options, host_result *out_result, kolm_error_t *err) {
    host_run run;
    run_init(&run, backend, HOST_CALL_COST, options ? options : &no_options, out_result);
    return call_one(registry, &run, cost_args(backend, args), err);
}

kit_status host_train(const host_registry *registry, const host_backend *backend, const char *job_dir, uint32_t threads,
                      const host_call_options *options, host_result *out_result, kolm_error_t *err) {
    host_run run;
    run_init(&run, backend, HOST_CALL_TRAIN, options ? options : &no_options, out_result);
    KIT_TRY(check_job(job_dir, err));
    run.job_dir = job_dir;
    const kolm_train_args_t args = {.threads = at_least_one(threads), .job_dir = job_dir};
    return call_one(registry, &run, args_of(&host_record_train_args, &args), err);
}

#if defined(__linux__)
#define FD_DIR "/proc/self/fd"
#else
#define FD_DIR "/dev/fd"
#endif

kit_status host_infer(const host_registry *registry, const host_backend *backend, const char *job_dir, uint32_t threads,
                      int input_fd, int output_fd, const host_call_options *options, host_result *out_result,
                      kolm_error_t *err) {
    host_run run;
    char *input = NULL, *output = NULL;
    run_init(&run, backend, HOST_CALL_INFER, options ? options : &no_options, out_result);
    KIT_TRY(check_job(job_dir, err));
    char number[8];
    kit_format(number, sizeof number, "%d", HOST_FD_INPUT);
    kit_status status =
        input_fd >= 0 ? kit_path_join(FD_DIR, number, &input, err) : kit_path_join(job_dir, "eval.jsonl", &input, err);
    kit_format(number, sizeof number, "%d", HOST_FD_OUTPUT);
    if (status == KOLM_OK)
        status = output_fd >= 0 ? kit_path_join(FD_DIR, number, &output, err)
                                : kit_path_join(job_dir, "predictions.jsonl", &output, err);
    run.input_fd = input_fd;
    run.output_fd = output_fd;
    run.model_fd = run.options->model_fd;
    run.job_dir = job_dir;
    const kolm_infer_args_t args = {
        .threads = at_least_one(threads), .job_dir = job_dir, .input_path = input, .output_path = output};
    if (status == KOLM_OK) status = call_one(registry, &run, args_of(&host_record_infer_args, &args), err);
    free(input);
    free(output);
    return status;
}

kit_status host_test(const host_registry *registry, const host_backend *backend, uint32_t threads,
                     const host_call_options *options, host_result *out_result, kolm_error_t *err) {
    host_run run;
    run_init(&run, backend, HOST_CALL_TEST, options ? options : &no_options, out_result);
    const kolm_test_args_t args = {.threads = at_least_one(threads)};
    return call_one(registry, &run, args_of(&host_record_test_args, &args), err);
}

kit_status host_status(const host_registry *registry, const host_backend *backend, bool prune, uint64_t older_seconds,
                       const host_call_options *options, host_result *out_result, kolm_error_t *err) {
    host_run run;
    run_init(&run, backend, HOST_CALL_STATUS, options ? options : &no_options, out_result);
    const kolm_status_args_t args = {.prune = prune ? 1 : 0, .older_seconds = older_seconds};
    return call_one(registry, &run, args_of(&host_record_status_args, &args), err);
}

kit_status host_reclaim(const host_registry *registry, const host_backend *backend, const kolm_reclaim_args_t *args,
                        const host_call_options *options, host_result *out_result, kolm_error_t *err) {
    host_run run;
    run_init(&run, backend, HOST_CALL_RECLAIM, options ? options : &no_options, out_result);
    return call_one(registry, &run, args_of(&host_record_reclaim_args, args), err);
}

/* ---- All */

/* Runs what run_init has prepared, in parallel. Takes ownership of args[i]. */
static kit_status call_runs(const host_registry *registry, host_run *runs, cJSON **args, size_t count,
                            const host_call_options *options, const char *slot, kolm_error_t *err) {
    host_scratch scratch = HOST_SCRATCH_NONE;
    /* Without it no backend can be called, which is not the fault of a backend. */
    kit_status status = host_scratch_open(options, host_call_is_light(slot), &scratch, err);
    for (size_t i = 0; i < count; i++) {
        runs[i].several = true;
        runs[i].place = &scratch;
        runs[i].registry = registry;
        runs[i].trainer = registry->trainer;
        if (status != KOLM_OK) {
            cJSON_Delete(args[i]);
            continue;
        }
        /* An error of one (a token that is not text) is the verdict of that one only. */
        kolm_error_t why = KIT_ERROR_INIT;
        kit_status one = prepare(registry, &runs[i], args[i], &why);
        if (one == KOLM_OK) continue;
        if (one == KOLM_E_RESOURCE_EXHAUSTED) status = kit_no_memory(err);
        runs[i].result->verdict = HOST_NOT_LOADED;
        runs[i].result->own_fault = one == KOLM_E_UNKNOWN; /* such as a disk error */
        runs[i].result->error = why;
    }
    for (size_t i = 0; status != KOLM_OK && i < count; i++)
        runs[i].prepared = false;
    kit_status ran = host_run_all(registry->program, runs, count, status == KOLM_OK ? err : NULL);
    host_scratch_end(&scratch);
    return status != KOLM_OK ? status : ran;
}

/* Allocates that many; false, with nothing to free, if out of memory. */
static bool make_runs(size_t count, host_run **out_runs, cJSON ***out_args) {
    *out_runs = calloc(count > 0 ? count : 1, sizeof **out_runs);
    *out_args = calloc(count > 0 ? count : 1, sizeof **out_args);
    if (*out_runs && *out_args) return true;
    free(*out_runs);
    free(*out_args);
    return false;
}

static kit_status call_all(const host_registry *registry, const host_backend *const *rows, size_t count,
                           const char *slot, cJSON *(*args_for)(const host_backend *, const void *),
                           const void *question, const host_call_options *options, host_result *out_results,
                           kolm_error_t *err) {
    host_run *runs;
    cJSON **args;
    if (!make_runs(count, &runs, &args)) return kit_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        run_init(&runs[i], rows[i], slot, options, &out_results[i]);
        args[i] = args_for(rows[i], question);
    }
    kit_status status = call_runs(registry, runs, args, count, options, slot, err);
    free(runs);
    free(args);
    return status;
}

kit_status host_reclaim_all(const host_registry *registry, host_reclaim_item *items, size_t count,
                            const host_call_options *options, kolm_error_t *err) {
    host_run *runs;
    cJSON **args;
    if (!make_runs(count, &runs, &args)) return kit_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        run_init(&runs[i], items[i].row, HOST_CALL_RECLAIM, options ? options : &no_options, &items[i].result);
        runs[i].lease_fd = items[i].lease_fd;
        args[i] = args_of(&host_record_reclaim_args, &items[i].args);
    }
    kit_status status = call_runs(registry, runs, args, count, options ? options : &no_options, HOST_CALL_RECLAIM, err);
    free(runs);
    free(args);
    return status;
}

kit_status host_detect_all(const host_registry *registry, const host_backend *const *rows, size_t count,
                           const host_call_options *options, host_result *out_results, kolm_error_t *err) {
    return call_all(registry, rows, count, HOST_CALL_DETECT, detect_args, NULL, options ? options : &no_options,
                    out_results, err);
}

kit_status host_cost_all(const host_registry *registry, const host_backend *const *rows, size_t count,
                         const kolm_cost_args_t *args, const host_call_options *options, host_result *out_results,
                         kolm_error_t *err) {
    return call_all(registry, rows, count, HOST_CALL_COST, cost_args, args, options ? options : &no_options,
                    out_results, err);
}
