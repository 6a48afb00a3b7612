/* SPDX-License-Identifier: Apache-2.0 */
/* The events of the job protocol: what makes a line an event, what is reported about other lines, and that written
 * events are read back. */
#include "../suite.h"
#include "kolm/kit/events.h"
#include "kolm/kit/file.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static kit_buf told; /* what the host received, one per line */
static kit_events events;

static void on_log(void *user, uint32_t level, const char *text) {
    (void)user;
    kit_buf_fmt(&told, "log %u %s\n", level, text);
}

static void on_progress(void *user, const kolm_progress_t *p) {
    (void)user;
    ck_assert_uint_eq(p->struct_size, sizeof *p);
    ck_assert_uint_eq(p->reserved, 0);
    kit_buf_fmt(&told, "progress %s %llu %lld %g %g\n", p->phase, (unsigned long long)p->step, (long long)p->total,
                p->loss, p->tokens_per_second);
}

static void on_metric(void *user, const char *name, double value) {
    (void)user;
    kit_buf_fmt(&told, "metric %s %g\n", name, value);
}

static const kolm_host_v1_t host = {.log = on_log, .progress = on_progress, .metric = on_metric};

static void begin(void) {
    kit_events_begin(&events, &host, "the trainer");
}

static void end(void) {
    kit_events_end(&events);
    kit_buf_free(&told);
}

static kit_event_kind take(const char *line) {
    kit_buf_clear(&told);
    return kit_events_line(&events, line, strlen(line));
}

static void is(const char *line, kit_event_kind kind, const char *expected) {
    kit_event_kind found = take(line);
    ck_assert_msg(found == kind, "%s is %d", line, (int)found);
    ck_assert_str_eq(kit_buf_text(&told), expected);
}

/* The line is not an event; resets the count of those reported, so that it is logged. */
static void is_none(const char *line) {
    char expected[400];
    events.strange = 0;
    kit_format(expected, sizeof expected, "log 2 the trainer printed a line that is not an event: %s\n", line);
    is(line, KIT_EVENT_NONE, expected);
    ck_assert_uint_eq(events.strange, 1);
}

START_TEST(logs) {
    is("{\"event\":\"log\",\"level\":\"debug\",\"text\":\"a\"}", KIT_EVENT_LOG, "log 0 a\n");
    is("{\"event\":\"log\",\"text\":\"b\",\"more\":[1]}", KIT_EVENT_LOG, "log 1 b\n");
    is("{\"event\":\"log\",\"level\":\"warning\",\"text\":\"c\"}", KIT_EVENT_LOG, "log 2 c\n");
    is("{\"event\":\"log\",\"level\":\"error\",\"text\":\"\"}", KIT_EVENT_LOG, "log 3 \n");
    is_none("{\"event\":\"log\",\"level\":\"loud\",\"text\":\"c\"}");
    is_none("{\"event\":\"log\",\"level\":1,\"text\":\"c\"}");
    is_none("{\"event\":\"log\",\"level\":\"info\"}");
}
END_TEST

START_TEST(progress) {
    is("{\"event\":\"progress\",\"phase\":\"training\",\"step\":3,\"total\":10,\"loss\":0.5,\"tokens_per_second\":812."
       "0}",
       KIT_EVENT_PROGRESS, "progress training 3 10 0.5 812\n");
    is("{\"event\":\"progress\",\"phase\":\"answering\",\"step\":0,\"total\":null,\"loss\":null}", KIT_EVENT_PROGRESS,
       "progress answering 0 -1 nan nan\n");
    is("{\"event\":\"progress\",\"phase\":\"training\",\"step\":11,\"total\":10,\"tokens_per_second\":-1}",
       KIT_EVENT_PROGRESS, "progress training 11 -1 nan nan\n");
    is_none("{\"event\":\"progress\",\"phase\":\"training\"}");
    is_none("{\"event\":\"progress\",\"phase\":\"training\",\"step\":null}");
    is_none("{\"event\":\"progress\",\"phase\":\"training\",\"step\":-1}");
    is_none("{\"event\":\"progress\",\"phase\":\"\",\"step\":1}");
    is_none("{\"event\":\"progress\",\"step\":1}");
    is_none("{\"event\":\"progress\",\"phase\":\"training\",\"step\":1,\"loss\":\"low\"}");
}
END_TEST

START_TEST(metrics) {
    is("{\"event\":\"metric\",\"name\":\"best\",\"value\":1.5}", KIT_EVENT_METRIC, "metric best 1.5\n");
    is_none("{\"event\":\"metric\",\"name\":\"best\",\"value\":null}");
    is_none("{\"event\":\"metric\",\"name\":\"\",\"value\":1}");
    is_none("{\"event\":\"metric\",\"value\":1}");
}
END_TEST

START_TEST(results) {
    ck_assert_str_eq(kit_events_result_text(&events, "device"), "");
    is("{\"event\":\"result\",\"device\":\"H200\",\"toolchain\":\"x 1\",\"answers\":3}", KIT_EVENT_RESULT, "");
    ck_assert_str_eq(kit_events_result_text(&events, "device"), "H200");
    ck_assert_str_eq(kit_events_result_text(&events, "answers"), "");
    is("{\"event\":\"result\",\"device\":\"outer\",\"result\":{\"device\":\"inner\"}}", KIT_EVENT_RESULT, "");
    ck_assert_str_eq(kit_events_result_text(&events, "device"), "inner");
    is_none("{\"event\":\"result\",\"result\":[]}");
    ck_assert_str_eq(kit_events_result_text(&events, "device"), "inner");
    is("{\"event\":\"result\"}", KIT_EVENT_RESULT, "");
    ck_assert_ptr_nonnull(events.result);
    ck_assert_str_eq(kit_events_result_text(&events, "device"), "");
}
END_TEST

START_TEST(errors) {
    is_none("{\"event\":\"error\",\"code\":8}");
    is_none("{\"event\":\"error\",\"code\":8,\"text\":\"\"}");
    is_none("{\"event\":\"error\",\"code\":8,\"text\":\"x\",\"remedy\":8}");
    ck_assert_int_eq(events.error.code, KOLM_OK);
    is("{\"event\":\"error\",\"code\":8,\"text\":\"no memory\",\"remedy\":\"get more\"}", KIT_EVENT_ERROR, "");
    is("{\"event\":\"error\",\"code\":13,\"text\":\"and so on\"}", KIT_EVENT_ERROR, "");
    ck_assert_int_eq(events.error.code, KOLM_E_RESOURCE_EXHAUSTED);
    ck_assert_str_eq(events.error.text, "no memory");
    ck_assert_str_eq(events.error.remedy, "get more");
}
END_TEST

/* The text of an error is kept if its code is unknown. */
START_TEST(errors_of_no_known_code) {
    static const char *const codes[] = {"0", "17", "99", "-3", "1.5", "\"8\"", "null"};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        char line[200];
        kit_format(line, sizeof line, "{\"event\":\"error\",\"code\":%s,\"text\":\"it broke\"}", codes[i]);
        begin();
        is(line, KIT_EVENT_ERROR, "");
        ck_assert_int_eq(events.error.code, KOLM_E_UNKNOWN);
        ck_assert_str_eq(events.error.text, "it broke");
        ck_assert_str_eq(events.error.remedy, "");
    }
    begin();
    is("{\"event\":\"error\",\"text\":\"it broke\"}", KIT_EVENT_ERROR, "");
    ck_assert_int_eq(events.error.code, KOLM_E_UNKNOWN);
}
END_TEST

START_TEST(an_error_of_the_start_before) {
    static const char error[] = "{\"event\":\"error\",\"code\":8,\"text\":\"lost\"}",
                      step[] = "{\"event\":\"log\",\"text\":\"on\"}";
    (void)take(error);
    (void)take(step);
    ck_assert_int_eq(events.error.code, KOLM_E_RESOURCE_EXHAUSTED);
    begin();
    events.restarts = true;
    (void)take(error);
    (void)take("words of a library");
    ck_assert_int_eq(events.error.code, KOLM_E_RESOURCE_EXHAUSTED);
    (void)take(step);
    ck_assert_int_eq(events.error.code, KOLM_OK);
    (void)take("{\"event\":\"error\",\"code\":13,\"text\":\"the second\"}");
    ck_assert_str_eq(events.error.text, "the second");
}
END_TEST

START_TEST(other_lines) {
    is_none("Welcome to a library!");
    is_none("[1]");
    is_none("\"event\"");
    is_none("{}");
    is_none("{\"event\":1}");
    is_none("{\"event\":\"dance\"}");
    is_none("{\"event\":\"log\",\"text\":\"a\"} x");
    is_none("{\"event\":\"log\",\"event\":\"log\",\"text\":\"a\"}");
    events.strange = 0;
    is("", KIT_EVENT_NONE, "");
    is(" \t\r", KIT_EVENT_NONE, "");
    ck_assert_uint_eq(events.strange, 0);
    is("\x1b[31m\xff", KIT_EVENT_NONE, "log 2 the trainer printed a line that is not an event: \\x1B[31m\\xFF\n");
    ck_assert_int_eq(kit_events_line(&events, "\0", 1), KIT_EVENT_NONE);
    ck_assert_uint_eq(events.strange, 2);
}
END_TEST

START_TEST(a_flood_of_other_lines) {
    static const char flood[] = "1\n2\n3\n\n4\n5\n6\n7\n8\n9\n";
    kit_buf expected = {0};
    for (int i = 1; i <= KIT_EVENTS_STRANGE_SHOWN; i++)
        kit_buf_fmt(&expected, "log 2 the trainer printed a line that is not an event: %d\n", i);
    kit_buf_str(&expected, "log 2 the trainer printed more lines that are not events: they are not shown\n");
    kit_events_lines(&events, flood, sizeof flood - 1);
    ck_assert_str_eq(kit_buf_text(&told), kit_buf_text(&expected));
    ck_assert_uint_eq(events.strange, 9);
    is("{\"event\":\"log\",\"text\":\"still heard\"}", KIT_EVENT_LOG, "log 1 still heard\n");
    kit_buf_free(&expected);
}
END_TEST

START_TEST(long_lines) {
    kit_buf line = {0};
    kit_buf_str(&line, "{\"event\":\"log\",\"text\":\"a\"}");
    while (line.length < KIT_EVENT_LINE_MAX)
        kit_buf_char(&line, ' ');
    is(kit_buf_text(&line), KIT_EVENT_LOG, "log 1 a\n");
    kit_buf_char(&line, ' ');
    ck_assert_int_eq(take(kit_buf_text(&line)), KIT_EVENT_NONE);
    ck_assert_uint_eq(events.strange, 1);
    ck_assert_uint_lt(told.length, 300);
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&told), "not an event, because it has more than 1 MiB: {"));
    kit_buf_free(&line);
}
END_TEST

/* As from a pipe: pieces that end anywhere. */
START_TEST(pieces) {
    static const char text[] = "{\"event\":\"log\",\"text\":\"a\"}\n\n{\"event\":\"log\",\"text\":\"b\"}\n{\"event\":"
                               "\"metric\",\"name\":\"n\",\"value\":1}";
    for (size_t step = 1; step <= sizeof text; step++) {
        begin();
        kit_buf_clear(&told);
        for (size_t from = 0; from < sizeof text - 1; from += step)
            kit_events_bytes(&events, text + from, from + step < sizeof text ? step : sizeof text - 1 - from);
        ck_assert_str_eq(kit_buf_text(&told), "log 1 a\nlog 1 b\n");
        kit_events_last(&events);
        ck_assert_str_eq(kit_buf_text(&told), "log 1 a\nlog 1 b\nmetric n 1\n");
        kit_events_last(&events);
        ck_assert_str_eq(kit_buf_text(&told), "log 1 a\nlog 1 b\nmetric n 1\n");
        ck_assert_uint_eq(events.strange, 0);
        kit_events_end(&events);
    }
}
END_TEST

/* ---- A file that grows */

static char path[64];
static uint64_t at;

static void append(const char *text, size_t length) {
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    ck_assert_int_eq(kit_write_all(fd, text, length, NULL), KOLM_OK);
    close(fd);
}

static void reads(const char *expected, uint64_t to) {
    kit_buf_clear(&told);
    ck_assert_int_eq(kit_events_file(&events, path, &at, NULL), KOLM_OK);
    ck_assert_str_eq(kit_buf_text(&told), expected);
    ck_assert_uint_eq(at, to);
}

START_TEST(a_file_that_grows) {
    static const char first[] = "{\"event\":\"log\",\"text\":\"a\"}\n{\"event\":\"l", rest[] = "og\",\"text\":\"b\"}\n";
    const size_t line = strcspn(first, "\n") + 1;
    kit_copy(path, sizeof path, "events-XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    at = 0;
    reads("", 0);
    append(first, sizeof first - 1);
    reads("log 1 a\n", line);
    reads("", line);
    append(rest, sizeof rest - 1);
    reads("log 1 b\n", 2 * line);
    unlink(path);
    reads("", 2 * line); /* it does not exist yet, or no longer */
    ck_assert_int_eq(kit_events_file(&events, "/", &at, NULL), KOLM_E_INVALID_ARGUMENT);
}
END_TEST

/* ---- Writing */

START_TEST(written_and_read) {
    const kolm_progress_t full = {.step = 3, .total = 10, .loss = 0.41, .tokens_per_second = 812, .phase = "training"};
    const kolm_progress_t bare = {.step = UINT64_MAX - 1,
                                  .total = KOLM_UNKNOWN_COUNT,
                                  .loss = NAN,
                                  .tokens_per_second = INFINITY,
                                  .phase = "reading"};
    const kolm_error_t error = {.code = KOLM_E_DATA_LOSS, .text = "cut off: a\xff", .remedy = "get it again"};
    kit_buf out = {0};
    kit_event_log(&out, KOLM_LOG_DEBUG, "a\x1b[1m\xff\"b");
    kit_event_log(&out, 77, "too loud");
    kit_event_progress(&out, &full);
    kit_event_progress(&out, &bare);
    kit_event_metric(&out, "best", 0.1);
    kit_event_metric(&out, "none", NAN);
    kit_event_result(&out, "local-cpu", "a device", "a tool 1");
    kit_event_result(&out, NULL, "a device", "");
    kit_event_error(&out, &error);
    ck_assert_int_eq(kit_buf_ok(&out, NULL), KOLM_OK);
    ck_assert_str_eq(
        kit_buf_text(&out),
        "{\"event\":\"log\",\"level\":\"debug\",\"text\":\"a\\\\x1B[1m\\\\xFF\\\"b\"}\n"
        "{\"event\":\"log\",\"level\":\"error\",\"text\":\"too loud\"}\n"
        "{\"event\":\"progress\",\"phase\":\"training\",\"step\":3,\"total\":10,\"loss\":0.41,\"tokens_per_second\":"
        "812}\n"
        "{\"event\":\"progress\",\"phase\":\"reading\",\"step\":9007199254740991,\"total\":null,\"loss\":null,"
        "\"tokens_per_second\":null}\n"
        "{\"event\":\"metric\",\"name\":\"best\",\"value\":0.1}\n"
        "{\"event\":\"result\",\"backend\":\"local-cpu\",\"device\":\"a device\",\"toolchain\":\"a tool 1\"}\n"
        "{\"event\":\"result\",\"device\":\"a device\",\"toolchain\":\"\"}\n"
        "{\"event\":\"error\",\"code\":15,\"text\":\"cut off: a\\\\xFF\",\"remedy\":\"get it again\"}\n");
    kit_events_lines(&events, kit_buf_text(&out), out.length);
    ck_assert_str_eq(kit_buf_text(&told), "log 0 a\\x1B[1m\\xFF\"b\n"
                                          "log 3 too loud\n"
                                          "progress training 3 10 0.41 812\n"
                                          "progress reading 9007199254740991 -1 nan nan\n"
                                          "metric best 0.1\n");
    ck_assert_str_eq(kit_events_result_text(&events, "device"), "a device");
    ck_assert_int_eq(events.error.code, KOLM_E_DATA_LOSS);
    ck_assert_str_eq(events.error.text, "cut off: a\\xFF");
    ck_assert_uint_eq(events.strange, 0);
    kit_buf_free(&out);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("kit events");
    TCase *c = tcase_create("events");
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, logs);
    tcase_add_test(c, progress);
    tcase_add_test(c, metrics);
    tcase_add_test(c, results);
    tcase_add_test(c, errors);
    tcase_add_test(c, errors_of_no_known_code);
    tcase_add_test(c, an_error_of_the_start_before);
    tcase_add_test(c, other_lines);
    tcase_add_test(c, a_flood_of_other_lines);
    tcase_add_test(c, long_lines);
    tcase_add_test(c, pieces);
    tcase_add_test(c, a_file_that_grows);
    tcase_add_test(c, written_and_read);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
