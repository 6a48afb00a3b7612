/* SPDX-License-Identifier: Apache-2.0 */
/* Reports of answers; neither labels nor rows can make them slow or large. */
#include "score_fixture.h"

/* ---- Reports */

static const score_gates usual = {.k_micro = 850000, .accuracy_micro = 800000};

static char *text_of(const score_answers *a, const char *advice) {
    score_k k;
    kit_buf out = {0};
    score_compute(score_rows(a), score_answered(a), score_correct(a), 1000000, &k);
    ck_assert_int_eq(score_report_text(&k, a, &usual, advice, 200, &out, &err), KOLM_OK);
    return kit_buf_take(&out);
}

START_TEST(confusions_beyond_the_most_are_counted) {
    score_answers *a = read_texts(odd_rows, odd_answers);
    kit_buf out = {0};
    score_k k;
    score_compute(score_rows(a), score_answered(a), score_correct(a), 1000000, &k);
    ck_assert_int_eq(score_report_text(&k, a, &usual, NULL, 0, &out, &err), KOLM_OK);
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&out), "\nand 2 more pairs, which are rarer\n"));
    kit_buf_free(&out);
    score_answers_free(a);
}
END_TEST

START_TEST(the_report_for_people) {
    score_answers *a = read_texts(odd_rows, odd_answers);
    char *text = text_of(a, "more rows");
    static const char expected[] = "K-score   0.7695  (gate 0.8500)\n"
                                   "accuracy  0.5000  (gate 0.8000)  95% interval 0.1500 to 0.8500, n = 4\n"
                                   "balanced  0.4444  (mean recall of 3 labels)  95% interval 0.1649 to 0.7500\n"
                                   "baseline  0.5000  by always answering \"b\": not clearly better than that\n"
                                   "coverage  0.8000   size 0.9965   latency 1.0000   cost 1.0000\n"
                                   "calibration error (ECE, 15 bins)  0.2625\n"
                                   "It does not ship.\n"
                                   "\nWhat to try: more rows\n"
                                   "\nconfidence at least  answers  coverage  accuracy\n"
                                   "               0.00        4     80.0%     50.0%\n"
                                   "               0.50        4     80.0%     50.0%\n"
                                   "               0.60        2     40.0%    100.0%\n"
                                   "               0.70        2     40.0%    100.0%\n"
                                   "               0.80        2     40.0%    100.0%\n"
                                   "               0.90        2     40.0%    100.0%\n"
                                   "               0.95        2     40.0%    100.0%\n"
                                   "               0.99        1     20.0%    100.0%\n"
                                   "\nlabel                             rows  answers  precision  recall\n"
                                   "a\\x0A\\x1B[1m                         1        1       0.0%    0.0%\n"
                                   "b                                    3        1     100.0%   33.3%\n"
                                   "q\"u, ote                             1        2      50.0%  100.0%\n"
                                   "\nrows  expected                          answered\n"
                                   "   1  a\\x0A\\x1B[1m                      q\"u, ote\n"
                                   "   1  b                                 a\\x0A\\x1B[1m\n";
    ck_assert_str_eq(text, expected);
    free(text);
    text = text_of(a, NULL);
    ck_assert_ptr_null(strstr(text, "What to try"));
    free(text);
    score_answers_free(a);
}
END_TEST

START_TEST(the_order_of_the_rows_does_not_show) {
    kit_buf rows[2] = {{0}}, answers[2] = {{0}};
    for (size_t side = 0; side < 2; side++)
        for (size_t n = 0; n < 300; n++) {
            size_t i = side == 0 ? n : (n * 77 + 5) % 300; /* 77 and 300 share no factor: a permutation */
            kit_buf_fmt(&rows[side], "{\"id\":\"%zu\",\"input\":\"x\",\"output\":\"l%zu\"}\n", i, i % 23);
            kit_buf_fmt(&answers[side], "{\"id\":\"%zu\",\"output\":\"l%zu\",\"confidence\":0.5}\n", i,
                        i % 3 == 0 ? i % 7 : i % 23);
        }
    score_answers *a = read_texts(rows[0].data, answers[0].data);
    char *first = text_of(a, NULL);
    score_answers_free(a);
    a = read_texts(rows[1].data, answers[1].data);
    char *second = text_of(a, NULL);
    score_answers_free(a);
    ck_assert_str_eq(first, second);
    free(first);
    free(second);
    for (size_t side = 0; side < 2; side++) {
        kit_buf_free(&rows[side]);
        kit_buf_free(&answers[side]);
    }
}
END_TEST

START_TEST(the_report_for_programs_can_be_read_back) {
    score_answers *a = read_texts(odd_rows, odd_answers);
    score_k k;
    score_compute(5, 4, 2, 1000000, &k);
    kit_buf line = {0};
    cJSON *object = score_report_object(&k, a, &usual), *again = NULL;
    ck_assert_int_eq(kit_json_line(object, &line, &err), KOLM_OK);
    ck_assert_int_eq(kit_json_parse(line.data, line.length, &again, &err), KOLM_OK);
    static const char *const keys[] = {"k",
                                       "accuracy",
                                       "size",
                                       "latency",
                                       "cost",
                                       "coverage",
                                       "n",
                                       "correct",
                                       "answered",
                                       "reference",
                                       "accuracy_interval",
                                       "k_interval",
                                       "ece",
                                       "gate",
                                       "min_accuracy",
                                       "balanced_accuracy",
                                       "balanced_accuracy_interval",
                                       "baseline",
                                       "baseline_by",
                                       "better_than_baseline",
                                       "allow_baseline",
                                       "ships",
                                       "by_confidence",
                                       "labels",
                                       "confusions"};
    for (size_t i = 0; i < COUNT(keys); i++)
        ck_assert_msg(kit_json_get(again, keys[i]) != NULL, "the report has %s", keys[i]);
    ck_assert_int_eq(cJSON_GetArraySize(again), COUNT(keys));
    double value = 0;
    ck_assert(kit_json_get_number(again, "k", &value) && value == (double)k.k / SCORE_MICRO);
    cJSON_Delete(object);
    cJSON_Delete(again);
    kit_buf_free(&line);
    /* The part in the manifest is canonical: the same bytes for the same counts. */
    object = score_manifest_object(&k, a, true);
    ck_assert_int_eq(kit_json_canonical(object, &line, &err), KOLM_OK);
    ck_assert_str_eq(line.data,
                     "{\"accuracy\":0.5,\"answered\":4,\"balanced_accuracy\":0.444444,\"baseline\":{\"accuracy\":0.5,"
                     "\"correct\":2,\"label\":\"b\"},\"correct\":2,\"cost\":1,\"coverage\":0.8,\"k\":0.769467,"
                     "\"labels\":[{\"answers\":1,\"correct\":0,\"label\":\"a\\n\\u001b[1m\",\"rows\":1},{\"answers\":1,"
                     "\"correct\":1,\"label\":\"b\",\"rows\":3},{\"answers\":2,\"correct\":1,\"label\":\"q\\\"u, ote\","
                     "\"rows\":1}],"
                     "\"latency\":0.999984,\"n\":5,\"reference\":{\"bytes\":80000000000,\"bytes_per_second\":"
                     "50000000000,\"latency_ms\":1240,\"usd_per_call\":0.018,\"usd_per_hour\":2.5},"
                     "\"size\":0.996465}");
    cJSON_Delete(object);
    kit_buf_free(&line);
    score_answers_free(a);
}
END_TEST

START_TEST(of_very_many_confusions_the_commonest_are_shown) {
    kit_buf rows = {0}, answers = {0};
    size_t id = 0;
    for (size_t label = 0; label < 300; label++)
        for (size_t n = 0; n <= label % 3; n++, id++) {
            kit_buf_fmt(&rows, "{\"id\":\"%zu\",\"input\":\"x\",\"output\":\"l%zu\"}\n", id, label);
            kit_buf_fmt(&answers, "{\"id\":\"%zu\",\"output\":\"other\",\"confidence\":0.5}\n", id);
        }
    score_answers *a = read_texts(rows.data, answers.data);
    score_k k;
    score_compute(id, id, 0, 0, &k);
    cJSON *object = score_report_object(&k, a, &usual);
    const cJSON *list = kit_json_get(object, "confusions");
    ck_assert_int_eq(cJSON_GetArraySize(list), 200);
    uint64_t last = UINT64_MAX, count = 0;
    for (const cJSON *item = list->child; item != NULL; item = item->next) {
        ck_assert(kit_json_get_u64(item, "rows", &count) && count <= last);
        last = count;
    }
    ck_assert_uint_eq(last, 2); /* 100 with three rows, 100 with two */
    cJSON_Delete(object);
    char *text = text_of(a, NULL);
    const char *table = strstr(text, "\nrows  expected");
    ck_assert_ptr_nonnull(table);
    size_t lines = 0;
    for (const char *p = table + 1; *p != '\0'; p++)
        lines += *p == '\n';
    ck_assert_uint_eq(lines, 202); /* the heading, 200, and the number of further ones */
    free(text);
    score_answers_free(a);
    kit_buf_free(&rows);
    kit_buf_free(&answers);
}
END_TEST

static char *content_of(const char *directory, const char *name) {
    char *path = NULL;
    kit_buf text = {0};
    ck_assert_int_eq(kit_path_join(directory, name, &path, &err), KOLM_OK);
    ck_assert_msg(kit_read_file(path, 1 << 20, &text, &err) == KOLM_OK, "%s", err.text);
    free(path);
    return kit_buf_take(&text);
}

/* A text that a spreadsheet would run as a formula gets a quote in front. */
START_TEST(a_formula_is_text_in_confusions) {
    static const char *const labels[] = {"=1+1", "+1", "-1", "@SUM(1)", "a=1"};
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        kit_buf rows = {0}, answers = {0}, expected = {0};
        score_k k;
        kit_buf_fmt(&rows, "{\"id\":\"1\",\"input\":\"x\",\"output\":\"%s\"}\n", labels[i]);
        kit_buf_str(&answers, "{\"id\":\"1\",\"output\":\"other\",\"confidence\":0.5}\n");
        score_answers *a = read_texts(kit_buf_text(&rows), kit_buf_text(&answers));
        score_compute(1, 1, 0, 1000000, &k);
        char directory[80];
        kit_format(directory, sizeof directory, "%s/formula%zu.failed", base, i);
        ck_assert_int_eq(mkdir(directory, 0700), 0);
        ck_assert_int_eq(score_write_failed(directory, &k, a, &usual, "more rows", predictions, &err), KOLM_OK);
        char *csv = content_of(directory, "confusions.csv");
        kit_buf_fmt(&expected, "rows,expected,answered\n1,\"%s%s\",\"other\"\n", labels[i][0] == 'a' ? "" : "'",
                    labels[i]);
        ck_assert_str_eq(csv, kit_buf_text(&expected));
        free(csv);
        score_answers_free(a);
        kit_buf_free(&rows);
        kit_buf_free(&answers);
        kit_buf_free(&expected);
    }
}
END_TEST

START_TEST(a_missed_gate_leaves_four_files) {
    score_answers *a = read_texts(odd_rows, odd_answers);
    score_k k;
    char directory[80];
    score_compute(5, 4, 2, 1000000, &k);
    kit_format(directory, sizeof directory, "%s/router.failed", base);
    ck_assert_int_ne(score_write_failed(directory, &k, a, &usual, "more rows", predictions, &err), KOLM_OK);
    assert_says(err.text, directory);
    ck_assert_int_eq(mkdir(directory, 0700), 0);
    /* Twice: a second attempt replaces the first. */
    for (int i = 0; i < 2; i++)
        ck_assert_msg(score_write_failed(directory, &k, a, &usual, "more rows", predictions, &err) == KOLM_OK, "%s",
                      err.text);
    char *csv = content_of(directory, "confusions.csv"), *text = content_of(directory, "report.txt"),
         *json = content_of(directory, "report.json"), *copy = content_of(directory, "predictions.jsonl"),
         *same = text_of(a, "more rows");
    ck_assert_str_eq(csv, "rows,expected,answered\n1,\"a\\x0A\\x1B[1m\",\"q\"\"u, ote\"\n1,\"b\",\"a\\x0A\\x1B[1m\"\n");
    ck_assert_str_eq(text, same);
    ck_assert_str_eq(copy, odd_answers);
    cJSON *report = NULL;
    ck_assert_int_eq(kit_json_parse(json, strlen(json), &report, &err), KOLM_OK);
    ck_assert(cJSON_IsFalse(kit_json_get(report, "ships")));
    ck_assert_int_eq(json[strlen(json) - 1], '\n');
    cJSON_Delete(report);
    free(csv);
    free(text);
    free(json);
    free(copy);
    free(same);
    /* Answers that were removed or replaced by a link are not copied. */
    ck_assert_int_eq(unlink(predictions), 0);
    ck_assert_int_eq(score_write_failed(directory, &k, a, &usual, NULL, predictions, &err), KOLM_E_NOT_FOUND);
    ck_assert_int_eq(symlink(heldout, predictions), 0);
    ck_assert_int_ne(score_write_failed(directory, &k, a, &usual, NULL, predictions, &err), KOLM_OK);
    score_answers_free(a);
}
END_TEST

/* ---- Labels chosen to be slow */

/* Either of two parts leads FNV-1a, which the label table once used, to the same slot, and so do the 2^15 labels that
 * consist of fifteen such parts. */
#define PARTS 15
static const char *const parts[PARTS][2] = {{"2lq1kgo02a", "qysj41catd"},
                                            {"g4czzsuxvf", "dnsmln4nqm"},
                                            {"2eknhuajjb", "fw3acuvmb0"},
                                            {"eo0kltvuk1", "ku2poqtiud"}};

static double seconds_for(bool hostile, size_t labels) {
    FILE *truth = fopen(heldout, "w"), *said = fopen(predictions, "w");
    score_answers *a = NULL;
    ck_assert(truth != NULL && said != NULL);
    for (size_t i = 0; i < labels; i++) {
        char label[PARTS * 10 + 1] = "";
        for (size_t p = 0; p < PARTS; p++)
            kit_format(label + p * 10, 11, "%s",
                       hostile        ? parts[p < 3 ? p : 3][(i >> p) & 1]
                       : (i >> p) & 1 ? "0123456789"
                                      : "abcdefghij");
        fprintf(truth, "{\"id\":\"%zu\",\"input\":\"x\",\"output\":\"%s\"}\n", i, label);
        fprintf(said, "{\"id\":\"%zu\",\"output\":\"%s\",\"confidence\":0.5}\n", i, label);
    }
    ck_assert(fclose(truth) == 0 && fclose(said) == 0);
    clock_t start = clock();
    ck_assert_msg(read_answers(&a) == KOLM_OK, "%s", err.text);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    ck_assert_uint_eq(score_correct(a), labels);
    score_answers_free(a);
    return seconds;
}

START_TEST(no_choice_of_labels_is_slow) {
    size_t labels = test_slowed() ? 2048 : 1u << PARTS;
    double plain = seconds_for(false, labels), chosen = seconds_for(true, labels);
    ck_assert_msg(chosen < plain * 8 + 0.1, "%.3f s, others take %.3f s", chosen, plain);
}
END_TEST

/* ---- Memory */

static long peak_of(size_t rows) {
    FILE *truth = fopen(heldout, "w"), *said = fopen(predictions, "w");
    ck_assert(truth != NULL && said != NULL);
    for (size_t i = 0; i < rows; i++) {
        fprintf(truth, "{\"id\":\"%zu\",\"input\":\"%0*d\",\"output\":\"l%zu\"}\n", i, 150, 0, i % 20);
        fprintf(said, "{\"id\":\"%zu\",\"output\":\"l%zu\",\"confidence\":0.5}\n", i, i % 19);
    }
    ck_assert(fclose(truth) == 0 && fclose(said) == 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        score_answers *a = NULL;
        _exit(read_answers(&a) == KOLM_OK && score_rows(a) == rows ? 0 : 1);
    }
    int status = 0;
    struct rusage used;
    ck_assert_int_eq(wait4(child, &status, 0, &used), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return used.ru_maxrss;
}

START_TEST(memory_does_not_grow_with_the_answers) {
    if (test_slowed()) return;
    long few = peak_of(10000), many = peak_of(100000);
    ck_assert_msg(many - few < 512, "%ld KiB for 10,000 rows, %ld KiB for 100,000", few, many);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("score reports");
    TCase *tests = tcase_create("score");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, memory_does_not_grow_with_the_answers); /* first: forked while this process is small */
    tcase_add_test(tests, no_choice_of_labels_is_slow);
    tcase_add_test(tests, the_report_for_people);
    tcase_add_test(tests, confusions_beyond_the_most_are_counted);
    tcase_add_test(tests, the_order_of_the_rows_does_not_show);
    tcase_add_test(tests, the_report_for_programs_can_be_read_back);
    tcase_add_test(tests, of_very_many_confusions_the_commonest_are_shown);
    tcase_add_test(tests, a_missed_gate_leaves_four_files);
    tcase_add_test(tests, a_formula_is_text_in_confusions);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
