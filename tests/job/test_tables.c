/* SPDX-License-Identifier: Apache-2.0 */
/* Tables as they occur in practice: stray quotes, TSV with and without quotes, separators, headers of all kinds. */
#include "../suite.h"
#include "fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static kolm_error_t err;

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
}

/* "LINE|INPUT|OUTPUT" per row, "! TEXT" (without the file's name) for a bad one, "# TEXT" if it cannot be opened. */
static job_table_notes read_text(const char *text, const job_reader_options *options, kit_buf *out) {
    job_table_notes notes = {0};
    job_reader *reader = NULL;
    int fd = job_test_fd(text, strlen(text));
    size_t name = strlen(options->path) + 2;
    if (job_reader_open(fd, options, &reader, &err) != KOLM_OK) kit_buf_fmt(out, "# %s\n", err.text + name);
    for (bool found = reader != NULL; found;) {
        job_row row;
        kit_status status = job_reader_next(reader, &row, &found, &err);
        bool bad = status == KOLM_E_INVALID_ARGUMENT || status == KOLM_E_OUT_OF_RANGE;
        ck_assert_msg(bad || status == KOLM_OK, "%s", err.text);
        if (bad) {
            kit_buf_fmt(out, "! %s\n", err.text + name);
            ck_assert(err.remedy[0] != '\0');
            found = true;
        } else if (found) {
            kit_buf_fmt(out, "%llu|%s|%s\n", (unsigned long long)row.line, row.input, row.output);
        }
    }
    if (reader != NULL) notes = job_reader_notes(reader);
    job_reader_close(reader);
    close(fd);
    return notes;
}

static job_table_notes assert_table_as(const char *text, const job_reader_options *options, const char *expected) {
    kit_buf out = {0};
    job_table_notes notes = read_text(text, options, &out);
    ck_assert_str_eq(kit_buf_text(&out), expected);
    kit_buf_free(&out);
    return notes;
}

static job_table_notes assert_table(const char *path, const char *text, const char *expected) {
    const job_reader_options options = {.path = path};
    return assert_table_as(text, &options, expected);
}

/* ---- Stray quotes */

#define HEADER "text,label\n"
#define FIRST "one,a\ntwo,b\nthree,c\n"
#define LATER "four,a\nfive,b\nsix,c\n"
#define FIRST_ROWS "2|one|a\n3|two|b\n4|three|c\n"

typedef struct table_case {
    const char *path, *text, *expected;
} table_case;

static const table_case astray[] = {
    /* Closed by the quote of a later field: only the row where it opened is lost. */
    {"x.csv", HEADER FIRST "\"unclosed,a\n" LATER "\"quoted, text\",b\nlast,c\n",
     FIRST_ROWS "! line 5, column 1: expected a separator after the quote that closes this field in line 9\n"
                "6|four|a\n7|five|b\n8|six|c\n9|quoted, text|b\n10|last|c\n"},
    /* Closed by a quote before a separator: the lines inside are recognized as rows. */
    {"x.csv", HEADER FIRST "\"unclosed,a\n" LATER "a monitor of 15\",b\nlast,c\n",
     FIRST_ROWS "! line 5, column 1: expected one field in quotes, found whole rows up to the next quote in line 9\n"
                "6|four|a\n7|five|b\n8|six|c\n9|a monitor of 15\"|b\n10|last|c\n"},
    /* Closed by the next row. */
    {"x.csv", HEADER FIRST "\"unclosed,a\na monitor of 15\",b\nlast,c\n",
     FIRST_ROWS "! line 5, column 1: expected one field in quotes, found whole rows up to the next quote in line 6\n"
                "6|a monitor of 15\"|b\n7|last|c\n"},
    /* In the last column. */
    {"x.csv", HEADER FIRST "x,\"a\n" LATER "y,b\"\nlast,c\n",
     FIRST_ROWS "! line 5, column 3: expected one field in quotes, found whole rows up to the next quote in line 9\n"
                "6|four|a\n7|five|b\n8|six|c\n9|y|b\"\n10|last|c\n"},
    /* Never closed. */
    {"x.csv", HEADER FIRST "\"unclosed,a\n" LATER,
     FIRST_ROWS "! line 5, column 1: expected a closing quote, found the end of the file\n"
                "6|four|a\n7|five|b\n8|six|c\n"},
    {"x.csv", HEADER FIRST "\"unclosed,a",
     FIRST_ROWS "! line 5, column 1: expected a closing quote, found the end of the file\n"},
    /* A quote in the middle of a field of several lines: they are lost with it. */
    {"x.csv", HEADER FIRST "\"a\nb\nc\"d,a\nlast,c\n",
     FIRST_ROWS
     "! line 5, column 1: expected a separator after the quote that closes this field in line 7\n8|last|c\n"},
    /* Closed by the next row's quote. */
    {"x.csv", HEADER FIRST "\"unclosed,a\n\"quoted, text\",b\nx,\"a\ny,\"b\"\nlast,c\n",
     FIRST_ROWS
     "! line 5, column 1: expected a separator after the quote that closes this field in line 6\n6|quoted, text|b\n"
     "! line 7, column 3: expected a separator after the quote that closes this field in line 8\n8|y|b\n9|last|c\n"},
    /* Closed in its own line. */
    {"x.csv", HEADER FIRST "\"quoted\" word,a\n" LATER,
     FIRST_ROWS "! line 5, column 9: expected a separator after a closing quote\n6|four|a\n7|five|b\n8|six|c\n"},
    /* After an error the rest of the line is ignored, whatever quotes it has. */
    {"x.csv", HEADER FIRST "\"quoted\" word,\"a\n" LATER,
     FIRST_ROWS "! line 5, column 9: expected a separator after a closing quote\n6|four|a\n7|five|b\n8|six|c\n"},
    /* Several stray quotes. */
    {"x.csv", HEADER FIRST "\"un,a\nfour,b\n\"deux,c\nfive,a\n\"drei,b\nsix,c\n\"quoted, text\",a\n",
     FIRST_ROWS "! line 5, column 1: expected a separator after the quote that closes this field in line 7\n6|four|b\n"
                "! line 7, column 1: expected a separator after the quote that closes this field in line 9\n8|five|a\n"
                "! line 9, column 1: expected a separator after the quote that closes this field in line 11\n10|six|c\n"
                "11|quoted, text|a\n"},
    /* The number of fields does not match, but the lines are rows. */
    {"x.csv", HEADER FIRST "\"unclosed,a\n" LATER "15\",b,c\nlast,c\n",
     FIRST_ROWS
     "! line 5, column 1: expected one field in quotes, found whole rows up to the next quote in line 9\n"
     "6|four|a\n7|five|b\n8|six|c\n! line 9, column 1: expected 2 fields as in the header, found 3\n10|last|c\n"},
    /* It does not match, and the lines are not rows: one bad row. */
    {"x.csv", HEADER FIRST "\"a letter\nof two lines\",b,c\nlast,c\n",
     FIRST_ROWS "! line 5, column 1: expected 2 fields as in the header, found 3\n7|last|c\n"},
    /* Labels that occur in no other row, but many rows. */
    {"x.csv", HEADER "\"unclosed,l1\nt2,l2\nt3,l3\nt4,l4\nt5,l5\n15\",l6\nt7,l7\n",
     "! line 2, column 1: expected one field in quotes, found whole rows up to the next quote in line 7\n"
     "3|t2|l2\n4|t3|l3\n5|t4|l4\n6|t5|l5\n7|15\"|l6\n8|t7|l7\n"},
    /* One of the swallowed rows is bad itself. */
    {"x.csv", HEADER FIRST "\"unclosed,a\n" LATER LATER LATER "bad\n" LATER "15\",b\n",
     FIRST_ROWS
     "! line 5, column 1: expected one field in quotes, found whole rows up to the next quote in line 19\n"
     "6|four|a\n7|five|b\n8|six|c\n9|four|a\n10|five|b\n11|six|c\n12|four|a\n13|five|b\n14|six|c\n"
     "! line 15, column 1: expected 2 fields as in the header, found 1\n16|four|a\n17|five|b\n18|six|c\n19|15\"|b\n"},
    /* A field of several lines stays whole, with commas and quotes of all kinds in it. */
    {"x.csv", HEADER FIRST "\"Dear team,\n\nI said \"\"no, thanks\"\", twice,\nand got it\",a\nlast,c\n",
     FIRST_ROWS "5|Dear team,\n\nI said \"no, thanks\", twice,\nand got it|a\n9|last|c\n"},
    {"x.csv", HEADER FIRST "\"Hello, help please\nmy order is late\",a\nlast,c\n",
     FIRST_ROWS "5|Hello, help please\nmy order is late|a\n7|last|c\n"},
    {"x.csv", HEADER FIRST "\"one line\nand another\",a\nlast,c\n", FIRST_ROWS "5|one line\nand another|a\n7|last|c\n"},
    /* A second such field in the same record. */
    {"x.csv", "text,note,label\n\"two\nlines\",\"and\nthree,\nmore\",a\nb,c,d\n", "2|two\nlines|a\n6|b|d\n"},
    /* Bad bytes in a record of several lines: the whole record is bad. */
    {"x.csv", HEADER FIRST "\"two\nl\xE9nes\nx,a\",b\nlast,c\n",
     FIRST_ROWS "! line 6, column 2: expected UTF-8, found the byte \\xE9\n8|last|c\n"},
};

START_TEST(a_stray_quote_loses_its_own_row_only) {
    const table_case *c = &astray[_i];
    job_table_notes notes = assert_table(c->path, c->text, c->expected);
    ck_assert_uint_eq(notes.suspects, 0);
}
END_TEST

/* An ambiguous case is read as the format requires, and reported. */
START_TEST(what_may_have_swallowed_rows_is_suspected) {
    job_table_notes notes =
        assert_table("x.csv", HEADER "\"I paid 1,000 euros\nand got nothing\",billing\nlast,login\n",
                     "2|I paid 1,000 euros\nand got nothing|billing\n4|last|login\n");
    ck_assert_uint_eq(notes.suspects, 1);
    ck_assert_uint_eq(notes.suspect_line, 2);
}
END_TEST

/* ---- The same with random rows and quotes */

static uint32_t draw_state;

static uint32_t draw(uint32_t below) {
    draw_state = draw_state * 1664525u + 1013904223u;
    return (draw_state >> 8) % below;
}

/* Makes row i: as text of the file, and as it should be read. */
static void make_row(size_t i, bool stray, kit_buf *text, kit_buf *expected, unsigned long long *line) {
    static const char *const labels[] = {"billing", "login", "shipping", "refund"};
    const char *label = labels[i < 8 ? i % 4 : draw(4)]; /* all labels occur before a quote is stray */
    kit_buf field = {0}, read = {0};
    size_t lines = 1;
    switch (stray ? 0 : draw(8)) {
    case 0:
        kit_buf_fmt(&field, "%sticket %zu about it", stray ? "\"" : "", i);
        kit_buf_fmt(&read, "%s", kit_buf_text(&field));
        break;
    case 1:
        kit_buf_fmt(&field, "\"ticket %zu, and more\"", i);
        kit_buf_fmt(&read, "ticket %zu, and more", i);
        break;
    case 2:
        kit_buf_fmt(&field, "\"\"\"ticket\"\" %zu, quoted\"", i);
        kit_buf_fmt(&read, "\"ticket\" %zu, quoted", i);
        break;
    case 3:
        kit_buf_fmt(&field, "\"Dear all,\nticket %zu, please,\n\nthanks\"", i);
        kit_buf_fmt(&read, "Dear all,\nticket %zu, please,\n\nthanks", i);
        lines = 4;
        break;
    case 4:
        kit_buf_fmt(&field, "ticket %zu about 15\"", i);
        kit_buf_fmt(&read, "ticket %zu about 15\"", i);
        break;
    default:
        kit_buf_fmt(&field, "ticket %zu", i);
        kit_buf_fmt(&read, "ticket %zu", i);
    }
    kit_buf_fmt(text, "%s,%s\n", kit_buf_text(&field), label);
    if (!stray) kit_buf_fmt(expected, "%llu|%s|%s\n", *line, kit_buf_text(&read), label);
    *line += lines;
    kit_buf_free(&field);
    kit_buf_free(&read);
}

START_TEST(a_stray_quote_anywhere_loses_its_own_row_only) {
    const job_reader_options options = {.path = "x.csv"};
    draw_state = (uint32_t)_i;
    for (size_t table = 0; table < test_draws(40, 2); table++) {
        kit_buf text = {0}, expected = {0}, out = {0}, good = {0};
        unsigned long long line = 2;
        size_t rows = 20 + draw(60), strays = 0;
        kit_buf_str(&text, HEADER);
        for (size_t i = 0; i < rows; i++) {
            bool stray = i > 10 && draw(12) == 0;
            strays += stray;
            make_row(i, stray, &text, &expected, &line);
        }
        read_text(kit_buf_text(&text), &options, &out);
        size_t bad = 0;
        for (const char *at = kit_buf_text(&out), *next; *at != '\0'; at = next) {
            next = strchr(at, '\n') + 1;
            bad += *at == '!';
            if (*at != '!') kit_buf_add(&good, at, (size_t)(next - at));
        }
        if (strcmp(kit_buf_text(&good), kit_buf_text(&expected)) != 0)
            fprintf(stderr, "%s----\n%s", kit_buf_text(&text), kit_buf_text(&out));
        ck_assert(strcmp(kit_buf_text(&good), kit_buf_text(&expected)) == 0);
        ck_assert_uint_eq(bad, strays);
        kit_buf_free(&text);
        kit_buf_free(&expected);
        kit_buf_free(&out);
        kit_buf_free(&good);
    }
}
END_TEST

/* Lines that are read again are not scanned again for each stray quote. */
START_TEST(very_many_stray_quotes_end_soon) {
    const size_t count = test_draws(50000, 1000);
    kit_buf text = {0}, out = {0};
    kit_buf_str(&text, HEADER);
    for (size_t i = 0; i < count; i++)
        kit_buf_str(&text, i % 2 == 0 ? "\"stray,a\n" : "\"\"\"also,b\n");
    const job_reader_options options = {.path = "x.csv"};
    read_text(kit_buf_text(&text), &options, &out);
    size_t lines = 0;
    for (size_t i = 0; i < out.length; i++)
        lines += out.data[i] == '\n';
    ck_assert_uint_eq(lines, count);
    kit_buf_free(&text);
    kit_buf_free(&out);
}
END_TEST

START_TEST(a_quote_that_nothing_closes_in_16_mebibytes) {
    if (test_spared()) return;
    kit_buf row = {0}, text = {0}, out = {0};
    for (size_t i = 0; i < 1000 / test_draws(1000, 1); i++)
        kit_buf_str(&row, "a row that is longer than the others so that there are fewer of them");
    kit_buf_str(&text, HEADER FIRST "\"open,a\n");
    while (text.length < (17u << 20))
        kit_buf_fmt(&text, "%s,b\n", kit_buf_text(&row));
    kit_buf_str(&text, "last,c\n");
    const job_reader_options options = {.path = "x.csv"};
    read_text(kit_buf_text(&text), &options, &out);
    const char *expected = FIRST_ROWS "! line 5, column 1: expected a closing quote, found none in 16 MiB\n6|a row";
    ck_assert_int_eq(strncmp(kit_buf_text(&out), expected, strlen(expected)), 0);
    ck_assert_str_eq(kit_buf_text(&out) + out.length - 7, "last|c\n");
    kit_buf_free(&row);
    kit_buf_free(&text);
    kit_buf_free(&out);
}
END_TEST

/* ---- TSV */

#define TSV "text\tlabel\n"

static const table_case tsv[] = {
    {"x.tsv", TSV "a\tb\n\"c\"\td\n\"e \"\"f\"\"\"\tg\n", "2|a|b\n3|c|d\n4|e \"f\"|g\n"},
    {"x.tsv", TSV "a\tb\n\"c\nd\te\"\tf\n", "2|a|b\n3|c\nd\te|f\n"},
    {"x.tsv", "\"text\"\t\"label\"\n\"a\"\t\"b\"\n", "2|a|b\n"},
    /* If anything contradicts the quoting, however late, the whole file is read without quotes. */
    {"x.tsv", TSV "\"c\"\td\n\"quoted\" word\tg\n", "2|\"c\"|d\n3|\"quoted\" word|g\n"},
    {"x.tsv", TSV "\"unclosed\tb\nc\td\n", "2|\"unclosed|b\n3|c|d\n"},
    {"x.tsv", TSV "\"unclosed\tb\nc\td\ne\tf\n15\"\tg\n", "2|\"unclosed|b\n3|c|d\n4|e|f\n5|15\"|g\n"},
    {"x.tsv", TSV "\"un\tb\nc\td\n\"deux\tb\n", "2|\"un|b\n3|c|d\n4|\"deux|b\n"},
    {"x.tsv", TSV "\"a\tb\"\tc\n\"d\te\"\tf\n", "2|a\tb|c\n3|d\te|f\n"},
    {"x.tsv", TSV "\"a\tb\"\tc\n\"d\" x\te\n",
     "! line 2, column 1: expected 2 fields as in the header, found 3\n3|\"d\" x|e\n"},
    /* Bad rows without quotes decide nothing. */
    {"x.tsv", TSV "\"a\"\tb\nbad\n\xE9\tc\n\"d\"\te\n",
     "2|a|b\n! line 3, column 1: expected 2 fields as in the header, found 1\n! line 4, column 1: expected UTF-8, "
     "found the byte \\xE9\n5|d|e\n"},
    {"x.tsv", TSV "a 5\" pipe\tb\n", "2|a 5\" pipe|b\n"},
    {"x.txt", TSV "\"c\" x\td\n\n\ne\tf\n", "2|\"c\" x|d\n5|e|f\n"},
    {"x.tsv", "\"text\tlabel\n1\tb\n",
     "# line 1, column 1: expected a header with 'input' and 'output', found '\"text', 'label'\n"},
};

START_TEST(tsv_is_quoted_throughout_or_not_at_all) {
    assert_table(tsv[_i].path, tsv[_i].text, tsv[_i].expected);
}
END_TEST

/* Through the spool: long lines, very many lines, and no file left afterwards. */
START_TEST(tsv_is_stored_in_the_given_directory) {
    const int rows = (int)test_draws(20000, 2000);
    job_test_place place;
    job_test_open(&place);
    kit_buf text = {0}, expected = {0};
    kit_buf_str(&text, TSV "\"first\"\ta\n");
    kit_buf_str(&expected, "2|\"first\"|a\n");
    for (int i = 3; i < rows; i++) {
        kit_buf_fmt(&text, "row %d\t%d\n", i, i % 7);
        kit_buf_fmt(&expected, "%d|row %d|%d\n", i, i, i % 7);
    }
    kit_buf_str(&text, "\"astray\" here\tb\n");
    kit_buf_fmt(&expected, "%d|\"astray\" here|b\n", rows);
    size_t head = text.length, longest = test_spared() ? 1000 : JOB_ROW_MAX + 10;
    while (text.length < head + longest)
        kit_buf_str(&text, "too long ");
    if (test_spared())
        kit_buf_fmt(&expected, "%d|%s|b\n", rows + 1, kit_buf_text(&text) + head);
    else
        kit_buf_fmt(&expected, "! line %d: the row is longer than 16777216 bytes\n", rows + 1);
    kit_buf_str(&text, "\tb\nlast\tc\n");
    kit_buf_fmt(&expected, "%d|last|c\n", rows + 2);
    const job_reader_options options = {.path = "x.tsv", .scratch = place.private_dir};
    assert_table_as(kit_buf_text(&text), &options, kit_buf_text(&expected));
    DIR *directory = opendir(place.private_dir);
    ck_assert_ptr_nonnull(directory);
    size_t entries = 0;
    while (readdir(directory) != NULL)
        entries++;
    closedir(directory);
    ck_assert_uint_eq(entries, 2); /* . and .. */
    kit_buf_free(&text);
    kit_buf_free(&expected);
    job_test_close(&place);
}
END_TEST

/* ---- Separators and headers */

static const table_case headers[] = {
    {"x.csv", "text;label\na, b;c\n", "2|a, b|c\n"},
    {"x.csv", "text|label\na; b, c|d\n", "2|a; b, c|d\n"},
    {"x.csv", "text\tlabel, or so;answer\nq\ta\n",
     "# line 1, column 1: expected a header with 'output', found 'text', 'label, or so;answer'\n"},
    {"x.csv", "id;text;label\n1;\"a;b\";c\n", "2|a;b|c\n"},
    /* The names decide, not the number of separators. */
    {"x.csv", "text (a, b, c);text;label\nno;a;b\n", "2|a|b\n"},
    {"x.csv", "sep=;\ntext;label\na, b;c\n", "3|a, b|c\n"},
    {"x.csv", "\xEF\xBB\xBFsep=;\r\ntext;label\r\na;b\r\n", "3|a|b\n"},
    {"x.csv", "\"sep=;\"\ntext;label\na;b\n", "3|a|b\n"},
    {"x.csv", "sep=,\ntext,label\na;b,c\n", "3|a;b|c\n"},
    {"x.csv", "SEP=\t\ntext\tlabel\na\tb\n", "3|a|b\n"},
    {"x.csv", "sep=^\ntext^label\na,b^c\n", "3|a,b|c\n"},
    {"x.csv", "sep=;\n",
     "# line 2, column 1: expected a header after the line with the separator, found the end of the file\n"},
    {"x.csv", "text, label\na, b\n\"c, d\", \"e\"\n", "2|a|b\n3|c, d|e\n"},
    {"x.csv", " text ,label \na,b\n", "2|a|b\n"},
    {"x.csv", "\xEF\xBB\xBF\"text\",\"label\"\n\"a\",b\n", "2|a|b\n"},
    /* Extra separators at the end of the header or of rows. */
    {"x.csv", "text,label,\na,b,\nc,d\ne,f,,\n", "2|a|b\n3|c|d\n4|e|f\n"},
    {"x.csv", "text,label,,,\na,b,,,\nc,d\n", "2|a|b\n3|c|d\n"},
    {"x.csv", "text,label\na,b,\nc,d,,\ne,f,g\n",
     "2|a|b\n3|c|d\n! line 4, column 1: expected 2 fields as in the header, found 3\n"},
    {"x.csv", "text,label,note\na,b\n", "! line 2, column 1: expected 3 fields as in the header, found 2\n"},
    {"x.csv", "text,label\na,b\n,\n , \nc,d\n", "2|a|b\n5|c|d\n"},
    /* fastText's format, long and short, also with separators in the text. */
    {"x.txt", "__label__a where is my parcel, please\n__label__b no\n",
     "# line 1, column 1: expected a first line with the names of the columns, "
     "found a row of fastText's: '__label__'\n"},
    {"x.txt", "__label__a hi\n",
     "# line 1, column 1: expected a first line with the names of the columns, "
     "found a row of fastText's: '__label__'\n"},
    /* A duplicate name. */
    {"x.csv", "text,text,label\na,b,c\n",
     "# line 1, column 1: expected one column with this name, found two: 'text'\n"},
    {"x.csv", "text,Label,label\na,b,c\n",
     "# line 1, column 1: expected one column with this name, found two: 'Label'\n"},
    {"x.csv", "id,id,text,label\n1,2,a,b\n", "2|a|b\n"},
    /* No header. */
    {"x.csv", "my parcel,shipping\n",
     "# line 1, column 1: expected a header with 'input' and 'output', found 'my parcel', 'shipping'\n"},
    {"x.csv", "where is my parcel today,shipping\n",
     "# line 1, column 1: expected a first line with the names of the columns, found what looks like a row: 'where is "
     "my parcel today', 'shipping'\n"},
    {"x.csv", "Where is it?,shipping\n",
     "# line 1, column 1: expected a first line with the names of the columns, found what looks like a row: 'Where is "
     "it?', 'shipping'\n"},
    {"x.csv", "1,2\n3,4\n",
     "# line 1, column 1: expected a first line with the names of the columns, found what looks like a row: '1', "
     "'2'\n"},
    {"x.csv", "user.text,user.label\na,b\n",
     "# line 1, column 1: expected a header with 'input' and 'output', found 'user.text', 'user.label'\n"},
};

START_TEST(headers_of_every_sort) {
    assert_table(headers[_i].path, headers[_i].text, headers[_i].expected);
}
END_TEST

static const struct {
    const char *text, *expected;
    uint64_t headers;
} again[] = {
    {HEADER "a,b\n" HEADER "c,d\n", "2|a|b\n4|c|d\n", 1},
    {HEADER "a,b\n\xEF\xBB\xBF" HEADER "c,d\n\xEF\xBB\xBF" HEADER "e,f\n", "2|a|b\n4|c|d\n6|e|f\n", 2},
    {HEADER "a,b\n\"text\",\"label\"\nc,d\n", "2|a|b\n4|c|d\n", 1},
    /* In another order, with other columns, with other recognized names. */
    {HEADER "a,b\nlabel,text\nd,c\n", "2|a|b\n4|c|d\n", 1},
    {HEADER "a,b\nid,Label,Text\n1,d,c\n", "2|a|b\n4|c|d\n", 1},
    {HEADER "a,b\nquestion,answer\nc,d\n", "2|a|b\n4|c|d\n", 1},
    {"id,text,label\n1,a,b\ntext,label\nc,d\n", "2|a|b\n4|c|d\n", 1},
    /* Rows that only look similar. */
    {HEADER "a,answer\nquestion,answer\nc,d\n", "2|a|answer\n3|question|answer\n4|c|d\n", 0},
    {HEADER "text,b\na,label\n", "2|text|b\n3|a|label\n", 0},
    /* With Excel's sep= line. */
    {"sep=;\ntext;label\na;b\nsep=;\ntext;label\nc;d\n", "3|a|b\n6|c|d\n", 1},
};

START_TEST(a_header_in_the_middle_is_left_out) {
    job_table_notes notes = assert_table("x.csv", again[_i].text, again[_i].expected);
    ck_assert_uint_eq(notes.headers, again[_i].headers);
}
END_TEST

START_TEST(columns_that_are_not_used_are_counted) {
    static const char text[] = "id,text,label,,note\n1,a,b,,\n2,c,d,,x\nid,Text,label,more\n3,e,f,y\n";
    const job_reader_options options = {.path = "x.csv"};
    job_reader *reader = NULL;
    job_row row;
    int fd = job_test_fd(text, sizeof text - 1);
    ck_assert_int_eq(job_reader_open(fd, &options, &reader, &err), KOLM_OK);
    for (bool found = true; found;)
        ck_assert_int_eq(job_reader_next(reader, &row, &found, &err), KOLM_OK);
    const job_unused *unused = job_reader_unused(reader);
    static const char *const names[] = {"id", "note", "more"};
    static const uint64_t rows[] = {3, 2, 1};
    ck_assert_uint_eq(unused->count, 3);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_str_eq(unused->keys[i].name, names[i]);
        ck_assert_uint_eq(unused->keys[i].rows, rows[i]);
    }
    ck_assert_str_eq(job_reader_guess(reader).input, "text");
    ck_assert_str_eq(job_reader_guess(reader).output, "label");
    job_reader_close(reader);
    close(fd);
}
END_TEST

/* ---- Columns by option */

static const struct {
    const char *text, *input_col, *output_col;
    bool no_header;
    const char *expected;
} chosen[] = {
    {"title,body,label\nt,b,l\n", "title,body", NULL, false, "2|t\nb|l\n"},
    {"title,body,label\nt,b,l\n", " BODY , Title", "label", false, "2|b\nt|l\n"},
    {"title,body,label\nt,,l\n,b,l\n , ,l\n", "title,body", NULL, false,
     "2|t|l\n3|b|l\n! line 4, column 1: expected an input with text, found a blank one\n"},
    {"\"title,body\",title,body,label\nx,t,b,l\n", "title,body", NULL, false, "2|x|l\n"},
    {"title;body;label\nt;b;l\n", "title,body", NULL, false, "2|t\nb|l\n"},
    {"title,body,label\nt,b,l\n", "title,nothing", NULL, false,
     "# line 1, column 1: expected a header with 'nothing', found 'title', 'body', 'label'\n"},
    {"title,body,label\nt,b,l\n", "title,title", NULL, false, "# the input has 'title' twice\n"},
    {"title,body,label\nt,b,l\n", "title,label", "label", false, "# the input and the output are both 'label'\n"},
    {"title,body,label\nt,b,l\n", "title,", NULL, false,
     "# line 1, column 1: expected a header with '', found 'title', 'body', 'label'\n"},
    {"a,b\nc,d\n", NULL, NULL, true, "1|a|b\n2|c|d\n"},
    {"\"a\nx\",b\nc,d\n", NULL, NULL, true, "1|a\nx|b\n3|c|d\n"},
    {"a\tb, c\n\"d\te\n", NULL, NULL, true, "1|a|b, c\n2|\"d|e\n"},
    {"a;b, c\n", NULL, NULL, true, "1|a|b, c\n"},
    {"1,a,x,b\n2,c,y,d\n", "2,3", "4", true, "1|a\nx|b\n2|c\ny|d\n"},
    {"1,a,x,b\n", NULL, NULL, true, "# line 1, column 1: expected two columns, found 4\n"},
    {"a,b\n", "3", "1", true, "# line 1, column 1: expected a row with column 3, found 2\n"},
    {"a,b\nc\n", NULL, NULL, true, "1|a|b\n! line 2, column 1: expected 2 fields as in the first row, found 1\n"},
    {"text,label\na,b\n", NULL, NULL, true, "1|text|label\n2|a|b\n"},
};

START_TEST(columns_are_chosen_by_option) {
    const job_reader_options options = {.path = "x.csv",
                                        .input_col = chosen[_i].input_col,
                                        .output_col = chosen[_i].output_col,
                                        .no_header = chosen[_i].no_header};
    assert_table_as(chosen[_i].text, &options, chosen[_i].expected);
}
END_TEST

static const struct {
    const char *text, *input_col, *expected;
} keys[] = {
    {"{\"title\":\"t\",\"body\":\"b\",\"label\":\"l\"}\n", "title,body", "1|t\nb|l\n"},
    {"{\"text\":\"b\",\"title\":\"t\",\"label\":\"l\"}\n", " title , text", "1|t\nb|l\n"},
    {"{\"title\":\"t\",\"body\":null,\"label\":\"l\"}\n{\"title\":\" \",\"body\":\"b\",\"label\":\"l\"}\n",
     "title,body", "1|t|l\n2|b|l\n"},
    {"{\"title,body\":\"x\",\"title\":\"t\",\"body\":\"b\",\"label\":\"l\"}\n", "title,body", "1|x|l\n"},
    {"{\"title\":\"t\",\"label\":\"l\"}\n", "title,body",
     "! line 1, column 1: expected the key \"body\", found \"title\", \"label\"\n"},
    {"{\"title\":7,\"body\":\"b\",\"label\":\"l\"}\n", "title,body",
     "! line 1, column 10: expected text in \"title\", found a number\n"},
    {"{\"title\":\"t\",\"title\":\"t\",\"body\":\"b\",\"label\":\"l\"}\n", "title,body",
     "! line 1, column 14: expected a key that this object does not have yet\n"},
    {"{\"title\":\"t\",\"label\":\"l\"}\n", "title,label", "# the input and the output are both 'label'\n"},
    {"{\"title\":\"t\",\"label\":\"l\"}\n", "title,body, title", "# the input has 'title' twice\n"},
    {"{\"title\":\"t\",\"label\":\"l\"}\n", "title,,body", "# 'title,,body' names no list of 2 to 16 keys\n"},
};

START_TEST(keys_of_json_are_joined_as_columns_are) {
    const job_reader_options options = {.path = "x.jsonl", .input_col = keys[_i].input_col, .output_col = "label"};
    assert_table_as(keys[_i].text, &options, keys[_i].expected);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("job-tables");
    TCase *tests = tcase_create("tables");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, a_stray_quote_loses_its_own_row_only, 0, COUNT(astray));
    tcase_add_test(tests, what_may_have_swallowed_rows_is_suspected);
    tcase_add_loop_test(tests, a_stray_quote_anywhere_loses_its_own_row_only, 0, 10);
    tcase_add_test(tests, very_many_stray_quotes_end_soon);
    tcase_add_test(tests, a_quote_that_nothing_closes_in_16_mebibytes);
    tcase_add_loop_test(tests, tsv_is_quoted_throughout_or_not_at_all, 0, COUNT(tsv));
    tcase_add_test(tests, tsv_is_stored_in_the_given_directory);
    tcase_add_loop_test(tests, headers_of_every_sort, 0, COUNT(headers));
    tcase_add_loop_test(tests, a_header_in_the_middle_is_left_out, 0, COUNT(again));
    tcase_add_test(tests, columns_that_are_not_used_are_counted);
    tcase_add_loop_test(tests, columns_are_chosen_by_option, 0, COUNT(chosen));
    tcase_add_loop_test(tests, keys_of_json_are_joined_as_columns_are, 0, COUNT(keys));
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
