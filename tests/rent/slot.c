/* SPDX-License-Identifier: Apache-2.0 */
/* Calls one slot of a backend of rented machines as kolm-host does, and prints the records as lines:
 *   slot SCRATCH train|infer|test|status|prune|detect|refresh|cost [JOB] [KEY=VALUE of settings...]
 *   slot SCRATCH reclaim NAME HANDLE AGE [place=PLACE] [left=SECONDS] [KEY=VALUE...]
 * SIGTERM means that the user stops the call. reclaim ends an instance, or the kind that kind=KIND names. */
#include "kolm/backend.h"
#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t stopping;
static int64_t ends_ms = INT64_MAX; /* when the time of the slot ends */
static char **settings;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

/* Prints a line with one call, because threads of the backend log, too. */
static void line(const char *word, const char *a, const char *b) {
    (void)printf("%s %s%s%s\n", word, a, b[0] != '\0' ? " " : "", b);
    (void)fflush(stdout);
}

static void host_log(void *user, uint32_t level, const char *text) {
    static const char *const names[] = {"debug", "info", "warning", "error"};
    (void)user;
    if (level > KOLM_LOG_DEBUG) line("log", names[level < 4 ? level : 3], text);
}

static void host_progress(void *user, const kolm_progress_t *progress) {
    (void)user;
    line("phase", progress->phase, "");
}

static void host_metric(void *user, const char *name, double value) {
    (void)user, (void)value;
    line("metric", name, "");
}

static void host_device(void *user, const kolm_device_t *device) {
    (void)user, (void)device;
}

static void host_step(void *user, const kolm_test_step_t *step) {
    static const char *const outcomes[] = {"ok", "failed", "skipped"};
    char text[1300];
    (void)user;
    kit_format(text, sizeof text, "%s: %s", step->title, step->note);
    line("step", outcomes[step->outcome], text);
}

static int32_t host_cancelled(void *user) {
    (void)user;
    return stopping;
}

static int64_t host_time_left(void *user) {
    (void)user;
    return ends_ms < INT64_MAX ? ends_ms - kit_now_ms() : INT64_MAX;
}

static int32_t give(const char *value, char *buffer, uint64_t capacity, uint64_t *out_length) {
    if (out_length != NULL) *out_length = strlen(value);
    if (capacity <= strlen(value)) return KOLM_E_OUT_OF_RANGE;
    memcpy(buffer, value, strlen(value) + 1);
    return KOLM_OK;
}

static int32_t host_secret(void *user, const char *name, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user;
    const char *value = getenv(name);
    return value != NULL ? give(value, buffer, capacity, out_length) : KOLM_E_NOT_FOUND;
}

static int32_t host_setting(void *user, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length) {
    size_t length = strlen(key);
    (void)user;
    for (char **one = settings; *one != NULL; one++)
        if (strncmp(*one, key, length) == 0 && (*one)[length] == '=')
            return give(*one + length + 1, buffer, capacity, out_length);
    return KOLM_E_NOT_FOUND;
}

static void host_holding(void *user, const kolm_holding_t *holding) {
    static const char *const states[] = {"idle", "in-use", "removed"};
    char text[1000];
    (void)user;
    kit_format(text, sizeof text, "%s %s %llu %s", holding->kind, holding->name,
               (unsigned long long)holding->price_micro_usd_per_hour, holding->note);
    line("holding", states[holding->state], text);
}

static int32_t host_lease(void *user, const kolm_lease_t *lease, kolm_error_t *out_error) {
    static const char *const events[] = {"intent", "handle", "gone"};
    char text[900];
    (void)user, (void)out_error;
    kit_format(text, sizeof text, "%s %s %llu %s", lease->name,
               lease->event == KOLM_LEASE_INTENT   ? lease->kind
               : lease->event == KOLM_LEASE_HANDLE ? lease->handle
                                                   : "-",
               (unsigned long long)lease->billed_micro_usd, lease->place);
    line(events[lease->event], text, "");
    return KOLM_OK;
}

static int fail(const kolm_error_t *err, int32_t code) {
    char number[16];
    kit_format(number, sizeof number, "%d", (int)code);
    line("failed", number, err->text);
    line("remedy", err->remedy, "");
    return 1;
}

static int work(const kolm_host_v1_t *host, const char *slot, const char *job, kolm_error_t *err) {
    kolm_train_result_t trained = {.struct_size = sizeof trained};
    kolm_infer_result_t answered = {.struct_size = sizeof answered};
    char text[100];
    if (strcmp(slot, "train") == 0) {
        const kolm_train_args_t args = {.struct_size = sizeof args, .threads = 1, .job_dir = job};
        int32_t code = kolm_backend_v1.train(host, &args, &trained, err);
        if (code != KOLM_OK) return fail(err, code);
        kit_format(text, sizeof text, "%llu", (unsigned long long)trained.billed_micro_usd);
        line("trained", text, trained.device);
        return 0;
    }
    char input[4096], output[4096];
    kit_format(input, sizeof input, "%s/eval.jsonl", job);
    kit_format(output, sizeof output, "%s/predictions.jsonl", job);
    const kolm_infer_args_t args = {
        .struct_size = sizeof args, .threads = 1, .job_dir = job, .input_path = input, .output_path = output};
    int32_t code = kolm_backend_v1.infer(host, &args, &answered, err);
    if (code != KOLM_OK) return fail(err, code);
    kit_format(text, sizeof text, "%llu %llu", (unsigned long long)answered.answers,
               (unsigned long long)answered.billed_micro_usd);
    line("answered", text, answered.device);
    return 0;
}

static int look(const kolm_host_v1_t *host, const char *slot, kolm_error_t *err) {
    if (strcmp(slot, "test") == 0) {
        const kolm_test_args_t args = {.struct_size = sizeof args, .threads = 1, .allow_network = 1};
        kolm_test_result_t result = {.struct_size = sizeof result};
        int32_t code = kolm_backend_v1.test(host, &args, &result, err);
        if (code != KOLM_OK) return fail(err, code);
        line("tested", result.passed ? "passed" : "failed", result.summary);
    } else if (strcmp(slot, "status") == 0 || strcmp(slot, "prune") == 0) {
        const kolm_status_args_t args = {
            .struct_size = sizeof args, .allow_network = 1, .prune = strcmp(slot, "prune") == 0};
        kolm_status_result_t result = {.struct_size = sizeof result};
        int32_t code = kolm_backend_v1.status(host, &args, &result, err);
        if (code != KOLM_OK) return fail(err, code);
        line("summary", result.summary, "");
    } else {
        static const char *const states[] = {"available", "absent", "broken", "refused"};
        const kolm_detect_args_t args = {.struct_size = sizeof args, .allow_network = strcmp(slot, "refresh") == 0};
        kolm_detect_result_t result = {.struct_size = sizeof result};
        int32_t code = kolm_backend_v1.detect(host, &args, &result, err);
        if (code != KOLM_OK) return fail(err, code);
        line("detected", states[result.state], result.reason);
        line("remedy", result.remedy, "");
    }
    return 0;
}

static int reclaim(const kolm_host_v1_t *host, char **words, kolm_error_t *err) {
    static const char *const outcomes[] = {"running", "gone", "unknown"};
    char place[256], left[16];
    uint64_t seconds = 0;
    if (host_setting(NULL, "left", left, sizeof left, NULL) == KOLM_OK && kit_parse_u64(left, &seconds))
        ends_ms = kit_now_ms() + (int64_t)seconds * 1000;
    if (host_setting(NULL, "place", place, sizeof place, NULL) != KOLM_OK) place[0] = '\0';
    kolm_reclaim_args_t args = {.struct_size = sizeof args,
                                .allow_network = 1,
                                .name = words[0],
                                .handle = words[1],
                                .kind = "instance",
                                .place = place};
    kolm_reclaim_result_t result = {.struct_size = sizeof result};
    char kind[64];
    if (host_setting(NULL, "kind", kind, sizeof kind, NULL) == KOLM_OK) args.kind = kind;
    if (!kit_parse_u64(words[2], &args.age_seconds)) return 2;
    int32_t code = kolm_backend_v1.reclaim(host, &args, &result, err);
    if (code != KOLM_OK) return fail(err, code);
    line("reclaimed", outcomes[result.outcome], result.summary);
    return 0;
}

int main(int argc, char **argv) {
    kolm_error_t err = {.struct_size = sizeof err};
    if (argc < 3) return 2;
    const char *slot = argv[2];
    const kolm_host_v1_t host = {.struct_size = sizeof host,
                                 .abi_major = KOLM_ABI_MAJOR,
                                 .abi_minor = KOLM_ABI_MINOR,
                                 .features = KOLM_FEATURE_NETWORK | KOLM_FEATURE_MODEL_SLICES,
                                 .log = host_log,
                                 .progress = host_progress,
                                 .metric = host_metric,
                                 .device = host_device,
                                 .test_step = host_step,
                                 .cancelled = host_cancelled,
                                 .time_left_ms = host_time_left,
                                 .secret = host_secret,
                                 .setting = host_setting,
                                 .scratch_dir = argv[1],
                                 .holding = host_holding,
                                 .lease = host_lease};
    settings = argv + 3;
    (void)signal(SIGTERM, on_signal);
    (void)signal(SIGPIPE, SIG_IGN);
    if (strcmp(slot, "reclaim") == 0) return argc < 6 ? 2 : reclaim(&host, argv + 3, &err);
    if (strcmp(slot, "train") == 0 || strcmp(slot, "infer") == 0)
        return argc < 4 ? 2 : work(&host, slot, argv[3], &err);
    return look(&host, slot, &err);
}
