/* SPDX-License-Identifier: Apache-2.0 */
/* Answering: lines as they arrive, thresholds, and the model file, alone, inside another file and damaged. */
#include "engine_fixture.h"

/* ---- Answering lines */

static void train_small(uint64_t abstain) {
    const uint32_t count = (uint32_t)test_draws(800, 200);
    made_rows(&data, 9, count, 4, 3);
    write_rows();
    train_request q = request_for(count, 2);
    q.abstain_micro = abstain;
    train_report r = must_train(&q);
    train_report_free(&r);
}

START_TEST(answers_lines_as_soon_as_they_come) {
    int in[2], out[2];
    train_small(0);
    ck_assert_int_eq(kit_pipe(&in[0], &in[1], &err), KOLM_OK);
    ck_assert_int_eq(kit_pipe(&out[0], &out[1], &err), KOLM_OK);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        close(in[1]);
        model *m = must_open(model_path);
        uint64_t answers;
        const infer_watch watch = {0};
        bool good = infer_run(m, in[0], out[1], &watch, &answers, &err) == KOLM_OK && answers == 2;
        model_close(m);
        _exit(good ? 0 : 1);
    }
    close(in[0]);
    close(out[1]);
    FILE *answers = fdopen(out[0], "r");
    char line[512];
    static const char *const questions[2] = {"{\"id\":\"a\\u0001\\\"\",\"input\":\"hello\"}\n",
                                             "{\"id\":\"2\",\"input\":\"\",\"more\":[1]}\n"};
    for (int i = 0; i < 2; i++) { /* the second question is sent only after the first answer */
        ck_assert_int_eq(kit_write_all(in[1], questions[i], strlen(questions[i]), &err), KOLM_OK);
        ck_assert_ptr_nonnull(fgets(line, sizeof line, answers));
        cJSON *answer = NULL;
        ck_assert_int_eq(kit_json_parse(line, strlen(line), &answer, &err), KOLM_OK);
        const char *id, *output;
        double confidence;
        ck_assert(kit_json_get_string(answer, "id", &id) && kit_json_get_string(answer, "output", &output) &&
                  kit_json_get_number(answer, "confidence", &confidence));
        ck_assert_str_eq(id, i == 0 ? "a\001\"" : "2");
        ck_assert(confidence > 0.2 && confidence <= 1.0);
        cJSON_Delete(answer);
    }
    close(in[1]);
    ck_assert_ptr_null(fgets(line, sizeof line, answers));
    fclose(answers);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

/* Answers the lines in text; *out gets the answers. */
static kit_status answer_text(const char *text, kit_buf *out, uint64_t *answers) {
    char input[96], output[96];
    kit_format(input, sizeof input, "%s/in", base);
    kit_format(output, sizeof output, "%s/out", base);
    ck_assert_int_eq(kit_write_file(input, 0600, text, strlen(text), &err), KOLM_OK);
    model *m = must_open(model_path);
    int in = open(input, O_RDONLY), to = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const infer_watch watch = {0};
    kit_status status = infer_run(m, in, to, &watch, answers, &err);
    close(in);
    close(to);
    model_close(m);
    kolm_error_t ignored = KIT_ERROR_INIT;
    ck_assert_int_eq(kit_read_file(output, 1u << 20, out, &ignored), KOLM_OK);
    return status;
}

START_TEST(abstains_below_the_threshold) {
    kit_buf out = {0};
    uint64_t answers;
    train_small(999000);
    ck_assert_int_eq(answer_text("{\"id\":\"1\",\"input\":\"zzz qqq\"}\n", &out, &answers), KOLM_OK);
    ck_assert_msg(strstr(kit_buf_text(&out), "\"output\":null,\"confidence\":0.") != NULL, "%s", kit_buf_text(&out));
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&out), ",\"best\":\"queue "));
    kit_buf_free(&out);
}
END_TEST

START_TEST(a_bad_line_ends_the_batch_after_the_good_ones) {
    kit_buf out = {0};
    uint64_t answers;
    train_small(0);
    ck_assert_int_eq(answer_text("{\"id\":\"1\",\"input\":\"x\"}\n{\"id\":2}\n", &out, &answers),
                     KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "line 2"));
    ck_assert_uint_eq(answers, 1);
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&out), "\"id\":\"1\""));
    kit_buf_free(&out);
}
END_TEST

/* ---- The model file */

START_TEST(a_model_inside_a_larger_file) {
    kit_buf bytes = {0}, padded = {0};
    train_small(0);
    ck_assert_int_eq(kit_read_file(model_path, 1u << 28, &bytes, &err), KOLM_OK);
    model *plain = must_open(model_path);
    static const uint32_t offsets[] = {1, 16, 4096, 5003};
    for (size_t i = 0; i < 4; i++) {
        model *m = NULL;
        kit_buf_clear(&padded);
        for (uint32_t k = 0; k < offsets[i]; k++)
            kit_buf_char(&padded, 'x');
        kit_buf_add(&padded, bytes.data, bytes.length);
        kit_buf_str(&padded, "behind");
        ck_assert_int_eq(kit_write_file(other_path, 0600, padded.data, padded.length, &err), KOLM_OK);
        ck_assert_int_eq(model_open(other_path, offsets[i], bytes.length, &m, &err), KOLM_OK);
        model_answer a, b;
        ck_assert_int_eq(model_answer_text(plain, "bade kide", 9, &a, &err), KOLM_OK);
        ck_assert_int_eq(model_answer_text(m, "bade kide", 9, &b, &err), KOLM_OK);
        ck_assert(a.label == b.label && a.confidence_micro == b.confidence_micro);
        model_close(m);
        ck_assert_int_eq(model_open(other_path, offsets[i], bytes.length + 100, &m, &err), KOLM_E_DATA_LOSS);
        ck_assert_int_eq(model_open(other_path, UINT64_MAX, 2, &m, &err), KOLM_E_DATA_LOSS);
        ck_assert_int_ne(model_open(other_path, 0, padded.length, &m, &err), KOLM_OK);
    }
    model_close(plain);
    kit_buf_free(&bytes);
    kit_buf_free(&padded);
}
END_TEST

/* Opens damaged bytes, in memory of exactly their size so that a sanitizer detects reads beyond it, and answers if
 * they open. */
static kit_status try_bytes(const char *bytes, size_t length) {
    char *copy = malloc(length + 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, length);
    model *m = NULL;
    kit_status status = model_from_bytes(copy, length, &m, &err);
    if (status == KOLM_OK) {
        model_answer a;
        ck_assert_int_eq(model_answer_text(m, "bade kide lomu", 14, &a, &err), KOLM_OK);
        ck_assert_uint_lt(a.label, model_label_count(m));
    } else {
        ck_assert_uint_gt(strlen(err.text), 0);
        ck_assert_uint_gt(strlen(err.remedy), 0);
    }
    model_close(m);
    free(copy);
    return status;
}

START_TEST(damage_is_refused_and_never_crashes) {
    kit_buf bytes = {0};
    train_small(0);
    ck_assert_int_eq(kit_read_file(model_path, 1u << 28, &bytes, &err), KOLM_OK);
    ck_assert_int_eq(try_bytes(bytes.data, bytes.length), KOLM_OK);
    for (size_t i = 0; i < 128; i++) /* every byte of the header, in three ways */
        for (int way = 0; way < 3; way++) {
            char kept = bytes.data[i];
            if (test_slowed() && way != (int)i % 3) continue;
            bytes.data[i] = (char)(way == 0 ? kept ^ 1 : way == 1 ? ~kept : kept ^ (char)0x80);
            ck_assert_msg(try_bytes(bytes.data, bytes.length) != KOLM_OK, "byte %zu", i);
            bytes.data[i] = kept;
        }
    uint64_t state = 12;
    for (size_t round = 0; round < test_draws(300, 20); round++) { /* anywhere: refused or, in the weights, harmless */
        uint32_t at = num_below(&state, (uint32_t)bytes.length);
        char kept = bytes.data[at];
        bytes.data[at] ^= (char)(1u << num_below(&state, 8));
        (void)try_bytes(bytes.data, bytes.length);
        bytes.data[at] = kept;
    }
    for (size_t length = 0; length < 400; length += 7)
        ck_assert_int_ne(try_bytes(bytes.data, length), KOLM_OK);
    for (size_t round = 0; round < test_draws(40, 4); round++)
        ck_assert_int_ne(try_bytes(bytes.data, num_below(&state, (uint32_t)bytes.length)), KOLM_OK);
    kit_buf_free(&bytes);
}
END_TEST

/* A model is sparse if labels times features is large: with fewer rows, which have fewer labels, each row gets
 * unique words. */
static void many_label_rows(uint32_t count) {
    kit_buf text = {0};
    uint64_t state = 10;
    for (uint32_t i = 0; i < count; i++) {
        kit_buf_clear(&text);
        const uint32_t label = made_row(&text, &state, 1500, 0);
        for (uint32_t w = 0; count < 5000 && w < 24; w++) {
            kit_buf_char(&text, ' ');
            made_word(&text, 100000 + i * 24 + w);
        }
        kit_buf_fmt(&data, "{\"id\":\"%u\",\"input\":\"%s\",\"output\":\"queue %u\"}\n", (unsigned)i,
                    kit_buf_text(&text), (unsigned)label);
    }
    kit_buf_free(&text);
}

START_TEST(many_labels_make_a_sparse_model) {
    const uint32_t count = (uint32_t)test_draws(5000, 900);
    kit_buf bytes = {0};
    many_label_rows(count);
    write_rows();
    train_request q = request_for(count, 2);
    q.effort = EFFORT_QUICK; /* the chosen candidate does not matter here, and each has 1500 problems */
    train_report r = must_train(&q);
    model *m = must_open(model_path);
    ck_assert_uint_eq(model_label_count(m), r.label_count);
    ck_assert_uint_gt(r.label_count, count == 5000 ? 1400 : 600);
    ck_assert_int_eq(kit_read_file(model_path, 1u << 28, &bytes, &err), KOLM_OK);
    ck_assert_int_eq(bytes.data[12], 1); /* LAYOUT_SPARSE */
    kit_buf_free(&bytes);
    outcome o = evaluate(m, 77, 500, 1500, 0);
    /* Three rows per label, or less than one; random answers would be right in one of 1500. */
    ck_assert_msg(o.right > (count == 5000 ? 75 : 15), "%u of 500", o.right);
    model_close(m);
    train_report_free(&r);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("engine answers");
    TCase *use = tcase_create("use");
    tcase_set_timeout(use, 600);
    tcase_add_checked_fixture(use, setup, teardown);
    tcase_add_test(use, answers_lines_as_soon_as_they_come);
    tcase_add_test(use, abstains_below_the_threshold);
    tcase_add_test(use, a_bad_line_ends_the_batch_after_the_good_ones);
    tcase_add_test(use, a_model_inside_a_larger_file);
    tcase_add_test(use, damage_is_refused_and_never_crashes);
    /* Its result does not change under valgrind, where it takes minutes; the other tests cover the same code. */
    if (!test_under_valgrind()) tcase_add_test(use, many_labels_make_a_sparse_model);
    suite_add_tcase(suite, use);
    return run_suite(suite);
}
