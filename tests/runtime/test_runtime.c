/* SPDX-License-Identifier: Apache-2.0 */
/* What a lock states about itself, what is shown of an index, and a Python provided by the user. */
#include "runtime/pip.h"
#include "runtime/setup.h"

#include "../suite.h"
#include "kolm/kit/file.h"

#include <stdlib.h>
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

static void check_pip(const char *said, bool online, runtime_pip_failure failure, const char *about) {
    runtime_pip_end end;
    runtime_pip_read(said, online, &end);
    ck_assert_msg(end.failure == failure && strcmp(end.about, about) == 0, "%s: %d, \"%s\"", said, (int)end.failure,
                  end.about);
}

START_TEST(why_pip_failed) {
    static const char other[] =
        "Collecting b\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated "
        "the "
        "package versions, please update the hashes. Otherwise, examine the package contents carefully; someone may "
        "have tampered with them.\n    b==1.0 from https://a.example/b:\n        Expected sha256 0\n";
    static const char away[] =
        "WARNING: Retrying (Retry(total=0)) after connection broken by 'ConnectTimeoutError(<HTTPSConnection(host='"
        "a.example', port=443): Connection to a.example timed out.'\nERROR: No matching distribution found for "
        "b==1.0\n";
    check_pip(other, true, RUNTIME_PIP_OTHER_FILE, "b==1.0");
    check_pip(away, true, RUNTIME_PIP_NETWORK, "a.example");
    check_pip(away, false, RUNTIME_PIP_MISSING, "b==1.0");
    check_pip("ERROR: SSLError", true, RUNTIME_PIP_NETWORK, "");
    check_pip("ERROR: Could not find a version\nERROR: No matching distribution found for b==1.0 (from -r x)\n", true,
              RUNTIME_PIP_MISSING, "b==1.0");
    check_pip("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n", true,
              RUNTIME_PIP_DISK_FULL, "");
    check_pip("ERROR: Disk quota exceeded\n", false, RUNTIME_PIP_DISK_FULL, "");
    check_pip("Collecting b\nERROR: b is not a supported wheel\nmore\n", true, RUNTIME_PIP_OTHER,
              "b is not a supported wheel");
    check_pip("", true, RUNTIME_PIP_OTHER, "it did not report why");
}
END_TEST

/* Runs the complete setup of backend "acme"; the caller must free *done. */
static kit_status set_up(setup s, setup_done *done, session_reason *reason, kolm_error_t *err) {
    kolm_session session;
    session_init(&session, NULL, (session_sink){0});
    s.session = &session;
    s.name = "acme";
    *done = (setup_done){0};
    kit_status status = setup_open(&s, err);
    if (status == KOLM_OK) status = setup_do(&s, done, err);
    *reason = s.reason;
    setup_close(&s);
    session_free(&session);
    return status;
}

START_TEST(the_users_python_is_used_and_removed) {
    char place[] = "/tmp/kolm-runtime-XXXXXX", home[64];
    kolm_error_t err = KIT_ERROR_INIT;
    session_reason reason;
    setup_done done;
    ck_assert_ptr_nonnull(mkdtemp(place));
    kit_format(home, sizeof home, "%s/home", place);
    setenv("KOLM_HOME", home, 1);
    ck_assert_int_eq(set_up((setup){.remove = true}, &done, &reason, &err), KOLM_OK);
    ck_assert_str_eq(done.state, "nothing to remove");
    ck_assert_ptr_null(done.python);
    setup_done_free(&done);

    ck_assert_msg(set_up((setup){.use = "/usr/bin/python3"}, &done, &reason, &err) == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(done.state, "used");
    ck_assert_str_eq(done.python, "/usr/bin/python3");
    setup_done_free(&done);

    ck_assert_int_eq(set_up((setup){.use = "python3"}, &done, &reason, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(reason, SESSION_REASON_USAGE);
    setup_done_free(&done);

    ck_assert_int_eq(set_up((setup){.remove = true}, &done, &reason, &err), KOLM_OK);
    ck_assert_str_eq(done.state, "removed");
    ck_assert(done.removed.forgotten && !done.removed.there);
    setup_done_free(&done);
    ck_assert_int_eq(kit_remove_tree(place, NULL), KOLM_OK);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime");
    TCase *tests = tcase_create("runtime");
    tcase_add_test(tests, words_of_locks);
    tcase_add_test(tests, urls_are_shown_without_passwords);
    tcase_add_test(tests, why_pip_failed);
    tcase_add_test(tests, the_users_python_is_used_and_removed);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
