/* SPDX-License-Identifier: Apache-2.0 */
/* Children get exactly the requested descriptors, environment and signals. */
#include "../suite.h"
#include "kolm/kit/file.h"
#include "kolm/kit/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static kolm_error_t err;

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
}

/* Spawns the child program, with a pipe for the descriptors whose parent is negative; *out gets what is written to
 * it. */
static void ask(const char *question, kit_spawn_fd *fds, size_t fd_count, char *const *envp, kit_buf *out,
                int *out_status) {
    int ends[2] = {-1, -1};
    ck_assert_int_eq(kit_pipe(&ends[0], &ends[1], &err), KOLM_OK);
    for (size_t i = 0; i < fd_count; i++)
        if (fds[i].parent < 0) fds[i].parent = ends[1];
    char name[] = "child", word[64];
    kit_copy(word, sizeof word, question);
    char *argv[] = {name, word, NULL};
    char *none[] = {NULL};
    kit_spawn_options options = {
        .path = CHILD, .argv = argv, .envp = envp != NULL ? envp : none, .fds = fds, .fd_count = fd_count};
    pid_t pid = 0;
    ck_assert_msg(kit_spawn(&options, &pid, &err) == KOLM_OK, "%s", err.text);
    close(ends[1]);
    char chunk[512];
    for (ssize_t got = read(ends[0], chunk, sizeof chunk); got > 0; got = read(ends[0], chunk, sizeof chunk))
        kit_buf_add(out, chunk, (size_t)got);
    close(ends[0]);
    ck_assert_int_eq(waitpid(pid, out_status, 0), pid);
}

static void answer_is(const char *question, kit_spawn_fd *fds, size_t fd_count, char *const *envp, const char *want) {
    kit_buf out = {0};
    int status = 0;
    ask(question, fds, fd_count, envp, &out, &status);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
    ck_assert_str_eq(kit_buf_text(&out), want);
    kit_buf_free(&out);
}

START_TEST(only_chosen_descriptors) {
    /* An open descriptor that must not be inherited. */
    int leak = open("/dev/null", O_RDONLY), high = fcntl(leak, F_DUPFD, 200); /* neither is close-on-exec */
    ck_assert(leak >= 0 && high >= 200);
    kit_spawn_fd one[] = {{-1, 1}};
    answer_is("descriptors", one, 1, NULL, "0:null 1:pipe 2:null ");
    kit_spawn_fd far[] = {{-1, 1}, {-1, 9}, {leak, 5}};
    answer_is("descriptors", far, 3, NULL, "0:null 1:pipe 2:null 5:null 9:pipe ");
    close(leak);
    close(high);
}
END_TEST

START_TEST(descriptors_may_swap) {
    int a[2] = {-1, -1}, b[2] = {-1, -1};
    ck_assert_int_eq(kit_pipe(&a[0], &a[1], &err), KOLM_OK);
    ck_assert_int_eq(kit_pipe(&b[0], &b[1], &err), KOLM_OK);
    ck_assert_int_eq(kit_write_all(a[1], "A", 1, &err), KOLM_OK);
    ck_assert_int_eq(kit_write_all(b[1], "B", 1, &err), KOLM_OK);
    /* The descriptors are swapped between parent and child. */
    kit_spawn_fd fds[] = {{-1, 1}, {a[0], b[0]}, {b[0], a[0]}};
    char question[32], want[64];
    kit_format(question, sizeof question, "read %d", b[0]);
    kit_format(want, sizeof want, "A");
    answer_is(question, fds, 3, NULL, want);
    close(a[0]);
    close(a[1]);
    close(b[0]);
    close(b[1]);
}
END_TEST

START_TEST(exactly_this_environment) {
    char first[] = "A=1", second[] = "PATH=/nowhere";
    char *envp[] = {first, second, NULL};
    ck_assert_int_eq(setenv("KOLM_TEST_LEAK", "secret", 1), 0);
    kit_spawn_fd fds[] = {{-1, 1}};
    answer_is("environment", fds, 1, envp, "A=1 PATH=/nowhere ");
    kit_spawn_fd again[] = {{-1, 1}};
    answer_is("environment", again, 1, NULL, "");
    unsetenv("KOLM_TEST_LEAK");
}
END_TEST

START_TEST(a_group_of_its_own) {
    kit_spawn_fd fds[] = {{-1, 1}};
    answer_is("group", fds, 1, NULL, "leader");
}
END_TEST

START_TEST(signals_start_afresh) {
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    ck_assert_int_eq(sigprocmask(SIG_BLOCK, &blocked, &before), 0);
    void (*pipe_handler)(int) = signal(SIGPIPE, SIG_IGN);
    kit_spawn_fd fds[] = {{-1, 1}};
    answer_is("signals", fds, 1, NULL, "none blocked, none ignored");
    signal(SIGPIPE, pipe_handler);
    ck_assert_int_eq(sigprocmask(SIG_SETMASK, &before, NULL), 0);
}
END_TEST

START_TEST(endings_are_seen) {
    int status = 0;
    kit_buf out = {0};
    kit_spawn_fd fds[] = {{-1, 1}};
    ask("exit 7", fds, 1, NULL, &out, &status);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    kit_spawn_fd again[] = {{-1, 1}};
    ask("die", again, 1, NULL, &out, &status);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    kit_buf_free(&out);
}
END_TEST

START_TEST(what_cannot_start) {
    char name[] = "x";
    char *argv[] = {name, NULL}, *envp[] = {NULL};
    kit_spawn_options options = {.path = "/nowhere/at/all", .argv = argv, .envp = envp};
    pid_t pid = -7;
    /* valgrind turns the vfork of posix_spawn into a fork, so that a failed exec looks like a child that exits with
     * 127. */
    if (!test_under_valgrind()) {
        ck_assert_int_eq(kit_spawn(&options, &pid, &err), KOLM_E_NOT_FOUND);
        ck_assert_ptr_nonnull(strstr(err.text, "/nowhere/at/all"));
        options.path = "/dev/null";
        ck_assert_int_eq(kit_spawn(&options, &pid, &err), KOLM_E_PERMISSION_DENIED);
    }
    options.path = "true"; /* would be found through PATH */
    ck_assert_int_eq(kit_spawn(&options, &pid, &err), KOLM_E_INVALID_ARGUMENT);
    options.path = CHILD;
    kit_spawn_fd fds[17] = {{-1, 1}};
    options.fds = fds;
    options.fd_count = 17;
    ck_assert_int_eq(kit_spawn(&options, &pid, &err), KOLM_E_INVALID_ARGUMENT);
    options.fd_count = 1;
    ck_assert_int_ne(kit_spawn(&options, &pid, &err), KOLM_OK); /* descriptor -1 */
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD); /* no child was left behind */
}
END_TEST

START_TEST(time_goes_on) {
    int64_t before = kit_now_ms();
    ck_assert_int_gt(before, 0);
    ck_assert_int_ge(kit_now_ms(), before);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("process");
    TCase *cases = tcase_create("all");
    tcase_add_checked_fixture(cases, setup, NULL);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, only_chosen_descriptors);
    tcase_add_test(cases, descriptors_may_swap);
    tcase_add_test(cases, exactly_this_environment);
    tcase_add_test(cases, a_group_of_its_own);
    tcase_add_test(cases, signals_start_afresh);
    tcase_add_test(cases, endings_are_seen);
    tcase_add_test(cases, what_cannot_start);
    tcase_add_test(cases, time_goes_on);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
