/* SPDX-License-Identifier: Apache-2.0 */
/* The walk over JSON text: members one by one; values that are not read are skipped, parts that are read are checked
 * strictly. */
#include "../suite.h"
#include "kolm/kit/json.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static kolm_error_t err;

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
}

/* "key=kind:value;" for each member of text, or "!" and the text of the error. In an allocation of exactly its size. */
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
        {"{\"a\":1} x", "\"a\"=2:1;!line 1, column 9: expected nothing after the value, found 'x'"},
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
    /* One bracket of the wrong kind, deep inside, is detected. */
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

START_TEST(errors_in_a_part_are_reported_by_fields) {
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
    Suite *suite = suite_create("json walk");
    TCase *cases = tcase_create("all");
    tcase_add_checked_fixture(cases, setup, NULL);
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, a_walk_passes_over_what_is_not_read);
    tcase_add_test(cases, a_walk_goes_as_deep_as_the_text);
    tcase_add_test(cases, parts_are_read_strictly);
    tcase_add_test(cases, errors_in_a_part_are_reported_by_fields);
    tcase_add_test(cases, texts_of_a_row);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
