/* SPDX-License-Identifier: Apache-2.0 */
/* Locks: who gets one, who waits, and when one is void. */
#include "../suite.h"
#include "kolm/kit/buf.h"
#include "kolm/kit/lock.h"
#include "kolm/kit/process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64], path[96];
static kolm_error_t err;

static void begin(void) {
    kit_copy(dir, sizeof dir, "kit-lock-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    kit_format(path, sizeof path, "%s/lock", dir);
    err = (kolm_error_t)KIT_ERROR_INIT;
}

static void end(void) {
    (void)unlink(path);
    ck_assert_int_eq(rmdir(dir), 0);
}

static int open_lock(void) {
    int fd = -1;
    ck_assert_int_eq(kit_lock_open(path, &fd, &err), KOLM_OK);
    return fd;
}

START_TEST(one_holder) {
    struct stat info;
    int first = open_lock(), second = open_lock();
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_uint_eq(info.st_mode & 07777, 0600);
    ck_assert_int_ne(fcntl(first, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_eq(kit_lock_try(first, path, &err), KOLM_OK);
    ck_assert_int_eq(kit_lock_try(first, path, &err), KOLM_OK); /* it already holds the lock */
    ck_assert_int_eq(kit_lock_try(second, path, &err), KOLM_E_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(err.text, path));
    ck_assert_str_ne(err.remedy, "");
    ck_assert_int_eq(kit_lock_wait(second, path, 0, NULL, NULL, &err), KOLM_E_UNAVAILABLE);
    ck_assert_int_eq(kit_lock_wait(second, path, 30, NULL, NULL, &err), KOLM_E_UNAVAILABLE);
    close(first);
    ck_assert_int_eq(kit_lock_wait(second, path, 0, NULL, NULL, &err), KOLM_OK);
    close(second);
}
END_TEST

START_TEST(no_link_is_followed) {
    int fd;
    ck_assert_int_eq(symlink("/etc/passwd", path), 0);
    ck_assert_int_ne(kit_lock_open(path, &fd, &err), KOLM_OK);
    ck_assert_int_eq(fd, -1);
    ck_assert_int_eq(kit_lock_try(-1, "nothing", &err), KOLM_E_UNKNOWN);
}
END_TEST

/* Forks a child that reports that it holds the lock, and holds it until it is killed. */
static pid_t holder(int (*take)(int fd)) {
    int ends[2];
    char byte;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int fd;
        if (kit_lock_open(path, &fd, NULL) != KOLM_OK || take(fd) != KOLM_OK || write(ends[1], "", 1) != 1) _exit(1);
        for (;;)
            pause();
    }
    close(ends[1]);
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    return pid;
}

static void kill_holder(pid_t pid) {
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static int take(int fd) {
    return kit_lock_hold(fd, path, NULL);
}

START_TEST(a_holder_that_is_killed) {
    int fd = open_lock();
    pid_t pid = holder(take);
    ck_assert_int_eq(kit_lock_try(fd, path, &err), KOLM_E_UNAVAILABLE);
    kill_holder(pid);
    ck_assert_int_eq(kit_lock_hold(fd, path, &err), KOLM_OK);
    close(fd);
}
END_TEST

static pid_t waited_for;
static int looks;

static bool stop_at_once(void *user) {
    (void)user;
    looks++;
    return true;
}

/* Called after the first failed attempt. */
static bool free_it(void *user) {
    (void)user;
    if (looks++ == 0) kill_holder(waited_for);
    return false;
}

START_TEST(waiting) {
    int fd = open_lock();
    waited_for = holder(take);
    looks = 0;
    ck_assert_int_eq(kit_lock_wait(fd, path, INT32_MAX, stop_at_once, NULL, &err), KOLM_E_CANCELLED);
    ck_assert_int_eq(looks, 1);
    looks = 0;
    ck_assert_int_eq(kit_lock_wait(fd, path, INT32_MAX, free_it, NULL, &err), KOLM_OK);
    ck_assert_int_eq(looks, 1);
    close(fd);
}
END_TEST

static void on_alarm(int number) {
    (void)number;
}

/* The signal is sent repeatedly, because the first may arrive before the wait. */
START_TEST(a_signal_while_waiting) {
    struct sigaction act = {.sa_handler = on_alarm};
    int fd = open_lock();
    pid_t holds = holder(take), self = getpid();
    ck_assert_int_eq(sigaction(SIGUSR1, &act, NULL), 0);
    pid_t knocks = fork();
    ck_assert_int_ge(knocks, 0);
    while (knocks == 0) {
        if (kill(self, SIGUSR1) != 0) _exit(0);
        (void)sched_yield();
    }
    ck_assert_int_eq(kit_lock_hold(fd, path, &err), KOLM_E_CANCELLED);
    ck_assert_int_eq(kit_lock_wait(fd, path, INT32_MAX, NULL, NULL, &err), KOLM_E_CANCELLED);
    kill_holder(knocks);
    kill_holder(holds);
    close(fd);
}
END_TEST

START_TEST(a_file_that_was_removed) {
    int fd = open_lock();
    ck_assert(kit_lock_is_linked(fd) && kit_lock_names(fd, path));
    ck_assert_int_eq(unlink(path), 0);
    ck_assert(!kit_lock_is_linked(fd) && !kit_lock_names(fd, path));
    int next = open_lock();
    ck_assert_int_eq(kit_lock_try(fd, path, &err), KOLM_OK); /* succeeds, but the file has no name any more */
    ck_assert_int_eq(kit_lock_try(next, path, &err), KOLM_OK);
    ck_assert(kit_lock_names(next, path) && !kit_lock_names(fd, path));
    close(fd);
    close(next);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("kit lock");
    TCase *c = tcase_create("lock");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, one_holder);
    tcase_add_test(c, no_link_is_followed);
    tcase_add_test(c, a_holder_that_is_killed);
    tcase_add_test(c, waiting);
    tcase_add_test(c, a_signal_while_waiting);
    tcase_add_test(c, a_file_that_was_removed);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
