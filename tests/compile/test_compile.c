/* SPDX-License-Identifier: Apache-2.0 */
/* A whole compile without a terminal: all events reach the sink, and nothing is printed. */
#include "../suite.h"
#include "compile/compile.h"
#include "compile/report.h"
#include "compile/rescore.h"

#include "kolm/kit/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENTS_MAX 256

static char place[] = "/tmp/kolm-compile-XXXXXX", data[64], out[64], printed[64];
static volatile sig_atomic_t stop;

/* What the sink has received. */
typedef struct heard {
    session_event_kind kinds[EVENTS_MAX];
    size_t count;
    bool progress;                /* received a progress event */
    session_event_kind stop_at;   /* 0: none; otherwise the event at which to set the flag */
    uint64_t rows;                /* rows of the data */
    char backend[64], asked[128]; /* the chosen backend; the file that a question was about */
} heard;

static void hear(void *user, const session_event *event) {
    heard *h = user;
    h->progress = h->progress || event->kind == SESSION_PROGRESS;
    if (event->kind == SESSION_PROGRESS || event->kind == SESSION_PROGRESS_END) return;
    ck_assert_uint_lt(h->count, EVENTS_MAX);
    h->kinds[h->count++] = event->kind;
    if (event->kind == SESSION_DATA_READ) h->rows = event->compile->data.rows_read;
    if (event->kind == SESSION_BACKEND_CHOSEN)
        kit_copy(h->backend, sizeof h->backend, event->compile->choice->backend->name);
    if (event->kind == SESSION_REPLACE) kit_copy(h->asked, sizeof h->asked, event->text);
    if (h->stop_at != 0 && event->kind == h->stop_at) stop = 1;
}

static bool came(const heard *h, session_event_kind kind) {
    for (size_t i = 0; i < h->count; i++)
        if (h->kinds[i] == kind) return true;
    return false;
}

static void write_rows(void) {
    FILE *file = fopen(data, "w");
    ck_assert_ptr_nonnull(file);
    for (int i = 0; i < 120; i++)
        fprintf(file, "{\"input\": \"%s number %d of the day %d\", \"output\": \"%s\"}\n",
                i % 2 ? "please pay this invoice" : "my screen stays black", i, i * 7919 % 1000,
                i % 2 ? "billing" : "hardware");
    ck_assert_int_eq(fclose(file), 0);
}

static void begin(void) {
    char home[64];
    ck_assert_ptr_nonnull(mkdtemp(place));
    kit_format(home, sizeof home, "%s/home", place);
    kit_format(data, sizeof data, "%s/rows.jsonl", place);
    kit_format(out, sizeof out, "%s/out", place);
    kit_format(printed, sizeof printed, "%s/printed", place);
    ck_assert_int_eq(mkdir(out, 0755), 0);
    setenv("KOLM_HOME", home, 1);
    write_rows();
    stop = 0;
}

static void end(void) {
    ck_assert_int_eq(kit_remove_tree(place, NULL), KOLM_OK);
    memcpy(place + strlen(place) - 6, "XXXXXX", 6);
}

/* Runs one compile. Standard output and error are redirected to a file, which must stay empty. */
static kit_status make(heard *h, const compile_request *more, session_reason *out_reason, kolm_error_t *err) {
    kolm_session session;
    compile *c = NULL;
    bool ships = false;
    char *items[] = {data};
    struct stat info;
    session_init(&session, &stop, (session_sink){.event = hear, .user = h});
    ck_assert_int_eq(compile_new(&session, &c, err), KOLM_OK);
    c->request.task = "desk";
    c->request.out = out;
    c->request.backend = "local-cpu";
    c->request.data = (session_words){.items = items, .count = 1};
    c->request.gate = more->gate;
    fflush(NULL);
    int kept[2] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)}, file = open(printed, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert(dup2(file, STDOUT_FILENO) >= 0 && dup2(file, STDERR_FILENO) >= 0);
    kit_status status = compile_run(c, &ships, err);
    fflush(NULL);
    ck_assert(dup2(kept[0], STDOUT_FILENO) >= 0 && dup2(kept[1], STDERR_FILENO) >= 0);
    ck_assert_int_eq(fstat(file, &info), 0);
    ck_assert_int_eq(info.st_size, 0);
    close(kept[0]);
    close(kept[1]);
    close(file);
    *out_reason = c->reason;
    ck_assert(status == KOLM_OK || !ships);
    compile_free(c);
    session_free(&session);
    return status;
}

START_TEST(the_course_of_a_compile_is_heard) {
    static const session_event_kind course[] = {SESSION_DATA_READ, SESSION_BACKEND_CHOSEN, SESSION_QUOTED,
                                                SESSION_TRAINED,   SESSION_SCORED,         SESSION_SHIPPED};
    kolm_error_t err = KIT_ERROR_INIT;
    char model[96];
    heard h = {0};
    session_reason reason = SESSION_REASON_INTERNAL;
    ck_assert_msg(make(&h, &(compile_request){0}, &reason, &err) == KOLM_OK, "%s", err.text);
    ck_assert_int_eq(reason, SESSION_REASON_NONE);
    size_t at = 0;
    for (size_t i = 0; i < h.count && at < sizeof course / sizeof *course; i++)
        at += h.kinds[i] == course[at];
    ck_assert_uint_eq(at, sizeof course / sizeof *course);
    ck_assert(h.progress);
    ck_assert_uint_eq(h.rows, 120);
    ck_assert_str_eq(h.backend, "local-cpu");
    kit_format(model, sizeof model, "%s/desk-1.0.0.kolm", out);
    ck_assert_int_eq(access(model, R_OK), 0);

    /* The file exists now. A session that cannot ask takes the answer as no, and the file is kept. */
    heard again = {0};
    ck_assert_int_eq(make(&again, &(compile_request){0}, &reason, &err), KOLM_E_ALREADY_EXISTS);
    ck_assert_int_eq(reason, SESSION_REASON_USAGE);
    ck_assert_str_eq(again.asked, model);
    ck_assert(!came(&again, SESSION_DATA_READ));
    ck_assert_int_eq(access(model, R_OK), 0);
}
END_TEST

START_TEST(a_missed_gate_is_heard) {
    kolm_error_t err = KIT_ERROR_INIT;
    heard h = {0};
    session_reason reason = SESSION_REASON_INTERNAL;
    const compile_request strict = {.gate = {.set = true, .value = 1000000}};
    ck_assert_msg(make(&h, &strict, &reason, &err) == KOLM_OK, "%s", err.text);
    ck_assert_int_eq(reason, SESSION_REASON_GATE);
    ck_assert(came(&h, SESSION_FAILED_GATE) && !came(&h, SESSION_SHIPPED));
}
END_TEST

START_TEST(the_flag_stops_it_anywhere) {
    static const session_event_kind places[] = {SESSION_DATA_READ, SESSION_QUOTED, SESSION_TRAINED, SESSION_SCORED};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        kolm_error_t err = KIT_ERROR_INIT;
        char model[96];
        heard h = {.stop_at = places[i]};
        session_reason reason = SESSION_REASON_INTERNAL;
        stop = 0;
        ck_assert_int_ne(make(&h, &(compile_request){0}, &reason, &err), KOLM_OK);
        ck_assert_int_eq(reason, SESSION_REASON_INTERRUPTED);
        ck_assert(!came(&h, SESSION_SHIPPED));
        kit_format(model, sizeof model, "%s/desk-1.0.0.kolm", out);
        ck_assert_int_ne(access(model, F_OK), 0);
    }
}
END_TEST

/* A checkpoint must not be continued by another version of the backend. */
START_TEST(work_is_known_by_the_version_of_its_backend) {
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_detection *detection = fleet_detection_new(FLEET_AVAILABLE, "", "");
    fleet_backend backend = {.name = "acme", .detection = detection};
    fleet_choice choice = {.backend = &backend};
    compile c = {.choice = &choice, .recipe = "encoder", .request = {.effort = "normal", .class_weight = "none"}};
    char first[KIT_SHA256_HEX], same[KIT_SHA256_HEX], other[KIT_SHA256_HEX];
    kit_copy(detection->version, sizeof detection->version, "1.0.0");
    ck_assert_int_eq(compile_work_key(&c, first, &err), KOLM_OK);
    ck_assert_int_eq(compile_work_key(&c, same, &err), KOLM_OK);
    kit_copy(detection->version, sizeof detection->version, "1.0.1");
    ck_assert_int_eq(compile_work_key(&c, other, &err), KOLM_OK);
    ck_assert_str_eq(first, same);
    ck_assert_str_ne(first, other);
    fleet_detection_free(detection);
}
END_TEST

/* ---- An existing model, scored again */

static const char *compiled(void) {
    static char model[96];
    kolm_error_t err = KIT_ERROR_INIT;
    heard h = {0};
    session_reason reason = SESSION_REASON_INTERNAL;
    ck_assert_msg(make(&h, &(compile_request){0}, &reason, &err) == KOLM_OK, "%s", err.text);
    kit_format(model, sizeof model, "%s/desk-1.0.0.kolm", out);
    return model;
}

static kit_status measure(heard *h, rescore_request r, char *rows, rescore *result, session_reason *reason,
                          kolm_error_t *err) {
    kolm_session session;
    char *items[] = {rows};
    r.eval = (session_words){.items = items, .count = 1};
    session_init(&session, &stop, (session_sink){.event = hear, .user = h});
    kit_status status = rescore_model(&session, &r, result, reason, err);
    session_free(&session);
    return status;
}

START_TEST(a_model_is_measured_again) {
    kolm_error_t err = KIT_ERROR_INIT;
    session_reason reason = SESSION_REASON_NONE;
    rescore result;
    heard h = {0};
    const char *model = compiled();
    ck_assert_msg(measure(&h, (rescore_request){.model = model}, data, &result, &reason, &err) == KOLM_OK, "%s",
                  err.text);
    ck_assert(came(&h, SESSION_ROWS_READ) && result.ships);
    ck_assert_uint_eq(score_rows(result.answers), 120);
    ck_assert_uint_eq(score_correct(result.answers), 120);
    rescore_free(&result);

    /* A gate that cannot be reached is not a failure: the result reports that the model does not ship. */
    const rescore_request strict = {.model = model, .gate = {.set = true, .value = 1000000}};
    ck_assert_int_eq(measure(&h, strict, data, &result, &reason, &err), KOLM_OK);
    ck_assert(!result.ships);
    rescore_free(&result);
}
END_TEST

START_TEST(rows_of_other_labels_are_reported) {
    char rows[96];
    kolm_error_t err = KIT_ERROR_INIT;
    session_reason reason = SESSION_REASON_NONE;
    rescore result;
    heard h = {0};
    const char *model = compiled(), other[] = "{\"input\": \"pay the invoice\", \"output\": \"Biling\"}\n",
               mixed[] = "{\"input\": \"pay the invoice\", \"output\": \"Biling\"}\n"
                         "{\"input\": \"my screen is black\", \"output\": \"hardware\"}\n";
    kit_format(rows, sizeof rows, "%s/other.jsonl", place);
    ck_assert_int_eq(kit_write_file(rows, 0644, other, strlen(other), &err), KOLM_OK);
    ck_assert_int_eq(measure(&h, (rescore_request){.model = model}, rows, &result, &reason, &err),
                     KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(reason, SESSION_REASON_DATA);
    ck_assert_msg(strstr(err.text, "did you mean \"billing\"?") != NULL, "%s", err.text);
    rescore_free(&result);
    ck_assert(!came(&h, SESSION_WARNING));
    ck_assert_int_eq(kit_write_file(rows, 0644, mixed, strlen(mixed), &err), KOLM_OK);
    ck_assert_int_eq(measure(&h, (rescore_request){.model = model}, rows, &result, &reason, &err), KOLM_OK);
    ck_assert(came(&h, SESSION_WARNING));
    rescore_free(&result);

    /* Swapped by mistake: the rows as the model, the model as the rows. */
    char swapped[96];
    kit_copy(swapped, sizeof swapped, model);
    ck_assert_int_ne(measure(&h, (rescore_request){.model = data}, swapped, &result, &reason, &err), KOLM_OK);
    ck_assert_int_eq(reason, SESSION_REASON_USAGE);
    rescore_free(&result);
}
END_TEST

static kit_status report(const report_request *r, report_made *made, session_reason *reason, kolm_error_t *err) {
    kolm_session session;
    session_init(&session, &stop, (session_sink){0});
    kit_status status = report_make(&session, "kolm test", r, made, reason, err);
    session_free(&session);
    return status;
}

START_TEST(a_report_is_made) {
    char *items[] = {data}, page[96];
    kolm_error_t err = KIT_ERROR_INIT;
    session_reason reason = SESSION_REASON_INTERNAL;
    report_made made;
    struct stat info;
    report_request r = {.model = compiled()};
    kit_format(page, sizeof page, "%s/desk-1.0.0.html", out);
    ck_assert_msg(report(&r, &made, &reason, &err) == KOLM_OK, "%s", err.text);
    ck_assert_int_eq(reason, SESSION_REASON_NONE);
    ck_assert_str_eq(made.path, page);
    ck_assert_str_eq(made.verdict, "trusted");
    ck_assert(!made.asked && !made.failed);
    ck_assert_int_eq(stat(page, &info), 0);
    ck_assert_uint_eq((size_t)info.st_size, made.bytes);
    report_made_free(&made);

    /* An existing file is kept unless it may be replaced; a report with rows of the data is readable only by its
     * owner. */
    ck_assert_int_eq(report(&r, &made, &reason, &err), KOLM_E_ALREADY_EXISTS);
    ck_assert_int_eq(reason, SESSION_REASON_USAGE);
    report_made_free(&made);
    r.force = true;
    r.data = (session_words){.items = items, .count = 1};
    ck_assert_msg(report(&r, &made, &reason, &err) == KOLM_OK, "%s", err.text);
    ck_assert(made.asked);
    ck_assert_int_eq(stat(page, &info), 0);
    ck_assert_int_eq(info.st_mode & 0777, 0600);
    report_made_free(&made);

    /* Rows that it was not made from are detected. */
    char rows[96];
    const char other[] = "{\"input\": \"pay the invoice\", \"output\": \"billing\"}\n";
    kit_format(rows, sizeof rows, "%s/other.jsonl", place);
    items[0] = rows;
    ck_assert_int_eq(kit_write_file(rows, 0644, other, strlen(other), &err), KOLM_OK);
    ck_assert_int_ne(report(&r, &made, &reason, &err), KOLM_OK);
    ck_assert_int_eq(reason, SESSION_REASON_DATA);
    report_made_free(&made);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("compile");
    TCase *whole = tcase_create("whole");
    tcase_add_checked_fixture(whole, begin, end);
    tcase_set_timeout(whole, 300);
    tcase_add_test(whole, the_course_of_a_compile_is_heard);
    tcase_add_test(whole, work_is_known_by_the_version_of_its_backend);
    tcase_add_test(whole, a_missed_gate_is_heard);
    tcase_add_test(whole, the_flag_stops_it_anywhere);
    tcase_add_test(whole, a_model_is_measured_again);
    tcase_add_test(whole, rows_of_other_labels_are_reported);
    tcase_add_test(whole, a_report_is_made);
    suite_add_tcase(suite, whole);
    return run_suite(suite);
}
