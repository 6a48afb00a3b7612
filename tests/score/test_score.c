/* SPDX-License-Identifier: Apache-2.0 */
/* Answers good and bad, gates and limits of the scores, and what reports say. */
#include "../suite.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"
#include "score/score.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define BYTES(text) text, sizeof(text) - 1

static kolm_error_t err;
static char base[64], heldout[80], predictions[80];

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_copy(base, sizeof base, "/tmp/kolm-score-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base));
    kit_format(heldout, sizeof heldout, "%s/heldout.jsonl", base);
    kit_format(predictions, sizeof predictions, "%s/predictions.jsonl", base);
}

static void teardown(void) {
    ck_assert_int_eq(kit_remove_tree(base, NULL), KOLM_OK);
}

static void put(const char *path, const void *bytes, size_t length) {
    ck_assert_int_eq(kit_write_file(path, 0600, bytes, length, &err), KOLM_OK);
}

/* The rows in heldout and the answers in predictions. */
static kit_status read_as(const score_question *asked, score_answers **out) {
    int fd = open(heldout, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    score_question question = *asked;
    question.heldout_fd = fd;
    question.predictions = predictions;
    kit_status status = score_answers_read(&question, out, &err);
    close(fd);
    return status;
}

static kit_status read_answers(score_answers **out) {
    return read_as(&(score_question){0}, out);
}

static void assert_says(const char *text, const char *piece) {
    ck_assert_msg(strstr(text, piece) != NULL, "expected \"%s\" in \"%s\"", piece, text);
}

static score_answers *read_texts(const char *rows, const char *answers) {
    score_answers *out = NULL;
    put(heldout, rows, strlen(rows));
    put(predictions, answers, strlen(answers));
    ck_assert_msg(read_answers(&out) == KOLM_OK, "%s", err.text);
    return out;
}

/* ---- Reading answers */

#define TRUTH(id, output) "{\"id\":\"" id "\",\"input\":\"x\",\"output\":\"" output "\"}\n"
#define SAID(id, output, confidence) "{\"id\":\"" id "\",\"output\":\"" output "\",\"confidence\":" confidence "}\n"
#define WITHHELD(id, best) "{\"id\":\"" id "\",\"output\":null,\"confidence\":0.3,\"best\":\"" best "\"}\n"

static const char three_rows[] = TRUTH("1", "a") TRUTH("2", "b") TRUTH("7", "a");

START_TEST(answers_are_counted) {
    static const char said[] = SAID("1", "a", "0.9") SAID("2", "a", "1") WITHHELD("7", "a");
    score_answers *a = read_texts(three_rows, said);
    ck_assert_uint_eq(score_rows(a), 3);
    ck_assert_uint_eq(score_answered(a), 2);
    ck_assert_uint_eq(score_correct(a), 1);
    char hex[KIT_SHA256_HEX];
    ck_assert_int_eq(kit_sha256_bytes(said, sizeof said - 1, hex, &err), KOLM_OK);
    ck_assert_str_eq(score_predictions_sha256(a), hex);
    /* Two answers in two bins: |1 - 0.9| and |0 - 1|, half each. */
    ck_assert_uint_eq(score_ece_micro(a), 550000);
    score_answers_free(a);
    score_answers_free(NULL);
}
END_TEST

/* ---- Told one by one */

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

START_TEST(answers_are_told) {
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
    /* Nothing asked, nothing said. */
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
    /* No answer. */
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
    /* No output. */
    {BYTES(FIRST "{\"id\":\"2\",\"confidence\":1}\n"), "expected text or null in \"output\""},
    {BYTES(FIRST "{\"id\":\"2\",\"output\":1,\"confidence\":1}\n"), "expected text or null in \"output\""},
    {BYTES(FIRST "{\"id\":\"2\",\"output\":false,\"confidence\":1}\n"), "expected text or null in \"output\""},
    {BYTES(FIRST "{\"id\":\"2\",\"output\":[\"b\"],\"confidence\":1}\n"), "expected text or null in \"output\""},
    /* No confidence. */
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

START_TEST(reading_ends_when_it_is_told_to) {
    score_answers *out = NULL;
    const volatile sig_atomic_t stop = 1;
    put(heldout, three_rows, sizeof three_rows - 1);
    put(predictions, BYTES(FIRST SECOND THIRD));
    ck_assert_int_eq(read_as(&(score_question){.cancel = &stop}, &out), KOLM_E_CANCELLED);
}
END_TEST

/* A file of a terabyte, most of it a hole: NULs without an end, read to the longest line that there may be and no further. */
START_TEST(answers_without_end_are_not_read_to_the_end) {
    score_answers *out = NULL;
    put(heldout, three_rows, sizeof three_rows - 1);
    put(predictions, BYTES(FIRST SECOND THIRD THIRD));
    ck_assert_int_eq(truncate(predictions, (off_t)1 << 40), 0);
    ck_assert_int_eq(read_answers(&out), KOLM_E_DATA_LOSS);
    assert_says(err.text, "answer 4 of the backend: there are more answers than inputs");
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
    /* Nobody writes into this pipe: waiting for it would be for ever. */
    ck_assert_int_eq(mkfifo(predictions, 0600), 0);
    ck_assert_int_eq(read_answers(&out), KOLM_E_DATA_LOSS);
    assert_says(err.text, "is not a regular file");
    assert_says(err.remedy, "fault of the backend");
    ck_assert_int_eq(unlink(predictions), 0);
    /* A link would let a backend have another file read in the place of its answers: the held-out outputs, say. */
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
    ck_assert_uint_eq(k.k, 450000); /* small, fast, free and silent */
    score_compute(0, 0, 0, UINT64_MAX, &k);
    ck_assert_uint_eq(k.k, 0);
    score_compute(1, 1, 0, 80000000000ull, &k);
    ck_assert_uint_eq(k.size, 0);
    ck_assert_uint_eq(k.latency, 0); /* 1.6 s */
    ck_assert_uint_eq(k.cost, 938272);
    /* 20 GB: half of the root is lost, 400 ms of 1240, and 1/3600 of 1 $ of 0.018. */
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
    /* Small, fast, free and wrong. */
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
    for (uint64_t n = 1; n < 200; n++)
        for (uint64_t hits = 0; hits <= n; hits++) {
            score_interval found = score_wilson(hits, n), mirrored = score_wilson(n - hits, n);
            ck_assert(found.low_micro * n <= hits * SCORE_MICRO + n && found.high_micro * n + n >= hits * SCORE_MICRO);
            /* Halves are rounded up on both sides. */
            ck_assert_int_le(abs((int)(found.low_micro + mirrored.high_micro) - (int)SCORE_MICRO), 1);
        }
}
END_TEST

/* ---- The baseline */

static const char odd_rows[] =
    TRUTH("1", "b") TRUTH("2", "b") TRUTH("3", "a\\n\\u001b[1m") TRUTH("4", "q\\\"u, ote") TRUTH("5", "b");
static const char odd_answers[] = SAID("1", "b", "0.95") SAID("2", "a\\n\\u001b[1m", "0.5")
    SAID("3", "q\\\"u, ote", "0.5") SAID("4", "q\\\"u, ote", "1") WITHHELD("5", "b");

/* rows of each label, those of them that are answered rightly; the others are given the next label, or withheld. */
typedef struct standing_case {
    struct {
        uint32_t rows, right, withheld;
    } label[3];
    score_standing by_accuracy, by_balance;
} standing_case;

static const standing_case standings[] = {
    /* A classifier that knows one answer, with few and with many rows. */
    {{{390, 390, 0}, {10, 0, 0}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    {{{50000, 50000, 0}, {1, 0, 0}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    {{{4, 4, 0}, {1, 0, 0}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    {{{34, 34, 0}, {33, 0, 0}, {33, 0, 0}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    /* It finds most of what is rare. */
    {{{390, 390, 0}, {10, 9, 0}}, SCORE_BETTER, SCORE_BETTER},
    /* It finds half of it, at the cost of the common label: better only where labels count alike. */
    {{{390, 370, 0}, {10, 9, 0}}, SCORE_NOT_BETTER, SCORE_BETTER},
    /* One of ten is no evidence for accuracy; where labels count alike, never to say it wrongly is some. */
    {{{390, 390, 0}, {10, 1, 0}}, SCORE_NOT_BETTER, SCORE_BETTER},
    {{{390, 370, 0}, {10, 1, 0}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    /* Few rows: faultless is enough, also where no interval could show it. */
    {{{2, 2, 0}, {2, 2, 0}}, SCORE_BETTER, SCORE_BETTER},
    {{{3, 3, 0}, {1, 1, 0}}, SCORE_TOO_FEW, SCORE_BETTER},
    {{{18, 18, 0}, {2, 2, 0}}, SCORE_TOO_FEW, SCORE_BETTER},
    {{{18, 18, 0}, {2, 1, 0}}, SCORE_NOT_BETTER, SCORE_BETTER},
    {{{5, 5, 0}, {5, 4, 0}}, SCORE_BETTER, SCORE_BETTER},
    {{{2, 2, 0}, {1, 1, 0}, {1, 1, 0}}, SCORE_BETTER, SCORE_BETTER},
    /* One label: nothing is shown, however many rows. */
    {{{400, 400, 0}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    {{{2, 2, 0}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    /* No output twice. */
    {{{1, 1, 0}, {1, 1, 0}, {1, 0, 0}}, SCORE_NO_BASELINE, SCORE_NO_BASELINE},
    {{{1, 1, 0}}, SCORE_NO_BASELINE, SCORE_NO_BASELINE},
    /* Who withholds all but one label answers one label. */
    {{{100, 100, 0}, {100, 0, 100}, {100, 0, 100}}, SCORE_NOT_BETTER, SCORE_NOT_BETTER},
    {{{100, 90, 10}, {100, 85, 10}, {100, 80, 10}}, SCORE_BETTER, SCORE_BETTER},
};

START_TEST(a_model_is_better_than_one_answer_or_not) {
    const standing_case *c = &standings[_i];
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

START_TEST(labels_that_nobody_answers_are_named) {
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
    /* The manifest's part is canonical: the same bytes for the same counts. */
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
    ck_assert_uint_eq(last, 2); /* a hundred of three, a hundred of two */
    cJSON_Delete(object);
    char *text = text_of(a, NULL);
    const char *table = strstr(text, "\nrows  expected");
    ck_assert_ptr_nonnull(table);
    size_t lines = 0;
    for (const char *p = table + 1; *p != '\0'; p++)
        lines += *p == '\n';
    ck_assert_uint_eq(lines, 202); /* the heading, 200, and how many more there are */
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

/* What a spreadsheet would run is text there. */
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
    /* Answers that are gone, or that have become a link, are not copied. */
    ck_assert_int_eq(unlink(predictions), 0);
    ck_assert_int_eq(score_write_failed(directory, &k, a, &usual, NULL, predictions, &err), KOLM_E_NOT_FOUND);
    ck_assert_int_eq(symlink(heldout, predictions), 0);
    ck_assert_int_ne(score_write_failed(directory, &k, a, &usual, NULL, predictions, &err), KOLM_OK);
    score_answers_free(a);
}
END_TEST

/* ---- Labels that were chosen to be slow */

#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif

static bool slowed(void) {
#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
    return true;
#else
    return getenv("KOLM_UNDER_VALGRIND") != NULL;
#endif
}

/* Either of two parts leads FNV-1a, by which labels were once found, to the same place of a table, and so 2^15 labels made of
 * fifteen such parts did. */
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
    size_t labels = slowed() ? 2048 : 1u << PARTS;
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
    if (slowed()) return;
    long few = peak_of(10000), many = peak_of(100000);
    ck_assert_msg(many - few < 512, "%ld KiB for 10,000 rows, %ld KiB for 100,000", few, many);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("score");
    TCase *tests = tcase_create("score");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, memory_does_not_grow_with_the_answers); /* first: forked while this process is small */
    tcase_add_test(tests, answers_are_counted);
    tcase_add_test(tests, answers_are_told);
    tcase_add_test(tests, line_ends_and_other_keys_do_not_matter);
    tcase_add_loop_test(tests, bad_answers_are_the_backends_fault, 0, COUNT(bad));
    tcase_add_test(tests, rows_that_are_not_those_put_aside_give_no_score);
    tcase_add_test(tests, a_bad_answer_names_its_backend_and_line);
    tcase_add_test(tests, reading_ends_when_it_is_told_to);
    tcase_add_test(tests, answers_without_end_are_not_read_to_the_end);
    tcase_add_test(tests, no_choice_of_labels_is_slow);
    tcase_add_test(tests, a_long_foreign_id_is_cut_between_characters);
    tcase_add_test(tests, answers_that_are_no_file_are_refused);
    tcase_add_test(tests, held_out_rows_that_changed_are_not_the_backends_fault);
    tcase_add_test(tests, the_score_at_its_ends);
    tcase_add_test(tests, cost_reaches_zero_where_it_should);
    tcase_add_test(tests, a_larger_model_never_scores_more);
    tcase_add_test(tests, both_gates_must_be_reached);
    tcase_add_test(tests, the_interval_is_wilsons);
    tcase_add_loop_test(tests, a_model_is_better_than_one_answer_or_not, 0, (int)COUNT(standings));
    tcase_add_test(tests, labels_that_nobody_answers_are_named);
    tcase_add_test(tests, texts_stay_out_of_the_manifest);
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
