/* SPDX-License-Identifier: Apache-2.0 */
/* Parses the reply of kolm-host, line by line, and determines the verdict of a call. */
#include "host/protocol.h"
#include "host/run.h"

#include "kolm/kit/text.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define OFFER_USD_MOST 1e6 /* an hour; more is a mistake */
#define COPY_TEXT(array, text) ((void)kit_copy(array, sizeof(array), text))

/* ---- Events */
static void deliver_log(const host_run *run, uint32_t level, const char *text) {
    const host_events *events = run->options->events;
    if (!events || !events->log) return;
    kit_buf line = {0};
    kit_buf_str(&line, text);
    host_run_hide(run, &line);
    events->log(events->user, run->backend->name, level, kit_buf_text(&line));
    kit_buf_free(&line);
}

/* "report it to ACME, https://...". */
static void report_to(const host_result *result, char out[256]) {
    if (result->vendor[0])
        kit_format(out, 256, "report it to %s%s%s", result->vendor, result->homepage[0] ? ", " : "", result->homepage);
    else
        kit_copy(out, 256, "report it to its author");
}

static void on_log(const host_run *run, const cJSON *json) {
    host_log line;
    (void)host_read_log(json, &line);
    deliver_log(run, line.level, line.text);
}

static void on_progress(const host_run *run, const cJSON *json) {
    const host_events *events = run->options->events;
    kolm_progress_t progress = {.struct_size = (uint32_t)sizeof progress};
    if (!events || !events->progress || run->several) return;
    (void)host_read_progress(json, &progress);
    events->progress(events->user, &progress);
}

static void on_step(const host_run *run, const cJSON *json) {
    const host_events *events = run->options->events;
    kolm_test_step_t step = {.struct_size = (uint32_t)sizeof step};
    if (!events || !events->test_step || run->several) return;
    (void)host_read_step(json, &step);
    events->test_step(events->user, &step);
}

static void on_holding(const host_run *run, const cJSON *json) {
    const host_events *events = run->options->events;
    kolm_holding_t holding = {.struct_size = (uint32_t)sizeof holding};
    if (!events || !events->holding || run->several) return;
    (void)host_read_holding(json, &holding);
    events->holding(events->user, &holding);
}

/* Converts dollars; 0 if it is not a valid price. */
static uint64_t micro_of(double usd) {
    return usd > 0 && usd < OFFER_USD_MOST ? (uint64_t)(usd * 1e6 + 0.5) : 0;
}

static void on_metric(const host_run *run, const cJSON *json) {
    const host_events *events = run->options->events;
    host_metric metric;
    if (!host_read_metric(json, &metric)) return;
    if (strcmp(metric.name, KOLM_METRIC_OFFER_HOURLY) == 0)
        run->result->offer_micro_usd_per_hour = micro_of(metric.value);
    if (strcmp(metric.name, KOLM_METRIC_OFFER_ONCE) == 0) run->result->offer_micro_usd_once = micro_of(metric.value);
    if (!events || !events->metric || run->several) return;
    events->metric(events->user, metric.name, metric.value);
}

/* A fault of the author that users cannot fix: reported to checks, and in verbose mode. */
static void on_undeclared(const host_run *run, const cJSON *json) {
    const host_events *events = run->options->events;
    host_undeclared setting;
    char text[160];
    (void)host_read_undeclared(json, &setting);
    if (events && events->undeclared) {
        events->undeclared(events->user, setting.key);
        return;
    }
    kit_format(text, sizeof text, "it asks for the setting \"%s\", which its manifest does not declare", setting.key);
    deliver_log(run, KOLM_LOG_INFO, text);
}

static void on_breach(const host_run *run, const cJSON *json) {
    const host_events *events = run->options->events;
    host_breach_line said;
    char maker[256];
    (void)host_read_breach(json, &said);
    host_breach breach = {.slot = run->slot, .mild = said.mild, .text = said.text, .remedy = said.remedy};
    breach.kind = said.kind < HOST_BREACH_KINDS ? (host_breach_kind)said.kind : HOST_BREACH_RECORD;
    if (events && events->breach) {
        events->breach(events->user, &breach);
        return;
    }
    kit_buf line = {0};
    report_to(run->result, maker);
    kit_buf_fmt(&line, "%s; %s", breach.text, maker);
    deliver_log(run, breach.mild ? KOLM_LOG_INFO : KOLM_LOG_WARNING, kit_buf_text(&line));
    kit_buf_free(&line);
}

static void on_device(host_result *result, const cJSON *json) {
    kolm_device_t from;
    if (result->device_count >= HOST_DEVICES_MAX) return;
    (void)host_read_device(json, &from);
    host_device *device = &result->devices[result->device_count++];
    device->memory_kind = from.memory_kind;
    device->total_memory_bytes = from.total_memory_bytes;
    device->free_memory_bytes = from.free_memory_bytes;
    device->index = from.index;
    device->units = from.units;
    COPY_TEXT(device->name, from.name);
    COPY_TEXT(device->id, from.id);
    COPY_TEXT(device->driver, from.driver);
    COPY_TEXT(device->runtime, from.runtime);
}

static void on_withheld(host_result *result, const cJSON *json) {
    host_withheld secret;
    (void)host_read_withheld(json, &secret);
    if (!result->withheld[0]) COPY_TEXT(result->withheld, secret.name);
}

static void on_sandbox(host_sandbox *sandbox, const cJSON *json) {
    host_sandbox_line from;
    (void)host_read_sandbox(json, &from);
    COPY_TEXT(sandbox->profile, from.profile);
    COPY_TEXT(sandbox->kernel, from.kernel);
    sandbox->probes_run = from.probes_run;
    sandbox->probes_reached = from.probes_reached;
    const cJSON *one;
    cJSON_ArrayForEach(one, kit_json_get(json, HOST_KEY_MECHANISMS)) {
        if (!cJSON_IsString(one)) continue;
        if (strncmp(one->valuestring, "landlock_", 9) == 0) sandbox->fenced = true;
        if (sandbox->mechanism_count < HOST_MECHANISMS_MAX)
            kit_copy(sandbox->mechanisms[sandbox->mechanism_count++], sizeof *sandbox->mechanisms, one->valuestring);
    }
    cJSON_ArrayForEach(one, kit_json_get(json, HOST_KEY_LACKS)) {
        if (cJSON_IsString(one) && sandbox->lack_count < HOST_LACKS_MAX)
            kit_copy(sandbox->lacks[sandbox->lack_count++], sizeof *sandbox->lacks, one->valuestring);
    }
    bool held = sandbox->probes_run > 0 && sandbox->probes_reached == 0;
    sandbox->fenced = sandbox->fenced && held;
    sandbox->enforced = sandbox->requested && sandbox->fenced && held;
}

static void on_loaded(host_result *result, const cJSON *json) {
    host_loaded from;
    (void)host_read_loaded(json, &from);
    result->loaded = true;
    result->slots = from.slots;
    result->abi_minor = from.abi_minor;
    result->features = from.features;
    COPY_TEXT(result->version, from.version);
    COPY_TEXT(result->vendor, from.vendor);
    COPY_TEXT(result->licence, from.licence);
    COPY_TEXT(result->homepage, from.homepage);
}

static void take_result(host_run *run, const cJSON *json) {
    host_result *result = run->result;
    if (strcmp(run->slot, HOST_CALL_DETECT) == 0) {
        result->detect.struct_size = (uint32_t)sizeof result->detect;
        (void)host_read_detect_result(json, &result->detect);
        result->no_reason = result->detect.reason[0] == '\0';
        if (result->no_reason)
            kit_copy(result->detect.reason, sizeof result->detect.reason, "the backend gave no reason");
    } else if (strcmp(run->slot, HOST_CALL_COST) == 0) {
        result->cost.struct_size = (uint32_t)sizeof result->cost;
        (void)host_read_cost_result(json, &result->cost);
    } else if (strcmp(run->slot, HOST_CALL_TRAIN) == 0) {
        result->train.struct_size = (uint32_t)sizeof result->train;
        (void)host_read_train_result(json, &result->train);
    } else if (strcmp(run->slot, HOST_CALL_INFER) == 0) {
        result->infer.struct_size = (uint32_t)sizeof result->infer;
        (void)host_read_infer_result(json, &result->infer);
    } else if (strcmp(run->slot, HOST_CALL_STATUS) == 0) {
        result->status.struct_size = (uint32_t)sizeof result->status;
        (void)host_read_status_result(json, &result->status);
    } else if (strcmp(run->slot, HOST_CALL_RECLAIM) == 0) {
        result->reclaim.struct_size = (uint32_t)sizeof result->reclaim;
        (void)host_read_reclaim_result(json, &result->reclaim);
    } else {
        result->test.struct_size = (uint32_t)sizeof result->test;
        (void)host_read_test_result(json, &result->test);
        result->test.passed = result->test.passed == 1;
    }
}

static bool on_done(host_run *run, const cJSON *json) {
    host_result *result = run->result;
    host_done done;
    (void)host_read_done(json, &done);
    bool loaded = run->stage == HOST_STAGE_LOADED;
    /* A fence that holds is not a reason to refuse loading; such a line can only come from the plugin. */
    bool unfenced = run->options->airgap_strict || !result->sandbox.fenced;
    bool fits = loaded ? done.verdict == HOST_OK || done.verdict == HOST_FAILED || done.verdict == HOST_UNIMPLEMENTED
                       : done.verdict == HOST_SANDBOX && unfenced;
    if (!fits && done.verdict != HOST_NOT_LOADED) return false;
    /* It always reports what went wrong. */
    if (done.verdict != HOST_OK && done.text[0] == '\0') return false;
    run->stage = HOST_STAGE_DONE;
    result->verdict = (host_verdict)done.verdict;
    result->peak_memory_bytes = done.peak_memory_bytes;
    result->left.descriptors = done.left_descriptors;
    result->left.threads = done.left_threads;
    result->left.bytes_per_round = done.bytes_per_round;
    if (done.verdict == HOST_OK) {
        take_result(run, json);
        return true;
    }
    result->error.code = (int32_t)done.code;
    COPY_TEXT(result->error.text, done.text);
    COPY_TEXT(result->error.remedy, done.remedy);
    host_run_hide_array(run, result->error.text, sizeof result->error.text);
    host_run_hide_array(run, result->error.remedy, sizeof result->error.remedy);
    run->mute = done.mute;
    return true;
}

/* Events that a slot sends while it runs. */
static bool on_work(host_run *run, host_event event, const cJSON *json) {
    switch (event) {
    case HOST_EVENT_LOG:
        on_log(run, json);
        return true;
    case HOST_EVENT_PROGRESS:
        on_progress(run, json);
        return true;
    case HOST_EVENT_METRIC:
        on_metric(run, json);
        return true;
    case HOST_EVENT_DEVICE:
        on_device(run->result, json);
        return true;
    case HOST_EVENT_BREACH:
        on_breach(run, json);
        return true;
    case HOST_EVENT_UNDECLARED:
        on_undeclared(run, json);
        return true;
    case HOST_EVENT_WITHHELD:
        on_withheld(run->result, json);
        return true;
    case HOST_EVENT_STEP:
        on_step(run, json);
        return true;
    case HOST_EVENT_HOLDING:
        on_holding(run, json);
        return true;
    case HOST_EVENT_SANDBOX:
    case HOST_EVENT_LOADED:
    case HOST_EVENT_DONE:
    case HOST_EVENT_COUNT:
        break;
    }
    return false;
}

/* Replaces secrets in a text of a line by [NAME]; numbers are sent as texts, too, and left unchanged. */
/* False if out of memory, which is not the plugin's fault. */
static bool hide_secrets(host_run *run, cJSON *text) {
    uint64_t number;
    kit_buf shown = {0};
    if (kit_parse_u64(text->valuestring, &number)) return true;
    kit_buf_str(&shown, text->valuestring);
    host_run_hide(run, &shown);
    bool good = kit_buf_ok(&shown, NULL) == KOLM_OK && (strcmp(kit_buf_text(&shown), text->valuestring) == 0 ||
                                                        cJSON_SetValuestring(text, kit_buf_text(&shown)) != NULL);
    kit_buf_free(&shown);
    if (!good) run->own_errno = ENOMEM;
    return good;
}

/* False if a text of the line has unescaped control characters. kolm-host escapes all texts, so such a line was
 * forged. */
static bool take_texts(host_run *run, cJSON *json) {
    bool good = true;
    cJSON *one;
    cJSON_ArrayForEach(one, json) {
        const bool is_event = one->string && strcmp(one->string, HOST_KEY_EVENT) == 0; /* kolm-host's own report */
        if (cJSON_IsString(one))
            good = good && kit_text_is_plain(one->valuestring, strlen(one->valuestring)) &&
                   (is_event || hide_secrets(run, one));
        if (one->child) good = good && take_texts(run, one);
    }
    return good;
}

/* Accepts each step once, and only in kolm-host's order: anything else was written by the plugin. The first line is the
 * report of the fence, which kolm-host writes before it loads anything. */
bool host_run_answer(host_run *run, const char *line, size_t length) {
    cJSON *json = NULL;
    kit_status status = kit_json_parse(line, length, &json, NULL);
    if (status == KOLM_E_RESOURCE_EXHAUSTED) run->own_errno = ENOMEM;
    if (status != KOLM_OK) return false;
    const char *name = "";
    (void)kit_json_get_string(json, HOST_KEY_EVENT, &name);
    const host_event event = host_event_of(name);
    bool known = false;
    if (!take_texts(run, json)) {
        known = false;
    } else if (event == HOST_EVENT_SANDBOX) {
        known = run->stage == HOST_STAGE_BEGUN;
        if (known) on_sandbox(&run->result->sandbox, json);
        if (known) run->stage = HOST_STAGE_FENCED;
    } else if (event == HOST_EVENT_LOADED) {
        known = run->stage == HOST_STAGE_FENCED;
        if (known) on_loaded(run->result, json);
        if (known) run->stage = HOST_STAGE_LOADED;
    } else if (event == HOST_EVENT_DONE) {
        known = run->stage != HOST_STAGE_DONE && on_done(run, json);
    } else {
        known = run->stage == HOST_STAGE_LOADED && on_work(run, event, json);
    }
    cJSON_Delete(json);
    return known;
}

void host_run_report_fate(const host_run *run) {
    const host_result *result = run->result;
    const char *path = run->backend->plugin_path;
    kit_buf text = {0};
    bool gone = result->plugin_fate == HOST_PLUGIN_REMOVED;
    kit_buf_fmt(&text, "%s was %s; this command continues with what it read before (sha256 %.16s...), the next one %s",
                path, gone ? "removed" : "replaced", result->plugin_sha256,
                gone ? "will not find it there" : "takes what is there now");
    if (kit_buf_ok(&text, NULL) == KOLM_OK) deliver_log(run, KOLM_LOG_WARNING, kit_buf_text(&text));
    kit_buf_free(&text);
}

void host_run_printed(host_run *run, const char *text, size_t length) {
    kit_buf shown = {0};
    while (length > 0 && (text[length - 1] == '\r' || text[length - 1] == '\n'))
        length--;
    kit_buf_escaped(&shown, text, length);
    const host_events *events = run->options->events;
    if (length > 0 && kit_buf_ok(&shown, NULL) == KOLM_OK) {
        host_run_hide(run, &shown);
        host_tail_add(&run->tail, kit_buf_text(&shown));
        if (events && events->printed)
            events->printed(events->user, kit_buf_text(&shown));
        else
            deliver_log(run, KOLM_LOG_INFO, kit_buf_text(&shown));
    }
    kit_buf_free(&shown);
}

/* ---- The verdict */
static const char *signal_words(int number) {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 32))
    const char *words = sigdescr_np(number);
    return words ? words : "unknown";
#else
    return strsignal(number);
#endif
}

/* The signals between SIGRTMIN and SIGRTMAX have numbers but no names. */
static void signal_shown(int number, char *out, size_t capacity) {
    if (number >= SIGRTMIN && number <= SIGRTMAX)
        kit_format(out, capacity, "SIGRTMIN+%d", number - SIGRTMIN);
    else
        kit_copy(out, capacity, signal_words(number));
}

static void conclude_crash(host_run *run, const char *where) {
    host_result *result = run->result;
    char maker[256], remedy[512], shown[64];
    result->verdict = HOST_CRASHED;
    result->signal_number = run->life.status;
    if (run->life.status == SIGSYS && result->sandbox.requested) {
        (void)kit_fail(&result->error, KOLM_E_PERMISSION_DENIED, "use a backend that works without it",
                       "%s was ended by the airgap %s: it made a system call of another architecture",
                       run->backend->name, where);
        return;
    }
    report_to(result, maker);
    signal_shown(run->life.status, shown, sizeof shown);
    kit_format(remedy, sizeof remedy, "%s; --exclude %s leaves it out", result->loaded ? maker : "install it again",
               run->backend->name);
    if (run->life.status == SIGALRM)
        (void)kit_fail(&result->error, KOLM_E_INTERNAL, remedy,
                       "%s was ended %s by a timer that it set itself (alarm, setitimer), signal %d",
                       run->backend->name, where, SIGALRM);
    else if (run->life.status == SIGXCPU && run->cpu_limit > 0)
        (void)kit_fail(&result->error, KOLM_E_RESOURCE_EXHAUSTED, remedy,
                       "%s was ended %s: it used %llu seconds of processor time, which is the limit of %s",
                       run->backend->name, where, (unsigned long long)run->cpu_limit, run->slot);
    else
        (void)kit_fail(&result->error, KOLM_E_INTERNAL, remedy, "%s crashed %s: signal %d (%s)", run->backend->name,
                       where, result->signal_number, shown);
    host_tail_quote(&run->tail, &result->error);
}

static void conclude_silence(host_run *run) {
    host_result *result = run->result;
    char where[40], maker[256], remedy[512];
    if (result->loaded)
        kit_format(where, sizeof where, "in %s", run->slot);
    else
        kit_copy(where, sizeof where, "while it was being loaded");
    report_to(result, maker);
    if (run->life.stop == KIT_CHILD_CANCELLED) {
        result->verdict = HOST_CANCELLED;
        result->stopped = true;
        (void)kit_fail(&result->error, KOLM_E_CANCELLED, "", "%s was stopped", run->backend->name);
        return;
    }
    if (run->own_errno != 0) {
        /* None of this is the plugin's fault. */
        result->verdict = HOST_FAILED;
        result->own_fault = true;
        (void)kit_fail_errno(&result->error, run->own_errno, "kolm lost the connection to %s", run->backend->name);
        return;
    }
    if (run->life.stop == KIT_CHILD_DEADLINE) {
        result->verdict = HOST_TIMED_OUT;
        bool detect = strcmp(run->slot, HOST_CALL_DETECT) == 0;
        kit_format(remedy, sizeof remedy, "%s; if it always hangs, %s",
                   detect ? "`kolm compute detect --timeout SECONDS` gives it more time" : "try again with more time",
                   maker);
        (void)kit_fail(&result->error, KOLM_E_DEADLINE_EXCEEDED, remedy, "%s did not respond within %lld ms %s",
                       run->backend->name, (long long)run->timeout_ms, where);
    } else if (run->garbled) {
        result->verdict = HOST_NO_REPLY;
        (void)kit_fail(&result->error, KOLM_E_INTERNAL, maker, "%s wrote over its own reply %s", run->backend->name,
                       where);
    } else if (run->life.code == CLD_KILLED || run->life.code == CLD_DUMPED) {
        conclude_crash(run, where);
        return;
    } else {
        result->verdict = HOST_NO_REPLY;
        result->exit_code = run->life.status;
        (void)kit_fail(&result->error, KOLM_E_INTERNAL, maker, "%s exited %s without an answer (exit status %d)",
                       run->backend->name, where, result->exit_code);
    }
    host_tail_quote(&run->tail, &result->error);
}

/* An error of the slot without a text: quote its output, and refer to its vendor. */
static void conclude_mute(host_run *run) {
    host_result *result = run->result;
    char maker[256];
    result->no_reason = true;
    report_to(result, maker);
    (void)kit_fail_context(&result->error, "%s", run->backend->name);
    if (result->error.remedy[0] == '\0') kit_copy(result->error.remedy, sizeof result->error.remedy, maker);
    host_tail_quote(&run->tail, &result->error);
}

/* It is unknown which of these lines were forged. */
static void forget_results(host_result *result) {
    result->device_count = 0;
    result->peak_memory_bytes = 0;
    result->left = (host_left){0};
    result->detect = (kolm_detect_result_t){0};
    result->cost = (kolm_cost_result_t){0};
    result->train = (kolm_train_result_t){0};
    result->infer = (kolm_infer_result_t){0};
    result->test = (kolm_test_result_t){0};
    result->status = (kolm_status_result_t){0};
    result->reclaim = (kolm_reclaim_result_t){.outcome = KOLM_RECLAIM_UNKNOWN};
}

/* To a backend a file denied by the fence looks like any file without permission. */
static void hint_fence(host_run *run) {
    kolm_error_t *error = &run->result->error;
    char hint[160];
    size_t used = strlen(error->remedy);
    /* EROFS: in train and the like, everything not writable is mounted read-only. */
    if (!run->result->sandbox.fenced ||
        (!strstr(error->text, strerror(EACCES)) && !strstr(error->text, strerror(EROFS))))
        return;
    kit_format(hint, sizeof hint,
               "%sto let the backend use that file, set backends.%s." HOST_FENCE_KEY " in config.json",
               used > 0 ? "; " : "", run->backend->name);
    if (used + strlen(hint) < sizeof error->remedy) kit_copy(error->remedy + used, sizeof error->remedy - used, hint);
}

/* cancelled() returns 1 after any SIGTERM, whoever sent it. Do not let the error suggest that the user did. */
static void hint_who_stopped(const host_run *run) {
    const host_call_options *options = run->options;
    kolm_error_t *error = &run->result->error;
    kit_buf text = {0};
    if (error->code != KOLM_E_CANCELLED || run->life.stop != KIT_CHILD_GOES_ON) return;
    if ((options->cancel && *options->cancel) || (options->cancel_too && *options->cancel_too)) return;
    kit_buf_fmt(&text, "%s; not by kolm: it was sent SIGTERM, or cancelled itself", error->text);
    if (kit_buf_ok(&text, NULL) == KOLM_OK) kit_copy(error->text, sizeof error->text, kit_buf_text(&text));
    kit_buf_free(&text);
}

static void conclude(host_run *run) {
    host_result *result = run->result;
    if (run->log.length > 0) { /* an unterminated last line */
        host_run_printed(run, run->log.data, run->log.length);
        kit_buf_clear(&run->log);
    }
    if (run->garbled) forget_results(result);
    if (run->stage != HOST_STAGE_DONE || run->garbled) {
        conclude_silence(run);
        return;
    }
    if (result->verdict == HOST_FAILED && run->mute) conclude_mute(run);
    if (result->verdict == HOST_FAILED) {
        hint_fence(run);
        hint_who_stopped(run);
    }
    /* Being stopped is not a failure of the backend. */
    if (result->verdict == HOST_FAILED && run->life.stop == KIT_CHILD_CANCELLED) result->verdict = HOST_CANCELLED;
    if (result->verdict == HOST_FAILED && run->life.stop == KIT_CHILD_DEADLINE) result->verdict = HOST_TIMED_OUT;
}

void host_run_conclude(host_run *run) {
    kolm_error_t *error = &run->result->error;
    conclude(run);
    host_run_hide_scratch(run, error->text, sizeof error->text);
    host_run_hide_scratch(run, error->remedy, sizeof error->remedy);
}
