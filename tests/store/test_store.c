/* SPDX-License-Identifier: Apache-2.0 */
/* The home directory: what is found, kept and refused, and the effects of a damaged file or a full disk. */
#include "../suite.h"
#include "kolm/kit/file.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char base[64];
static store_home *home;
static kolm_error_t err;

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_copy(base, sizeof base, "/tmp/kolm-store-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base));
    char path[96];
    kit_format(path, sizeof path, "%s/home", base);
    ck_assert_int_eq(store_home_at(path, &home, &err), KOLM_OK);
}

static void teardown(void) {
    store_home_free(home);
    home = NULL;
    ck_assert_int_eq(kit_remove_tree(base, &err), KOLM_OK);
}

static const char *in_home(const char *name) {
    static char path[160];
    kit_format(path, sizeof path, "%s/%s", store_home_path(home), name);
    return path;
}

static void write_text(const char *name, const char *text, unsigned mode) {
    ck_assert_int_eq(store_home_create(home, &err), KOLM_OK);
    FILE *file = fopen(in_home(name), "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(in_home(name), mode), 0);
}

static bool same_text(const char *name, const char *text) {
    kit_buf found = {0};
    ck_assert_int_eq(kit_read_file(in_home(name), 1 << 20, &found, &err), KOLM_OK);
    bool same = strcmp(kit_buf_text(&found), text) == 0;
    kit_buf_free(&found);
    return same;
}

START_TEST(home_is_found_in_order) {
    store_home *found = NULL;
    setenv("HOME", "/somebody", 1);
    setenv("KOLM_HOME", "/elsewhere/", 1);
    ck_assert_int_eq(store_home_find(&found, &err), KOLM_OK);
    ck_assert_str_eq(store_home_path(found), "/elsewhere");
    store_home_free(found);
    setenv("KOLM_HOME", "", 1);
    ck_assert_int_eq(store_home_find(&found, &err), KOLM_OK);
    ck_assert_str_eq(store_home_path(found), "/somebody/.kolm");
    store_home_free(found);
}
END_TEST

/* The layout exists on users' disks: with a changed name they would lose their files. */
START_TEST(places_in_the_home) {
    static const char *const names[] = {
        "config.json",      "credentials",  "grants.json",    "policy.json", "keys",
        "keys/signing.pem", "backend-keys", "receipts.jsonl", "leases",      "leases.jsonl",
        "backends",         "runtimes",     "jobs",           "run",         "cache"};
    static const char *const kept[] = {"credentials",    "keys",        "keys/signing.pem",
                                       "config.json",    "policy.json", "grants.json",
                                       "receipts.jsonl", "leases",      "leases.jsonl"};
    char *path = NULL;
    ck_assert_uint_eq(sizeof names / sizeof *names, STORE_PLACES);
    for (int i = 0; i < STORE_PLACES; i++) {
        ck_assert_str_eq(store_place_name((store_place)i), names[i]);
        ck_assert_int_eq(store_home_place(home, (store_place)i, &path, &err), KOLM_OK);
        ck_assert_str_eq(path, in_home(names[i]));
        free(path);
    }
    const char *const *given = store_kept_names();
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        ck_assert_str_eq(given[i], kept[i]);
    ck_assert_ptr_null(given[sizeof kept / sizeof *kept]);
    ck_assert_int_eq(store_cache_path(home, "detect", &path, &err), KOLM_OK);
    ck_assert_str_eq(path, in_home("cache/detect.json"));
    free(path);
    ck_assert_int_ne(access(store_home_path(home), F_OK), 0);
}
END_TEST

START_TEST(no_home_is_reported_with_a_remedy) {
    store_home *found = NULL;
    unsetenv("HOME");
    unsetenv("KOLM_HOME");
    ck_assert_int_eq(store_home_find(&found, &err), KOLM_E_FAILED_PRECONDITION);
    ck_assert_ptr_nonnull(strstr(err.text, "HOME"));
    ck_assert_ptr_nonnull(strstr(err.remedy, "KOLM_HOME"));
    setenv("KOLM_HOME", "relative/dir", 1);
    ck_assert_int_eq(store_home_find(&found, &err), KOLM_E_FAILED_PRECONDITION);
    ck_assert_ptr_nonnull(strstr(err.text, "relative/dir"));
    unsetenv("KOLM_HOME");
    setenv("HOME", "relative", 1);
    ck_assert_int_eq(store_home_find(&found, &err), KOLM_E_FAILED_PRECONDITION);
}
END_TEST

START_TEST(a_missing_config_is_empty_and_reading_creates_nothing) {
    cJSON *config = NULL;
    ck_assert_int_eq(store_config_read(home, &config, &err), KOLM_OK);
    ck_assert(cJSON_IsObject(config) && !config->child);
    cJSON_Delete(config);
    ck_assert_int_ne(access(store_home_path(home), F_OK), 0);
}
END_TEST

static kit_status set_backend(cJSON *config, void *user, kolm_error_t *out_err) {
    (void)out_err;
    cJSON_DeleteItemFromObjectCaseSensitive(config, "backend");
    return kit_json_put_string(config, "backend", user) ? KOLM_OK : KOLM_E_RESOURCE_EXHAUSTED;
}

static kit_status fail_edit(cJSON *config, void *user, kolm_error_t *out_err) {
    (void)user;
    cJSON_DeleteItemFromObjectCaseSensitive(config, "backend");
    return kit_fail(out_err, KOLM_E_ABORTED, "", "changed my mind");
}

START_TEST(an_update_keeps_what_it_does_not_know) {
    char name[] = "acme";
    cJSON *config = NULL;
    const char *text = NULL;
    write_text("config.json", "{\"future\": {\"a\": [1, 2.5]}, \"backend\": \"old\"}", 0600);
    ck_assert_int_eq(store_config_update(home, set_backend, name, &err), KOLM_OK);
    ck_assert_int_eq(store_config_read(home, &config, &err), KOLM_OK);
    ck_assert(kit_json_get_string(config, "backend", &text));
    ck_assert_str_eq(text, "acme");
    ck_assert_double_eq(
        cJSON_GetArrayItem(cJSON_GetObjectItem(cJSON_GetObjectItem(config, "future"), "a"), 1)->valuedouble, 2.5);
    cJSON_Delete(config);
}
END_TEST

START_TEST(a_failed_edit_leaves_the_file) {
    write_text("config.json", "{\"backend\":\"old\"}", 0600);
    ck_assert_int_eq(store_config_update(home, fail_edit, NULL, &err), KOLM_E_ABORTED);
    ck_assert(same_text("config.json", "{\"backend\":\"old\"}"));
}
END_TEST

START_TEST(a_config_that_is_not_json_is_never_overwritten) {
    static const char *const texts[] = {"{\n  \"backend\": oops\n}", "[]", "", "{} {}", "\"text\"",
                                        "{\"a\":1,\"a\":2}"};
    char name[] = "acme";
    cJSON *config = NULL;
    write_text("config.json", texts[_i], 0600);
    ck_assert_int_eq(store_config_read(home, &config, &err), KOLM_E_DATA_LOSS);
    ck_assert_ptr_nonnull(strstr(err.text, "config.json"));
    ck_assert_ptr_nonnull(strstr(err.text, "line"));
    ck_assert_str_ne(err.remedy, "");
    if (_i == 0) ck_assert_ptr_nonnull(strstr(err.text, "line 2, column 14"));
    ck_assert_int_eq(store_config_update(home, set_backend, name, &err), KOLM_E_DATA_LOSS);
    ck_assert(same_text("config.json", texts[_i]));
}
END_TEST

#define WRITERS 8
static const struct {
    const char *text, *says; /* says: NULL if it is valid */
} checked[] = {
    {"{}", NULL},
    {"{\"backend\":null,\"backends\":{},\"runtimes\":{\"a\":\"/bin/python\",\"x-b\":7},\"x-mine\":[1]}", NULL},
    {"{\"backens\":{}}", "config.json: there is no key \"backens\"; did you mean \"backends\"?"},
    {"{\"Backend\":\"a\"}", "did you mean \"backend\"?"},
    {"{\"colour\":1}", "there is no key \"colour\""},
    {"{\"\":1}", "there is no key \"\""},
    {"{\"backend\":7}", "backend: expected the name of a backend"},
    {"{\"backend\":\"\"}", "backend: expected the name of a backend"},
    {"{\"backends\":[]}", "backends: expected an object"},
    {"{\"runtimes\":[]}", "runtimes: expected an object"},
    {"{\"runtimes\":{\"a\":{}},\"backends\":{\"a\":7}}", NULL},
};

START_TEST(the_keys_of_a_config_are_checked) {
    cJSON *config = NULL;
    write_text("config.json", checked[_i].text, 0600);
    ck_assert_int_eq(store_config_read(home, &config, &err), KOLM_OK);
    kit_status status = store_config_check("config.json", config, &err);
    ck_assert_int_eq(status, checked[_i].says ? KOLM_E_DATA_LOSS : KOLM_OK);
    if (checked[_i].says) ck_assert_msg(strstr(err.text, checked[_i].says) != NULL, "%s", err.text);
    cJSON_Delete(config);
}
END_TEST

static kit_status count_up(cJSON *config, void *user, kolm_error_t *out_err) {
    uint64_t count = 0;
    (void)user;
    (void)kit_json_get_u64(config, "count", &count);
    cJSON_DeleteItemFromObjectCaseSensitive(config, "count");
    if (kit_json_put_u64(config, "count", count + 1)) return KOLM_OK;
    return kit_fail(out_err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
}

START_TEST(two_writers_lose_nothing) {
    pid_t children[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        children[i] = fork();
        ck_assert_int_ge(children[i], 0);
        if (children[i] == 0) _exit(store_config_update(home, count_up, NULL, &err) == KOLM_OK ? 0 : 1);
    }
    for (int i = 0; i < WRITERS; i++) {
        int status = 0;
        ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
        ck_assert_int_eq(status, 0);
    }
    cJSON *config = NULL;
    uint64_t count = 0;
    ck_assert_int_eq(store_config_read(home, &config, &err), KOLM_OK);
    ck_assert(kit_json_get_u64(config, "count", &count));
    ck_assert_uint_eq(count, WRITERS);
    cJSON_Delete(config);
}
END_TEST

/* A file in place of the directory: no user, not even root, can make anything in it. */
static void block_home(void) {
    FILE *file = fopen(store_home_path(home), "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(an_unusable_home_is_an_error_for_writing_and_no_cache) {
    char name[] = "acme";
    uint8_t key[STORE_KEY_BYTES];
    cJSON *value = cJSON_CreateObject();
    block_home();
    ck_assert_int_ne(store_config_update(home, set_backend, name, &err), KOLM_OK);
    ck_assert_ptr_nonnull(strstr(err.text, store_home_path(home)));
    ck_assert_ptr_null(store_cache_read(home, "detect"));
    ck_assert(!store_cache_write(home, "detect", value));
    ck_assert(!store_cache_key(home, key));
    cJSON_Delete(value);
}
END_TEST

START_TEST(a_lock_excludes_and_is_released) {
    store_lock *first = NULL, *second = NULL;
    ck_assert_int_eq(store_lock_take(home, "job", 0, &first, &err), KOLM_OK);
    ck_assert_int_eq(store_lock_take(home, "job", 30, &second, &err), KOLM_E_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(err.text, "job.lock"));
    ck_assert_int_eq(store_lock_take(home, "other", 0, &second, &err), KOLM_OK);
    store_lock_release(second);
    store_lock_release(first);
    ck_assert_int_eq(store_lock_take(home, "job", 0, &first, &err), KOLM_OK);
    store_lock_release(first);
    store_lock_release(NULL);
}
END_TEST

START_TEST(a_token_is_found_and_its_source_reported) {
    store_credentials *set = NULL;
    store_secret_source source = STORE_SECRET_NONE;
    unsetenv("KOLM_T1");
    unsetenv("KOLM_T2");
    write_text("credentials", "# tokens = here\n\n KOLM_T1 = from=file \nKOLM_T2=first\nKOLM_T2=second\nKOLM_EMPTY=\n",
               0600);
    ck_assert_int_eq(store_credentials_read(home, &set, &err), KOLM_OK);
    ck_assert_str_eq(store_secret(set, "KOLM_T1", &source), "from=file");
    ck_assert_int_eq(source, STORE_SECRET_FILE);
    ck_assert_str_eq(store_secret(set, "KOLM_T2", &source), "second");
    ck_assert_ptr_null(store_secret(set, "KOLM_EMPTY", &source));
    ck_assert_ptr_null(store_secret(set, "KOLM_ABSENT", &source));
    ck_assert_int_eq(source, STORE_SECRET_NONE);
    setenv("KOLM_T1", "from-env", 1);
    ck_assert_str_eq(store_secret(set, "KOLM_T1", &source), "from-env");
    ck_assert_int_eq(source, STORE_SECRET_ENVIRONMENT);
    ck_assert_str_eq(store_secret(NULL, "KOLM_T1", NULL), "from-env");
    setenv("KOLM_T1", "", 1);
    ck_assert_str_eq(store_secret(set, "KOLM_T1", NULL), "from=file");
    store_credentials_free(set);
}
END_TEST

START_TEST(credentials_that_others_can_read_are_refused) {
    store_credentials *set = NULL;
    write_text("credentials", "KOLM_T1=x\n", 0640);
    ck_assert_int_eq(store_credentials_read(home, &set, &err), KOLM_E_PERMISSION_DENIED);
    ck_assert_ptr_nonnull(strstr(err.remedy, "chmod 600"));
    char kept[200];
    kit_copy(kept, sizeof kept, in_home("real"));
    ck_assert_int_eq(chmod(in_home("credentials"), 0600), 0);
    char from[200];
    kit_copy(from, sizeof from, in_home("credentials"));
    ck_assert_int_eq(rename(from, kept), 0);
    ck_assert_int_eq(symlink(kept, from), 0);
    ck_assert_int_eq(store_credentials_read(home, &set, &err), KOLM_E_PERMISSION_DENIED);
    ck_assert_int_eq(unlink(from), 0);
    ck_assert_int_eq(mkdir(from, 0700), 0);
    ck_assert_int_eq(store_credentials_read(home, &set, &err), KOLM_E_PERMISSION_DENIED);
}
END_TEST

START_TEST(a_bad_credentials_line_is_named_and_not_quoted) {
    static const char *const texts[] = {"\nsecret-token-value\n", "\n9X=secret-token-value", "\n=secret-token-value",
                                        "\nA B=secret-token-value"};
    store_credentials *set = NULL;
    write_text("credentials", texts[_i], 0600);
    ck_assert_int_eq(store_credentials_read(home, &set, &err), KOLM_E_DATA_LOSS);
    ck_assert_ptr_nonnull(strstr(err.text, "line 2"));
    ck_assert_ptr_null(strstr(err.text, "secret"));
}
END_TEST

START_TEST(no_credentials_file_is_an_empty_set) {
    store_credentials *set = NULL;
    ck_assert_int_eq(store_credentials_read(home, &set, &err), KOLM_OK);
    ck_assert_ptr_null(store_secret(set, "KOLM_ABSENT", NULL));
    store_credentials_free(set);
}
END_TEST

START_TEST(only_long_secrets_show_their_tail) {
    ck_assert_str_eq(store_secret_tail("abcdefghijkl"), "ijkl");
    ck_assert_str_eq(store_secret_tail("abcdefghijk"), "");
    ck_assert_str_eq(store_secret_tail(""), "");
}
END_TEST

START_TEST(the_cache_forgives_everything) {
    static const char *const garbage[] = {"", "{", "[1]", "\x01\xff", "{\"a\":1}{"};
    cJSON *value = cJSON_CreateObject();
    ck_assert(kit_json_put_u64(value, "n", 7));
    ck_assert_ptr_null(store_cache_read(home, "detect"));
    ck_assert(store_cache_write(home, "detect", value));
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        write_text("cache/detect.json", garbage[i], 0600);
        ck_assert_ptr_null(store_cache_read(home, "detect"));
        ck_assert(store_cache_write(home, "detect", value));
        cJSON *found = store_cache_read(home, "detect");
        uint64_t n = 0;
        ck_assert(kit_json_get_u64(found, "n", &n));
        ck_assert_uint_eq(n, 7);
        cJSON_Delete(found);
    }
    ck_assert(store_cache_remove(home, "detect"));
    ck_assert(store_cache_remove(home, "detect"));
    ck_assert_ptr_null(store_cache_read(home, "detect"));
    cJSON_Delete(value);
}
END_TEST

/* A file is replaced by a new one, so its inode shows whether it was. */
static ino_t inode_of(const char *name) {
    struct stat st;
    kit_buf path = {0};
    kit_buf_fmt(&path, "%s/%s", store_home_path(home), name);
    ck_assert_int_eq(stat(kit_buf_text(&path), &st), 0);
    kit_buf_free(&path);
    return st.st_ino;
}

START_TEST(an_equal_entry_is_not_rewritten) {
    cJSON *value = cJSON_CreateObject();
    ck_assert(kit_json_put_u64(value, "n", 7));
    ck_assert(store_cache_write(home, "detect", value));
    ino_t first = inode_of("cache/detect.json");
    ck_assert(store_cache_write(home, "detect", value));
    ck_assert_uint_eq(inode_of("cache/detect.json"), first);
    ck_assert(kit_json_put_u64(value, "m", 8));
    ck_assert(store_cache_write(home, "detect", value));
    ck_assert_uint_ne(inode_of("cache/detect.json"), first);
    cJSON_Delete(value);
}
END_TEST

START_TEST(digests_are_keyed_per_home) {
    uint8_t key[STORE_KEY_BYTES], again[STORE_KEY_BYTES];
    char one[STORE_DIGEST_HEX], two[STORE_DIGEST_HEX];
    struct stat st;
    ck_assert(store_cache_key(home, key));
    ck_assert(store_cache_key(home, again));
    ck_assert_mem_eq(key, again, sizeof key);
    ck_assert_int_eq(stat(in_home("cache/key"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    store_digest(key, "token", 5, one);
    store_digest(key, "token", 5, two);
    ck_assert_str_eq(one, two);
    store_digest(key, "tokeN", 5, two);
    ck_assert_str_ne(one, two);
    /* A key of the wrong size or mode is replaced, not used. */
    write_text("cache/key", "short", 0600);
    ck_assert(store_cache_key(home, again));
    store_digest(again, "token", 5, two);
    ck_assert_str_ne(one, two);
    ck_assert_int_eq(chmod(in_home("cache/key"), 0644), 0);
    ck_assert(store_cache_key(home, key));
    ck_assert(memcmp(key, again, sizeof key) != 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store");
    TCase *tests = tcase_create("store");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, home_is_found_in_order);
    tcase_add_test(tests, places_in_the_home);
    tcase_add_test(tests, no_home_is_reported_with_a_remedy);
    tcase_add_test(tests, a_missing_config_is_empty_and_reading_creates_nothing);
    tcase_add_test(tests, an_update_keeps_what_it_does_not_know);
    tcase_add_test(tests, a_failed_edit_leaves_the_file);
    tcase_add_loop_test(tests, the_keys_of_a_config_are_checked, 0, sizeof checked / sizeof *checked);
    tcase_add_loop_test(tests, a_config_that_is_not_json_is_never_overwritten, 0, 6);
    tcase_add_test(tests, two_writers_lose_nothing);
    tcase_add_test(tests, an_unusable_home_is_an_error_for_writing_and_no_cache);
    tcase_add_test(tests, a_lock_excludes_and_is_released);
    tcase_add_test(tests, a_token_is_found_and_its_source_reported);
    tcase_add_test(tests, credentials_that_others_can_read_are_refused);
    tcase_add_loop_test(tests, a_bad_credentials_line_is_named_and_not_quoted, 0, 4);
    tcase_add_test(tests, no_credentials_file_is_an_empty_set);
    tcase_add_test(tests, only_long_secrets_show_their_tail);
    tcase_add_test(tests, the_cache_forgives_everything);
    tcase_add_test(tests, an_equal_entry_is_not_rewritten);
    tcase_add_test(tests, digests_are_keyed_per_home);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
