/* SPDX-License-Identifier: Apache-2.0 */
/* The batch loop with an engine that takes several texts at once, and that fails: no answer is made up, and no
 * answer that was given is lost. */
#include "../suite.h"
#include "infer.h"
#include "kolm/kit/file.h"
#include "train.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char base[64], rows_path[96], model_path[96], in_path[96], out_path[96];
static kolm_error_t err;
static model *labels;

static void setup(void) {
    kit_buf text = {0};
    train_report report;
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_copy(base, sizeof base, "/tmp/kolm-infer-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base));
    kit_format(rows_path, sizeof rows_path, "%s/train.jsonl", base);
    kit_format(model_path, sizeof model_path, "%s/linear.bin", base);
    kit_format(in_path, sizeof in_path, "%s/in", base);
    kit_format(out_path, sizeof out_path, "%s/out", base);
    for (int i = 0; i < 8; i++)
        kit_buf_fmt(&text, "{\"input\":\"%s %d\",\"output\":\"%s\"}\n", i % 2 ? "login" : "refund", i,
                    i % 2 ? "second" : "first");
    ck_assert_int_eq(kit_write_file(rows_path, 0600, text.data, text.length, &err), KOLM_OK);
    kit_buf_clear(&text);
    const train_request request = {.rows_path = rows_path,
                                   .model_path = model_path,
                                   .scratch_dir = base,
                                   .rows = 8,
                                   .effort = EFFORT_QUICK,
                                   .seed = 1,
                                   .threads = 1};
    ck_assert_msg(train_run(&request, &report, &err) == KOLM_OK, "%s", err.text);
    train_report_free(&report);
    ck_assert_int_eq(kit_read_file(model_path, 1u << 28, &text, &err), KOLM_OK);
    ck_assert_int_eq(model_open(model_path, 0, text.length, &labels, &err), KOLM_OK);
    kit_buf_free(&text);
}

static void teardown(void) {
    model_close(labels);
    ck_assert_int_eq(kit_remove_tree(base, &err), KOLM_OK);
}

/* Answers "second" to every text, with a confidence that grows with its length; call number `fails` fails. Like the
 * encoder it drops its texts in both cases. */
typedef struct fake {
    uint32_t count, calls, fails;
    bool limited;
    uint64_t length[8];
} fake;

static kit_status fake_add(void *self, const char *text, size_t length, kolm_error_t *e) {
    fake *f = self;
    (void)text;
    (void)e;
    ck_assert_uint_lt(f->count, 4);
    f->length[f->count++] = length;
    return KOLM_OK;
}

/* Nine pending letters are enough. */
static bool fake_full(const void *self) {
    const fake *f = self;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < f->count; i++)
        sum += f->length[i];
    return sum >= 9;
}

static kit_status fake_answer(void *self, model_answer *out, kolm_error_t *e) {
    fake *f = self;
    const uint32_t count = f->count;
    f->count = 0;
    if (++f->calls == f->fails) return kit_fail(e, KOLM_E_RESOURCE_EXHAUSTED, "close other programs", "no memory");
    for (uint32_t i = 0; i < count; i++)
        out[i] = (model_answer){.label = 1, .confidence_micro = f->length[i] * 100000};
    return KOLM_OK;
}

/* Lines "1", "2" and so on, with that many letters; then `last` unchanged. */
static kit_status run(fake *f, uint32_t lines, const char *last, const infer_watch *watch, kit_buf *out,
                      uint64_t *answers) {
    kit_buf text = {0};
    const infer_engine engine = {.self = f,
                                 .labels = labels,
                                 .most = 4,
                                 .add = fake_add,
                                 .full = f->limited ? fake_full : NULL,
                                 .answer = fake_answer};
    for (uint32_t i = 1; i <= lines; i++)
        kit_buf_fmt(&text, "{\"id\":\"%u\",\"input\":\"%.*s\"}\n", (unsigned)i, (int)i, "xxxxxxxxx");
    kit_buf_str(&text, last);
    ck_assert_int_eq(kit_write_file(in_path, 0600, text.data, text.length, &err), KOLM_OK);
    kit_buf_free(&text);
    int in = open(in_path, O_RDONLY), to = open(out_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    kit_status status = infer_run_engine(&engine, in, to, watch, answers, &err);
    close(in);
    close(to);
    kolm_error_t ignored = KIT_ERROR_INIT;
    ck_assert_int_eq(kit_read_file(out_path, 1u << 20, out, &ignored), KOLM_OK);
    return status;
}

/* Checks that out has the answers to the first `lines` lines only. */
static void check_answers(const kit_buf *out, uint32_t lines) {
    kit_buf want = {0};
    for (uint32_t i = 1; i <= lines; i++)
        kit_buf_fmt(&want, "{\"id\":\"%u\",\"output\":\"second\",\"confidence\":0.%u00000}\n", (unsigned)i,
                    (unsigned)i);
    ck_assert_str_eq(kit_buf_text(out), kit_buf_text(&want));
    kit_buf_free(&want);
}

static const infer_watch nobody;

START_TEST(batches_are_answered_in_order) {
    fake f = {0};
    kit_buf out = {0};
    uint64_t answers;
    ck_assert_int_eq(run(&f, 9, "", &nobody, &out, &answers), KOLM_OK);
    ck_assert_uint_eq(answers, 9);
    check_answers(&out, 9);
    kit_buf_free(&out);
}
END_TEST

/* The engine fails in batch number _i + 1 of three. */
START_TEST(an_engine_that_fails_answers_nothing_of_its_batch) {
    fake f = {.fails = (uint32_t)_i + 1};
    kit_buf out = {0};
    uint64_t answers;
    ck_assert_int_eq(run(&f, 9, "", &nobody, &out, &answers), KOLM_E_RESOURCE_EXHAUSTED);
    ck_assert_str_eq(err.text, "no memory");
    ck_assert_uint_eq(f.calls, f.fails);
    ck_assert_uint_eq(answers, 4 * (uint64_t)_i);
    check_answers(&out, 4 * (uint32_t)_i);
    kit_buf_free(&out);
}
END_TEST

START_TEST(what_waits_before_a_bad_line_is_answered) {
    fake f = {0};
    kit_buf out = {0};
    uint64_t answers;
    ck_assert_int_eq(run(&f, 6, "{\"id\":7}\n", &nobody, &out, &answers), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "line 7"));
    ck_assert_uint_eq(answers, 6);
    check_answers(&out, 6);
    kit_buf_free(&out);
}
END_TEST

START_TEST(a_bad_line_and_an_engine_that_fails) {
    fake f = {.fails = 2};
    kit_buf out = {0};
    uint64_t answers;
    ck_assert_int_eq(run(&f, 6, "{\"id\":7}\n", &nobody, &out, &answers), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "line 7"));
    ck_assert_uint_eq(answers, 4);
    check_answers(&out, 4);
    kit_buf_free(&out);
}
END_TEST

START_TEST(a_batch_that_is_work_enough_is_answered) {
    fake f = {.limited = true}; /* 1 2 3 4 | 5 6 | 7 8 | 9 */
    kit_buf out = {0};
    uint64_t answers;
    ck_assert_int_eq(run(&f, 9, "", &nobody, &out, &answers), KOLM_OK);
    ck_assert_uint_eq(answers, 9);
    ck_assert_uint_eq(f.calls, 4);
    check_answers(&out, 9);
    kit_buf_free(&out);
}
END_TEST

static bool stop_then(void *user) {
    const fake *f = user;
    return f->calls == 1;
}

/* Four texts and four more are read before the output is written for the first time. */
START_TEST(a_stop_waits_for_one_batch) {
    fake f = {0};
    kit_buf out = {0};
    uint64_t answers;
    const infer_watch watch = {.stop = stop_then, .user = &f};
    ck_assert_int_eq(run(&f, 9, "", &watch, &out, &answers), KOLM_E_CANCELLED);
    ck_assert_uint_eq(f.calls, 1);
    ck_assert_uint_eq(answers, 4);
    check_answers(&out, 4);
    kit_buf_free(&out);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("infer");
    TCase *c = tcase_create("batches");
    tcase_set_timeout(c, 240);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, batches_are_answered_in_order);
    tcase_add_loop_test(c, an_engine_that_fails_answers_nothing_of_its_batch, 0, 3);
    tcase_add_test(c, what_waits_before_a_bad_line_is_answered);
    tcase_add_test(c, a_bad_line_and_an_engine_that_fails);
    tcase_add_test(c, a_batch_that_is_work_enough_is_answered);
    tcase_add_test(c, a_stop_waits_for_one_batch);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
