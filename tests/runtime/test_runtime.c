/* SPDX-License-Identifier: Apache-2.0 */
/* What a lock says of itself, and what of an index is shown. */
#include "runtime/setup.h"

#include "../suite.h"

#include <string.h>

START_TEST(words_of_locks) {
    static const struct {
        const char *range;
        uint64_t minor;
        bool good;
    } ranges[] = {
        {"", 11, true},           {">=3.11 <3.15", 11, true}, {">=3.11,<3.15", 14, true}, {">=3.11 <3.15", 15, false},
        {">=3.11", 9, false},     {">=3.9", 11, true},        {"==3.12", 12, true},       {"==3.12", 11, false},
        {"3.11", 11, false},      {">=3", 11, false},         {"~=3.11", 11, false},      {"<= 3.11", 11, false},
        {">=3.99999", 11, false}, {">3.9", 11, false}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        ck_assert_msg(runtime_lock_python_ok(ranges[i].range, 3, ranges[i].minor) == ranges[i].good, "'%s' for 3.%d",
                      ranges[i].range, (int)ranges[i].minor);
    ck_assert(runtime_lock_allows("", "linux") && runtime_lock_allows(" ", "linux"));
    ck_assert(runtime_lock_allows("linux darwin", "darwin") && runtime_lock_allows("linux,darwin", "linux"));
    ck_assert(!runtime_lock_allows("linux darwin", "lin") && !runtime_lock_allows("linux", "") &&
              !runtime_lock_allows("x", "xy"));
}
END_TEST

START_TEST(urls_are_shown_without_passwords) {
    static const char *const urls[][2] = {{"https://me:secret@host:8/a@b", "https://host:8/a@b"},
                                          {"https://host/simple", "https://host/simple"},
                                          {"me:p@ss@host", "host"},
                                          {"", ""}};
    char shown[64];
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        ck_assert_str_eq(setup_shown_url(urls[i][0], shown, sizeof shown), urls[i][1]);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime");
    TCase *tests = tcase_create("runtime");
    tcase_add_test(tests, words_of_locks);
    tcase_add_test(tests, urls_are_shown_without_passwords);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
