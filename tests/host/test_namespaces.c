/* SPDX-License-Identifier: Apache-2.0 */
/* The first process of a namespace ends when the process that made it dies, whenever that is. Linked only with
 * namespaces.c, so that a test can stop a process at the moment under test. */
#include "host/child/child.h"

#include "../suite.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_SECONDS 20
#define NO_NAMESPACES 77

static int at_it[2], go[2]; /* the first process reports that it is at the moment, and may continue */
static bool held, cancelled, lacks;

int __real_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
int __wrap_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);

int __wrap_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
    char byte = 0;
    if (held && getpid() == 1 && option == PR_SET_PDEATHSIG) {
        close(go[1]);
        if (write(at_it[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 0) abort();
    }
    return __real_prctl(option, a, b, c, d);
}

/* ---- What namespaces.c needs from other files; here, a request to stop that came earlier */
bool child_cancelled(void) {
    return cancelled;
}

void child_last_resort(void) {}

void child_is_worker(void) {}

int child_open_place(const char *path) {
    (void)path;
    return -1;
}

void child_proof_add(kit_buf *names, const char *name) {
    (void)names;
    lacks = lacks || strcmp(name, "namespaces") == 0;
}

/* ---- A process that separates a call, as kolm-host does */
static _Noreturn void separate(pid_t parent) {
    child_request request = {.parent = parent};
    child_proof proof = {0};
    kolm_error_t error = KIT_ERROR_INIT;
    if (child_separate(&request, &proof, &error) != KOLM_OK) _exit(1);
    if (lacks) _exit(NO_NAMESPACES);
    for (;;)
        pause(); /* the worker */
}

static void setup(void) {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    ck_assert_int_eq(sigprocmask(SIG_BLOCK, &child, NULL), 0);
    ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* it becomes the parent of orphans */
    ck_assert_int_eq(pipe(at_it), 0);
    ck_assert_int_eq(pipe(go), 0);
    held = cancelled = false;
}

/* Waits until all processes that `maker` left have ended; false if they do not. */
static bool all_ended(void) {
    sigset_t child;
    const struct timespec limit = {.tv_sec = LIMIT_SECONDS};
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    for (;;) {
        pid_t ended = waitpid(-1, NULL, WNOHANG);
        if (ended < 0) return errno == ECHILD;
        if (ended == 0 && sigtimedwait(&child, NULL, &limit) < 0 && errno == EAGAIN) return false;
    }
}

/* ---- The tests */
START_TEST(test_maker_that_dies_before_the_first_process_can_hear_of_it) {
    char byte;
    held = true;
    pid_t maker = fork();
    if (maker == 0) separate(getppid());
    close(at_it[1]);
    if (read(at_it[0], &byte, 1) != 1) { /* a container without namespaces */
        int how = 0;
        ck_assert_int_eq(waitpid(maker, &how, 0), maker);
        ck_assert_int_eq(WEXITSTATUS(how), NO_NAMESPACES);
        return;
    }
    ck_assert_int_eq(kill(maker, SIGKILL), 0);
    ck_assert_int_eq(waitpid(maker, NULL, 0), maker);
    close(go[0]);
    close(go[1]);
    ck_assert_msg(all_ended(), "the first process lives on without its maker");
}
END_TEST

START_TEST(test_caller_that_died_before_there_were_processes) {
    int how = 0;
    cancelled = true;
    pid_t maker = fork();
    if (maker == 0) separate(getppid() + 1); /* not its parent: the caller no longer exists */
    ck_assert_int_eq(waitpid(maker, &how, 0), maker);
    ck_assert(WIFEXITED(how) && (WEXITSTATUS(how) == 0 || WEXITSTATUS(how) == NO_NAMESPACES));
    ck_assert_msg(all_ended(), "the first process lives on with no other beside it");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("namespaces");
    TCase *tests = tcase_create("namespaces");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_set_timeout(tests, 2 * LIMIT_SECONDS);
    suite_add_tcase(suite, tests);
    if (test_under_valgrind()) return run_suite(suite); /* supports neither mount without a type nor mount_setattr */
    tcase_add_test(tests, test_maker_that_dies_before_the_first_process_can_hear_of_it);
    tcase_add_test(tests, test_caller_that_died_before_there_were_processes);
    return run_suite(suite);
}
