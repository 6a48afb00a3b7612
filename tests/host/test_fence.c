/* SPDX-License-Identifier: Apache-2.0 */
/* The fence: what no backend can access, and what every call can. */
#include "fence_fixture.h"

/* ---- Always denied */
static size_t want_what_is_not_its_own(void) {
    const char *const files[] = {"home/.kolm/keys/signing.pem",
                                 "home/.kolm/credentials",
                                 "home/.kolm/config.json",
                                 "home/.profile",
                                 "home/.ssh/id",
                                 "home/.kolm/jobs/other/job/train.jsonl",
                                 "home/.kolm/jobs/one/private/heldout.jsonl",
                                 "data/beside"};
    const char *const directories[] = {"home/.kolm/keys", "home/.kolm", "home", "home/.kolm/jobs/one", "data"};
    const char *const made[] = {"home/.bashrc", "home/.kolm/new", "home/.kolm/jobs/one/beside", "data/new"};
    size_t n = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++, n += 4) {
        want("read", at(files[i]));
        want("append", at(files[i]));
        want("truncate", at(files[i]));
        want("unlink", at(files[i]));
    }
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++, n++)
        want("list", at(directories[i]));
    for (size_t i = 0; i < sizeof made / sizeof *made; i++, n += 2) {
        want("write", at(made[i]));
        want("mkdir", at(made[i]));
    }
    static const char *const of_process[] = {"mem", "environ", "maps", "cwd", "signal", "trace", "peek"};
    for (size_t i = 0; i < sizeof of_process / sizeof *of_process; i++, n += 2) {
        want_number(of_process[i], (long)victim);
        want_number(of_process[i], (long)getpid());
    }
    want("abstract", listener_name);
    return n + 1;
}

static void check_nothing_got(const char *slot, bool airgap) {
    size_t wanted = want_what_is_not_its_own();
    configure("");
    host_result result = call(slot, airgap);
    ck_assert_msg(count_of("GOT") == 0, "%s%s: %s", slot, airgap ? " under airgap" : "", kit_buf_text(&logs));
    ck_assert_uint_eq(count_of("\n"), wanted);
    ck_assert(result.sandbox.fenced);
    ck_assert(result.sandbox.requested == airgap && result.sandbox.enforced == airgap);
    ck_assert_str_eq(result.sandbox.profile, airgap ? "strict" : "fence");
    ck_assert_uint_gt(result.sandbox.probes_run, airgap ? 200 : 15);
    ck_assert_uint_eq(result.sandbox.probes_reached, 0);
}

START_TEST(test_nothing_of_others) {
    if (landlock() < 6) return; /* test_old_kernels checks the message there */
    check_nothing_got("detect", false);
    check_nothing_got("detect", true);
    check_nothing_got("train", false);
    check_nothing_got("train", true);
}
END_TEST

/* Landlock restricts none of these, which could make a file accessible to others, or run as its owner. */
static const char *const settings_of_files[] = {"mode", "owner", "times", "attribute", "attribute-at", "flags-at"};

/* own: without attributes and flags, which some file systems do not support. */
static size_t want_settings_of(const char *path, bool own) {
    size_t n = sizeof settings_of_files / sizeof *settings_of_files - (own ? 3 : 0);
    for (size_t i = 0; i < n; i++)
        want(settings_of_files[i], path);
    return n;
}

static bool has_mechanism(const host_result *result, const char *name) {
    for (size_t i = 0; i < result->sandbox.mechanism_count; i++)
        if (strcmp(result->sandbox.mechanisms[i], name) == 0) return true;
    return false;
}

static void check_settings(const char *slot, bool airgap) {
    want_settings_of(at("home/.kolm/keys/signing.pem"), false);
    want_settings_of(at("home/.kolm"), false);
    want_settings_of(at("home"), false);
    want_settings_of(at("home/.profile"), false);
    want_settings_of(at("plugins/reaches.so"), false);
    want("fmode", at("plugins/reaches.so"));
    want_number("limits", (long)victim);
    want_number("limits", (long)getpid());
    configure("");
    host_result result = call(slot, airgap);
    ck_assert(has_mechanism(&result, "seccomp_unseen"));
    /* A container without namespaces: the receipt reports it. */
    if (strcmp(slot, "train") == 0 && !has_mechanism(&result, "read_only_mounts")) {
        ck_assert_uint_gt(result.sandbox.lack_count, 0);
        return;
    }
    ck_assert_msg(count_of("GOT") == 0, "%s%s: %s", slot, airgap ? " under airgap" : "", kit_buf_text(&logs));
    ck_assert_uint_eq(count_of("\n"), 33);
    if (strcmp(slot, "detect") == 0) return;
    want("mode", at("home/.kolm/jobs/one/job"));
    size_t n = 1 + want_settings_of(at("home/.kolm/jobs/one/job/train.jsonl"), true);
    configure("");
    (void)call(slot, airgap);
    ck_assert_msg(count_of("GOT") == n, "%s: %s", slot, kit_buf_text(&logs));
}

START_TEST(test_settings_of_files) {
    if (landlock() < 6) return;
    check_settings("detect", false);
    check_settings("detect", true);
    check_settings("train", false);
    check_settings("train", true);
}
END_TEST

/* Ways around the filter that detect has instead of mounts, and System V and POSIX objects that are not files. */
static void check_ways_around(const char *slot, bool airgap, const int ids[3], const char *queue) {
    size_t wanted = 5;
    want_number("segment", ids[0]);
    want_number("remove", ids[0]);
    want_number("semaphore", ids[1]);
    want_number("messages", ids[2]);
    want("queue", queue);
    if (strcmp(slot, "detect") == 0) { /* other slots may use io_uring, limited by the mounts */
        kit_buf_str(&targets, "ring -;stream 0;stream 262;datagram 0;"); /* 262: MPTCP */
        want("verity", at("plugins/reaches.so"));
        want("subvolume", at("plugins"));
        wanted += 6;
    }
    configure("");
    host_result result = call(slot, airgap);
    if (strcmp(slot, "train") == 0 && !has_mechanism(&result, "ipc_namespace")) return;
    ck_assert_msg(count_of("GOT") == 0, "%s%s: %s", slot, airgap ? " under airgap" : "", kit_buf_text(&logs));
    ck_assert_uint_eq(count_of("\n"), wanted);
}

START_TEST(test_ways_around) {
    char queue[64];
    if (landlock() < 6) return;
    kit_format(queue, sizeof queue, "kolm-fence-%ld", (long)getpid());
    const int ids[] = {shmget(IPC_PRIVATE, 4096, 0600), semget(IPC_PRIVATE, 1, 0600), msgget(IPC_PRIVATE, 0600)};
    long mq = syscall(SYS_mq_open, queue, O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
    ck_assert(ids[0] >= 0 && ids[1] >= 0 && ids[2] >= 0 && mq >= 0);
    for (int i = 0; i < 4; i++)
        check_ways_around(i < 2 ? "detect" : "train", i % 2 != 0, ids, queue);
    ck_assert_int_eq(shmctl(ids[0], IPC_RMID, NULL), 0);
    ck_assert_int_eq(semctl(ids[1], 0, IPC_RMID), 0);
    ck_assert_int_eq(msgctl(ids[2], IPC_RMID, NULL), 0);
    ck_assert_int_eq(syscall(SYS_mq_unlink, queue), 0);
}
END_TEST

/* The control: all of this is accessible without a fence, otherwise the tests of the fence would prove nothing. */
START_TEST(test_without_fence) {
    want("read", at("home/.kolm/keys/signing.pem"));
    want("append", at("home/.profile"));
    want("write", at("home/.bashrc"));
    want("list", at("home/.kolm/keys"));
    want_number("signal", (long)victim);
    want_number("limits", (long)victim);
    want("abstract", listener_name);
    size_t n = 7 + want_settings_of(at("home/.profile"), true);
    configure("\"off\"");
    host_result result = call("train", false);
    ck_assert_msg(count_of("GOT") == n, "%s", kit_buf_text(&logs));
    ck_assert(!result.sandbox.fenced);
    ck_assert_str_eq(result.sandbox.profile, "none");
    ck_assert_str_eq(result.sandbox.lacks[0], "fence_off_in_config");
    want("abstract", listener_name);
    configure("\"off\"");
    result = call("train", true);
    ck_assert_msg(count_of("GOT") == 0, "%s", kit_buf_text(&logs));
    ck_assert(result.sandbox.requested && !result.sandbox.enforced); /* sockets are closed, but files are not */
    ck_assert_str_eq(result.sandbox.profile, "sockets");
}
END_TEST

/* ---- What every call can access */
static void check_all_got(const char *slot, bool airgap) {
    size_t n = 0;
    want("read", "/usr/bin/env");
    want("run", "/usr/bin/true");
    want("read", "/etc/passwd");
    want("read", "/proc/cpuinfo");
    want("read", "/proc/self/status");
    want("list", "/sys/class");
    want("append", "/dev/null");
    want("read", "/dev/urandom");
    want("read", at("plugins/reaches.json"));
    want("run", at("home/.kolm/runtimes/own/bin/python"));
    want("pair", "-");
    n += 11;
    if (strcmp(slot, "train") == 0) {
        want("read", at("home/.kolm/jobs/one/job/train.jsonl"));
        want("append", at("home/.kolm/jobs/one/job/train.jsonl"));
        want("write", at("home/.kolm/jobs/one/job/result.json"));
        want("mkdir", at("home/.kolm/jobs/one/job/model"));
        want("write", at("home/.kolm/jobs/one/job/model/weights"));
        want("unlink", at("home/.kolm/jobs/one/job/model/weights"));
        want("write", "/dev/shm/kolm-fence-test");
        want("unlink", "/dev/shm/kolm-fence-test");
        n += 8;
    }
    configure("");
    (void)call(slot, airgap);
    ck_assert_msg(count_of("GOT") == n, "%s: %s", slot, kit_buf_text(&logs));
}

START_TEST(test_what_a_call_needs) {
    kolm_error_t err = KIT_ERROR_INIT;
    check_all_got("detect", false);
    check_all_got("detect", true);
    check_all_got("train", false);
    must(kit_remove_tree(at("home/.kolm/jobs/one/job/model"), &err), &err);
    check_all_got("train", true);
}
END_TEST

int main(void) {
    find_here();
    Suite *suite = suite_create("host-fence");
    TCase *fence = tcase_create("fence");
    tcase_add_checked_fixture(fence, setup, teardown);
    tcase_set_timeout(fence, 300);
    tcase_add_test(fence, test_nothing_of_others);
    tcase_add_test(fence, test_settings_of_files);
    tcase_add_test(fence, test_ways_around);
    tcase_add_test(fence, test_without_fence);
    tcase_add_test(fence, test_what_a_call_needs);
    suite_add_tcase(suite, fence);
    return run_suite(suite);
}
