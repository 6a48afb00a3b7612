/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of every slot, the airgap, remote resources, and a backend with an old ABI. */
#include "host_fixture.h"

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
    ck_assert_uint_eq(results[0].cost.duration_ms, INT64_MAX / 1000 * 1000ull); /* all 63 bits are transferred */
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
    /* It can be called twice: the copies already exist. */
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
    /* A plugin that checks for cancellation ends by itself. */
    forget();
    seen.cancel_on_log = 1;
    host_result result =
        call_slot("cancels", "train", (host_call_options){.cancel = &cancel, .grace_ms = PATIENCE_MS}, -1, -1);
    ck_assert_int_eq(result.verdict, HOST_CANCELLED);
    ck_assert_int_lt(result.wall_ms, PATIENCE_MS);
    /* A plugin that does not is killed. */
    forget();
    seen.cancel_on_log = 1;
    result = call_slot("hang-slot", "train", (host_call_options){.cancel = &cancel, .grace_ms = 50}, -1, -1);
    ck_assert_int_eq(result.verdict, HOST_CANCELLED);
    ck_assert_int_eq(result.error.code, KOLM_E_CANCELLED);
    forget();
    /* A deadline cancels in the same way. */
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
    /* The control: the test only counts if these are open without the airgap. */
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&seen.logs), "unix open\n1 inet open\n1 inet-dgram open\n"));
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&seen.logs), "socketpair open\n1 child open\n"));
    host_result inside = detect_with("probe", (host_call_options){.timeout_ms = PATIENCE_MS, .airgap_strict = true});
    ck_assert_msg(inside.verdict == HOST_OK, "%s", inside.error.text); /* threads, memory and files included */
    /* A socket pair connects to no other process; Python's worker processes use one. */
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

START_TEST(test_airgap_rejects_sockets) {
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

/* ---- Remote resources */
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

/* Simulates a host of ABI 1.0, which had no status. */
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

/* ---- A backend with an old ABI */
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
    add("good"); /* another inode with the same name */
    must(host_detect(registry, find(registry, "good"), NULL, &result, &err), &err);
    ck_assert_int_eq(result.verdict, HOST_NOT_LOADED);
    ck_assert_ptr_nonnull(strstr(result.error.text, "was replaced"));
    host_registry_free(registry);
}
END_TEST

/* The directory for scratch files is empty after a call, however it ended. */
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

/* kolm removes the scratch directories of a kolm that was killed; those in use, and other directories, stay. */
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

int main(void) {
    find_here();
    Suite *suite = suite_create("host calls");
    TCase *slots = tcase_create("slots");
    tcase_add_checked_fixture(slots, setup, teardown);
    tcase_set_timeout(slots, 300);
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
    tcase_add_test(airgap, test_airgap_rejects_sockets);
    suite_add_tcase(suite, airgap);
    return run_suite(suite);
}
