/* SPDX-License-Identifier: Apache-2.0 */
/* Strict JSON: what is accepted, what is rejected and where, and what is written. */
#include "../suite.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"
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

/* The parsed tree must equal cJSON's, and its error must equal that of the validator. */
static void check_tree(const char *bytes, size_t length, kit_status validated) {
    kolm_error_t why = KIT_ERROR_INIT;
    kit_json_tree tree;
    kit_buf expected = {0}, found = {0};
    cJSON *value = NULL;
    ck_assert_int_eq(kit_json_tree_read(bytes, length, &tree, &why), validated);
    if (validated != KOLM_OK) {
        ck_assert_str_eq(why.text, err.text);
        ck_assert_ptr_null(tree.root);
        return;
    }
    ck_assert_int_eq(kit_json_parse(bytes, length, &value, &why), KOLM_OK);
    ck_assert_int_eq(kit_json_line(value, &expected, &why), KOLM_OK);
    ck_assert_int_eq(kit_json_line(tree.root, &found, &why), KOLM_OK);
    ck_assert_str_eq(kit_buf_text(&found), kit_buf_text(&expected));
    cJSON_Delete(value);
    kit_json_tree_free(&tree);
    kit_buf_free(&expected);
    kit_buf_free(&found);
}

/* In an allocation of exactly its size, so that a sanitizer detects a read past the end. */
static kit_status validate(const char *bytes, size_t length) {
    char *copy = malloc(length > 0 ? length : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, length);
    kit_status status = kit_json_validate(copy, length, &err);
    check_tree(copy, length, status);
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

/* The cases of the public JSONTestSuite (Nicolas Seriot, 2016), and further ones that kolm rejects. */
static const char *const refusals[] = {
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

START_TEST(refused) {
    for (size_t i = 0; i < COUNT(refusals); i++) {
        ck_assert_msg(validate(refusals[i], strlen(refusals[i])) == KOLM_E_INVALID_ARGUMENT, "accepted: %s",
                      refusals[i]);
        ck_assert_msg(strncmp(err.text, "line ", 5) == 0 && strstr(err.text, "expected") != NULL, "%s", err.text);
        ck_assert_uint_eq(kit_utf8_valid(err.text, strlen(err.text)), strlen(err.text));
        cJSON *value = NULL;
        ck_assert_int_eq(kit_json_parse(refusals[i], strlen(refusals[i]), &value, &err), KOLM_E_INVALID_ARGUMENT);
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

/* A significant byte at each position of the eight that are read together. */
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

START_TEST(places_are_reported) {
    static const struct {
        const char *text;
        const char *place;
    } cases[] = {
        {"", "line 1, column 1: expected a JSON value, found the end"},
        {"{\n  \"a\": tru\n}", "line 2, column 8: expected a JSON value, found 't'"},
        {"{\n\n\"\xC3\xA9\": 1,, }", "line 3, column 9: expected a key in double quotes, found ','"},
        {"[1,\r\n 2] x", "line 2, column 5: expected nothing after the value, found 'x'"},
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
    /* The first of several duplicates is reported. */
    kit_buf_clear(&text);
    kit_buf_char(&text, '{');
    for (int i = 0; i < 60; i++)
        kit_buf_fmt(&text, "\"k%02d\":0,\n", i == 40 ? 30 : i == 50 ? 2 : i);
    kit_buf_str(&text, "\"z\":0}");
    ck_assert_int_eq(validate(text.data, text.length), KOLM_E_INVALID_ARGUMENT);
    ck_assert_msg(strncmp(err.text, "line 41, column 1:", 18) == 0, "%s", err.text);
    /* Time is not quadratic in the size of objects: 10^5 keys took 25 ms; a quadratic check would take minutes. */
    many_keys(&text, (int)test_draws(100000, 1), "\"other\"");
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
    /* Supplementary characters, and a key that is a prefix of another. */
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
        /* ES6 prints the fewest digits that read back as the same number. */
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
        const char *in, *out; /* out NULL: rejected */
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

int main(void) {
    Suite *suite = suite_create("json");
    TCase *cases = tcase_create("all");
    tcase_add_checked_fixture(cases, setup, NULL);
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, accepted);
    tcase_add_test(cases, refused);
    tcase_add_test(cases, every_truncation_is_refused);
    tcase_add_test(cases, every_alignment);
    tcase_add_test(cases, places_are_reported);
    tcase_add_test(cases, depth_is_limited);
    tcase_add_test(cases, duplicates_among_many);
    tcase_add_test(cases, canonical_form);
    tcase_add_test(cases, canonical_refuses);
    tcase_add_test(cases, lines_and_pretty);
    tcase_add_test(cases, millionths);
    tcase_add_test(cases, decimals_that_were_read_are_written_again);
    tcase_add_test(cases, typed_access);
    tcase_add_test(cases, files_are_named_in_errors);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
