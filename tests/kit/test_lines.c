/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of files and streams, of any length, with any line end and from any source. */
#include "../suite.h"
#include "kolm/kit/file.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static kolm_error_t err;

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
}

static int file_of(const char *text, size_t length) {
    int fd = memfd_create("lines", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(kit_write_all(fd, text, length, &err), KOLM_OK);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

/* Reads all lines and joins them as "[line]"; a line that is too long becomes "<!>". */
static void read_all(const char *text, size_t length, size_t max_line, const char *want) {
    int fd = file_of(text, length);
    kit_lines *lines = NULL;
    ck_assert_int_eq(kit_lines_open(fd, max_line, &lines, &err), KOLM_OK);
    kit_buf out = {0};
    uint64_t count = 0;
    for (;;) {
        const char *line = NULL;
        size_t n = 0;
        kit_status status = kit_lines_next(lines, &line, &n, &err);
        if (status == KOLM_OK && line == NULL) break;
        ck_assert_uint_eq(kit_lines_number(lines), ++count);
        if (status == KOLM_OK)
            kit_buf_fmt(&out, "[%s]", line);
        else
            kit_buf_str(&out, "<!>");
        ck_assert(status == KOLM_OK ? strlen(line) == n : status == KOLM_E_OUT_OF_RANGE);
    }
    ck_assert_str_eq(kit_buf_text(&out), want);
    kit_buf_free(&out);
    kit_lines_close(lines);
    close(fd);
}

START_TEST(lines_of_all_kinds) {
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},
        {"\n", "[]"},
        {"a", "[a]"},
        {"a\n", "[a]"},
        {"a\nb", "[a][b]"},
        {"a\r\nb\r\n", "[a][b]"},
        {"\r\n\r\n", "[][]"},
        {"a\n\n\nb\n", "[a][][][b]"},
        {"a\rb\n", "[a\rb]"},
        {"a\r", "[a]"},
        {"a\r\r\n", "[a\r]"},
        {"\xEF\xBB\xBF"
         "a\n\xEF\xBB\xBF"
         "b\n",
         "[a][\xEF\xBB\xBF"
         "b]"},
        {"\xEF\xBB\xBF", "[]"},
        {"\xEF\xBB\xBF\r\nx", "[][x]"},
        {"1234567890\n", "[1234567890]"},
        {"12345678901\nok\n", "<!>[ok]"},
        {"ok\n12345678901", "[ok]<!>"},
        {"12345678901\n12345678901\n\n", "<!><!>[]"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        read_all(cases[i].text, strlen(cases[i].text), 10, cases[i].want);
}
END_TEST

START_TEST(nul_bytes_are_kept) {
    int fd = file_of("a\0b\nc\n", 6);
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    ck_assert_int_eq(kit_lines_open(fd, 100, &lines, &err), KOLM_OK);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert(length == 3 && memcmp(line, "a\0b", 4) == 0);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert(length == 1 && line[0] == 'c');
    kit_lines_close(lines);
    kit_lines_close(NULL);
    close(fd);
}
END_TEST

static long peak_kib(void) {
    FILE *status = fopen("/proc/self/status", "r");
    char text[256];
    long peak = 0;
    while (status != NULL && fgets(text, sizeof text, status) != NULL)
        if (strncmp(text, "VmHWM:", 6) == 0) peak = strtol(text + 6, NULL, 10);
    if (status != NULL) fclose(status);
    return peak;
}

START_TEST(huge_lines_cost_no_memory) {
    char path[] = "/tmp/kolm-huge-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    unlink(path);
    /* A hole of 100 MB is one line of NULs. */
    ck_assert_int_eq(ftruncate(fd, 100 << 20), 0);
    ck_assert_int_eq(pwrite(fd, "\nlast\n", 6, 100 << 20), 6);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    long before = peak_kib();
    ck_assert_int_eq(kit_lines_open(fd, 1 << 20, &lines, &err), KOLM_OK);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_E_OUT_OF_RANGE);
    ck_assert_ptr_nonnull(strstr(err.text, "line 1 "));
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert_str_eq(line, "last");
    ck_assert_uint_eq(kit_lines_number(lines), 2);
    /* The buffer for 1 MB lines, doubled as it grows; sanitizers keep freed memory. */
    ck_assert_int_lt(peak_kib() - before, 32 << 10);
    kit_lines_close(lines);
    close(fd);
}
END_TEST

static volatile sig_atomic_t alarms;

static void on_alarm(int number) {
    (void)number;
    alarms = alarms + 1;
}

START_TEST(a_wait_ends_on_request) {
    int ends[2] = {-1, -1};
    const struct itimerval soon = {.it_interval = {.tv_usec = 10000}, .it_value = {.tv_usec = 10000}}, never = {0};
    struct sigaction action = {.sa_handler = on_alarm};
    sigemptyset(&action.sa_mask);
    ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
    ck_assert_int_eq(kit_pipe(&ends[0], &ends[1], &err), KOLM_OK);
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    ck_assert_int_eq(kit_lines_open(ends[0], 100, &lines, &err), KOLM_OK);
    kit_lines_stop_on(lines, &alarms);
    ck_assert_int_eq(write(ends[1], "half a line", 11), 11);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &soon, NULL), 0);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_E_CANCELLED);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
    ck_assert_int_gt(alarms, 0);
    kit_lines_close(lines);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

/* Endless text without a line end. */
static kit_status endless(void *user, char *out, size_t capacity, size_t *out_got, kolm_error_t *error) {
    (void)error;
    size_t *given = user;
    memset(out, 'a', capacity);
    *out_got = capacity;
    *given += capacity;
    return KOLM_OK;
}

START_TEST(an_endless_line_is_reported_and_can_be_skipped) {
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0, given = 0;
    volatile sig_atomic_t stop = 0;
    ck_assert_int_eq(kit_lines_open(-1, 100000, &lines, &err), KOLM_OK);
    kit_lines_read_with(lines, endless, &given);
    kit_lines_stop_on(lines, &stop);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_E_OUT_OF_RANGE);
    ck_assert_uint_lt(given, 500000);
    ck_assert(!kit_lines_ready(lines));
    stop = 1;
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_E_CANCELLED);
    kit_lines_close(lines);
}
END_TEST

static kit_status three_pieces(void *user, char *out, size_t capacity, size_t *out_got, kolm_error_t *error) {
    static const char *const pieces[] = {"fir", "st\nsec", "ond\nlonger than ten\nlast", ""};
    size_t *next = user;
    if (*next == 4) return kit_fail(error, KOLM_E_DATA_LOSS, "", "no more");
    *out_got = strlen(pieces[*next]);
    ck_assert_uint_le(*out_got, capacity);
    memcpy(out, pieces[(*next)++], *out_got);
    return KOLM_OK;
}

START_TEST(lines_may_come_from_a_function) {
    static const char *const expected[] = {"first", "second", NULL, "last"};
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0, next = 0;
    ck_assert_int_eq(kit_lines_open(-1, 10, &lines, &err), KOLM_OK);
    kit_lines_read_with(lines, three_pieces, &next);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err),
                         expected[i] != NULL ? KOLM_OK : KOLM_E_OUT_OF_RANGE);
        if (expected[i] != NULL) ck_assert_str_eq(line, expected[i]);
        ck_assert_uint_eq(kit_lines_number(lines), i + 1);
    }
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert_ptr_null(line);
    kit_lines_close(lines);
    next = 4;
    ck_assert_int_eq(kit_lines_open(-1, 10, &lines, &err), KOLM_OK);
    kit_lines_read_with(lines, three_pieces, &next);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_E_DATA_LOSS);
    ck_assert_str_eq(err.text, "no more");
    kit_lines_close(lines);
}
END_TEST

START_TEST(ready_says_what_would_wait) {
    int ends[2] = {-1, -1};
    ck_assert_int_eq(kit_pipe(&ends[0], &ends[1], &err), KOLM_OK);
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    ck_assert_int_eq(kit_lines_open(ends[0], 100, &lines, &err), KOLM_OK);
    ck_assert(!kit_lines_ready(lines));
    ck_assert_int_eq(kit_write_all(ends[1], "one\ntwo\nthr", 11, &err), KOLM_OK);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert_str_eq(line, "one");
    ck_assert(kit_lines_ready(lines));
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert_str_eq(line, "two");
    ck_assert(!kit_lines_ready(lines));
    close(ends[1]);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert_str_eq(line, "thr");
    ck_assert(kit_lines_ready(lines));
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
    ck_assert_ptr_null(line);
    kit_lines_close(lines);
    close(ends[0]);
}
END_TEST

START_TEST(reading_errors_are_reported) {
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_eq(kit_lines_open(fd, 100, &lines, &err), KOLM_OK);
    ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_null(line);
    kit_lines_close(lines);
    close(fd);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("lines");
    TCase *cases = tcase_create("all");
    tcase_add_checked_fixture(cases, setup, NULL);
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, lines_of_all_kinds);
    tcase_add_test(cases, nul_bytes_are_kept);
    tcase_add_test(cases, huge_lines_cost_no_memory);
    tcase_add_test(cases, a_wait_ends_on_request);
    tcase_add_test(cases, an_endless_line_is_reported_and_can_be_skipped);
    tcase_add_test(cases, lines_may_come_from_a_function);
    tcase_add_test(cases, ready_says_what_would_wait);
    tcase_add_test(cases, reading_errors_are_reported);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
