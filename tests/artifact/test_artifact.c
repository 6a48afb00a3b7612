/* SPDX-License-Identifier: Apache-2.0 */
/* Artifacts: reproducible bytes; every flipped byte is detected; entries are found, read and extracted safely. */
#include "../suite.h"
#include "artifact/manifest.h"

#include "fixture.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static receipt_key *key;
static receipt_keyring *ring;
static kolm_error_t err;

/* Trusts the known key. */
static void setup(void) {
    uint8_t seed[32];
    memset(seed, 7, sizeof seed);
    err = (kolm_error_t)KIT_ERROR_INIT;
    fixture_begin();
    ck_assert_int_eq(receipt_key_from_seed(seed, &key, &err), KOLM_OK);
    ck_assert_int_eq(receipt_keys_trust(fixture_path("keys"), receipt_key_public(key), "me", RECEIPT_NO_START,
                                        RECEIPT_NO_END, FIXTURE_NOW, &err),
                     KOLM_OK);
    ck_assert_int_eq(receipt_keyring_load(fixture_path("keys"), &ring, &err), KOLM_OK);
}

static void teardown(void) {
    receipt_key_free(key);
    receipt_keyring_free(ring);
    fixture_end();
}

START_TEST(same_inputs_give_the_same_bytes) {
    artifact_identity first, second;
    kit_buf a = {0}, b = {0};
    fixture_artifact("one.kolm", key, &first);
    fixture_artifact("two.kolm", key, &second);
    fixture_text("one.kolm", &a);
    fixture_text("two.kolm", &b);
    ck_assert_uint_eq(a.length, first.size);
    ck_assert_uint_eq(a.length, b.length);
    ck_assert_int_eq(memcmp(a.data, b.data, a.length), 0);
    ck_assert_str_eq(first.manifest_sha256, second.manifest_sha256);
    kit_buf_free(&a);
    kit_buf_free(&b);
}
END_TEST

START_TEST(the_manifest_does_not_depend_on_the_key) {
    artifact_identity mine, yours;
    receipt_key *other = NULL;
    uint8_t seed[32];
    memset(seed, 8, sizeof seed);
    ck_assert_int_eq(receipt_key_from_seed(seed, &other, &err), KOLM_OK);
    fixture_artifact("mine.kolm", key, &mine);
    fixture_artifact("yours.kolm", other, &yours);
    ck_assert_str_eq(mine.manifest_sha256, yours.manifest_sha256);
    receipt_key_free(other);
}
END_TEST

START_TEST(entries_are_found_and_read) {
    artifact_identity id;
    artifact *a = NULL;
    kit_buf text = {0};
    size_t length = 0;
    char sha256[KIT_SHA256_HEX], expected[KIT_SHA256_HEX];
    fixture_artifact("x.kolm", key, &id);
    ck_assert_msg(artifact_open(fixture_path("x.kolm"), &a, &err) == KOLM_OK, "%s", err.text);
    ck_assert_uint_eq(artifact_entry_count(a), 5);
    static const char *const names[] = {"META/manifest.dsse.json", "META/signer.pub.pem", "manifest.json",
                                        "model/labels.json", "model/linear.bin"};
    for (size_t i = 0; i < 5; i++)
        ck_assert_str_eq(artifact_entry_at(a, i)->name, names[i]);
    ck_assert_ptr_null(artifact_entry_at(a, 5));
    ck_assert_ptr_null(artifact_find(a, "model/none"));
    const artifact_entry *entry = artifact_find(a, "model/linear.bin");
    ck_assert_uint_eq(entry->size, 32);
    ck_assert_uint_eq(entry->offset % 64, 0);
    char bytes[32];
    ck_assert_int_eq(pread(artifact_descriptor(a), bytes, 32, (off_t)entry->offset), 32);
    ck_assert_int_eq(memcmp(bytes, "some weights, and then some more", 32), 0);
    ck_assert_int_eq(artifact_read(a, "model/labels.json", 100, &text, &err), KOLM_OK);
    ck_assert_str_eq(kit_buf_text(&text), "[\"a\",\"b\"]");
    ck_assert_int_eq(artifact_read(a, "model/labels.json", 8, &text, &err), KOLM_E_OUT_OF_RANGE);
    ck_assert_int_eq(artifact_read(a, "nothing", 8, &text, &err), KOLM_E_NOT_FOUND);
    ck_assert_str_eq(artifact_manifest_sha256(a), id.manifest_sha256);
    ck_assert_uint_eq(artifact_size(a), id.size);
    ck_assert_ptr_nonnull(strstr(artifact_manifest_text(a, &length), "\"format\":\"kolm.artifact/1\""));
    ck_assert_ptr_nonnull(strstr(artifact_manifest_text(a, &length), "\"size\":0.999999"));
    ck_assert_int_eq(artifact_hash(a, ARTIFACT_HASH_FILE, NULL, NULL, sha256, &err), KOLM_OK);
    ck_assert_int_eq(kit_sha256_file(fixture_path("x.kolm"), expected, NULL, &err), KOLM_OK);
    ck_assert_str_eq(sha256, expected);
    ck_assert_int_eq(artifact_hash(a, ARTIFACT_HASH_ENTRIES, NULL, NULL, sha256, &err), KOLM_OK);
    ck_assert_str_eq(sha256, "");
    kit_buf_free(&text);
    artifact_close(a);
}
END_TEST

/* Flips each byte of name in turn: x.kolm must not be trusted then. */
static void flip_all(const char *name) {
    kit_buf bytes = {0};
    char text[512];
    ck_assert_msg(fixture_verify("x.kolm", ring, NULL, FIXTURE_NOW, text) == RECEIPT_TRUSTED, "%s", text);
    fixture_text(name, &bytes);
    const size_t step = bytes.length / test_draws(bytes.length, 1);
    int fd = open(fixture_path(name), O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    for (size_t i = 0; i < bytes.length; i += step) {
        char flipped = (char)(bytes.data[i] ^ (char)(1 << (i % 8)));
        ck_assert_int_eq(pwrite(fd, &flipped, 1, (off_t)i), 1);
        ck_assert_msg(fixture_verify("x.kolm", ring, NULL, FIXTURE_NOW, text) != RECEIPT_TRUSTED, "byte %zu of %s: %s",
                      i, name, text);
        ck_assert_int_eq(pwrite(fd, &bytes.data[i], 1, (off_t)i), 1);
    }
    ck_assert_int_eq(close(fd), 0);
    kit_buf_free(&bytes);
}

START_TEST(every_flipped_byte_is_noticed_without_receipts) {
    artifact_identity id;
    fixture_artifact("x.kolm", key, &id);
    flip_all("x.kolm");
}
END_TEST

START_TEST(every_flipped_byte_is_noticed_with_receipts) {
    receipt_head head;
    fixture_signed("x.kolm", key, &head);
    flip_all("x.kolm");
}
END_TEST

START_TEST(every_flipped_byte_of_the_receipts_is_noticed) {
    receipt_head head;
    fixture_signed("x.kolm", key, &head);
    flip_all("x.kolm" RECEIPT_SIDECAR_SUFFIX);
}
END_TEST

START_TEST(cut_and_grown_files_are_refused) {
    artifact_identity id;
    artifact *a = NULL;
    fixture_artifact("x.kolm", key, &id);
    const uint64_t step = id.size / test_draws(id.size / 13, 20);
    for (uint64_t size = 0; size < id.size; size += step) {
        ck_assert_int_eq(truncate(fixture_path("x.kolm"), (off_t)size), 0);
        ck_assert_int_eq(artifact_open(fixture_path("x.kolm"), &a, &err), KOLM_E_DATA_LOSS);
        ck_assert_ptr_null(a);
        fixture_artifact("x.kolm", key, &id);
    }
    ck_assert_int_eq(truncate(fixture_path("x.kolm"), (off_t)id.size + 1), 0);
    ck_assert_int_eq(artifact_open(fixture_path("x.kolm"), &a, &err), KOLM_E_DATA_LOSS);
}
END_TEST

START_TEST(what_is_no_file_is_refused) {
    artifact *a = NULL;
    ck_assert_int_eq(artifact_open(fixture_path("none"), &a, &err), KOLM_E_NOT_FOUND);
    ck_assert_int_ne(artifact_open(fixture_path("."), &a, &err), KOLM_OK);
    ck_assert_int_eq(mkfifo(fixture_path("pipe"), 0600), 0);
    ck_assert_int_eq(artifact_open(fixture_path("pipe"), &a, &err), KOLM_E_INVALID_ARGUMENT);
    fixture_file("text", "hello, I am a text that is no zip at all", 40);
    ck_assert_int_eq(artifact_open(fixture_path("text"), &a, &err), KOLM_E_DATA_LOSS);
    ck_assert_ptr_nonnull(strstr(err.text, "/text: "));
}
END_TEST

START_TEST(extraction_stays_inside_and_never_overwrites) {
    artifact_identity id;
    artifact *a = NULL;
    kit_buf text = {0};
    fixture_artifact("x.kolm", key, &id);
    ck_assert_int_eq(artifact_open(fixture_path("x.kolm"), &a, &err), KOLM_OK);
    ck_assert_int_eq(mkdir(fixture_path("out"), 0755), 0);
    ck_assert_msg(artifact_extract(a, fixture_path("out"), NULL, NULL, &err) == KOLM_OK, "%s", err.text);
    fixture_text("out/model/linear.bin", &text);
    ck_assert_uint_eq(text.length, 32);
    ck_assert_int_eq(access(fixture_path("out/manifest.json"), F_OK), -1);
    ck_assert_int_eq(artifact_extract(a, fixture_path("out"), NULL, NULL, &err), KOLM_E_ALREADY_EXISTS);
    ck_assert_int_eq(mkdir(fixture_path("trap"), 0755), 0);
    ck_assert_int_eq(mkdir(fixture_path("elsewhere"), 0755), 0);
    ck_assert_int_eq(symlink(fixture_path("elsewhere"), fixture_path("trap/model")), 0);
    ck_assert_int_ne(artifact_extract(a, fixture_path("trap"), NULL, NULL, &err), KOLM_OK);
    ck_assert_int_eq(rmdir(fixture_path("elsewhere")), 0); /* still empty */
    ck_assert_int_eq(artifact_extract(a, fixture_path("nowhere"), NULL, NULL, &err), KOLM_E_NOT_FOUND);
    kit_buf_free(&text);
    artifact_close(a);
}
END_TEST

START_TEST(a_changed_payload_is_not_extracted) {
    artifact_identity id;
    artifact *a = NULL;
    kit_buf text = {0};
    fixture_artifact("x.kolm", key, &id);
    ck_assert_int_eq(artifact_open(fixture_path("x.kolm"), &a, &err), KOLM_OK);
    int fd = open(fixture_path("x.kolm"), O_WRONLY | O_CLOEXEC);
    ck_assert_int_eq(pwrite(fd, "X", 1, (off_t)artifact_find(a, "model/labels.json")->offset), 1);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(mkdir(fixture_path("out"), 0755), 0);
    ck_assert_int_eq(artifact_extract(a, fixture_path("out"), NULL, NULL, &err), ARTIFACT_E_CHANGED);
    ck_assert_int_eq(access(fixture_path("out/model/labels.json"), F_OK), -1);
    ck_assert_int_eq(artifact_read(a, "model/labels.json", 100, &text, &err), ARTIFACT_E_CHANGED);
    kit_buf_free(&text);
    artifact_close(a);
}
END_TEST

/* Overwrites one byte of the file and restores the times that a program can set. */
static void change(const char *name, off_t at) {
    struct stat before;
    int fd = open(fixture_path(name), O_WRONLY | O_CLOEXEC);
    ck_assert_int_eq(fstat(fd, &before), 0);
    ck_assert_int_eq(pwrite(fd, "X", 1, at), 1);
    const struct timespec times[2] = {before.st_atim, before.st_mtim};
    ck_assert_int_eq(futimens(fd, times), 0);
    ck_assert_int_eq(close(fd), 0);
}

START_TEST(what_was_hashed_is_kept) {
    artifact_identity id;
    artifact *a = NULL;
    char sha256[KIT_SHA256_HEX], bytes[11] = "";
    fixture_artifact("x.kolm", key, &id);
    ck_assert_int_eq(artifact_open(fixture_path("x.kolm"), &a, &err), KOLM_OK);
    off_t at = (off_t)artifact_find(a, "model/labels.json")->offset;
    ck_assert_msg(artifact_hash(a, ARTIFACT_HASH_ENTRIES | ARTIFACT_KEEP, NULL, NULL, sha256, &err) == KOLM_OK, "%s",
                  err.text);
    change("x.kolm", at);
    ck_assert_int_eq(pread(artifact_descriptor(a), bytes, 9, at), 9);
    ck_assert_str_eq(bytes, "[\"a\",\"b\"]");
    ck_assert_int_eq(artifact_unchanged(a, &err), KOLM_OK);
    /* The copy is sealed: no one who has its descriptor can change it. */
    ck_assert_int_eq(pwrite(artifact_descriptor(a), "X", 1, at), -1);
    ck_assert_int_ne(ftruncate(artifact_descriptor(a), 0), 0);
    ck_assert_int_eq(artifact_hash(a, ARTIFACT_HASH_ENTRIES | ARTIFACT_KEEP, NULL, NULL, sha256, &err), KOLM_OK);
    artifact_close(a);
    /* A file that changes between opening and hashing is rejected. */
    fixture_artifact("y.kolm", key, &id);
    ck_assert_int_eq(artifact_open(fixture_path("y.kolm"), &a, &err), KOLM_OK);
    change("y.kolm", at);
    ck_assert_int_eq(artifact_hash(a, ARTIFACT_HASH_ENTRIES | ARTIFACT_KEEP, NULL, NULL, sha256, &err),
                     ARTIFACT_E_CHANGED);
    artifact_close(a);
}
END_TEST

START_TEST(a_change_of_what_is_not_kept_is_noticed) {
    artifact_identity id;
    artifact *a = NULL;
    fixture_artifact("x.kolm", key, &id);
    for (int how = 0; how < 3; how++) {
        ck_assert_int_eq(artifact_open(fixture_path("x.kolm"), &a, &err), KOLM_OK);
        kit_file_mark_settle(artifact_mark(a));
        ck_assert_int_eq(artifact_unchanged(a, &err), KOLM_OK);
        if (how == 0) change("x.kolm", (off_t)artifact_find(a, "model/labels.json")->offset);
        if (how == 1) ck_assert_int_eq(rename(fixture_path("x.kolm"), fixture_path("y.kolm")), 0);
        if (how == 1) ck_assert_int_eq(rename(fixture_path("y.kolm"), fixture_path("x.kolm")), 0);
        if (how == 2) ck_assert_int_eq(truncate(fixture_path("x.kolm"), 10), 0);
        ck_assert_int_eq(artifact_unchanged(a, &err), ARTIFACT_E_CHANGED);
        artifact_close(a);
    }
}
END_TEST

static kit_status write_with(const artifact_file *files, size_t count, const cJSON *manifest) {
    artifact_identity id;
    const artifact_spec spec = {
        .files = files, .file_count = count, .manifest = manifest, .signer = fixture_signer(key)};
    int fd = open(fixture_path("w.kolm"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    kit_status status = artifact_write(&spec, fd, &id, &err);
    ck_assert_int_eq(close(fd), 0);
    return status;
}

START_TEST(bad_names_are_not_written) {
    static const char *const names[] = {"",    "/a",  "a/../b",        "..",     "a//b",    "a/", "a\\b", "./a",
                                        "a b", "a\n", "manifest.json", "META/x", "\xC3\xA4"};
    char longest[257];
    cJSON *manifest = fixture_manifest();
    fixture_file("f", "x", 1);
    char path[256];
    kit_copy(path, sizeof path, fixture_path("f"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ck_assert_msg(write_with(&(artifact_file){names[i], path}, 1, manifest) == KOLM_E_INVALID_ARGUMENT, "%s",
                      names[i]);
        ck_assert(err.text[0] != '\0' && err.remedy[0] != '\0');
    }
    memset(longest, 'a', 256);
    longest[256] = '\0';
    ck_assert_int_eq(write_with(&(artifact_file){longest, path}, 1, manifest), KOLM_E_INVALID_ARGUMENT);
    longest[255] = '\0';
    ck_assert_int_eq(write_with(&(artifact_file){longest, path}, 1, manifest), KOLM_OK);
    ck_assert_int_eq(write_with((artifact_file[]){{"a", path}, {"a", path}}, 2, manifest), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(write_with((artifact_file[]){{"a", path}, {"a-b", path}, {"a/b", path}}, 3, manifest),
                     KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(write_with(NULL, 0, manifest), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(write_with(&(artifact_file){"a", fixture_path("none")}, 1, manifest), KOLM_E_NOT_FOUND);
    ck_assert_int_eq(write_with(&(artifact_file){"a", fixture_path(".")}, 1, manifest), KOLM_E_INVALID_ARGUMENT);
    cJSON_Delete(manifest);
}
END_TEST

static bool stop_at_once(void *user, uint64_t done, uint64_t total) {
    ck_assert_uint_le(done, total);
    return ++*(int *)user > 1;
}

START_TEST(work_can_be_stopped) {
    const size_t length = 1u << 20;
    char *bytes = calloc(1, length);
    artifact_identity id;
    artifact *a = NULL;
    int asked = 0;
    char sha256[KIT_SHA256_HEX];
    cJSON *manifest = fixture_manifest();
    fixture_file("big", bytes, length);
    const artifact_file file = {"big", fixture_path("big")};
    artifact_spec spec = {.files = &file,
                          .file_count = 1,
                          .manifest = manifest,
                          .signer = fixture_signer(key),
                          .stop = stop_at_once,
                          .stop_user = &asked};
    int fd = open(fixture_path("s.kolm"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ck_assert_int_eq(artifact_write(&spec, fd, &id, &err), KOLM_E_CANCELLED);
    ck_assert_int_eq(artifact_write(&spec, fd, &id, &err), KOLM_E_INVALID_ARGUMENT); /* no longer empty */
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    spec.stop = NULL;
    ck_assert_int_eq(artifact_write(&spec, fd, &id, &err), KOLM_OK);
    ck_assert_int_eq(artifact_open_fd(fd, "s.kolm", &a, &err), KOLM_OK);
    asked = 0;
    ck_assert_int_eq(artifact_hash(a, ARTIFACT_HASH_FILE, stop_at_once, &asked, sha256, &err), KOLM_E_CANCELLED);
    ck_assert_uint_eq(artifact_find(a, "big")->offset % 4096, 0);
    char *mapped =
        mmap(NULL, length, PROT_READ, MAP_PRIVATE, artifact_descriptor(a), (off_t)artifact_find(a, "big")->offset);
    ck_assert(mapped != MAP_FAILED && memcmp(mapped, bytes, length) == 0);
    ck_assert_int_eq(munmap(mapped, length), 0);
    artifact_close(a);
    ck_assert_int_eq(close(fd), 0);
    cJSON_Delete(manifest);
    free(bytes);
}
END_TEST

START_TEST(manifests_without_a_field_are_refused) {
    static const char *const fields[] = {"name",       "version",   "task",   "recipe",  "base",  "data",
                                         "evaluation", "toolchain", "kscore", "options", "report"};
    cJSON *whole = fixture_manifest();
    ck_assert_int_eq(artifact_manifest_check(whole, &err), KOLM_OK);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        cJSON *less = cJSON_Duplicate(whole, true);
        cJSON_DeleteItemFromObjectCaseSensitive(less, fields[i]);
        ck_assert_msg(artifact_manifest_check(less, &err) == KOLM_E_INVALID_ARGUMENT, "%s", fields[i]);
        ck_assert_ptr_nonnull(strstr(err.text, fields[i]));
        ck_assert(kit_json_put(less, fields[i], cJSON_CreateNumber(3)));
        ck_assert_msg(artifact_manifest_check(less, &err) == KOLM_E_INVALID_ARGUMENT, "%s", fields[i]);
        cJSON_Delete(less);
    }
    ck_assert_int_eq(artifact_manifest_check(NULL, &err), KOLM_E_INVALID_ARGUMENT);
    cJSON_Delete(whole);
}
END_TEST

START_TEST(scores_outside_their_range_are_refused) {
    static const struct {
        const char *key;
        double value;
    } bad[] = {{"k", 1.5}, {"accuracy", -0.1}, {"correct", 21}, {"answered", 21}, {"n", 0.5}, {"reference", 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cJSON *manifest = fixture_manifest();
        cJSON *score = cJSON_GetObjectItemCaseSensitive(manifest, "kscore");
        ck_assert(cJSON_ReplaceItemInObjectCaseSensitive(score, bad[i].key, cJSON_CreateNumber(bad[i].value)));
        ck_assert_msg(artifact_manifest_check(manifest, &err) == KOLM_E_INVALID_ARGUMENT, "%s", bad[i].key);
        cJSON_Delete(manifest);
    }
    static const char *const baselines[] = {"{\"balanced_accuracy\":1.5}",
                                            "{\"balanced_accuracy\":\"1\"}",
                                            "{\"baseline\":1}",
                                            "{\"baseline\":{}}",
                                            "{\"baseline\":{\"accuracy\":0.5,\"correct\":99}}",
                                            "{\"baseline\":{\"accuracy\":-1,\"correct\":1}}"};
    for (size_t i = 0; i < sizeof baselines / sizeof *baselines; i++) {
        cJSON *manifest = fixture_manifest(), *fields = cJSON_Parse(baselines[i]);
        ck_assert(kit_json_put(cJSON_GetObjectItemCaseSensitive(manifest, "kscore"), fields->child->string,
                               cJSON_Duplicate(fields->child, true)));
        ck_assert_msg(artifact_manifest_check(manifest, &err) == KOLM_E_INVALID_ARGUMENT, "%s", baselines[i]);
        cJSON_Delete(fields);
        cJSON_Delete(manifest);
    }
    cJSON *manifest = fixture_manifest();
    cJSON *score = cJSON_GetObjectItemCaseSensitive(manifest, "kscore");
    ck_assert(kit_json_put_null(score, "baseline") && kit_json_put_null(score, "balanced_accuracy"));
    ck_assert(cJSON_ReplaceItemInObjectCaseSensitive(score, "k", kit_json_micro(917000)));
    ck_assert_int_eq(artifact_manifest_check(manifest, &err), KOLM_OK);
    ck_assert(cJSON_ReplaceItemInObjectCaseSensitive(score, "k", kit_json_micro(1000001)));
    ck_assert_int_eq(artifact_manifest_check(manifest, &err), KOLM_E_INVALID_ARGUMENT);
    cJSON_Delete(manifest);
}
END_TEST

/* Parses the manifest of x.kolm with `from` replaced by `to`. */
static kit_status read_changed(const char *from, const char *to) {
    artifact *a = NULL;
    size_t length = 0;
    kit_buf changed = {0};
    cJSON *out = NULL;
    char digests[5][KIT_SHA256_HEX];
    ck_assert_int_eq(artifact_open(fixture_path("x.kolm"), &a, &err), KOLM_OK);
    const char *text = artifact_manifest_text(a, &length), *found = strstr(text, from);
    ck_assert_ptr_nonnull(found);
    kit_buf_add(&changed, text, (size_t)(found - text));
    kit_buf_str(&changed, to);
    kit_buf_str(&changed, found + strlen(from));
    artifact_zip zip = {.entries = calloc(5, sizeof *zip.entries), .count = 5};
    for (size_t i = 0; i < 5; i++) {
        zip.entries[i].size = artifact_entry_at(a, i)->size;
        ck_assert_int_eq(kit_strdup(artifact_entry_at(a, i)->name, &zip.entries[i].name, &err), KOLM_OK);
    }
    kit_status status = artifact_manifest_read(kit_buf_text(&changed), changed.length, &zip, &out, digests, &err);
    ck_assert(status == KOLM_OK || out == NULL);
    cJSON_Delete(out);
    artifact_zip_free(&zip);
    kit_buf_free(&changed);
    artifact_close(a);
    return status;
}

START_TEST(manifests_are_read_strictly) {
    static const char *const changes[][2] = {
        {"\"base\":null", "\"base\": null"},
        {"0.917", "0.9170"},
        {"0.917", "9.17e-1"},
        {"\"latency\":1", "\"latency\":1.0"},
        {"0.999999", "0.9999991"},
        {"kolm.artifact/1", "kolm.artifact/2"},
        {"\"base\":null", "\"base\":null,\"base\":null"},
        {"model/linear.bin", "model/linear.bim"},
        {"\"size\":32", "\"size\":33"},
        {"support_ticket_router", "support\\u005fticket_router"},
        {"\"entries\":[", "\"entries\":[{},"},
        {"\"path\":", "\"extra\":1,\"path\":"},
        {"}}", "}}\n"},
        {"\"seed\":7", "\"seed\":-0.5"},
    };
    artifact_identity id;
    fixture_artifact("x.kolm", key, &id);
    ck_assert_msg(read_changed("\"seed\":7", "\"seed\":8") == KOLM_OK, "%s", err.text);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        ck_assert_msg(read_changed(changes[i][0], changes[i][1]) == KOLM_E_DATA_LOSS, "%s -> %s", changes[i][0],
                      changes[i][1]);
        ck_assert(err.text[0] != '\0');
    }
}
END_TEST

START_TEST(places_beyond_four_gigabytes_use_zip64) {
    artifact_zip zip = {.entries = calloc(3, sizeof *zip.entries), .count = 3};
    kit_buf local = {0}, tail = {0};
    ck_assert_int_eq(kit_strdup("a", &zip.entries[0].name, &err), KOLM_OK);
    ck_assert_int_eq(kit_strdup("b", &zip.entries[1].name, &err), KOLM_OK);
    ck_assert_int_eq(kit_strdup("c", &zip.entries[2].name, &err), KOLM_OK);
    zip.entries[0].size = 0xFFFFFFFEull;
    zip.entries[1].size = 0xFFFFFFFFull;
    zip.entries[2].size = 1;
    ck_assert_int_eq(artifact_zip_place(&zip, &err), KOLM_OK);
    ck_assert_uint_eq(zip.entries[0].data, 4096);
    ck_assert_uint_eq(zip.entries[1].data % 4096, 0);
    ck_assert_uint_eq(zip.entries[2].data % 64, 0);
    for (size_t i = 0; i < 3; i++) {
        kit_buf_clear(&local);
        artifact_zip_local(&zip.entries[i], &local);
        ck_assert_uint_eq(local.length, zip.entries[i].data - zip.entries[i].header);
        ck_assert_int_eq(local.data[4], i == 1 ? 45 : 10);
    }
    artifact_zip_tail(&zip, &tail);
    /* Zip64 fields of a: none; of b: sizes and offset; of c: offset. Then the zip64 end record, its locator, and the
     * end record. */
    ck_assert_uint_eq(tail.length, 3 * (46 + 1) + 0 + 28 + 12 + 56 + 20 + 22);
    zip.entries[2].size = UINT64_MAX;
    ck_assert_int_eq(artifact_zip_place(&zip, &err), KOLM_E_OUT_OF_RANGE);
    kit_buf_free(&local);
    kit_buf_free(&tail);
    artifact_zip_free(&zip);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("artifact");
    TCase *cases = tcase_create("artifact");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, same_inputs_give_the_same_bytes);
    tcase_add_test(cases, the_manifest_does_not_depend_on_the_key);
    tcase_add_test(cases, entries_are_found_and_read);
    tcase_add_test(cases, every_flipped_byte_is_noticed_without_receipts);
    tcase_add_test(cases, every_flipped_byte_is_noticed_with_receipts);
    tcase_add_test(cases, every_flipped_byte_of_the_receipts_is_noticed);
    tcase_add_test(cases, cut_and_grown_files_are_refused);
    tcase_add_test(cases, what_is_no_file_is_refused);
    tcase_add_test(cases, extraction_stays_inside_and_never_overwrites);
    tcase_add_test(cases, a_changed_payload_is_not_extracted);
    tcase_add_test(cases, what_was_hashed_is_kept);
    tcase_add_test(cases, a_change_of_what_is_not_kept_is_noticed);
    tcase_add_test(cases, bad_names_are_not_written);
    tcase_add_test(cases, work_can_be_stopped);
    tcase_add_test(cases, manifests_without_a_field_are_refused);
    tcase_add_test(cases, scores_outside_their_range_are_refused);
    tcase_add_test(cases, manifests_are_read_strictly);
    tcase_add_test(cases, places_beyond_four_gigabytes_use_zip64);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
