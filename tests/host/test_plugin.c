/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a plugin: hashed before they are loaded, the same for all calls of a registry, whatever happens to the
 * file. And forged replies in the name of kolm-host are ignored. */
#include "../suite.h"
#include "host/host.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char here[PATH_MAX];    /* the directory of this program and of the plugins */
static char program[PATH_MAX]; /* kolm-host */
static char home[PATH_MAX];    /* the temporary directory of one test; its directory zoo/in is searched */
static char dir[PATH_MAX];
static kit_buf logs; /* one per line */

static void must(kit_status status, const kolm_error_t *err) {
    ck_assert_msg(status == KOLM_OK, "%s", err->text);
}

static void put(const char *path, const void *bytes, size_t length) {
    kolm_error_t err = KIT_ERROR_INIT;
    must(kit_write_file(path, 0755, bytes, length, &err), &err);
}

static void setup(void) {
    kit_copy(home, sizeof home, "/tmp/kolm-plugin-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(home));
    kit_format(dir, sizeof dir, "%s/zoo", home);
    ck_assert_int_eq(mkdir(dir, 0755), 0);
    kit_format(dir, sizeof dir, "%s/zoo/in", home);
    ck_assert_int_eq(mkdir(dir, 0755), 0);
}

static void teardown(void) {
    kolm_error_t err = KIT_ERROR_INIT;
    must(kit_remove_tree(home, &err), &err);
    kit_buf_free(&logs);
}

static const char *in(const char *where, const char *file) {
    static char paths[4][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 4];
    kit_format(path, PATH_MAX, "%s/%s", where, file);
    return path;
}

/* Installs the built `animal` there under the name by a rename, as package managers do. */
static void install(const char *animal, const char *name) {
    kit_buf bytes = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    must(kit_read_file(in(here, animal), 64u << 20, &bytes, &err), &err);
    put(in(dir, name), bytes.data, bytes.length);
    kit_buf_free(&bytes);
}

/* Overwrites the existing file until the kernel's clock for file times has advanced, too. */
static void write_over(const char *animal, const char *name) {
    kit_buf bytes = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    struct stat before, now;
    must(kit_read_file(in(here, animal), 64u << 20, &bytes, &err), &err);
    ck_assert_int_eq(stat(in(dir, name), &before), 0);
    do {
        int fd = open(in(dir, name), O_WRONLY | O_TRUNC | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        must(kit_write_all(fd, bytes.data, bytes.length, &err), &err);
        ck_assert_int_eq(fstat(fd, &now), 0);
        close(fd);
    } while (now.st_mtim.tv_sec == before.st_mtim.tv_sec && now.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
    kit_buf_free(&bytes);
}

static void add(const char *name) {
    char text[1024], file[64];
    kit_format(file, sizeof file, "%s.so", name);
    install(file, file);
    kit_format(file, sizeof file, "%s.json", name);
    kit_format(text, sizeof text,
               "{\"name\":\"%s\",\"kind\":\"local\",\"tier\":2,\"train\":true,\"infer\":true,\"airgap\":\"yes\","
               "\"billing\":\"free\","
               "\"cost_per_hour_usd\":0,\"cold_start_seconds\":7,\"vram_cap_gb\":null,\"runtime\":\"zoo\",\"summary\":"
               "\"An animal.\","
               "\"auth\":[],\"requires\":[]}",
               name);
    put(in(dir, file), text, strlen(text));
    kit_format(file, sizeof file, "%s/eval.jsonl", home);
    put(file, "a\n", 2);
}

static host_registry *scan(void) {
    const char *dirs[] = {dir};
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry *registry = NULL;
    host_scan_options options = {.dirs = dirs, .dir_count = 1, .program = program};
    must(host_scan(&options, &registry, &err), &err);
    return registry;
}

static void on_log(void *user, const char *backend, uint32_t level, const char *text) {
    (void)user;
    (void)backend;
    kit_buf_fmt(&logs, "%u %s\n", level, text);
}

typedef enum slot { DETECT, TRAIN, INFER } slot;

static const host_result *call_with(const host_registry *registry, const char *name, slot which,
                                    host_call_options options) {
    static host_result result;
    static const host_events events = {.log = on_log};
    kolm_error_t err = KIT_ERROR_INIT;
    const host_backend *row = host_find(registry, name);
    ck_assert_ptr_nonnull(row);
    ck_assert_msg(row->state == HOST_ROW_OK, "%s", row->why.text);
    kit_buf_free(&logs);
    options.timeout_ms = 60000;
    options.events = &events;
    kit_status status = which == DETECT  ? host_detect(registry, row, &options, &result, &err)
                        : which == TRAIN ? host_train(registry, row, home, 1, &options, &result, &err)
                                         : host_infer(registry, row, home, 1, -1, -1, &options, &result, &err);
    must(status, &err);
    return &result;
}

static const host_result *call(const host_registry *registry, const char *name, slot which) {
    return call_with(registry, name, which, (host_call_options){0});
}

static void expect(const host_result *result, const char *version, const char *sha256, host_plugin_fate fate) {
    ck_assert_msg(result->verdict == HOST_OK, "%s", result->error.text);
    ck_assert_str_eq(result->version, version);
    ck_assert_str_eq(result->plugin_sha256, sha256);
    ck_assert_int_eq(result->plugin_fate, fate);
}

static void expect_log(const char *words) {
    ck_assert_msg(strstr(kit_buf_text(&logs), words) != NULL, "'%s' is not in '%s'", words, kit_buf_text(&logs));
}

static const char *sha256_of(const char *path) {
    static char hex[2][KIT_SHA256_HEX];
    static unsigned next;
    kolm_error_t err = KIT_ERROR_INIT;
    must(kit_sha256_file(path, hex[next % 2], NULL, &err), &err);
    return hex[next++ % 2];
}

/* Simulates a system without sealed memory, in this process only, which check forked for one test. */
static void forbid_memory(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog filter = {.len = sizeof code / sizeof *code, .filter = code};
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

/* ---- What happened to the file */
static void try_upgrade(void) {
    add("where");
    host_registry *registry = scan();
    const char *old = sha256_of(in(dir, "where.so")), *new = sha256_of(in(here, "where-2.so"));
    expect(call(registry, "where", TRAIN), "1.2.3", old, HOST_PLUGIN_THERE);
    expect_log("/zoo/in/where.so\n");
    install("where-2.so", "where.so");
    expect(call(registry, "where", INFER), "1.2.3", old, HOST_PLUGIN_REPLACED);
    expect_log("where.so was replaced; this command continues with what it read before");
    host_registry *next = scan();
    expect(call(next, "where", INFER), "2.0.0", new, HOST_PLUGIN_THERE);
    expect(call(registry, "where", INFER), "1.2.3", old, HOST_PLUGIN_REPLACED);
    ck_assert_int_eq(unlink(in(dir, "where.so")), 0);
    expect(call(registry, "where", INFER), "1.2.3", old, HOST_PLUGIN_REMOVED);
    expect_log("where.so was removed; this command continues with what it read before");
    expect(call(next, "where", INFER), "2.0.0", new, HOST_PLUGIN_REMOVED);
    host_registry_free(registry);
    host_registry_free(next);
}

START_TEST(test_upgrade) {
    try_upgrade();
}
END_TEST

START_TEST(test_upgrade_without_sealed_memory) {
    forbid_memory();
    try_upgrade();
}
END_TEST

/* A call after reading ahead has the same results and errors as without it; reading ahead without a call is allowed. */
START_TEST(test_read_ahead) {
    add("where");
    host_registry *registry = scan();
    const host_backend *row = host_find(registry, "where");
    const char *old = sha256_of(in(dir, "where.so"));
    host_plugin_read_ahead(row);
    host_plugin_read_ahead(row);
    expect(call(registry, "where", INFER), "1.2.3", old, HOST_PLUGIN_THERE);
    install("where-2.so", "where.so");
    host_plugin_read_ahead(row);
    expect(call(registry, "where", INFER), "1.2.3", old, HOST_PLUGIN_REPLACED);
    host_registry_free(registry);
    for (int i = 0; i < 20; i++) { /* freed during the read */
        registry = scan();
        host_plugin_read_ahead(host_find(registry, "where"));
        host_registry_free(registry);
    }
    registry = scan();
    ck_assert_int_eq(unlink(in(dir, "where.so")), 0);
    host_plugin_read_ahead(host_find(registry, "where"));
    ck_assert_int_eq(call(registry, "where", INFER)->verdict, HOST_NOT_LOADED);
    host_registry_free(registry);
}
END_TEST

START_TEST(test_written_over) {
    add("where");
    host_registry *registry = scan();
    const char *old = sha256_of(in(dir, "where.so"));
    expect(call(registry, "where", TRAIN), "1.2.3", old, HOST_PLUGIN_THERE);
    write_over("where-2.so", "where.so");
    expect(call(registry, "where", INFER), "1.2.3", old, HOST_PLUGIN_REPLACED);
    host_registry_free(registry);
}
END_TEST

START_TEST(test_written_over_without_sealed_memory) {
    add("where");
    forbid_memory();
    host_registry *registry = scan();
    ck_assert_int_eq(call(registry, "where", TRAIN)->verdict, HOST_OK);
    write_over("where-2.so", "where.so");
    const host_result *result = call(registry, "where", INFER);
    ck_assert_int_eq(result->verdict, HOST_NOT_LOADED);
    ck_assert_msg(strstr(result->error.text, "was written over while it was in use") != NULL, "%s", result->error.text);
    host_registry_free(registry);
}
END_TEST

/* A write through a mapped page changes the file but not its times, so a plugin loaded from it cannot be trusted. */
START_TEST(test_mapped_for_writing) {
    add("where");
    forbid_memory();
    const char *path = in(dir, "where.so");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert(fd >= 0 && page != MAP_FAILED);
    close(fd);
    host_registry *registry = scan();
    const host_result *result = call(registry, "where", INFER);
    ck_assert_int_eq(result->verdict, HOST_NOT_LOADED);
    ck_assert_msg(strstr(result->error.text, "where.so is open for writing, and must be loaded in place") != NULL, "%s",
                  result->error.text);
    munmap(page, 4096);
    ck_assert_int_eq(call(registry, "where", INFER)->verdict, HOST_OK);
    host_registry_free(registry);
}
END_TEST

/* The first call loads exactly what was hashed before, or nothing: a file that was overwritten is not loaded. */
START_TEST(test_digest_binds) {
    char sha256[KIT_SHA256_HEX];
    kolm_error_t err = KIT_ERROR_INIT;
    add("where");
    host_registry *registry = scan();
    must(host_plugin_digest(host_find(registry, "where"), sha256, &err), &err);
    ck_assert_str_eq(sha256, sha256_of(in(dir, "where.so")));
    install("where.so", "where.so"); /* the same bytes: accepted */
    expect(call(registry, "where", DETECT), "1.2.3", sha256, HOST_PLUGIN_THERE);
    host_registry_free(registry);
    registry = scan();
    must(host_plugin_digest(host_find(registry, "where"), sha256, &err), &err);
    write_over("where-2.so", "where.so");
    const host_result *result = call(registry, "where", DETECT);
    ck_assert_int_eq(result->verdict, HOST_NOT_LOADED);
    ck_assert_msg(strstr(result->error.text, "was replaced while kolm examined it") != NULL, "%s", result->error.text);
    ck_assert_str_eq(result->plugin_sha256, "");
    host_registry_free(registry);
}
END_TEST

/* Batch calls keep no copies of the files, but later calls must match the digests that they computed. */
/* ---- Many at once */
static const char *const crowd[] = {"self", "good", "where", "prints", "fails", "exits"};
#define CROWD (sizeof crowd / sizeof *crowd)

static host_registry *add_crowd(void) {
    for (size_t i = 0; i < CROWD; i++)
        add(crowd[i]);
    return scan();
}

static void on_log_of_self(void *user, const char *backend, uint32_t level, const char *text) {
    if (strcmp(backend, "self") == 0) on_log(user, backend, level, text);
}

/* The results are those of single calls. */
static void check_crowd(const host_registry *registry) {
    static host_result results[CROWD];
    static const host_verdict verdicts[] = {HOST_OK, HOST_OK, HOST_OK, HOST_OK, HOST_FAILED, HOST_NO_REPLY};
    static const host_events events = {.log = on_log_of_self};
    const host_backend *rows[CROWD];
    kolm_error_t err = KIT_ERROR_INIT;
    for (size_t i = 0; i < CROWD; i++)
        rows[i] = host_find(registry, crowd[i]);
    kit_buf_free(&logs);
    must(host_detect_all(registry, rows, CROWD, &(host_call_options){.timeout_ms = 60000, .events = &events}, results,
                         &err),
         &err);
    for (size_t i = 0; i < CROWD; i++)
        ck_assert_msg(results[i].verdict == verdicts[i], "%s: %s", crowd[i], results[i].error.text);
}

/* The process is like one started for a single plugin, except for its ids. */
START_TEST(test_many_are_like_one) {
    host_registry *registry = add_crowd();
    ck_assert_int_eq(call(registry, "self", DETECT)->verdict, HOST_OK);
    char alone[512];
    kit_copy(alone, sizeof alone, kit_buf_text(&logs));
    ck_assert_ptr_nonnull(strstr(alone, "session 1, group 1, threads 1, signals 1, name self, scratch 1, own none"));
    check_crowd(registry);
    ck_assert_str_eq(kit_buf_text(&logs), alone);
    host_registry_free(registry);
}
END_TEST

static void use_script(const char *what) {
    char text[PATH_MAX + 200];
    kit_format(text, sizeof text, "#!/bin/sh\n[ -S /dev/fd/3 ] && %s\nexec '%s' \"$@\"\n", what, program);
    put(in(home, "kolm-host"), text, strlen(text));
    kit_copy(program, sizeof program, in(home, "kolm-host"));
}

/* The process that is to be forked ends at once, or never answers. */
START_TEST(test_many_without_copies) {
    char whole[PATH_MAX];
    kit_copy(whole, sizeof whole, program);
    use_script(_i == 0 ? "exit 1" : "exec sleep 100");
    host_registry *registry = add_crowd();
    check_crowd(registry);
    host_registry_free(registry);
    kit_copy(program, sizeof program, whole);
}
END_TEST

START_TEST(test_many_keep_no_copy) {
    static host_result results[2];
    kolm_error_t err = KIT_ERROR_INIT;
    add("where");
    add("good");
    host_registry *registry = scan();
    const host_backend *rows[] = {host_find(registry, "where"), host_find(registry, "good")};
    int before = dup(0);
    close(before);
    must(host_detect_all(registry, rows, 2, NULL, results, &err), &err);
    int after = dup(0);
    close(after);
    ck_assert_int_eq(before, after);
    ck_assert_str_eq(results[0].plugin_sha256, sha256_of(in(dir, "where.so")));
    ck_assert_str_eq(results[1].plugin_sha256, sha256_of(in(dir, "good.so")));
    install("where-2.so", "where.so");
    ck_assert_int_eq(call(registry, "where", TRAIN)->verdict, HOST_NOT_LOADED);
    ck_assert_int_eq(call(registry, "good", TRAIN)->verdict, HOST_OK);
    host_registry_free(registry);
}
END_TEST

START_TEST(test_by_path) {
    add("where");
    host_registry *registry = scan();
    const host_result *result = call_with(registry, "where", DETECT, (host_call_options){.by_path = true});
    expect(result, "1.2.3", sha256_of(in(dir, "where.so")), HOST_PLUGIN_THERE);
    expect_log("/zoo/in/where.so\n");
    host_registry_free(registry);
}
END_TEST

/* Its private library is found by $ORIGIN, also if the plugin was moved or removed. */
START_TEST(test_library_next_to_it) {
    add("beside");
    install("libzoo-private.so", "libzoo-private.so");
    host_registry *registry = scan();
    const char *old = sha256_of(in(dir, "beside.so"));
    expect(call(registry, "beside", TRAIN), "1.2.3", old, HOST_PLUGIN_THERE);
    expect_log("from its own library");
    expect_log("/zoo/in/beside.so\n");
    put(in(dir, "beside.so"), "not a plugin", 12);
    expect(call(registry, "beside", INFER), "1.2.3", old, HOST_PLUGIN_REPLACED);
    expect_log("from its own library");
    expect_log("/zoo/in/beside.so\n");
    ck_assert_int_eq(unlink(in(dir, "beside.so")), 0);
    expect(call(registry, "beside", INFER), "1.2.3", old, HOST_PLUGIN_REMOVED);
    host_registry_free(registry);
}
END_TEST

static atomic_bool exchanging;

/* Repeatedly exchanges the directory of the plugins with one that has files of the same names and times. */
static void *exchange(void *other) {
    long done = 0;
    while (done == 0 && exchanging) {
        done = syscall(SYS_renameat2, AT_FDCWD, dir, AT_FDCWD, other, 2u /* RENAME_EXCHANGE */);
        sched_yield(); /* valgrind runs one thread at a time and does not preempt a busy one */
    }
    if (access(in(home, "zoo/in/good"), F_OK) != 0) (void)!syscall(SYS_renameat2, AT_FDCWD, dir, AT_FDCWD, other, 2u);
    return NULL;
}

START_TEST(test_directory_exchanged) {
    static char other[PATH_MAX], good[64];
    char kept[PATH_MAX];
    pthread_t thread;
    add("beside");
    install("libzoo-private.so", "libzoo-private.so");
    put(in(dir, "good"), "", 0);
    host_registry *registry = scan();
    expect(call(registry, "beside", INFER), "1.2.3", sha256_of(in(dir, "beside.so")), HOST_PLUGIN_THERE);
    const char *said = strstr(kit_buf_text(&logs), "mapped from ");
    ck_assert_ptr_nonnull(said);
    kit_format(good, sizeof good, "%.*s", (int)strcspn(said, "\n"), said);
    kit_copy(kept, sizeof kept, dir);
    kit_format(other, sizeof other, "%s/other", home);
    ck_assert_int_eq(mkdir(other, 0755), 0);
    kit_copy(dir, sizeof dir, other);
    install("beside.so", "beside.so");
    install("libzoo-private.so", "libzoo-private.so");
    kit_copy(dir, sizeof dir, kept);
    exchanging = true;
    ck_assert_int_eq(pthread_create(&thread, NULL, exchange, other), 0);
    for (int i = 0; i < 100; i++)
        if (call(registry, "beside", INFER)->verdict == HOST_OK && !strstr(kit_buf_text(&logs), "mapped from memory\n"))
            expect_log(good);
    exchanging = false;
    pthread_join(thread, NULL);
    expect(call(registry, "beside", INFER), "1.2.3", sha256_of(in(dir, "beside.so")), HOST_PLUGIN_THERE);
    expect_log(good);
    host_registry_free(registry);
}
END_TEST

/* ---- Replies in the name of kolm-host */
static void expect_lie(const char *name, bool airgap) {
    host_registry *registry = scan();
    const host_result *result = call_with(registry, name, DETECT, (host_call_options){.airgap_strict = airgap});
    ck_assert_msg(result->verdict == HOST_NO_REPLY, "%s: %s %s", name, host_verdict_name(result->verdict),
                  result->error.text);
    ck_assert_msg(strstr(result->error.text, "wrote over its own reply") != NULL, "%s: %s", name, result->error.text);
    ck_assert_uint_eq(result->device_count, 0);
    ck_assert_str_eq(result->detect.reason, "");
    ck_assert(result->sandbox.enforced == airgap);
    if (airgap) ck_assert_str_ne(result->sandbox.kernel, "x");
    host_registry_free(registry);
}

START_TEST(test_lies) {
    static const char *const liars[] = {"claims-sandbox", "claims-loaded",  "claims-device",
                                        "loads-twice",    "answers-itself", "forges"};
    for (size_t i = 0; i < sizeof liars / sizeof *liars; i++) {
        add(liars[i]);
        expect_lie(liars[i], false);
        expect_lie(liars[i], true);
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
    Suite *suite = suite_create("plugin");
    TCase *all = tcase_create("bytes");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_set_timeout(all, 120);
    tcase_add_test(all, test_upgrade);
    tcase_add_test(all, test_read_ahead);
    tcase_add_test(all, test_written_over);
    tcase_add_test(all, test_digest_binds);
    tcase_add_test(all, test_many_keep_no_copy);
    tcase_add_test(all, test_many_are_like_one);
    tcase_add_loop_test(all, test_many_without_copies, 0, 2);
    tcase_add_test(all, test_by_path);
    tcase_add_test(all, test_library_next_to_it);
    tcase_add_test(all, test_directory_exchanged);
    tcase_add_test(all, test_lies);
    /* Last: if tests do not fork, as under valgrind, sealed memory stays unavailable from here on. */
    tcase_add_test(all, test_upgrade_without_sealed_memory);
    tcase_add_test(all, test_written_over_without_sealed_memory);
    tcase_add_test(all, test_mapped_for_writing);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
