/* SPDX-License-Identifier: Apache-2.0 */
/* The host with a zoo of bad plugins: the exact verdict on each, and that the other plugins still work. */
#include "host_fixture.h"

/* ---- The zoo */
static const struct animal {
    const char *name;
    host_verdict verdict;
    const char *words; /* part of the error text or of the reason */
    bool hangs;
} animals[] = {
    {"good", HOST_OK, "a zoo animal", false},
    {"no-symbol", HOST_NOT_LOADED, "does not export kolm_backend_v1", false},
    {"wrong-major", HOST_NOT_LOADED, "needs kolm ABI 2.3, this is 1.2", false},
    {"short-struct", HOST_NOT_LOADED, "its table has ", false},
    {"tiny-struct", HOST_NOT_LOADED, "too few for its version", false},
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
    {"exits", HOST_NO_REPLY, "exited in detect without an answer", false},
    {"exits-constructor", HOST_NO_REPLY, "exited while it was being loaded without an answer", false},
    {"aborts", HOST_CRASHED, "signal 6 (Aborted)", false},
    {"closes-fds", HOST_NO_REPLY, "without an answer", false},
    {"forges", HOST_NO_REPLY, "wrote over its own reply in detect", false},
    {"writes-fds", HOST_NO_REPLY, "wrote over its own reply in detect", false},
    {"floods", HOST_OK, "a zoo animal", false},
    {"bad-utf8", HOST_OK, "\\xFF\\xFF", false},
    {"prints", HOST_OK, "a zoo animal", false},
    {"name-mismatch", HOST_NOT_LOADED, "its name is 'somebody-else', but its file is named 'name-mismatch'", false},
    {"no-vendor", HOST_NOT_LOADED, "its table has no vendor", false},
    {"forks", HOST_OK, "a zoo animal", false},
    {"forks-away", HOST_OK, "a zoo animal", false},
    {"fails", HOST_FAILED, "the quota of the zoo is used up", false},
    {"names-scratch", HOST_FAILED, "cannot read [scratch]/weights", false}, /* it is removed by then */
    {"odd-code", HOST_FAILED, "odd-code: detect failed with 4711, which is not a KOLM_E_* code, and gave no reason",
     false},
    {"mute", HOST_FAILED,
     "mute: detect failed with RESOURCE_EXHAUSTED (8) and gave no reason; its last output: \"the quota is used up\"",
     false},
    {"licence", HOST_NO_REPLY,
     "licence exited in detect without an answer (exit status 3); its last output: \"checking\" "
     "\"licence \\x1B[31mexpired\\x1B[0m on 2026-01-01\"",
     false},
    {"throws", HOST_CRASHED,
     "signal 6 (Aborted); its last output: \"terminate called after throwing an instance of 'std::runtime_error'\" "
     "\"  what():  no seat is free\"",
     false},
    {"sanitized", HOST_CRASHED,
     "signal 6 (Aborted); its last output: \"==7==ERROR: AddressSanitizer: heap-buffer-overflow on address", false},
    {"babbles", HOST_NO_REPLY, "(exit status ", false},
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
    if (ended && result->loaded) /* names who to report it to */
        ck_assert_msg(strstr(result->error.remedy, result->vendor) != NULL, "%s: %s", animal->name,
                      result->error.remedy);
}

/* Uses one processor, in a separate session, which has its own share of CPU time. */
static pid_t spin_on(const cpu_set_t *one) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    setsid();
    sched_setaffinity(0, sizeof *one, one);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
    }
}

/* A quarter of a second of work takes longer than a second on a processor shared with eight other processes, which is
 * not the plugin's fault. The other tests share it, too; the deadline is extended to at most six times its value. */
START_TEST(test_a_busy_machine_changes_no_answer) {
    enum { SPINNERS = 8 };
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

/* All of them at once: those that hang do not delay the others, and all end at the common deadline. */
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

/* Fewer descriptors than all of them need together: they take turns. */
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
    ck_assert_str_eq(result.version, "1.2.3"); /* its identity is known anyway */
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
    ck_assert_msg(strstr(result.error.text, "is not a shared object") != NULL, "%s", result.error.text);
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

/* The value of a secret is in no log line and no error, verbatim or escaped. */
START_TEST(test_secrets_are_not_reported) {
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

/* More hanging plugins than may run at once, all before a good one: the good one gets its whole time when its turn
 * comes. */
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
    ck_assert_uint_eq(seen.progress.step, 20000); /* the last one is never dropped */
    ck_assert_uint_ge(seen.metric_count, 2);      /* the first and the last */
    ck_assert_uint_le(seen.metric_count, 2 + (unsigned)(result.wall_ms / 50));
    ck_assert(seen.value >= 20000 && seen.value <= 20000);
    ck_assert_ptr_nonnull(
        strstr(kit_buf_text(&seen.logs), "2 detect: a device was dropped: kolm accepts 64 of them; report"));
    ck_assert_ptr_nonnull(
        strstr(kit_buf_text(&seen.logs), "2 detect: the metric 'Not A Name' was dropped: not a valid metric name"));
    ck_assert_uint_eq(seen.holding_count, 0); /* only status reports holdings */
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
    if (end && (end[2] == 'Z' || end[2] == 'X')) gone = true; /* dead, but not yet reaped */
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
    if (KOLM_FP_SANITIZER != 0) return; /* no limit, because shadow memory would count, too */
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

/* The plugin learns which secrets are set, but no values except addresses. */
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
    ck_assert_int_eq(result.verdict, HOST_OK); /* no callback provides any */
    forget();
}
END_TEST

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
    tcase_add_test(zoo, test_secrets_are_not_reported);
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
    suite_add_tcase(suite, slots);
    return run_suite(suite);
}
