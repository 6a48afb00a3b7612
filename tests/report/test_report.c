/* SPDX-License-Identifier: Apache-2.0 */
/* Pages with untrusted texts, numbers and sizes; and similar rows. */
#include "../suite.h"
#include "kolm/kit/file.h"
#include "markup.h"
#include "report/gather.h"
#include "report/html.h"
#include "report/near.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static kolm_error_t err;
static const double nowhere = (double)NAN;

static void assert_text(const char *text, size_t most, const char *expected) {
    kit_buf out = {0};
    html_text(&out, text, most);
    ck_assert_str_eq(kit_buf_text(&out), expected);
    kit_buf_free(&out);
}

START_TEST(markup_is_escaped) {
    assert_text("<script>alert('1')</script>", 99, "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;");
    assert_text("\" onload=\"x&amp;", 99, "&quot; onload=&quot;x&amp;amp;");
    assert_text(NULL, 99, "–");
    assert_text("", 99, "");
}
END_TEST

START_TEST(what_cannot_be_seen_is_shown) {
    assert_text("a\nb\tc", 99, "a↵\nb⇥ c");
    assert_text("\x01\x1b[31m\x7f\xc2\x85", 99, "[U+0001][U+001B][31m[U+007F][U+0085]");
    assert_text("user\xe2\x80\xaetxt.exe", 99, "user[U+202E]txt.exe");
    assert_text("\xe2\x81\xa6"
                "a\xe2\x81\xa9\xe2\x80\x8f\xef\xbb\xbf\xc2\xad",
                99, "[U+2066]a[U+2069][U+200F][U+FEFF][U+00AD]");
    assert_text("\xf3\xa0\x81\xa1", 99, "[U+E0061]"); /* a tag */
    assert_text("a\xff"
                "b\xc3",
                99, "a[0xFF]b[0xC3]");
    assert_text("\xed\xa0\x80", 99, "[0xED][0xA0][0x80]"); /* half of a surrogate pair */
}
END_TEST

START_TEST(what_belongs_to_writing_stays) {
    assert_text("Grüße, 日本語, שלום, é", 99, "Grüße, 日本語, שלום, é");
    assert_text("\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x94\xac", 99,
                "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x94\xac"); /* joined emoji */
    assert_text("a\xe2\x80\x8d"
                "b",
                99, "a[U+200D]b");
    assert_text("e\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81", 99, "e\xcc\x81\xcc\x81\xcc\x81[U+0301][U+0301]");
}
END_TEST

START_TEST(long_texts_are_truncated_and_marked) {
    assert_text("abcdef", 6, "abcdef");
    assert_text("abcdef", 4, "abcd… [2 bytes more]");
    assert_text("日本語", 2, "日本… [3 bytes more]");
    char *text = malloc(1 << 20);
    ck_assert_ptr_nonnull(text);
    memset(text, '<', (1 << 20) - 1);
    text[(1 << 20) - 1] = '\0';
    kit_buf out = {0};
    html_text(&out, text, REPORT_TEXT_CHARS);
    ck_assert_uint_lt(out.length, 5 * REPORT_TEXT_CHARS);
    kit_buf_free(&out);
    free(text);
}
END_TEST

START_TEST(numbers_are_numbers) {
    const double bad[] = {(double)NAN, (double)INFINITY, -(double)INFINITY, -0.001, 1.001, 1e308};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kit_buf out = {0};
        html_share(&out, bad[i], 3);
        html_percent(&out, bad[i]);
        html_interval(&out, (report_interval){0, bad[i]});
        ck_assert_str_eq(kit_buf_text(&out), "––");
        kit_buf_clear(&out);
        html_coordinate(&out, bad[i]);
        ck_assert_uint_le(out.length, 10);
        ck_assert_ptr_null(strpbrk(kit_buf_text(&out), "naife"));
        kit_buf_free(&out);
    }
    kit_buf out = {0};
    html_percent(&out, 0.9104);
    html_count(&out, 1234567);
    html_count(&out, 0);
    html_count(&out, UINT64_MAX);
    ck_assert_str_eq(kit_buf_text(&out), "91.0 %1,234,567018,446,744,073,709,551,615");
    kit_buf_free(&out);
    ck_assert(isnan(html_ratio(1, 0)) && isnan(html_ratio(2, 1)) && html_ratio(1, 2) == 0.5);
}
END_TEST

/* ---- Pages */

static char *page_of(const report_facts *f, size_t *out_tags) {
    kit_buf out = {0};
    ck_assert_int_eq(report_page(f, &out, &err), KOLM_OK);
    const char *fault = markup_fault(kit_buf_text(&out), out.length, out_tags);
    ck_assert_msg(fault == NULL, "%s", fault);
    ck_assert_ptr_null(strstr(out.data, "nan"));
    ck_assert_ptr_null(strstr(out.data, "inf\""));
    return kit_buf_take(&out);
}

static void assert_has(const char *page, const char *piece) {
    ck_assert_msg(strstr(page, piece) != NULL, "the page lacks \"%s\"", piece);
}

START_TEST(a_page_of_nothing) {
    size_t tags = 0;
    const report_facts nothing = {.score = {.k = nowhere}};
    char *page = page_of(&nothing, &tags);
    assert_has(page, "Content-Security-Policy");
    ck_assert_ptr_null(strstr(page, "id=\"mistakes\""));
    ck_assert_ptr_null(strstr(page, "id=\"labels\""));
    free(page);
}
END_TEST

/* Facts with COUNT labels, each mistaken for the next one, with `text` for every text. */
typedef struct sample {
    report_facts facts;
    report_label *labels;
    report_confusion *confusions;
    report_mistake mistakes[REPORT_MISTAKES_MAX + 3];
    report_item items[REPORT_ITEMS_MAX + 3];
    report_bin bins[3];
    report_threshold thresholds[3];
    report_notice notice;
    report_pair pairs[REPORT_PAIRS_MAX + 3];
} sample;

static void fill_rows(sample *s, const char *text) {
    for (size_t i = 0; i < sizeof s->mistakes / sizeof *s->mistakes; i++)
        s->mistakes[i] =
            (report_mistake){text, text, text, "given", 0.9, {{text, text, text, 0.5}, {text, "given", NULL, 7}}, 2};
    for (size_t i = 0; i < sizeof s->items / sizeof *s->items; i++)
        s->items[i] = (report_item){text, text, text, i % 2 == 0};
    for (size_t i = 0; i < sizeof s->pairs / sizeof *s->pairs; i++)
        s->pairs[i] = (report_pair){text, {text, text}, {text, text}}; /* more than are shown */
    for (size_t i = 0; i < 3; i++) {
        s->bins[i] = (report_bin){0.1, 0.2, i == 2 ? nowhere : 0.15, 5, i == 1 ? 6 : 4, {0.1, nowhere}};
        s->thresholds[i] = (report_threshold){(double)i / 2, 9 - i, i == 1 ? 10 : 3};
    }
    s->notice = (report_notice){(report_tone)77, text, text};
}

static sample *sample_new(size_t count, const char *text) {
    sample *s = calloc(1, sizeof *s);
    ck_assert_ptr_nonnull(s);
    s->labels = calloc(count + 1, sizeof *s->labels);
    s->confusions = calloc(count + 1, sizeof *s->confusions);
    ck_assert(s->labels != NULL && s->confusions != NULL);
    for (size_t i = 0; i < count; i++) {
        s->labels[i] = (report_label){text, 10, 11, 9, {0.5, 0.99}};
        s->confusions[i] = (report_confusion){i, (i + 1) % count, i + 1};
    }
    fill_rows(s, text);
    const report_items items = {s->items, sizeof s->items / sizeof *s->items};
    s->facts = (report_facts){.name = text,
                              .version = text,
                              .file = text,
                              .maker = text,
                              .tone = (report_tone)9,
                              .verdict = text,
                              .notices = &s->notice,
                              .notice_count = 1,
                              .labels = s->labels,
                              .label_count = count,
                              .confusions = s->confusions,
                              .confusion_count = count,
                              .bins = s->bins,
                              .bin_count = 3,
                              .thresholds = s->thresholds,
                              .threshold_count = 3,
                              .answers_how = text,
                              .answers_known = true,
                              .mistakes = s->mistakes,
                              .mistake_count = sizeof s->mistakes / sizeof *s->mistakes,
                              .near_how = text,
                              .data = items,
                              .pairs = s->pairs,
                              .pair_count = sizeof s->pairs / sizeof *s->pairs,
                              .candidates = items,
                              .origin = items,
                              .receipts = items,
                              .contents = items};
    s->facts.score = (report_score){.k = 0.5,
                                    .accuracy = nowhere,
                                    .size = 2,
                                    .latency = -1,
                                    .cost = (double)INFINITY,
                                    .baseline = 0.1,
                                    .baseline_label = text,
                                    .k_gate = nowhere,
                                    .accuracy_gate = 0.8,
                                    .rows = 9,
                                    .answered = 8,
                                    .correct = 99};
    return s;
}

static void sample_free(sample *s) {
    free(s->labels);
    free(s->confusions);
    free(s);
}

/* Any text yields exactly as many tags as a harmless one. */
START_TEST(texts_make_no_markup) {
    static const char *const hostile[] = {"<script>alert(1)</script>",
                                          "\"><img src=x onerror=alert(1)>",
                                          "</style></title></bdi><base href=//x>",
                                          "<!--",
                                          "]]>",
                                          "&lt;",
                                          "\xff\xfe<\xc0",
                                          "\xe2\x80\xae<b>",
                                          "'\"`=<>",
                                          "javascript:alert(1)",
                                          "-->\n\r\t"};
    size_t expected = 0, tags = 0;
    sample *plain = sample_new(20, "x");
    free(page_of(&plain->facts, &expected));
    sample_free(plain);
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        sample *s = sample_new(20, hostile[i]);
        free(page_of(&s->facts, &tags));
        ck_assert_msg(tags == expected, "%s: %zu tags instead of %zu", hostile[i], tags, expected);
        sample_free(s);
    }
}
END_TEST

START_TEST(sizes_are_bounded) {
    static char huge[100001];
    memset(huge, '&', sizeof huge - 1);
    size_t tags = 0;
    sample *one = sample_new(1, "the only one"), *many = sample_new(300, "label"), *more = sample_new(5000, huge);
    one->facts.confusion_count = 0;
    for (size_t i = test_draws(5000, 1); i < 5000; i++)
        more->labels[i].label = "another";
    char *page = page_of(&one->facts, &tags);
    assert_has(page, "No label was mistaken for another");
    free(page);
    page = page_of(&many->facts, &tags);
    assert_has(page, "284 others");
    assert_has(page, "The other 290 labels");
    assert_has(page, "The 20 wrong answers");
    assert_has(page, "200 rarer ones are left out");
    assert_has(page, "3 more are left out");
    free(page);
    page = page_of(&more->facts, &tags);
    assert_has(page, "4,000 more labels are left out");
    ck_assert_uint_lt(strlen(page), 4u << 20);
    free(page);
    sample_free(one);
    sample_free(many);
    sample_free(more);
}
END_TEST

/* The row and column of the other labels have the rest: the table counts every row once. */
START_TEST(the_table_folds) {
    size_t tags = 0;
    sample *s = sample_new(REPORT_MATRIX_MAX + 2, "l");
    for (size_t i = 0; i < s->facts.label_count; i++)
        s->labels[i].correct = 1000;
    s->confusions[0] = (report_confusion){0, 1, 7};
    s->confusions[1] = (report_confusion){99, 1, 5000}; /* not a label */
    s->confusions[2] = (report_confusion){2, 2, 5000};  /* not a confusion */
    char *page = page_of(&s->facts, &tags);
    assert_has(page, "2 others");
    ck_assert_ptr_null(strstr(page, "5,000"));
    free(page);
    sample_free(s);
}
END_TEST

START_TEST(the_same_facts_make_the_same_bytes) {
    size_t tags = 0;
    sample *s = sample_new(50, "same");
    char *a = page_of(&s->facts, &tags), *b = page_of(&s->facts, &tags);
    ck_assert_str_eq(a, b);
    free(a);
    free(b);
    sample_free(s);
}
END_TEST

/* ---- Similar rows */

START_TEST(near_is_what_reads_alike) {
    static const char rows[] = "{\"id\":\"1\",\"input\":\"the weather is nice today\",\"output\":\"weather\"}\n"
                               "{\"id\":\"2\",\"input\":\"where is my PARCEL\",\"output\":\"shipping\"}\n"
                               "{\"id\":\"3\",\"input\":\"parcel: where is it\",\"output\":\"first\"}\n"
                               "{\"id\":\"4\",\"input\":\"parcel - where is it?\",\"output\":\"second\"}\n"
                               "{\"id\":\"5\",\"input\":\"\xf0\x9f\x8d\x95\",\"output\":\"\"}\n"
                               "{\"id\":\"6\",\"input\":\"\",\"output\":\"nothing\"}\n";
    char base[64] = "/tmp/kolm-near-XXXXXX";
    char *path = NULL;
    ck_assert_ptr_nonnull(mkdtemp(base));
    ck_assert_int_eq(kit_path_join(base, "train.jsonl", &path, &err), KOLM_OK);
    ck_assert_int_eq(kit_write_file(path, 0600, rows, sizeof rows - 1, &err), KOLM_OK);
    const char *const texts[] = {"Where is my parcel?", "zzzz", "", "\xc3\xa9\xc3\xa9\xc3\xa9"};
    near_found found[4][REPORT_NEAR_MAX] = {0};
    ck_assert_msg(near_find(path, texts, 4, NULL, found, &err) == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(found[0][0].label, "shipping"); /* capitals and punctuation are ignored */
    ck_assert_double_eq_tol(found[0][0].likeness, 1, 1e-9);
    ck_assert_str_eq(found[0][1].label, "first"); /* as similar as "second", and before it */
    ck_assert_str_eq(found[0][2].label, "second");
    ck_assert(found[0][1].likeness == found[0][2].likeness && found[0][1].likeness < 1);
    for (size_t i = 1; i < 4; i++)
        ck_assert_ptr_null(found[i][0].text);
    ck_assert_uint_eq(found[0][1].row, 3);
    near_free(found, 4);
    /* For a model: all rows, or those most similar to the texts; and the rows that it found, by number. */
    static const struct {
        uint64_t most;
        const char *lines;
    } asked[] = {{6, "123456"}, {4, "2"}, {12, "123456"}};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        char *out = NULL, numbers[8] = "";
        kit_buf lines = {0};
        ck_assert_int_eq(kit_path_join(base, "near.jsonl", &out, &err), KOLM_OK);
        ck_assert_msg(near_candidates(path, texts, 4, asked[i].most, NULL, out, &err) == KOLM_OK, "%s", err.text);
        ck_assert_int_eq(kit_read_file(out, 4096, &lines, &err), KOLM_OK);
        const char *at = kit_buf_text(&lines);
        for (size_t k = 0; (at = strstr(at, "{\"id\":\"")) != NULL; k++)
            numbers[k] = *(at += 7);
        ck_assert_str_eq(numbers, asked[i].lines);
        ck_assert_int_eq(unlink(out), 0);
        kit_buf_free(&lines);
        free(out);
    }
    near_found by_number[1][REPORT_NEAR_MAX] = {{{.row = 5}, {.row = 99}, {.row = 2}}};
    ck_assert_int_eq(near_texts(path, 1, NULL, by_number, &err), KOLM_OK);
    ck_assert_str_eq(by_number[0][0].text, "\xf0\x9f\x8d\x95");
    ck_assert_ptr_null(by_number[0][1].text);
    ck_assert_str_eq(by_number[0][2].label, "shipping");
    near_free(by_number, 1);
    free(path);
    ck_assert_int_eq(kit_remove_tree(base, &err), KOLM_OK);
}
END_TEST

/* ---- Contradictions */

static void assert_pair(const report_pair *p, const char *text, const char *a, const char *b, const char *at,
                        const char *bt) {
    ck_assert_str_eq(p->text, text);
    ck_assert_str_eq(p->labels[0], a);
    ck_assert_str_eq(p->labels[1], b);
    ck_assert_str_eq(p->places[0], at);
    ck_assert_str_eq(p->places[1], bt);
}

START_TEST(contradictions_are_found) {
    static const char rows[] =
        "input,output\nfirst,a\nsecond,a\nfirst, a \nsecond,b\nthird,\nsecond,c\nfirst,z\nfourth,a\nfourth,a\n";
    char base[64] = "/tmp/kolm-pairs-XXXXXX", *path = NULL;
    report_gathering *g = NULL;
    ck_assert_ptr_nonnull(mkdtemp(base));
    ck_assert_int_eq(kit_path_join(base, "rows.csv", &path, &err), KOLM_OK);
    ck_assert_int_eq(kit_write_file(path, 0600, rows, sizeof rows - 1, &err), KOLM_OK);
    job_source sources[2] = {{.fd = open(path, O_RDONLY | O_CLOEXEC), .path = "rows.csv"}};
    report_rows asked = {.at = sources, .count = 1, .skip_bad = true, .labels = true, .scratch = base};
    ck_assert_int_eq(report_gather_new("kolm", "x", &g, &err), KOLM_OK);
    ck_assert_msg(report_gather_pairs(g, &asked, &err) == KOLM_OK, "%s", err.text);
    const report_facts *f = report_gather_facts(g);
    ck_assert(f->pair_count == 2 && f->pairs_in_all == 2);
    assert_pair(&f->pairs[0], "first", "a", "z", "line 2", "line 8");
    assert_pair(&f->pairs[1], "second", "a", "b", "line 3", "line 5");
    /* The same file twice has the same rows twice; as texts, outputs with other blanks differ. */
    sources[1] = (job_source){.fd = open(path, O_RDONLY | O_CLOEXEC), .path = "again.csv"};
    asked.count = 2;
    asked.labels = false;
    ck_assert_int_eq(report_gather_pairs(g, &asked, &err), KOLM_OK);
    f = report_gather_facts(g);
    assert_pair(&f->pairs[0], "first", "a", " a ", "rows.csv, line 2", "rows.csv, line 4");
    /* A pipe can be read only once: no pairs, and no error. */
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    close(sources[0].fd);
    sources[0].fd = ends[0];
    ck_assert_int_eq(report_gather_pairs(g, &asked, &err), KOLM_OK);
    close(ends[0]);
    close(ends[1]);
    close(sources[1].fd);
    report_gather_free(g);
    free(path);
    ck_assert_int_eq(kit_remove_tree(base, &err), KOLM_OK);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("report");
    TCase *t = tcase_create("report");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, markup_is_escaped);
    tcase_add_test(t, what_cannot_be_seen_is_shown);
    tcase_add_test(t, what_belongs_to_writing_stays);
    tcase_add_test(t, long_texts_are_truncated_and_marked);
    tcase_add_test(t, numbers_are_numbers);
    tcase_add_test(t, a_page_of_nothing);
    tcase_add_test(t, texts_make_no_markup);
    tcase_add_test(t, sizes_are_bounded);
    tcase_add_test(t, the_table_folds);
    tcase_add_test(t, the_same_facts_make_the_same_bytes);
    tcase_add_test(t, near_is_what_reads_alike);
    tcase_add_test(t, contradictions_are_found);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
