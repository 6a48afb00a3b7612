/* SPDX-License-Identifier: Apache-2.0 */
/* A good backend (the SDK's template) that breaks kolm/backend.h in one way, selected by its name. Tests overwrite the
 * name below in a copy of the built file. */
#define kolm_backend_v1 template_v1
#include "../../sdk/template/example.c"
#undef kolm_backend_v1

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

/* Not static: a compiler treats a static variable that is never written as a constant. */
extern char own_name[33];
char own_name[33] = "breach-000000000000000000000000x";

static bool is(const char *name) {
    return strcmp(own_name, name) == 0;
}

static char long_text[2000]; /* x, with a NUL at the end */

/* ---- Leftovers of a call */

static void *wait_for_ever(void *unused) {
    for (;;)
        pause();
    return unused;
}

static void leave_thread(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, wait_for_ever, NULL) == 0) pthread_detach(thread);
}

/* Like a daemon: orphaned, in a separate session. */
static void leave_daemon(void) {
    int ready[2];
    char byte;
    if (pipe(ready) != 0) return;
    pid_t child = fork();
    if (child == 0) {
        setsid();
        if (fork() != 0) _exit(0);
        (void)!write(ready[1], "r", 1);
        wait_for_ever(NULL);
    }
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        continue;
    (void)!read(ready[0], &byte, 1);
    close(ready[0]);
    close(ready[1]);
}

/* A zombie: a child that has ended and was not waited for. */
static void leave_unwaited(void) {
    siginfo_t ended;
    pid_t child = fork();
    if (child == 0) _exit(0);
    while (child > 0 && waitid(P_PID, (id_t)child, &ended, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        continue;
}

static void leave_behind(const char *slot) {
    char name[33];
    snprintf(name, sizeof name, "%s-thread", slot);
    if (is(name)) leave_thread();
    snprintf(name, sizeof name, "%s-daemon", slot);
    if (is(name)) leave_daemon();
    snprintf(name, sizeof name, "%s-open", slot);
    if (is(name) && open("/dev/null", O_RDONLY | O_CLOEXEC) < 0) abort();
    snprintf(name, sizeof name, "%s-unwaited", slot);
    if (is(name)) leave_unwaited();
}

/* ---- detect */

static void report_devices(const kolm_host_v1_t *host) {
    kolm_device_t d = {.struct_size = (uint32_t)sizeof d,
                       .index = 1,
                       .memory_kind = KOLM_MEMORY_OWN,
                       .total_memory_bytes = 100,
                       .free_memory_bytes = 50,
                       .name = "a second one",
                       .id = "",
                       .driver = "",
                       .runtime = ""};
    if (is("device-index")) d.index = 7;
    if (is("device-kind")) d.memory_kind = 9;
    if (is("device-free")) d.free_memory_bytes = 200;
    if (is("device-total")) d.total_memory_bytes = (uint64_t)-5;
    if (is("device-no-name")) d.name = NULL;
    if (is("device-empty-name")) d.name = "";
    if (is("device-no-id")) d.id = NULL;
    if (is("device-long-id")) d.id = long_text;
    if (is("device-driver-bytes")) d.driver = "caf\xe9 1.0";
    if (is("device-runtime-lines")) d.runtime = "zoo\n1.0";
    if (is("device-size")) d.struct_size = 16;
    if (is("device-same-id")) d.id = "0000:01:00.0";
    if (is("device-null")) host->device(host->user, NULL);
    if (strncmp(own_name, "device-", 7) == 0 && !is("device-null")) host->device(host->user, &d);
    d.index = 2;
    if (is("device-same-id")) host->device(host->user, &d);
    for (d.index = 1; is("devices-200") && d.index < 200; d.index++)
        host->device(host->user, &d);
}

static void report_elsewhere(const kolm_host_v1_t *host) {
    const kolm_test_step_t a_step = {
        .struct_size = (uint32_t)sizeof a_step, .number = 1, .total = 1, .title = "a", .note = ""};
    const kolm_holding_t holding = {
        .struct_size = (uint32_t)sizeof holding, .place = "a", .kind = "b", .name = "c", .note = ""};
    if (is("detect-step")) host->test_step(host->user, &a_step);
    if (is("detect-holding") && KOLM_HAS(kolm_host_v1_t, host, holding) && host->holding)
        host->holding(host->user, &holding);
    if (is("detect-secret")) (void)host->secret(host->user, "ZOO_TOKEN", NULL, 0, NULL);
    if (is("log-null")) host->log(host->user, KOLM_LOG_INFO, NULL);
    if (is("log-level")) host->log(host->user, 17, "loud");
    if (is("log-bytes")) host->log(host->user, KOLM_LOG_INFO, "gr\xfc\xdf dich");
}

static int32_t bad_detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out,
                          kolm_error_t *err) {
    int32_t code = detect(host, args, out, err);
    report_devices(host);
    report_elsewhere(host);
    leave_behind("detect");
    if (is("reason-no-nul")) memset(out->reason, 'x', sizeof out->reason);
    if (is("reason-bytes")) snprintf(out->reason, sizeof out->reason, "ready \xff");
    if (is("reason-empty")) out->reason[0] = '\0';
    if (is("runtime-lines")) snprintf(out->runtime, sizeof out->runtime, "one\ntwo");
    if (is("remedy-empty")) out->state = KOLM_DETECT_BROKEN;
    if (is("remedy-needless")) snprintf(out->remedy, sizeof out->remedy, "none needed");
    if (is("result-size")) out->struct_size = 4096;
    if (is("result-overrun")) memset((char *)out + out->struct_size, 1, 8);
    if (is("detect-state")) out->state = 4;
    if (is("error-no-nul")) memset(err->text, 'x', sizeof err->text);
    if (is("error-code") || is("error-odd-code")) snprintf(err->text, sizeof err->text, "the card is away");
    if (is("error-code")) err->code = KOLM_E_DATA_LOSS;
    if (is("error-odd-code")) return 4711;
    return is("error-no-nul") || is("error-code") ? KOLM_E_UNAVAILABLE : code;
}

/* ---- cost */

static int32_t bad_cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out,
                        kolm_error_t *err) {
    int32_t code = cost(host, args, out, err);
    if (is("cost-negative")) out->cost_micro_usd = (uint64_t)-1000000, out->billing = KOLM_BILLING_PER_HOUR;
    if (is("cost-duration")) out->duration_ms = (uint64_t)INT64_MAX + 1;
    if (is("cost-free")) out->cost_micro_usd = 5;
    if (is("cost-reserved")) out->reserved = 1;
    if (is("cost-basis")) out->basis[0] = '\0';
    if (is("cost-billing")) out->billing = 9;
    if (is("cost-confidence")) out->confidence = 9;
    leave_behind("cost");
    return code;
}

/* ---- train */

static void report_oddly(const kolm_host_v1_t *host) {
    kolm_progress_t p = {.struct_size = (uint32_t)sizeof p,
                         .step = 2,
                         .total = 4,
                         .loss = NAN,
                         .tokens_per_second = NAN,
                         .phase = "zooming"};
    char name[40];
    if (strncmp(own_name, "progress-", 9) == 0) {
        if (is("progress-no-phase")) p.phase = NULL;
        if (is("progress-long-phase")) p.phase = long_text;
        if (is("progress-past")) p.step = 5;
        if (is("progress-step")) p.step = (uint64_t)-1;
        if (is("progress-loss")) p.loss = INFINITY;
        if (is("progress-speed")) p.tokens_per_second = -1;
        if (is("progress-fast")) p.tokens_per_second = INFINITY;
        if (is("progress-reserved")) p.reserved = 3;
        if (is("progress-size")) p.struct_size = 8;
        host->progress(host->user, &p);
        p.step = 1;
        if (is("progress-back")) host->progress(host->user, &p);
    }
    if (is("metric-nan")) host->metric(host->user, "loss", NAN);
    if (is("metric-infinite")) host->metric(host->user, "loss", -INFINITY);
    if (is("metric-name")) host->metric(host->user, "Val Loss", 1);
    if (is("metric-null")) host->metric(host->user, NULL, 1);
    for (int i = 0; is("metrics-1001") && i <= 1000; i++) {
        snprintf(name, sizeof name, "loss.%d", i);
        host->metric(host->user, name, i);
    }
}

static void spoil_result(const char *job_dir) {
    char path[4200], text[128] = "";
    snprintf(path, sizeof path, "%s/result.json", job_dir);
    if (is("result-format")) snprintf(text, sizeof text, "{\"format\":2,\"toolchain\":\"zoo 1\",\"report\":{}}\n");
    if (is("result-no-format")) snprintf(text, sizeof text, "{\"toolchain\":\"zoo 1\",\"report\":{}}\n");
    if (is("result-other")) snprintf(text, sizeof text, "{\"format\":1,\"toolchain\":\"zoo 2\",\"report\":{}}\n");
    if (is("result-bytes")) snprintf(text, sizeof text, "{\"format\":1,\"toolchain\":\"zoo \xff\",\"report\":{}}\n");
    FILE *file = text[0] ? fopen(path, "w") : NULL;
    if (!file) return;
    fputs(text, file);
    fclose(file);
}

static int32_t never(void *user) {
    (void)user;
    return 0;
}

/* A job so small that it is done soon after its first report: it checks for cancellation there, and not again. */
static int32_t train_at_once(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out,
                             kolm_error_t *err) {
    kolm_host_v1_t busy = *host;
    busy.cancelled = never;
    host->progress(host->user, &(kolm_progress_t){.struct_size = (uint32_t)sizeof(kolm_progress_t),
                                                  .total = 4,
                                                  .loss = NAN,
                                                  .tokens_per_second = NAN,
                                                  .phase = "looking"});
    if (host->cancelled(host->user)) return kit_fail(err, KOLM_E_CANCELLED, "", "stopped");
    return train(&busy, args, out, err);
}

static int32_t bad_train(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out,
                         kolm_error_t *err) {
    if (is("train-not-offered")) return kit_fail(err, KOLM_E_UNIMPLEMENTED, "", "this makes other models");
    if (is("train-real-time") && raise(SIGRTMIN + 3) != 0) abort();
    if (is("train-terminated") && raise(SIGTERM) != 0) abort();
    if (is("train-at-once")) return train_at_once(host, args, out, err);
    int32_t code = train(host, args, out, err);
    if (code != KOLM_OK) return code;
    report_oddly(host);
    spoil_result(args->job_dir);
    leave_behind("train");
    if (is("train-device")) out->device[0] = '\0';
    if (is("train-toolchain")) memset(out->toolchain, 't', sizeof out->toolchain);
    if (is("train-billed")) out->billed_micro_usd = (uint64_t)-2;
    if (is("train-reserved")) out->reserved = 1;
    return code;
}

/* ---- test */

static int32_t bad_test(const kolm_host_v1_t *host, const kolm_test_args_t *args, kolm_test_result_t *out,
                        kolm_error_t *err) {
    kolm_test_step_t s = {.struct_size = (uint32_t)sizeof s, .number = 1, .total = 2, .title = "a step", .note = ""};
    if (strncmp(own_name, "test-", 5) != 0) return test(host, args, out, err);
    if (is("test-outcome")) s.outcome = 7;
    if (is("test-number")) s.number = 2;
    if (is("test-title")) s.title = NULL;
    if (is("test-duration")) s.duration_us = (uint64_t)-1 - 1;
    if (is("test-one-of-two") || is("test-steps-1001")) s.total = 2000;
    if (is("test-failed")) s.outcome = KOLM_STEP_FAILED;
    if (!is("test-no-steps") && !is("test-fails-mutely")) host->test_step(host->user, &s);
    s = (kolm_test_step_t){.struct_size = (uint32_t)sizeof s,
                           .number = 2,
                           .total = is("test-total") ? 3 : 2,
                           .title = "another",
                           .note = ""};
    if (!is("test-no-steps") && !is("test-fails-mutely") && !is("test-one-of-two") && !is("test-steps-1001"))
        host->test_step(host->user, &s);
    for (s.total = 2000; is("test-steps-1001") && s.number <= 1001; s.number++)
        host->test_step(host->user, &s);
    out->passed = is("test-fails-mutely") || is("test-steps-1001") || is("test-outcome") ? 0
                  : is("test-passed")                                                    ? 7
                                                                                         : 1;
    snprintf(out->summary, sizeof out->summary, "%s", is("test-summary") ? "" : "tested");
    leave_behind("test");
    return KOLM_OK;
}

/* ---- status */

static int32_t bad_status(const kolm_host_v1_t *host, const kolm_status_args_t *args, kolm_status_result_t *out,
                          kolm_error_t *err) {
    kolm_holding_t h = {.struct_size = (uint32_t)sizeof h,
                        .state = KOLM_HOLDING_IDLE,
                        .bytes = 1,
                        .age_seconds = 2,
                        .place = "the zoo",
                        .kind = "files",
                        .name = "straw",
                        .note = ""};
    (void)args, (void)err;
    if (is("holding-state")) h.state = 9;
    if (is("holding-removed")) h.state = KOLM_HOLDING_REMOVED;
    if (is("holding-place")) h.place = "";
    if (is("holding-name")) h.name = NULL;
    if (is("holding-kind")) h.kind = "a kind of a name that is a whole sentence";
    if (is("holding-note")) h.note = "two\nlines";
    if (is("holding-price")) h.price_micro_usd_per_hour = (uint64_t)-7;
    if (is("holding-size")) h.struct_size = 4;
    host->holding(host->user, &h);
    for (int i = 1; is("holdings-10001") && i <= 10000; i++)
        host->holding(host->user, &h);
    if (is("status-reserved")) out->reserved = 8;
    leave_behind("status");
    snprintf(out->summary, sizeof out->summary, "one zoo");
    return KOLM_OK;
}

/* ---- infer */

static void count_wrongly(kolm_infer_result_t *out) {
    if (is("infer-count")) out->answers += 3;
    if (is("infer-reserved")) out->reserved = 1;
    if (is("infer-device")) memset(out->device, 0xc3, sizeof out->device);
}

/* State for spoiling the first three answers. */
typedef struct spoiled {
    answering answering;
    cJSON *held;
    uint64_t rows;
} spoiled;

static kit_status answer_as(spoiled *s, const cJSON *row, const char *id, kolm_error_t *err) {
    cJSON *other = cJSON_Duplicate(row, true);
    if (other) cJSON_ReplaceItemInObjectCaseSensitive(other, "id", cJSON_CreateString(id));
    kit_status status = infer_row(&s->answering, other, err);
    cJSON_Delete(other);
    return status;
}

static kit_status spoiled_row(void *user, const cJSON *row, kolm_error_t *err) {
    spoiled *s = user;
    uint64_t number = ++s->rows;
    if (is("infer-swapped") && number == 1) {
        s->held = cJSON_Duplicate(row, true);
        return KOLM_OK;
    }
    if (is("infer-missing") && number == 2) return KOLM_OK;
    if (is("infer-strange") && number == 2) return answer_as(s, row, "strange", err);
    KIT_TRY(infer_row(&s->answering, row, err));
    if (is("infer-twice") && number == 2) return infer_row(&s->answering, row, err);
    return is("infer-swapped") && number == 2 ? infer_row(&s->answering, s->held, err) : KOLM_OK;
}

/* The template's infer, with changed rows and another flush. */
static int32_t spoiled_infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out,
                             kolm_error_t *err) {
    spoiled s = {.answering = {.output_fd = -1}};
    kit_job *job = NULL;
    kit_status status = kit_job_read(args->job_dir, &job, err);
    if (status == KOLM_OK) status = engine_new(&s.answering.engine, err);
    if (status == KOLM_OK) status = read_model(job, s.answering.engine, err);
    if (status == KOLM_OK)
        s.answering.output_fd = open(args->output_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (status == KOLM_OK)
        status = each_row(host, args->input_path, spoiled_row, is("infer-unflushed") ? NULL : flush_answers,
                          &s.answering, err);
    if (is("infer-more") && status == KOLM_OK) {
        kit_buf_str(&s.answering.text, "{\"id\":\"more\",\"output\":\"x\",\"confidence\":1}\n");
        s.answering.answers++;
    }
    if (status == KOLM_OK) status = flush_answers(&s.answering, err);
    out->answers = s.answering.answers;
    if (s.answering.output_fd >= 0) close(s.answering.output_fd);
    kit_buf_free(&s.answering.text);
    cJSON_Delete(s.held);
    engine_free(s.answering.engine);
    kit_job_free(job);
    return status;
}

static bool has_file(const char *directory, const char *name) {
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return access(path, F_OK) == 0;
}

static int32_t bad_infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out,
                         kolm_error_t *err) {
    static const char *const spoils[] = {"infer-swapped", "infer-missing",   "infer-strange",
                                         "infer-twice",   "infer-unflushed", "infer-more"};
    for (size_t i = 0; i < sizeof spoils / sizeof *spoils; i++)
        if (is(spoils[i])) return spoiled_infer(host, args, out, err);
    if (is("infer-hangs")) wait_for_ever(NULL);
    if (is("infer-early")) return KOLM_OK;
    if (is("infer-near") && has_file(args->job_dir, "near.jsonl"))
        return kit_fail(err, KOLM_E_INTERNAL, "", "the rows are too many");
    int32_t code = infer(host, args, out, err);
    if (code != KOLM_OK) return code;
    count_wrongly(out);
    leave_behind("infer");
    return code;
}

/* ---- The table; not constant, so that a constructor can change it */

extern KOLM_BACKEND_EXPORT kolm_backend_v1_t table __asm__("kolm_backend_v1");
kolm_backend_v1_t table = {
    KOLM_BACKEND_HEADER_INIT,
    .features = KOLM_FEATURE_MODEL_SLICES,
    .name = own_name,
    .version = "1.0.0",
    .vendor = "the zoo",
    .licence = "Apache-2.0",
    .homepage = "https://example.com/zoo",
    .detect = bad_detect,
    .cost = bad_cost,
    .train = bad_train,
    .infer = bad_infer,
    .test = bad_test,
    .status = bad_status,
};

__attribute__((constructor)) static void spoil_table(void) {
    memset(long_text, 'x', sizeof long_text - 1);
    if (is("table-reserved")) table.reserved = 1;
    if (is("table-features")) table.features |= 1ull << 40;
    if (is("table-size")) table.struct_size = 4096;
    if (is("table-minor")) table.abi_minor = 0, table.host_minor_needed = 1;
    if (is("table-version")) table.version = long_text;
    if (is("table-vendor")) table.vendor = "";
    if (is("table-licence")) table.licence = "Apache\xff";
    if (is("table-homepage")) table.homepage = "https://example.com/zoo\nhttps://example.com/";
}
