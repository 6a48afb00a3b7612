/* SPDX-License-Identifier: Apache-2.0 */
/* Training: quality, equal results for any number of threads, calibration, thresholds, odd data, stopping. */
#include "engine_fixture.h"

START_TEST(learns_and_knows_how_sure_it_is) {
    made_rows(&data, 1, 4000, 12, 8);
    write_rows();
    train_request q = request_for(4000, 2);
    train_report r = must_train(&q);
    ck_assert_uint_eq(r.rows, 4000);
    ck_assert_uint_eq(r.label_count, 12);
    ck_assert_str_eq(r.labels[0], "queue 0");
    ck_assert_str_eq(r.labels[2], "queue 10"); /* in byte order */
    ck_assert_uint_ge(r.result.candidates, 3);
    ck_assert_uint_eq(r.result.oof_rows, 4000);
    ck_assert_uint_eq(r.result.oof_answered, 4000);
    ck_assert_uint_le(r.result.ece_micro, 40000);
    model *m = must_open(model_path);
    outcome o = evaluate(m, 999, 4000, 12, 8);
    double held = (double)o.right / o.rows, estimate = (double)r.result.oof_correct / (double)r.result.oof_rows;
    ck_assert_msg(held > 0.75, "accuracy %.3f", held);
    ck_assert_msg(held > estimate - 0.02 && held < estimate + 0.05, "held-out %.3f, estimate %.3f", held, estimate);
    ck_assert_msg(o.gap_micro <= 40000, "ECE %.4f", (double)o.gap_micro / 1e6);
    model_close(m);
    train_report_free(&r);
}
END_TEST

START_TEST(threshold_reaches_the_target) {
    made_rows(&data, 2, 4000, 10, 3);
    write_rows();
    train_request q = request_for(4000, 2);
    q.target_accuracy_micro = 950000;
    train_report r = must_train(&q);
    ck_assert_uint_gt(r.result.threshold_micro, 0);
    ck_assert(!r.result.target_missed);
    ck_assert_uint_ge(r.result.oof_correct * 1000000, r.result.oof_answered * 950000);
    ck_assert_uint_lt(r.result.oof_answered, r.result.oof_rows);
    model *m = must_open(model_path);
    outcome o = evaluate(m, 31337, 4000, 10, 3);
    ck_assert_msg(o.right >= 0.935 * o.answered, "%u of %u right", o.right, o.answered);
    ck_assert_uint_gt(o.answered, 1000);
    model_close(m);
    train_report_free(&r);
    q.target_accuracy_micro = 0;
    q.abstain_micro = 600000;
    r = must_train(&q);
    ck_assert_uint_eq(r.result.threshold_micro, 600000);
    train_report_free(&r);
}
END_TEST

START_TEST(an_unreachable_target_is_reported) {
    made_rows(&data, 3, 600, 4, 100); /* nothing can be learned */
    write_rows();
    train_request q = request_for(600, 1);
    q.target_accuracy_micro = 1000000;
    train_report r = must_train(&q);
    ck_assert(r.result.target_missed || r.result.oof_answered < 60);
    train_report_free(&r);
}
END_TEST

static void assert_same_files(void) {
    kit_buf a = {0}, b = {0};
    ck_assert_int_eq(kit_read_file(model_path, 1u << 28, &a, &err), KOLM_OK);
    ck_assert_int_eq(kit_read_file(other_path, 1u << 28, &b, &err), KOLM_OK);
    ck_assert_uint_eq(a.length, b.length);
    ck_assert_int_eq(memcmp(a.data, b.data, a.length), 0);
    kit_buf_free(&a);
    kit_buf_free(&b);
}

START_TEST(any_number_of_threads_gives_the_same_bytes) {
    static const uint32_t threads[] = {2, 3, 8};
    const uint32_t count = (uint32_t)test_draws(1500, 400);
    made_rows(&data, 4, count, _i == 0 ? 40 : 5, 5);
    write_rows();
    train_request q = request_for(count, 1);
    train_report first = must_train(&q);
    q.model_path = other_path;
    for (size_t i = 0; i < 3; i++) {
        q.threads = threads[i];
        train_report r = must_train(&q);
        ck_assert_int_eq(memcmp(&r.result, &first.result, sizeof r.result), 0);
        train_report_free(&r);
        assert_same_files();
    }
    train_report_free(&first);
}
END_TEST

START_TEST(another_seed_gives_another_model) {
    made_rows(&data, 4, 900, 5, 5);
    write_rows();
    train_request q = request_for(900, 2);
    train_report r = must_train(&q);
    train_report_free(&r);
    q.seed = 2;
    q.model_path = other_path;
    r = must_train(&q);
    train_report_free(&r);
    kit_buf a = {0}, b = {0};
    ck_assert_int_eq(kit_read_file(model_path, 1u << 28, &a, &err), KOLM_OK);
    ck_assert_int_eq(kit_read_file(other_path, 1u << 28, &b, &err), KOLM_OK);
    ck_assert(a.length != b.length || memcmp(a.data, b.data, a.length) != 0);
    kit_buf_free(&a);
    kit_buf_free(&b);
}
END_TEST

START_TEST(spilled_rows_give_the_same_bytes) {
    const uint32_t count = (uint32_t)test_draws(3000, 400);
    made_rows(&data, 5, count, 6, 5);
    write_rows();
    train_request q = request_for(count, 2);
    train_report r = must_train(&q);
    train_report_free(&r);
    /* Without a scratch directory all data stays in memory. The rows are few, so equal bytes show that the directory
     * does not matter. */
    q.scratch_dir = NULL;
    q.model_path = other_path;
    r = must_train(&q);
    train_report_free(&r);
    assert_same_files();
}
END_TEST

START_TEST(quick_and_high_effort) {
    made_rows(&data, 6, 1200, 6, 5);
    write_rows();
    train_request q = request_for(1200, 2);
    q.effort = _i == 0 ? EFFORT_QUICK : EFFORT_HIGH;
    train_report r = must_train(&q);
    ck_assert_uint_gt(r.result.oof_rows, 200);
    ck_assert_uint_le(r.result.ece_micro, 80000);
    model *m = must_open(model_path);
    outcome o = evaluate(m, 5, 1000, 6, 5);
    ck_assert_uint_gt(o.right, 750);
    model_close(m);
    train_report_free(&r);
}
END_TEST

/* ---- Odd data */

/* Rows of two labels: every 40th is rare, and most of these have a word that few others have. */
static void rare_rows(kit_buf *out, uint64_t seed, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        bool rare = i % 40 == 0, told = num_below(&seed, 100) < (rare ? 80u : 4u);
        kit_buf_fmt(out, "{\"id\":\"%u\",\"input\":\"", (unsigned)i);
        for (uint32_t w = 0; w < 8; w++) {
            made_word(out, num_below(&seed, 60));
            kit_buf_char(out, ' ');
        }
        if (told) kit_buf_str(out, "remarkable");
        kit_buf_fmt(out, "\",\"output\":\"%s\"}\n", rare ? "rare" : "usual");
    }
}

/* Returns how many of a hundred rare texts the model of this request finds. */
static uint32_t found_of_100(const train_request *q) {
    train_report r = must_train(q);
    model *m = must_open(model_path);
    uint64_t seed = 99;
    uint32_t found = 0, length;
    kit_buf text = {0};
    for (uint32_t i = 0; i < 100; i++) {
        model_answer a;
        kit_buf_clear(&text);
        for (uint32_t w = 0; w < 8; w++) {
            made_word(&text, num_below(&seed, 60));
            kit_buf_char(&text, ' ');
        }
        kit_buf_str(&text, "remarkable");
        ck_assert_int_eq(model_answer_text(m, kit_buf_text(&text), text.length, &a, &err), KOLM_OK);
        found += strncmp(model_label(m, a.label, &length), "rare", 4) == 0;
    }
    ck_assert(r.balanced == q->balanced);
    kit_buf_free(&text);
    model_close(m);
    train_report_free(&r);
    return found;
}

START_TEST(balanced_weights_find_rare_labels) {
    static const choose_effort efforts[] = {EFFORT_QUICK, EFFORT_NORMAL};
    rare_rows(&data, 5, 2000);
    write_rows();
    train_request q = request_for(2000, 2);
    q.effort = efforts[_i];
    uint32_t plain = found_of_100(&q);
    q.balanced = true;
    uint32_t weighed = found_of_100(&q);
    ck_assert_msg(weighed >= plain + 30, "%u of 100 with weights, %u without", weighed, plain);
    kit_buf first = {0}, second = {0};
    ck_assert_int_eq(kit_read_file(model_path, 1u << 28, &first, &err), KOLM_OK);
    q.threads = 1;
    (void)found_of_100(&q);
    ck_assert_int_eq(kit_read_file(model_path, 1u << 28, &second, &err), KOLM_OK);
    ck_assert(first.length == second.length && memcmp(first.data, second.data, first.length) == 0);
    kit_buf_free(&first);
    kit_buf_free(&second);
}
END_TEST

/* If all labels have the same number of rows, each weighs one: nothing changes, in any solver. */
START_TEST(balanced_weights_of_balanced_rows_change_nothing) {
    const uint32_t count = (uint32_t)test_draws(480, 120);
    kit_buf first = {0}, second = {0};
    for (uint32_t i = 0; i < count; i++) {
        kit_buf_fmt(&data, "{\"id\":\"%u\",\"input\":\"", (unsigned)i);
        for (uint32_t w = 0; w < 14; w++) {
            made_word(&data, w < 3 ? 5000 + i % 4 * 9 + num_mix(i * 31 + w) % 12 : num_mix(i * 77 + w) % 300);
            kit_buf_char(&data, ' ');
        }
        kit_buf_fmt(&data, "\",\"output\":\"label %u\"}\n", (unsigned)i % 4);
    }
    write_rows();
    train_request q = request_for(count, 2);
    train_report r = must_train(&q);
    train_report_free(&r);
    ck_assert_int_eq(kit_read_file(model_path, 1u << 28, &first, &err), KOLM_OK);
    q.balanced = true;
    r = must_train(&q);
    for (uint32_t i = 0; i < r.result.candidates; i++)
        ck_assert_uint_gt(r.result.candidate[i].merit, 0);
    train_report_free(&r);
    ck_assert_int_eq(kit_read_file(model_path, 1u << 28, &second, &err), KOLM_OK);
    ck_assert(first.length == second.length && memcmp(first.data, second.data, first.length) == 0);
    kit_buf_free(&first);
    kit_buf_free(&second);
}
END_TEST

START_TEST(one_row_a_label) {
    kit_buf word = {0};
    for (unsigned i = 0; i < 200; i++) {
        kit_buf_clear(&word);
        made_word(&word, i * 31u);
        kit_buf_fmt(&data, "{\"id\":\"%u\",\"input\":\"the %s %u\",\"output\":\"only %u\"}\n", i, kit_buf_text(&word),
                    i, i);
    }
    write_rows();
    train_request q = request_for(200, 2);
    q.target_accuracy_micro = 900000;
    train_report r = must_train(&q);
    ck_assert_uint_eq(r.result.oof_rows, 0);
    ck_assert(r.result.target_missed);
    model *m = must_open(model_path);
    model_answer a;
    uint32_t length, right = 0, answered = 0;
    for (unsigned i = 0; i < 200; i++) {
        char text[64], name[32];
        kit_buf_clear(&word);
        made_word(&word, i * 31u);
        kit_format(text, sizeof text, "the %s %u", kit_buf_text(&word), i);
        kit_format(name, sizeof name, "only %u", i);
        ck_assert_int_eq(model_answer_text(m, text, strlen(text), &a, &err), KOLM_OK);
        const char *label = model_label(m, a.label, &length);
        right += length == strlen(name) && memcmp(label, name, length) == 0;
        answered += !a.abstains;
    }
    ck_assert_uint_gt(right, 180);
    ck_assert_uint_eq(answered, 0); /* no threshold is known to reach the target */
    model_close(m);
    train_report_free(&r);
    kit_buf_free(&word);
}
END_TEST

START_TEST(two_rows_and_strange_texts) {
    kit_buf_str(
        &data,
        "{\"id\":\"1\",\"input\":\"\",\"output\":\"\"}\n{\"id\":\"2\",\"input\":\"?\",\"output\":"
        "\"a\\n\\\"b\\\"\\u0007\"}\n"
        "{\"id\":\"3\",\"input\":\"\xF0\x9F\x98\x80 \xE5\xAF\x86\xE7\xA0\x81\",\"output\":\"a\\n\\\"b\\\"\\u0007\"}\n");
    write_rows();
    train_request q = request_for(3, 4);
    train_report r = must_train(&q);
    ck_assert_uint_eq(r.label_count, 2);
    model *m = must_open(model_path);
    model_answer a;
    ck_assert_int_eq(model_answer_text(m, "", 0, &a, &err), KOLM_OK);
    ck_assert_int_eq(model_answer_text(m, "\xff\xfe", 2, &a, &err), KOLM_OK);
    model_close(m);
    train_report_free(&r);
}
END_TEST

static void assert_refused(int32_t code, const char *word) {
    train_report r;
    train_request q = request_for(10, 2);
    err = (kolm_error_t)KIT_ERROR_INIT;
    ck_assert_int_eq(train_run(&q, &r, &err), code);
    ck_assert_msg(strstr(err.text, word) != NULL, "%s", err.text);
    ck_assert_uint_gt(strlen(err.remedy), 0);
    ck_assert_int_ne(access(model_path, F_OK), 0);
}

START_TEST(bad_rows_are_refused_with_their_line) {
    static const char good[] = "{\"id\":\"1\",\"input\":\"x\",\"output\":\"a\"}\n";
    static const char *const bad[] = {"{\"id\":\"2\",\"input\":\"x\"}\n",
                                      "{\"id\":\"2\",\"input\":7,\"output\":\"b\"}\n", "not json\n",
                                      "{\"id\":\"2\",\"input\":\"\xff\",\"output\":\"b\"}\n", "\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        kit_buf_clear(&data);
        kit_buf_str(&data, good);
        kit_buf_str(&data, bad[i]);
        write_rows();
        assert_refused(KOLM_E_INVALID_ARGUMENT, "line 2");
    }
    kit_buf_clear(&data);
    write_rows();
    assert_refused(KOLM_E_INVALID_ARGUMENT, "no training rows");
    kit_buf_str(&data, good);
    kit_buf_str(&data, good);
    write_rows();
    assert_refused(KOLM_E_INVALID_ARGUMENT, "same output");
    ck_assert_int_eq(unlink(rows_path), 0);
    assert_refused(KOLM_E_NOT_FOUND, "train.jsonl");
}
END_TEST

static bool stop_at_once(void *user) {
    return atomic_fetch_add((atomic_int *)user, 1) >= 5;
}

START_TEST(stops_when_asked) {
    atomic_int asked = 0;
    const uint32_t count = (uint32_t)test_draws(3000, 400);
    made_rows(&data, 7, count, 20, 5);
    write_rows();
    train_request q = request_for(count, 2);
    q.watch = (choose_watch){.stop = stop_at_once, .user = &asked};
    train_report r;
    ck_assert_int_eq(train_run(&q, &r, &err), KOLM_E_CANCELLED);
    ck_assert_int_lt(atomic_load(&asked), 40); /* soon, not at the end */
    ck_assert_int_ne(access(model_path, F_OK), 0);
}
END_TEST

static void count_steps(void *user, const char *phase, uint64_t done, uint64_t total) {
    ck_assert_ptr_nonnull(phase);
    ck_assert_uint_le(done, total);
    atomic_fetch_add((atomic_int *)user, 1);
}

START_TEST(tells_its_progress) {
    atomic_int steps = 0;
    const uint32_t count = (uint32_t)test_draws(500, 100);
    made_rows(&data, 7, count, 5, 5);
    write_rows();
    train_request q = request_for(count, 2);
    q.watch = (choose_watch){.step = count_steps, .user = &steps};
    train_report r = must_train(&q);
    train_report_free(&r);
    ck_assert_int_gt(atomic_load(&steps), 10);
}
END_TEST

START_TEST(a_full_disk_is_told) {
    made_rows(&data, 8, 300, 3, 5);
    write_rows();
    train_request q = request_for(300, 1);
    q.model_path = "/dev/full/linear.bin";
    train_report r;
    ck_assert_int_ne(train_run(&q, &r, &err), KOLM_OK);
    ck_assert_uint_gt(strlen(err.text), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("engine");
    TCase *quality = tcase_create("quality"), *odd = tcase_create("odd"), *weights = tcase_create("weights");
    TCase *const cases[] = {quality, odd, weights};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tcase_set_timeout(cases[i], 600);
        tcase_add_checked_fixture(cases[i], setup, teardown);
        suite_add_tcase(suite, cases[i]);
    }
    /* The quality of a model does not change in a slower run, where it takes minutes; the other tests cover the same
     * code. */
    if (!test_slowed()) {
        tcase_add_test(quality, learns_and_knows_how_sure_it_is);
        tcase_add_test(quality, threshold_reaches_the_target);
        tcase_add_test(quality, another_seed_gives_another_model);
        tcase_add_loop_test(weights, balanced_weights_find_rare_labels, 0, 2);
    }
    if (!test_under_valgrind()) {
        tcase_add_test(quality, an_unreachable_target_is_reported);
        tcase_add_loop_test(quality, any_number_of_threads_gives_the_same_bytes, 0, 2);
        tcase_add_test(quality, spilled_rows_give_the_same_bytes);
        tcase_add_loop_test(quality, quick_and_high_effort, 0, 2);
    }
    tcase_add_test(weights, balanced_weights_of_balanced_rows_change_nothing);
    tcase_add_test(odd, one_row_a_label);
    tcase_add_test(odd, two_rows_and_strange_texts);
    tcase_add_test(odd, bad_rows_are_refused_with_their_line);
    tcase_add_test(odd, stops_when_asked);
    tcase_add_test(odd, tells_its_progress);
    tcase_add_test(odd, a_full_disk_is_told);
    return run_suite(suite);
}
