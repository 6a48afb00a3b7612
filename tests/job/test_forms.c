/* SPDX-License-Identifier: Apache-2.0 */
/* Every form of a JSON row: what is read, what is ignored and reported, and what a backend gets. */
#include "../suite.h"
#include "fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static kolm_error_t err;

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
}

static void add_part(kit_buf *out, const char *name, const char *text) {
    if (text[0] != '\0') kit_buf_fmt(out, "|%s=%s", name, text);
}

/* "input|output|system=...|instruction=...|tools=...|turns=..." per row, "!" and the sentence for a bad one. */
static void transcript(const char *text, const job_reader_options *options, kit_buf *out, kit_buf *unused) {
    int fd = job_test_fd(text, strlen(text));
    job_reader *reader = NULL;
    ck_assert_msg(job_reader_open(fd, options, &reader, &err) == KOLM_OK, "%s", err.text);
    for (bool found = true; found;) {
        job_row row;
        kit_status status = job_reader_next(reader, &row, &found, &err);
        if (status == KOLM_E_INVALID_ARGUMENT) {
            kit_buf_fmt(out, "!%s\n", err.text);
            ck_assert_msg(err.remedy[0] != '\0', "%s", err.text);
            found = true;
            continue;
        }
        ck_assert_msg(status == KOLM_OK, "%s", err.text);
        if (!found) break;
        kit_buf_fmt(out, "%s|%s", row.input, row.output);
        add_part(out, "system", row.system);
        add_part(out, "instruction", row.instruction);
        add_part(out, "tools", row.tools);
        add_part(out, "turns", row.turns);
        kit_buf_char(out, '\n');
    }
    const job_unused *left = job_reader_unused(reader);
    for (size_t i = 0; i < left->count; i++)
        kit_buf_fmt(unused, "%s:%llu ", left->keys[i].name, (unsigned long long)left->keys[i].rows);
    job_reader_close(reader);
    close(fd);
}

typedef struct form {
    const char *text, *rows, *unused;
} form;

#define U(text) "{\"role\":\"user\",\"content\":\"" text "\"}"
#define A(text) "{\"role\":\"assistant\",\"content\":\"" text "\"}"
#define S(text) "{\"role\":\"system\",\"content\":\"" text "\"}"

static const form forms[] = {
    /* OpenAI's chats. One question is a plain row; other messages are kept. */
    {"{\"messages\":[" U("q") "," A("a") "]}", "q|a", ""},
    {"{\"messages\":[" S("s") "," U("q") "," A("a") "]}", "q|a|system=" S("s"), ""},
    {"{\"messages\":[{\"role\":\"developer\",\"content\":\"d\"}," U("q") "," A("a") "]}",
     "q|a|system={\"role\":\"developer\",\"content\":\"d\"}", ""},
    {"{\"messages\":[" S("s") "," S("t") "," U("q") "," A("a") "]}", "q|a|system=" S("s") "," S("t"), ""},
    {"{\"system\":\"s\",\"messages\":[" U("q") "," A("a") "]}", "q|a|system=" S("s"), ""},
    {"{\"messages\":[" S("s") "," U("q") "," A("a") "," U("r") "," A("b") "]}",
     "user: q\nassistant: a\nuser: r|b|system=" S("s") "|turns=" U("q") "," A("a") "," U("r"), ""},
    {"{\"messages\":[" U("q") "," S("s") "," A("a") "]}", "user: q\nsystem: s|a|turns=" U("q") "," S("s"), ""},
    {"{\"messages\":[{\"role\":\"user\",\"name\":\"Ann\",\"content\":\"q\"}," A("a") "]}",
     "user: q|a|turns={\"role\":\"user\",\"content\":\"q\",\"name\":\"Ann\"}", ""},
    /* Tools: calls and results between messages; an answer with calls is its JSON text. */
    {"{\"tools\":[ {\"type\":\"function\"} ],\"messages\":[" U(
         "q") ",{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\","
              "\"function\":"
              "{\"name\":\"f\",\"arguments\":\"{\\\"x\\\": "
              "1}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"7\"}," A("a") "]}",
     "user: q\nassistant: [{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
     "\"{\\\"x\\\": 1}\"}}]\ntool: 7|a|tools=[{\"type\":\"function\"}]|turns=" U(
         "q") ",{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\","
              "\"function\":"
              "{\"name\":\"f\",\"arguments\":\"{\\\"x\\\": "
              "1}\"}}]},{\"role\":\"tool\",\"content\":\"7\",\"tool_call_id\":\"1\"}",
     ""},
    {"{\"messages\":[" U("q") ",{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":"
                              "\"{\\\"n\\\": 1389432487213912064}\"}}]}]}",
     "q|{\"name\":\"f\",\"arguments\":{\"n\":1389432487213912064}}", ""},
    {"{\"messages\":[" U("q") ",{\"role\":\"assistant\",\"content\":\"Both.\",\"tool_calls\":[{\"function\":{\"name\":"
                              "\"f\",\"arguments\":{ }}},{\"function\":{\"name\":\"g\",\"arguments\":\"no JSON\"}}]}]}",
     "q|Both.\n[{\"name\":\"f\",\"arguments\":{}},{\"name\":\"g\",\"arguments\":\"no JSON\"}]", ""},
    {"{\"messages\":[" U("q") ",{\"role\":\"assistant\",\"content\":null,\"function_call\":{\"name\":\"f\"}}],"
                              "\"functions\":[{\"name\":\"f\"}]}",
     "q|{\"name\":\"f\",\"arguments\":{}}|tools=[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]", ""},
    {"{\"messages\":[" U("q") "," A("a") "],\"tools\":\"[ {} ]\"}", "q|a|tools=[{}]", ""},
    {"{\"messages\":[" U("q") "," A("a") "],\"tools\":[ ]}", "q|a", ""},
    {"{\"messages\":[" U("q") "," A("a") "],\"tools\":\"\"}", "q|a", ""},
    /* Content in parts. */
    {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"q\"},{\"text\":\"r\",\"type\":"
     "\"input_text\"}]}," A("a") "]}",
     "q\nr|a", ""},
    {"{\"messages\":[{\"role\":\"user\",\"content\":[\"q\",\"r\"]}," A("a") "]}", "q\nr|a", ""},
    /* ShareGPT's form, and other names of roles. */
    {"{\"conversations\":[{\"from\":\"system\",\"value\":\"s\"},{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"gpt\","
     "\"value\":\"a\"}]}",
     "q|a|system=" S("s"), ""},
    {"{\"conversations\":[{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"function_call\",\"value\":\"c\"},{\"from\":"
     "\"observation\",\"value\":\"o\"},{\"from\":\"gpt\",\"value\":\"a\"}],\"system\":\"s\"}",
     "user: q\nassistant: c\ntool: o|a|system=" S("s") "|turns=" U("q") "," A(
         "c") ",{\"role\":\"tool\",\"content\":\"o\"}",
     ""},
    {"{\"conversations\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"model\",\"content\":\"a\"}]}", "q|a", ""},
    /* Alpaca's form. */
    {"{\"instruction\":\"i\",\"input\":\"q\",\"output\":\"a\"}", "q|a|instruction=i", ""},
    {"{\"instruction\":\"i\",\"input\":\"\",\"output\":\"a\"}", "i|a", ""},
    {"{\"instruction\":\"i\",\"input\":\" \\n\",\"output\":\"a\"}", "i|a", ""},
    {"{\"instruction\":\"\",\"input\":\"q\",\"output\":\"a\"}", "q|a", ""},
    {"{\"instruction\":\"i\",\"output\":\"a\"}", "i|a", ""},
    {"{\"instruction\":\"i\",\"input\":null,\"output\":\"a\",\"system\":\"s\"}", "i|a|system=" S("s"), ""},
    {"{\"instruction\":\"i\",\"input\":\"q\",\"output\":\"a\",\"history\":[[\"x\",\"y\"]]}",
     "user: x\nassistant: y\nuser: i\nq|a|turns=" U("x") "," A("y") "," U("i\\nq"), ""},
    {"{\"instruction\":\"i\",\"context\":\"q\",\"response\":\"a\",\"category\":\"c\"}", "q|a|instruction=i",
     "category:1 "},
    {"{\"instruction\":\"i\",\"text\":\"q\",\"label\":3}", "q|3|instruction=i", ""},
    /* TRL's form. */
    {"{\"prompt\":[" S("s") "," U("q") "],\"completion\":[" A("a") "]}", "q|a|system=" S("s"), ""},
    {"{\"prompt\":[" U("q") "],\"completion\":\"a\"}", "q|a", ""},
    /* Pairs with a system message. */
    {"{\"input\":\"q\",\"output\":\"a\",\"system\":\"s\"}", "q|a|system=" S("s"), ""},
    {"{\"prompt\":\"q\",\"completion\":\"a\",\"system\":\"\"}", "q|a", ""},
    /* null is the same as a missing key. */
    {"{\"messages\":null,\"input\":\"q\",\"output\":\"a\"}", "q|a", ""},
    {"{\"messages\":[" U("q") "," A("a") "],\"input\":null,\"instruction\":null,\"tools\":null,\"n\":null}", "q|a", ""},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"q\",\"name\":null,\"tool_calls\":null}," A("a") "]}", "q|a", ""},
    /* Recognized by column names. */
    {"{\"text\":\"q\",\"label\":\"a\"}", "q|a", ""},
    {"{\"text\":\"q\",\"label\":3}\n{\"text\":\"r\",\"label\":-1}", "q|3\nr|-1", ""},
    {"{\"question\":\"q\",\"answer\":\"a\",\"context\":\"c\"}", "q|a", "context:1 "},
    {"{\"Text\":\"q\",\"LABEL\":\"a\"}", "q|a", ""},
    {"{\"prompt\":\"q\",\"output\":\"a\"}", "q|a", ""},
    /* The forms take precedence over the guessed columns; the first guess applies to the whole file. */
    {"{\"text\":\"t\",\"label\":\"l\",\"input\":\"q\",\"output\":\"a\"}", "q|a", "text:1 label:1 "},
    {"{\"text\":\"q\",\"label\":\"a\"}\n{\"text\":\"r\",\"category\":\"b\"}",
     "q|a\n!x, line 2, column 1: expected the key \"label\", found \"text\", \"category\"", ""},
    /* Integers keep all their digits. */
    {"{\"input\":\"q\",\"output\":1389432487213912064}\n{\"input\":\"r\",\"output\":7.0}", "q|1389432487213912064\nr|7",
     ""},
};

START_TEST(a_form_is_read) {
    const job_reader_options options = {.path = "x"};
    kit_buf out = {0}, unused = {0};
    transcript(forms[_i].text, &options, &out, &unused);
    kit_buf expected = {0};
    kit_buf_fmt(&expected, "%s\n", forms[_i].rows);
    ck_assert_str_eq(kit_buf_text(&out), kit_buf_text(&expected));
    ck_assert_str_eq(kit_buf_text(&unused), forms[_i].unused);
    kit_buf_free(&out);
    kit_buf_free(&unused);
    kit_buf_free(&expected);
}
END_TEST

/* ---- Ignored content */

static const form passed_over[] = {
    {"{\"id\":1389432487213912064,\"input\":\"q\",\"output\":\"a\"}", "q|a", "id:1 "},
    {"{\"input\":\"q\",\"score\":NaN,\"best\":-Infinity,\"output\":\"a\"}", "q|a", "score:1 best:1 "},
    {"{\"input\":\"q\",\"output\":\"a\",\"n\":1e400}", "q|a", "n:1 "},
    {"{\"input\":\"q\",\"output\":\"a\",\"meta\":{\"k\":1,\"k\":{\"k\":2,\"k\":3}}}", "q|a", "meta:1 "},
    {"{\"id\":1,\"id\":2,\"input\":\"q\",\"output\":\"a\"}", "q|a", "id:1 "},
    {"{\"note\":\"\\ud800\",\"nul\":\"\\u0000\",\"input\":\"q\",\"output\":\"a\"}", "q|a", "note:1 nul:1 "},
    {"{\"\\ud800\":1,\"input\":\"q\",\"output\":\"a\"}", "q|a", "\\ud800:1 "},
    {"{\"\\u001b[2J\":1,\"input\":\"q\",\"output\":\"a\"}", "q|a", "\\x1B[2J:1 "},
    {"{\"\\u0069nput\":\"q\",\"output\":\"a\"}", "q|a", ""},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"q\",\"n\":NaN},{\"role\":\"assistant\",\"content\":\"a\","
     "\"weight\":1}]}",
     "q|a", "messages.n:1 "},
    {"{\"messages\":[" U("q") ",{\"role\":\"assistant\",\"content\":\"a\",\"weight\":1}," U("r") "," A("b") "," U(
         "r") ",{\"role\":\"assistant\",\"content\":\"a\",\"weight\":0}," U("s") "," A("b") "]}",
     "user: q\nassistant: a\nuser: r\nassistant: b\nuser: r\nassistant: a\nuser: s|b|turns=" U("q") "," A("a") "," U(
         "r") "," A("b") "," U("r") "," A("a") "," U("s"),
     "messages.weight:1 "},
    /* A duplicate key that the recognized form does not read. */
    {"{\"text\":\"x\",\"text\":\"y\",\"input\":\"q\",\"output\":\"a\"}", "q|a", "text:1 "},
};

START_TEST(what_is_not_read_is_passed_over_and_named) {
    const job_reader_options options = {.path = "x"};
    kit_buf out = {0}, unused = {0}, expected = {0};
    transcript(passed_over[_i].text, &options, &out, &unused);
    kit_buf_fmt(&expected, "%s\n", passed_over[_i].rows);
    ck_assert_str_eq(kit_buf_text(&out), kit_buf_text(&expected));
    ck_assert_str_eq(kit_buf_text(&unused), passed_over[_i].unused);
    kit_buf_free(&out);
    kit_buf_free(&unused);
    kit_buf_free(&expected);
}
END_TEST

/* ---- Content that is read is strict */

static const char *const strict[][2] = {
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud800\"}," A("a") "]}",
     "line 1, column 46: expected the low half"},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"q\",\"content\":\"r\"}," A("a") "]}",
     "column 43: expected a key that this object does not have yet"},
    {"{\"messages\":[" U("q") "," A("a") "],\"messages\":1}", "expected a key that this object does not have yet"},
    {"{\"input\":\"q\",\"output\":\"a\",\"output\":\"b\"}",
     "column 27: expected a key that this object does not have yet"},
    {"{\"input\":\"q\",\"output\":1e400}", "expected text, an integer, true or false in \"output\", found a number"},
    {"{\"input\":\"q\",\"output\":NaN}", "expected text, an integer, true or false in \"output\", found a number"},
    {"{\"input\":\"q\",\"output\":\"a\",\"tools\":[NaN]}", "column 36: expected a JSON value, found 'N'"},
    {"{\"input\":\"q\",\"output\":\"a\",\"tools\":[{\"a\":1,\"a\":2}]}", "a key that this object does not have yet"},
    {"{\"input\":\"q\",\"output\":\"a\",\"tools\":\"{}\"}", "expected an array in \"tools\", found text"},
    {"{\"input\":\"q\",\"output\":\"a\",\"tools\":\"[1\"}", "expected an array in \"tools\", found text"},
    {"{\"input\":\"q\",\"output\":\"a\",\"system\":[]}", "expected text in \"system\", found an array"},
    {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]}," A("a") "]}",
     "column 40: expected parts of the type \"text\" in \"content\", found \"image_url\""},
    {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\"}]}," A("a") "]}",
     "found \"input_audio\""},
    {"{\"messages\":[{\"role\":\"user\",\"content\":[7]}," A("a") "]}",
     "expected text, or parts of text, in \"content\""},
    {"{\"messages\":[{\"role\":\"user\",\"content\":{}}," A("a") "]}", "expected text in \"content\", found an object"},
    {"{\"messages\":[" U("q") ",{\"role\":\"assistant\",\"content\":\"a\",\"weight\":0}]}",
     "expected a last message to learn, found one of the weight 0"},
    {"{\"messages\":[" U("q") ",{\"role\":\"assistant\",\"tool_calls\":{}}]}", "expected an array in \"tool_calls\""},
    {"{\"messages\":[" U("q") ",{\"role\":\"assistant\",\"tool_calls\":[{}]}]}",
     "expected the name of a function in \"tool_calls\""},
    {"{\"messages\":[" U("q") ",{\"role\":\"assistant\",\"content\":null}]}",
     "expected the key \"content\" with text in each message, found \"role\", \"content\" (null)"},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"q\",\"name\":7}," A("a") "]}",
     "expected text in \"name\", found a number"},
    {"{\"conversations\":[{\"from\":\"human\",\"value\":\"q\"}]}", "expected a last message of the role \"assistant\""},
    {"{\"instruction\":\"i\",\"input\":\"q\",\"output\":\"a\",\"history\":[[\"x\"]]}",
     "expected pairs of texts in \"history\""},
    {"{\"instruction\":\"i\",\"input\":\"q\",\"output\":\"a\",\"history\":[\"x\"]}",
     "expected pairs of texts in \"history\""},
    {"{\"instruction\":\"i\",\"input\":\"q\"}", "expected the key \"output\""},
    {"{\"instruction\":7,\"output\":\"a\"}", "expected text in \"instruction\", found a number"},
    {"{\"prompt\":[" U("q") "],\"completion\":[" U("a") "]}", "expected a last message of the role \"assistant\""},
    {"{\"prompt\":[" U("q") "],\"chosen\":[]}", "expected the key \"completion\", found \"prompt\", \"chosen\""},
    {"{\"text\":\"q\",\"label\":null}", "expected the key \"output\", found \"text\", \"label\" (null)"},
    {"{\"text\":\"q\",\"x\":1}", "expected the key \"output\", found \"text\", \"x\""},
};

START_TEST(what_is_read_is_strict) {
    const job_reader_options options = {.path = "x"};
    kit_buf out = {0}, unused = {0};
    transcript(strict[_i][0], &options, &out, &unused);
    ck_assert_msg(kit_buf_text(&out)[0] == '!' && strstr(out.data, strict[_i][1]) != NULL, "%s", kit_buf_text(&out));
    kit_buf_free(&out);
    kit_buf_free(&unused);
}
END_TEST

START_TEST(nesting_that_is_not_read_has_no_bound) {
    kit_buf text = {0}, out = {0}, unused = {0};
    const job_reader_options options = {.path = "x"};
    kit_buf_str(&text, "{\"deep\":");
    for (int i = 0; i < 1000000; i++)
        kit_buf_char(&text, '[');
    for (int i = 0; i < 1000000; i++)
        kit_buf_char(&text, ']');
    kit_buf_str(&text, ",\"input\":\"q\",\"output\":\"a\"}");
    transcript(kit_buf_text(&text), &options, &out, &unused);
    ck_assert_str_eq(kit_buf_text(&out), "q|a\n");
    kit_buf_free(&text);
    kit_buf_free(&out);
    kit_buf_free(&unused);
}
END_TEST

START_TEST(names_of_unused_keys_are_few) {
    kit_buf text = {0};
    const job_reader_options options = {.path = "x"};
    for (int row = 0; row < 3; row++) {
        kit_buf_str(&text, "{\"input\":\"q\",\"output\":\"a\"");
        for (int i = 0; i < 40; i++)
            kit_buf_fmt(&text, ",\"key %d %d\":%d", i, i < 8 ? 0 : row, i);
        kit_buf_str(&text, "}\n");
    }
    int fd = job_test_fd(text.data, text.length);
    job_reader *reader = NULL;
    job_row row;
    ck_assert_int_eq(job_reader_open(fd, &options, &reader, &err), KOLM_OK);
    for (bool found = true; found;)
        ck_assert_int_eq(job_reader_next(reader, &row, &found, &err), KOLM_OK);
    const job_unused *unused = job_reader_unused(reader);
    ck_assert_uint_eq(unused->count, JOB_UNUSED_MAX);
    uint64_t sum = unused->more;
    for (size_t i = 0; i < unused->count; i++)
        sum += unused->keys[i].rows;
    ck_assert_uint_eq(sum, 120);
    ck_assert_uint_eq(unused->keys[0].rows, 3);
    job_reader_close(reader);
    close(fd);
    kit_buf_free(&text);
}
END_TEST

/* ---- Rows one by one */

START_TEST(questions_are_rows_without_answers) {
    const job_reader_options options = {.path = "standard input", .inputs_only = true, .with_id = true};
    static const char *const cases[][3] = {
        {"{\"id\":\"a\",\"input\":\"q\"}", "a|q|", ""},
        {"{\"id\":1389432487213912064,\"prompt\":\"q\"}", "1389432487213912064|q|", ""},
        {"{\"id\":\"\",\"input\":\"q\"}", "|q|", ""},
        {"{\"text\":\"q\"}", "none|q|", ""},
        {"{\"input\":\"\"}", "none||", ""},
        {"{\"id\":null,\"messages\":[" S("s") "," U("q") "]}", "none|q|" S("s"), ""},
        {"{\"messages\":[" U("q") "," A("said already") "]}", "none|q|", ""},
        {"{\"instruction\":\"i\",\"input\":\"q\"}", "none|q|", ""},
        {"{\"id\":1.5,\"input\":\"q\"}", "", "expected text or a whole number in \"id\", found a number"},
        {"{\"id\":[],\"input\":\"q\"}", "", "expected text or a whole number in \"id\", found an array"},
        {"{\"x\":1}", "", "line 7, column 1: expected the key \"input\", found \"x\""},
        {"[1]", "", "line 7, column 1: expected an object"},
    };
    job_reader *reader = NULL;
    ck_assert_int_eq(job_reader_open_rows(&options, &reader, &err), KOLM_OK);
    for (size_t i = 0; i < COUNT(cases); i++) {
        job_row row;
        char said[200] = "";
        kit_status status = job_reader_parse(reader, cases[i][0], strlen(cases[i][0]), 7, &row, &err);
        ck_assert_msg((status == KOLM_OK) == (cases[i][2][0] == '\0'), "%s: %s", cases[i][0], err.text);
        if (status == KOLM_OK)
            kit_format(said, sizeof said, "%s|%s|%s", row.id != NULL ? row.id : "none", row.input, row.system);
        ck_assert_str_eq(said, cases[i][1]);
        if (status != KOLM_OK) ck_assert_msg(strstr(err.text, cases[i][2]) != NULL, "%s", err.text);
    }
    job_reader_close(reader);
}
END_TEST

/* ---- What rows have in common, and what a backend gets */

static void put_job_rows(kit_buf *out, const char *text, const job_common *common, bool messages) {
    const job_reader_options options = {.path = "x", .inputs_only = true};
    job_reader *reader = NULL;
    job_row row;
    kit_buf seen = {0}, context = {0};
    ck_assert_int_eq(job_reader_open_rows(&options, &reader, &err), KOLM_OK);
    ck_assert_msg(job_reader_parse(reader, text, strlen(text), 1, &row, &err) == KOLM_OK, "%s", err.text);
    job_common_fill(common, &row, &seen, &context);
    kit_buf_clear(out);
    job_row_put_input(&row, common, out);
    if (messages) job_row_put_messages(&row, false, out);
    job_reader_close(reader);
    kit_buf_free(&seen);
    kit_buf_free(&context);
}

static void see_all(const char *const *rows, size_t count, job_common *out) {
    const job_reader_options options = {.path = "x"};
    job_reader *reader = NULL;
    ck_assert_int_eq(job_reader_open_rows(&options, &reader, &err), KOLM_OK);
    for (size_t i = 0; i < count; i++) {
        job_row row;
        ck_assert_msg(job_reader_parse(reader, rows[i], strlen(rows[i]), 1, &row, &err) == KOLM_OK, "%s", err.text);
        ck_assert_int_eq(job_common_see(out, &row, &err), KOLM_OK);
    }
    job_reader_close(reader);
}

START_TEST(what_all_rows_share_is_remembered_and_left_out) {
    static const char *const rows[] = {
        "{\"instruction\":\"Which team?\",\"input\":\"late\",\"output\":\"a\",\"system\":\"s\",\"tools\":[{}]}",
        "{\"instruction\":\"Which team?\",\"input\":\"wrong\",\"output\":\"b\",\"system\":\"s\",\"tools\":[ { } ]}",
    };
    job_common common = {0}, again = {0};
    kit_buf out = {0};
    see_all(rows, 2, &common);
    cJSON *object = cJSON_CreateObject();
    ck_assert(job_common_put(&common, object));
    ck_assert_int_eq(job_common_get(object, &again, &err), KOLM_OK);
    static const char whole[] = "late,\"messages\":[" S("s") "," U("Which team?\\nlate") "],\"tools\":[{}]";
    /* A plain question gets the common parts; so does one that has the parts itself, in any form. */
    static const char *const same[] = {
        "{\"input\":\"late\"}",
        "{\"instruction\":\"Which team?\",\"input\":\"late\"}",
        "{\"messages\":[" S("s") "," U("Which team?\\nlate") "]}",
        "{\"messages\":[" U("late") "],\"tools\":[{}]}",
    };
    for (size_t i = 0; i < COUNT(same); i++) {
        put_job_rows(&out, same[i], &again, true);
        ck_assert_str_eq(out.data, whole);
    }
    /* Parts that differ are included in the text. */
    put_job_rows(&out, "{\"instruction\":\"What tone?\",\"input\":\"late\",\"system\":\"t\"}", &again, false);
    ck_assert_str_eq(out.data, "t\nWhat tone?\nlate");
    cJSON_Delete(object);
    job_common_free(&common);
    job_common_free(&again);
    kit_buf_free(&out);
}
END_TEST

START_TEST(what_differs_is_in_every_text) {
    static const char *const rows[] = {
        "{\"messages\":[" S("s") "," U("q") "," A("a") "]}",
        "{\"messages\":[" S("t") "," U("q") "," A("b") "]}",
        "{\"input\":\"q\",\"output\":\"c\"}",
    };
    for (size_t count = 2; count <= 3; count++) {
        job_common common = {0};
        kit_buf out = {0};
        cJSON *object = cJSON_CreateObject();
        see_all(rows, count, &common);
        ck_assert(job_common_put(&common, object));
        ck_assert_ptr_null(object->child);
        put_job_rows(&out, rows[1], &common, true);
        ck_assert_str_eq(out.data, "t\nq,\"messages\":[" S("t") "," U("q") "]");
        put_job_rows(&out, rows[2], &common, true);
        ck_assert_str_eq(out.data, "q");
        cJSON_Delete(object);
        job_common_free(&common);
        kit_buf_free(&out);
    }
}
END_TEST

START_TEST(a_part_that_is_too_long_is_not_remembered) {
    kit_buf row = {0};
    job_common common = {0};
    kit_buf_str(&row, "{\"input\":\"q\",\"output\":\"a\",\"system\":\"");
    for (size_t i = 0; i <= JOB_COMMON_MAX; i++)
        kit_buf_char(&row, 's');
    kit_buf_str(&row, "\"}");
    const char *rows[] = {kit_buf_text(&row)};
    see_all(rows, 1, &common);
    ck_assert(common.system == NULL && common.begun);
    job_common_free(&common);
    kit_buf_free(&row);
}
END_TEST

START_TEST(what_is_remembered_cannot_close_its_brackets) {
    static const char *const bad[] = {
        "{\"common\":{\"system\":\"{}],\\\"x\\\":[1\"}}",
        "{\"common\":{\"tools\":\"[],\\\"x\\\":1\"}}",
        "{\"common\":{\"tools\":\"{}\"}}",
        "{\"common\":{\"system\":\"{\"}}",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        cJSON *object = NULL;
        job_common common;
        ck_assert_int_eq(kit_json_parse(bad[i], strlen(bad[i]), &object, &err), KOLM_OK);
        ck_assert_int_eq(job_common_get(object, &common, &err), KOLM_E_DATA_LOSS);
        cJSON_Delete(object);
    }
}
END_TEST

/* The same question in two contexts is two questions, and the job includes the contexts. */
START_TEST(contexts_make_other_questions) {
    kit_buf text = {0};
    job_test_place place;
    job_summary summary;
    for (int i = 0; i < 20; i++)
        kit_buf_fmt(&text,
                    "{\"id\":%d,\"messages\":[" S("Which team?") "," U("late %d") "," A(
                        "billing") "]}\n"
                                   "{\"id\":%d,\"messages\":[" S("What tone?") "," U("late %d") "," A("angry") "]}\n",
                    i, i, i, i);
    job_test_open(&place);
    int fd = job_test_fd(text.data, text.length);
    job_source source = {.fd = fd, .path = "rows"};
    job_prepare_options options = {
        .data = &source, .data_count = 1, .job_dir = place.job, .private_dir = place.private_dir};
    ck_assert_msg(job_prepare(&options, &summary, &err) == KOLM_OK, "%s", err.text);
    ck_assert_uint_eq(summary.contradictions, 0);
    ck_assert_uint_eq(summary.train_rows + summary.eval_rows, 40);
    ck_assert_uint_eq(summary.unused.count, 1);
    ck_assert_str_eq(summary.unused.keys[0].name, "id");
    ck_assert_uint_eq(summary.unused.keys[0].rows, 40);
    job_test_rows train, eval, heldout;
    job_test_read(place.job, "train.jsonl", &train);
    job_test_read(place.job, "eval.jsonl", &eval);
    job_test_read_held(&summary, &heldout);
    for (size_t i = 0; i < train.count; i++) {
        const cJSON *messages = kit_json_get(train.items[i], "messages");
        ck_assert_int_eq(cJSON_GetArraySize(messages), 3);
        const char *output = job_test_text(train.items[i], "output");
        const char *begin = strcmp(output, "angry") == 0 ? "What tone?\nlate" : "Which team?\nlate";
        ck_assert_int_eq(strncmp(job_test_text(train.items[i], "input"), begin, strlen(begin)), 0);
        ck_assert_str_eq(job_test_text(cJSON_GetArrayItem(messages, 2), "content"), output);
    }
    for (size_t i = 0; i < eval.count; i++) {
        const cJSON *messages = kit_json_get(eval.items[i], "messages");
        ck_assert_int_eq(cJSON_GetArraySize(messages), 2);
        ck_assert_str_eq(job_test_text(cJSON_GetArrayItem(messages, 1), "role"), "user");
        ck_assert_int_eq(cJSON_GetArraySize(kit_json_get(heldout.items[i], "messages")), 3);
    }
    ck_assert_uint_gt(eval.count, 0);
    job_test_rows_free(&train);
    job_test_rows_free(&eval);
    job_test_rows_free(&heldout);
    job_common_free(&summary.common);
    job_test_forget_held(&summary);
    job_test_close(&place);
    kit_buf_free(&text);
    close(fd);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("job-forms");
    TCase *tests = tcase_create("forms");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, a_form_is_read, 0, COUNT(forms));
    tcase_add_loop_test(tests, what_is_not_read_is_passed_over_and_named, 0, COUNT(passed_over));
    tcase_add_loop_test(tests, what_is_read_is_strict, 0, COUNT(strict));
    tcase_add_test(tests, nesting_that_is_not_read_has_no_bound);
    tcase_add_test(tests, names_of_unused_keys_are_few);
    tcase_add_test(tests, questions_are_rows_without_answers);
    tcase_add_test(tests, what_all_rows_share_is_remembered_and_left_out);
    tcase_add_test(tests, what_differs_is_in_every_text);
    tcase_add_test(tests, a_part_that_is_too_long_is_not_remembered);
    tcase_add_test(tests, what_is_remembered_cannot_close_its_brackets);
    tcase_add_test(tests, contexts_make_other_questions);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
