/* SPDX-License-Identifier: Apache-2.0 */
/* Valid and invalid answers, gates, and the limits of scores. */
#include "score_fixture.h"

START_TEST(answers_are_counted) {
    static const char said[] = SAID("1", "a", "0.9") SAID("2", "a", "1") WITHHELD("7", "a");
    score_answers *a = read_texts(three_rows, said);
    ck_assert_uint_eq(score_rows(a), 3);
    ck_assert_uint_eq(score_answered(a), 2);
    ck_assert_uint_eq(score_correct(a), 1);
    char hex[KIT_SHA256_HEX];
    ck_assert_int_eq(kit_sha256_bytes(said, sizeof said - 1, hex, &err), KOLM_OK);
    ck_assert_str_eq(score_predictions_sha256(a), hex);
    /* Two answers in two bins: |1 - 0.9| and |0 - 1|, weighted by half each. */
    ck_assert_uint_eq(score_ece_micro(a), 550000);
    score_answers_free(a);
    score_answers_free(NULL);
}
END_TEST

/* ---- Reported one by one */

typedef struct told {
    kit_buf lines;
    uint64_t stop_at;
} told;

static kit_status tell(void *user, uint64_t number, const char *truth, const char *given, double confidence,
                       kolm_error_t *e) {
    told *t = user;
    kit_buf_fmt(&t->lines, "%llu %s %s %.1f\n", (unsigned long long)number, truth, given != NULL ? given : "-",
                confidence);
    return number == t->stop_at ? kit_fail(e, KOLM_E_CANCELLED, "", "enough") : KOLM_OK;
}

START_TEST(answers_are_reported) {
    static const char said[] = SAID("1", "a", "0.9") SAID("2", "a", "1") WITHHELD("7", "a");
    score_answers *a = read_texts(three_rows, said);
    size_t truth = 9, given = 9;
    uint64_t rows = 0, answers = 0, correct = 0;
    ck_assert(score_confusion_at(a, 0, &truth, &given, &rows));
    ck_assert_str_eq(score_label_at(a, truth, &answers), "b");
    ck_assert_str_eq(score_label_at(a, given, &answers), "a");
    ck_assert_uint_eq(rows, 1);
    ck_assert(!score_confusion_at(a, 1, &truth, &given, &rows));
    score_label_answers(a, given, &answers, &correct);
    ck_assert(answers == 2 && correct == 1);
    score_answers_free(a);

    told t = {.stop_at = 0};
    ck_assert_int_eq(read_as(&(score_question){.each = tell, .user = &t}, &a), KOLM_OK);
    ck_assert_str_eq(kit_buf_text(&t.lines), "1 a a 0.9\n2 b a 1.0\n3 a - 0.3\n");
    score_answers_free(a);
    kit_buf_clear(&t.lines);
    t.stop_at = 2;
    ck_assert_int_eq(read_as(&(score_question){.each = tell, .user = &t}, &a), KOLM_E_CANCELLED);
    ck_assert_str_eq(kit_buf_text(&t.lines), "1 a a 0.9\n2 b a 1.0\n");
    kit_buf_free(&t.lines);
}
END_TEST

START_TEST(line_ends_and_other_keys_do_not_matter) {
    score_answers *a = read_texts(three_rows, "{\"id\":\"1\",\"output\":\"a\",\"confidence\":0,\"note\":[1]}\r\n"
                                              "{\"confidence\":1.0,\"id\":\"2\",\"output\":\"b\"}\r\n"
                                              "{\"id\":\"7\",\"output\":\"\",\"confidence\":1e-3}");
    ck_assert_uint_eq(score_answered(a), 3);
    ck_assert_uint_eq(score_correct(a), 2);
    score_answers_free(a);
    /* No inputs, no answers. */
    a = read_texts("", "");
    ck_assert_uint_eq(score_rows(a), 0);
    ck_assert_uint_eq(score_ece_micro(a), 0);
    score_answers_free(a);
}
END_TEST

typedef struct bad_answers {
    const char *text;
    size_t length;
    const char *what;
} bad_answers;

#define FIRST SAID("1", "a", "0.9")
#define SECOND SAID("2", "b", "0.9")
#define THIRD SAID("7", "a", "0.9")

static const bad_answers bad[] = {
    /* Missing, additional, repeated, out of order. */
    {BYTES(""), "answer 1 of the backend: it is missing"},
    {BYTES(FIRST SECOND), "answer 3 of the backend: it is missing"},
    {BYTES(FIRST SECOND THIRD THIRD), "answer 4 of the backend: there are more answers than inputs"},
    {BYTES(FIRST SECOND SECOND THIRD), "answer 3 of the backend: expected the id 7, found 2"},
    {BYTES(FIRST THIRD SECOND), "answer 2 of the backend: expected the id 2, found 7"},
    {BYTES(SECOND FIRST THIRD), "answer 1 of the backend: expected the id 1, found 2"},
    {BYTES(FIRST SAID("2 ", "b", "1")), "expected the id 2, found 2 "},
    /* Lines that are not answers. */
    {BYTES(FIRST "\n" SECOND THIRD), "answer 2 of the backend: "},
    {BYTES(FIRST "no json\n"), "answer 2 of the backend: "},
    {BYTES(FIRST "{\"id\":\"2\",\"output\":\"b\",\"confidence\":1\n"), "answer 2 of the backend: "},
    {BYTES(FIRST "[\"2\",\"b\",1]\n"), "answer 2 of the backend: expected an object with the text \"id\""},
    {BYTES(FIRST "null\n"), "expected an object with the text \"id\""},
    {BYTES(FIRST "{\"output\":\"b\",\"confidence\":1}\n"), "expected an object with the text \"id\""},
    {BYTES(FIRST "{\"id\":2,\"output\":\"b\",\"confidence\":1}\n"), "expected an object with the text \"id\""},
    {BYTES(FIRST "{\"id\":\"2\",\"id\":\"2\",\"output\":\"b\",\"confidence\":1}\n"), "answer 2 of the backend: "},
    {BYTES(FIRST "{\"id\":\"2\",\"output\":\"\xFF\",\"confidence\":1}\n"), "answer 2 of the backend: "},
    {BYTES(FIRST "{\"id\":\"2\",\"output\":\"\0\",\"confidence\":1}\n"), "answer 2 of the backend: "},
    {BYTES(FIRST "{\"id\":\"2\",\"output\":\"\\u0000\",\"confidence\":1}\n"), "answer 2 of the backend: "},
    /* Without an output. */
    {BYTES(FIRST "{\"id\":\"2\",\"confidence\":1}\n"), "expected text or null in \"output\""},
    {BYTES(FIRST "{\"id\":\"2\",\"output\":1,\"confidence\":1}\n"), "expected text or null in \"output\""},
    {BYTES(FIRST "{\"id\":\"2\",\"output\":false,\"confidence\":1}\n"), "expected text or null in \"output\""},
    {BYTES(FIRST "{\"id\":\"2\",\"output\":[\"b\"],\"confidence\":1}\n"), "expected text or null in \"output\""},
    /* Without a confidence. */
    {BYTES(FIRST "{\"id\":\"2\",\"output\":\"b\"}\n"), "expected a \"confidence\" from 0 to 1"},
    {BYTES(FIRST "{\"id\":\"2\",\"output\":null}\n"), "expected a \"confidence\" from 0 to 1"},
    {BYTES(FIRST SAID("2", "b", "\"0.5\"")), "expected a \"confidence\" from 0 to 1"},
    {BYTES(FIRST SAID("2", "b", "null")), "expected a \"confidence\" from 0 to 1"},
    {BYTES(FIRST SAID("2", "b", "-0.001")), "expected a \"confidence\" from 0 to 1"},
    {BYTES(FIRST SAID("2", "b", "1.0000001")), "expected a \"confidence\" from 0 to 1"},
    {BYTES(FIRST SAID("2", "b", "NaN")), "answer 2 of the backend: "},
    {BYTES(FIRST SAID("2", "b", "1e999")), "answer 2 of the backend: "},
};

START_TEST(bad_answers_are_the_backends_fault) {
    score_answers *out = NULL;
    put(heldout, three_rows, sizeof three_rows - 1);
    put(predictions, bad[_i].text, bad[_i].length);
    ck_assert_int_eq(read_answers(&out), KOLM_E_DATA_LOSS);
    ck_assert_ptr_null(out);
    assert_says(err.text, bad[_i].what);
    assert_says(err.remedy, "fault of the backend");
    ck_assert_uint_eq(kit_utf8_valid(err.text, strlen(err.text)), strlen(err.text));
}
END_TEST

START_TEST(rows_that_are_not_those_put_aside_give_no_score) {
    char hex[KIT_SHA256_HEX];
    score_answers *out = NULL;
    put(heldout, three_rows, sizeof three_rows - 1);
    put(predictions, BYTES(FIRST SECOND THIRD));
    ck_assert_int_eq(kit_sha256_bytes(BYTES(three_rows), hex, &err), KOLM_OK);
    ck_assert_msg(read_as(&(score_question){.heldout_sha256 = hex}, &out) == KOLM_OK, "%s", err.text);
    score_answers_free(out);
    hex[0] = hex[0] == '0' ? '1' : '0';
    ck_assert_int_eq(read_as(&(score_question){.heldout_sha256 = hex}, &out), KOLM_E_ABORTED);
    ck_assert_ptr_null(out);
    assert_says(err.text, "could not be checked");
    ck_assert_ptr_null(strstr(err.remedy, "fault of the backend"));
}
END_TEST

START_TEST(a_bad_answer_names_its_backend_and_line) {
    static const char *const confidences[] = {"1e999", "-1e999", "1.5", "-0.1", "NaN", "Infinity", "1e9999999999"};
    for (size_t i = 0; i < COUNT(confidences); i++) {
        score_answers *out = NULL;
        kit_buf text = {0};
        kit_buf_fmt(&text, FIRST "{\"id\":\"2\",\"output\":\"b\",\"confidence\":%s}\n", confidences[i]);
        put(heldout, three_rows, sizeof three_rows - 1);
        put(predictions, text.data, text.length);
        ck_assert_int_eq(read_as(&(score_question){.backend = "some-gpu"}, &out), KOLM_E_DATA_LOSS);
        ck_assert_str_eq(err.text, "answer 2 of some-gpu: expected a \"confidence\" from 0 to 1");
        kit_buf_free(&text);
    }
}
END_TEST

START_TEST(reading_ends_on_request) {
    score_answers *out = NULL;
    const volatile sig_atomic_t stop = 1;
    put(heldout, three_rows, sizeof three_rows - 1);
    put(predictions, BYTES(FIRST SECOND THIRD));
    ck_assert_int_eq(read_as(&(score_question){.cancel = &stop}, &out), KOLM_E_CANCELLED);
}
END_TEST

/* A file of a terabyte, most of it a hole: endless NULs, of which only the maximum line length is read. */
START_TEST(answers_without_end_are_not_read_to_the_end) {
    score_answers *out = NULL;
    put(heldout, three_rows, sizeof three_rows - 1);
    put(predictions, BYTES(FIRST SECOND THIRD THIRD));
    ck_assert_int_eq(truncate(predictions, (off_t)1 << (test_slowed() ? 16 : 40)), 0);
    ck_assert_int_eq(read_answers(&out), KOLM_E_DATA_LOSS);
    assert_says(err.text, "answer 4 of the backend: there are more answers than inputs");
    if (test_under_valgrind()) return; /* the longest line alone takes half of the time of this program there */
    put(predictions, BYTES(FIRST));
    ck_assert_int_eq(truncate(predictions, (off_t)1 << 40), 0);
    ck_assert_int_eq(read_answers(&out), KOLM_E_DATA_LOSS);
    assert_says(err.text, "answer 2 of the backend: line 2 is longer");
    ck_assert_ptr_null(out);
}
END_TEST

START_TEST(a_long_foreign_id_is_cut_between_characters) {
    kit_buf text = {0};
    score_answers *out = NULL;
    kit_buf_str(&text, "{\"id\":\"x");
    for (size_t i = 0; i < 300; i++)
        kit_buf_str(&text, "\xE2\x82\xAC");
    kit_buf_str(&text, "\",\"output\":\"b\",\"confidence\":1}\n");
    put(heldout, three_rows, sizeof three_rows - 1);
    put(predictions, text.data, text.length);
    ck_assert_int_eq(read_answers(&out), KOLM_E_DATA_LOSS);
    assert_says(err.text, "expected the id 1, found x\xE2\x82\xAC");
    assert_says(err.text, "one answer per input, in order");
    ck_assert_uint_eq(kit_utf8_valid(err.text, strlen(err.text)), strlen(err.text));
    kit_buf_free(&text);
}
END_TEST

START_TEST(answers_that_are_no_file_are_refused) {
    score_answers *out = NULL;
    put(heldout, three_rows, sizeof three_rows - 1);
    ck_assert_int_eq(read_answers(&out), KOLM_E_NOT_FOUND);
    assert_says(err.text, predictions);
    ck_assert_int_eq(mkdir(predictions, 0700), 0);
    ck_assert_int_eq(read_answers(&out), KOLM_E_DATA_LOSS);
    assert_says(err.text, "is not a regular file");
    ck_assert_int_eq(rmdir(predictions), 0);
    /* A pipe without a writer: it must not wait for one. */
    ck_assert_int_eq(mkfifo(predictions, 0600), 0);
    ck_assert_int_eq(read_answers(&out), KOLM_E_DATA_LOSS);
    assert_says(err.text, "is not a regular file");
    assert_says(err.remedy, "fault of the backend");
    ck_assert_int_eq(unlink(predictions), 0);
    /* With a link a backend could have another file read in place of its answers, for example the held-out outputs. */
    ck_assert_int_eq(symlink(heldout, predictions), 0);
    ck_assert_int_ne(read_answers(&out), KOLM_OK);
    assert_says(err.text, predictions);
    ck_assert_ptr_null(out);
}
END_TEST

START_TEST(held_out_rows_that_changed_are_not_the_backends_fault) {
    static const char *const rows[] = {"{\"id\":1,\"output\":\"a\"}\n", "{\"id\":\"1\"}\n", "[]\n",
                                       "{\"id\":\"1\",\"output\":2}\n"};
    for (size_t i = 0; i < COUNT(rows); i++) {
        score_answers *out = NULL;
        put(heldout, rows[i], strlen(rows[i]));
        put(predictions, FIRST, sizeof FIRST - 1);
        ck_assert_int_eq(read_answers(&out), KOLM_E_ABORTED);
        assert_says(err.text, "held-out row 1 was changed");
        ck_assert_ptr_null(strstr(err.remedy, "backend"));
    }
}
END_TEST

/* ---- Scores */

START_TEST(the_score_at_its_ends) {
    score_k k;
    score_compute(10, 10, 10, 0, &k);
    ck_assert_uint_eq(k.k, SCORE_MICRO);
    ck_assert_uint_eq(k.k_interval.high_micro, SCORE_MICRO);
    score_compute(10, 0, 0, 0, &k);
    ck_assert_uint_eq(k.accuracy, 0);
    ck_assert_uint_eq(k.coverage, 0);
    ck_assert_uint_eq(k.k, 450000); /* small, fast, free, but without answers */
    score_compute(0, 0, 0, UINT64_MAX, &k);
    ck_assert_uint_eq(k.k, 0);
    score_compute(1, 1, 0, 80000000000ull, &k);
    ck_assert_uint_eq(k.size, 0);
    ck_assert_uint_eq(k.latency, 0); /* 1.6 s */
    ck_assert_uint_eq(k.cost, 938272);
    /* 20 GB: minus half by the square root, minus 400 of 1240 ms, and minus 1/3600 of $1 of $0.018. */
    score_compute(2, 1, 1, 20000000000ull, &k);
    ck_assert_uint_eq(k.size, 500000);
    ck_assert_uint_eq(k.latency, 677420);
    ck_assert_uint_eq(k.cost, 984568);
    ck_assert_uint_eq(k.coverage, 500000);
    ck_assert_uint_eq(k.k, 799298);
}
END_TEST

START_TEST(cost_reaches_zero_where_it_should) {
    score_k k;
    score_compute(1, 1, 1, 648000000000ull, &k);
    ck_assert_uint_eq(k.cost, 500000);
    score_compute(1, 1, 1, 1296000000000ull, &k);
    ck_assert_uint_eq(k.cost, 0);
    ck_assert_uint_eq(k.k, 550000);
}
END_TEST

START_TEST(a_larger_model_never_scores_more) {
    score_k k, last;
    score_compute(100, 90, 80, 0, &last);
    for (uint64_t bytes = 1; bytes < UINT64_MAX / 3; bytes += bytes / 2 + 1) {
        score_compute(100, 90, 80, bytes, &k);
        ck_assert(k.k <= last.k && k.size <= last.size && k.latency <= last.latency && k.cost <= last.cost);
        ck_assert(k.k_interval.low_micro <= k.k && k.k <= k.k_interval.high_micro);
        last = k;
    }
}
END_TEST

START_TEST(both_gates_must_be_reached) {
    const score_k k = {.k = 850000, .accuracy = 800000};
    ck_assert(score_reaches(&k, &(score_gates){.k_micro = 850000, .accuracy_micro = 800000}));
    ck_assert(!score_reaches(&k, &(score_gates){.k_micro = 850001, .accuracy_micro = 800000}));
    ck_assert(!score_reaches(&k, &(score_gates){.k_micro = 850000, .accuracy_micro = 800001}));
    ck_assert(score_reaches(&k, &(score_gates){0}));
    ck_assert(score_reaches(&(score_k){.k = 1000000, .accuracy = 1000000},
                            &(score_gates){.k_micro = 1000000, .accuracy_micro = 1000000}));
    /* Small, fast, free, but wrong. */
    score_k wrong;
    score_compute(100, 100, 79, 1000, &wrong);
    ck_assert_uint_gt(wrong.k, 850000);
    ck_assert(!score_reaches(&wrong, &(score_gates){.k_micro = 850000, .accuracy_micro = 800000}));
}
END_TEST

START_TEST(the_interval_is_wilsons) {
    static const struct {
        uint64_t hits, n;
        uint32_t low, high;
    } known[] = {
        {0, 0, 0, 1000000}, {0, 1, 0, 793451},         {1, 1, 206549, 1000000},   {8, 10, 490162, 943318},
        {0, 10, 0, 277533}, {50, 100, 403832, 596168}, {81, 263, 255289, 366210},
    };
    for (size_t i = 0; i < COUNT(known); i++) {
        score_interval found = score_wilson(known[i].hits, known[i].n);
        ck_assert_uint_eq(found.low_micro, known[i].low);
        ck_assert_uint_eq(found.high_micro, known[i].high);
    }
    for (uint64_t n = 1; n < 200; n += 200 / test_draws(200, 20))
        for (uint64_t hits = 0; hits <= n; hits++) {
            score_interval found = score_wilson(hits, n), mirrored = score_wilson(n - hits, n);
            ck_assert(found.low_micro * n <= hits * SCORE_MICRO + n && found.high_micro * n + n >= hits * SCORE_MICRO);
            /* Halves are rounded up on both sides. */
            ck_assert_int_le(abs((int)(found.low_micro + mirrored.high_micro) - (int)SCORE_MICRO), 1);
        }
}
END_TEST

/* ---- The baseline */

/* The rows of each label and how many of them are answered correctly; the others get the next label, or no answer. */
typedef struct standing_case {
    struct {
        uint32_t rows, right, withheld;
    } label[3];
    score_standing by_accuracy, by_balance;
} standing_case;

static const standing_case standings[] = {
    /* A classifier that always gives the same answer, with few and with many rows. */
    {{{390, 390, 0}, {10, 0, 0}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    {{{50000, 50000, 0}, {1, 0, 0}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    {{{4, 4, 0}, {1, 0, 0}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    {{{34, 34, 0}, {33, 0, 0}, {33, 0, 0}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    /* It finds most rows of the rare label. */
    {{{390, 390, 0}, {10, 9, 0}}, SCORE_BETTER, SCORE_BETTER},
    /* It finds most of them at the cost of the common label: better only if labels have equal weight. */
    {{{390, 370, 0}, {10, 9, 0}}, SCORE_NOT_BETTER, SCORE_BETTER},
    /* One of ten is not significant for accuracy; with equal weights it is, unless the label is also given wrongly. */
    {{{390, 390, 0}, {10, 1, 0}}, SCORE_NOT_BETTER, SCORE_BETTER},
    {{{390, 370, 0}, {10, 1, 0}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    /* Few rows: no errors are enough, even if an interval cannot show it. */
    {{{2, 2, 0}, {2, 2, 0}}, SCORE_BETTER, SCORE_BETTER},
    {{{3, 3, 0}, {1, 1, 0}}, SCORE_TOO_FEW, SCORE_BETTER},
    {{{18, 18, 0}, {2, 2, 0}}, SCORE_TOO_FEW, SCORE_BETTER},
    {{{18, 18, 0}, {2, 1, 0}}, SCORE_NOT_BETTER, SCORE_BETTER},
    {{{5, 5, 0}, {5, 4, 0}}, SCORE_BETTER, SCORE_BETTER},
    {{{2, 2, 0}, {1, 1, 0}, {1, 1, 0}}, SCORE_BETTER, SCORE_BETTER},
    /* One label: nothing can be shown, with any number of rows. */
    {{{400, 400, 0}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    {{{2, 2, 0}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    /* No output occurs twice. */
    {{{1, 1, 0}, {1, 1, 0}, {1, 0, 0}}, SCORE_NO_BASELINE, SCORE_NO_BASELINE},
    {{{1, 1, 0}}, SCORE_NO_BASELINE, SCORE_NO_BASELINE},
    /* A model that withholds all but one label only answers one label. */
    {{{100, 100, 0}, {100, 0, 100}, {100, 0, 100}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    {{{100, 90, 10}, {100, 85, 10}, {100, 80, 10}}, SCORE_BETTER, SCORE_BETTER},
};

START_TEST(a_model_is_better_than_one_answer_or_not) {
    const standing_case *c = &standings[_i];
    if (test_slowed() && c->label[0].rows > 1000) return;
    kit_buf rows = {0}, answers = {0};
    uint32_t id = 0;
    for (uint32_t label = 0; label < 3; label++)
        for (uint32_t n = 0; n < c->label[label].rows; n++, id++) {
            bool right = n < c->label[label].right,
                 kept = !right && n - c->label[label].right < c->label[label].withheld;
            kit_buf_fmt(&rows, "{\"id\":\"%u\",\"input\":\"x\",\"output\":\"l%u\"}\n", id, label);
            if (kept)
                kit_buf_fmt(&answers, "{\"id\":\"%u\",\"output\":null,\"confidence\":0.1,\"best\":\"l0\"}\n", id);
            else
                kit_buf_fmt(&answers, "{\"id\":\"%u\",\"output\":\"l%u\",\"confidence\":0.5}\n", id,
                            right        ? label
                            : label == 0 ? 1
                                         : 0);
        }
    score_answers *a = read_texts(rows.data, answers.data);
    score_baseline b;
    score_k k;
    score_baseline_of(a, &b);
    ck_assert_int_eq(score_stands(a, &b, false), c->by_accuracy);
    ck_assert_int_eq(score_stands(a, &b, true), c->by_balance);
    score_compute(score_rows(a), score_answered(a), score_correct(a), 1000, &k);
    ck_assert(score_ships(&k, a, &(score_gates){0}) == (c->by_accuracy != SCORE_NOT_BETTER));
    ck_assert(score_ships(&k, a, &(score_gates){.balanced = true}) == (c->by_balance != SCORE_NOT_BETTER));
    ck_assert(score_ships(&k, a, &(score_gates){.allow_baseline = true}));
    ck_assert(!score_ships(&k, a, &(score_gates){.allow_baseline = true, .accuracy_micro = SCORE_MICRO + 1}));
    score_answers_free(a);
    kit_buf_free(&rows);
    kit_buf_free(&answers);
}
END_TEST

START_TEST(labels_that_are_never_answered_are_named) {
    kit_buf text = {0};
    uint64_t correct = 9, rows = 9;
    score_answers *a =
        read_texts(TRUTH("1", "a") TRUTH("2", "b") TRUTH("3", "c") TRUTH("4", "c") TRUTH("5", "a"),
                   SAID("1", "a", "1") SAID("2", "a", "1") SAID("3", "d", "1") WITHHELD("4", "c") SAID("5", "d", "1"));
    score_baseline b;
    score_baseline_of(a, &b);
    ck_assert_uint_eq(b.never_answered, 2);
    ck_assert_uint_eq(b.labels, 3);
    ck_assert_str_eq(b.label, "a");
    ck_assert_uint_eq(b.correct, 2);
    ck_assert_uint_eq(b.accuracy, 500000);
    ck_assert_uint_eq(b.balanced, 166667);
    ck_assert_int_eq(score_never_answered_text(a, 5, &text, &err), KOLM_OK);
    ck_assert_str_eq(kit_buf_text(&text), "\"c\" (2 rows), \"b\" (1 row)");
    kit_buf_clear(&text);
    ck_assert_int_eq(score_never_answered_text(a, 1, &text, &err), KOLM_OK);
    ck_assert_str_eq(kit_buf_text(&text), "\"c\" (2 rows), ...");
    ck_assert_str_eq(score_lowest_recall(a, &correct, &rows), "c");
    ck_assert(correct == 0 && rows == 2);
    ck_assert_uint_eq(score_label_rows(a, "c"), 2);
    ck_assert_uint_eq(score_label_rows(a, "d"), 0);
    ck_assert_uint_eq(score_label_rows(a, "nobody's"), 0);
    ck_assert_str_eq(score_label_at(a, 0, &rows), "a");
    ck_assert_ptr_null(score_label_at(a, 4, &rows));
    kit_buf_free(&text);
    score_answers_free(a);
    a = read_texts("", "");
    score_baseline_of(a, &b);
    ck_assert(!b.known && b.labels == 0 && score_stands(a, &b, true) == SCORE_NO_BASELINE);
    ck_assert_ptr_null(score_lowest_recall(a, &correct, &rows));
    ck_assert_uint_eq(score_label_rows(a, "a"), 0);
    score_answers_free(a);
}
END_TEST

START_TEST(texts_stay_out_of_the_manifest) {
    score_answers *a = read_texts(odd_rows, odd_answers);
    score_k k;
    score_compute(5, 4, 2, 1000000, &k);
    cJSON *object = score_manifest_object(&k, a, false);
    ck_assert_ptr_null(kit_json_get(object, "labels"));
    ck_assert_ptr_null(kit_json_get(kit_json_get(object, "baseline"), "label"));
    ck_assert_ptr_nonnull(kit_json_get(object, "balanced_accuracy"));
    cJSON_Delete(object);
    score_answers_free(a);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("score");
    TCase *tests = tcase_create("score");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, answers_are_counted);
    tcase_add_test(tests, answers_are_reported);
    tcase_add_test(tests, line_ends_and_other_keys_do_not_matter);
    tcase_add_loop_test(tests, bad_answers_are_the_backends_fault, 0, COUNT(bad));
    tcase_add_test(tests, rows_that_are_not_those_put_aside_give_no_score);
    tcase_add_test(tests, a_bad_answer_names_its_backend_and_line);
    tcase_add_test(tests, reading_ends_on_request);
    tcase_add_test(tests, answers_without_end_are_not_read_to_the_end);
    tcase_add_test(tests, a_long_foreign_id_is_cut_between_characters);
    tcase_add_test(tests, answers_that_are_no_file_are_refused);
    tcase_add_test(tests, held_out_rows_that_changed_are_not_the_backends_fault);
    tcase_add_test(tests, the_score_at_its_ends);
    tcase_add_test(tests, cost_reaches_zero_where_it_should);
    tcase_add_test(tests, a_larger_model_never_scores_more);
    tcase_add_test(tests, both_gates_must_be_reached);
    tcase_add_test(tests, the_interval_is_wilsons);
    tcase_add_loop_test(tests, a_model_is_better_than_one_answer_or_not, 0, (int)COUNT(standings));
    tcase_add_test(tests, labels_that_are_never_answered_are_named);
    tcase_add_test(tests, texts_stay_out_of_the_manifest);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
