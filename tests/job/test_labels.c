/* SPDX-License-Identifier: Apache-2.0 */
/* What is excluded before a training: leaks into the evaluation, contradictions, labels that look alike. */
#include "groups_fixture.h"
#include "job/fingerprint.h"

#include <utf8proc.h>

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
        ck_assert_uint_eq(i, found.count - 1); /* its first row is the last one that is kept */
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
    /* With another spelling it is another input, which may have another output. */
    start_again();
    assert_prepared(FILL ROW("odd", "a") ROW("Odd", "b"), NULL, (wish){.contradictions = JOB_CONTRADICTIONS_ERROR});
    ck_assert_uint_eq(summary.groups, 1);
}
END_TEST

/* ---- Labels */

/* Our list of blanks is the separators of Unicode, as in utf8proc, and some control characters. */
START_TEST(every_separator_is_trimmed) {
    for (uint32_t point = 1; point < 0x110000; point++) {
        if (point == 0xD800) point = 0xE000;
        utf8proc_uint8_t bytes[8];
        size_t width = (size_t)utf8proc_encode_char((utf8proc_int32_t)point, bytes);
        bytes[width] = 'x';
        const char *text = (const char *)bytes;
        size_t length = width + 1;
        job_label_trim(&text, &length);
        utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)point);
        bool separator = category >= UTF8PROC_CATEGORY_ZS && category <= UTF8PROC_CATEGORY_ZP;
        bool control = (point >= 9 && point <= 13) || point == 0x85 || point == 0x200B || point == 0xFEFF;
        ck_assert_msg(length == (separator || control ? 1 : width + 1), "U+%04X", point);
    }
}
END_TEST

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
    /* In texts that are not labels, blanks are kept. */
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
    if (test_slowed()) return;
    long few = peak_of(5000);
    start_again();
    long many = peak_of(40000);
    ck_assert_msg(many - few < 1024, "%ld KiB for 5,000 rows, %ld for 40,000", few, many);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("job-labels");
    TCase *tests = tcase_create("groups");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_template_of_any_size_takes_the_same_memory); /* first: forked while this process is small */
    tcase_add_test(tests, an_evaluation_file_is_cleaned_of_what_is_trained_on);
    tcase_add_test(tests, contradictions_follow_the_rule);
    tcase_add_test(tests, the_majority_is_what_is_learned);
    tcase_add_test(tests, contradictions_can_be_refused);
    tcase_add_test(tests, every_separator_is_trimmed);
    tcase_add_test(tests, blanks_are_no_part_of_a_label);
    tcase_add_test(tests, labels_that_look_alike_are_named);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
