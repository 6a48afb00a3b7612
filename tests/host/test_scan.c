/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of backends: which are found, trusted and preferred, and what is reported about the others. */
#include "../suite.h"
#include "host/host.h"
#include "manifest_fixture.h"

#include "kolm/kit/file.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char home[PATH_MAX], first[PATH_MAX], second[PATH_MAX];

static void setup(void) {
    kit_copy(home, sizeof home, "/tmp/kolm-scan-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(home));
    kit_format(first, sizeof first, "%s/first", home);
    kit_format(second, sizeof second, "%s/second", home);
    ck_assert_int_eq(mkdir(first, 0755), 0);
    ck_assert_int_eq(mkdir(second, 0755), 0);
}

static void teardown(void) {
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_msg(kit_remove_tree(home, &err) == KOLM_OK, "%s", err.text);
}

static const char *in(const char *dir, const char *file) {
    static char paths[4][PATH_MAX + 256];
    static unsigned next;
    char *path = paths[next++ % 4];
    kit_format(path, sizeof *paths, "%s/%s", dir, file);
    return path;
}

static void put(const char *dir, const char *file, const char *text) {
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_int_eq(kit_write_file(in(dir, file), 0644, text, strlen(text), &err), KOLM_OK);
}

/* A plugin that is never loaded can be any file. */
static void put_backend(const char *dir, const char *name) {
    kit_buf text = {0};
    char quoted[80], file[80];
    kit_format(quoted, sizeof quoted, "\"%s\"", name);
    build(&text, "name", quoted);
    kit_format(file, sizeof file, "%s.json", name);
    put(dir, file, kit_buf_text(&text));
    kit_format(file, sizeof file, "%s.so", name);
    put(dir, file, "no object");
    kit_buf_free(&text);
}

static host_registry *scan_both(void) {
    const char *dirs[] = {first, second};
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry *registry = NULL;
    host_scan_options options = {.dirs = dirs, .dir_count = 2, .program = "/bin/true"};
    ck_assert_int_eq(host_scan(&options, &registry, &err), KOLM_OK);
    return registry;
}

static void expect(const char *name, host_row_state state, const char *words) {
    host_registry *registry = scan_both();
    bool found = false;
    for (size_t i = 0; i < registry->count; i++) {
        const host_backend *row = &registry->rows[i];
        if (strcmp(row->name, name) != 0 || row->state != state) continue;
        found = true;
        if (state == HOST_ROW_OK) continue;
        ck_assert_msg(strstr(row->why.text, words) != NULL, "'%s' is not in '%s'", words, row->why.text);
        ck_assert_str_ne(row->why.remedy, "");
        ck_assert_int_ne(row->why.code, KOLM_OK);
    }
    ck_assert_msg(found, "no row %s in state %d", name, (int)state);
    host_registry_free(registry);
}

START_TEST(test_scan_order_and_shadow) {
    put_backend(first, "zebra");
    put_backend(first, "acme");
    put_backend(second, "acme");
    put_backend(second, "lion");
    host_registry *registry = scan_both();
    ck_assert_uint_eq(registry->count, 4);
    ck_assert_str_eq(registry->rows[0].name, "acme");
    ck_assert_int_eq(registry->rows[0].state, HOST_ROW_OK);
    ck_assert_str_eq(registry->rows[1].name, "acme");
    ck_assert_int_eq(registry->rows[1].state, HOST_ROW_SHADOWED);
    ck_assert_ptr_nonnull(strstr(registry->rows[1].why.text, "/first, which is searched first"));
    ck_assert_str_eq(registry->rows[2].name, "lion");
    ck_assert_str_eq(registry->rows[3].name, "zebra");
    ck_assert_ptr_eq(host_find(registry, "acme"), &registry->rows[0]);
    ck_assert_ptr_null(host_find(registry, "nobody"));
    ck_assert_uint_gt(registry->rows[0].plugin.inode, 0);
    ck_assert_uint_eq(registry->rows[0].plugin.size, 9);
    ck_assert_ptr_nonnull(registry->program);
    host_registry_free(registry);
    host_registry_free(NULL);
}
END_TEST

/* The first one is used even if it is bad: a user never gets another backend than the one installed there. */
START_TEST(test_scan_bad_one_in_front) {
    put_backend(first, "acme");
    put(first, "acme.json", "{}");
    put_backend(second, "acme");
    expect("acme", HOST_ROW_REFUSED, "the field \"name\" is missing");
    expect("acme", HOST_ROW_SHADOWED, "hidden by acme");
}
END_TEST

START_TEST(test_scan_halves) {
    put(first, "alone.so", "no object");
    put(first, "Strange Name.so", "no object");
    put(first, "notes.txt", "text");
    put(first, "compile_commands.json", "[]");
    put(first, ".hidden.so", "no object");
    put_backend(first, "acme");
    ck_assert_int_eq(unlink(in(first, "acme.so")), 0);
    put_backend(first, "wrong");
    put(first, "wrong.json", "{\"name\":\n \"wrong\",,}");
    expect("alone", HOST_ROW_REFUSED, "alone.json, its manifest, is missing");
    expect("Strange Name", HOST_ROW_REFUSED, "cannot have this name");
    expect("acme", HOST_ROW_REFUSED, "acme.so, the plugin itself, is missing");
    expect("wrong", HOST_ROW_REFUSED, "wrong.json: line 2, column");
    host_registry *registry = scan_both();
    ck_assert_uint_eq(registry->count, 4);
    host_registry_free(registry);
}
END_TEST

START_TEST(test_scan_other_file_kinds) {
    put_backend(first, "pipe");
    put_backend(first, "folder");
    put_backend(first, "large");
    ck_assert_int_eq(unlink(in(first, "pipe.json")), 0);
    ck_assert_int_eq(mkfifo(in(first, "pipe.json"), 0600), 0);
    ck_assert_int_eq(unlink(in(first, "folder.so")), 0);
    ck_assert_int_eq(mkdir(in(first, "folder.so"), 0700), 0);
    ck_assert_int_eq(truncate(in(first, "large.json"), 1 << 20), 0);
    expect("pipe", HOST_ROW_REFUSED, "is not a regular file"); /* it does not wait for a writer */
    expect("folder", HOST_ROW_REFUSED, "is not a regular file");
    expect("large", HOST_ROW_REFUSED, "larger");
}
END_TEST

START_TEST(test_scan_permissions) {
    put_backend(first, "acme");
    put_backend(first, "other");
    ck_assert_int_eq(chmod(in(first, "acme.so"), 0666), 0);
    expect("acme", HOST_ROW_REFUSED, "acme.so can be changed by every user");
    expect("other", HOST_ROW_OK, NULL);
    ck_assert_int_eq(chmod(in(first, "acme.so"), 0664), 0);
    expect("acme", HOST_ROW_REFUSED, "can be changed by its group");
    ck_assert_int_eq(chmod(in(first, "acme.so"), 0644), 0);
    ck_assert_int_eq(chmod(in(first, "acme.json"), 0646), 0);
    expect("acme", HOST_ROW_REFUSED, "acme.json can be changed by every user");
    ck_assert_int_eq(chmod(in(first, "acme.json"), 0600), 0);
    expect("acme", HOST_ROW_OK, NULL);
    ck_assert_int_eq(chmod(first, 0777), 0);
    expect("acme", HOST_ROW_REFUSED, "/first can be changed by every user");
    ck_assert_int_eq(chmod(first, 01777), 0); /* sticky or not: it is not a place for plugins */
    expect("acme", HOST_ROW_REFUSED, "/first can be changed by every user");
    ck_assert_int_eq(chmod(first, 0755), 0);
    ck_assert_int_eq(chmod(home, 0775), 0);
    expect("acme", HOST_ROW_REFUSED, "can be changed by its group");
    ck_assert_int_eq(chmod(home, 0700), 0);
    expect("acme", HOST_ROW_OK, NULL);
}
END_TEST

START_TEST(test_scan_owner) {
    if (geteuid() != 0) return; /* only root can change the owner of files */
    put_backend(first, "acme");
    ck_assert_int_eq(chown(in(first, "acme.so"), 12345, 12345), 0);
    expect("acme", HOST_ROW_REFUSED, "acme.so belongs to another user");
    ck_assert_int_eq(chown(in(first, "acme.so"), 0, 0), 0);
    ck_assert_int_eq(chown(home, 12345, 12345), 0);
    expect("acme", HOST_ROW_REFUSED, "belongs to another user");
    ck_assert_int_eq(chown(home, 0, 0), 0);
    expect("acme", HOST_ROW_OK, NULL);
}
END_TEST

START_TEST(test_scan_links) {
    put_backend(second, "acme");
    put_backend(first, "own");
    /* A link to a trusted place is followed; the name is that of the link. */
    ck_assert_int_eq(symlink("../second/acme.so", in(first, "acme.so")), 0);
    ck_assert_int_eq(symlink(in(second, "acme.json"), in(first, "acme.json")), 0);
    host_registry *registry = scan_both();
    const host_backend *row = host_find(registry, "acme");
    ck_assert_int_eq(row->state, HOST_ROW_OK);
    ck_assert_str_eq(row->plugin_path, in(second, "acme.so"));
    ck_assert_ptr_nonnull(strstr(row->directory, "/first"));
    host_registry_free(registry);
    /* A link to an untrusted place is rejected. */
    ck_assert_int_eq(chmod(second, 0777), 0);
    expect("acme", HOST_ROW_REFUSED, "/second can be changed by every user");
    ck_assert_int_eq(chmod(second, 0755), 0);
    ck_assert_int_eq(unlink(in(first, "own.so")), 0);
    ck_assert_int_eq(symlink("nowhere", in(first, "own.so")), 0);
    expect("own", HOST_ROW_REFUSED, "cannot find");
    ck_assert_int_eq(unlink(in(first, "own.so")), 0);
    ck_assert_int_eq(symlink("own.so", in(first, "own.so")), 0);
    expect("own", HOST_ROW_REFUSED, "cannot find");
}
END_TEST

START_TEST(test_scan_places) {
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry *registry = NULL;
    char path[4 * PATH_MAX];
    put_backend(first, "acme");
    put_backend(second, "acme");
    put_backend(second, "user");
    put(home, "file", "text");
    kit_format(path, sizeof path, "relative::%s/nowhere:%s/file:%s:%s", home, home, first, first);
    setenv("KOLM_BACKEND_PATH", path, 1);
    host_scan_options options = {.user_dir = second};
    ck_assert_int_eq(host_scan(&options, &registry, &err), KOLM_OK);
    const host_backend *row = host_find(registry, "acme");
    ck_assert_int_eq(row->origin, HOST_ORIGIN_PATH);
    ck_assert_int_eq(host_find(registry, "user")->origin, HOST_ORIGIN_USER);
    unsigned shadows = 0, relative = 0, nowhere = 0, file = 0;
    for (size_t i = 0; i < registry->count; i++)
        shadows += registry->rows[i].state == HOST_ROW_SHADOWED;
    ck_assert_uint_eq(shadows, 1); /* the user's; listing a directory twice shadows nothing */
    for (size_t i = 0; i < registry->note_count; i++) {
        relative += strstr(registry->notes[i].text, "relative is in KOLM_BACKEND_PATH and not absolute") != NULL;
        nowhere += strstr(registry->notes[i].text, "/nowhere is not searched") != NULL;
        file += strstr(registry->notes[i].text, "/file is not searched") != NULL;
    }
    ck_assert_uint_eq(relative, 1);
    ck_assert_uint_eq(nowhere, 1);
    ck_assert_uint_eq(file, 1);
    /* This program is in the build tree, so that kolm-host was found there. */
    ck_assert_ptr_nonnull(registry->program);
    ck_assert_ptr_nonnull(strstr(registry->program, "/core/host/kolm-host"));
    host_registry_free(registry);
    unsetenv("KOLM_BACKEND_PATH");
    kit_format(path, sizeof path, "%s/none", home);
    options.user_dir = path; /* a missing user directory is normal: no note */
    ck_assert_int_eq(host_scan(&options, &registry, &err), KOLM_OK);
    for (size_t i = 0; i < registry->note_count; i++)
        ck_assert_ptr_null(strstr(registry->notes[i].text, "/none"));
    host_registry_free(registry);
}
END_TEST

START_TEST(test_scan_many) {
    char name[40];
    for (int i = 0; i < 4500; i++) {
        kit_format(name, sizeof name, "p%03d.so", i);
        int fd = open(in(first, name), O_WRONLY | O_CREAT | O_EXCL, 0644); /* put() would wait for the disk each time */
        ck_assert_int_ge(fd, 0);
        close(fd);
    }
    host_registry *registry = scan_both();
    ck_assert_uint_eq(registry->count, 4096);
    ck_assert_uint_ge(registry->note_count, 1);
    ck_assert_ptr_nonnull(strstr(registry->notes[0].text, "contains more files than kolm examines"));
    host_registry_free(registry);
}
END_TEST

static kit_status grant_all_but(void *user, const host_backend *row, kolm_error_t *why) {
    ck_assert_int_eq(row->state, HOST_ROW_OK);
    if (strcmp(row->name, user) != 0) return KOLM_OK;
    return kit_fail(why, KOLM_E_PERMISSION_DENIED, "ask", "%s is not granted", row->name);
}

START_TEST(test_scan_grants) {
    char path[PATH_MAX];
    kolm_error_t err = KIT_ERROR_INIT;
    const char *dirs[] = {first, second};
    host_scan_options options = {.dirs = dirs, .dir_count = 2, .program = "/bin/true", .grant = grant_all_but};
    host_registry *registry = NULL;
    kit_copy(path, sizeof path, "acme");
    options.grant_user = path;
    put_backend(first, "acme");
    put_backend(first, "bolt");
    put_backend(second, "bolt");
    put(first, "half.so", "");
    ck_assert_int_eq(host_scan(&options, &registry, &err), KOLM_OK);
    ck_assert_uint_eq(registry->count, 4);
    ck_assert_int_eq(registry->rows[0].state, HOST_ROW_OK); /* found and valid nevertheless */
    ck_assert(!registry->rows[0].granted);
    ck_assert_str_eq(registry->rows[0].why.text, "acme is not granted");
    ck_assert(registry->rows[1].granted);
    ck_assert(!registry->rows[2].granted); /* shadowed */
    ck_assert(!registry->rows[3].granted); /* refused */
    host_registry_free(registry);
    registry = scan_both();
    ck_assert(registry->rows[0].granted && registry->rows[1].granted); /* a call without grants grants all */
    host_registry_free(registry);
}
END_TEST

START_TEST(test_trust) {
    kolm_error_t err = KIT_ERROR_INIT;
    char *real = NULL;
    int fd = -1;
    host_file_identity identity;
    put(first, "file", "text");
    ck_assert_int_eq(host_trust_file(in(first, "../first/./file"), &real, &fd, &identity, &err), KOLM_OK);
    ck_assert_str_eq(real, in(first, "file"));
    ck_assert_uint_eq(identity.size, 4);
    close(fd);
    free(real);
    ck_assert_int_eq(host_trust_file("file", NULL, NULL, NULL, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(host_trust_file(in(first, "none"), NULL, NULL, NULL, &err), KOLM_E_NOT_FOUND);
    ck_assert_int_eq(host_trust_file(first, NULL, NULL, NULL, &err), KOLM_E_PERMISSION_DENIED);
    ck_assert_int_eq(host_trust_directory(first, NULL, &err), KOLM_OK);
    ck_assert_int_eq(host_trust_directory(in(first, "file"), NULL, &err), KOLM_E_PERMISSION_DENIED);
    ck_assert_int_eq(host_trust_directory("/", NULL, &err), KOLM_OK);
    ck_assert_int_eq(host_trust_directory("/tmp", NULL, &err), KOLM_E_PERMISSION_DENIED);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("scan");
    TCase *scan = tcase_create("scan");
    tcase_add_checked_fixture(scan, setup, teardown);
    tcase_set_timeout(scan, 60);
    tcase_add_test(scan, test_scan_order_and_shadow);
    tcase_add_test(scan, test_scan_bad_one_in_front);
    tcase_add_test(scan, test_scan_halves);
    tcase_add_test(scan, test_scan_other_file_kinds);
    tcase_add_test(scan, test_scan_permissions);
    tcase_add_test(scan, test_scan_owner);
    tcase_add_test(scan, test_scan_links);
    tcase_add_test(scan, test_scan_places);
    tcase_add_test(scan, test_scan_many);
    tcase_add_test(scan, test_scan_grants);
    tcase_add_test(scan, test_trust);
    suite_add_tcase(suite, scan);
    return run_suite(suite);
}
