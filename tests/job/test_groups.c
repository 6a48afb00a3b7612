/* SPDX-License-Identifier: Apache-2.0 */
/* Equivalent rows are on one side of the split, whatever their spelling; templates and chains. */
#include "groups_fixture.h"

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

START_TEST(variants_of_a_text_are_on_one_side) {
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
        /* Nearly the same: a typo, a word, a number, or an addition at the end, in texts that are long enough. */
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

/* Long runs of non-ASCII characters are decomposed in pieces: the position of the boundaries must not matter. */
START_TEST(the_length_of_a_run_does_not_matter) {
    for (size_t length = 160; length < 180; length++) {
        kit_buf composed = {0}, apart = {0};
        for (size_t i = 0; i < length; i++) {
            kit_buf_str(&composed, "\xE1\xBA\xA5");          /* a with circumflex and acute */
            kit_buf_str(&apart, "a\xCC\x82\xCC\x81");        /* the same as three code points */
            kit_buf_str(&composed, "\xE3\x81\x8C");          /* hiragana ga */
            kit_buf_str(&apart, "\xE3\x81\x8B\xE3\x82\x99"); /* ka and a voicing mark */
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

/* A family: a text of 20 words, and variants with one word changed. */
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
    for (uint64_t seed = 0; seed < test_draws(12, 2); seed++) {
        begin(100 * (uint64_t)_i + seed);
        size_t starts[200], families = 40;
        for (size_t f = 0; f < families; f++) {
            starts[f] = row_count;
            add_family(1 + draw(9), many_labels, COUNT(many_labels));
        }
        starts[families] = row_count;
        add("of its own kind", "rare");
        split(seed);
        /* A row that shares no band with any of its family is missed: about one in 500 at this similarity. */
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
    /* A template, whose rows are treated separately. */
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

START_TEST(a_template_is_split_and_reported) {
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
    /* If the labels have no other rows, rows of templates are held out. */
    begin(2);
    add_family(9, one, 1);
    add_family(9, &many_labels[0], 1);
    split(0);
    ck_assert_uint_eq(summary.untested_labels, 0);
    ck_assert_uint_eq(summary.templates, 2);
    ck_assert_uint_eq(summary.groups, 0);
    ck_assert_uint_eq(summary.eval_rows, 4);
    /* But not if a label has only one text. */
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

int main(void) {
    Suite *suite = suite_create("job-groups");
    TCase *tests = tcase_create("groups");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, variants_of_a_text_are_on_one_side, 0, 3);
    tcase_add_test(tests, texts_are_compared_by_what_they_say);
    tcase_add_test(tests, the_length_of_a_run_does_not_matter);
    tcase_add_loop_test(tests, families_are_on_one_side_and_each_label_is_learned, 0, 2);
    tcase_add_test(tests, groups_do_not_depend_on_the_order_of_the_rows);
    tcase_add_test(tests, a_template_is_split_and_reported);
    tcase_add_test(tests, a_label_of_one_group_is_learned_only);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
