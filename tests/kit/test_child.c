/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that are run until they end, and programs that do not end. */
#include "../suite.h"
#include "kolm/kit/buf.h"
#include "kolm/kit/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static kolm_error_t err;
static kit_buf out, errors;
static kit_child_end end;
static kit_child_stop wish; /* what `stop` returns after the first output */

static void take_out(void *user, const char *bytes, size_t length) {
    (void)user;
    kit_buf_add(&out, bytes, length);
}

static void take_err(void *user, const char *bytes, size_t length) {
    (void)user;
    kit_buf_add(&errors, bytes, length);
}

static kit_child_stop stop(void *user, bool out_ended) {
    (void)user, (void)out_ended;
    return out.length > 0 ? wish : KIT_CHILD_GOES_ON;
}

static void begin(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    wish = KIT_CHILD_GOES_ON;
}

static void finish(void) {
    kit_buf_free(&out);
    kit_buf_free(&errors);
}

/* Runs Python with this text; more: the differences from the usual options. */
static void run(const char *text, const kit_child *more) {
    static const char *const environment[] = {"A=b", NULL};
    const char *argv[] = {PYTHON, "-S", "-E", "-c", text, NULL};
    kit_child child = *more;
    child.path = PYTHON;
    child.argv = argv;
    child.envp = environment;
    child.out = take_out;
    child.err = take_err;
    child.stop = stop;
    ck_assert_msg(kit_child_run(&child, &end, &err) == KOLM_OK, "%s", err.text);
}

static const kit_child usual = {.grace_ms = 60000};

START_TEST(output_and_how_it_ended) {
    run("import os, sys\nprint('a', flush=True); sys.stderr.write('b')\n"
        "sys.exit(7 if os.environ.get('A') == 'b' and 'PATH' not in os.environ else 1)",
        &usual);
    ck_assert_str_eq(kit_buf_text(&out), "a\n");
    ck_assert_str_eq(kit_buf_text(&errors), "b");
    ck_assert_int_eq(end.exit_code, 7);
    ck_assert_int_eq(end.signal_number, 0);
    ck_assert_int_eq(end.stop, KIT_CHILD_GOES_ON);
    run("import os\nos.kill(os.getpid(), 9)", &usual);
    ck_assert_int_eq(end.exit_code, -1);
    ck_assert_int_eq(end.signal_number, SIGKILL);
    ck_assert_int_eq(end.stop, KIT_CHILD_GOES_ON);
}
END_TEST

START_TEST(a_lot_of_output) {
    run("import sys\nfor i in range(3000): sys.stdout.write('x' * 1000); sys.stderr.write('y' * 100)", &usual);
    ck_assert_uint_eq(out.length, 3000000);
    ck_assert_uint_eq(errors.length, 300000);
}
END_TEST

START_TEST(errors_next_to_the_output) {
    run("import sys\nsys.stdout.write('a'); sys.stdout.flush(); sys.stderr.write('b'); sys.stderr.flush(); print('c')",
        &(kit_child){.joined = true});
    ck_assert_str_eq(kit_buf_text(&out), "abc\n");
    ck_assert_str_eq(kit_buf_text(&errors), "");
}
END_TEST

START_TEST(its_input_and_descriptors) {
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    const kit_spawn_fd fd = {null, 5};
    static const char text[] = "import os, stat\n"
                               "fds = sorted(int(f) for f in os.listdir('/proc/self/fd'))\n"
                               "print(stat.S_ISFIFO(os.fstat(0).st_mode), 5 in fds, os.getpgrp() == os.getpid())";
    run(text, &(kit_child){.fds = &fd, .fd_count = 1});
    ck_assert_str_eq(kit_buf_text(&out), "False True True\n");
    kit_buf_clear(&out);
    run(text, &(kit_child){.fds = &fd, .fd_count = 1, .tied = true});
    ck_assert_str_eq(kit_buf_text(&out), "True True True\n");
    close(null);
}
END_TEST

/* Prints something and then waits for ever; the time limit of the test is much longer. A signal that arrives just before
 * pause() would interrupt nothing, and its handler would not run: so the first one also ends a read. */
#define WAITS                                                                                                          \
    "import os\nr, w = os.pipe()\nos.set_blocking(w, False)\nsignal.set_wakeup_fd(w)\n"                                \
    "print('ready', flush=True)\nos.read(r, 1)\nsignal.pause()\n"

START_TEST(asked_to_stop) {
    wish = KIT_CHILD_CANCELLED;
    run("import signal, sys\nsignal.signal(15, lambda *a: sys.exit(3))\n" WAITS, &usual);
    ck_assert_int_eq(end.stop, KIT_CHILD_CANCELLED);
    ck_assert_int_eq(end.exit_code, 3);
    /* What it prints after SIGTERM is still read. */
    kit_buf_clear(&out);
    run("import os, signal, sys\nsignal.signal(15, lambda *a: os.write(1, b'bye\\n') and sys.exit(0))\n" WAITS, &usual);
    ck_assert_str_eq(kit_buf_text(&out), "ready\nbye\n");
    ck_assert_int_eq(end.exit_code, 0);
}
END_TEST

START_TEST(one_that_does_not_listen) {
    wish = KIT_CHILD_CANCELLED;
    run("import signal\nsignal.signal(15, signal.SIG_IGN)\n" WAITS WAITS WAITS, &(kit_child){.grace_ms = 1});
    ck_assert_int_eq(end.signal_number, SIGKILL);
    /* Without grace: it is killed without SIGTERM. */
    run("import signal, sys\nsignal.signal(15, lambda *a: sys.exit(3))\n" WAITS, &(kit_child){.grace_ms = 0});
    ck_assert_int_eq(end.signal_number, SIGKILL);
}
END_TEST

START_TEST(the_deadline) {
    run("import signal\n" WAITS, &(kit_child){.timeout_ms = 1});
    ck_assert_int_eq(end.stop, KIT_CHILD_DEADLINE);
    ck_assert_int_eq(end.signal_number, SIGKILL);
}
END_TEST

static kit_child_stop linger_then_cancel(void *user, bool out_ended) {
    int *asked = user;
    (void)out_ended;
    if (out.length == 0) return KIT_CHILD_GOES_ON;
    return (*asked)++ == 0 ? KIT_CHILD_LINGERS : KIT_CHILD_CANCELLED;
}

/* A child that lingers may still be cancelled, and is then signalled again. */
START_TEST(lingering) {
    const char *argv[] = {
        PYTHON,
        "-S",
        "-E",
        "-c",
        "import signal, sys\nn = []\n"
        "signal.signal(15, lambda *a: n.append(1) or (len(n) == 2 and sys.exit(2)))\nprint('ready', flush=True)\n"
        "while True: signal.pause()\n",
        NULL};
    static const char *const environment[] = {NULL};
    int asked = 0;
    const kit_child child = {.path = PYTHON,
                             .argv = argv,
                             .envp = environment,
                             .user = &asked,
                             .out = take_out,
                             .stop = linger_then_cancel,
                             .grace_ms = 60000};
    ck_assert_int_eq(kit_child_run(&child, &end, &err), KOLM_OK);
    ck_assert_int_eq(end.stop, KIT_CHILD_CANCELLED);
    ck_assert_int_eq(end.exit_code, 2);
}
END_TEST

static kit_child_stop at_the_end(void *user, bool out_ended) {
    (void)user;
    return out_ended ? KIT_CHILD_CANCELLED : KIT_CHILD_GOES_ON;
}

START_TEST(the_end_of_its_output) {
    const char *argv[] = {PYTHON, "-S", "-E", "-c", "import os, signal\nos.close(1)\nsignal.pause()", NULL};
    static const char *const environment[] = {NULL};
    const kit_child child = {
        .path = PYTHON, .argv = argv, .envp = environment, .out = take_out, .stop = at_the_end, .grace_ms = 60000};
    ck_assert_int_eq(kit_child_run(&child, &end, &err), KOLM_OK);
    ck_assert_int_eq(end.stop, KIT_CHILD_CANCELLED);
    ck_assert_int_eq(end.signal_number, SIGTERM);
}
END_TEST

/* A grandchild in its group, which holds one end of a pipe while it lives, would otherwise continue to run. */
START_TEST(what_it_leaves_behind) {
    int ends[2];
    char byte;
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    const kit_spawn_fd fd = {ends[1], 5};
    run("import os, signal\nif os.fork() == 0:\n    os.close(1); os.close(2); signal.pause()\nprint('done')",
        &(kit_child){.fds = &fd, .fd_count = 1});
    ck_assert_str_eq(kit_buf_text(&out), "done\n");
    close(ends[1]);
    ck_assert_int_eq(read(ends[0], &byte, 1), 0);
    close(ends[0]);
}
END_TEST

/* A process outside its group holds its output open; the wait for it is limited. */
START_TEST(one_that_holds_its_output) {
    run("import os, signal\npid = os.fork()\nif pid == 0:\n    os.setsid(); signal.pause()\nprint(pid)", &usual);
    pid_t left = (pid_t)strtol(kit_buf_text(&out), NULL, 10);
    ck_assert_int_gt(left, 1);
    (void)kill(left, SIGKILL);
    ck_assert_int_eq(end.exit_code, 0);
}
END_TEST

START_TEST(one_that_cannot_be_started) {
    if (test_under_valgrind()) return; /* its vfork is a fork: failures in the child are not reported */
    static const char *const argv[] = {"/nothing", NULL}, *const environment[] = {NULL};
    const kit_child child = {.path = "/nothing", .argv = argv, .envp = environment, .out = take_out, .tied = true};
    ck_assert_int_eq(kit_child_run(&child, &end, &err), KOLM_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "/nothing"));
}
END_TEST

/* The same, step by step, for a caller with its own event loop. */
START_TEST(in_steps) {
    char python[] = PYTHON, flags[] = "-SEc",
         text[] = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(flush=True)\nsignal.pause()";
    char *argv[] = {python, flags, text, NULL}, *environment[] = {NULL};
    int from = -1, to = -1;
    char byte;
    pid_t pid;
    ck_assert_int_eq(kit_pipe(&from, &to, &err), KOLM_OK);
    const kit_spawn_fd fds[] = {{to, 1}};
    const kit_spawn_options options = {.path = PYTHON, .argv = argv, .envp = environment, .fds = fds, .fd_count = 1};
    ck_assert_int_eq(kit_spawn(&options, &pid, &err), KOLM_OK);
    ck_assert_int_eq(read(from, &byte, 1), 1); /* it ignores SIGTERM from here on */
    const int64_t now = kit_now_ms();
    kit_child_life life = kit_child_born(pid, 0, 60000);
    ck_assert(life.deadline_ms == INT64_MAX && !kit_child_ended(&life, false));
    kit_child_kill_late(&life, now, 500); /* no-op: it was not stopped */
    kit_child_stop_now(&life, KIT_CHILD_CANCELLED, now);
    kit_child_stop_now(&life, KIT_CHILD_LINGERS, now + 1); /* does not replace the first reason */
    ck_assert(life.stop == KIT_CHILD_CANCELLED && life.kill_ms == now + 60000);
    kit_child_kill_late(&life, now + 59999, 500);
    ck_assert(!kit_child_ended(&life, false) && life.kill_ms == now + 60000);
    kit_child_kill_late(&life, now + 60000, 500);
    ck_assert(life.kill_ms == now + 60500 && kit_child_ended(&life, true));
    ck_assert(life.code == CLD_KILLED && life.status == SIGKILL);
    ck_assert_int_eq(kill(pid, 0), 0); /* its pid is not reaped yet */
    kit_child_bury(&life);
    ck_assert(kill(pid, 0) != 0 && errno == ESRCH);
    close(from);
    close(to);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("kit child");
    TCase *c = tcase_create("child");
    tcase_set_timeout(c, 100);
    tcase_add_checked_fixture(c, begin, finish);
    tcase_add_test(c, output_and_how_it_ended);
    tcase_add_test(c, a_lot_of_output);
    tcase_add_test(c, errors_next_to_the_output);
    tcase_add_test(c, its_input_and_descriptors);
    tcase_add_test(c, asked_to_stop);
    tcase_add_test(c, one_that_does_not_listen);
    tcase_add_test(c, the_deadline);
    tcase_add_test(c, lingering);
    tcase_add_test(c, the_end_of_its_output);
    tcase_add_test(c, what_it_leaves_behind);
    tcase_add_test(c, one_that_holds_its_output);
    tcase_add_test(c, one_that_cannot_be_started);
    tcase_add_test(c, in_steps);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
