/* SPDX-License-Identifier: Apache-2.0 */
/* The host against a zoo of bad plugins: the exact verdict on each, and that the others still work. */
#include "../suite.h"
#include "host/host.h"
#include "host/internal.h"
#include "host/run.h"

#include "kolm/kit/file.h"
#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char here[PATH_MAX];    /* where this program and the plugins lie */
static char program[PATH_MAX]; /* kolm-host */
static char home[PATH_MAX];    /* the temporary directory of one test */
static char zoo_dir[PATH_MAX];

/* Nothing in a test of a hanging plugin may hang longer; nothing that works is ever this slow. */
#define PATIENCE_MS 60000
#define SHORT_MS 400

static void setup(void) {
    kit_copy(home, sizeof home, "/tmp/kolm-host-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(home));
    kit_format(zoo_dir, sizeof zoo_dir, "%s/zoo", home);
    ck_assert_int_eq(mkdir(zoo_dir, 0755), 0);
}

static void teardown(void) {
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_msg(kit_remove_tree(home, &err) == KOLM_OK, "%s", err.text);
}

static void must(kit_status status, const kolm_error_t *err) {
    ck_assert_msg(status == KOLM_OK, "%s", err->text);
}

static void write_text(const char *path, const char *text) {
    kolm_error_t err = KIT_ERROR_INIT;
    must(kit_write_file(path, 0644, text, strlen(text), &err), &err);
}

static void copy(const char *from, const char *to) {
    kit_buf bytes = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    must(kit_read_file(from, 64u << 20, &bytes, &err), &err);
    must(kit_write_file(to, 0755, bytes.data, bytes.length, &err), &err);
    kit_buf_free(&bytes);
}

static const char *manifest_of(const char *name, const char *more) {
    static char text[4096];
    kit_format(text, sizeof text,
               "{\"name\":\"%s\",\"kind\":\"local\",\"tier\":2,\"train\":true,\"infer\":true,\"airgap\":\"yes\","
               "\"billing\":\"per-hour\","
               "\"cost_per_hour_usd\":1.25,\"cold_start_seconds\":7,\"vram_cap_gb\":null,\"runtime\":\"zoo\","
               "\"summary\":\"An animal.\"%s}",
               name, more);
    return text;
}
#define PLAIN ",\"auth\":[],\"requires\":[]"

static void add_manifest(const char *dir, const char *name, const char *more) {
    char path[PATH_MAX];
    kit_format(path, sizeof path, "%s/%s.json", dir, name);
    write_text(path, manifest_of(name, more));
}

static void add_as(const char *dir, const char *name, const char *animal, const char *more) {
    char from[PATH_MAX], to[PATH_MAX];
    kit_format(from, sizeof from, "%s/%s.so", here, animal);
    kit_format(to, sizeof to, "%s/%s.so", dir, name);
    copy(from, to);
    add_manifest(dir, name, more);
}

static void add(const char *name) {
    add_as(zoo_dir, name, name, PLAIN);
}

static host_registry *scan_dirs(const char *const *dirs, size_t count, const cJSON *config) {
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry *registry = NULL;
    host_scan_options options = {.dirs = dirs, .dir_count = count, .program = program, .config = {.json = config}};
    must(host_scan(&options, &registry, &err), &err);
    return registry;
}

static host_registry *scan(void) {
    const char *dirs[] = {zoo_dir};
    return scan_dirs(dirs, 1, NULL);
}

static const host_backend *find(const host_registry *registry, const char *name) {
    const host_backend *row = host_find(registry, name);
    ck_assert_msg(row != NULL, "no row %s", name);
    return row;
}

/* ---- Events, gathered */
static struct {
    kit_buf logs;     /* one line each, "LEVEL text" */
    kit_buf holdings; /* one line each */
    unsigned log_count, progress_count, metric_count, step_count, holding_count;
    kolm_progress_t progress;
    char phase[64], metric[80], steps[400], teller[40];
    double value;
    volatile sig_atomic_t cancel_on_log;
    pid_t left_behind;
} seen;
static volatile sig_atomic_t cancel;

static void on_log(void *user, const char *backend, uint32_t level, const char *text) {
    (void)user;
    kit_copy(seen.teller, sizeof seen.teller, backend);
    uint64_t pid;
    seen.log_count++;
    kit_buf_fmt(&seen.logs, "%u %s\n", level, text);
    if (kit_parse_u64(text, &pid)) seen.left_behind = (pid_t)pid;
    if (seen.cancel_on_log) cancel = 1;
}

static void on_progress(void *user, const kolm_progress_t *progress) {
    (void)user;
    seen.progress_count++;
    seen.progress = *progress;
    kit_copy(seen.phase, sizeof seen.phase, progress->phase);
}

static void on_metric(void *user, const char *name, double value) {
    (void)user;
    seen.metric_count++;
    kit_copy(seen.metric, sizeof seen.metric, name);
    seen.value = value;
}

static void on_step(void *user, const kolm_test_step_t *step) {
    (void)user;
    char line[200];
    seen.step_count++;
    kit_format(line, sizeof line, "[%u/%u %s %u %llu %s]", step->number, step->total, step->title, step->outcome,
               (unsigned long long)step->duration_us, step->note);
    kit_format(seen.steps + strlen(seen.steps), sizeof seen.steps - strlen(seen.steps), "%s", line);
}

static void on_holding(void *user, const kolm_holding_t *h) {
    (void)user;
    seen.holding_count++;
    kit_buf_fmt(&seen.holdings, "%s %s %s %u %llu %llu %llu %s\n", h->place, h->kind, h->name, h->state,
                (unsigned long long)h->bytes, (unsigned long long)h->age_seconds,
                (unsigned long long)h->price_micro_usd_per_hour, h->note);
}

static const host_events events = {
    .log = on_log, .progress = on_progress, .metric = on_metric, .test_step = on_step, .holding = on_holding};

static void forget(void) {
    kit_buf_free(&seen.holdings);
    kit_buf_free(&seen.logs);
    memset(&seen, 0, sizeof seen);
    cancel = 0;
}

static host_result detect_with(const char *name, host_call_options options) {
    static host_result result;
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry *registry = scan();
    options.events = &events;
    forget();
    must(host_detect(registry, find(registry, name), &options, &result, &err), &err);
    host_registry_free(registry);
    return result;
}

static host_result detect(const char *name) {
    return detect_with(name, (host_call_options){.timeout_ms = PATIENCE_MS});
}

/* ---- The zoo */
static const struct animal {
    const char *name;
    host_verdict verdict;
    const char *words; /* part of the error text, or of the reason */
    bool hangs;
} animals[] = {
    {"good", HOST_OK, "a zoo animal", false},
    {"no-symbol", HOST_NOT_LOADED, "does not export kolm_backend_v1", false},
    {"wrong-major", HOST_NOT_LOADED, "needs kolm ABI 2.3, this is 1.2", false},
    {"short-struct", HOST_NOT_LOADED, "its table is of ", false},
    {"tiny-struct", HOST_NOT_LOADED, "too short even for its version", false},
    {"long-struct", HOST_OK, "a zoo animal", false},
    {"newer-minor", HOST_OK, "a zoo animal", false},
    {"needs-newer-host", HOST_NOT_LOADED, "needs kolm ABI 1.3, this is 1.2", false},
    {"missing-feature", HOST_NOT_LOADED, "needs features of kolm that this one does not have (bits 0x10000000000)",
     false},
    {"null-slots", HOST_UNIMPLEMENTED, "does not implement detect", false},
    {"undefined", HOST_NOT_LOADED, "undefined symbol: no_function_is_called_like_this", false},
    {"wrong-fingerprint", HOST_NOT_LOADED, "it was built for pointers of 4 bytes, this kolm has 8", false},
    {"crash-constructor", HOST_CRASHED, "crashed while it was being loaded: signal 11 (Segmentation fault)", false},
    {"crash-slot", HOST_CRASHED, "crashed in detect: signal 11 (Segmentation fault)", false},
    {"hang-constructor", HOST_TIMED_OUT, "while it was being loaded", true},
    {"hang-slot", HOST_TIMED_OUT, "in detect", true},
    {"exits", HOST_NO_REPLY, "ended the process in detect without an answer", false},
    {"exits-constructor", HOST_NO_REPLY, "ended the process while it was being loaded without an answer", false},
    {"aborts", HOST_CRASHED, "signal 6 (Aborted)", false},
    {"closes-fds", HOST_NO_REPLY, "without an answer", false},
    {"forges", HOST_NO_REPLY, "wrote over its own reply in detect", false},
    {"writes-fds", HOST_NO_REPLY, "wrote over its own reply in detect", false},
    {"floods", HOST_OK, "a zoo animal", false},
    {"bad-utf8", HOST_OK, "\\xFF\\xFF", false},
    {"prints", HOST_OK, "a zoo animal", false},
    {"name-mismatch", HOST_NOT_LOADED, "it calls itself 'somebody-else', but its file is called 'name-mismatch'",
     false},
    {"no-vendor", HOST_NOT_LOADED, "its table has no vendor", false},
    {"forks", HOST_OK, "a zoo animal", false},
    {"forks-away", HOST_OK, "a zoo animal", false},
    {"fails", HOST_FAILED, "the quota of the zoo is used up", false},
    {"names-scratch", HOST_FAILED, "cannot read [scratch]/weights", false}, /* it is gone by now */
    {"odd-code", HOST_FAILED, "odd-code: detect failed with 4711, which is not a KOLM_E_* code, and gave no reason",
     false},
    {"mute", HOST_FAILED,
     "mute: detect failed with RESOURCE_EXHAUSTED (8) and gave no reason; its last output: \"the quota is used up\"",
     false},
    {"licence", HOST_NO_REPLY,
     "licence ended the process in detect without an answer (exit code 3); its last output: \"checking\" "
     "\"licence \\x1B[31mexpired\\x1B[0m on 2026-01-01\"",
     false},
    {"throws", HOST_CRASHED,
     "signal 6 (Aborted); its last output: \"terminate called after throwing an instance of 'std::runtime_error'\" "
     "\"  what():  no seat is free\"",
     false},
    {"sanitized", HOST_CRASHED,
     "signal 6 (Aborted); its last output: \"==7==ERROR: AddressSanitizer: heap-buffer-overflow on address", false},
    {"babbles", HOST_NO_REPLY, "(exit code ", false},
    {"levels", HOST_OK, "a zoo animal", false},
    {"odd-state", HOST_FAILED, "unknown state (99)", false},
    {"network", HOST_OK, "a zoo animal", false},
    {"threads", HOST_OK, "a zoo animal", false},
};
#define ANIMALS (sizeof animals / sizeof *animals)

static void check_animal(const struct animal *animal, const host_result *result) {
    char text[800];
    host_verdict_text(result, text, sizeof text);
    ck_assert_msg(result->verdict == animal->verdict, "%s: expected %s, got %s", animal->name,
                  host_verdict_name(animal->verdict), text);
    const char *words = result->verdict == HOST_OK ? result->detect.reason : result->error.text;
    ck_assert_msg(strstr(words, animal->words) != NULL, "%s: '%s' is not in '%s'", animal->name, animal->words, words);
    ck_assert_int_eq(kit_utf8_valid(words, strlen(words)), strlen(words));
    if (result->verdict != HOST_OK) ck_assert_int_ne(result->error.code, KOLM_OK);
    bool ended = result->verdict == HOST_CRASHED || result->verdict == HOST_NO_REPLY;
    if (ended && result->loaded) /* who is to be told */
        ck_assert_msg(strstr(result->error.remedy, result->vendor) != NULL, "%s: %s", animal->name,
                      result->error.remedy);
}

/* Runs beside us on one processor, in a session of its own, which is a share of the processor's time of its own. */
static pid_t spin_on(const cpu_set_t *one) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    setsid();
    sched_setaffinity(0, sizeof *one, one);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
    }
}

/* A quarter of a second's work takes longer than a second on a processor that a dozen others want: not the plugin's fault. */
START_TEST(test_a_busy_machine_changes_no_answer) {
    enum { SPINNERS = 12 };
    pid_t spinners[SPINNERS];
    cpu_set_t all, one;
    add("toils");
    ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    for (int i = 0; CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
    for (int i = 0; i < SPINNERS; i++)
        ck_assert_int_gt(spinners[i] = spin_on(&one), 0);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    host_result result = detect_with("toils", (host_call_options){.timeout_ms = 1000});
    ck_assert_int_eq(sched_setaffinity(0, sizeof all, &all), 0);
    for (int i = 0; i < SPINNERS; i++) {
        kill(spinners[i], SIGKILL);
        waitpid(spinners[i], NULL, 0);
    }
    ck_assert_msg(result.verdict == HOST_OK, "%s", result.error.text);
    ck_assert_msg(result.wall_ms > 1000, "nobody was in its way: it took %lld ms", (long long)result.wall_ms);
    forget();
}
END_TEST

START_TEST(test_zoo_one_by_one) {
    for (size_t i = 0; i < ANIMALS; i++) {
        add(animals[i].name);
        host_result result =
            detect_with(animals[i].name, (host_call_options){.timeout_ms = animals[i].hangs ? SHORT_MS : PATIENCE_MS});
        check_animal(&animals[i], &result);
    }
}
END_TEST

/* All of them at once: those that hang cost the others nothing, and all are over at the one deadline. */
START_TEST(test_zoo_together) {
    static host_result results[ANIMALS];
    const host_backend *rows[ANIMALS];
    kolm_error_t err = KIT_ERROR_INIT;
    for (size_t i = 0; i < ANIMALS; i++)
        add(animals[i].name);
    host_registry *registry = scan();
    ck_assert_uint_eq(registry->count, ANIMALS);
    for (size_t i = 0; i < ANIMALS; i++)
        rows[i] = find(registry, animals[i].name);
    host_call_options options = {.timeout_ms = 8000, .events = &events};
    forget();
    int64_t began = kit_now_ms();
    must(host_detect_all(registry, rows, ANIMALS, &options, results, &err), &err);
    int64_t took = kit_now_ms() - began;
    for (size_t i = 0; i < ANIMALS; i++)
        check_animal(&animals[i], &results[i]);
    ck_assert_msg(took >= 8000 && took < 16000, "two that hang, one deadline of 8000 ms: took %lld ms",
                  (long long)took);
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&seen.logs), "1 on standard output\n"));
    ck_assert_uint_eq(seen.progress_count, 0);
    host_registry_free(registry);
    forget();
}
END_TEST

/* Fewer descriptors than all of them together need: they take turns. */
START_TEST(test_few_descriptors) {
    static const char *const names[] = {"good",        "prints",      "network",   "threads",
                                        "long-struct", "newer-minor", "no-slices", "floods"};
    static host_result results[8];
    const host_backend *rows[8];
    kolm_error_t err = KIT_ERROR_INIT;
    struct rlimit before, few;
    for (size_t i = 0; i < 8; i++)
        add(names[i]);
    host_registry *registry = scan();
    for (size_t i = 0; i < 8; i++)
        rows[i] = find(registry, names[i]);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 32;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    kit_status status =
        host_detect_all(registry, rows, 8, &(host_call_options){.timeout_ms = PATIENCE_MS}, results, &err);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    must(status, &err);
    for (size_t i = 0; i < 8; i++)
        ck_assert_msg(results[i].verdict == HOST_OK, "%s: %s", names[i], results[i].error.text);
    host_registry_free(registry);
}
END_TEST

START_TEST(test_identity) {
    add("good");
    add("null-slots");
    host_result result = detect("good");
    ck_assert(result.loaded);
    ck_assert_uint_eq(result.slots, HOST_SLOT_DETECT | HOST_SLOT_COST | HOST_SLOT_TRAIN | HOST_SLOT_INFER |
                                        HOST_SLOT_TEST | HOST_SLOT_STATUS);
    ck_assert_str_eq(result.version, "1.2.3");
    ck_assert_str_eq(result.vendor, "the zoo");
    ck_assert_str_eq(result.licence, "Apache-2.0");
    ck_assert_str_eq(result.homepage, "https://example.com/zoo");
    ck_assert_str_eq(result.detect.runtime, "zoo 1");
    ck_assert_uint_eq(result.detect.state, KOLM_DETECT_AVAILABLE);
    ck_assert(!result.sandbox.requested && !result.sandbox.enforced);
    ck_assert_uint_gt(result.peak_memory_bytes, 100000);
    ck_assert_uint_lt(result.peak_memory_bytes, 1ull << 33);
    result = detect("null-slots");
    ck_assert_uint_eq(result.slots, 0);
    ck_assert_str_eq(result.version, "1.2.3"); /* what it is, is known even so */
    forget();
}
END_TEST

START_TEST(test_garbage_files) {
    char path[PATH_MAX];
    add("good");
    kit_format(path, sizeof path, "%s/garbage.so", zoo_dir);
    write_text(path, "this is not an object");
    add_manifest(zoo_dir, "garbage", PLAIN);
    kit_format(path, sizeof path, "%s/empty.so", zoo_dir);
    write_text(path, "");
    add_manifest(zoo_dir, "empty", PLAIN);
    host_result result = detect("garbage");
    ck_assert_int_eq(result.verdict, HOST_NOT_LOADED);
    ck_assert_msg(strstr(result.error.text, "is no shared object") != NULL, "%s", result.error.text);
    result = detect("empty");
    ck_assert_int_eq(result.verdict, HOST_NOT_LOADED);
    ck_assert_ptr_nonnull(strstr(result.error.text, "empty.so is empty"));
    ck_assert_int_eq(detect("good").verdict, HOST_OK);
    forget();
}
END_TEST

static const char *give_secret(void *user, const char *name) {
    ck_assert_str_eq(user, "the user");
    ck_assert_msg(strncmp(name, "ZOO_", 4) == 0, "asked for %s", name);
    ck_assert_str_ne(name, "ZOO_FOREIGN_TOKEN");
    if (strcmp(name, "ZOO_HOST") == 0) return "ana@box";
    return strcmp(name, "ZOO_TOKEN") == 0 ? "canary\"\\12\n\xc3\xa9" : NULL;
}

/* The value of a secret is in no line and no error, as it is or escaped. */
START_TEST(test_secrets_are_not_told) {
    add_as(zoo_dir, "tells", "tells", ",\"auth\":[\"ZOO_TOKEN\"],\"requires\":[]");
    host_result result = detect_with(
        "tells",
        (host_call_options){.timeout_ms = PATIENCE_MS, .secret = give_secret, .secret_user = (char[]){"the user"}});
    ck_assert_int_eq(result.verdict, HOST_NO_REPLY);
    ck_assert_ptr_nonnull(strstr(result.error.text, "its last output: \"the token [ZOO_TOKEN]\""));
    ck_assert_ptr_null(strstr(result.error.text, "canary"));
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&seen.logs), "2 [ZOO_TOKEN]\n"));
    ck_assert_ptr_null(strstr(kit_buf_text(&seen.logs), "canary"));
    ck_assert_str_eq(seen.teller, "tells");
    forget();
}
END_TEST

START_TEST(test_undeclared_settings) {
    kolm_error_t err = KIT_ERROR_INIT;
    cJSON *config = NULL;
    static const char text[] = "{\"backends\":{\"secrets\":{\"region\":\"eu\"}}}";
    add_as(zoo_dir, "secrets", "secrets",
           ",\"auth\":[\"ZOO_TOKEN\"],\"requires\":[],\"settings\":[{\"key\":\"region\",\"type\":\"string\","
           "\"summary\":\"s\"}]");
    must(kit_json_parse(text, strlen(text), &config, &err), &err);
    host_result result = detect_with("secrets", (host_call_options){.timeout_ms = PATIENCE_MS, .config = config});
    ck_assert_int_eq(result.verdict, HOST_OK);
    const char *logs = kit_buf_text(&seen.logs);
    ck_assert_ptr_nonnull(strstr(logs, "1 setting 0 eu\n"));
    ck_assert_ptr_nonnull(strstr(logs, "1 number 5 \n"));
    ck_assert_ptr_nonnull(strstr(logs, "asks for the setting \"count\", which its manifest does not declare"));
    ck_assert_ptr_nonnull(strstr(logs, "asks for the setting \"nothing\", which its manifest does not declare"));
    ck_assert_ptr_null(strstr(logs, "asks for the setting \"region\""));
    cJSON_Delete(config);
    forget();
}
END_TEST

/* More that hang than may run at once, all before one that is well: it gets its whole time when its turn comes. */
START_TEST(test_the_deadline_is_each_ones_own) {
    enum { HANGING = 130 };
    static host_result results[HANGING + 1];
    const host_backend *rows[HANGING + 1];
    kolm_error_t err = KIT_ERROR_INIT;
    char name[32];
    for (int i = 0; i < HANGING; i++) {
        kit_format(name, sizeof name, "a-hang-%03d", i);
        add_as(zoo_dir, name, "hang-constructor", PLAIN);
    }
    add("good");
    host_registry *registry = scan();
    for (int i = 0; i < HANGING; i++) {
        kit_format(name, sizeof name, "a-hang-%03d", i);
        rows[i] = find(registry, name);
    }
    rows[HANGING] = find(registry, "good");
    host_call_options options = {.timeout_ms = 1000};
    must(host_detect_all(registry, rows, HANGING + 1, &options, results, &err), &err);
    for (int i = 0; i < HANGING; i++)
        ck_assert_int_eq(results[i].verdict, HOST_TIMED_OUT);
    ck_assert_msg(results[HANGING].verdict == HOST_OK, "%s", results[HANGING].error.text);
    host_registry_free(registry);
    forget();
}
END_TEST

START_TEST(test_strings_are_cleaned) {
    add("bad-utf8");
    host_result result = detect("bad-utf8");
    ck_assert_str_eq(result.detect.runtime, "a\\xC3(b\\x0A");
    ck_assert_uint_eq(result.device_count, 1);
    ck_assert_str_eq(result.devices[0].name, "dev\\xFF");
    ck_assert_str_eq(result.devices[0].id, "");
    ck_assert_ptr_nonnull(strstr(result.devices[0].driver, "\\xED"));
    const char *logs = kit_buf_text(&seen.logs);
    ck_assert_ptr_nonnull(strstr(logs, "2 log \\xFF\\xFE \\x1B[2J end\n"));
    ck_assert_ptr_nonnull(strstr(logs, "2 detect: a log line is not UTF-8 (its byte 5 is 0xFF); report it to the zoo, "
                                       "https://example.com/zoo\n"));
    ck_assert_ptr_nonnull(strstr(logs, "2 detect: the reason has no NUL within its 256 bytes; report it to the zoo"));
    ck_assert_ptr_nonnull(strstr(logs, "2 detect: the id of a device is NULL; report it to the zoo"));
    forget();
}
END_TEST

START_TEST(test_prints) {
    add("prints");
    detect("prints");
    ck_assert_str_eq(kit_buf_text(&seen.logs), "1 on standard output\n1 with \\x1B[31mcolour\n1 on standard error\n");
    forget();
}
END_TEST

START_TEST(test_flood_is_rated) {
    add("floods");
    host_result result = detect("floods");
    ck_assert_int_eq(result.verdict, HOST_OK);
    ck_assert_uint_eq(result.device_count, HOST_DEVICES_MAX);
    ck_assert_msg(seen.log_count >= 400 && seen.log_count < 10000, "%u lines of 20000", seen.log_count);
    ck_assert_uint_le(seen.progress_count, 2 + (unsigned)(result.wall_ms / 50));
    ck_assert_uint_eq(seen.progress.step, 20000); /* the last one is never the one that is dropped */
    ck_assert_uint_ge(seen.metric_count, 2);      /* the first and the last */
    ck_assert_uint_le(seen.metric_count, 2 + (unsigned)(result.wall_ms / 50));
    ck_assert(seen.value >= 20000 && seen.value <= 20000);
    ck_assert_ptr_nonnull(
        strstr(kit_buf_text(&seen.logs), "2 detect: a device was left out: kolm takes 64 of them; report"));
    ck_assert_ptr_nonnull(
        strstr(kit_buf_text(&seen.logs), "2 detect: the metric 'Not A Name' was dropped: not a valid metric name"));
    ck_assert_uint_eq(seen.holding_count, 0); /* only status has some */
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&seen.logs), "log lines came too fast and are not shown"));
    const char *first = kit_buf_text(&seen.logs);
    ck_assert_uint_eq(strcspn(first, "\n"), 2 + HOST_LOG_MAX);
    forget();
}
END_TEST

static bool is_gone(pid_t pid) {
    char path[64];
    kit_buf text = {0};
    kit_format(path, sizeof path, "/proc/%ld/stat", (long)pid);
    bool gone = kit_read_file(path, 4096, &text, NULL) != KOLM_OK;
    const char *end = gone ? NULL : strrchr(kit_buf_text(&text), ')');
    if (end && (end[2] == 'Z' || end[2] == 'X')) gone = true; /* dead, and waiting for its parent to look */
    kit_buf_free(&text);
    return gone;
}

static void await_end(pid_t pid) {
    int64_t until = kit_now_ms() + PATIENCE_MS;
    ck_assert_int_gt(pid, 1);
    while (!is_gone(pid)) {
        ck_assert_msg(kit_now_ms() < until, "process %ld lives on", (long)pid);
        poll(NULL, 0, 5);
    }
}

START_TEST(test_grandchildren_die) {
    static const char *const names[] = {"forks", "forks-away"};
    for (int i = 0; i < 2; i++) {
        add(names[i]);
        host_result result = detect(names[i]);
        ck_assert_int_eq(result.verdict, HOST_OK);
        await_end(seen.left_behind);
    }
    forget();
}
END_TEST

START_TEST(test_memory_limit) {
    add("hog");
    host_result result =
        detect_with("hog", (host_call_options){.timeout_ms = PATIENCE_MS, .memory_limit_bytes = 1u << 30});
    if (KOLM_FP_SANITIZER != 0) return; /* no limit where a shadow of the memory is memory too */
    ck_assert_int_eq(result.verdict, HOST_FAILED);
    ck_assert_int_eq(result.error.code, KOLM_E_RESOURCE_EXHAUSTED);
    ck_assert_ptr_nonnull(strstr(result.error.text, "no memory after 15 pieces"));
    forget();
}
END_TEST

/* ---- Secrets, settings, environment */
START_TEST(test_secrets) {
    kolm_error_t err = KIT_ERROR_INIT;
    cJSON *config = NULL;
    static const char text[] =
        "{\"backends\":{\"secrets\":{\"region\":\"eu\",\"count\":{\"a\":1}},\"other\":{\"nothing\":1}}}";
    setenv("ZOO_TOKEN", "from the environment", 1);
    setenv("ZOO_UNSET", "from the environment too", 1);
    setenv("ZOO_WANTED", "wanted", 1);
    setenv("ZOO_OTHER_TOKEN", "tokens are not passed on", 1);
    setenv("ZOO_UNKNOWN", "nobody wants this", 1);
    setenv("LC_ZOO", "letters", 1);
    setenv("zoo_proxy", "in lower case", 1);
    setenv("zoo_token", "a token in lower case, not passed on", 1);
    add_as(zoo_dir, "secrets", "secrets",
           ",\"auth\":[\"ZOO_TOKEN\"],\"secrets\":[\"ZOO_UNSET\",\"ZOO_TOKEN\"],\"requires\":[{\"env\":\"ZOO_WANTED\"},"
           "{\"env\":\"ZOO_TOKEN\"},"
           "{\"env\":\"ZOO_OTHER_TOKEN\"},{\"env\":\"zoo_proxy\"},{\"env\":\"zoo_token\"}]");
    must(kit_json_parse(text, strlen(text), &config, &err), &err);
    host_result result = detect_with("secrets", (host_call_options){.timeout_ms = PATIENCE_MS,
                                                                    .secret = give_secret,
                                                                    .secret_user = (char[]){"the user"},
                                                                    .config = config,
                                                                    .show_secrets = true});
    ck_assert_int_eq(result.verdict, HOST_OK);
    const char *logs = kit_buf_text(&seen.logs);
    ck_assert_msg(strstr(logs, "1 granted 0 canary\"\\12\\x0A\xc3\xa9\n") != NULL, "%s", logs);
    ck_assert_msg(strstr(logs, "1 short 11 13\n") != NULL, "%s", logs);
    ck_assert_ptr_nonnull(strstr(logs, "1 unset 5 \n"));
    ck_assert_ptr_nonnull(strstr(logs, "1 foreign 7 \n"));
    ck_assert_ptr_nonnull(strstr(logs, "1 setting 0 eu\n"));
    ck_assert_ptr_nonnull(strstr(logs, "1 number 0 {\"a\":1}\n"));
    ck_assert_ptr_nonnull(strstr(logs, "1 no-setting 5 \n"));
    ck_assert_ptr_nonnull(strstr(logs, "0 ZOO_WANTED=wanted\n"));
    ck_assert_ptr_nonnull(strstr(logs, "0 LC_ZOO=letters\n"));
    ck_assert_ptr_nonnull(strstr(logs, "0 zoo_proxy=in lower case\n"));
    ck_assert_ptr_null(strstr(logs, "environment"));
    ck_assert_ptr_null(strstr(logs, "not passed on"));
    ck_assert_ptr_null(strstr(logs, "nobody wants"));
    cJSON_Delete(config);
    forget();
}
END_TEST

/* Which are set is told, the value of none but an address. */
START_TEST(test_secrets_withheld) {
    setenv("ZOO_FOREIGN_TOKEN", "not passed on", 1);
    add_as(zoo_dir, "secrets", "secrets",
           ",\"auth\":[\"ZOO_TOKEN\"],\"secrets\":[\"ZOO_UNSET\",\"ZOO_HOST\"],\"requires\":[]");
    host_call_options options = {.timeout_ms = PATIENCE_MS,
                                 .secret = give_secret,
                                 .secret_user = (char[]){"the user"},
                                 .secrets_withheld = true,
                                 .show_secrets = true};
    host_result result = detect_with("secrets", options);
    ck_assert_int_eq(result.verdict, HOST_OK);
    ck_assert_str_eq(result.withheld, "ZOO_TOKEN");
    const char *logs = kit_buf_text(&seen.logs);
    ck_assert_msg(strstr(logs, "1 granted 7 \n") != NULL, "%s", logs);
    ck_assert_ptr_nonnull(strstr(logs, "1 short 7 ?\n"));
    ck_assert_ptr_nonnull(strstr(logs, "1 probed 11 \n"));
    ck_assert_ptr_nonnull(strstr(logs, "1 unset 5 \n"));
    ck_assert_ptr_nonnull(strstr(logs, "1 foreign 7 \n"));
    ck_assert_ptr_nonnull(strstr(logs, "1 address 0 ana@box\n"));
    ck_assert_ptr_null(strstr(logs, "canary"));
    forget();
    options.secrets_withheld = false;
    result = detect_with("secrets", options);
    ck_assert_str_eq(result.withheld, "");
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&seen.logs), "1 probed 11 \n"));
    forget();
}
END_TEST

static kit_status grant_none(void *user, const host_backend *row, kolm_error_t *why) {
    (void)user;
    return kit_fail(why, KOLM_E_PERMISSION_DENIED, "ask", "%s is not granted", row->name);
}

START_TEST(test_ungranted_is_not_loaded) {
    kolm_error_t err = KIT_ERROR_INIT;
    host_result result;
    host_registry *registry = NULL;
    add("crash-constructor");
    const char *dirs[] = {zoo_dir};
    host_scan_options where = {.dirs = dirs, .dir_count = 1, .program = program, .grant = grant_none};
    must(host_scan(&where, &registry, &err), &err);
    must(host_detect(registry, find(registry, "crash-constructor"), NULL, &result, &err), &err);
    ck_assert_int_eq(result.verdict, HOST_NOT_LOADED);
    ck_assert_str_eq(result.error.text, "crash-constructor is not granted");
    host_registry_free(registry);
}
END_TEST

START_TEST(test_secret_that_is_no_text) {
    kolm_error_t err = KIT_ERROR_INIT;
    (void)err;
    add("good");
    add_manifest(zoo_dir, "good", ",\"auth\":[\"ZOO_TOKEN\"],\"requires\":[]");
    host_result result = detect_with("good", (host_call_options){.timeout_ms = PATIENCE_MS});
    ck_assert_int_eq(result.verdict, HOST_OK); /* nobody there to give any */
    forget();
}
END_TEST

/* ---- The other slots */
static host_result call_slot(const char *name, const char *slot, host_call_options options, int input_fd,
                             int output_fd) {
    static host_result result;
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry *registry = scan();
    const host_backend *row = find(registry, name);
    kolm_cost_args_t args = {.rows = 5, .threads = 2, .recipe = "linear"};
    options.events = &events;
    kit_status status;
    if (strcmp(slot, "cost") == 0)
        status = host_cost(registry, row, &args, &options, &result, &err);
    else if (strcmp(slot, "train") == 0)
        status = host_train(registry, row, home, 2, &options, &result, &err);
    else if (strcmp(slot, "test") == 0)
        status = host_test(registry, row, 2, &options, &result, &err);
    else if (strcmp(slot, "status") == 0 || strcmp(slot, "prune") == 0)
        status = host_status(registry, row, slot[0] == 'p', 3600, &options, &result, &err);
    else
        status = host_infer(registry, row, home, 2, input_fd, output_fd, &options, &result, &err);
    must(status, &err);
    host_registry_free(registry);
    return result;
}

START_TEST(test_cost) {
    add("good");
    host_result result = call_slot("good", "cost", (host_call_options){0}, -1, -1);
    ck_assert_int_eq(result.verdict, HOST_OK);
    ck_assert_uint_eq(result.cost.duration_ms, 5000);
    ck_assert_uint_eq(result.cost.cost_micro_usd, 1250000); /* the manifest's price */
    ck_assert_uint_eq(result.cost.billing, KOLM_BILLING_PER_HOUR);
    ck_assert_uint_eq(result.cost.confidence, KOLM_CONFIDENCE_MODEL);
    ck_assert_str_eq(result.cost.basis, "linear on 2 threads, 7 s cold");
    add("null-slots");
    const host_backend *rows[2];
    static host_result results[2];
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry *registry = scan();
    kolm_cost_args_t args = {.rows = INT64_MAX / 1000, .recipe = "lora"};
    rows[0] = find(registry, "good");
    rows[1] = find(registry, "null-slots");
    must(host_cost_all(registry, rows, 2, &args, NULL, results, &err), &err);
    ck_assert_int_eq(results[0].verdict, HOST_OK);
    ck_assert_uint_eq(results[0].cost.duration_ms, INT64_MAX / 1000 * 1000ull); /* 63 bits arrive whole */
    ck_assert_int_eq(results[1].verdict, HOST_UNIMPLEMENTED);
    host_registry_free(registry);
}
END_TEST

START_TEST(test_train) {
    add("good");
    forget();
    host_result result = call_slot("good", "train", (host_call_options){.timeout_ms = PATIENCE_MS}, -1, -1);
    ck_assert_int_eq(result.verdict, HOST_OK);
    ck_assert_uint_eq(result.train.billed_micro_usd, 1234567);
    ck_assert_str_eq(result.train.device, "zoo device");
    ck_assert_ptr_nonnull(strstr(result.train.toolchain, "zoo of /kolm-host-"));
    ck_assert_uint_eq(seen.progress_count, 1);
    ck_assert_str_eq(seen.phase, "training");
    ck_assert(seen.progress.loss >= 0.5 && seen.progress.loss <= 0.5);
    ck_assert_str_eq(seen.metric, "accuracy");
    forget();
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry *registry = scan();
    ck_assert_int_eq(host_train(registry, find(registry, "good"), "relative", 1, NULL, &result, &err),
                     KOLM_E_INVALID_ARGUMENT);
    host_registry_free(registry);
}
END_TEST

START_TEST(test_test) {
    add("good");
    forget();
    host_result result = call_slot("good", "test", (host_call_options){.timeout_ms = PATIENCE_MS}, -1, -1);
    ck_assert_int_eq(result.verdict, HOST_OK);
    ck_assert_uint_eq(result.test.passed, 1);
    ck_assert_str_eq(result.test.summary, "good is ready for kolm compile");
    ck_assert_str_eq(
        seen.steps,
        "[1/4 auth check 0 1500 ][2/4 provision 2 1500 not needed][3/4 dry run 0 1500 ][4/4 receipt 0 1500 ]");
    ck_assert_uint_eq(call_slot("good", "test", (host_call_options){.network = true}, -1, -1).test.passed, 0);
    forget();
}
END_TEST

static void *feed(void *fd) {
    kit_status ignored = kit_write_all(*(int *)fd, "one\ntwo\n", 8, NULL);
    (void)ignored;
    close(*(int *)fd);
    return NULL;
}

START_TEST(test_infer) {
    char path[PATH_MAX];
    kit_buf text = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    add("good");
    kit_format(path, sizeof path, "%s/eval.jsonl", home);
    write_text(path, "a\nb\nc\n");
    host_result result = call_slot("good", "infer", (host_call_options){0}, -1, -1);
    ck_assert_int_eq(result.verdict, HOST_OK);
    ck_assert_uint_eq(result.infer.answers, 3);
    ck_assert_uint_eq(result.infer.billed_micro_usd, UINT64_MAX);
    kit_format(path, sizeof path, "%s/predictions.jsonl", home);
    must(kit_read_file(path, 100, &text, &err), &err);
    ck_assert_str_eq(kit_buf_text(&text), "a\nb\nc\n");
    kit_buf_free(&text);

    int in_read, in_write, out_read, out_write;
    pthread_t thread;
    must(kit_pipe(&in_read, &in_write, &err), &err);
    must(kit_pipe(&out_read, &out_write, &err), &err);
    ck_assert_int_eq(pthread_create(&thread, NULL, feed, &in_write), 0);
    result = call_slot("good", "infer", (host_call_options){0}, in_read, out_write);
    pthread_join(thread, NULL);
    close(out_write);
    char bytes[16] = "";
    ck_assert_msg(result.verdict == HOST_OK, "%s", result.error.text);
    must(kit_read_exact(out_read, bytes, 8, &err), &err);
    ck_assert_str_eq(bytes, "one\ntwo\n");
    ck_assert_int_eq(read(out_read, bytes, 1), 0);
    close(in_read);
    close(out_read);
    kit_format(path, sizeof path, "%s/eval.jsonl", home);
    unlink(path);
    result = call_slot("good", "infer", (host_call_options){0}, -1, -1);
    ck_assert_int_eq(result.verdict, HOST_FAILED);
    ck_assert_int_eq(result.error.code, KOLM_E_NOT_FOUND);
}
END_TEST

START_TEST(test_model_is_copied) {
    char path[PATH_MAX], job[2 * PATH_MAX];
    kit_buf text = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    add("no-slices");
    kit_format(path, sizeof path, "%s/eval.jsonl", home);
    write_text(path, "q\n");
    kit_format(path, sizeof path, "%s/artifact", home);
    write_text(path, "....MODEL\n....");
    kit_format(job, sizeof job,
               "{\"format\":1,\"kind\":\"infer\",\"task\":\"t\",\"recipe\":\"linear\",\"seed\":1,\"effort\":\"normal\","
               "\"rows\":0,\"labels\":2,"
               "\"options\":{},\"other\":\"kept\",\"model_files\":[{\"name\":\"part/"
               "a.bin\",\"path\":\"%s\",\"offset\":4,\"size\":6}]}",
               path);
    kit_format(path, sizeof path, "%s/job.json", home);
    write_text(path, job);
    host_result result = call_slot("no-slices", "infer", (host_call_options){0}, -1, -1);
    ck_assert_msg(result.verdict == HOST_OK, "%s", result.error.text);
    must(kit_read_file(path, 10000, &text, &err), &err);
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&text), "/model/part/a.bin\""));
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&text), "\"kept\""));
    kit_buf_free(&text);
    kit_format(path, sizeof path, "%s/predictions.jsonl", home);
    must(kit_read_file(path, 100, &text, &err), &err);
    ck_assert_str_eq(kit_buf_text(&text), "MODEL\nq\n");
    kit_buf_free(&text);
    /* Twice is fine: the copies are in place. */
    ck_assert_int_eq(call_slot("no-slices", "infer", (host_call_options){0}, -1, -1).verdict, HOST_OK);
    kit_format(path, sizeof path, "%s/job.json", home);
    kit_format(job, sizeof job,
               "{\"format\":1,\"kind\":\"infer\",\"task\":\"t\",\"recipe\":\"linear\",\"seed\":1,\"effort\":\"normal\","
               "\"rows\":0,\"labels\":2,"
               "\"options\":{},\"model_files\":[{\"name\":\"part/a.bin\",\"path\":\"%s/"
               "artifact\",\"offset\":4,\"size\":600}]}",
               home);
    write_text(path, job);
    result = call_slot("no-slices", "infer", (host_call_options){0}, -1, -1);
    ck_assert_int_eq(result.verdict, HOST_FAILED);
    ck_assert_int_eq(result.error.code, KOLM_E_DATA_LOSS);
}
END_TEST

START_TEST(test_network_is_refused) {
    add("network");
    host_result result = call_slot("network", "train", (host_call_options){0}, -1, -1);
    ck_assert_int_eq(result.verdict, HOST_NOT_LOADED);
    ck_assert_ptr_nonnull(strstr(result.error.text, "requires the network"));
    ck_assert_int_eq(call_slot("network", "train", (host_call_options){.network = true}, -1, -1).verdict, HOST_OK);
    forget();
}
END_TEST

START_TEST(test_cancel) {
    add("cancels");
    add("hang-slot");
    /* One that listens ends by itself. */
    forget();
    seen.cancel_on_log = 1;
    host_result result =
        call_slot("cancels", "train", (host_call_options){.cancel = &cancel, .grace_ms = PATIENCE_MS}, -1, -1);
    ck_assert_int_eq(result.verdict, HOST_CANCELLED);
    ck_assert_int_lt(result.wall_ms, PATIENCE_MS);
    /* One that does not is ended. */
    forget();
    seen.cancel_on_log = 1;
    result = call_slot("hang-slot", "train", (host_call_options){.cancel = &cancel, .grace_ms = 50}, -1, -1);
    ck_assert_int_eq(result.verdict, HOST_CANCELLED);
    ck_assert_int_eq(result.error.code, KOLM_E_CANCELLED);
    forget();
    /* A deadline is a cancellation of another name. */
    result = call_slot("cancels", "train", (host_call_options){.timeout_ms = 200, .grace_ms = PATIENCE_MS}, -1, -1);
    ck_assert_int_eq(result.verdict, HOST_TIMED_OUT);
    cancel = 1;
    add("good");
    result = call_slot("good", "train", (host_call_options){.cancel = &cancel}, -1, -1);
    ck_assert_int_eq(result.verdict, HOST_CANCELLED);
    forget();
}
END_TEST

/* ---- The airgap */
START_TEST(test_airgap) {
    add("probe");
    host_result outside = detect_with("probe", (host_call_options){.timeout_ms = PATIENCE_MS, .network = true});
    ck_assert_int_eq(outside.verdict, HOST_OK);
    /* The control: what is closed without the airgap proves nothing. */
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&seen.logs), "unix open\n1 inet open\n1 inet-dgram open\n"));
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&seen.logs), "socketpair open\n1 child open\n"));
    host_result inside = detect_with("probe", (host_call_options){.timeout_ms = PATIENCE_MS, .airgap_strict = true});
    ck_assert_msg(inside.verdict == HOST_OK, "%s", inside.error.text); /* threads, memory and files included */
    /* A pair leads nowhere else; workers of Python's talk through such. */
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&seen.logs), "socketpair open\n1 child closed\n"));
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&seen.logs), "unix closed\n1 inet closed\n1 inet-dgram closed\n"));
    ck_assert(inside.sandbox.requested && inside.sandbox.enforced);
    ck_assert_str_eq(inside.sandbox.profile, "strict");
    ck_assert_uint_gt(inside.sandbox.probes_run, 180);
    ck_assert_uint_eq(inside.sandbox.probes_reached, 0);
    ck_assert_uint_ge(inside.sandbox.mechanism_count, 4);
    bool filtered = false;
    for (size_t i = 0; i < inside.sandbox.mechanism_count; i++)
        filtered = filtered || strcmp(inside.sandbox.mechanisms[i], "seccomp") == 0;
    ck_assert(filtered);
    ck_assert_ptr_nonnull(strstr(inside.sandbox.kernel, "Linux "));
    forget();
}
END_TEST

START_TEST(test_airgap_loads_no_network_plugin) {
    kolm_error_t err = KIT_ERROR_INIT;
    char path[PATH_MAX], text[4096];
    static host_result result;
    add("good");
    kit_format(path, sizeof path, "%s/good.json", zoo_dir);
    kit_copy(text, sizeof text, manifest_of("good", PLAIN));
    char *yes = strstr(text, "\"yes\"");
    memcpy(yes, "\"no\" ", 5);
    write_text(path, text);
    host_call_options options = {.airgap_strict = true};
    host_registry *registry = scan();
    must(host_detect(registry, find(registry, "good"), &options, &result, &err), &err);
    ck_assert_int_eq(result.verdict, HOST_NOT_LOADED);
    ck_assert_ptr_nonnull(strstr(result.error.text, "not loaded"));
    ck_assert(!result.loaded);
    options.airgap_strict = false;
    must(host_detect(registry, find(registry, "good"), &options, &result, &err), &err);
    ck_assert_int_eq(result.verdict, HOST_OK);
    host_registry_free(registry);
}
END_TEST

START_TEST(test_airgap_wants_no_socket_in) {
    int pair[2];
    add("good");
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    host_result result = call_slot("good", "infer", (host_call_options){.airgap_strict = true}, -1, pair[1]);
    ck_assert_int_eq(result.verdict, HOST_SANDBOX);
    ck_assert_ptr_nonnull(strstr(result.error.text, "the output of this call is a socket"));
    close(pair[0]);
    close(pair[1]);
}
END_TEST

/* ---- What is kept elsewhere */
static host_result status_of(const char *name, const char *slot, host_call_options options) {
    add(name);
    forget();
    return call_slot(name, slot, options, -1, -1);
}

#define LION "the zoo instance lion 1 1000 60 2500000 asleep\n"
#define UNKNOWN "18446744073709551615"
#define STRAW(state) "the zoo files straw " state " " UNKNOWN " " UNKNOWN " " UNKNOWN " \n"

START_TEST(test_status) {
    host_result result = status_of("good", "status", (host_call_options){.timeout_ms = PATIENCE_MS});
    ck_assert_msg(result.verdict == HOST_OK, "%s", result.error.text);
    ck_assert_str_eq(result.status.summary, "one zoo");
    ck_assert_str_eq(kit_buf_text(&seen.holdings), LION STRAW("0"));
    result = status_of("good", "prune", (host_call_options){.timeout_ms = PATIENCE_MS, .network = true});
    ck_assert_str_eq(result.status.summary, "one zoo, called");
    ck_assert_str_eq(kit_buf_text(&seen.holdings), LION STRAW("2"));
    forget();
}
END_TEST

START_TEST(test_status_of_the_bad) {
    host_result result = status_of("crash-slot", "status", (host_call_options){.timeout_ms = PATIENCE_MS});
    ck_assert_int_eq(result.verdict, HOST_CRASHED);
    ck_assert_ptr_nonnull(strstr(result.error.text, "crashed in status: signal 11"));
    result = status_of("hang-slot", "status", (host_call_options){.timeout_ms = SHORT_MS});
    ck_assert_int_eq(result.verdict, HOST_TIMED_OUT);
    ck_assert_int_eq(status_of("exits", "status", (host_call_options){0}).verdict, HOST_NO_REPLY);
    ck_assert_int_eq(status_of("null-slots", "status", (host_call_options){0}).verdict, HOST_UNIMPLEMENTED);
    ck_assert_int_eq(status_of("floods", "status", (host_call_options){0}).verdict, HOST_OK);
    ck_assert_uint_eq(seen.holding_count, HOST_HOLDINGS_MAX);
    ck_assert_int_eq(status_of("bad-utf8", "status", (host_call_options){0}).verdict, HOST_OK);
    ck_assert_str_eq(kit_buf_text(&seen.holdings),
                     LION "zoo\\xFF files  0 " UNKNOWN " " UNKNOWN " " UNKNOWN " \\x1B[2J\n");
    result = status_of("network", "status", (host_call_options){0});
    ck_assert_ptr_nonnull(strstr(result.error.text, "this backend requires the network"));
    ck_assert_uint_eq(seen.holding_count, 0);
    forget();
}
END_TEST

/* A kolm of 1.0, which had no status: as a plugin sees it. */
START_TEST(test_first_host) {
    static const host_audit first = {.first_minor = true};
    const host_call_options options = {.timeout_ms = PATIENCE_MS, .audit = &first};
    add("good");
    add("trusts-host");
    add("needs-newer-host");
    ck_assert_int_eq(detect_with("good", options).verdict, HOST_OK);
    ck_assert_int_eq(detect_with("trusts-host", options).verdict, HOST_CRASHED);
    ck_assert_int_eq(detect("trusts-host").verdict, HOST_OK);
    ck_assert_uint_eq(seen.holding_count, 0);
    host_result result = detect_with("needs-newer-host", options);
    ck_assert_ptr_nonnull(strstr(result.error.text, "needs kolm ABI 1.3, this is 1.0"));
    forget();
}
END_TEST

/* ---- A backend of long ago */
static void add_old(const char *name) {
    char from[PATH_MAX], to[PATH_MAX];
    kit_format(from, sizeof from, "%s/../abi/%s.so", here, name);
    kit_format(to, sizeof to, "%s/%s.so", zoo_dir, name);
    copy(from, to);
    kit_format(from, sizeof from, "%s/../abi/%s.json", here, name);
    kit_format(to, sizeof to, "%s/%s.json", zoo_dir, name);
    copy(from, to);
}

START_TEST(test_old_backend) {
    add_old("abi-1-0");
    host_result result = detect("abi-1-0");
    ck_assert_msg(result.verdict == HOST_OK, "%s", result.error.text);
    ck_assert_str_eq(result.detect.reason, "one old accelerator");
    ck_assert_uint_eq(result.device_count, 1);
    ck_assert_str_eq(result.devices[0].name, "Old Accelerator");
    ck_assert_uint_eq(result.devices[0].total_memory_bytes, 16ull << 30);
    ck_assert_uint_eq(result.slots, HOST_SLOT_DETECT | HOST_SLOT_COST | HOST_SLOT_TEST);
    ck_assert_int_eq(call_slot("abi-1-0", "train", (host_call_options){0}, -1, -1).verdict, HOST_UNIMPLEMENTED);
    ck_assert_int_eq(call_slot("abi-1-0", "status", (host_call_options){0}, -1, -1).verdict, HOST_UNIMPLEMENTED);
    ck_assert_uint_eq(call_slot("abi-1-0", "cost", (host_call_options){0}, -1, -1).cost.duration_ms, 1005);
    ck_assert_str_eq(call_slot("abi-1-0", "test", (host_call_options){0}, -1, -1).test.summary,
                     "abi-1-0 is ready for kolm compile");
    add_old("abi-1-1");
    ck_assert_str_eq(call_slot("abi-1-1", "status", (host_call_options){0}, -1, -1).status.summary, "one place");
    ck_assert_uint_eq(seen.holding_count, 1);
    const kolm_reclaim_args_t lease = {.name = "lion", .handle = "", .kind = "instance", .place = "the zoo"};
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry *registry = scan();
    must(host_reclaim(registry, find(registry, "abi-1-1"), &lease, NULL, &result, &err), &err);
    ck_assert_int_eq(result.verdict, HOST_UNIMPLEMENTED);
    host_registry_free(registry);
    forget();
}
END_TEST

START_TEST(test_no_program) {
    kolm_error_t err = KIT_ERROR_INIT;
    const char *dirs[] = {zoo_dir};
    host_registry *registry = NULL;
    static host_result result;
    add("good");
    host_scan_options options = {.dirs = dirs, .dir_count = 1, .program = "/nowhere/kolm-host"};
    must(host_scan(&options, &registry, &err), &err);
    ck_assert_ptr_null(registry->program);
    must(host_detect(registry, find(registry, "good"), NULL, &result, &err), &err);
    ck_assert_int_eq(result.verdict, HOST_NOT_LOADED);
    ck_assert_ptr_nonnull(strstr(result.error.text, "/nowhere/kolm-host"));
    host_registry_free(registry);
}
END_TEST

START_TEST(test_replaced_after_scan) {
    kolm_error_t err = KIT_ERROR_INIT;
    static host_result result;
    add("good");
    host_registry *registry = scan();
    add("good"); /* another inode of the same name */
    must(host_detect(registry, find(registry, "good"), NULL, &result, &err), &err);
    ck_assert_int_eq(result.verdict, HOST_NOT_LOADED);
    ck_assert_ptr_nonnull(strstr(result.error.text, "was replaced"));
    host_registry_free(registry);
}
END_TEST

/* Nothing is left in the place for scratch, however a call ended. */
START_TEST(test_scratch_is_removed) {
    char scratch[PATH_MAX];
    static const char *const names[] = {"threads", "crash-slot", "hang-slot", "exits"};
    kit_format(scratch, sizeof scratch, "%s/scratch", home);
    ck_assert_int_eq(mkdir(scratch, 0700), 0);
    for (size_t i = 0; i < 4; i++) {
        add(names[i]);
        detect_with(names[i],
                    (host_call_options){.timeout_ms = i == 2 ? SHORT_MS : PATIENCE_MS, .scratch_root = scratch});
        ck_assert_msg(rmdir(scratch) == 0, "%s: %s", names[i], strerror(errno));
        ck_assert_int_eq(mkdir(scratch, 0700), 0);
    }
    forget();
}
END_TEST

/* What a kolm that was killed left is removed by the next one; what is in use, or nobody's scratch, stays. */
START_TEST(test_scratch_of_the_dead_is_removed) {
    static const struct {
        const char *name;
        mode_t mode; /* 0: a symbolic link */
        bool used, stays;
    } found[] = {{"kolm-scratch-Dead01", 0700, false, false}, {"kolm-scratch-Used01", 0700, true, true},
                 {"kolm-scratch-Open01", 0755, false, true},  {"kolm-scratch-longer-name", 0700, false, true},
                 {"kolm-abcdef", 0700, false, true},          {"kolm-scratch-Link01", 0, false, true}};
    char scratch[PATH_MAX], path[PATH_MAX], inside[PATH_MAX];
    int lock = -1;
    struct stat info;
    kit_format(scratch, sizeof scratch, "%s/scratch", home);
    ck_assert_int_eq(mkdir(scratch, 0700), 0);
    for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
        kit_format(path, sizeof path, "%s/%s", scratch, found[i].name);
        if (found[i].mode == 0) {
            ck_assert_int_eq(symlink(home, path), 0);
            continue;
        }
        ck_assert_int_eq(mkdir(path, 0700), 0);
        ck_assert_int_eq(chmod(path, found[i].mode), 0);
        kit_format(inside, sizeof inside, "%s/inside", path);
        ck_assert_int_eq(mkdir(inside, 0700), 0);
        if (!found[i].used) continue;
        lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_eq(flock(lock, LOCK_EX | LOCK_NB), 0);
    }
    add("good");
    detect_with("good", (host_call_options){.timeout_ms = PATIENCE_MS, .scratch_root = scratch});
    for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
        kit_format(path, sizeof path, "%s/%s", scratch, found[i].name);
        ck_assert_msg((lstat(path, &info) == 0) == found[i].stays, "%s", found[i].name);
    }
    close(lock);
    forget();
}
END_TEST

static void find_here(void) {
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    if (n <= 0) abort();
    here[n] = '\0';
    *strrchr(here, '/') = '\0';
    kit_format(program, sizeof program, "%s/../../core/host/kolm-host", here);
}

int main(void) {
    find_here();
    Suite *suite = suite_create("host");
    TCase *zoo = tcase_create("zoo");
    tcase_add_checked_fixture(zoo, setup, teardown);
    tcase_set_timeout(zoo, 300);
    tcase_add_test(zoo, test_zoo_one_by_one);
    tcase_add_test(zoo, test_a_busy_machine_changes_no_answer);
    tcase_add_test(zoo, test_zoo_together);
    tcase_add_test(zoo, test_few_descriptors);
    tcase_add_test(zoo, test_identity);
    tcase_add_test(zoo, test_garbage_files);
    tcase_add_test(zoo, test_strings_are_cleaned);
    tcase_add_test(zoo, test_secrets_are_not_told);
    tcase_add_test(zoo, test_undeclared_settings);
    tcase_add_test(zoo, test_the_deadline_is_each_ones_own);
    tcase_add_test(zoo, test_prints);
    tcase_add_test(zoo, test_flood_is_rated);
    tcase_add_test(zoo, test_grandchildren_die);
    tcase_add_test(zoo, test_memory_limit);
    suite_add_tcase(suite, zoo);
    TCase *slots = tcase_create("slots");
    tcase_add_checked_fixture(slots, setup, teardown);
    tcase_set_timeout(slots, 300);
    tcase_add_test(slots, test_secrets);
    tcase_add_test(slots, test_secrets_withheld);
    tcase_add_test(slots, test_ungranted_is_not_loaded);
    tcase_add_test(slots, test_secret_that_is_no_text);
    tcase_add_test(slots, test_cost);
    tcase_add_test(slots, test_train);
    tcase_add_test(slots, test_test);
    tcase_add_test(slots, test_infer);
    tcase_add_test(slots, test_model_is_copied);
    tcase_add_test(slots, test_network_is_refused);
    tcase_add_test(slots, test_cancel);
    tcase_add_test(slots, test_status);
    tcase_add_test(slots, test_status_of_the_bad);
    tcase_add_test(slots, test_first_host);
    tcase_add_test(slots, test_old_backend);
    tcase_add_test(slots, test_no_program);
    tcase_add_test(slots, test_replaced_after_scan);
    tcase_add_test(slots, test_scratch_is_removed);
    tcase_add_test(slots, test_scratch_of_the_dead_is_removed);
    suite_add_tcase(suite, slots);
    TCase *airgap = tcase_create("airgap");
    tcase_add_checked_fixture(airgap, setup, teardown);
    tcase_set_timeout(airgap, 300);
    tcase_add_test(airgap, test_airgap);
    tcase_add_test(airgap, test_airgap_loads_no_network_plugin);
    tcase_add_test(airgap, test_airgap_wants_no_socket_in);
    suite_add_tcase(suite, airgap);
    return run_suite(suite);
}
