/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are complete or absent, trees removed without following links, digests, and a full disk. */
#include "../suite.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static char base[64];
static kolm_error_t err;

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_copy(base, sizeof base, "/tmp/kolm-file-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base));
}

static void teardown(void) {
    ck_assert_int_eq(kit_remove_tree(base, &err), KOLM_OK);
    ck_assert_int_ne(access(base, F_OK), 0);
}

/* Returns BASE/name in one of a few buffers. */
static const char *in(const char *name) {
    static char paths[4][512];
    static int turn;
    char *path = paths[turn++ % 4];
    ck_assert(kit_format(path, sizeof paths[0], "%s/%s", base, name));
    return path;
}

static void make(const char *name, const char *text) {
    ck_assert_msg(kit_write_file(in(name), 0600, text, strlen(text), &err) == KOLM_OK, "%s", err.text);
}

static void holds(const char *name, const char *text) {
    kit_buf found = {0};
    ck_assert_msg(kit_read_file(in(name), 1 << 20, &found, &err) == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(kit_buf_text(&found), text);
    kit_buf_free(&found);
}

static int entries(const char *directory) {
    int count = 0;
    DIR *listing = opendir(directory);
    ck_assert_ptr_nonnull(listing);
    for (struct dirent *e = readdir(listing); e != NULL; e = readdir(listing))
        count++;
    closedir(listing);
    return count - 2;
}

START_TEST(paths) {
    char *path = NULL;
    ck_assert_int_eq(kit_path_join("/a", "b", &path, &err), KOLM_OK);
    ck_assert_str_eq(path, "/a/b");
    free(path);
    ck_assert_int_eq(kit_path_join("/", "b/c", &path, &err), KOLM_OK);
    ck_assert_str_eq(path, "/b/c");
    free(path);
    static const char *const safe[] = {"a",   "a/b",        "a.b/c..d", "...",  ".hidden",
                                       "a b", "\xC3\xA9/x", "-rf",      "a/.b", "..a"};
    static const char *const unsafe[] = {"",      "/",       "/a",       "a/",   "a//b",          ".",    "..",
                                         "./a",   "a/.",     "../a",     "a/..", "a/../b",        "a\\b", "a\nb",
                                         "a\x7F", "\x1B[2J", "\xC2\x85", "\xFF", "a/\xED\xA0\x80"};
    for (size_t i = 0; i < COUNT(safe); i++)
        ck_assert_msg(kit_path_is_safe(safe[i]), "%s", safe[i]);
    for (size_t i = 0; i < COUNT(unsafe); i++)
        ck_assert_msg(!kit_path_is_safe(unsafe[i]), "%s", unsafe[i]);
    char name[300];
    memset(name, 'a', sizeof name);
    name[255] = '\0';
    ck_assert(kit_path_is_safe(name));
    name[255] = 'a';
    name[256] = '\0';
    ck_assert(!kit_path_is_safe(name));
}
END_TEST

START_TEST(directories) {
    struct stat info;
    ck_assert_int_eq(kit_mkdirs(in("a/b//c/"), 0700, &err), KOLM_OK);
    ck_assert(stat(in("a/b/c"), &info) == 0 && (info.st_mode & 0777) == 0700);
    ck_assert_int_eq(kit_mkdirs(in("a/b/c"), 0700, &err), KOLM_OK);
    ck_assert_int_eq(kit_mkdirs("/", 0700, &err), KOLM_OK);
    ck_assert_int_eq(kit_mkdirs("", 0700, &err), KOLM_E_NOT_FOUND);
    make("f", "x");
    ck_assert_int_eq(kit_mkdirs(in("f/x"), 0700, &err), KOLM_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "in its way"));
    ck_assert_int_eq(kit_mkdirs(in("f"), 0700, &err), KOLM_E_NOT_FOUND);
    ck_assert_int_eq(symlink("nowhere", in("dangling")), 0);
    ck_assert_int_ne(kit_mkdirs(in("dangling/x"), 0700, &err), KOLM_OK);
    ck_assert_int_eq(symlink("a", in("link")), 0);
    ck_assert_int_eq(kit_mkdirs(in("link/d"), 0700, &err), KOLM_OK);
    ck_assert_int_eq(access(in("a/d"), F_OK), 0);
}
END_TEST

START_TEST(trees_are_removed_without_following) {
    ck_assert_int_eq(kit_mkdirs(in("kept/inner"), 0700, &err), KOLM_OK);
    make("kept/inner/file", "precious");
    ck_assert_int_eq(kit_mkdirs(in("t/x/y"), 0700, &err), KOLM_OK);
    make("t/x/y/file", "gone");
    ck_assert_int_eq(symlink("../kept", in("t/up")), 0);
    ck_assert_int_eq(symlink("../../kept/inner/file", in("t/x/file")), 0);
    ck_assert_int_eq(symlink(".", in("t/x/self")), 0);
    ck_assert_int_eq(mkfifo(in("t/fifo"), 0600), 0);
    ck_assert_int_eq(symlink("kept", in("link")), 0);
    ck_assert_int_eq(kit_remove_tree(in("t"), &err), KOLM_OK);
    ck_assert_int_eq(access(in("t"), F_OK), -1);
    ck_assert_int_eq(kit_remove_tree(in("link/"), &err), KOLM_OK);
    ck_assert_int_eq(access(in("link"), F_OK), -1);
    holds("kept/inner/file", "precious");
    ck_assert_int_eq(kit_remove_tree(in("kept/inner/file"), &err), KOLM_OK);
    ck_assert_int_eq(kit_remove_tree(in("missing"), &err), KOLM_OK);
    ck_assert_int_eq(kit_remove_tree(in("missing/below"), &err), KOLM_OK);
    make("f", "x");
    ck_assert_int_eq(kit_remove_tree(in("f/x"), &err), KOLM_E_NOT_FOUND);
}
END_TEST

/* As from a program that resists removal. */
START_TEST(trees_may_be_locked_and_very_deep) {
    char cwd[4096];
    ck_assert_int_eq(kit_mkdirs(in("locked/closed/inner"), 0700, &err), KOLM_OK);
    ck_assert_int_eq(kit_mkdirs(in("locked/fixed/inner"), 0700, &err), KOLM_OK);
    make("locked/closed/inner/file", "x");
    ck_assert_int_eq(chmod(in("locked/closed/inner"), 0), 0);
    ck_assert_int_eq(chmod(in("locked/closed"), 0), 0);
    ck_assert_int_eq(chmod(in("locked/fixed"), 0500), 0);
    ck_assert_int_eq(chmod(in("locked"), 0300), 0);
    ck_assert_msg(kit_remove_tree(in("locked"), &err) == KOLM_OK, "%s", err.text);
    ck_assert_ptr_nonnull(getcwd(cwd, sizeof cwd));
    ck_assert_int_eq(chdir(base), 0);
    for (int i = 0; i < 1000; i++)
        ck_assert(mkdir("down", 0700) == 0 && chdir("down") == 0);
    ck_assert_int_eq(chdir(cwd), 0);
    ck_assert_msg(kit_remove_tree(in("down"), &err) == KOLM_OK, "%s", err.text);
    ck_assert_int_eq(entries(base), 0);
}
END_TEST

START_TEST(trees_may_be_wide_and_deep) {
    kit_buf path = {0};
    kit_buf_fmt(&path, "%s/deep", base);
    for (int i = 0; i < 200; i++)
        kit_buf_str(&path, "/d");
    ck_assert_int_eq(kit_mkdirs(path.data, 0700, &err), KOLM_OK);
    kit_buf_free(&path);
    char name[32];
    for (int i = 0; i < 500; i++) {
        ck_assert(kit_format(name, sizeof name, "deep/%d", i));
        int fd = open(in(name), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        ck_assert_int_ge(fd, 0);
        close(fd);
    }
    ck_assert_int_eq(kit_remove_tree(in("deep"), &err), KOLM_OK);
    ck_assert_int_eq(entries(base), 0);
}
END_TEST

START_TEST(reading_is_bounded) {
    kit_buf out = {0};
    make("f", "12345");
    ck_assert_int_eq(kit_read_file(in("f"), 5, &out, &err), KOLM_OK);
    ck_assert_uint_eq(out.length, 5);
    kit_buf_clear(&out);
    ck_assert_int_eq(kit_read_file(in("f"), 4, &out, &err), KOLM_E_OUT_OF_RANGE);
    ck_assert_int_eq(kit_read_file(in("none"), 4, &out, &err), KOLM_E_NOT_FOUND);
    ck_assert_int_eq(kit_read_file(base, 4, &out, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(mkfifo(in("fifo"), 0600), 0);
    ck_assert_int_eq(kit_read_file(in("fifo"), 4, &out, &err),
                     KOLM_E_INVALID_ARGUMENT); /* without waiting for a writer */
    ck_assert_int_eq(kit_read_file("/dev/zero", 4, &out, &err), KOLM_E_INVALID_ARGUMENT);
    kit_buf_free(&out);
}
END_TEST

START_TEST(exact_reads) {
    char bytes[8];
    make("f", "12345");
    int fd = open(in("f"), O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(kit_read_exact(fd, bytes, 3, &err), KOLM_OK);
    ck_assert_int_eq(kit_read_exact(fd, bytes, 3, &err), KOLM_E_DATA_LOSS);
    ck_assert_int_ne(kit_write_all(fd, "x", 1, &err), KOLM_OK);
    close(fd);
    ck_assert_int_ne(kit_read_exact(-1, bytes, 1, &err), KOLM_OK);
    ck_assert_int_eq(kit_read_exact(-1, bytes, 0, &err), KOLM_OK);
}
END_TEST

START_TEST(nothing_changes_before_commit) {
    make("f", "old");
    kit_atomic_file file;
    ck_assert_int_eq(kit_atomic_open(in("f"), 0640, &file, &err), KOLM_OK);
    ck_assert_int_eq(kit_write_all(file.fd, "new", 3, &err), KOLM_OK);
    holds("f", "old");
    kit_atomic_abort(&file);
    kit_atomic_abort(&file);
    kit_atomic_abort(NULL);
    holds("f", "old");
    ck_assert_int_eq(entries(base), 1);
    ck_assert_int_eq(kit_atomic_open(in("f"), 0600, &file, &err), KOLM_OK);
    ck_assert_int_eq(kit_write_all(file.fd, "new", 3, &err), KOLM_OK);
    ck_assert_int_eq(kit_atomic_commit(&file, true, &err), KOLM_OK);
    kit_atomic_abort(&file);
    holds("f", "new");
    ck_assert_int_eq(entries(base), 1);
    struct stat info;
    ck_assert(stat(in("f"), &info) == 0 && (info.st_mode & 0777) == 0600);
}
END_TEST

START_TEST(devices_are_not_replaced) {
    kit_atomic_file file;
    struct stat info;
    ck_assert_int_eq(mkfifo(in("pipe"), 0600), 0);
    ck_assert_int_eq(kit_atomic_open(in("pipe"), 0600, &file, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(kit_write_file(in("pipe"), 0600, "x", 1, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(lstat(in("pipe"), &info), 0);
    ck_assert(S_ISFIFO(info.st_mode));
    ck_assert_int_eq(symlink("/dev/null", in("link")), 0);
    ck_assert_int_eq(kit_atomic_open(in("link"), 0600, &file, &err), KOLM_E_INVALID_ARGUMENT);
    kit_atomic_abort(&file);
}
END_TEST

START_TEST(without_replace_the_first_wins) {
    kit_atomic_file a, b;
    ck_assert_int_eq(kit_atomic_open(in("f"), 0600, &a, &err), KOLM_OK);
    ck_assert_int_eq(kit_atomic_open(in("f"), 0600, &b, &err),
                     KOLM_OK); /* the second does not consider the first dead */
    ck_assert_int_eq(kit_write_all(a.fd, "a", 1, &err), KOLM_OK);
    ck_assert_int_eq(kit_write_all(b.fd, "b", 1, &err), KOLM_OK);
    ck_assert_int_eq(kit_atomic_commit(&b, false, &err), KOLM_OK);
    ck_assert_int_eq(kit_atomic_commit(&a, false, &err), KOLM_E_ALREADY_EXISTS);
    holds("f", "b");
    ck_assert_int_eq(entries(base), 1);
    ck_assert_int_eq(symlink("nowhere", in("dangling")), 0);
    ck_assert_int_eq(kit_atomic_open(in("dangling"), 0600, &a, &err), KOLM_OK);
    ck_assert_int_eq(kit_atomic_commit(&a, false, &err), KOLM_E_ALREADY_EXISTS);
}
END_TEST

static void *race(void *shared) {
    int *winners = shared;
    kolm_error_t mine = KIT_ERROR_INIT;
    for (int i = 0; i < 50; i++) {
        char name[32];
        kit_format(name, sizeof name, "%s/race%d", base, i);
        kit_atomic_file file;
        if (kit_atomic_open(name, 0600, &file, &mine) != KOLM_OK) abort();
        if (kit_write_all(file.fd, "whole", 5, &mine) != KOLM_OK) abort();
        kit_status status = kit_atomic_commit(&file, false, &mine);
        if (status == KOLM_OK)
            __atomic_fetch_add(winners, 1, __ATOMIC_RELAXED);
        else if (status != KOLM_E_ALREADY_EXISTS)
            abort();
    }
    return NULL;
}

START_TEST(a_race_has_one_winner) {
    pthread_t threads[4];
    int winners = 0;
    for (size_t i = 0; i < COUNT(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, race, &winners), 0);
    for (size_t i = 0; i < COUNT(threads); i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_int_eq(winners, 50);
    ck_assert_int_eq(entries(base), 50);
    for (int i = 0; i < 50; i++) {
        char name[32];
        kit_format(name, sizeof name, "race%d", i);
        holds(name, "whole");
    }
}
END_TEST

START_TEST(the_dead_leave_nothing_for_long) {
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        kit_atomic_file file;
        if (kit_atomic_open(in("f"), 0600, &file, &err) != KOLM_OK || write(ends[1], "x", 1) != 1) _exit(1);
        for (;;)
            pause();
    }
    char byte;
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    /* While the process runs its file is kept; once killed, the next writer of the same path removes it, and no other
     * does. */
    make("f", "one");
    ck_assert_int_eq(entries(base), 2);
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    make("g", "other");
    ck_assert_int_eq(entries(base), 3);
    make("f", "two");
    ck_assert_int_eq(entries(base), 2);
    holds("f", "two");
    /* Files with similar names are not removed. */
    int fd = open(in(".f.kolm-notours"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    ck_assert_int_eq(symlink("g", in(".f.kolm-0123456789abcdef")), 0);
    make("f", "three");
    ck_assert_int_eq(entries(base), 4);
    holds("g", "other");
    close(ends[0]);
    close(ends[1]);
}
END_TEST

START_TEST(names_at_their_limits) {
    char name[300];
    memset(name, 'n', sizeof name);
    name[255] = '\0';
    make(name, "long");
    make(name, "again");
    holds(name, "again");
    ck_assert_int_eq(entries(base), 1);
    name[255] = 'n';
    name[256] = '\0';
    ck_assert_int_ne(kit_write_file(in(name), 0600, "x", 1, &err), KOLM_OK);
    ck_assert_int_eq(kit_write_file(in("sub/"), 0600, "x", 1, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(kit_write_file(in("no/where"), 0600, "x", 1, &err), KOLM_E_NOT_FOUND);
    ck_assert_int_eq(kit_mkdirs(in("dir"), 0700, &err), KOLM_OK);
    ck_assert_int_ne(kit_write_file(in("dir"), 0600, "x", 1, &err), KOLM_OK);
    ck_assert_int_eq(entries(base), 2);
}
END_TEST

START_TEST(a_full_disk_loses_nothing) {
    make("f", "old");
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        static char big[1 << 16];
        struct rlimit limit = {.rlim_cur = 1 << 15, .rlim_max = 1 << 15};
        signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(9);
        kit_status status = kit_write_file(in("f"), 0600, big, sizeof big, &err);
        _exit(status == KOLM_E_RESOURCE_EXHAUSTED && strstr(err.text, "/f: ") != NULL && err.remedy[0] != '\0' ? 0 : 1);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    holds("f", "old");
    ck_assert_int_eq(entries(base), 1);
    /* A device that is always full. */
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ck_assert_int_eq(kit_write_all(fd, "x", 1, &err), KOLM_E_RESOURCE_EXHAUSTED);
        close(fd);
    }
}
END_TEST

START_TEST(without_permission) {
    if (geteuid() == 0) return; /* root may do everything */
    ck_assert_int_eq(kit_mkdirs(in("locked"), 0500, &err), KOLM_OK);
    ck_assert_int_eq(kit_write_file(in("locked/f"), 0600, "x", 1, &err), KOLM_E_PERMISSION_DENIED);
    ck_assert(err.remedy[0] != '\0');
    ck_assert_int_eq(kit_mkdirs(in("locked/d"), 0700, &err), KOLM_E_PERMISSION_DENIED);
}
END_TEST

/* Examples of FIPS 180-4, and a file of more than one chunk. */
START_TEST(digests) {
    char hex[KIT_SHA256_HEX];
    uint64_t size = 0;
    ck_assert_int_eq(kit_sha256_bytes("", 0, hex, &err), KOLM_OK);
    ck_assert_str_eq(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    ck_assert_int_eq(kit_sha256_bytes("abc", 3, hex, &err), KOLM_OK);
    ck_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    kit_sha256 *state = NULL;
    uint8_t digest[KIT_SHA256_BYTES];
    ck_assert_int_eq(kit_sha256_new(&state, &err), KOLM_OK);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 1000000; i += 1000) {
            static char a[1000];
            memset(a, 'a', sizeof a);
            ck_assert_int_eq(kit_sha256_update(state, a, sizeof a, &err), KOLM_OK);
        }
        ck_assert_int_eq(kit_sha256_final(state, digest, &err), KOLM_OK);
        kit_hex(digest, sizeof digest, hex);
        ck_assert_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
    kit_sha256_free(state);
    kit_sha256_free(NULL);
    kit_buf text = {0};
    for (int i = 0; i < 100000; i++)
        kit_buf_str(&text, "aaaaaaaaaa");
    ck_assert_int_eq(kit_write_file(in("million"), 0600, text.data, text.length, &err), KOLM_OK);
    kit_buf_free(&text);
    ck_assert_int_eq(kit_sha256_file(in("million"), hex, &size, &err), KOLM_OK);
    ck_assert_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    ck_assert_uint_eq(size, 1000000);
    ck_assert_int_eq(kit_sha256_file(in("none"), hex, NULL, &err), KOLM_E_NOT_FOUND);
    ck_assert_int_eq(kit_sha256_file(base, hex, NULL, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(kit_sha256_file("/dev/null", hex, NULL, &err), KOLM_E_INVALID_ARGUMENT);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("file");
    TCase *cases = tcase_create("all");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, paths);
    tcase_add_test(cases, directories);
    tcase_add_test(cases, trees_are_removed_without_following);
    tcase_add_test(cases, trees_may_be_wide_and_deep);
    tcase_add_test(cases, trees_may_be_locked_and_very_deep);
    tcase_add_test(cases, reading_is_bounded);
    tcase_add_test(cases, exact_reads);
    tcase_add_test(cases, nothing_changes_before_commit);
    tcase_add_test(cases, devices_are_not_replaced);
    tcase_add_test(cases, without_replace_the_first_wins);
    tcase_add_test(cases, a_race_has_one_winner);
    tcase_add_test(cases, the_dead_leave_nothing_for_long);
    tcase_add_test(cases, names_at_their_limits);
    tcase_add_test(cases, a_full_disk_loses_nothing);
    tcase_add_test(cases, without_permission);
    tcase_add_test(cases, digests);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
