/* SPDX-License-Identifier: Apache-2.0 */
/* The Python trainer as a child process: fake trainers, each with one behaviour or one defect. */
#include "trainer_fixture.h"

/* ---- Without defects */

START_TEST(a_training) {
    kolm_train_result_t result;
    int32_t status = train_with("say(event='log', level='warning', text='two rows are too long')\n"
                                "say(event='log', text='no level is info')\n"
                                "step(3)\n"
                                "say(event='metric', name='loss.final', value=0.25)\n"
                                "print('what it says to people', file=sys.stderr)\n"
                                "assert arg == {'--device': 'cpu', '--threads': '3', '--job': arg['--job']}, arg\n"
                                "open(arg['--job'] + '/was-here', 'w').close()\n"
                                "done(device='a processor', toolchain='torch 9')\n",
                                &trainer, &result);
    ck_assert_msg(status == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(result.device, "a processor");
    ck_assert_str_eq(result.toolchain, "torch 9");
    ck_assert_uint_eq(result.billed_micro_usd, 0);
    ck_assert_str_eq(kit_buf_text(&seen.logs), "2 two rows are too long\n1 no level is info\n");
    ck_assert_str_eq(kit_buf_text(&seen.metrics), "loss.final=0.25 ");
    ck_assert_uint_eq(seen.last.step, 3);
    ck_assert_uint_eq(seen.last.total, 9);
    ck_assert(fabs(seen.last.loss - 0.5) < 1e-9);
    char path[400];
    kit_format(path, sizeof path, "%s/was-here", job);
    ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

START_TEST(numbers_that_are_not_there) {
    ck_assert_int_eq(
        train("say(event='progress', phase='reading', step=1, total=None, loss=None)\nsay(event='result')\n"), KOLM_OK);
    ck_assert(isnan(seen.last.loss) && isnan(seen.last.tokens_per_second));
    ck_assert_uint_eq(seen.last.total, KOLM_UNKNOWN_COUNT);
}
END_TEST

START_TEST(the_environment) {
    static const char *const env[] = {"KOLM_TEST_PASSED", "KOLM_TEST_ABSENT", "KOLM_TEST_OWN=7", "LANG=C", NULL};
    const kit_trainer with = {.device = "cpu", .env = env};
    kolm_train_result_t result;
    ck_assert_int_eq(setenv("KOLM_TEST_PASSED", "yes", 1), 0);
    ck_assert_int_eq(setenv("KOLM_MODAL_TOKEN", "secret", 1), 0);
    ck_assert_int_eq(setenv("PYTHONPATH", "/nowhere", 1), 0);
    int32_t status = train_with("e = os.environ\n"
                                "assert e['KOLM_TEST_PASSED'] == 'yes' and e['KOLM_TEST_OWN'] == '7', e\n"
                                "assert e['LANG'] == 'C', e\n"
                                "for name in ('KOLM_TEST_ABSENT', 'KOLM_MODAL_TOKEN', 'PYTHONPATH', 'USER'):\n"
                                "    assert name not in e, name\n"
                                "for name in ('HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE', 'DO_NOT_TRACK',\n"
                                "             'HF_HUB_DISABLE_TELEMETRY', 'UNSLOTH_DISABLE_STATISTICS'):\n"
                                "    assert e[name] == '1', name\n"
                                "assert e['OMP_NUM_THREADS'] == '3' and e['PYTHONHASHSEED'] == '0'\n"
                                "assert sys.flags.hash_randomization == 0 and sys.flags.no_user_site\n"
                                "assert os.path.basename(e['HOME']) == 'scratch'\n"
                                "assert sys.stdin.read() == ''\n"
                                "assert os.getpgrp() == os.getpid()\n"
                                "done()\n",
                                &with, &result);
    ck_assert_msg(status == KOLM_OK, "%s", err.text);
    unsetenv("KOLM_TEST_PASSED");
    unsetenv("KOLM_MODAL_TOKEN");
    unsetenv("PYTHONPATH");
}
END_TEST

/* ---- Defects */

START_TEST(lines_that_are_no_events) {
    ck_assert_int_eq(train("print('Welcome to a library!')\n"
                           "print('{\"event\":\"log\"}')\n"
                           "print('{\"event\":\"log\",\"event\":\"result\"}')\n"
                           "print('[1]')\n"
                           "print('{\"event\":\"dance\"}')\n"
                           "print('{\"event\":\"progress\",\"phase\":\"x\",\"step\":-1}')\n"
                           "sys.stdout.buffer.write(b'\\xff\\x00\\x1b[31m\\n')\n"
                           "print('{\"event\":\"log\",\"level\":\"loud\",\"text\":\"no such level\"}')\n"
                           "done(device='d')\n"),
                     KOLM_OK);
    ck_assert(logged("2 the trainer printed a line that is not an event: Welcome to a library!"));
    ck_assert(!logged("no such level")); /* only the first few are shown */
    ck_assert_uint_eq(seen.progressed, 0);
    fails("print('only garbage')\n", KOLM_E_INTERNAL, "exited with status 0 and without a result");
}
END_TEST

START_TEST(a_flood) {
    ck_assert_int_eq(train("for n in range(20000): step(n)\n"
                           "for n in range(2000): sys.stderr.write('x' * 100 + '\\n')\n"
                           "done()\n"),
                     KOLM_OK);
    ck_assert_uint_eq(seen.progressed, 20000);
}
END_TEST

START_TEST(an_error_event) {
    fails("say(event='error', code=8, text='no memory at step 500', remedy='take a smaller base')\n"
          "say(event='error', code=13, text='and so on')\n"
          "sys.exit(1)\n",
          KOLM_E_RESOURCE_EXHAUSTED, "no memory at step 500");
    ck_assert_str_eq(err.remedy, "take a smaller base");
    ck_assert_uint_eq(seen.logs.length, 0);
    /* An unexpected error: the end of its standard error is shown. */
    fails("for n in range(900): sys.stderr.write('line %d\\n' % n)\n"
          "sys.stderr.write('\\x1b[1mthe last')\n"
          "say(event='error', code=13, text='the trainer failed: KeyError', remedy='report this')\n"
          "sys.exit(1)\n",
          KOLM_E_INTERNAL, "KeyError");
    ck_assert(logged("3 line 899\n3 \\x1B[1mthe last\n") && !logged("line 1\n"));
    /* It is used, whatever follows it. */
    fails("say(event='error', code=15, text='the weights are cut off', remedy='get them again')\ndone()\n",
          KOLM_E_DATA_LOSS, "cut off");
}
END_TEST

START_TEST(a_signal) {
    fails("step(1)\nos.kill(os.getpid(), signal.SIGSEGV)\n", KOLM_E_INTERNAL, "signal 11");
    fails("os.kill(os.getpid(), signal.SIGKILL)\n", KOLM_E_RESOURCE_EXHAUSTED, "signal 9");
    /* A crash during shutdown, after the result: the work is complete. */
    ck_assert_int_eq(train("done()\nos.kill(os.getpid(), signal.SIGSEGV)\n"), KOLM_OK);
    ck_assert(logged("failed after it had reported its result"));
    fails("done()\nsys.exit(1)\n", KOLM_E_INTERNAL, "status 1");
}
END_TEST

START_TEST(a_stop_that_is_obeyed) {
    seen.cancel_after = 1;
    fails("def stop(*_):\n"
          "    say(event='error', code=1, text='stopped at step 1; a checkpoint is kept', remedy='start it again')\n"
          "    sys.exit(1)\n"
          "signal.signal(signal.SIGTERM, stop)\n"
          "step(1)\n"
          "while True: signal.pause()\n",
          KOLM_E_CANCELLED, "a checkpoint is kept");
}
END_TEST

START_TEST(a_stop_that_is_ignored) {
    seen.cancel_after = 1;
    int64_t before = kit_now_ms();
    /* Half a line is written, and a forked child holds the pipes, too. */
    fails("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
          "os.fork()\n"
          "step(1)\nsys.stdout.write('{\"event\":'); sys.stdout.flush()\n"
          "while True: signal.pause()\n",
          KOLM_E_CANCELLED, "stopped");
    ck_assert_int_ge(kit_now_ms() - before, 7900);
    ck_assert_int_lt(kit_now_ms() - before, 20000);
}
END_TEST

START_TEST(a_deadline) {
    seen.time_left = 60000; /* and 0 after the first report */
    fails("step(1)\nwhile True: signal.pause()\n", KOLM_E_DEADLINE_EXCEEDED, "deadline");
    ck_assert_ptr_nonnull(strstr(err.remedy, "again"));
}
END_TEST

START_TEST(not_even_started) {
    seen.cancel_after = 1;
    seen.progressed = 1;
    ck_assert_int_eq(train("done()\n"), KOLM_E_CANCELLED);
}
END_TEST

START_TEST(half_a_line) {
    fails("sys.stdout.write('{\"event\":\"result\"')\n", KOLM_E_INTERNAL, "without a result");
    /* The last line may lack its line end. */
    ck_assert_int_eq(train("sys.stdout.write('{\"event\":\"result\"}')\n"), KOLM_OK);
}
END_TEST

START_TEST(a_huge_line) {
    ck_assert_int_eq(train("sys.stdout.write('x' * (5 << 20) + '\\n')\ndone()\n"), KOLM_OK);
    ck_assert(logged("more than 1 MiB"));
}
END_TEST

START_TEST(words_on_standard_error_only) {
    fails("sys.stderr.write('line one\\n\\x1b[31mline two\\n\\n')\n", KOLM_E_INTERNAL, "line one | \\x1B[31mline two");
    fails("sys.stderr.write(('y' * 99 + '\\n') * 1000 + 'the end\\n')\nsys.exit(1)\n", KOLM_E_INTERNAL, "the end");
    ck_assert_uint_lt(strlen(err.text), 480);
    fails("sys.stderr.write('z' * 100000)\nsys.exit(1)\n", KOLM_E_INTERNAL, "zzzz");
    /* These texts are shown, but have no effect. */
    fails("import a_library_that_is_not_there\n", KOLM_E_INTERNAL, "No module named");
    ck_assert_ptr_nonnull(strstr(err.remedy, "kolm compute setup local-cpu"));
    fails("sys.stderr.write('ImportError: out of memory\\n')\nsys.exit(1)\n", KOLM_E_INTERNAL, "out of memory");
}
END_TEST

START_TEST(a_child_that_outlives_it) {
    int64_t before = kit_now_ms();
    ck_assert_int_eq(train("if os.fork() == 0:\n    while True: signal.pause()\ndone()\n"), KOLM_OK);
    ck_assert_int_lt(kit_now_ms() - before, 10000);
}
END_TEST

START_TEST(other_jobs) {
    kolm_infer_result_t result;
    put_job("train", "linear");
    fails("done()\n", KOLM_E_UNIMPLEMENTED, "local-cpu supports the recipe lora, not linear");
    put_job("infer", "lora");
    fails("done()\n", KOLM_E_INVALID_ARGUMENT, "kind infer");
    ck_assert_int_eq(kit_trainer_infer(&host, &trainer,
                                       &(kolm_infer_args_t){.struct_size = (uint32_t)sizeof(kolm_infer_args_t),
                                                            .job_dir = "/nowhere",
                                                            .input_path = "/dev/null",
                                                            .output_path = "/dev/null"},
                                       &result, &err),
                     KOLM_E_NOT_FOUND);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("trainer");
    TCase *cases = tcase_create("all");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, a_training);
    tcase_add_test(cases, numbers_that_are_not_there);
    tcase_add_test(cases, the_environment);
    tcase_add_test(cases, lines_that_are_no_events);
    tcase_add_test(cases, a_flood);
    tcase_add_test(cases, an_error_event);
    tcase_add_test(cases, a_signal);
    tcase_add_test(cases, a_stop_that_is_obeyed);
    tcase_add_test(cases, a_stop_that_is_ignored);
    tcase_add_test(cases, a_deadline);
    tcase_add_test(cases, not_even_started);
    tcase_add_test(cases, half_a_line);
    tcase_add_test(cases, a_huge_line);
    tcase_add_test(cases, words_on_standard_error_only);
    tcase_add_test(cases, a_child_that_outlives_it);
    tcase_add_test(cases, other_jobs);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
