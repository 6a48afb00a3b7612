/* SPDX-License-Identifier: Apache-2.0 */
/* The row reader: every accepted format, every kind of bad input with its sentence, and what follows after one. */
#include "../suite.h"
#include "fixture.h"

#include "kolm/kit/text.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
/* Bytes that may include NULs. */
#define BYTES(text) text, sizeof(text) - 1

static kolm_error_t err;

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
}

static void assert_says(const char *piece) {
    ck_assert_msg(strstr(err.text, piece) != NULL, "expected \"%s\" in \"%s\"", piece, err.text);
}

static void assert_advises(const char *piece) {
    ck_assert_msg(err.remedy[0] != '\0', "no advice with \"%s\"", err.text);
    ck_assert_msg(strstr(err.remedy, piece) != NULL, "expected \"%s\" in the advice \"%s\"", piece, err.remedy);
}

/* Reads all rows of text: "line|input|output" per row, "!" for a bad one. */
static void transcript(const void *text, size_t length, const job_reader_options *options, kit_buf *out) {
    int fd = job_test_fd(text, length);
    job_reader *reader = NULL;
    ck_assert_msg(job_reader_open(fd, options, &reader, &err) == KOLM_OK, "%s", err.text);
    for (bool found = true; found;) {
        job_row row;
        kit_status status = job_reader_next(reader, &row, &found, &err);
        if (status == KOLM_E_INVALID_ARGUMENT || status == KOLM_E_OUT_OF_RANGE) {
            kit_buf_str(out, "!\n");
            found = true;
        } else {
            ck_assert_msg(status == KOLM_OK, "%s", err.text);
            if (!found) break;
            ck_assert_uint_eq(row.input_length, strlen(row.input));
            ck_assert_uint_eq(row.output_length, strlen(row.output));
            kit_buf_fmt(out, "%llu|%s|%s\n", (unsigned long long)row.line, row.input, row.output);
        }
    }
    job_reader_close(reader);
    close(fd);
}

static void assert_rows_as(const void *text, size_t length, const job_reader_options *options, const char *expected) {
    kit_buf out = {0};
    transcript(text, length, options, &out);
    ck_assert_str_eq(kit_buf_text(&out), expected);
    kit_buf_free(&out);
}

static void assert_rows(const void *text, size_t length, const char *path, const char *expected) {
    const job_reader_options options = {.path = path};
    assert_rows_as(text, length, &options, expected);
}

/* ---- Accepted data */

typedef struct good_case {
    const char *text;
    const char *path;
    const char *expected;
} good_case;

static const good_case good_cases[] = {
    {"{\"input\":\"a\",\"output\":\"b\"}\n", "x.jsonl", "1|a|b\n"},
    {"{\"prompt\":\"a\",\"completion\":\"b\"}\n", "x.jsonl", "1|a|b\n"},
    /* The first pair is used if there are both. */
    {"{\"prompt\":\"p\",\"completion\":\"c\",\"input\":\"a\",\"output\":\"b\"}\n", "x.jsonl", "1|a|b\n"},
    /* No LF at the end, CRLF, a byte order mark, blank lines, spaces around, other keys. */
    {"{\"input\":\"a\",\"output\":\"b\"}", "x.jsonl", "1|a|b\n"},
    {"{\"input\":\"a\",\"output\":\"b\"}\r\n{\"input\":\"c\",\"output\":\"d\"}\r\n", "x.jsonl", "1|a|b\n2|c|d\n"},
    {"\xEF\xBB\xBF{\"input\":\"a\",\"output\":\"b\"}\n", "x.jsonl", "1|a|b\n"},
    {"\xEF\xBB\xBF\n\n  \n{\"input\":\"a\",\"output\":\"b\"}\n\n\t\n{\"input\":\"c\",\"output\":\"d\"}\n", "x.jsonl",
     "4|a|b\n7|c|d\n"},
    {"  { \"id\" : 7, \"input\" : \"a\" , \"output\":\"b\", \"tags\":[1,{}] }  \n", "x.jsonl", "1|a|b\n"},
    {"{\"input\":\"a\",\"output\":\"b\"}\n\xEF\xBB\xBF{\"input\":\"c\",\"output\":\"d\"}\n", "x.jsonl",
     "1|a|b\n2|c|d\n"},
    /* The content decides, not the name. */
    {"{\"input\":\"a\",\"output\":\"b\"}\n", "x.csv", "1|a|b\n"},
    {"input,output\na,b\n", "x.jsonl", "2|a|b\n"},
    /* Outputs that are not strings. */
    {"{\"input\":\"a\",\"output\":7}\n{\"input\":\"b\",\"output\":-3}\n", "x.jsonl", "1|a|7\n2|b|-3\n"},
    {"{\"input\":\"a\",\"output\":true}\n{\"input\":\"b\",\"output\":false}\n", "x.jsonl", "1|a|true\n2|b|false\n"},
    {"{\"input\":\"a\",\"output\":9007199254740991}\n", "x.jsonl", "1|a|9007199254740991\n"},
    /* Escapes: a label may contain any character except NUL. */
    {"{\"input\":\"\\u00e4\\ud83d\\ude00\",\"output\":\"a\\u0007\\u001b[1m\"}\n", "x.jsonl",
     "1|\xC3\xA4\xF0\x9F\x98\x80|a\x07\x1B[1m\n"},
    {"{\"input\":\"a\",\"output\":\"x\\ny\"}\n", "x.jsonl", "1|a|x\ny\n"},
    /* Chat: one question, with and without a system message; several; keys that are not of a chat are ignored. */
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\n", "x.jsonl",
     "1|a|b\n"},
    {"{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"a\"},"
     "{\"role\":\"assistant\",\"content\":\"b\",\"weight\":1}]}\n",
     "x.jsonl", "1|a|b\n"},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},"
     "{\"role\":\"user\",\"content\":\"c\"},{\"role\":\"assistant\",\"content\":\"d\"}]}\n",
     "x.jsonl", "1|user: a\nassistant: b\nuser: c|d\n"},
    {"{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"a\"},"
     "{\"role\":\"user\",\"content\":\"c\"},{\"role\":\"assistant\",\"content\":\"d\"}]}\n",
     "x.jsonl", "1|user: a\nuser: c|d\n"},
    /* Tables: names in any case, in order of preference, extra columns, TSV by name and by content. */
    {"id,Text,LABEL\n1,a,b\n", "x.csv", "2|a|b\n"},
    {"text,input,label,output\nno,a,no,b\n", "x.csv", "2|a|b\n"},
    {"\xEF\xBB\xBFtext,label\r\na,b\r\n", "x.csv", "2|a|b\n"},
    {"\n\ntext,label\n\na,b\n\n", "x.csv", "5|a|b\n"},
    {"text\tlabel\na, b\tc\n", "x.txt", "2|a, b|c\n"},
    {"text\tlabel, or so\na, b\tc\n", "x.TSV", "!"},
    {"question\tanswer\nq\ta\n", "x.tsv", "2|q|a\n"},
    {"query,category\nq,c\n", "x.csv", "2|q|c\n"},
    {"prompt,target\nq,c", "x.csv", "2|q|c\n"},
    /* Quotes: separators, line ends and quotes inside; empty fields; no quotes needed. */
    {"text,label\n\"a, \"\"b\"\"\",c\n", "x.csv", "2|a, \"b\"|c\n"},
    {"text,label\n\"a\nb\r\nc\",\"d\"\ne,f\n", "x.csv", "2|a\nb\nc|d\n5|e|f\n"},
    {"text,label,note\na,b,\nc,d,\"\"\n", "x.csv", "2|a|b\n3|c|d\n"},
    {"\"text\",\"label\"\n\"a\",\"b\"\n", "x.csv", "2|a|b\n"},
    {"text,label\n a , b \n", "x.csv", "2| a | b \n"},
    /* A quote inside an unquoted field is a character, as in other CSV readers. */
    {"text,label\na 5\" pipe,plumbing\nb,c\n", "x.csv", "2|a 5\" pipe|plumbing\n3|b|c\n"},
    {"text,label\na 5\" or 6\" pipe,plumbing\nb,c\n", "x.csv", "2|a 5\" or 6\" pipe|plumbing\n3|b|c\n"},
};

START_TEST(good_data_is_read) {
    const good_case *c = &good_cases[_i];
    if (strcmp(c->expected, "!") == 0) {
        /* A name that ends in .tsv overrides a comma in the header, so this header has no column for the output. */
        job_reader *reader = NULL;
        const job_reader_options options = {.path = c->path};
        int fd = job_test_fd(c->text, strlen(c->text));
        ck_assert_int_eq(job_reader_open(fd, &options, &reader, &err), KOLM_E_INVALID_ARGUMENT);
        assert_says("found 'text', 'label, or so'");
        close(fd);
        return;
    }
    assert_rows(c->text, strlen(c->text), c->path, c->expected);
}
END_TEST

START_TEST(columns_can_be_named) {
    job_reader_options options = {.path = "x.csv", .input_col = "Body", .output_col = "queue"};
    static const char table[] = "text,label,body,queue\nno,no,a,b\n";
    assert_rows_as(table, sizeof table - 1, &options, "2|a|b\n");
    static const char rows[] = "{\"Body\":\"a\",\"queue\":\"b\",\"input\":\"no\",\"messages\":0}\n";
    assert_rows_as(rows, sizeof rows - 1, &options, "1|a|b\n");
    /* Only one is given: the other is found as usual. */
    options.output_col = NULL;
    static const char half[] = "body,label\na,b\n";
    assert_rows_as(half, sizeof half - 1, &options, "2|a|b\n");
}
END_TEST

START_TEST(a_guessed_output_is_never_the_input) {
    const job_reader_options options = {.path = "x.csv", .input_col = "answer"};
    static const char table[] = "answer,category\na,b\n";
    assert_rows_as(table, sizeof table - 1, &options, "2|a|b\n");
    static const char alone[] = "answer,id\na,b\n";
    job_reader *reader = NULL;
    int fd = job_test_fd(alone, sizeof alone - 1);
    ck_assert_int_eq(job_reader_open(fd, &options, &reader, &err), KOLM_E_INVALID_ARGUMENT);
    assert_says("'output'");
    assert_advises("--output-col");
    close(fd);
}
END_TEST

START_TEST(one_name_for_input_and_output_is_refused) {
    static const struct {
        const char *text;
        job_reader_options options;
    } cases[] = {
        {"a,b\n1,2\n", {.path = "x.csv", .input_col = "a", .output_col = "A"}},
        {"{\"a\":\"1\",\"b\":\"2\"}\n", {.path = "x.jsonl", .input_col = "a", .output_col = "a"}},
        {"{\"input\":\"1\",\"output\":\"2\"}\n", {.path = "x.jsonl", .input_col = "output"}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        job_reader *reader = NULL;
        int fd = job_test_fd(cases[i].text, strlen(cases[i].text));
        ck_assert_int_eq(job_reader_open(fd, &cases[i].options, &reader, &err), KOLM_E_INVALID_ARGUMENT);
        ck_assert_ptr_null(reader);
        assert_says("the input and the output are both");
        assert_advises("--output-col");
        close(fd);
    }
}
END_TEST

START_TEST(inputs_alone_are_enough_where_no_output_is_needed) {
    const job_reader_options options = {.path = "x", .inputs_only = true};
    assert_rows_as(BYTES("{\"input\":\"a\"}\n{\"input\":\"b\",\"output\":\"c\"}\n"), &options, "1|a|\n2|b|\n");
    /* With inputs_only the outputs are not parsed. */
    assert_rows_as(BYTES("{\"input\":\"a\",\"output\":{\"deep\":[1e400]}}\n{\"text\":\"b\",\"label\":\"\\ud800\"}\n"),
                   &options, "1|a|\n2|b|\n");
    assert_rows_as(BYTES("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n"), &options, "1|a|\n");
    assert_rows_as(BYTES("text\na\n\"b, c\"\n"), &options, "2|a|\n3|b, c|\n");
}
END_TEST

/* ---- Files that are not data */

typedef struct no_data_case {
    const char *text;
    size_t length;
    const char *what, *advice;
} no_data_case;

static const no_data_case no_data_cases[] = {
    {BYTES(""), "tickets is empty", "\"input\""},
    {BYTES("\n \n\t\r\n"), "tickets is empty", "\"input\""},
    {BYTES("\xEF\xBB\xBF"), "tickets is empty", "\"input\""},
    {BYTES("\xFF\xFE{\0\"\0"), "tickets is UTF-16 text", "iconv"},
    {BYTES("\xFE\xFF\0{\0\""), "tickets is UTF-16 text", "iconv"},
    {BYTES("\x7F"
           "ELF\2\1\1\0\0\0"),
     "tickets is not UTF-8 text", "UTF-8"},
    {BYTES("\x1F\x8B\x08\0rest"), "tickets: the gzip data are truncated", "again"},
    {BYTES("te\xE4xt,label\na,b\n"), "tickets is not UTF-8 text", "UTF-8"},
    {BYTES("[{\"input\":\"a\",\"output\":\"b\"}]\n"),
     "tickets, line 1, column 1: expected one JSON object a line, found an array", "jq"},
    {BYTES("{\n  \"input\": \"a\",\n  \"output\": \"b\"\n}\n"),
     "tickets, line 1, column 1: expected one JSON object a line, found one that continues in the next line",
     "jq -c ."},
    {BYTES("{\"input\":\"a [\\\"{\",  \n \"output\":\"b\"}\n"), "found one that continues in the next line", "jq -c ."},
    {BYTES("text,label\ra,b\rc,d\r"),
     "tickets, line 1, column 11: expected lines that end in LF or CR LF, found CR alone", "tr '\\r'"},
    {BYTES("\n\n  [\n"), "tickets, line 3, column 3: expected one JSON object a line", "jq"},
    {BYTES("a,b\nc,d\n"), "tickets, line 1, column 1: expected a header with 'input' and 'output', found 'a', 'b'",
     "--input-col"},
    {BYTES("\n\na,b\nc,d\n"), "tickets, line 3, column 1: expected a header", "--input-col"},
    {BYTES("text,b\nc,d\n"), "expected a header with 'output', found 'text', 'b'", "--output-col"},
    {BYTES("text\nc\n"), "expected a header with 'output'", "--output-col"},
    {BYTES("just some words\nand more\n"), "expected a header", "JSON lines"},
    {BYTES("1,2,3,4,5,6,7,8,9,10\n"), "'7', '8'", "--input-col"},
    {BYTES("a\x1B[31m,b\n"), "'a\\x1B[31m'", "--input-col"},
    {BYTES("\"text,label\na,b\n"), "tickets, line 1, column 1: expected a closing quote, found the end of the file",
     "close the quote"},
    {BYTES("\"text\"x,label\na,b\n"), "tickets, line 1, column 7: expected a separator after a closing quote",
     "double a quote"},
};

START_TEST(what_is_no_data_is_refused) {
    const no_data_case *c = &no_data_cases[_i];
    const job_reader_options options = {.path = "tickets"};
    job_reader *reader = NULL;
    int fd = job_test_fd(c->text, c->length);
    kit_status status = job_reader_open(fd, &options, &reader, &err);
    ck_assert_msg(status == KOLM_E_INVALID_ARGUMENT || status == KOLM_E_DATA_LOSS, "%s", kit_status_name(status));
    ck_assert_ptr_null(reader);
    assert_says(c->what);
    assert_advises(c->advice);
    close(fd);
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_named) {
    const job_reader_options options = {.path = "tickets"};
    job_reader *reader = NULL;
    int fd = job_test_fd("", 0);
    close(fd);
    ck_assert_int_ne(job_reader_open(fd, &options, &reader, &err), KOLM_OK);
    ck_assert_ptr_null(reader);
    assert_says("tickets");
    assert_says(strerror(EBADF));
}
END_TEST

/* ---- Bad rows */

typedef struct bad_case {
    const char *text; /* a bad row */
    size_t length;
    const char *what, *advice;
} bad_case;

#define CHAT(messages) BYTES("{\"messages\":" messages "}")
#define USER "{\"role\":\"user\",\"content\":\"a\"}"
#define SAID "{\"role\":\"assistant\",\"content\":\"b\"}"

static const bad_case bad_json[] = {
    {BYTES("{\"input\":\"a\"}"), "line 2, column 1: expected the key \"output\", found \"input\"", "each row needs"},
    {BYTES("{\"output\":\"a\",\"x\":1}"), "expected the key \"input\", found \"output\", \"x\"", "each row needs"},
    {BYTES("{}"), "expected the key \"input\", found no keys", "each row needs"},
    {BYTES("{\"prompt\":\"a\"}"), "expected the key \"completion\", found \"prompt\"", "each row needs"},
    {BYTES("{\"Inputs\":\"a\",\"output\":\"b\"}"), "expected the key \"input\", found \"Inputs\"", "each row needs"},
    {BYTES("{\"\\u001b[2J\":1}"), "found \"\\x1B[2J\"", "each row needs"},
    {BYTES("{\"input\":1,\"output\":\"b\"}"), "expected text in \"input\", found a number", "--skip-bad"},
    {BYTES("{\"input\":null,\"output\":\"b\"}"), "expected the key \"input\", found \"input\" (null), \"output\"",
     "each row"},
    {BYTES("{\"input\":[\"a\"],\"output\":\"b\"}"), "expected text in \"input\", found an array", "--skip-bad"},
    {BYTES("{\"input\":\"a\",\"output\":null}"), "expected the key \"output\", found \"input\", \"output\" (null)",
     "each row"},
    {BYTES("{\"input\":\"a\",\"output\":1.5}"), "in \"output\", found a number", "--skip-bad"},
    {BYTES("{\"input\":\"a\",\"output\":{\"b\":1}}"), "in \"output\", found an object", "--skip-bad"},
    {BYTES("{\"input\":\"\",\"output\":\"b\"}"), "line 2, column 1: expected an input with text, found a blank one",
     "--skip-bad"},
    {BYTES("{\"input\":\" \\n\\t\",\"output\":\"b\"}"), "expected an input with text", "--skip-bad"},
    {BYTES("{\"input\":\"a\",\"output\":\" \"}"), "expected an output with text, found a blank one", "--skip-bad"},
    {BYTES("[\"a\",\"b\"]"), "line 2, column 1: expected an object in braces", "one JSON object"},
    {BYTES("\"a\""), "line 2, column 1: expected an object in braces", "one JSON object"},
    {BYTES("a,b"), "line 2, column 1", "one JSON object"},
    {BYTES("{\"input\":\"a\",\"output\":\"b\""), "line 2, column 26", "one JSON object"},
    {BYTES("{\"input\":\"a\",\"output\":\"b\"} {\"input\":\"c\",\"output\":\"d\"}"), "line 2, column 28",
     "one JSON object"},
    {BYTES("{\"input\":\"a\",\"input\":\"b\",\"output\":\"c\"}"), "line 2, column 14", "one JSON object"},
    {BYTES("{'input':'a'}"), "line 2, column 2", "one JSON object"},
    {BYTES("{\"input\":\"a\\ud800\",\"output\":\"b\"}"), "line 2, column", "one JSON object"},
    {BYTES("{\"input\":\"a\\u0000\",\"output\":\"b\"}"), "line 2, column", "one JSON object"},
    {BYTES("{\"input\":\"a\tb\",\"output\":\"b\"}"), "line 2, column 12", "one JSON object"},
    {BYTES("{\"input\":\"a\0\",\"output\":\"b\"}"), "line 2, column 12: expected text, found a NUL byte", "--skip-bad"},
    {BYTES("{\"input\":\"a\xE9\",\"output\":\"b\"}"), "line 2, column 12: expected UTF-8, found the byte \\xE9",
     "--skip-bad"},
    {BYTES("{\"input\":\"\xC0\x80\",\"output\":\"b\"}"), "line 2, column 11: expected UTF-8, found the byte \\xC0",
     "--skip-bad"},
    {BYTES("{\"input\":\"\xED\xA0\x80\",\"output\":\"b\"}"), "expected UTF-8", "--skip-bad"},
    {CHAT("3"), "expected an array in \"messages\", found a number", "--skip-bad"},
    {CHAT("[]"), "expected a last message of the role \"assistant\"", "assistant"},
    {CHAT("[" USER "]"), "expected a last message of the role \"assistant\"", "assistant"},
    {CHAT("[" SAID "]"), "expected a message of the role \"user\"", "user"},
    {CHAT("[" SAID "," USER "]"), "expected a last message of the role \"assistant\"", "assistant"},
    {CHAT("[3," SAID "]"), "expected objects in \"messages\", found a number", "--skip-bad"},
    {CHAT("[{\"role\":\"user\"}," SAID "]"), "\"content\" with text in each message, found \"role\"", ""},
    {CHAT("[{\"content\":\"a\"}," SAID "]"), "\"role\" with text in each message, found \"content\"", ""},
    {CHAT("[{\"role\":\"user\",\"content\":[]}," SAID "]"), "expected an input with text", ""},
    {CHAT("[{\"role\":\"user\",\"content\":\"\"}," SAID "]"), "expected an input with text", ""},
    {CHAT("[" USER ",{\"role\":\"assistant\",\"content\":\"\"}]"), "expected an output with text", ""},
};

static const bad_case bad_table[] = {
    {BYTES("a"), "line 2, column 1: expected 2 fields as in the header, found 1", "--skip-bad"},
    {BYTES("a,b,c"), "expected 2 fields as in the header, found 3", "--skip-bad"},
    {BYTES("   "), "expected 2 fields as in the header, found 1", "--skip-bad"},
    {BYTES(",b"), "line 2, column 1: expected an input with text, found a blank one", "--skip-bad"},
    {BYTES("a,"), "expected an output with text, found a blank one", "--skip-bad"},
    {BYTES("\"\",b"), "expected an input with text", "--skip-bad"},
    {BYTES("\"a \\\"b\\\"\",c"), "line 2, column 6: expected a separator after a closing quote",
     "sed 's/\\\\\"/\"\"/g'"},
    {BYTES("\"a\"b,c"), "line 2, column 4: expected a separator after a closing quote", "--skip-bad"},
    {BYTES("\"a\nb\nc\"d,c"), "line 2, column 1: expected a separator after the quote that closes this field in line 4",
     "--skip-bad"},
    {BYTES("a\xE9,b"), "line 2, column 2: expected UTF-8, found the byte \\xE9", "--skip-bad"},
    {BYTES("a\0,b"), "line 2, column 2: expected text, found a NUL byte", "--skip-bad"},
    /* After bad bytes the rest of the record is not a row. */
    {BYTES("\"a\n\xE9\nb\",c"), "line 3, column 1: expected UTF-8, found the byte \\xE9", "--skip-bad"},
    {BYTES("\"a\n\0\nb\",c"), "line 3, column 1: expected text, found a NUL byte", "--skip-bad"},
};

/* A good row, the bad one, a good one: the bad one is reported, and reading continues after it. */
static void assert_bad_row(const bad_case *c, const char *before, const char *after, const char *path) {
    kit_buf text = {0};
    kit_buf_fmt(&text, "%s\n", before);
    kit_buf_add(&text, c->text, c->length);
    kit_buf_fmt(&text, "\n%s\n", after);
    const job_reader_options options = {.path = path};
    job_reader *reader = NULL;
    bool found = false, table = strchr(path, 'c') != NULL;
    job_row row;
    int fd = job_test_fd(text.data, text.length);
    ck_assert_int_eq(job_reader_open(fd, &options, &reader, &err), KOLM_OK);
    if (!table) {
        ck_assert_int_eq(job_reader_next(reader, &row, &found, &err), KOLM_OK);
        ck_assert(found);
    }
    ck_assert_int_eq(job_reader_next(reader, &row, &found, &err), KOLM_E_INVALID_ARGUMENT);
    char begin[64];
    kit_format(begin, sizeof begin, "%s, line ", path);
    ck_assert_msg(strncmp(err.text, begin, strlen(begin)) == 0, "%s", err.text);
    assert_says(c->what);
    assert_advises(c->advice);
    ck_assert_uint_eq(kit_utf8_valid(err.text, strlen(err.text)), strlen(err.text));
    ck_assert_msg(job_reader_next(reader, &row, &found, &err) == KOLM_OK, "%s", err.text);
    ck_assert(found);
    ck_assert_str_eq(row.input, "next");
    ck_assert_int_eq(job_reader_next(reader, &row, &found, &err), KOLM_OK);
    ck_assert(!found);
    job_reader_close(reader);
    close(fd);
    kit_buf_free(&text);
}

START_TEST(a_bad_json_row_is_named_and_skippable) {
    assert_bad_row(&bad_json[_i], "{\"input\":\"first\",\"output\":\"b\"}", "{\"input\":\"next\",\"output\":\"b\"}",
                   "data/rows");
}
END_TEST

START_TEST(a_bad_table_row_is_named_and_skippable) {
    assert_bad_row(&bad_table[_i], "text,label", "next,b", "rows.csv");
}
END_TEST

/* ---- Long rows */

/* Repeats text up to this size; in blocks, because one call per repetition would take longer than the test itself. */
static void add_repeated(kit_buf *out, const char *text, size_t bytes) {
    const size_t length = strlen(text);
    kit_buf block = {0};
    while (block.length < 65536)
        kit_buf_str(&block, text);
    for (size_t left = (bytes + length - 1) / length * length; left > 0;) {
        const size_t piece = left < block.length ? left : block.length;
        kit_buf_add(out, block.data, piece);
        left -= piece;
    }
    kit_buf_free(&block);
}

START_TEST(a_row_may_be_16_mebibytes_and_no_more) {
    if (test_spared()) return;
    static const char head[] = "{\"input\":\"", tail[] = "\",\"output\":\"b\"}";
    for (size_t extra = 0; extra < 2; extra++) {
        kit_buf text = {0};
        kit_buf_str(&text, "{\"input\":\"first\",\"output\":\"b\"}\n");
        size_t before = text.length;
        kit_buf_str(&text, head);
        add_repeated(&text, "a", JOB_ROW_MAX - strlen(head) - strlen(tail) + extra);
        kit_buf_str(&text, tail);
        ck_assert_uint_eq(text.length - before, JOB_ROW_MAX + extra);
        kit_buf_str(&text, "\n{\"input\":\"next\",\"output\":\"b\"}\n");
        ck_assert_int_eq(kit_buf_ok(&text, &err), KOLM_OK);
        const job_reader_options options = {.path = "rows"};
        job_reader *reader = NULL;
        job_row row;
        bool found = false;
        int fd = job_test_fd(text.data, text.length);
        ck_assert_int_eq(job_reader_open(fd, &options, &reader, &err), KOLM_OK);
        ck_assert_int_eq(job_reader_next(reader, &row, &found, &err), KOLM_OK);
        kit_status status = job_reader_next(reader, &row, &found, &err);
        ck_assert_int_eq(status, extra == 0 ? KOLM_OK : KOLM_E_OUT_OF_RANGE);
        if (extra > 0) {
            ck_assert_str_eq(err.text, "rows, line 2: the row is longer than 16777216 bytes");
            assert_advises("--skip-bad");
        }
        ck_assert_int_eq(job_reader_next(reader, &row, &found, &err), KOLM_OK);
        ck_assert_str_eq(row.input, "next");
        job_reader_close(reader);
        close(fd);
        kit_buf_free(&text);
    }
}
END_TEST

START_TEST(a_table_row_that_is_too_long_is_named) {
    if (test_spared()) return;
    kit_buf text = {0};
    kit_buf_str(&text, "text,label\n");
    add_repeated(&text, "aaaaaaaa", JOB_ROW_MAX);
    kit_buf_str(&text, ",b\nnext,b\n\"");
    /* And a record that is too long because it has many lines. */
    add_repeated(&text, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
                 JOB_ROW_MAX);
    kit_buf_str(&text, "\",b\nlast,b\n");
    const job_reader_options options = {.path = "rows.csv"};
    job_reader *reader = NULL;
    job_row row;
    bool found = false;
    int fd = job_test_fd(text.data, text.length);
    ck_assert_int_eq(job_reader_open(fd, &options, &reader, &err), KOLM_OK);
    ck_assert_int_eq(job_reader_next(reader, &row, &found, &err), KOLM_E_OUT_OF_RANGE);
    ck_assert_str_eq(err.text, "rows.csv, line 2: the row is longer than 16777216 bytes");
    assert_advises("--skip-bad");
    ck_assert_int_eq(job_reader_next(reader, &row, &found, &err), KOLM_OK);
    ck_assert_str_eq(row.input, "next");
    ck_assert_int_eq(job_reader_next(reader, &row, &found, &err), KOLM_E_INVALID_ARGUMENT);
    assert_says("rows.csv, line 4, column 1: expected a closing quote, found none in 16 MiB");
    job_reader_close(reader);
    close(fd);
    kit_buf_free(&text);
}
END_TEST

START_TEST(a_first_line_that_is_too_long_may_be_an_array) {
    if (test_spared()) return;
    kit_buf text = {0};
    kit_buf_str(&text, "\n[");
    add_repeated(&text, "{\"input\":\"a\",\"output\":\"b\"},", JOB_ROW_MAX);
    const job_reader_options options = {.path = "rows"};
    job_reader *reader = NULL;
    int fd = job_test_fd(text.data, text.length);
    ck_assert_int_eq(job_reader_open(fd, &options, &reader, &err), KOLM_E_OUT_OF_RANGE);
    assert_says("rows, line 2: the row is longer than 16777216 bytes");
    assert_advises("one object a line");
    close(fd);
    kit_buf_free(&text);
}
END_TEST

/* Searching each column from the first one would take hours here. */
START_TEST(a_header_of_very_many_columns_ends_soon) {
    kit_buf text = {0};
    add_repeated(&text, ",", test_draws(4u << 20, 1u << 17));
    const job_reader_options options = {.path = "rows.csv"};
    job_reader *reader = NULL;
    int fd = job_test_fd(text.data, text.length);
    ck_assert_int_eq(job_reader_open(fd, &options, &reader, &err), KOLM_E_INVALID_ARGUMENT);
    assert_says("expected a header");
    close(fd);
    kit_buf_free(&text);
}
END_TEST

/* ---- Interruption */

static volatile sig_atomic_t stop;

static void on_signal(int number) {
    (void)number;
    stop = 1;
}

typedef struct interruption {
    pthread_t reader;
    volatile sig_atomic_t done;
} interruption;

/* Sends signals until the reader has seen one, because it may not be waiting yet when the first arrives. */
static void *interrupt(void *user) {
    interruption *i = user;
    while (!i->done) {
        pthread_kill(i->reader, SIGUSR1);
        sched_yield();
    }
    return NULL;
}

START_TEST(a_wait_for_rows_can_be_interrupted) {
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    static const char row_text[] = "{\"input\":\"a\",\"output\":\"b\"}\n";
    ck_assert_int_eq(kit_write_all(ends[1], row_text, sizeof row_text - 1, &err), KOLM_OK);
    const job_reader_options options = {.path = "pipe", .cancel = &stop};
    job_reader *reader = NULL;
    job_row row;
    bool found = false;
    stop = 0;
    ck_assert_int_eq(job_reader_open(ends[0], &options, &reader, &err), KOLM_OK);
    ck_assert_int_eq(job_reader_next(reader, &row, &found, &err), KOLM_OK);
    struct sigaction action = {.sa_handler = on_signal}, before;
    ck_assert_int_eq(sigaction(SIGUSR1, &action, &before), 0);
    interruption i = {.reader = pthread_self()};
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, interrupt, &i), 0);
    kit_status status = job_reader_next(reader, &row, &found, &err);
    i.done = 1;
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(sigaction(SIGUSR1, &before, NULL), 0);
    ck_assert_int_eq(status, KOLM_E_CANCELLED);
    job_reader_close(reader);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("job-rows");
    TCase *tests = tcase_create("rows");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, good_data_is_read, 0, COUNT(good_cases));
    tcase_add_test(tests, columns_can_be_named);
    tcase_add_test(tests, a_guessed_output_is_never_the_input);
    tcase_add_test(tests, one_name_for_input_and_output_is_refused);
    tcase_add_test(tests, inputs_alone_are_enough_where_no_output_is_needed);
    tcase_add_loop_test(tests, what_is_no_data_is_refused, 0, COUNT(no_data_cases));
    tcase_add_test(tests, a_file_that_cannot_be_read_is_named);
    tcase_add_loop_test(tests, a_bad_json_row_is_named_and_skippable, 0, COUNT(bad_json));
    tcase_add_loop_test(tests, a_bad_table_row_is_named_and_skippable, 0, COUNT(bad_table));
    tcase_add_test(tests, a_row_may_be_16_mebibytes_and_no_more);
    tcase_add_test(tests, a_table_row_that_is_too_long_is_named);
    tcase_add_test(tests, a_first_line_that_is_too_long_may_be_an_array);
    tcase_add_test(tests, a_header_of_very_many_columns_ends_soon);
    tcase_add_test(tests, a_wait_for_rows_can_be_interrupted);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
