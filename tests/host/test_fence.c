/* SPDX-License-Identifier: Apache-2.0 */
/* The fence around every call: what a plugin reaches for and does not get, what it needs and does, with and without airgap. */
#include "../suite.h"
#include "host/host.h"
#include "kolm/kit/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 60000

static char here[PATH_MAX], program[PATH_MAX];
static char root[PATH_MAX]; /* the temporary directory of one test: home/ is HOME, home/.kolm is KOLM_HOME */
static pid_t victim;        /* another process of the user */
static int listener = -1;   /* an abstract socket of the user */
static char listener_name[64];
static kit_buf logs;
static host_registry *registry;
static cJSON *config;

static void must(kit_status status, const kolm_error_t *err) {
    ck_assert_msg(status == KOLM_OK, "%s", err->text);
}

static const char *at(const char *relative) {
    static char paths[16][PATH_MAX];
    static size_t next;
    char *path = paths[next++ % 16];
    kit_format(path, PATH_MAX, "%s/%s", root, relative);
    return path;
}

static void put(const char *relative, const char *text) {
    char parent[PATH_MAX];
    kolm_error_t err = KIT_ERROR_INIT;
    kit_copy(parent, sizeof parent, at(relative));
    *strrchr(parent, '/') = '\0';
    must(kit_mkdirs(parent, 0755, &err), &err);
    must(kit_write_file(at(relative), 0755, text, strlen(text), &err), &err);
}

static void start_victim(void) {
    int ready[2];
    char byte;
    ck_assert_int_eq(pipe(ready), 0);
    victim = fork();
    if (victim == 0) {
        (void)!write(ready[1], "r", 1);
        for (;;)
            pause();
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    kit_format(listener_name, sizeof listener_name, "kolm-fence-%ld", (long)getpid());
    memcpy(address.sun_path + 1, listener_name, strlen(listener_name));
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(listener_name))),
                     0);
    ck_assert_int_eq(listen(listener, 16), 0);
}

static void add_plugin(const char *more) {
    char from[PATH_MAX], text[2048];
    kit_buf bytes = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    kit_format(from, sizeof from, "%s/reaches.so", here);
    must(kit_mkdirs(at("plugins"), 0755, &err), &err);
    must(kit_read_file(from, 64u << 20, &bytes, &err), &err);
    must(kit_write_file(at("plugins/reaches.so"), 0755, bytes.data, bytes.length, &err), &err);
    kit_buf_free(&bytes);
    kit_format(text, sizeof text,
               "{\"name\":\"reaches\",\"kind\":\"local\",\"tier\":2,\"train\":true,\"infer\":true,\"airgap\":\"yes\","
               "\"billing\":\"free\",\"cost_per_hour_usd\":0,\"cold_start_seconds\":0,\"vram_cap_gb\":null,"
               "\"auth\":[],\"requires\":[],\"runtime\":\"zoo\",\"summary\":\"Reaches for things.\"%s}",
               more);
    put("plugins/reaches.json", text);
}

static void setup(void) {
    kit_copy(root, sizeof root, "/tmp/kolm-fence-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    put("home/.profile", "a profile\n");
    put("home/.ssh/id", "a key\n");
    put("home/.ssh/known_hosts", "a host\n");
    put("home/.kolm/credentials", "TOKEN=1\n");
    put("home/.kolm/config.json", "{}\n");
    put("home/.kolm/keys/signing.pem", "a secret\n");
    put("home/.kolm/runtimes/own/bin/python", "#!/bin/sh\nexit 0\n");
    put("home/.kolm/jobs/one/job/train.jsonl", "{}\n");
    put("home/.kolm/jobs/one/private/heldout.jsonl", "{}\n");
    put("home/.kolm/jobs/other/job/train.jsonl", "{}\n");
    put("home/bin/tool", "#!/bin/sh\nexit 0\n");
    put("data/model.kolm", "model\n");
    put("data/beside", "not asked for\n");
    ck_assert_int_eq(chmod(root, 0755), 0);
    ck_assert_int_eq(setenv("HOME", at("home"), 1), 0);
    start_victim();
    add_plugin("");
}

static void teardown(void) {
    kolm_error_t err = KIT_ERROR_INIT;
    kill(victim, SIGKILL);
    waitpid(victim, NULL, 0);
    close(listener);
    host_registry_free(registry);
    registry = NULL;
    cJSON_Delete(config);
    config = NULL;
    kit_buf_free(&logs);
    ck_assert_msg(kit_remove_tree(root, &err) == KOLM_OK, "%s", err.text);
}

static void on_log(void *user, const char *backend, uint32_t level, const char *text) {
    (void)user;
    (void)backend;
    (void)level;
    kit_buf_fmt(&logs, "%s\n", text);
}

/* What reaches for: WHAT ARG;WHAT ARG; ... */
static kit_buf targets;

static void want(const char *what, const char *arg) {
    kit_buf_fmt(&targets, "%s %s;", what, arg);
}

static void want_number(const char *what, long number) {
    kit_buf_fmt(&targets, "%s %ld;", what, number);
}

static void configure(const char *fence) {
    kit_buf text = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry_free(registry);
    cJSON_Delete(config);
    config = NULL;
    registry = NULL;
    kit_buf_fmt(&text, "{\"runtimes\":{\"reaches\":\"%s\"},\"backends\":{\"reaches\":{\"targets\":\"%s\"%s%s}}}",
                at("home/.kolm/runtimes/own/bin/python"), kit_buf_text(&targets), *fence ? ",\"fence\":" : "", fence);
    must(kit_json_parse(kit_buf_text(&text), text.length, &config, &err), &err);
    kit_buf_free(&text);
    kit_buf_free(&targets);
    const char *dirs[] = {at("plugins")};
    host_scan_options options = {.dirs = dirs, .dir_count = 1, .program = program, .config = {.json = config}};
    must(host_scan(&options, &registry, &err), &err);
    const host_backend *row = host_find(registry, "reaches");
    ck_assert_msg(row && row->state == HOST_ROW_OK, "%s", row ? row->why.text : "no row");
}

static host_result call(const char *slot, bool airgap) {
    static host_result result;
    static const char *const names[] = {"credentials", "keys", "keys/signing.pem", "config.json", NULL};
    static const host_events events = {.log = on_log};
    kolm_error_t err = KIT_ERROR_INIT;
    const host_backend *row = host_find(registry, "reaches");
    const host_call_options options = {.timeout_ms = PATIENCE_MS,
                                       .airgap_strict = airgap,
                                       .config = config,
                                       .events = &events,
                                       .private_dir = at("home/.kolm"),
                                       .private_names = names};
    kit_buf_clear(&logs);
    const char *job = at("home/.kolm/jobs/one/job");
    if (strcmp(slot, "detect") == 0)
        must(host_detect(registry, row, &options, &result, &err), &err);
    else
        must(host_train(registry, row, job, 1, &options, &result, &err), &err);
    ck_assert_msg(result.verdict == HOST_OK, "%s: %s", slot, result.error.text);
    return result;
}

static size_t count_of(const char *word) {
    size_t n = 0;
    for (const char *text = kit_buf_text(&logs); (text = strstr(text, word)) != NULL; text++)
        n++;
    return n;
}

static long landlock(void) {
    return syscall(444, NULL, 0, 1);
}

/* ---- What nobody gets */
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
    if (landlock() < 6) return; /* test_old_kernels tells what is said there */
    check_nothing_got("detect", false);
    check_nothing_got("detect", true);
    check_nothing_got("train", false);
    check_nothing_got("train", true);
}
END_TEST

/* Landlock sees none of these: each would open a file to others, or have it run as its owner. */
static const char *const settings_of_files[] = {"mode", "owner", "times", "attribute", "attribute-at", "flags-at"};

/* own: not attributes and flags, which some file systems do not have. */
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
    /* A container that allows no namespaces: there the receipt says so. */
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

/* Ways around the filter that detect has in the place of mounts, and what System V and POSIX keep without a file. */
static void check_ways_around(const char *slot, bool airgap, const int ids[3], const char *queue) {
    size_t wanted = 5;
    want_number("segment", ids[0]);
    want_number("remove", ids[0]);
    want_number("semaphore", ids[1]);
    want_number("messages", ids[2]);
    want("queue", queue);
    if (strcmp(slot, "detect") == 0) { /* others may have rings, and mounts answer for what is asked through them */
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

/* The control: the same is there to be had where the user wants no fence, or a test of the fence would prove nothing. */
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

/* ---- What every call has */
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

/* ---- What is declared, and what config.json adds */
START_TEST(test_declared) {
    add_plugin(",\"files\":{\"read\":[\"~/.ssh\",\"~/.kolm/credentials\",\"${KOLM_FENCE_DATA}/beside\"],"
               "\"write\":[\"~/.ssh/known_hosts\",\"~/.cache/reaches/\"]}");
    if (landlock() < 6) return;
    ck_assert_int_eq(setenv("KOLM_FENCE_DATA", at("data"), 1), 0);
    want("read", at("home/.ssh/id"));
    want("append", at("home/.ssh/known_hosts"));
    want("write", at("home/.cache/reaches/x"));
    want("read", at("data/beside"));
    configure("");
    (void)call("train", false);
    ck_assert_msg(count_of("GOT") == 4, "%s", kit_buf_text(&logs));
    want("append", at("home/.ssh/id"));
    want("write", at("home/.ssh/authorized_keys"));
    want("write", at("home/.cache/x"));
    want("read", at("data/model.kolm"));
    want("read", at("home/.kolm/credentials"));
    configure("");
    (void)call("train", false);
    ck_assert_msg(count_of("GOT") == 0, "%s", kit_buf_text(&logs));
    ck_assert_uint_eq(count_of("is kept from the backend"), 1); /* ~/.kolm/credentials */
}
END_TEST

static kit_status no_grant(void *user, const host_backend *row, kolm_error_t *why) {
    (void)user;
    (void)row;
    return kit_fail(why, KOLM_E_PERMISSION_DENIED, "", "not granted");
}

START_TEST(test_not_granted) {
    add_plugin(",\"files\":{\"read\":[\"~/.ssh\"]}");
    if (landlock() < 6) return;
    kolm_error_t err = KIT_ERROR_INIT;
    want("read", at("home/.ssh/id"));
    configure("");
    const char *dirs[] = {at("plugins")};
    host_scan_options options = {
        .dirs = dirs, .dir_count = 1, .program = program, .config = {.json = config}, .grant = no_grant};
    host_registry_free(registry);
    must(host_scan(&options, &registry, &err), &err);
    static host_result result;
    static const host_events events = {.log = on_log};
    const host_call_options call_options = {.timeout_ms = PATIENCE_MS, .config = config, .events = &events};
    must(host_train(registry, host_find(registry, "reaches"), at("home/.kolm/jobs/one/job"), 1, &call_options, &result,
                    &err),
         &err);
    ck_assert_int_eq(result.verdict, HOST_NOT_LOADED); /* nor is it called at all */
    ck_assert_msg(count_of("GOT") == 0, "%s", kit_buf_text(&logs));
}
END_TEST

START_TEST(test_more_from_config) {
    char fence[PATH_MAX + 64];
    if (landlock() < 6) return;
    kit_format(fence, sizeof fence, "{\"read\":[\"%s\"],\"write\":[\"~/.profile\"]}", at("data"));
    want("read", at("data/beside"));
    want("append", at("home/.profile"));
    configure(fence);
    (void)call("detect", false);
    ck_assert_msg(count_of("GOT") == 2, "%s", kit_buf_text(&logs));
}
END_TEST

/* PATH leads through the home, above it, and into KOLM_HOME: programs run, secrets stay. */
START_TEST(test_variables_that_lead_home) {
    char path[PATH_MAX];
    if (landlock() < 6) return;
    kit_format(path, sizeof path, "/usr/bin:/bin:%s:%s:%s:%s", at("home/bin"), at("home"), at("home/.kolm/keys"), root);
    ck_assert_int_eq(setenv("PATH", path, 1), 0);
    want("run", at("home/bin/tool"));
    want("read", at("data/beside")); /* root is split around the home */
    configure("");
    (void)call("detect", false);
    ck_assert_msg(count_of("GOT") == 2, "%s", kit_buf_text(&logs));
    want("read", at("home/.kolm/keys/signing.pem"));
    want("read", at("home/.kolm/credentials"));
    want("read", at("home/.profile"));
    configure("");
    (void)call("detect", false);
    ck_assert_msg(count_of("GOT") == 0, "%s", kit_buf_text(&logs));
}
END_TEST

/* ---- What job.json names, and descriptors */
START_TEST(test_files_of_the_job) {
    char job[PATH_MAX * 5];
    static host_result result;
    static const host_events events = {.log = on_log};
    static const char *const names[] = {"keys", NULL};
    kolm_error_t err = KIT_ERROR_INIT;
    kit_format(job, sizeof job,
               "{\"model_files\":[{\"path\":\"%s\"},{\"path\":\"%s\"},{\"path\":\"%s\"},{\"path\":\"%s\"}],"
               "\"options\":{\"base\":{\"path\":\"%s\"}}}",
               at("data/model.kolm"), at("home/.kolm/keys/signing.pem"), at("home/.kolm/jobs/one/job/linked"),
               at("home/.kolm/jobs/one/job/away/id"), at("base/snapshots/x"));
    /* An earlier call may have made these: they give nothing that it did not have. */
    ck_assert_int_eq(symlink(at("data/beside"), at("home/.kolm/jobs/one/job/linked")), 0);
    ck_assert_int_eq(symlink(at("home/.ssh"), at("home/.kolm/jobs/one/job/away")), 0);
    put("base/blobs/1", "weights\n");
    put("base/snapshots/x/config.json", "{}\n");
    ck_assert_int_eq(symlink("../../blobs/1", at("base/snapshots/x/model.safetensors")), 0);
    put("home/.kolm/jobs/one/job/job.json", job);
    put("data/in", "a line\n");
    put("data/out", "");
    int in = open(at("data/in"), O_RDONLY | O_CLOEXEC), out = open(at("data/out"), O_WRONLY | O_CLOEXEC);
    ck_assert(in >= 0 && out >= 0);
    for (int airgap = 0; airgap < 2; airgap++) {
        want("read", at("data/model.kolm"));
        want("read", at("base/snapshots/x/config.json"));
        want("read", at("base/snapshots/x/model.safetensors"));
        want("read", at("home/.kolm/keys/signing.pem"));
        want("append", at("data/model.kolm"));
        want("read", at("data/beside"));
        want("read", at("home/.ssh/id"));
        configure("");
        const host_call_options options = {.timeout_ms = PATIENCE_MS,
                                           .airgap_strict = airgap != 0,
                                           .config = config,
                                           .events = &events,
                                           .private_dir = at("home/.kolm"),
                                           .private_names = names};
        kit_buf_clear(&logs);
        must(host_infer(registry, host_find(registry, "reaches"), at("home/.kolm/jobs/one/job"), 1, in, out, &options,
                        &result, &err),
             &err);
        ck_assert_msg(result.verdict == HOST_OK && result.infer.answers == 1, "%s\n%s", result.error.text,
                      kit_buf_text(&logs));
        if (landlock() >= 3) ck_assert_msg(count_of("GOT") == 3, "%s", kit_buf_text(&logs));
    }
    close(in);
    close(out);
}
END_TEST

/* ---- What is written wrongly */
#define FOUR "\"/a\",\"/a\",\"/a\",\"/a\","
#define SEVENTEEN "[" FOUR FOUR FOUR FOUR "\"/a\"]"

START_TEST(test_manifests) {
    static const char *const bad[] = {"\"/srv\"",
                                      "[]",
                                      "{\"read\":\"/srv\"}",
                                      "{\"exec\":[]}",
                                      "{\"read\":[\"srv\"]}",
                                      "{\"read\":[\"/\"]}",
                                      "{\"read\":[\"~/\"]}",
                                      "{\"read\":[\"~\"]}",
                                      "{\"read\":[\"/srv/../etc\"]}",
                                      "{\"read\":[\"${1A}/x\"]}",
                                      "{\"read\":[\"${HOME\"]}",
                                      "{\"write\":[\"${A}/..\"]}",
                                      "{\"write\":[7]}",
                                      "{\"write\":[\"@nothing\"]}",
                                      "{\"read\":" SEVENTEEN "}"};
    char text[2048];
    kolm_error_t err = KIT_ERROR_INIT;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kit_format(text, sizeof text, ",\"files\":%s", bad[i]);
        add_plugin(text);
        const char *dirs[] = {at("plugins")};
        host_scan_options options = {.dirs = dirs, .dir_count = 1, .program = program};
        must(host_scan(&options, &registry, &err), &err);
        const host_backend *row = host_find(registry, "reaches");
        ck_assert_msg(row->state == HOST_ROW_REFUSED && row->rule == HOST_RULE_MANIFEST, "%s", bad[i]);
        ck_assert_ptr_nonnull(strstr(row->why.text, "\"files\""));
        host_registry_free(registry);
        registry = NULL;
    }
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
    Suite *suite = suite_create("host-fence");
    TCase *fence = tcase_create("fence");
    tcase_add_checked_fixture(fence, setup, teardown);
    tcase_set_timeout(fence, 300);
    tcase_add_test(fence, test_nothing_of_others);
    tcase_add_test(fence, test_settings_of_files);
    tcase_add_test(fence, test_ways_around);
    tcase_add_test(fence, test_without_fence);
    tcase_add_test(fence, test_what_a_call_needs);
    tcase_add_test(fence, test_declared);
    tcase_add_test(fence, test_not_granted);
    tcase_add_test(fence, test_more_from_config);
    tcase_add_test(fence, test_variables_that_lead_home);
    tcase_add_test(fence, test_files_of_the_job);
    tcase_add_test(fence, test_manifests);
    suite_add_tcase(suite, fence);
    return run_suite(suite);
}
