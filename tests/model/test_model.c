/* SPDX-License-Identifier: Apache-2.0 */
/* Questions and answers without a terminal: a real model, and a receiver that keeps its answers. */
#include "compile/compile.h"
#include "model/export.h"
#include "model/run.h"
#include "model/serve_lines.h"

#include "../suite.h"
#include "kolm/kit/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char place[] = "/tmp/kolm-model-XXXXXX", model[96], lines[96], cut[96];

static void write_text(const char *path, const char *text) {
    ck_assert_int_eq(kit_write_file(path, 0644, text, strlen(text), NULL), KOLM_OK);
}

static void write_rows(const char *path) {
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    for (int i = 0; i < 120; i++)
        fprintf(file, "{\"input\": \"%s number %d of the day %d\", \"output\": \"%s\"}\n",
                i % 2 ? "please pay this invoice" : "my screen stays black", i, i * 7919 % 1000,
                i % 2 ? "billing" : "hardware");
    ck_assert_int_eq(fclose(file), 0);
}

static void begin(void) {
    kolm_session session;
    kolm_error_t err = KIT_ERROR_INIT;
    compile *c = NULL;
    bool ships = false;
    char data[96], home[96], *items[] = {data};
    kit_buf bytes = {0};
    ck_assert_ptr_nonnull(mkdtemp(place));
    kit_format(home, sizeof home, "%s/home", place);
    kit_format(data, sizeof data, "%s/rows.jsonl", place);
    kit_format(model, sizeof model, "%s/desk-1.0.0.kolm", place);
    kit_format(lines, sizeof lines, "%s/lines.txt", place);
    kit_format(cut, sizeof cut, "%s/cut.kolm", place);
    setenv("KOLM_HOME", home, 1);
    write_rows(data);
    session_init(&session, NULL, (session_sink){0});
    ck_assert_int_eq(compile_new(&session, &c, &err), KOLM_OK);
    c->request.task = "desk";
    c->request.out = place;
    c->request.backend = "local-cpu";
    c->request.data = (session_words){.items = items, .count = 1};
    ck_assert_msg(compile_run(c, &ships, &err) == KOLM_OK && ships, "%s", err.text);
    compile_free(c);
    session_free(&session);
    ck_assert_int_eq(kit_read_file(model, 1u << 24, &bytes, &err), KOLM_OK);
    ck_assert_int_eq(kit_write_file(cut, 0644, bytes.data, bytes.length - 100, &err), KOLM_OK);
    kit_buf_free(&bytes);
}

static void end(void) {
    ck_assert_int_eq(kit_remove_tree(place, NULL), KOLM_OK);
}

/* ---- Asking */

typedef struct receiver {
    char got[8][64]; /* "ID OUTPUT" */
    size_t count;
    size_t gone_after, fails_after; /* after that many answers; 0: never */
} receiver;

static kit_status keep(void *user, const run_answer *answer, kolm_error_t *err) {
    receiver *r = user;
    ck_assert_uint_lt(r->count, 8);
    ck_assert(answer->confidence >= 0 && answer->confidence <= 1);
    ck_assert_ptr_nonnull(strstr(answer->line, "\"confidence\""));
    kit_format(r->got[r->count++], 64, "%s %s", answer->id, answer->output ? answer->output : "(withheld)");
    if (r->fails_after > 0 && r->count >= r->fails_after)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "the receiver is full");
    return KOLM_OK;
}

static void rest(void *user) {
    (void)user;
}

static bool is_gone(void *user) {
    const receiver *r = user;
    return r->gone_after > 0 && r->count >= r->gone_after;
}

static kit_status ask(run_request request, receiver *r, run_tally *tally, session_reason *reason, kolm_error_t *err) {
    const run_receiver to = {.answer = keep, .pause = rest, .gone = is_gone, .user = r};
    kolm_session session;
    session_init(&session, NULL, (session_sink){0});
    if (!request.model) request.model = model;
    request.answer_seconds = 60;
    kit_status status = run_model(&session, &request, &to, tally, reason, err);
    session_free(&session);
    return status;
}

static char pay[] = "please pay this invoice number 7", black[] = "my screen stays black", again[] = "pay the invoice";
static char *questions[] = {pay, black, again};

START_TEST(each_question_gets_its_answer_in_order) {
    receiver r = {0};
    run_tally tally;
    session_reason reason = SESSION_REASON_NONE;
    kolm_error_t err = KIT_ERROR_INIT;
    const run_request request = {.texts = questions, .text_count = 3};
    ck_assert_msg(ask(request, &r, &tally, &reason, &err) == KOLM_OK, "%s", err.text);
    ck_assert_uint_eq(r.count, 3);
    ck_assert_str_eq(r.got[0], "1 billing");
    ck_assert_str_eq(r.got[1], "2 hardware");
    ck_assert_str_eq(r.got[2], "3 billing");
    ck_assert_uint_eq(tally.answers, 3);
    ck_assert_uint_eq(tally.bad, 0);
}
END_TEST

START_TEST(rows_keep_their_own_ids) {
    receiver r = {0};
    run_tally tally;
    session_reason reason = SESSION_REASON_NONE;
    kolm_error_t err = KIT_ERROR_INIT;
    write_text(lines, "{\"id\":\"x\",\"input\":\"pay the invoice\"}\n\n{\"input\":\"my screen stays black\"}\n");
    ck_assert_msg(ask((run_request){.input = lines, .jsonl = true}, &r, &tally, &reason, &err) == KOLM_OK, "%s",
                  err.text);
    ck_assert_uint_eq(r.count, 2);
    ck_assert_str_eq(r.got[0], "x billing");
    ck_assert_str_eq(r.got[1], "3 hardware");
}
END_TEST

START_TEST(a_bad_line_ends_it_or_is_left_out) {
    receiver r = {0}, rest_of = {0};
    run_tally tally;
    session_reason reason = SESSION_REASON_NONE;
    kolm_error_t err = KIT_ERROR_INIT;
    write_text(lines, "pay the invoice\nbad \xff line\nmy screen stays black\n");
    ck_assert_int_eq(ask((run_request){.input = lines}, &r, &tally, &reason, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(reason, SESSION_REASON_DATA);
    ck_assert_msg(strstr(err.text, "line 2, column 5") && strstr(err.text, "; 1 before it was answered"), "%s",
                  err.text);
    ck_assert_uint_eq(r.count, 1);

    ck_assert_int_eq(ask((run_request){.input = lines, .skip_bad = true}, &rest_of, &tally, &reason, &err), KOLM_OK);
    ck_assert_uint_eq(rest_of.count, 2);
    ck_assert_str_eq(rest_of.got[1], "3 hardware");
    ck_assert_uint_eq(tally.lines, 3);
    ck_assert_uint_eq(tally.bad, 1);
    ck_assert_uint_eq(tally.answers, 2);
    ck_assert_ptr_nonnull(strstr(tally.bad_examples[0], "line 2, column 5"));
}
END_TEST

START_TEST(a_receiver_that_goes_is_no_failure_and_one_that_fails_is) {
    receiver gone = {.gone_after = 1}, full = {.fails_after = 2};
    run_tally tally;
    session_reason reason = SESSION_REASON_NONE;
    kolm_error_t err = KIT_ERROR_INIT;
    const run_request request = {.texts = questions, .text_count = 3};
    ck_assert_int_eq(ask(request, &gone, &tally, &reason, &err), KOLM_OK);
    ck_assert_uint_eq(gone.count, 1);
    ck_assert_int_eq(ask(request, &full, &tally, &reason, &err), KOLM_E_RESOURCE_EXHAUSTED);
    ck_assert_str_eq(err.text, "the receiver is full");
    ck_assert_uint_eq(full.count, 2);
}
END_TEST

START_TEST(a_failure_has_its_reason) {
    const struct {
        run_request request;
        session_reason reason;
    } cases[] = {{{.texts = questions, .text_count = 1, .backend = "no-such"}, SESSION_REASON_USAGE},
                 {{.texts = questions, .text_count = 1, .model = "/no/such.kolm"}, SESSION_REASON_DATA},
                 {{.texts = questions, .text_count = 1, .model = cut}, SESSION_REASON_VERIFY},
                 {{.input = "/no/such.txt"}, SESSION_REASON_DATA},
                 {{.input = "/tmp"}, SESSION_REASON_DATA}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        receiver r = {0};
        run_tally tally;
        session_reason reason = SESSION_REASON_NONE;
        kolm_error_t err = KIT_ERROR_INIT;
        ck_assert_int_ne(ask(cases[i].request, &r, &tally, &reason, &err), KOLM_OK);
        ck_assert_msg(reason == cases[i].reason, "case %zu: %d, %s", i, (int)reason, err.text);
        ck_assert_uint_eq(r.count, 0);
    }
}
END_TEST

START_TEST(a_session_that_is_stopped_is_the_reason) {
    static volatile sig_atomic_t stop = 1;
    receiver none = {.count = 0};
    const run_receiver to = {.answer = keep, .pause = rest, .gone = is_gone, .user = &none};
    const run_request request = {.model = model, .texts = questions, .text_count = 3, .answer_seconds = 60};
    run_tally tally;
    session_reason reason = SESSION_REASON_NONE;
    kolm_error_t err = KIT_ERROR_INIT;
    kolm_session session;
    session_init(&session, &stop, (session_sink){0});
    ck_assert_int_ne(run_model(&session, &request, &to, &tally, &reason, &err), KOLM_OK);
    ck_assert_int_eq(reason, SESSION_REASON_INTERRUPTED);
    session_free(&session);
}
END_TEST

/* ---- Export */

START_TEST(what_is_no_adapter_is_not_exported) {
    char to[96];
    kit_format(to, sizeof to, "%s/exported", place);
    const export_request request = {.model = model, .to = to};
    export_kind kind = EXPORT_ADAPTER;
    session_reason reason = SESSION_REASON_NONE;
    kolm_error_t err = KIT_ERROR_INIT;
    kolm_session session;
    session_init(&session, NULL, (session_sink){0});
    ck_assert_int_eq(model_export(&session, &request, &kind, &reason, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(reason, SESSION_REASON_DATA);
    ck_assert_int_ne(access(to, F_OK), 0);
    session_free(&session);
}
END_TEST

/* ---- Lines of a server */

START_TEST(a_reason_survives_the_socket) {
    for (int number = SESSION_REASON_INTERNAL; number <= SESSION_REASON_INTERRUPTED; number++) {
        kolm_error_t said = KIT_ERROR_INIT, heard = KIT_ERROR_INIT;
        kit_buf line = {0};
        cJSON *json = NULL;
        session_reason reason = SESSION_REASON_NONE;
        ck_assert_int_eq(kit_fail(&said, KOLM_E_UNAVAILABLE, "do \"this\"", "because of %d", number),
                         KOLM_E_UNAVAILABLE);
        serve_verdict_put(&said, (session_reason)number, &line);
        ck_assert_int_eq(kit_json_parse(line.data, line.length - 1, &json, NULL), KOLM_OK);
        ck_assert(serve_error_read(json, &reason, &heard));
        ck_assert_int_eq(reason, number);
        ck_assert_str_eq(heard.text, said.text);
        ck_assert_str_eq(heard.remedy, said.remedy);
        cJSON_Delete(json);
        kit_buf_free(&line);
    }
}
END_TEST

START_TEST(a_number_that_is_not_a_reason_is_ignored) {
    static const char *const odd[] = {"{\"error\":\"x\"}", "{\"error\":\"x\",\"exit\":0}",
                                      "{\"error\":\"x\",\"exit\":10}", "{\"error\":\"x\",\"exit\":-1}",
                                      "{\"error\":\"x\",\"exit\":\"7\"}"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        kolm_error_t err = KIT_ERROR_INIT;
        cJSON *json = NULL;
        session_reason reason = SESSION_REASON_BACKEND;
        ck_assert_int_eq(kit_json_parse(odd[i], strlen(odd[i]), &json, NULL), KOLM_OK);
        ck_assert(serve_error_read(json, &reason, &err));
        ck_assert_msg(reason == SESSION_REASON_BACKEND, "%s", odd[i]);
        cJSON_Delete(json);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("model");
    TCase *asked = tcase_create("asked"), *served = tcase_create("served");
    tcase_add_unchecked_fixture(asked, begin, end);
    tcase_set_timeout(asked, 60);
    tcase_add_test(asked, each_question_gets_its_answer_in_order);
    tcase_add_test(asked, rows_keep_their_own_ids);
    tcase_add_test(asked, a_bad_line_ends_it_or_is_left_out);
    tcase_add_test(asked, a_receiver_that_goes_is_no_failure_and_one_that_fails_is);
    tcase_add_test(asked, a_failure_has_its_reason);
    tcase_add_test(asked, a_session_that_is_stopped_is_the_reason);
    tcase_add_test(asked, what_is_no_adapter_is_not_exported);
    tcase_add_test(served, a_reason_survives_the_socket);
    tcase_add_test(served, a_number_that_is_not_a_reason_is_ignored);
    suite_add_tcase(suite, asked);
    suite_add_tcase(suite, served);
    return run_suite(suite);
}
