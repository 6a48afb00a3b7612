/* SPDX-License-Identifier: Apache-2.0 */
/* Strict JSON: what is accepted, what is refused and where, what is written, and lines of it. */
#include "../suite.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static kolm_error_t err;

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
}

/* In an allocation of exactly its size, so that a sanitizer sees a read behind the end. */
static kit_status validate(const char *bytes, size_t length) {
    char *copy = malloc(length > 0 ? length : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, length);
    kit_status status = kit_json_validate(copy, length, &err);
    free(copy);
    return status;
}

START_TEST(accepted) {
    static const char *const good[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-1",
        "1.5",
        "1e5",
        "1E+2",
        "1e-999",
        "0.1e1",
        "\"\"",
        "[]",
        "{}",
        " [ ] ",
        "\t\r\n{ } ",
        "[[],{}]",
        "[1,2]",
        "{\"a\":1,\"b\":[true,null]}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
        "\"\\ud83d\\ude00\"",
        "\"\\uDBFF\\uDFFF\"",
        "\"\x7F\"",
        "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"",
        "9007199254740991",
        "-9007199254740991",
        "1e307",
        "9.99e307",
        "123456789012345e290",
        "\"\xEF\xBB\xBF\"",
        "{\"\":0}",
        "{\"a\":{\"a\":1},\"b\":{\"a\":1}}",
        "{\"a\":1,\"A\":2}",
        "0.000000000000000000000000000000000000000000000000000000000001",
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        ck_assert_msg(validate(good[i], strlen(good[i])) == KOLM_OK, "%s: %s", good[i], err.text);
        cJSON *value = NULL;
        ck_assert_msg(kit_json_parse(good[i], strlen(good[i]), &value, &err) == KOLM_OK, "%s: %s", good[i], err.text);
        ck_assert_ptr_nonnull(value);
        cJSON_Delete(value);
    }
}
END_TEST

/* The shapes of the public JSONTestSuite (Nicolas Seriot, 2016), and what kolm refuses beyond it. */
START_TEST(refused) {
    static const char *const bad[] = {
        "",
        " ",
        "[",
        "]",
        "{",
        "}",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[,]",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\" 1}",
        "{\"a\"::1}",
        "{1:1}",
        "{\"a\":1 \"b\":2}",
        "{null:1}",
        "[1}",
        "{\"a\":1]",
        "tru",
        "True",
        "nul",
        "nullx",
        "truefalse",
        "NaN",
        "Infinity",
        "-Infinity",
        "-",
        "+1",
        "01",
        "-01",
        "1.",
        ".5",
        "-.5",
        "1e",
        "1e+",
        "1e1.5",
        "0x1",
        "1_000",
        "1,2",
        "--1",
        "1 2",
        "[] []",
        "{}x",
        "// c\n1",
        "/* c */1",
        "\"",
        "\"a",
        "\"\\",
        "\"\\x\"",
        "\"\\u\"",
        "\"\\u12\"",
        "\"\\u12G4\"",
        "\"\\U0041\"",
        "\"\\'\"",
        "'a'",
        "\"a\nb\"",
        "\"a\tb\"",
        "\"\x01\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\ud800x\"",
        "\"\\ud800\\n\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\udc\"",
        "\"\xFF\"",
        "\"\xC3\"",
        "\"\xC3(\"",
        "\"\xC0\xAF\"",
        "\"\xED\xA0\x80\"",
        "\"\xF4\x90\x80\x80\"",
        "\"\xE2\x82\"",
        "\xEF\xBB\xBF{}",
        "\xFE\xFF",
        "[1]\xC2\xA0",
        "\x0C[]",
        "[\v1]",
        "9007199254740992",
        "-9007199254740992",
        "10000000000000000",
        "123456789012345678901",
        "1e308",
        "1e999",
        "-1e400",
        "10e307",
        "1e99999999999999999999",
        "0.1234567890123456789012345678901234567890123456789012345678901234567890",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1,\"\\u0061\":2}",
        "{\"\\u0061\":1,\"a\":2}",
        "{\"\\ud83d\\ude00\":1,\"\xF0\x9F\x98\x80\":2}",
        "{\"/\":1,\"\\/\":2}",
        "{\"\":1,\"\":2}",
        "[{\"x\":{\"b\":1,\"c\":2,\"b\":3}}]",
        "{\"\\n\":1,\"\\u000a\":1}",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        ck_assert_msg(validate(bad[i], strlen(bad[i])) == KOLM_E_INVALID_ARGUMENT, "accepted: %s", bad[i]);
        ck_assert_msg(strncmp(err.text, "line ", 5) == 0 && strstr(err.text, "expected") != NULL, "%s", err.text);
        ck_assert_uint_eq(kit_utf8_valid(err.text, strlen(err.text)), strlen(err.text));
        cJSON *value = NULL;
        ck_assert_int_eq(kit_json_parse(bad[i], strlen(bad[i]), &value, &err), KOLM_E_INVALID_ARGUMENT);
        ck_assert_ptr_null(value);
    }
    ck_assert_int_eq(validate("\"a\0b\"", 5), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(validate("1\0", 2), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(validate("[1]\0", 4), KOLM_E_INVALID_ARGUMENT);
}
END_TEST

START_TEST(every_truncation_is_refused) {
    static const char text[] =
        "{\"id\":\"17\",\"in\\u0070ut\":\"h\xC3\xA9llo \\ud83d\\ude00\",\"n\":[1,-2.5e3,true,null,{}],\"z\":false}";
    for (size_t n = 0; n < sizeof text - 1; n++)
        ck_assert_msg(validate(text, n) == KOLM_E_INVALID_ARGUMENT, "%zu bytes", n);
    ck_assert_int_eq(validate(text, sizeof text - 1), KOLM_OK);
}
END_TEST

/* A byte that matters, at each place of the eight that are looked at together. */
START_TEST(every_alignment) {
    static const char *const stops[] = {"\x01", "\x1F", "\xFF", "\xC3", "\\q"};
    for (size_t before = 0; before < 20; before++) {
        for (size_t after = 0; after < 20; after++) {
            for (size_t i = 0; i < COUNT(stops); i++) {
                kit_buf text = {0};
                kit_buf_fmt(&text, "\"%.*s%s%.*s\"", (int)before, "~~~~~~~~~~~~~~~~~~~~", stops[i], (int)after,
                            "                    ");
                ck_assert_int_eq(validate(text.data, text.length), KOLM_E_INVALID_ARGUMENT);
                kit_buf_clear(&text);
                kit_buf_fmt(&text, "column %zu:", before + 2 + (i == 4));
                ck_assert_msg(strstr(err.text, text.data) != NULL, "%s not in %s", text.data, err.text);
                kit_buf_free(&text);
            }
        }
    }
}
END_TEST

START_TEST(places_are_told) {
    static const struct {
        const char *text;
        const char *place;
    } cases[] = {
        {"", "line 1, column 1: expected a JSON value, found the end"},
        {"{\n  \"a\": tru\n}", "line 2, column 8: expected a JSON value, found 't'"},
        {"{\n\n\"\xC3\xA9\": 1,, }", "line 3, column 9: expected a key in double quotes, found ','"},
        {"[1,\r\n 2] x", "line 2, column 5: expected nothing behind the value, found 'x'"},
        {"[\"\xE2\x82\xAC\" \xE2\x82\xAC]", "line 1, column 8: expected ',' or ']', found '\xE2\x82\xAC'"},
        {"\x1B", "line 1, column 1: expected a JSON value, found '\\x1B'"},
        {"{\"a\":1,\n\"a\":2}", "line 2, column 1: expected a key that this object does not have yet, found '\"'"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        ck_assert_int_eq(validate(cases[i].text, strlen(cases[i].text)), KOLM_E_INVALID_ARGUMENT);
        ck_assert_str_eq(err.text, cases[i].place);
    }
}
END_TEST

START_TEST(depth_is_limited) {
    kit_buf text = {0};
    for (int depth = 63; depth <= 66; depth++) {
        kit_buf_clear(&text);
        for (int i = 0; i < depth; i++)
            kit_buf_str(&text, i % 2 != 0 ? "{\"a\":" : "[");
        kit_buf_char(&text, '1');
        for (int i = depth - 1; i >= 0; i--)
            kit_buf_char(&text, i % 2 != 0 ? '}' : ']');
        ck_assert_int_eq(validate(text.data, text.length),
                         depth <= KIT_JSON_MAX_DEPTH ? KOLM_OK : KOLM_E_INVALID_ARGUMENT);
    }
    kit_buf_clear(&text);
    for (int i = 0; i < 1000000; i++)
        kit_buf_char(&text, '[');
    ck_assert_int_eq(validate(text.data, text.length), KOLM_E_INVALID_ARGUMENT);
    kit_buf_free(&text);
    cJSON *deep = cJSON_CreateArray(), *inner = deep;
    for (int i = 1; i < 65; i++) {
        cJSON *next = cJSON_CreateArray();
        if (i == 64) cJSON_AddItemToArray(next, cJSON_CreateNull());
        cJSON_AddItemToArray(inner, next);
        inner = next;
    }
    ck_assert_int_eq(kit_json_line(deep, &text, &err), KOLM_E_INVALID_ARGUMENT);
    kit_buf_free(&text);
    cJSON_Delete(deep);
}
END_TEST

static void many_keys(kit_buf *text, int count, const char *last) {
    kit_buf_clear(text);
    kit_buf_char(text, '{');
    for (int i = 0; i < count; i++)
        kit_buf_fmt(text, "\"key%d\":%d,", (int)(((int64_t)i * 7919) % 1000003), i);
    kit_buf_fmt(text, "%s:0}", last);
}

START_TEST(duplicates_among_many) {
    kit_buf text = {0};
    for (int count = 20; count < 30; count++) {
        many_keys(&text, count, "\"other\"");
        ck_assert_int_eq(validate(text.data, text.length), KOLM_OK);
        many_keys(&text, count, "\"key7919\"");
        ck_assert_int_eq(validate(text.data, text.length), KOLM_E_INVALID_ARGUMENT);
        many_keys(&text, count, "\"ke\\u00797919\"");
        ck_assert_int_eq(validate(text.data, text.length), KOLM_E_INVALID_ARGUMENT);
    }
    /* The first of several is named. */
    kit_buf_clear(&text);
    kit_buf_char(&text, '{');
    for (int i = 0; i < 60; i++)
        kit_buf_fmt(&text, "\"k%02d\":0,\n", i == 40 ? 30 : i == 50 ? 2 : i);
    kit_buf_str(&text, "\"z\":0}");
    ck_assert_int_eq(validate(text.data, text.length), KOLM_E_INVALID_ARGUMENT);
    ck_assert_msg(strncmp(err.text, "line 41, column 1:", 18) == 0, "%s", err.text);
    /* Large objects are not quadratic: 10^5 keys took 25 ms; a quadratic check would take minutes. */
    many_keys(&text, 100000, "\"other\"");
    int64_t start = kit_now_ms();
    ck_assert_int_eq(kit_json_validate(text.data, text.length, &err), KOLM_OK);
    ck_assert_int_lt(kit_now_ms() - start, 20000);
    kit_buf_free(&text);
}
END_TEST

static void canonical_is(const char *from, const char *want) {
    cJSON *value = NULL;
    kit_buf out = {0};
    ck_assert_msg(kit_json_parse(from, strlen(from), &value, &err) == KOLM_OK, "%s: %s", from, err.text);
    ck_assert_msg(kit_json_canonical(value, &out, &err) == KOLM_OK, "%s: %s", from, err.text);
    ck_assert_str_eq(kit_buf_text(&out), want);
    cJSON_Delete(value);
    kit_buf_free(&out);
}

START_TEST(canonical_form) {
    /* RFC 8785, section 3.2.3: keys by UTF-16 code units. */
    canonical_is("{\"\\u20ac\":\"Euro Sign\",\"\\r\":\"Carriage Return\",\"\\ufb33\":\"Hebrew Letter Dalet With "
                 "Dagesh\",\"1\":\"One\","
                 "\"\\ud83d\\ude00\":\"Emoji: Grinning Face\",\"\\u0080\":\"Control\",\"\\u00f6\":\"Latin Small Letter "
                 "O With Diaeresis\"}",
                 "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\xC2\x80\":\"Control\",\"\xC3\xB6\":\"Latin Small "
                 "Letter O With Diaeresis\","
                 "\"\xE2\x82\xAC\":\"Euro Sign\",\"\xF0\x9F\x98\x80\":\"Emoji: Grinning "
                 "Face\",\"\xEF\xAC\xB3\":\"Hebrew Letter Dalet With Dagesh\"}");
    /* Section 3.2.2.2: minimal escapes. */
    canonical_is("\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\\b\\f\\t\\u007f\"",
                 "\"\xE2\x82\xAC$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\\b\\f\\t\x7F\"");
    canonical_is(" { \"b\" : [ 3 , 2 , { } , [ ] ] , \"a\" : { \"y\" : null , \"x\" : true } } ",
                 "{\"a\":{\"x\":true,\"y\":null},\"b\":[3,2,{},[]]}");
    canonical_is("[0,-0,1e3,1.0,9007199254740991,-9007199254740991]",
                 "[0,0,1000,1,9007199254740991,-9007199254740991]");
    canonical_is("{\"aa\":1,\"a\":2,\"\":3,\"ab\":4,\"B\":5}", "{\"\":3,\"B\":5,\"a\":2,\"aa\":1,\"ab\":4}");
    /* Among supplementary characters, and a prefix of them. */
    canonical_is("{\"\\ud83d\\ude01\":1,\"\\ud83d\\ude00\":2,\"\\ud83d\\ude00a\":3,\"\\ud800\\udc00\":4,\"\\uffff\":5,"
                 "\"\\ue000\":6,\"\\ud7ff\":7}",
                 "{\"\xED\x9F\xBF\":7,\"\xF0\x90\x80\x80\":4,\"\xF0\x9F\x98\x80\":2,\"\xF0\x9F\x98\x80"
                 "a\":3,\"\xF0\x9F\x98\x81\":1,\"\xEE\x80\x80\":6,\"\xEF\xBF\xBF\":5}");
}
END_TEST

START_TEST(canonical_refuses) {
    static const char *const bad[] = {"1.5", "[1e-3]", "{\"a\":1e20}", "9007199254740991.5e1"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        cJSON *value = NULL;
        kit_buf out = {0};
        ck_assert_int_eq(kit_json_parse(bad[i], strlen(bad[i]), &value, &err), KOLM_OK);
        ck_assert_int_eq(kit_json_canonical(value, &out, &err), KOLM_E_INVALID_ARGUMENT);
        cJSON_Delete(value);
        kit_buf_free(&out);
    }
    kit_buf out = {0};
    cJSON *bytes = cJSON_CreateString("\xFF"), *twice = cJSON_CreateObject();
    ck_assert_int_eq(kit_json_canonical(bytes, &out, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert(kit_json_put_u64(twice, "a", 1) && kit_json_put_u64(twice, "a", 2));
    ck_assert_int_eq(kit_json_canonical(twice, &out, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(kit_json_canonical(NULL, &out, &err), KOLM_E_RESOURCE_EXHAUSTED);
    kit_buf_free(&out);
    cJSON_Delete(bytes);
    cJSON_Delete(twice);
}
END_TEST

START_TEST(lines_and_pretty) {
    cJSON *value = cJSON_CreateObject(), *list = cJSON_CreateArray();
    cJSON_AddItemToArray(list, cJSON_CreateNumber(0.1));
    cJSON_AddItemToArray(list, cJSON_CreateNumber(1.0 / 3));
    cJSON_AddItemToArray(list, cJSON_CreateNumber(NAN));
    cJSON_AddItemToArray(list, cJSON_CreateNumber(INFINITY));
    cJSON_AddItemToArray(list, cJSON_CreateNumber(9007199254740994.0));
    cJSON_AddItemToArray(list, cJSON_CreateNumber(1e300));
    ck_assert(kit_json_put_string(value, "z", "line\nbreak") && kit_json_put(value, "a", list) &&
              kit_json_put_bool(value, "t", true));
    ck_assert(kit_json_put_null(value, "n") && kit_json_put_string(value, "none", NULL) &&
              kit_json_put_number(value, "x", -2.5));
    ck_assert(kit_json_put(value, "e", cJSON_CreateObject()));
    kit_buf out = {0};
    ck_assert_int_eq(kit_json_line(value, &out, &err), KOLM_OK);
    ck_assert_str_eq(out.data, "{\"z\":\"line\\nbreak\",\"a\":[0.1,0.3333333333333333,null,null,9007199254740994.0,1e+"
                               "300],\"t\":true,\"n\":null,\"none\":null,"
                               "\"x\":-2.5,\"e\":{}}");
    ck_assert_int_eq(validate(out.data, out.length), KOLM_OK);
    kit_buf_clear(&out);
    cJSON_DeleteItemFromObject(value, "a");
    cJSON_DeleteItemFromObject(value, "none");
    ck_assert_int_eq(kit_json_pretty(value, &out, &err), KOLM_OK);
    ck_assert_str_eq(out.data,
                     "{\n  \"z\": \"line\\nbreak\",\n  \"t\": true,\n  \"n\": null,\n  \"x\": -2.5,\n  \"e\": {}\n}");
    kit_buf_free(&out);
    cJSON_Delete(value);
}
END_TEST

START_TEST(millionths) {
    static const struct {
        uint64_t micro;
        const char *text;
    } cases[] = {{0, "0"},
                 {1, "0.000001"},
                 {1250000, "1.25"},
                 {1000000, "1"},
                 {18000, "0.018"},
                 {123456789012345, "123456789.012345"},
                 {8589934591999999, "8589934591.999999"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        cJSON *value = kit_json_micro(cases[i].micro);
        kit_buf out = {0};
        ck_assert_int_eq(kit_json_canonical(value, &out, &err), KOLM_OK);
        ck_assert_int_eq(kit_json_line(value, &out, &err), KOLM_OK);
        size_t n = strlen(cases[i].text);
        ck_assert(out.length == 2 * n && memcmp(out.data, cases[i].text, n) == 0 &&
                  memcmp(out.data + n, cases[i].text, n) == 0);
        /* ES6 prints the fewest digits that read back the same. */
        double read = strtod(cases[i].text, NULL);
        char shorter[40];
        ck_assert(!kit_format(shorter, sizeof shorter, "%.*g", (int)n - 2, read) || cases[i].micro < 10000000 ||
                  strtod(shorter, NULL) != read);
        kit_buf_free(&out);
        cJSON_Delete(value);
    }
    ck_assert_ptr_null(kit_json_micro(KIT_JSON_MICRO_LIMIT));
    ck_assert_ptr_null(kit_json_micro(UINT64_MAX));
}
END_TEST

START_TEST(decimals_that_were_read_are_written_again) {
    static const struct {
        const char *in, *out; /* out NULL: refused */
    } cases[] = {
        {"{\"a\":[0.25,1,{\"b\":0.000001}],\"c\":\"0.5\"}", "{\"a\":[0.25,1,{\"b\":0.000001}],\"c\":\"0.5\"}"},
        {"0.917", "0.917"},
        {"2.5e-1", "0.25"},
        {"0.12345678", "0.123457"},
        {"-0.5", NULL},
        {"8589934592.5", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *value = NULL;
        kit_buf out = {0};
        ck_assert_int_eq(kit_json_parse(cases[i].in, strlen(cases[i].in), &value, &err), KOLM_OK);
        kit_status status = kit_json_exact(value, &err);
        if (cases[i].out == NULL) {
            ck_assert_int_eq(status, KOLM_E_INVALID_ARGUMENT);
        } else {
            ck_assert_int_eq(status, KOLM_OK);
            ck_assert_int_eq(kit_json_canonical(value, &out, &err), KOLM_OK);
            ck_assert_str_eq(kit_buf_text(&out), cases[i].out);
        }
        kit_buf_free(&out);
        cJSON_Delete(value);
    }
}
END_TEST

START_TEST(typed_access) {
    static const char text[] =
        "{\"s\":\"x\",\"n\":3,\"f\":1.5,\"neg\":-1,\"t\":true,\"no\":false,\"nil\":null,\"S\":\"big\"}";
    cJSON *value = NULL;
    ck_assert_int_eq(kit_json_parse(text, sizeof text - 1, &value, &err), KOLM_OK);
    const char *s = NULL;
    uint64_t u = 0;
    double d = 0;
    bool b = false;
    ck_assert(kit_json_get_string(value, "s", &s) && strcmp(s, "x") == 0 && kit_json_get_string(value, "S", &s) &&
              strcmp(s, "big") == 0);
    ck_assert(kit_json_get_u64(value, "n", &u) && u == 3 && kit_json_get_number(value, "f", &d) && d > 1.4 && d < 1.6);
    ck_assert(kit_json_get_bool(value, "t", &b) && b && kit_json_get_bool(value, "no", &b) && !b);
    ck_assert(!kit_json_get_string(value, "n", &s) && !kit_json_get_string(value, "N", &s) &&
              !kit_json_get_u64(value, "f", &u));
    ck_assert(!kit_json_get_u64(value, "neg", &u) && !kit_json_get_u64(value, "s", &u) &&
              !kit_json_get_bool(value, "nil", &b));
    ck_assert(!kit_json_get_number(value, "missing", &d) && kit_json_get(value, "nil") != NULL &&
              kit_json_get(value, "missing") == NULL);
    ck_assert(!kit_json_get_string(NULL, "s", &s));
    ck_assert(!kit_json_put(value, "x", NULL) && !kit_json_put_string(NULL, "x", "y") &&
              !kit_json_put_u64(value, "x", 1ull << 53));
    cJSON_Delete(value);
}
END_TEST

START_TEST(files_are_named_in_errors) {
    char path[] = "/tmp/kolm-json-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(kit_write_all(fd, "{\"a\":\n!}", 8, &err), KOLM_OK);
    close(fd);
    cJSON *value = NULL;
    ck_assert_int_eq(kit_json_read(path, 100, &value, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert(strstr(err.text, path) != NULL && strstr(err.text, "line 2, column 1") != NULL);
    ck_assert_int_eq(kit_json_read(path, 7, &value, &err), KOLM_E_OUT_OF_RANGE);
    unlink(path);
    ck_assert_int_eq(kit_json_read(path, 100, &value, &err), KOLM_E_NOT_FOUND);
    ck_assert_ptr_null(value);
}
END_TEST

/* ---- lines */

static int file_of(const char *text, size_t length) {
    int fd = memfd_create("lines", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(kit_write_all(fd, text, length, &err), KOLM_OK);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

/* Reads all lines and joins them as "[line]"; a line that is too long becomes "<!>". */
static void read_all(const char *text, size_t length, size_t max_line, const char *want) {
    int fd = file_of(text, length);
    kit_lines *lines = NULL;
    ck_assert_int_eq(kit_lines_open(fd, max_line, &lines, &err), KOLM_OK);
    kit_buf out = {0};
    uint64_t count = 0;
    for (;;) {
        const char *line = NULL;
        size_t n = 0;
        kit_status status = kit_lines_next(lines, &line, &n, &err);
        if (status == KOLM_OK && line == NULL) break;
        ck_assert_uint_eq(kit_lines_number(lines), ++count);
        if (status == KOLM_OK)
            kit_buf_fmt(&out, "[%s]", line);
        else
            kit_buf_str(&out, "<!>");
        ck_assert(status == KOLM_OK ? strlen(line) == n : status == KOLM_E_OUT_OF_RANGE);
    }
    ck_assert_str_eq(kit_buf_text(&out), want);
    kit_buf_free(&out);
    kit_lines_close(lines);
    close(fd);
}

START_TEST(lines_of_all_kinds) {
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},
        {"\n", "[]"},
        {"a", "[a]"},
        {"a\n", "[a]"},
        {"a\nb", "[a][b]"},
        {"a\r\nb\r\n", "[a][b]"},
        {"\r\n\r\n", "[][]"},
        {"a\n\n\nb\n", "[a][][][b]"},
        {"a\rb\n", "[a\rb]"},
        {"a\r", "[a]"},
        {"a\r\r\n", "[a\r]"},
        {"\xEF\xBB\xBF"
         "a\n\xEF\xBB\xBF"
         "b\n",
         "[a][\xEF\xBB\xBF"
         "b]"},
        {"\xEF\xBB\xBF", "[]"},
        {"\xEF\xBB\xBF\r\nx", "[][x]"},
        {"1234567890\n", "[1234567890]"},
        {"12345678901\nok\n", "<!>[ok]"},
        {"ok\n12345678901", "[ok]<!>"},
        {"12345678901\n12345678901\n\n", "<!><!>[]"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        read_all(cases[i].text, strlen(cases[i].text), 10, cases[i].want);
}
END_TEST

START_TEST(nul_bytes_are_kept) {
    int fd = file_of("a\0b\nc\n", 6);
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    ck_assert_int_eq(kit_lines_open(fd, 100, &lines, &err), KOLM_OK);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert(length == 3 && memcmp(line, "a\0b", 4) == 0);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert(length == 1 && line[0] == 'c');
    kit_lines_close(lines);
    kit_lines_close(NULL);
    close(fd);
}
END_TEST

static long peak_kib(void) {
    FILE *status = fopen("/proc/self/status", "r");
    char text[256];
    long peak = 0;
    while (status != NULL && fgets(text, sizeof text, status) != NULL)
        if (strncmp(text, "VmHWM:", 6) == 0) peak = strtol(text + 6, NULL, 10);
    if (status != NULL) fclose(status);
    return peak;
}

START_TEST(huge_lines_cost_no_memory) {
    char path[] = "/tmp/kolm-huge-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    unlink(path);
    /* A hole of 100 MB is one line of NULs. */
    ck_assert_int_eq(ftruncate(fd, 100 << 20), 0);
    ck_assert_int_eq(pwrite(fd, "\nlast\n", 6, 100 << 20), 6);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    long before = peak_kib();
    ck_assert_int_eq(kit_lines_open(fd, 1 << 20, &lines, &err), KOLM_OK);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_E_OUT_OF_RANGE);
    ck_assert_ptr_nonnull(strstr(err.text, "line 1 "));
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert_str_eq(line, "last");
    ck_assert_uint_eq(kit_lines_number(lines), 2);
    /* The buffer for 1 MB lines, doubled while it grew; sanitizers keep what was freed. */
    ck_assert_int_lt(peak_kib() - before, 32 << 10);
    kit_lines_close(lines);
    close(fd);
}
END_TEST

static volatile sig_atomic_t alarms;

static void on_alarm(int number) {
    (void)number;
    alarms = alarms + 1;
}

START_TEST(a_wait_ends_when_it_is_told_to) {
    int ends[2] = {-1, -1};
    const struct itimerval soon = {.it_interval = {.tv_usec = 10000}, .it_value = {.tv_usec = 10000}}, never = {0};
    struct sigaction action = {.sa_handler = on_alarm};
    sigemptyset(&action.sa_mask);
    ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
    ck_assert_int_eq(kit_pipe(&ends[0], &ends[1], &err), KOLM_OK);
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    ck_assert_int_eq(kit_lines_open(ends[0], 100, &lines, &err), KOLM_OK);
    kit_lines_stop_on(lines, &alarms);
    ck_assert_int_eq(write(ends[1], "half a line", 11), 11);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &soon, NULL), 0);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_E_CANCELLED);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
    ck_assert_int_gt(alarms, 0);
    kit_lines_close(lines);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

/* Text without end and without a line end. */
static kit_status endless(void *user, char *out, size_t capacity, size_t *out_got, kolm_error_t *error) {
    (void)error;
    size_t *given = user;
    memset(out, 'a', capacity);
    *out_got = capacity;
    *given += capacity;
    return KOLM_OK;
}

START_TEST(a_line_without_end_is_said_and_can_be_left) {
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0, given = 0;
    volatile sig_atomic_t stop = 0;
    ck_assert_int_eq(kit_lines_open(-1, 100000, &lines, &err), KOLM_OK);
    kit_lines_read_with(lines, endless, &given);
    kit_lines_stop_on(lines, &stop);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_E_OUT_OF_RANGE);
    ck_assert_uint_lt(given, 500000);
    ck_assert(!kit_lines_ready(lines));
    stop = 1;
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_E_CANCELLED);
    kit_lines_close(lines);
}
END_TEST

static kit_status three_pieces(void *user, char *out, size_t capacity, size_t *out_got, kolm_error_t *error) {
    static const char *const pieces[] = {"fir", "st\nsec", "ond\nlonger than ten\nlast", ""};
    size_t *next = user;
    if (*next == 4) return kit_fail(error, KOLM_E_DATA_LOSS, "", "no more");
    *out_got = strlen(pieces[*next]);
    ck_assert_uint_le(*out_got, capacity);
    memcpy(out, pieces[(*next)++], *out_got);
    return KOLM_OK;
}

START_TEST(lines_may_come_from_a_function) {
    static const char *const expected[] = {"first", "second", NULL, "last"};
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0, next = 0;
    ck_assert_int_eq(kit_lines_open(-1, 10, &lines, &err), KOLM_OK);
    kit_lines_read_with(lines, three_pieces, &next);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err),
                         expected[i] != NULL ? KOLM_OK : KOLM_E_OUT_OF_RANGE);
        if (expected[i] != NULL) ck_assert_str_eq(line, expected[i]);
        ck_assert_uint_eq(kit_lines_number(lines), i + 1);
    }
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert_ptr_null(line);
    kit_lines_close(lines);
    next = 4;
    ck_assert_int_eq(kit_lines_open(-1, 10, &lines, &err), KOLM_OK);
    kit_lines_read_with(lines, three_pieces, &next);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_E_DATA_LOSS);
    ck_assert_str_eq(err.text, "no more");
    kit_lines_close(lines);
}
END_TEST

START_TEST(ready_says_what_would_wait) {
    int ends[2] = {-1, -1};
    ck_assert_int_eq(kit_pipe(&ends[0], &ends[1], &err), KOLM_OK);
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    ck_assert_int_eq(kit_lines_open(ends[0], 100, &lines, &err), KOLM_OK);
    ck_assert(!kit_lines_ready(lines));
    ck_assert_int_eq(kit_write_all(ends[1], "one\ntwo\nthr", 11, &err), KOLM_OK);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert_str_eq(line, "one");
    ck_assert(kit_lines_ready(lines));
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert_str_eq(line, "two");
    ck_assert(!kit_lines_ready(lines));
    close(ends[1]);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert_str_eq(line, "thr");
    ck_assert(kit_lines_ready(lines));
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert_ptr_null(line);
    kit_lines_close(lines);
    close(ends[0]);
}
END_TEST

START_TEST(reading_errors_are_told) {
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_eq(kit_lines_open(fd, 100, &lines, &err), KOLM_OK);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_null(line);
    kit_lines_close(lines);
    close(fd);
}
END_TEST

/* ---- The walk */

/* "key=kind:value;" for each member of text, or "!" and the error's text. In an allocation of exactly its size. */
static void walked(const char *text, size_t length, kit_buf *out) {
    kit_json_walk walk = {0};
    char *copy = malloc(length > 0 ? length : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, text, length);
    kit_json_part key, value;
    bool found = true;
    kit_status status = kit_json_walk_begin(&walk, copy, length, &err);
    while (status == KOLM_OK && found) {
        status = kit_json_walk_next(&walk, &key, &value, &found, &err);
        if (status != KOLM_OK || !found) continue;
        kit_buf_add(out, key.bytes, key.length);
        kit_buf_fmt(out, "=%d:", (int)value.kind);
        kit_buf_add(out, value.bytes, value.length);
        kit_buf_char(out, ';');
    }
    if (status != KOLM_OK) {
        char as_fields[256];
        size_t line = 1, start = 0;
        for (size_t i = 0; i < walk.fault.offset; i++)
            if (copy[i] == '\n') {
                line++;
                start = i + 1;
            }
        kit_format(as_fields, sizeof as_fields, "line %zu, column %zu: expected %s, found %s", line,
                   walk.fault.offset - start + 1, walk.fault.expected, walk.fault.found);
        ck_assert_str_eq(as_fields, err.text);
        kit_buf_fmt(out, "!%s", err.text);
    }
    free(copy);
    kit_json_walk_free(&walk);
}

START_TEST(a_walk_passes_over_what_is_not_read) {
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"{}", ""},
        {" [ ] ", ""},
        {"[1,\"a\",null]", "=2:1;=3:\"a\";=0:null;"},
        {"{\"a\":1389432487213912064, \"b\" : NaN,\"c\":-Infinity,\"d\":1e400}",
         "\"a\"=2:1389432487213912064;\"b\"=2:NaN;\"c\"=2:-Infinity;\"d\"=2:1e400;"},
        {"{\"a\":{\"x\":1,\"x\":[{}, [ ],{\"y\":[1,2]}]},\"a\":true}",
         "\"a\"=5:{\"x\":1,\"x\":[{}, [ ],{\"y\":[1,2]}]};\"a\"=1:true;"},
        {"{\"a\":\"\\ud800\",\"b\":\"\\u0000\"}", "\"a\"=3:\"\\ud800\";\"b\"=3:\"\\u0000\";"},
        {"", "!line 1, column 1: expected an object or an array, found the end"},
        {"\"a\"", "!line 1, column 1: expected an object or an array, found '\"'"},
        {"{\"a\":1} x", "\"a\"=2:1;!line 1, column 9: expected nothing behind the value, found 'x'"},
        {"{\"a\":[1}}", "!line 1, column 8: expected ',' or ']', found '}'"},
        {"{\"a\":{\"b\":1]}", "!line 1, column 12: expected ',' or '}', found ']'"},
        {"{\"a\":[1,]}", "!line 1, column 9: expected a JSON value, found ']'"},
        {"{\"a\":[1 2]}", "!line 1, column 9: expected ',' or ']', found '2'"},
        {"{\"a\":1,}", "\"a\"=2:1;!line 1, column 8: expected a key in double quotes, found '}'"},
        {"{\"a\" 1}", "!line 1, column 6: expected ':', found '1'"},
        {"{'a':1}", "!line 1, column 2: expected a key in double quotes, found '''"},
        {"{\"a\":nul}", "!line 1, column 6: expected a JSON value, found 'n'"},
        {"{\"a\":01}", "!line 1, column 6: expected a number without leading zeros, found '0'"},
        {"{\"a\":\"\\x\"}", "!line 1, column 8: expected an escape: one of \" \\ / b f n r t u, found 'x'"},
        {"{\"a\":\"\\u12\"}", "!line 1, column 9: expected four hexadecimal digits, found '1'"},
        {"{\"a\":\"abcdefgh\ti\"}", "!line 1, column 15: expected no raw control character in text, found '\\x09'"},
        {"{\"a\":\"\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\",\"b\":[[[",
         "\"a\"=3:\"\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\";!line 1, column 24: expected a JSON value, found the end"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        kit_buf out = {0};
        walked(cases[i].text, strlen(cases[i].text), &out);
        ck_assert_str_eq(kit_buf_text(&out), cases[i].expected);
        kit_buf_free(&out);
    }
}
END_TEST

START_TEST(a_walk_goes_as_deep_as_the_text) {
    kit_buf text = {0}, out = {0};
    const size_t depth = 1u << 20;
    kit_buf_str(&text, "{\"a\":");
    for (size_t i = 0; i < depth; i++)
        kit_buf_str(&text, i % 2 == 0 ? "[" : "{\"k\":");
    kit_buf_char(&text, '7');
    for (size_t i = depth; i-- > 0;)
        kit_buf_char(&text, i % 2 == 0 ? ']' : '}');
    kit_buf_str(&text, ",\"b\":1}");
    walked(text.data, text.length, &out);
    const char *end = strstr(kit_buf_text(&out), ";\"b\"=2:1;");
    ck_assert_ptr_nonnull(end);
    /* One bracket of the other kind, in the depth, is found. */
    text.data[text.length - strlen(",\"b\":1}") - depth / 2] ^= ']' ^ '}';
    kit_buf_clear(&out);
    walked(text.data, text.length, &out);
    ck_assert_int_eq(kit_buf_text(&out)[0], '!');
    kit_buf_free(&text);
    kit_buf_free(&out);
}
END_TEST

static kit_json_part part_of(const char *text, kit_json_kind kind) {
    return (kit_json_part){.bytes = text, .length = strlen(text), .kind = kind, .escaped = strchr(text, '\\') != NULL};
}

START_TEST(parts_are_read_strictly) {
    kit_buf out = {0};
    kit_json_part part = part_of("\"a\\n\\u00e9\\ud83d\\ude00\\\"b\"", KIT_JSON_STRING);
    ck_assert_int_eq(kit_json_part_text(&part, &out, &err), KOLM_OK);
    ck_assert_str_eq(out.data, "a\n\xC3\xA9\xF0\x9F\x98\x80\"b");
    static const char *const bad[] = {"\"\\ud800\"", "\"\\udc00\"", "\"\\u0000\"", "\"x\\ud83dx\""};
    for (size_t i = 0; i < COUNT(bad); i++) {
        part = part_of(bad[i], KIT_JSON_STRING);
        ck_assert_int_eq(kit_json_part_text(&part, &out, &err), KOLM_E_INVALID_ARGUMENT);
        ck_assert(!kit_json_part_is(&part, "x"));
    }
    part = part_of("\"\\u0069nput\"", KIT_JSON_STRING);
    ck_assert(kit_json_part_is(&part, "input") && !kit_json_part_is(&part, "inpu") &&
              !kit_json_part_is(&part, "inputs"));
    part = part_of("\"input\"", KIT_JSON_STRING);
    ck_assert(kit_json_part_is(&part, "input") && !kit_json_part_is(&part, "inpux") && !kit_json_part_is(&part, ""));
    part = part_of("[1e400, 1389432487213912064]", KIT_JSON_ARRAY);
    ck_assert_int_eq(kit_json_part_check(&part, &err), KOLM_OK);
    part = part_of("[NaN]", KIT_JSON_ARRAY);
    ck_assert_int_eq(kit_json_part_check(&part, &err), KOLM_E_INVALID_ARGUMENT);
    part = part_of("{ \"a b\" : [ 1 , \"\\\" , \" ] }", KIT_JSON_OBJECT);
    kit_buf_clear(&out);
    kit_json_part_compact(&part, &out);
    ck_assert_str_eq(out.data, "{\"a b\":[1,\"\\\" , \"]}");
    kit_buf_free(&out);
}
END_TEST

START_TEST(what_is_wrong_in_a_part_is_told_by_fields) {
    static const struct {
        const char *text;
        kit_json_kind kind;
        size_t offset;
        const char *expected, *found;
    } bad[] = {
        {"\"x\\ud83dx\"", KIT_JSON_STRING, 8, "the low half of a surrogate pair", "'x'"},
        {"\"\\u0000\"", KIT_JSON_STRING, 1, "text without NUL characters", "'\\'"},
        {"[1,\n NaN]", KIT_JSON_ARRAY, 5, "a JSON value", "'N'"},
        {"{\"a\":1,\"a\":2}", KIT_JSON_OBJECT, 7, "a key that this object does not have yet", "'\"'"},
        {"[1", KIT_JSON_ARRAY, 2, "',' or ']'", "the end"},
    };
    kit_json_fault fault;
    for (size_t i = 0; i < COUNT(bad); i++) {
        kit_json_part part = part_of(bad[i].text, bad[i].kind);
        ck_assert(kit_json_part_fault(&part, &fault));
        ck_assert_uint_eq(fault.offset, bad[i].offset);
        ck_assert_str_eq(fault.expected, bad[i].expected);
        ck_assert_str_eq(fault.found, bad[i].found);
    }
    kit_json_part good = part_of("[1e400]", KIT_JSON_ARRAY);
    ck_assert(!kit_json_part_fault(&good, &fault));
}
END_TEST

START_TEST(texts_of_a_row) {
    static const char *const keys[] = {"id", "input"};
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"{\"id\":\"1\"}", "lacks the string \"input\""},
        {"{\"id\":\"1\",\"input\":2}", "no text under \"input\""},
        {"{\"id\":\"1\",\"input\":\"a\",\"input\":\"b\"}", "the key \"input\" twice"},
        {"[\"id\",\"input\"]", "lacks the string \"id\""},
        {"{\"id\":\"1\",\"input\":\"\xE9\"}", "not UTF-8"},
        {"{\"id\":\"1\",\"input\":\"\\ud800\"}", "surrogate"},
        {"{\"id\":\"1\",\"input\":\"a\"", "',' or '}'"},
    };
    kit_json_walk walk = {0};
    kit_buf texts[2] = {{0}, {0}};
    for (int round = 0; round < 2; round++) {
        static const char row[] = "{\"id\":\"1\",\"messages\":[{\"n\":1e999}],\"input\":\"\\u00e9\"}";
        ck_assert_int_eq(kit_json_row_texts(&walk, row, strlen(row), keys, 2, texts, &err), KOLM_OK);
        ck_assert_str_eq(texts[0].data, "1");
        ck_assert_str_eq(texts[1].data, "\xC3\xA9");
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        ck_assert_int_eq(kit_json_row_texts(&walk, bad[i].text, strlen(bad[i].text), keys, 2, texts, &err),
                         KOLM_E_INVALID_ARGUMENT);
        ck_assert_msg(strstr(err.text, bad[i].says) != NULL, "%s", err.text);
    }
    kit_json_walk_free(&walk);
    kit_buf_free(&texts[0]);
    kit_buf_free(&texts[1]);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("json");
    TCase *cases = tcase_create("all");
    tcase_add_checked_fixture(cases, setup, NULL);
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, accepted);
    tcase_add_test(cases, refused);
    tcase_add_test(cases, every_truncation_is_refused);
    tcase_add_test(cases, every_alignment);
    tcase_add_test(cases, places_are_told);
    tcase_add_test(cases, depth_is_limited);
    tcase_add_test(cases, duplicates_among_many);
    tcase_add_test(cases, canonical_form);
    tcase_add_test(cases, canonical_refuses);
    tcase_add_test(cases, lines_and_pretty);
    tcase_add_test(cases, millionths);
    tcase_add_test(cases, decimals_that_were_read_are_written_again);
    tcase_add_test(cases, typed_access);
    tcase_add_test(cases, files_are_named_in_errors);
    tcase_add_test(cases, lines_of_all_kinds);
    tcase_add_test(cases, nul_bytes_are_kept);
    tcase_add_test(cases, huge_lines_cost_no_memory);
    tcase_add_test(cases, a_wait_ends_when_it_is_told_to);
    tcase_add_test(cases, a_line_without_end_is_said_and_can_be_left);
    tcase_add_test(cases, lines_may_come_from_a_function);
    tcase_add_test(cases, ready_says_what_would_wait);
    tcase_add_test(cases, reading_errors_are_told);
    tcase_add_test(cases, a_walk_passes_over_what_is_not_read);
    tcase_add_test(cases, a_walk_goes_as_deep_as_the_text);
    tcase_add_test(cases, parts_are_read_strictly);
    tcase_add_test(cases, what_is_wrong_in_a_part_is_told_by_fields);
    tcase_add_test(cases, texts_of_a_row);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
