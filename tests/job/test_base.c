/* SPDX-License-Identifier: Apache-2.0 */
/* Base models: found by path and by name, rejected if they are not models, digested as the header specifies, remembered
 * while their files are unchanged. */
#include "../suite.h"
#include "fixture.h"

#include "kolm/kit/digest.h"

#include "job/base.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static kolm_error_t err;
static char root[64];

static void put(const char *name, const char *text) {
    char path[512];
    kit_format(path, sizeof path, "%s/%s", root, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    ck_assert_int_eq(kit_mkdirs(path, 0700, &err), KOLM_OK);
    *slash = '/';
    ck_assert_int_eq(kit_write_file(path, 0600, text, strlen(text), &err), KOLM_OK);
}

static const char *in(const char *name) {
    static char paths[4][512];
    static size_t next;
    char *path = paths[next++ % 4];
    kit_format(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_copy(root, sizeof root, "/tmp/kolm-base-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    put("model/config.json", "{}");
    put("model/model.safetensors", "weights");
    put("model/tokenizer.json", "{}");
    put("model/README.md", "words");
    ck_assert_int_eq(setenv("HF_HUB_CACHE", in("hub"), 1), 0);
}

static void teardown(void) {
    ck_assert_int_eq(kit_remove_tree(root, &err), KOLM_OK);
}

static job_base open_base(const char *asked, cJSON *memory) {
    job_base base;
    char *path = NULL;
    ck_assert_msg(job_base_find(asked, &path, &err) == KOLM_OK, "%s", err.text);
    ck_assert_msg(job_base_open(asked, path, memory, NULL, &base, &err) == KOLM_OK, "%s", err.text);
    free(path);
    return base;
}

START_TEST(a_directory_is_known_by_its_files) {
    char expected[KIT_SHA256_HEX], lines[1024];
    kit_buf text = {0};
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json"};
    for (size_t i = 0; i < 3; i++) {
        char path[600], hex[KIT_SHA256_HEX];
        uint64_t size = 0;
        kit_format(path, sizeof path, "%s/model/%s", root, files[i]);
        ck_assert_int_eq(kit_sha256_file(path, hex, &size, &err), KOLM_OK);
        kit_buf_fmt(&text, "%s  %llu  %s\n", hex, (unsigned long long)size, files[i]);
    }
    kit_copy(lines, sizeof lines, kit_buf_text(&text));
    ck_assert_int_eq(kit_sha256_bytes(lines, strlen(lines), expected, &err), KOLM_OK);
    kit_buf_free(&text);
    job_base base = open_base(in("model"), NULL);
    ck_assert_str_eq(base.digest, expected);
    ck_assert_str_eq(base.name, "model");
    ck_assert_uint_eq(base.weight_bytes, 7);
    job_base_free(&base);
    /* Files that are not part of the model do not change its digest; others do. */
    put("model/README.md", "other words");
    put("model/sub/config.json", "x");
    base = open_base(in("model"), NULL);
    ck_assert_str_eq(base.digest, expected);
    job_base_free(&base);
    put("model/chat_template.jinja", "{{ x }}");
    base = open_base(in("model"), NULL);
    ck_assert_str_ne(base.digest, expected);
    job_base_free(&base);
}
END_TEST

/* Without modules.json subdirectories are ignored; with it only those that it names are read. */
START_TEST(modules_are_a_part_of_a_sentence_encoder) {
    put("model/1_Pooling/config.json", "{\"mean\": true}");
    put("model/other/config.json", "x");
    job_base plain = open_base(in("model"), NULL);
    put("model/modules.json", "[{\"path\": \"\"}, {\"path\": \"1_Pooling\"}, {\"path\": \"../other\"}, {\"path\": "
                              "\"none\"}, {\"path\": \"1_Pooling\"}, 3]");
    job_base before = open_base(in("model"), NULL);
    ck_assert_str_ne(plain.digest, before.digest);
    put("model/other/config.json", "y");
    ck_assert_int_eq(job_base_unchanged(&before, &err), KOLM_OK);
    put("model/1_Pooling/config.json", "{\"mean\": 0}");
    ck_assert_int_eq(job_base_unchanged(&before, &err), KOLM_E_DATA_LOSS);
    ck_assert_ptr_nonnull(strstr(err.text, "1_Pooling/config.json"));
    job_base after = open_base(in("model"), NULL);
    ck_assert_str_ne(before.digest, after.digest);
    job_base_free(&plain);
    job_base_free(&before);
    job_base_free(&after);
    put("model/modules.json", "no JSON");
    after = open_base(in("model"), NULL);
    job_base_free(&after);
}
END_TEST

/* The weights of static embeddings may be only in the directory of their module. */
START_TEST(weights_of_a_module_are_weights) {
    put("static/config.json", "{}");
    put("static/modules.json", "[{\"path\": \"0_StaticEmbedding\"}]");
    put("static/0_StaticEmbedding/model.safetensors", "weights");
    job_base base = open_base(in("static"), NULL);
    ck_assert_uint_eq(base.weight_bytes, 7);
    job_base_free(&base);
}
END_TEST

START_TEST(an_adapter_next_to_the_base_is_not_part_of_it) {
    job_base before = open_base(in("model"), NULL);
    put("model/adapter_config.json", "{}");
    put("model/adapter_model.safetensors", "an adapter");
    job_base after = open_base(in("model"), NULL);
    ck_assert_str_eq(before.digest, after.digest);
    ck_assert_uint_eq(after.weight_bytes, 7);
    job_base_free(&before);
    job_base_free(&after);
    ck_assert_int_eq(unlink(in("model/model.safetensors")), 0);
    job_base none;
    ck_assert_int_eq(job_base_open(in("model"), in("model"), NULL, NULL, &none, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "an adapter and no base model"));
    job_base_free(&none);
}
END_TEST

START_TEST(a_pickle_counts_only_where_nothing_better_is) {
    job_base before = open_base(in("model"), NULL);
    put("model/pytorch_model.bin", "a pickle");
    job_base after = open_base(in("model"), NULL);
    ck_assert_str_eq(before.digest, after.digest);
    job_base_free(&before);
    job_base_free(&after);
    ck_assert_int_eq(unlink(in("model/model.safetensors")), 0);
    job_base pickled = open_base(in("model"), NULL);
    ck_assert_uint_eq(pickled.weight_bytes, 8);
    job_base_free(&pickled);
}
END_TEST

START_TEST(a_name_is_found_in_the_cache) {
    put("hub/models--org--small/refs/main", "abc123\n");
    put("hub/models--org--small/blobs/w", "weights");
    put("hub/models--org--small/snapshots/abc123/config.json", "{}");
    ck_assert_int_eq(symlink("../../blobs/w", in("hub/models--org--small/snapshots/abc123/model.safetensors")), 0);
    job_base base = open_base("org/small", NULL);
    ck_assert_str_eq(base.name, "org/small");
    ck_assert_uint_eq(base.weight_bytes, 7);
    job_base_free(&base);
    char *path = NULL;
    put("hub/models--org--gone/refs/main", "nothere");
    ck_assert_int_eq(job_base_find("org/gone", &path, &err), KOLM_E_NOT_FOUND);
    put("hub/models--org--evil/refs/main", "../../../../model");
    ck_assert_int_eq(job_base_find("org/evil", &path, &err), KOLM_E_NOT_FOUND);
}
END_TEST

START_TEST(what_is_not_a_base_is_reported) {
    static const char *const names[] = {"org/missing", "../model", "a/b/c", "", "x y", "/nonexistent"};
    char *path = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ck_assert_int_eq(job_base_find(names[i], &path, &err), KOLM_E_NOT_FOUND);
        ck_assert_ptr_null(path);
        ck_assert_str_ne(err.remedy, "");
    }
    job_base base;
    put("empty/README.md", "x");
    ck_assert_int_eq(job_base_open(in("empty"), in("empty"), NULL, NULL, &base, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "config.json"));
    job_base_free(&base);
    put("hollow/config.json", "{}");
    ck_assert_int_eq(job_base_open(in("hollow"), in("hollow"), NULL, NULL, &base, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "weights"));
    job_base_free(&base);
}
END_TEST

START_TEST(hashing_can_be_stopped) {
    static const volatile sig_atomic_t stop = 1;
    job_base base;
    ck_assert_int_eq(job_base_open(in("model"), in("model"), NULL, &stop, &base, &err), KOLM_E_CANCELLED);
    job_base_free(&base);
}
END_TEST

/* Checks the error of base after a change to its directory. */
static void expect_change(const job_base *base, const char *what) {
    kolm_error_t why = KIT_ERROR_INIT;
    ck_assert_int_eq(job_base_unchanged(base, &why), KOLM_E_DATA_LOSS);
    ck_assert_msg(strstr(why.text, what) != NULL, "%s", why.text);
}

START_TEST(a_change_while_it_is_used_is_noticed) {
    job_base base = open_base(in("model"), NULL);
    ck_assert_int_eq(job_base_unchanged(&base, &err), KOLM_OK);
    put("model/notes.md", "nobody loads this");
    ck_assert_int_eq(job_base_unchanged(&base, &err), KOLM_OK);
    /* One more file that would be loaded: first, in the middle, and last in the order of names. */
    static const char *const more[] = {"a.json", "merges.txt", "vocab.json"};
    for (size_t i = 0; i < 3; i++) {
        char name[64];
        kit_format(name, sizeof name, "model/%s", more[i]);
        put(name, "x");
        expect_change(&base, more[i]);
        ck_assert_int_eq(unlink(in(name)), 0);
        ck_assert_int_eq(job_base_unchanged(&base, &err), KOLM_OK);
    }
    ck_assert_int_eq(rename(in("model"), in("old")), 0);
    put("model/config.json", "{}");
    put("model/model.safetensors", "weights");
    put("model/tokenizer.json", "{}");
    expect_change(&base, "another directory");
    ck_assert_int_eq(kit_remove_tree(in("model"), &err), KOLM_OK);
    ck_assert_int_eq(rename(in("old"), in("model")), 0);
    ck_assert_int_eq(job_base_unchanged(&base, &err), KOLM_OK);
    put("model/model.safetensors", "WEIGHTS");
    expect_change(&base, "model.safetensors");
    job_base_free(&base);
}
END_TEST

/* Checks the one path at which memory has seen the model; NULL: none. */
static void expect_seen(const cJSON *memory, const char *digest, const char *lines, bool earlier, const char *path) {
    cJSON *seen = NULL;
    const char *got = NULL;
    ck_assert_int_eq(job_base_seen(memory, digest, lines, earlier, &seen, &err), KOLM_OK);
    ck_assert_int_eq(cJSON_GetArraySize(seen), path != NULL);
    if (path != NULL) {
        ck_assert(kit_json_get_string(seen->child, "path", &got));
        ck_assert_str_eq(got, path);
    }
    cJSON_Delete(seen);
}

static void narrow(job_base *base, const char *names_json) {
    cJSON *names = cJSON_Parse(names_json);
    kit_buf lines = {0};
    ck_assert_msg(job_base_lines(base, names, &lines, &err) == KOLM_OK, "%s", err.text);
    ck_assert_int_eq(job_base_narrow(base, kit_buf_text(&lines), &err), KOLM_OK);
    kit_buf_free(&lines);
    cJSON_Delete(names);
}

/* A recipe that reads some of the files: the same model in two directories is the same, whatever other files they
 * have. */
START_TEST(only_the_files_that_are_read_count) {
    put("other/config.json", "{}");
    put("other/model.safetensors", "weights");
    put("other/special_tokens_map.json", "{}");
    put("other/spare.safetensors", "more");
    cJSON *memory = cJSON_CreateObject();
    job_base one = open_base(in("model"), memory), two = open_base(in("other"), memory);
    ck_assert_str_ne(one.digest, two.digest);
    narrow(&one, "[\"model.safetensors\",\"config.json\",\"config.json\"]");
    ck_assert(job_base_holds(two.lines, one.lines));
    cJSON *files = job_base_files(&one);
    kit_buf lines = {0};
    ck_assert_int_eq(cJSON_GetArraySize(files), 2);
    ck_assert_int_eq(job_base_lines_of(files, &lines, &err), KOLM_OK);
    ck_assert_str_eq(kit_buf_text(&lines), one.lines);
    ck_assert_int_eq(job_base_narrow(&two, kit_buf_text(&lines), &err), KOLM_OK);
    ck_assert_str_eq(one.digest, two.digest);
    ck_assert_uint_eq(two.weight_bytes, 7);
    put("model/tokenizer.json", "{ }");
    put("model/new.json", "{}");
    ck_assert_int_eq(job_base_unchanged(&one, &err), KOLM_OK);
    put("other/config.json", "{ }");
    expect_change(&two, "config.json");
    job_base_free(&two);
    two = open_base(in("other"), memory);
    ck_assert_int_eq(job_base_narrow(&two, one.lines, &err), KOLM_E_FAILED_PRECONDITION);
    ck_assert_str_eq(err.text, "config.json is not the same");
    expect_seen(memory, one.digest, one.lines, false, one.path);
    expect_seen(memory, one.digest, one.lines, true, two.path);
    job_base_free(&one);
    job_base_free(&two);
    cJSON_Delete(files);
    cJSON_Delete(memory);
    kit_buf_free(&lines);
}
END_TEST

START_TEST(lists_of_files_are_distrusted) {
    static const char *const names[] = {"[]", "{}", "[3]", "[\"none.json\"]", "[\"config.json\",null]"};
    static const char *const files[] = {"[]", "[{\"name\":\"config.json\",\"bytes\":2}]",
                                        "[{\"name\":\"../x\",\"bytes\":2,\"sha256\":\"00\"}]"};
    job_base base = open_base(in("model"), NULL);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        cJSON *list = cJSON_Parse(names[i]);
        kit_buf lines = {0};
        ck_assert_int_eq(job_base_lines(&base, list, &lines, &err), KOLM_E_DATA_LOSS);
        kit_buf_free(&lines);
        cJSON_Delete(list);
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        cJSON *list = cJSON_Parse(files[i]);
        kit_buf lines = {0};
        ck_assert_int_eq(job_base_lines_of(list, &lines, &err), KOLM_E_DATA_LOSS);
        kit_buf_free(&lines);
        cJSON_Delete(list);
    }
    job_base_free(&base);
}
END_TEST

START_TEST(a_difference_names_what_differs) {
    char what[512];
    job_base base = open_base(in("model"), NULL);
    job_base_difference(base.lines, base.lines, true, what, sizeof what);
    ck_assert_str_eq(what, "");
    put("model/added.json", "{}");
    put("model/config.json", "{ }");
    ck_assert_int_eq(unlink(in("model/tokenizer.json")), 0);
    job_base now = open_base(in("model"), NULL);
    job_base_difference(base.lines, now.lines, true, what, sizeof what);
    ck_assert_str_eq(what, "config.json is not the same, tokenizer.json is missing, added.json was added");
    job_base_difference(base.lines, now.lines, false, what, sizeof what);
    ck_assert_str_eq(what, "config.json is not the same, tokenizer.json is missing");
    job_base_free(&base);
    job_base_free(&now);
}
END_TEST

START_TEST(a_digest_is_remembered_until_a_file_changes) {
    cJSON *memory = cJSON_CreateObject();
    job_base first = open_base(in("model"), memory);
    expect_seen(memory, first.digest, "", false, first.path);
    expect_seen(memory, "0000", "", false, NULL);
    /* The cache is trusted: a wrong digest in it is returned while the files are unchanged. */
    cJSON *entry = cJSON_GetObjectItemCaseSensitive(memory, first.path);
    char wrong[KIT_SHA256_HEX];
    memset(wrong, 'a', sizeof wrong - 1);
    wrong[sizeof wrong - 1] = '\0';
    cJSON_SetValuestring(cJSON_GetObjectItemCaseSensitive(entry, "digest"), wrong);
    job_base again = open_base(in("model"), memory);
    ck_assert_str_eq(again.digest, wrong);
    job_base_free(&again);
    put("model/model.safetensors", "Weights"); /* the same size, another inode and time */
    again = open_base(in("model"), memory);
    ck_assert_str_ne(again.digest, wrong);
    ck_assert_str_ne(again.digest, first.digest);
    job_base_free(&again);
    /* An invalid entry is ignored. */
    cJSON_DeleteItemFromObjectCaseSensitive(memory, first.path);
    ck_assert(kit_json_put_string(memory, first.path, "nonsense"));
    again = open_base(in("model"), memory);
    job_base_free(&again);
    job_base_free(&first);
    cJSON_Delete(memory);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("base");
    TCase *tests = tcase_create("base");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_directory_is_known_by_its_files);
    tcase_add_test(tests, modules_are_a_part_of_a_sentence_encoder);
    tcase_add_test(tests, weights_of_a_module_are_weights);
    tcase_add_test(tests, an_adapter_next_to_the_base_is_not_part_of_it);
    tcase_add_test(tests, a_pickle_counts_only_where_nothing_better_is);
    tcase_add_test(tests, a_name_is_found_in_the_cache);
    tcase_add_test(tests, what_is_not_a_base_is_reported);
    tcase_add_test(tests, hashing_can_be_stopped);
    tcase_add_test(tests, a_change_while_it_is_used_is_noticed);
    tcase_add_test(tests, a_digest_is_remembered_until_a_file_changes);
    tcase_add_test(tests, a_difference_names_what_differs);
    tcase_add_test(tests, lists_of_files_are_distrusted);
    tcase_add_test(tests, only_the_files_that_are_read_count);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
