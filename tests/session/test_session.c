/* SPDX-License-Identifier: Apache-2.0 */
/* Events reach the sink complete, a session without a sink is silent, and small formats. */
#include "session/log.h"
#include "session/session.h"

#include "../suite.h"

#include <stdlib.h>
#include <string.h>

static session_event_kind kind;
static char *text;

static void hear(void *user, const session_event *event) {
    ++*(int *)user;
    kind = event->kind;
    free(text);
    text = event->text ? strdup(event->text) : NULL;
    if (event->yes) *event->yes = true;
}

START_TEST(events_reach_the_sink) {
    static char longer[5000];
    kolm_session session;
    int heard = 0;
    session_init(&session, NULL, (session_sink){.event = hear, .user = &heard});
    memset(longer, 'x', sizeof longer - 1);
    session_warn(&session, "%s!", longer);
    ck_assert_int_eq(kind, SESSION_WARNING);
    ck_assert_uint_eq(strlen(text), sizeof longer);
    session_note(&session, "[x]", "%d of %s", 3, "4");
    ck_assert_int_eq(kind, SESSION_NOTE);
    ck_assert_str_eq(text, "3 of 4");
    ck_assert(session_can_ask(&session));
    session_events(&session)->log(session_events(&session)->user, "acme", KOLM_LOG_INFO, "hello");
    ck_assert_int_eq(kind, SESSION_SAID);
    ck_assert_str_eq(text, "hello");
    ck_assert_int_eq(heard, 4);
    session_free(&session);
    free(text);
    text = NULL;
}
END_TEST

START_TEST(without_a_sink_nothing_is_shown_and_every_answer_is_no) {
    kolm_session session;
    volatile sig_atomic_t stop = 0;
    session_init(&session, &stop, (session_sink){0});
    session_warn(&session, "nobody hears this");
    ck_assert(!session_can_ask(&session));
    ck_assert(!session_stopped(&session));
    stop = 1;
    ck_assert(session_stopped(&session));
    session_free(&session);
}
END_TEST

START_TEST(lines_are_shown_by_level_and_name) {
    session_log log = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert(!session_log_shows(&log, "acme", KOLM_LOG_INFO, "a"));
    ck_assert(session_log_shows(&log, "acme", KOLM_LOG_WARNING, "a"));
    ck_assert_int_eq(session_log_read(&log, "error,acme=debug,other=warning", &err), KOLM_OK);
    ck_assert(session_log_shows(&log, "acme", KOLM_LOG_DEBUG, "b"));
    ck_assert(session_log_shows(&log, "other", KOLM_LOG_WARNING, "b"));
    ck_assert(!session_log_shows(&log, "third", KOLM_LOG_WARNING, "b"));
    ck_assert(session_log_shows(&log, "third", 17, "b")); /* an unknown level counts as an error */
    log.verbose = 1;
    ck_assert(session_log_shows(&log, "third", KOLM_LOG_INFO, "b"));
    ck_assert(!session_log_shows(&log, "third", KOLM_LOG_DEBUG, "b"));
    log.verbose = 2;
    ck_assert(session_log_shows(&log, "third", KOLM_LOG_DEBUG, "b"));
    session_log_free(&log);
}
END_TEST

START_TEST(a_warning_is_shown_once_and_an_error_always) {
    session_log log = {0};
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(session_log_shows(&log, "acme", KOLM_LOG_WARNING, "hot"), i == 0);
        ck_assert_int_eq(session_log_shows(&log, "other", KOLM_LOG_WARNING, "hot"), i == 0);
        ck_assert(session_log_shows(&log, "acme", KOLM_LOG_ERROR, "hot"));
    }
    ck_assert(session_log_shows(&log, "acme", KOLM_LOG_WARNING, "cold"));
    session_log_free(&log);
}
END_TEST

START_TEST(a_log_setting_that_is_wrong_is_quoted) {
    static const struct {
        const char *setting, *piece;
    } cases[] = {{"debgu", "'debgu' is not a log level; did you mean 'debug'?"},
                 {"=debug", "a name is missing"},
                 {"info,", "'' is not a log level"},
                 {"acme=", "'' is not a log level"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        session_log log = {0};
        kolm_error_t err = KIT_ERROR_INIT;
        ck_assert_int_eq(session_log_read(&log, cases[i].setting, &err), KOLM_E_INVALID_ARGUMENT);
        ck_assert_msg(strstr(err.text, cases[i].piece) != NULL, "%s: %s", cases[i].setting, err.text);
        session_log_free(&log);
    }
}
END_TEST

START_TEST(formats) {
    char out[32];
    ck_assert_str_eq(session_usd(out, sizeof out, 0), "$0.00");
    ck_assert_str_eq(session_usd(out, sizeof out, 2500000), "$2.50");
    ck_assert_str_eq(session_usd(out, sizeof out, 3400), "$0.0034");
    ck_assert_str_eq(session_usd(out, sizeof out, 3401), "$0.003401");
    ck_assert_str_eq(session_usd(out, sizeof out, UINT64_MAX), "unpriced");
    ck_assert_str_eq(session_bytes(out, sizeof out, 999), "999 B");
    ck_assert_str_eq(session_bytes(out, sizeof out, 3800000000u), "3.8 GB");
    ck_assert_str_eq(session_bytes(out, sizeof out, UINT64_MAX), "18.4 EB");
    ck_assert_str_eq(session_duration(out, sizeof out, 4800), "4.8s");
    ck_assert_str_eq(session_duration(out, sizeof out, 999), "999ms");
    ck_assert_str_eq(session_duration(out, sizeof out, 200000), "3m 20s");
    ck_assert_str_eq(session_duration(out, sizeof out, 7500000), "2h 05m");
    ck_assert_str_eq(session_duration(out, sizeof out, UINT64_MAX), "unknown");
}
END_TEST

START_TEST(spans_are_read) {
    static const struct {
        const char *text;
        int64_t seconds; /* -1: not a duration */
    } cases[] = {{"90s", 90},     {"30m", 1800},
                 {"24h", 86400},  {"7d", 604800},
                 {"2w", 1209600}, {"1000000s", 1000000},
                 {"", -1},        {"1000001s", -1},
                 {"24", -1},      {"h", -1},
                 {"-1h", -1},     {"1.5h", -1},
                 {"24H", -1},     {"24 h", -1},
                 {"24hh", -1},    {"99999999999999999999h", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t seconds = -1;
        ck_assert_int_eq(session_span_parse(cases[i].text, &seconds), cases[i].seconds >= 0);
        ck_assert_msg(seconds == cases[i].seconds, "%s: %lld", cases[i].text, (long long)seconds);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("session");
    TCase *tests = tcase_create("session");
    tcase_add_test(tests, events_reach_the_sink);
    tcase_add_test(tests, without_a_sink_nothing_is_shown_and_every_answer_is_no);
    tcase_add_test(tests, lines_are_shown_by_level_and_name);
    tcase_add_test(tests, a_warning_is_shown_once_and_an_error_always);
    tcase_add_test(tests, a_log_setting_that_is_wrong_is_quoted);
    tcase_add_test(tests, formats);
    tcase_add_test(tests, spans_are_read);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
