/* SPDX-License-Identifier: Apache-2.0 */
/* The files of an encoder: safetensors with every kind of false data, and names and links that lead outside. */
#include "../suite.h"
#include "encoder/files.h"
#include "encoder/safetensors.h"
#include "kolm/kit/file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static kolm_error_t err;
static char base[64];

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_copy(base, sizeof base, "/tmp/kolm-encoder-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base));
}

static void teardown(void) {
    ck_assert_int_eq(kit_remove_tree(base, &err), KOLM_OK);
}

static const char *in(const char *name) {
    static char path[4][256];
    static size_t next;
    char *out = path[next++ % 4];
    ck_assert(kit_format(out, sizeof path[0], "%s/%s", base, name));
    return out;
}

static void put(const char *name, const char *text) {
    ck_assert_int_eq(kit_write_file(in(name), 0600, text, strlen(text), &err), KOLM_OK);
}

/* ---- Safetensors */

/* Makes a file with this header, padded as usual plus `more` bytes, and `data` bytes of data, each with its offset
 * as value. */
static uint8_t *file_of(const char *text, size_t more, size_t data, size_t *out_size) {
    char header[640];
    kit_format(header, sizeof header, "%s%*s", text, (int)((8 - strlen(text) % 8) % 8 + more), "");
    uint64_t length = strlen(header);
    *out_size = 8 + length + data;
    uint8_t *bytes = aligned_alloc(64, (*out_size + 63) & ~(size_t)63);
    ck_assert_ptr_nonnull(bytes);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < data; i++)
        bytes[8 + length + i] = (uint8_t)i;
    return bytes;
}

START_TEST(tensors_are_found) {
    size_t size;
    enc_tensors *tensors = NULL;
    uint8_t *bytes = file_of("{\"__metadata__\":{\"format\":\"pt\"},"
                             "\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[16,40]},"
                             "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[8,16]},"
                             "\"p\":{\"dtype\":\"I64\",\"shape\":[1,1],\"data_offsets\":[0,8]},"
                             "\"e\":{\"dtype\":\"F16\",\"shape\":[0],\"data_offsets\":[8,8]},"
                             "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[40,44]}}",
                             0, 44, &size);
    ck_assert_int_eq(enc_tensors_read(bytes, size, "x", &tensors, &err), KOLM_OK);
    ck_assert_uint_eq(enc_tensors_count(tensors), 5);
    const enc_tensor *w = enc_tensors_find(tensors, "w"), *s = enc_tensors_find(tensors, "s");
    ck_assert(w->dtype == ENC_F32 && w->rank == 2 && w->shape[0] == 2 && w->shape[1] == 3 && w->count == 6);
    ck_assert(w->bytes == 24 && w->data[0] == 16);
    ck_assert(s->rank == 0 && s->count == 1);
    ck_assert_uint_eq(enc_tensors_find(tensors, "e")->count, 0);
    ck_assert_int_eq(enc_tensors_find(tensors, "b")->dtype, ENC_BF16);
    ck_assert_ptr_null(enc_tensors_find(tensors, "__metadata__"));
    ck_assert_ptr_null(enc_tensors_find(tensors, "W"));
    enc_tensors_free(tensors);
    free(bytes);
}
END_TEST

/* One tensor "a" with these fields. */
#define ONE(dtype, shape, offsets) "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static const struct lie {
    const char *header;
    size_t data;
    const char *said;
} lies[] = {
    {ONE("F32", "[2,3]", "[0,24]"), 20, "ends at byte 24 of the data, of which there are 20; was the file cut short?"},
    {ONE("F32", "[2,3]", "[0,20]"), 20, "has 20 bytes, and its shape is one of 6 numbers of 4 bytes"},
    {ONE("F32", "[2]", "[0,12]"), 12, "has 12 bytes, and its shape is one of 2 numbers"},
    {ONE("F32", "[2]", "[8,0]"), 8, "ends before it begins"},
    {ONE("F32", "[2]", "[0,8]"), 9, "1 bytes at its end belong to no tensor"},
    {ONE("F32", "[4294967296,4294967296]", "[0,0]"), 0, "more numbers than can be counted"},
    {ONE("F32", "[0,4294967296,4294967296]", "[0,0]"), 0, "more numbers than can be counted"},
    {ONE("F32", "[4611686018427387904]", "[0,0]"), 0, "is not JSON"},
    {ONE("F32", "[-2]", "[0,8]"), 8, "not made up of integers"},
    {ONE("F32", "[1.5]", "[0,8]"), 8, "not made up of integers"},
    {ONE("F32", "[\"2\"]", "[0,8]"), 8, "not made up of integers"},
    {ONE("F32", "2", "[0,8]"), 8, "has no shape"},
    {ONE("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8, "more than 8 dimensions"},
    {ONE("F31", "[2]", "[0,8]"), 8, "the unknown type F31"},
    {ONE("F32", "[2]", "[0]"), 8, "does not say where it begins and ends"},
    {ONE("F32", "[2]", "[0,8,8]"), 8, "does not say where it begins and ends"},
    {ONE("F32", "[2]", "[-8,0]"), 8, "does not say where it begins and ends"},
    {"{\"a\":7}", 0, "does not describe the tensor a"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "has no type"},
    {"{}", 0, "it contains no tensors"},
    {"{\"__metadata__\":{}}", 0, "it contains no tensors"},
    {"[]", 0, "its header is not a JSON object"},
    {"{\"a\":", 0, "its header is not JSON: line 1"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
     12, "the tensors a and b overlap"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
     8, "the tensors a and b overlap"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]}}",
     16, "4 bytes before the tensor b"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
     8, "its header is not JSON"},
    {"{\"h\\u001b[2J\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "the tensor h\\x1B[2J"},
};

START_TEST(lies_are_refused) {
    const struct lie *lie = &lies[_i];
    size_t size;
    uint8_t *bytes = file_of(lie->header, 0, lie->data, &size);
    enc_tensors *tensors = NULL;
    ck_assert_int_eq(enc_tensors_read(bytes, size, "model.safetensors", &tensors, &err), KOLM_E_DATA_LOSS);
    ck_assert_ptr_null(tensors);
    ck_assert_msg(strstr(err.text, lie->said) != NULL, "%s\nsaid: %s", lie->header, err.text);
    ck_assert_msg(strncmp(err.text, "model.safetensors is not usable: ", 33) == 0, "%s", err.text);
    ck_assert(err.remedy[0] != '\0');
    free(bytes);
}
END_TEST

static void must_refuse(const void *bytes, size_t size, const char *said) {
    enc_tensors *tensors = NULL;
    ck_assert_int_eq(enc_tensors_read(bytes, size, "m", &tensors, &err), KOLM_E_DATA_LOSS);
    ck_assert_msg(strstr(err.text, said) != NULL, "%s", err.text);
}

START_TEST(heads_are_checked) {
    size_t size;
    uint8_t *bytes = file_of(ONE("F32", "[1]", "[0,4]"), 0, 4, &size);
    enc_tensors *tensors = NULL;
    ck_assert_int_eq(enc_tensors_read(bytes, size, "m", &tensors, &err), KOLM_OK);
    enc_tensors_free(tensors);
    for (size_t cut = 0; cut < size; cut++)
        must_refuse(bytes, cut, cut < 8 ? "its header alone needs more" : "was the file cut short?");
    must_refuse("version https://git-lfs.github.com/spec/v1\n", 43, "git lfs pull");
    must_refuse("PK\3\4zip archive, as pickles are", 32, "does not begin like a safetensors file");
    free(bytes);
    /* One byte more in the header makes all tensors unaligned. */
    bytes = file_of(ONE("F32", "[1]", "[0,4]"), 1, 4, &size);
    must_refuse(bytes, size, "not a multiple of the size of its numbers");
    free(bytes);
}
END_TEST

/* ---- Files */

static enc_files *must_open(void) {
    enc_files *files = NULL;
    ck_assert_int_eq(enc_files_open(base, &files, &err), KOLM_OK);
    return files;
}

static void expect(enc_files *files, const char *name, const char *text) {
    enc_file file;
    ck_assert_msg(enc_files_get(files, name, 1000, &file, &err) == KOLM_OK, "%s: %s", name, err.text);
    ck_assert_str_eq(file.name, name);
    ck_assert(file.size == strlen(text) && memcmp(file.bytes, text, file.size) == 0);
}

static void expect_no(enc_files *files, const char *name, kit_status code, const char *said) {
    enc_file file;
    ck_assert_msg(enc_files_get(files, name, 4, &file, &err) == code, "%s: %s", name, err.text);
    ck_assert_msg(strstr(err.text, said) != NULL, "%s: %s", name, err.text);
    ck_assert_ptr_null(file.bytes);
}

START_TEST(files_are_mapped_once) {
    put("config.json", "{}");
    put("empty.json", "");
    ck_assert_int_eq(mkdir(in("1_Pooling"), 0700), 0);
    put("1_Pooling/config.json", "[1]");
    enc_files *files = must_open();
    expect(files, "config.json", "{}");
    expect(files, "1_Pooling/config.json", "[1]");
    expect(files, "config.json", "{}");
    expect(files, "empty.json", "");
    ck_assert_uint_eq(enc_files_count(files), 3);
    ck_assert_str_eq(enc_files_at(files, 1)->name, "1_Pooling/config.json");
    expect_no(files, "vocab.txt", KOLM_E_NOT_FOUND, "vocab.txt");
    ck_assert_int_eq(mkfifo(in("pipe"), 0600), 0);
    expect_no(files, "pipe", KOLM_E_INVALID_ARGUMENT, "not a regular file");
    put("long", "12345");
    expect_no(files, "long", KOLM_E_OUT_OF_RANGE, "has 5 bytes");
    enc_files_close(files);
}
END_TEST

START_TEST(nothing_leads_outside) {
    ck_assert_int_eq(mkdir(in("model"), 0700), 0);
    ck_assert_int_eq(mkdir(in("model/sub"), 0700), 0);
    put("secret", "no");
    put("model/sub/own", "own");
    ck_assert_int_eq(symlink("../../secret", in("model/sub/out")), 0);
    ck_assert_int_eq(symlink("/etc/passwd", in("model/sub/absolute")), 0);
    ck_assert_int_eq(symlink("own", in("model/sub/beside")), 0);
    ck_assert_int_eq(symlink("out", in("model/sub/twice")), 0);
    ck_assert_int_eq(symlink("..", in("model/up")), 0);
    ck_assert_int_eq(symlink("../secret", in("model/placed")), 0);
    enc_files *files = NULL;
    ck_assert_int_eq(enc_files_open(in("model"), &files, &err), KOLM_OK);
    static const char *const outside[] = {"../secret", "/etc/passwd", "sub/../../secret", "sub//own", "./sub/own", ""};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        expect_no(files, outside[i], KOLM_E_INVALID_ARGUMENT, "refers to a file outside");
    static const char *const links[] = {"sub/out", "sub/absolute", "sub/twice", "up/secret"};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        expect_no(files, links[i], KOLM_E_INVALID_ARGUMENT, "is a link to a place outside of it");
    expect(files, "sub/beside", "own");
    expect(files, "placed", "no"); /* a link in the top directory was made by the user */
    enc_files_close(files);
}
END_TEST

START_TEST(snapshots_of_the_hub_are_read) {
    static const char blob[] = "blobs/0123456789abcdef0123456789abcdef01234567";
    char target[128];
    ck_assert_int_eq(kit_mkdirs(in("snapshots/r/1_Pooling"), 0700, &err), KOLM_OK);
    ck_assert_int_eq(mkdir(in("blobs"), 0700), 0);
    put(blob, "{}");
    kit_format(target, sizeof target, "../../../%s", blob);
    ck_assert_int_eq(symlink(target, in("snapshots/r/1_Pooling/config.json")), 0);
    enc_files *files = NULL;
    ck_assert_int_eq(enc_files_open(in("snapshots/r"), &files, &err), KOLM_OK);
    expect(files, "1_Pooling/config.json", "{}");
    enc_files_close(files);
}
END_TEST

START_TEST(lists_are_files_too) {
    const enc_file list[] = {{"config.json", (const uint8_t *)"{}", 2}, {"a/b", (const uint8_t *)"xyz", 3}};
    enc_files *files = NULL;
    ck_assert_int_eq(enc_files_of(list, 2, "the artifact", &files, &err), KOLM_OK);
    expect(files, "a/b", "xyz");
    ck_assert_uint_eq(enc_files_count(files), 1);
    expect_no(files, "c", KOLM_E_NOT_FOUND, "not among the files of the artifact");
    expect_no(files, "../c", KOLM_E_INVALID_ARGUMENT, "outside");
    enc_files_close(files);
    enc_files_close(NULL);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("encoder files");
    TCase *tcase = tcase_create("files");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, tensors_are_found);
    tcase_add_loop_test(tcase, lies_are_refused, 0, (int)(sizeof lies / sizeof *lies));
    tcase_add_test(tcase, heads_are_checked);
    tcase_add_test(tcase, files_are_mapped_once);
    tcase_add_test(tcase, nothing_leads_outside);
    tcase_add_test(tcase, snapshots_of_the_hub_are_read);
    tcase_add_test(tcase, lists_are_files_too);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
