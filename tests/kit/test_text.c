/* SPDX-License-Identifier: Apache-2.0 */
/* Error records, buffers, numbers, UTF-8, hexadecimal, base64 and the keyed hash. */
#include "../suite.h"
#include "kolm/kit/buf.h"
#include "kolm/kit/hash.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static kolm_error_t err;

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
}

START_TEST(errors_say_what_and_what_to_do) {
    ck_assert_int_eq(kit_fail(&err, KOLM_E_NOT_FOUND, "look again", "no %s in %d places", "file", 3), KOLM_E_NOT_FOUND);
    ck_assert_str_eq(err.text, "no file in 3 places");
    ck_assert_str_eq(err.remedy, "look again");
    ck_assert_int_eq(err.code, KOLM_E_NOT_FOUND);
    ck_assert_int_eq(kit_fail_context(&err, "%s", "a.json"), KOLM_E_NOT_FOUND);
    ck_assert_str_eq(err.text, "a.json: no file in 3 places");
    ck_assert_str_eq(err.remedy, "look again");
    /* Its own text as an argument, and a NULL record. */
    ck_assert_int_eq(kit_fail(&err, KOLM_E_UNKNOWN, err.remedy, "again: %s", err.text), KOLM_E_UNKNOWN);
    ck_assert_str_eq(err.text, "again: a.json: no file in 3 places");
    ck_assert_int_eq(kit_fail(NULL, KOLM_E_ABORTED, "", "x"), KOLM_E_ABORTED);
    ck_assert_int_eq(kit_fail_errno(NULL, ENOENT, "x"), KOLM_E_NOT_FOUND);
    ck_assert_uint_eq(err.struct_size, sizeof err);
    ck_assert_int_eq(kit_no_memory(&err), KOLM_E_RESOURCE_EXHAUSTED);
    ck_assert_str_eq(err.text, "out of memory");
    ck_assert_str_ne(err.remedy, "");
    ck_assert_int_eq(kit_no_memory(NULL), KOLM_E_RESOURCE_EXHAUSTED);
}
END_TEST

START_TEST(errno_becomes_a_code) {
    static const struct {
        int value;
        int32_t code;
    } cases[] = {
        {ENOENT, KOLM_E_NOT_FOUND},
        {EACCES, KOLM_E_PERMISSION_DENIED},
        {EPERM, KOLM_E_PERMISSION_DENIED},
        {EROFS, KOLM_E_PERMISSION_DENIED},
        {ENOSPC, KOLM_E_RESOURCE_EXHAUSTED},
        {EDQUOT, KOLM_E_RESOURCE_EXHAUSTED},
        {ENOMEM, KOLM_E_RESOURCE_EXHAUSTED},
        {EMFILE, KOLM_E_RESOURCE_EXHAUSTED},
        {EEXIST, KOLM_E_ALREADY_EXISTS},
        {EINTR, KOLM_E_CANCELLED},
        {EIO, KOLM_E_UNKNOWN},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        ck_assert_int_eq(kit_fail_errno(&err, cases[i].value, "cannot open %s", "f"), cases[i].code);
        ck_assert_ptr_eq(strstr(err.text, "cannot open f: "), err.text);
        ck_assert_uint_gt(strlen(err.text), 15);
    }
}
END_TEST

START_TEST(long_texts_are_cut_well) {
    char path[3000];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    ck_assert_int_eq(kit_fail_errno(&err, ENOENT, "cannot open %s", path), KOLM_E_NOT_FOUND);
    ck_assert_str_eq(err.text + strlen(err.text) - 27, ": No such file or directory");
    for (size_t i = 0; i + 2 < sizeof path; i += 2)
        memcpy(path + i, "\xC3\xA9", 2);
    path[sizeof path - 2] = '\0';
    for (int shift = 0; shift < 2; shift++) {
        kit_fail(&err, KOLM_E_UNKNOWN, "", "%s%s", shift != 0 ? "a" : "", path);
        ck_assert_uint_ge(strlen(err.text), 510);
        ck_assert_uint_eq(kit_utf8_valid(err.text, strlen(err.text)), strlen(err.text));
        kit_fail(&err, KOLM_E_UNKNOWN, "", "short");
        kit_fail_context(&err, "%s%s", shift != 0 ? "a" : "", path);
        ck_assert_uint_eq(kit_utf8_valid(err.text, strlen(err.text)), strlen(err.text));
        ck_assert_ptr_nonnull(strstr(err.text, ": short"));
    }
}
END_TEST

START_TEST(codes_have_names) {
    ck_assert_str_eq(kit_status_name(KOLM_OK), "OK");
    ck_assert_str_eq(kit_status_name(KOLM_E_UNAUTHENTICATED), "UNAUTHENTICATED");
    ck_assert_str_eq(kit_status_name(17), "INVALID_CODE");
    ck_assert_str_eq(kit_status_name(-1), "INVALID_CODE");
}
END_TEST

START_TEST(buffers_grow) {
    kit_buf buf = {0};
    ck_assert_str_eq(kit_buf_text(&buf), "");
    for (int i = 0; i < 1000; i++)
        kit_buf_fmt(&buf, "%d,", i);
    kit_buf_char(&buf, '!');
    kit_buf_add(&buf, "\0z", 2);
    ck_assert_uint_eq(buf.length, 3890 + 3);
    ck_assert_int_eq(buf.data[buf.length], '\0');
    ck_assert_int_eq(memcmp(buf.data, "0,1,2,3,", 8), 0);
    ck_assert_int_eq(kit_buf_ok(&buf, &err), KOLM_OK);
    kit_buf_clear(&buf);
    ck_assert_str_eq(kit_buf_text(&buf), "");
    char *taken = kit_buf_take(&buf);
    ck_assert_str_eq(taken, "");
    free(taken);
    ck_assert_ptr_null(buf.data);
    taken = kit_buf_take(&buf);
    ck_assert_str_eq(taken, "");
    free(taken);
    kit_buf_free(&buf);
    kit_buf_free(NULL);
}
END_TEST

START_TEST(a_failed_buffer_stays_failed) {
    kit_buf buf = {0};
    kit_buf_str(&buf, "a");
    kit_buf_add(&buf, "b", SIZE_MAX - 1); /* rejected before a byte is read */
    ck_assert(buf.failed);
    kit_buf_str(&buf, "c");
    ck_assert_uint_eq(buf.length, 1);
    ck_assert_int_eq(kit_buf_ok(&buf, &err), KOLM_E_RESOURCE_EXHAUSTED);
    ck_assert_ptr_null(kit_buf_take(&buf));
    ck_assert(!buf.failed);
}
END_TEST

START_TEST(copies_are_bounded) {
    char out[8];
    ck_assert(kit_copy(out, sizeof out, "seven77"));
    ck_assert_str_eq(out, "seven77");
    ck_assert(!kit_copy(out, sizeof out, "eight888"));
    ck_assert_str_eq(out, "eight88");
    ck_assert(!kit_copy(out, sizeof out, "sixxx6\xE2\x82\xAC"));
    ck_assert_str_eq(out, "sixxx6");
    ck_assert(!kit_copy(out, 1, "x"));
    ck_assert_str_eq(out, "");
    ck_assert(!kit_copy(out, 0, ""));
    ck_assert(kit_format(out, sizeof out, "%d-%s", 12, "ab"));
    ck_assert_str_eq(out, "12-ab");
    ck_assert(!kit_format(out, sizeof out, "%2000d", 1));
    ck_assert_str_eq(out, "       ");
    ck_assert(!kit_format(out, sizeof out, "12345\xF0\x9F\x98\x80"));
    ck_assert_str_eq(out, "12345");
    char *copy = NULL;
    ck_assert_int_eq(kit_strdup(NULL, &copy, &err), KOLM_OK);
    ck_assert_ptr_null(copy);
    ck_assert_int_eq(kit_strdup("x", &copy, &err), KOLM_OK);
    ck_assert_str_eq(copy, "x");
    free(copy);
}
END_TEST

START_TEST(numbers_are_whole_strings) {
    static const char *const bad[] = {
        "", " 1", "1 ", "+1", "0x1", "1e3", "18446744073709551616", "99999999999999999999", "1\n", "\xD9\xA1"};
    uint64_t u = 7;
    int64_t i = 7;
    for (size_t n = 0; n < COUNT(bad); n++) {
        ck_assert_msg(!kit_parse_u64(bad[n], &u), "%s", bad[n]);
        ck_assert_msg(!kit_parse_i64(bad[n], &i), "%s", bad[n]);
    }
    ck_assert(!kit_parse_u64("-1", &u) && !kit_parse_u64(NULL, &u) && !kit_parse_i64(NULL, &i));
    ck_assert(!kit_parse_i64("--1", &i) && !kit_parse_i64("-", &i) && !kit_parse_i64("9223372036854775808", &i));
    ck_assert(!kit_parse_i64("-9223372036854775809", &i));
    ck_assert(u == 7 && i == 7);
    ck_assert(kit_parse_u64("18446744073709551615", &u) && u == UINT64_MAX);
    ck_assert(kit_parse_u64("007", &u) && u == 7);
    ck_assert(kit_parse_i64("-9223372036854775808", &i) && i == INT64_MIN);
    ck_assert(kit_parse_i64("9223372036854775807", &i) && i == INT64_MAX);
}
END_TEST

START_TEST(decimals_become_millionths) {
    static const struct {
        const char *text;
        uint64_t micro;
    } good[] = {{"12", 12000000},
                {"0.5", 500000},
                {"2.50", 2500000},
                {"0", 0},
                {"0.000001", 1},
                {"1.000000", 1000000},
                {"18446744073709.551615", UINT64_MAX}};
    static const char *const bad[] = {"",    ".",   ".5",        "1.",  "-1",    "+1",
                                      "1e3", "1,5", "0.0000001", "abc", "1.2.3", "18446744073709.551616",
                                      "nan", "inf", "1 "};
    uint64_t micro = 0;
    for (size_t i = 0; i < COUNT(good); i++)
        ck_assert_msg(kit_parse_micro(good[i].text, &micro) && micro == good[i].micro, "%s", good[i].text);
    for (size_t i = 0; i < COUNT(bad); i++)
        ck_assert_msg(!kit_parse_micro(bad[i], &micro), "%s", bad[i]);
    ck_assert(!kit_parse_micro(NULL, &micro));
}
END_TEST

START_TEST(utf8_is_checked) {
    static const struct {
        const char *bytes;
        size_t valid; /* the number of valid bytes */
    } cases[] = {
        {"abc", 3},
        {"\xC3\xA9", 2},
        {"\xE2\x82\xAC", 3},
        {"\xF0\x9F\x98\x80", 4},
        {"\xF4\x8F\xBF\xBF", 4},
        {"\xEF\xBF\xBF", 3},
        {"a\x80", 1},
        {"a\xC3", 1},
        {"\xC0\xAF", 0},
        {"\xC1\xBF", 0},
        {"\xE0\x80\xAF", 0},
        {"\xE0\x9F\xBF", 0},
        {"\xED\xA0\x80", 0},
        {"\xED\xBF\xBF", 0},
        {"\xF0\x8F\xBF\xBF", 0},
        {"\xF4\x90\x80\x80", 0},
        {"\xF5\x80\x80\x80", 0},
        {"\xFF", 0},
        {"\xE2\x82", 0},
        {"\xE2\x28\xA1", 0},
        {"\xF0\x9F\x98", 0},
        {"12345678\xFF", 8},
        {"1234567\xC3\xA9 12345678 \xC3", 19},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        ck_assert_msg(kit_utf8_valid(cases[i].bytes, strlen(cases[i].bytes)) == cases[i].valid, "case %zu", i);
}
END_TEST

/* Encodes a code point as UTF-8; returns its length. */
static size_t encode(uint32_t point, char bytes[4]) {
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    size_t length = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, point >>= 6)
        bytes[i] = (char)(0x80 | (point & 63));
    bytes[0] = (char)(lead[length] | point);
    return length;
}

START_TEST(every_code_point_survives) {
    for (uint32_t point = 1; point <= 0x10FFFF; point++) {
        if (point >= 0xD800 && point <= 0xDFFF) continue;
        char bytes[4];
        size_t want = encode(point, bytes), got = 0;
        if (kit_utf8_valid(bytes, want) != want || kit_utf8_next(bytes, want, &got) != point || got != want)
            ck_abort_msg("U+%04X", (unsigned)point);
    }
}
END_TEST

START_TEST(terminals_get_no_control_characters) {
    kit_buf buf = {0};
    static const char text[] =
        "a\x1B["
        "2J\n\x7F\xC2\x9B\xFF\xC3\xA9\xE2\x80\xAE\xE2\x81\xA6\xE2\x80\xA9\xE2\x80\x8E\xD8\x9C\xD8\xA7\xE2\x80\x94";
    kit_buf_escaped(&buf, text, sizeof text - 1);
    kit_buf_escaped(&buf, "\0", 1);
    ck_assert_str_eq(kit_buf_text(&buf), "a\\x1B["
                                         "2J\\x0A\\x7F\\xC2\\x9B\\xFF\xC3\xA9\\xE2\\x80\\xAE\\xE2\\x81\\xA6\\xE2\\x80\\"
                                         "xA9\\xE2\\x80\\x8E\\xD8\\x9C\xD8\xA7\xE2\x80\x94\\x00");
    kit_buf_free(&buf);
}
END_TEST

START_TEST(plain_is_what_is_shown_unescaped) {
    kit_buf shown = {0};
    for (uint32_t point = 1; point <= 0x10FFFF; point++) {
        if (point >= 0xD800 && point <= 0xDFFF) continue;
        char bytes[6] = "a";
        size_t length = 1 + encode(point, bytes + 1);
        bytes[length++] = 'z';
        kit_buf_clear(&shown);
        kit_buf_escaped(&shown, bytes, length);
        if (kit_text_is_plain(bytes, length) != (shown.length == length)) ck_abort_msg("U+%04X", (unsigned)point);
    }
    ck_assert(!kit_text_is_plain("abc\xC2", 4) && !kit_text_is_plain("\xFF", 1) && kit_text_is_plain("", 0));
    kit_buf_free(&shown);
}
END_TEST

/* The test vectors of RFC 4648, section 10. */
START_TEST(base64_vectors) {
    static const char *const cases[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        kit_buf text = {0}, back = {0};
        kit_base64(&text, (const uint8_t *)cases[i][0], strlen(cases[i][0]));
        ck_assert_str_eq(kit_buf_text(&text), cases[i][1]);
        ck_assert_int_eq(kit_base64_decode(&back, kit_buf_text(&text), text.length, &err), KOLM_OK);
        ck_assert_str_eq(kit_buf_text(&back), cases[i][0]);
        kit_buf_clear(&back);
        ck_assert_int_eq(kit_base64_decode(&back, cases[i][1], strcspn(cases[i][1], "="), &err), KOLM_OK);
        ck_assert_str_eq(kit_buf_text(&back), cases[i][0]);
        kit_buf_free(&text);
        kit_buf_free(&back);
    }
}
END_TEST

START_TEST(base64_is_strict) {
    static const char *const bad[] = {"A",    "AAAAA", "AA=",  "A===", "====", "=AAA", "AA=A", "AA==AA==",
                                      "AA A", "AAA\n", "AAA*", "AB==", "AAB=", "AB",   "AAB"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        kit_buf out = {0};
        ck_assert_msg(kit_base64_decode(&out, bad[i], strlen(bad[i]), &err) == KOLM_E_INVALID_ARGUMENT, "%s", bad[i]);
        kit_buf_free(&out);
    }
    kit_buf out = {0};
    ck_assert_int_eq(kit_base64_decode(&out, "-_-_+/+/", 8, &err), KOLM_OK);
    ck_assert_int_eq(memcmp(out.data, "\xFB\xFF\xBF\xFB\xFF\xBF", 6), 0);
    kit_buf_free(&out);
    uint8_t all[256];
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (uint8_t)i;
    for (size_t length = 0; length <= sizeof all; length++) {
        kit_buf text = {0}, back = {0};
        kit_base64(&text, all, length);
        ck_assert_int_eq(kit_base64_decode(&back, kit_buf_text(&text), text.length, &err), KOLM_OK);
        ck_assert(back.length == length && memcmp(kit_buf_text(&back), all, length) == 0);
        kit_buf_free(&text);
        kit_buf_free(&back);
    }
}
END_TEST

START_TEST(hexadecimal) {
    char text[9];
    kit_hex((const uint8_t *)"\x00\x9A\xFF\x10", 4, text);
    ck_assert_str_eq(text, "009aff10");
    kit_hex((const uint8_t *)"", 0, text);
    ck_assert_str_eq(text, "");
}
END_TEST

/* From vectors.h of the authors' reference implementation: the key and the messages are the bytes 0, 1, 2, ... */
START_TEST(the_hash_is_siphash) {
    static const struct {
        size_t length;
        uint64_t hash;
    } vectors[] = {{0, 0x726fdb47dd0e0e31},  {1, 0x74f839c593dc67fd},  {7, 0xab0200f58b01d137}, {8, 0x93f5f5799a932462},
                   {15, 0xa129ca6149be45e5}, {16, 0x3f2acc7f57c29bdb}, {63, 0x958a324ceb064572}};
    const kit_hash_secret secret = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};
    unsigned char message[64];
    for (size_t i = 0; i < sizeof message; i++)
        message[i] = (unsigned char)i;
    for (size_t i = 0; i < COUNT(vectors); i++)
        ck_assert_msg(kit_hash(&secret, message, vectors[i].length) == vectors[i].hash, "%zu bytes", vectors[i].length);
}
END_TEST

START_TEST(every_secret_is_another) {
    kit_hash_secret a = {{0, 0}}, b = {{0, 0}};
    ck_assert_int_eq(kit_hash_secret_draw(&a, &err), KOLM_OK);
    ck_assert_int_eq(kit_hash_secret_draw(&b, &err), KOLM_OK);
    ck_assert(memcmp(&a, &b, sizeof a) != 0);
    ck_assert(kit_hash(&a, "label", 5) != kit_hash(&b, "label", 5));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("text");
    TCase *cases = tcase_create("all");
    tcase_add_checked_fixture(cases, setup, NULL);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, errors_say_what_and_what_to_do);
    tcase_add_test(cases, errno_becomes_a_code);
    tcase_add_test(cases, long_texts_are_cut_well);
    tcase_add_test(cases, codes_have_names);
    tcase_add_test(cases, buffers_grow);
    tcase_add_test(cases, a_failed_buffer_stays_failed);
    tcase_add_test(cases, copies_are_bounded);
    tcase_add_test(cases, numbers_are_whole_strings);
    tcase_add_test(cases, decimals_become_millionths);
    tcase_add_test(cases, utf8_is_checked);
    tcase_add_test(cases, every_code_point_survives);
    tcase_add_test(cases, terminals_get_no_control_characters);
    tcase_add_test(cases, plain_is_what_is_shown_unescaped);
    tcase_add_test(cases, base64_vectors);
    tcase_add_test(cases, base64_is_strict);
    tcase_add_test(cases, hexadecimal);
    tcase_add_test(cases, the_hash_is_siphash);
    tcase_add_test(cases, every_secret_is_another);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
