/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that are nearly the same, contradictions, and labels that look alike: what is kept together, dropped and said.
 */
#include "../suite.h"
#include "fixture.h"

#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static kolm_error_t err;
static job_test_place place;
static job_summary summary;

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    job_test_open(&place);
}

static void teardown(void) {
    job_common_free(&summary.common);
    job_test_forget_held(&summary);
    summary = (job_summary){0};
    job_test_close(&place);
}

static void start_again(void) {
    teardown();
    setup();
}

typedef struct wish {
    job_contradictions contradictions;
    uint64_t seed;
} wish;

static kit_status prepare(const char *data, const char *eval, wish w) {
    job_source data_source = {.fd = job_test_fd(data, strlen(data)), .path = "data"};
    job_source eval_source = {.fd = eval != NULL ? job_test_fd(eval, strlen(eval)) : -1, .path = "evaluation"};
    const job_prepare_options options = {
        .data = &data_source,
        .data_count = 1,
        .eval = &eval_source,
        .eval_count = eval != NULL,
        .contradictions = w.contradictions,
        .seed = w.seed,
        .job_dir = place.job,
        .private_dir = place.private_dir,
    };
    kit_status status = job_prepare(&options, &summary, &err);
    close(data_source.fd);
    if (eval != NULL) close(eval_source.fd);
    return status;
}

static void assert_prepared(const char *data, const char *eval, wish w) {
    ck_assert_msg(prepare(data, eval, w) == KOLM_OK, "%s", err.text);
}

/* ---- Rows made here, and the side on which they are */

#define ROWS_MAX 2048

typedef struct made {
    char input[400], output[40];
    bool held, seen;
} made;

static made rows[ROWS_MAX];
static size_t row_count;

static uint64_t state;

static uint64_t draw(uint64_t below) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (state >> 33) % below;
}

static made *add(const char *input, const char *output) {
    ck_assert_uint_lt(row_count, ROWS_MAX);
    made *row = &rows[row_count++];
    *row = (made){0};
    kit_copy(row->input, sizeof row->input, input);
    kit_copy(row->output, sizeof row->output, output);
    return row;
}

/* Words without meaning, of five letters: two such texts have nothing in common. */
static void words(char *out, size_t capacity, size_t count) {
    kit_buf text = {0};
    for (size_t i = 0; i < count; i++) {
        if (i > 0) kit_buf_char(&text, ' ');
        for (int c = 0; c < 5; c++)
            kit_buf_char(&text, (char)('a' + draw(26)));
    }
    ck_assert(kit_copy(out, capacity, kit_buf_text(&text)));
    kit_buf_free(&text);
}

static char *as_text(void) {
    kit_buf text = {0};
    for (size_t i = 0; i < row_count; i++) {
        kit_buf_str(&text, "{\"input\":");
        kit_json_string(&text, rows[i].input, strlen(rows[i].input));
        kit_buf_str(&text, ",\"output\":");
        kit_json_string(&text, rows[i].output, strlen(rows[i].output));
        kit_buf_str(&text, "}\n");
    }
    ck_assert_int_eq(kit_buf_ok(&text, &err), KOLM_OK);
    return kit_buf_take(&text);
}

static void read_side(bool held) {
    job_test_rows found;
    if (held)
        job_test_read_held(&summary, &found);
    else
        job_test_read(place.job, "train.jsonl", &found);
    size_t at = 0;
    for (size_t i = 0; i < found.count; i++) {
        const char *input = job_test_text(found.items[i], "input");
        uint64_t line = 0;
        if (held) {
            ck_assert(kit_parse_u64(job_test_text(found.items[i], "row"), &line));
        } else { /* in the order of the data */
            while (at < row_count && strcmp(rows[at].input, input) != 0)
                at++;
            line = ++at;
        }
        ck_assert(line >= 1 && line <= row_count && !rows[line - 1].seen);
        ck_assert_str_eq(rows[line - 1].input, input);
        rows[line - 1].seen = true;
        rows[line - 1].held = held;
    }
    job_test_rows_free(&found);
}

static void split(uint64_t seed) {
    start_again();
    char *text = as_text();
    assert_prepared(text, NULL, (wish){.seed = seed});
    free(text);
    for (size_t i = 0; i < row_count; i++)
        rows[i].seen = rows[i].held = false;
    read_side(false);
    read_side(true);
}

static void begin(uint64_t seed) {
    state = seed + 1;
    row_count = 0;
}

/* ---- The same text in other spellings */

static void spell(size_t how, const char *text, char *out, size_t capacity) {
    static const char *const forms[] = {"%s", "%s ", "%s.", "%s...", "  %s!?", "\"%s\"", "%s\xE2\x80\xA6"};
    if (how < COUNT(forms)) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(out, capacity, forms[how], text);
#pragma GCC diagnostic pop
        return;
    }
    kit_copy(out, capacity, text);
    for (char *c = out; *c != '\0'; c++) {
        if (how == COUNT(forms) && *c >= 'a' && *c <= 'z') *c = (char)(*c - 'a' + 'A');
        if (how == COUNT(forms) + 1 && *c == ' ') *c = '\t';
    }
}

#define SPELLINGS 9

START_TEST(spellings_of_a_text_are_on_one_side) {
    begin((uint64_t)_i);
    for (size_t t = 0; t < 60; t++) {
        char text[100], spelled[200];
        words(text, sizeof text, 3);
        for (size_t s = 0; s < SPELLINGS; s++) {
            spell(s, text, spelled, sizeof spelled);
            add(spelled, draw(2) == 0 ? "heads" : "tails");
        }
    }
    split(0);
    ck_assert_uint_eq(summary.groups, 60);
    ck_assert_uint_eq(summary.grouped_rows, 60 * SPELLINGS);
    ck_assert_uint_eq(summary.duplicates, 0);
    ck_assert_uint_gt(summary.eval_rows, 40);
    for (size_t i = 0; i < row_count; i++)
        ck_assert_msg(rows[i].seen && rows[i].held == rows[i / SPELLINGS * SPELLINGS].held, "row %zu", i + 1);
}
END_TEST

static bool are_grouped(const char *a, const char *b) {
    begin(7);
    add(a, "x");
    add(b, "y");
    for (size_t i = 0; i < 40; i++) {
        char text[200];
        words(text, sizeof text, 20);
        add(text, i % 2 == 0 ? "x" : "y");
    }
    split(0);
    ck_assert_uint_eq(summary.grouped_rows, summary.groups * 2);
    return summary.groups == 1;
}

START_TEST(texts_are_compared_by_what_they_say) {
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {"Stra\xC3\x9F"
         "e",
         "STRASSE", true},
        {"caf\xC3\xA9", "Cafe\xCC\x81", true},
        {"\xEF\xBC\xA1\xEF\xBC\xA2\xEF\xBC\xA3", "abc", true}, /* full width */
        {"don't", "don\xE2\x80\x99t", true},
        {"dont", "don't", true},
        {"soft\xC2\xADhyphen", "softhyphen", true},
        {"zero\xE2\x80\x8Bwidth", "zerowidth", true},
        {"a\xC2\xA0"
         "b",
         "a b", true},
        {"a\\b", "a b", true},
        {"e-mail, please", "e mail please", true},
        {"x\xE2\x84\xA2", "xTM", true},
        {"\xCE\xA3\xCE\x9F\xCE\xA6\xCE\x9F\xCE\xA3", "\xCF\x83\xCE\xBF\xCF\x86\xCE\xBF\xCF\x82",
         true}, /* final sigma */
        {"caf\xC3\xA9", "cafe", false},
        {"C++", "C", false},
        {"5 < 6", "5 > 6", false},
        {"1 23", "12 3", false},
        {"3.5", "35", false},
        {"???", "!!!", false},
        {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\xA1", false},
        {"where is it", "where was it", false},
        {"question 17 about 3", "question 18 about 3", false},
        /* Nearly the same: a typo, a word, a number, something more at the end, in texts that are long enough. */
        {"please send me another invoice for the order of last week",
         "please send me anothr invoice for the order of last week", true},
        {"please send me another invoice for the order of last week, thank you very much, best regards",
         "please mail me another invoice for the order of last week, thank you very much, best regards", true},
        {"the printer on floor 3 does not print, the ticket has the number 4711 in the old system",
         "the printer on floor 3 does not print, the ticket has the number 4712 in the old system", true},
        {"i cannot log in any more since the update of this morning",
         "i cannot log in any more since the update of "
         "this morning, please help",
         true},
        {"please send me another invoice for the order of last week",
         "please tell me whether the parcel of last week has arrived", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        ck_assert_msg(are_grouped(cases[i].a, cases[i].b) == cases[i].same, "\"%s\" and \"%s\"", cases[i].a,
                      cases[i].b);
}
END_TEST

/* Long runs beyond ASCII are taken apart in pieces: where a piece ends must not matter. */
START_TEST(the_length_of_a_run_does_not_matter) {
    for (size_t length = 160; length < 180; length++) {
        kit_buf composed = {0}, apart = {0};
        for (size_t i = 0; i < length; i++) {
            kit_buf_str(&composed, "\xE1\xBA\xA5");          /* a with circumflex and acute */
            kit_buf_str(&apart, "a\xCC\x82\xCC\x81");        /* the same in three */
            kit_buf_str(&composed, "\xE3\x81\x8C");          /* hiragana ga */
            kit_buf_str(&apart, "\xE3\x81\x8B\xE3\x82\x99"); /* ka and a mark */
        }
        begin(3);
        kit_buf text = {0};
        kit_buf_fmt(&text, "{\"input\":\"%s\",\"output\":\"a\"}\n{\"input\":\"%s\",\"output\":\"b\"}\n", composed.data,
                    apart.data);
        for (size_t i = 0; i < 10; i++)
            kit_buf_fmt(&text, "{\"input\":\"row %zu\",\"output\":\"%s\"}\n", i, i % 2 == 0 ? "a" : "b");
        start_again();
        assert_prepared(text.data, NULL, (wish){0});
        ck_assert_msg(summary.groups == 1 && summary.grouped_rows == 2, "%zu", length);
        kit_buf_free(&composed);
        kit_buf_free(&apart);
        kit_buf_free(&text);
    }
}
END_TEST

/* ---- Chains, templates, labels */

/* A family: a text of 20 words, and others with one word changed each. */
static void add_family(size_t members, const char *const *labels, size_t label_count) {
    char base[200], text[200];
    words(base, sizeof base, 20);
    for (size_t m = 0; m < members; m++) {
        kit_copy(text, sizeof text, base);
        if (m > 0) memcpy(text + m % 20 * 6, "zzzzz", 5);
        add(text, labels[draw(label_count)]);
    }
}

static const char *const many_labels[] = {"a", "b", "c", "d", "e", "f"};

START_TEST(families_are_on_one_side_and_each_label_is_learned) {
    for (uint64_t seed = 0; seed < 12; seed++) {
        begin(100 * (uint64_t)_i + seed);
        size_t starts[200], families = 40;
        for (size_t f = 0; f < families; f++) {
            starts[f] = row_count;
            add_family(1 + draw(9), many_labels, COUNT(many_labels));
        }
        starts[families] = row_count;
        add("of its own kind", "rare");
        split(seed);
        /* What shares no band with any of its family is missed: about one row in 500 at this likeness. */
        size_t strays = 0;
        for (size_t f = 0; f < families; f++)
            for (size_t i = starts[f]; i < starts[f + 1]; i++)
                strays += rows[i].held != rows[starts[f]].held;
        ck_assert_uint_le(strays, 1);
        for (size_t l = 0; l < COUNT(many_labels); l++) {
            size_t learned = 0, held = 0;
            for (size_t i = 0; i < row_count; i++) {
                if (strcmp(rows[i].output, many_labels[l]) != 0) continue;
                learned += !rows[i].held;
                held += rows[i].held;
            }
            ck_assert_uint_gt(learned, 0);
            ck_assert_msg(held > 0 && held < learned, "%zu of %zu", held, held + learned);
        }
        ck_assert(!rows[row_count - 1].held);
        ck_assert_uint_eq(summary.unseen_labels, 0);
    }
}
END_TEST

static int by_input(const void *a, const void *b) {
    return strcmp(((const made *)a)->input, ((const made *)b)->input);
}

START_TEST(groups_do_not_depend_on_the_order_of_the_rows) {
    static made before[ROWS_MAX];
    begin(9);
    for (size_t f = 0; f < 60; f++)
        add_family(1 + draw(30), many_labels, COUNT(many_labels));
    /* And a template, which is taken apart. */
    for (size_t i = 0; i < 300; i++) {
        kit_format(add("", "template")->input, sizeof rows[0].input,
                   "the ticket with the number %zu was opened by somebody who cannot print any more", i * 7919);
    }
    split(4);
    job_summary first = summary;
    memcpy(before, rows, sizeof before);
    qsort(before, row_count, sizeof *before, by_input);
    for (size_t i = row_count; i > 1; i--) {
        size_t j = draw(i);
        made moved = rows[i - 1];
        rows[i - 1] = rows[j];
        rows[j] = moved;
    }
    split(4);
    ck_assert_uint_ge(summary.templates, 1);
    ck_assert_uint_eq(summary.groups, first.groups);
    ck_assert_uint_eq(summary.grouped_rows, first.grouped_rows);
    ck_assert_uint_eq(summary.templates, first.templates);
    qsort(rows, row_count, sizeof *rows, by_input);
    for (size_t i = 0; i < row_count; i++) {
        ck_assert_str_eq(rows[i].input, before[i].input);
        ck_assert_msg(rows[i].held == before[i].held, "%s", rows[i].input);
    }
}
END_TEST

START_TEST(a_template_is_taken_apart_and_said) {
    begin(1);
    for (size_t i = 0; i < 400; i++)
        kit_format(add("", i % 2 == 0 ? "printer" : "invoice")->input, sizeof rows[0].input,
                   i % 2 == 0 ? "the ticket number %zu was opened by somebody who cannot print"
                              : "somebody would like to have the invoice number %zu once again",
                   i);
    split(0);
    ck_assert_uint_eq(summary.templates, 2);
    size_t held[2] = {0};
    for (size_t i = 0; i < row_count; i++)
        held[i % 2] += rows[i].held;
    ck_assert_msg(held[0] > 20 && held[0] < 70 && held[1] > 20 && held[1] < 70, "%zu, %zu", held[0], held[1]);
}
END_TEST

START_TEST(a_label_of_one_group_is_learned_only) {
    begin(2);
    static const char *const one[] = {"alone"};
    add_family(9, one, 1);
    for (size_t i = 0; i < 60; i++) {
        char text[200];
        words(text, sizeof text, 12);
        add(text, i % 2 == 0 ? "x" : "y");
    }
    split(0);
    ck_assert_uint_eq(summary.untested_labels, 1);
    for (size_t i = 0; i < 9; i++)
        ck_assert(!rows[i].held);
    /* When there is nothing else to measure on, that is what the labels are. */
    begin(2);
    add_family(9, one, 1);
    add_family(9, &many_labels[0], 1);
    split(0);
    ck_assert_uint_eq(summary.untested_labels, 0);
    ck_assert_uint_eq(summary.templates, 2);
    ck_assert_uint_eq(summary.groups, 0);
    ck_assert_uint_eq(summary.eval_rows, 4);
    /* But not when it is one text each. */
    begin(2);
    for (size_t s = 0; s < SPELLINGS; s++)
        for (size_t l = 0; l < 2; l++) {
            char spelled[200];
            spell(s, l == 0 ? "the one" : "the other", spelled, sizeof spelled);
            add(spelled, many_labels[l]);
        }
    char *text = as_text();
    start_again();
    ck_assert_int_eq(prepare(text, NULL, (wish){0}), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "nearly the same text"));
    ck_assert_ptr_nonnull(strstr(err.remedy, "--eval"));
    free(text);
}
END_TEST

/* ---- An evaluation file */

#define ROW(input, output) "{\"input\":\"" input "\",\"output\":\"" output "\"}\n"
#define CHAT(system, user, answer)                                                                                     \
    "{\"messages\":[{\"role\":\"system\",\"content\":\"" system "\"},{\"role\":\"user\",\"content\":\"" user           \
    "\"},{\"role\":\"assistant\",\"content\":\"" answer "\"}]}\n"
#define LONG "please send me another invoice for the order of last week"

START_TEST(an_evaluation_file_is_cleaned_of_what_is_trained_on) {
    static const char data[] = ROW("Where is my parcel?", "a") ROW(LONG, "b") ROW("x", "a") ROW("y", "b");
    assert_prepared(data,
                    ROW("where is my parcel...", "a") ROW(LONG ", thanks", "b") ROW("please do that", "a")
                        ROW("please do that", "a") ROW("Please, do that!", "b"),
                    (wish){0});
    ck_assert_uint_eq(summary.leaked, 1);
    ck_assert_uint_eq(summary.nearly_leaked, 1);
    ck_assert_uint_eq(summary.eval_rows, 3);
    ck_assert_uint_eq(summary.train_rows, 4);
    ck_assert_uint_eq(summary.groups, 0);
    start_again();
    ck_assert_int_eq(prepare(data, ROW("WHERE IS MY PARCEL", "a") ROW(LONG "!", "b"), (wish){0}),
                     KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "also in data"));
    start_again();
    assert_prepared(data, ROW("WHERE IS MY PARCEL", "a") ROW(LONG ", thanks", "b"), (wish){0});
    ck_assert_uint_eq(summary.eval_rows, 1);
    ck_assert_uint_eq(summary.nearly_leaked, 0);
    ck_assert_uint_eq(summary.templates, 1);
    /* In another context it is another question. */
    start_again();
    assert_prepared(CHAT("say the team", LONG, "a") CHAT("say the team", "x", "b") CHAT("say the team", "y", "a"),
                    CHAT("say the mood", LONG, "b") CHAT("say the team", LONG "!", "a"), (wish){0});
    ck_assert_uint_eq(summary.leaked, 1);
    ck_assert_uint_eq(summary.eval_rows, 1);
}
END_TEST

/* ---- Contradictions */

static void times(kit_buf *out, size_t count, const char *row) {
    for (size_t i = 0; i < count; i++)
        kit_buf_str(out, row);
}

#define FILL                                                                                                           \
    ROW("1", "a") ROW("2", "a") ROW("3", "a") ROW("4", "a") ROW("5", "b") ROW("6", "b") ROW("7", "b") ROW("8", "b")

START_TEST(contradictions_follow_the_rule) {
    static const struct {
        job_contradictions rule;
        size_t a, b, c; /* rows of each output */
        uint64_t duplicates, outvoted, contradictions, kept, rows;
    } cases[] = {
        {JOB_CONTRADICTIONS_MAJORITY, 300, 1, 0, 299, 1, 0, 0, 9},
        {JOB_CONTRADICTIONS_MAJORITY, 1, 300, 0, 299, 1, 0, 0, 9},
        {JOB_CONTRADICTIONS_MAJORITY, 3, 1, 0, 2, 1, 0, 0, 9},
        {JOB_CONTRADICTIONS_MAJORITY, 4, 1, 1, 3, 2, 0, 0, 9},
        {JOB_CONTRADICTIONS_MAJORITY, 2, 1, 0, 0, 0, 3, 0, 8},
        {JOB_CONTRADICTIONS_MAJORITY, 3, 1, 1, 0, 0, 5, 0, 8},
        {JOB_CONTRADICTIONS_MAJORITY, 1, 1, 0, 0, 0, 2, 0, 8},
        {JOB_CONTRADICTIONS_MAJORITY, 50, 49, 0, 0, 0, 99, 0, 8},
        {JOB_CONTRADICTIONS_DROP, 300, 1, 0, 0, 0, 301, 0, 8},
        {JOB_CONTRADICTIONS_DROP, 2, 0, 0, 1, 0, 0, 0, 9},
        {JOB_CONTRADICTIONS_KEEP, 3, 2, 1, 3, 0, 0, 3, 11},
        {JOB_CONTRADICTIONS_KEEP, 2, 0, 0, 1, 0, 0, 0, 9},
        {JOB_CONTRADICTIONS_ERROR, 2, 0, 0, 1, 0, 0, 0, 9},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        kit_buf text = {0};
        kit_buf_str(&text, FILL);
        times(&text, cases[i].a, ROW("odd", "a"));
        times(&text, cases[i].b, ROW("odd", "b"));
        times(&text, cases[i].c, ROW("odd", "c"));
        start_again();
        assert_prepared(text.data, NULL, (wish){.contradictions = cases[i].rule});
        ck_assert_uint_eq(summary.duplicates, cases[i].duplicates);
        ck_assert_uint_eq(summary.outvoted, cases[i].outvoted);
        ck_assert_uint_eq(summary.outvoted_inputs, cases[i].outvoted > 0);
        ck_assert_uint_eq(summary.contradictions, cases[i].contradictions);
        ck_assert_uint_eq(summary.contradicting_inputs, cases[i].contradictions > 0);
        ck_assert_uint_eq(summary.kept_contradictions, cases[i].kept);
        ck_assert_msg(summary.train_rows + summary.eval_rows == cases[i].rows, "case %zu", i);
        kit_buf_free(&text);
    }
}
END_TEST

START_TEST(the_majority_is_what_is_learned) {
    kit_buf text = {0};
    kit_buf_str(&text, ROW("odd", "b") FILL);
    times(&text, 5, ROW("odd", "a"));
    assert_prepared(text.data, ROW("odd", "a") ROW("new", "a"), (wish){0});
    ck_assert_uint_eq(summary.outvoted_places[0].line, 1);
    ck_assert_uint_eq(summary.outvoted_places[1].line, 10);
    ck_assert_uint_eq(summary.leaked, 1);
    job_test_rows found;
    job_test_read(place.job, "train.jsonl", &found);
    size_t odd = 0;
    for (size_t i = 0; i < found.count; i++) {
        if (strcmp(job_test_text(found.items[i], "input"), "odd") != 0) continue;
        odd++;
        ck_assert_str_eq(job_test_text(found.items[i], "output"), "a");
        ck_assert_uint_eq(i, found.count - 1); /* its first row is the last one that stays */
    }
    ck_assert_uint_eq(odd, 1);
    job_test_rows_free(&found);
    kit_buf_free(&text);
}
END_TEST

START_TEST(contradictions_can_be_refused) {
    ck_assert_int_eq(prepare(FILL ROW("odd", "a") "\n" ROW("odd", "b") ROW("1", "b"), NULL,
                             (wish){.contradictions = JOB_CONTRADICTIONS_ERROR}),
                     KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "data, line 1 and line 12: the same input with two outputs (2 such"));
    ck_assert_ptr_nonnull(strstr(err.remedy, "--contradictions"));
    /* Spelled otherwise it is another input, which may have another output. */
    start_again();
    assert_prepared(FILL ROW("odd", "a") ROW("Odd", "b"), NULL, (wish){.contradictions = JOB_CONTRADICTIONS_ERROR});
    ck_assert_uint_eq(summary.groups, 1);
}
END_TEST

/* ---- Labels */

START_TEST(blanks_are_no_part_of_a_label) {
    static const char data[] =
        ROW("1", "a") ROW("2", " a") ROW("3", "a\\t") ROW("4", "\\u00a0a") ROW("5", "b") ROW("6", "b ") ROW("7", "b\\n")
            ROW("8", "b") ROW("5", "b ") "{\"messages\":[{\"role\":\"user\",\"content\":\"9\"},{\"role\":\"assistant\","
                                         "\"content\":\" c\"}]}\n";
    assert_prepared(data, ROW("e", "a ") ROW("f", " c "), (wish){0});
    ck_assert_uint_eq(summary.labels, 3);
    ck_assert_uint_eq(summary.trimmed_labels, 6);
    ck_assert_uint_eq(summary.duplicates, 1);
    ck_assert_uint_eq(summary.unseen_labels, 0);
    ck_assert_uint_eq(summary.alike_labels, 0);
    job_test_rows train, held;
    job_test_read(place.job, "train.jsonl", &train);
    job_test_read_held(&summary, &held);
    ck_assert_uint_eq(train.count, 9);
    for (size_t i = 0; i < train.count; i++) {
        ck_assert_uint_eq(strlen(job_test_text(train.items[i], "output")), 1);
        const cJSON *last = cJSON_GetArrayItem(kit_json_get(train.items[i], "messages"), 1);
        if (last != NULL) ck_assert_str_eq(job_test_text(last, "content"), "c");
    }
    for (size_t i = 0; i < held.count; i++)
        ck_assert_str_eq(job_test_text(held.items[i], "output"),
                         strcmp(job_test_text(held.items[i], "input"), "e") == 0 ? "a" : "c");
    job_test_rows_free(&train);
    job_test_rows_free(&held);
    /* Of a text they are a part. */
    start_again();
    assert_prepared(ROW("1", " a") ROW("2", "b ") ROW("3", "c"), ROW("e", "d "), (wish){0});
    ck_assert(!summary.closed);
    ck_assert_uint_eq(summary.trimmed_labels, 0);
    job_test_read_held(&summary, &held);
    ck_assert_str_eq(job_test_text(held.items[0], "output"), "d ");
    job_test_rows_free(&held);
}
END_TEST

START_TEST(labels_that_look_alike_are_named) {
    static const char data[] = ROW("1", "Billing") ROW("2", "Billing") ROW("3", "billing") ROW("4", "caf\\u00e9")
        ROW("5", "cafe\\u0301") ROW("6", "a  b") ROW("7", "a b") ROW("8", "C") ROW("9", "C#") ROW("10", "Billing")
            ROW("11", "C") ROW("12", "C#") ROW("13", "a b") ROW("14", "a b") ROW("15", "cafe") ROW("16", "C")
                ROW("17", "C#") ROW("18", "cafe");
    assert_prepared(data, NULL, (wish){0});
    ck_assert_uint_eq(summary.labels, 9);
    ck_assert_uint_eq(summary.alike_labels, 6);
    static const char *const wanted[] = {"\"Billing\" (3 rows) and \"billing\" (1 row)",
                                         "\"caf\xC3\xA9\" (1 row) and \"cafe\xCC\x81\" (1 row)",
                                         "\"a b\" (3 rows) and \"a  b\" (1 row)"};
    for (size_t i = 0; i < COUNT(wanted); i++) {
        bool found = false;
        for (size_t j = 0; j < JOB_ALIKE_EXAMPLES; j++)
            found = found || strcmp(summary.alike_examples[j], wanted[i]) == 0;
        ck_assert_msg(found, "%s", wanted[i]);
    }
}
END_TEST

/* ---- Memory and time */

static long peak_of(size_t count) {
    kit_buf text = {0};
    for (size_t i = 0; i < count; i++)
        kit_buf_fmt(&text,
                    "{\"input\":\"the ticket with the number %zu was opened by somebody who cannot print\","
                    "\"output\":\"label %zu\"}\n",
                    i, i % 20);
    int fd = job_test_fd(text.data, text.length);
    kit_buf_free(&text);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        job_source source = {.fd = fd, .path = "rows"};
        job_prepare_options options = {
            .data = &source, .data_count = 1, .job_dir = place.job, .private_dir = place.private_dir};
        _exit(job_prepare(&options, &summary, &err) == KOLM_OK && summary.templates > 0 ? 0 : 1);
    }
    int how = 0;
    struct rusage used;
    ck_assert_int_eq(wait4(child, &how, 0, &used), child);
    ck_assert(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    close(fd);
    return used.ru_maxrss;
}

START_TEST(a_template_of_any_size_takes_the_same_memory) {
    if (job_test_slowed()) return;
    long few = peak_of(5000);
    start_again();
    long many = peak_of(40000);
    ck_assert_msg(many - few < 1024, "%ld KiB for 5,000 rows, %ld for 40,000", few, many);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("job-groups");
    TCase *tests = tcase_create("groups");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_template_of_any_size_takes_the_same_memory); /* first: forked while this process is small */
    tcase_add_loop_test(tests, spellings_of_a_text_are_on_one_side, 0, 3);
    tcase_add_test(tests, texts_are_compared_by_what_they_say);
    tcase_add_test(tests, the_length_of_a_run_does_not_matter);
    tcase_add_loop_test(tests, families_are_on_one_side_and_each_label_is_learned, 0, 2);
    tcase_add_test(tests, groups_do_not_depend_on_the_order_of_the_rows);
    tcase_add_test(tests, a_template_is_taken_apart_and_said);
    tcase_add_test(tests, a_label_of_one_group_is_learned_only);
    tcase_add_test(tests, an_evaluation_file_is_cleaned_of_what_is_trained_on);
    tcase_add_test(tests, contradictions_follow_the_rule);
    tcase_add_test(tests, the_majority_is_what_is_learned);
    tcase_add_test(tests, contradictions_can_be_refused);
    tcase_add_test(tests, blanks_are_no_part_of_a_label);
    tcase_add_test(tests, labels_that_look_alike_are_named);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
