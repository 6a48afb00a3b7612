/* SPDX-License-Identifier: Apache-2.0 */
/* The Python trainer as a child: fake trainers, one behaviour or one defect each, and runtimes that are only names. */
#include "../suite.h"
#include "kolm/kit/buf.h"
#include "kolm/kit/file.h"
#include "kolm/kit/process.h"
#include "kolm/kit/trainer.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[256], job[300], scratch[300], python[512];
static kolm_error_t err;
static const kit_trainer trainer = {.device = "cpu"};

/* ---- A host that remembers */

static struct {
    kit_buf logs, steps, metrics;
    uint32_t progressed, cancel_after; /* cancelled once so many progress reports came; 0: never */
    kolm_progress_t last;
    int64_t time_left;
    char trainer[320];
} seen;

static void host_log(void *user, uint32_t level, const char *text) {
    (void)user;
    kit_buf_fmt(&seen.logs, "%u %s\n", level, text);
}

static void host_progress(void *user, const kolm_progress_t *progress) {
    (void)user;
    seen.last = *progress;
    seen.last.phase = NULL;
    seen.progressed++;
}

static void host_metric(void *user, const char *name, double value) {
    (void)user;
    kit_buf_fmt(&seen.metrics, "%s=%g ", name, value);
}

static void host_device(void *user, const kolm_device_t *device) {
    (void)user, (void)device;
}

static void host_step(void *user, const kolm_test_step_t *step) {
    (void)user;
    kit_buf_fmt(&seen.steps, "%u/%u %s: %u %s\n", step->number, step->total, step->title, step->outcome, step->note);
}

static int32_t host_cancelled(void *user) {
    (void)user;
    return seen.cancel_after > 0 && seen.progressed >= seen.cancel_after;
}

static int64_t host_time_left(void *user) {
    (void)user;
    if (seen.time_left == INT64_MAX) return seen.time_left;
    return seen.progressed > 0 ? 0 : seen.time_left;
}

static int32_t host_secret(void *user, const char *name, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user, (void)name, (void)buffer, (void)capacity, (void)out_length;
    return KOLM_E_NOT_FOUND;
}

static int32_t host_setting(void *user, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user, (void)out_length;
    const char *value = strcmp(key, "runtime.python") == 0    ? python
                        : strcmp(key, "runtime.trainer") == 0 ? seen.trainer
                                                              : "";
    if (value[0] == '\0') return KOLM_E_NOT_FOUND;
    return kit_copy(buffer, capacity, value) ? KOLM_OK : KOLM_E_OUT_OF_RANGE;
}

static kolm_host_v1_t host = {.struct_size = (uint32_t)sizeof host,
                              .log = host_log,
                              .progress = host_progress,
                              .metric = host_metric,
                              .device = host_device,
                              .test_step = host_step,
                              .cancelled = host_cancelled,
                              .time_left_ms = host_time_left,
                              .secret = host_secret,
                              .setting = host_setting};

static void put_file(const char *name, const char *text) {
    char path[600];
    kit_format(path, sizeof path, "%s/%s", dir, name);
    ck_assert_msg(kit_write_file(path, 0700, text, strlen(text), &err) == KOLM_OK, "%s", err.text);
}

static void make_dir(const char *name) {
    char path[600];
    kit_format(path, sizeof path, "%s/%s", dir, name);
    ck_assert_int_eq(kit_mkdirs(path, 0700, &err), KOLM_OK);
}

static void put_job(const char *kind, const char *recipe) {
    char text[300];
    kit_format(
        text, sizeof text,
        "{\"format\":1,\"kind\":\"%s\",\"task\":\"t\",\"recipe\":\"%s\",\"seed\":1,\"effort\":\"quick\",\"rows\":0,"
        "\"labels\":0,\"options\":{}}",
        kind, recipe);
    put_file("job/job.json", text);
}

static void setup(void) {
    const char *tmp = getenv("TMPDIR");
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_format(dir, sizeof dir, "%.200s/kit-trainer-XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    kit_format(job, sizeof job, "%s/job", dir);
    kit_format(scratch, sizeof scratch, "%s/scratch", dir);
    make_dir("job");
    make_dir("scratch");
    make_dir("trainer");
    put_job("train", "lora");
    memset(&seen, 0, sizeof seen);
    seen.time_left = INT64_MAX;
    kit_format(seen.trainer, sizeof seen.trainer, "%s/trainer", dir);
    kit_copy(python, sizeof python, PYTHON);
    host.scratch_dir = scratch;
}

static void teardown(void) {
    kit_buf_free(&seen.logs);
    kit_buf_free(&seen.steps);
    kit_buf_free(&seen.metrics);
    ck_assert_int_eq(kit_remove_tree(dir, &err), KOLM_OK);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* no child was left */
}

/* What every fake begins with: say(x) prints an event. */
#define PRELUDE                                                                                                        \
    "import json, os, signal, sys, time\n"                                                                             \
    "def say(**event):\n"                                                                                              \
    "    sys.stdout.write(json.dumps(event) + '\\n'); sys.stdout.flush()\n"                                            \
    "def done(**result):\n"                                                                                            \
    "    say(event='result', result=result)\n"                                                                         \
    "def step(n):\n"                                                                                                   \
    "    say(event='progress', phase='training', step=n, total=9, loss=0.5, tokens_per_second=100.0)\n"                \
    "arg = dict(zip(sys.argv[2::2], sys.argv[3::2]))\n"

static int32_t train_with(const char *script, const kit_trainer *with, kolm_train_result_t *out) {
    kit_buf text = {0};
    kit_buf_fmt(&text, "%s%s", PRELUDE, script);
    put_file("trainer/__main__.py", kit_buf_text(&text));
    kit_buf_free(&text);
    const kolm_train_args_t args = {.struct_size = (uint32_t)sizeof args, .threads = 3, .job_dir = job};
    *out = (kolm_train_result_t){.struct_size = (uint32_t)sizeof *out, .billed_micro_usd = UINT64_MAX};
    return kit_trainer_train(&host, with, &args, out, &err);
}

static int32_t train(const char *script) {
    kolm_train_result_t result;
    return train_with(script, &trainer, &result);
}

static bool logged(const char *what) {
    return strstr(kit_buf_text(&seen.logs), what) != NULL;
}

static void fails(const char *script, int32_t code, const char *word) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    int32_t got = train(script);
    ck_assert_msg(got == code, "%d instead of %d: %s", got, code, err.text);
    ck_assert_int_eq(err.code, code);
    ck_assert_msg(strstr(err.text, word) != NULL, "no '%s' in: %s", word, err.text);
    ck_assert_msg(err.remedy[0] != '\0', "no remedy: %s", err.text);
}

/* ---- Good ones */

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
    fails("print('only garbage')\n", KOLM_E_INTERNAL, "ended with code 0 and no result");
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
    /* Nobody expected this one: what was said about it is shown, the end of it at least. */
    fails("for n in range(900): sys.stderr.write('line %d\\n' % n)\n"
          "sys.stderr.write('\\x1b[1mthe last')\n"
          "say(event='error', code=13, text='the trainer failed: KeyError', remedy='report this')\n"
          "sys.exit(1)\n",
          KOLM_E_INTERNAL, "KeyError");
    ck_assert(logged("3 line 899\n3 \\x1B[1mthe last\n") && !logged("line 1\n"));
    /* It counts, whatever comes after it. */
    fails("say(event='error', code=15, text='the weights are cut off', remedy='get them again')\ndone()\n",
          KOLM_E_DATA_LOSS, "cut off");
}
END_TEST

START_TEST(a_signal) {
    fails("step(1)\nos.kill(os.getpid(), signal.SIGSEGV)\n", KOLM_E_INTERNAL, "signal 11");
    fails("os.kill(os.getpid(), signal.SIGKILL)\n", KOLM_E_RESOURCE_EXHAUSTED, "signal 9");
    /* While it is taken down, after its last word: the work is done. */
    ck_assert_int_eq(train("done()\nos.kill(os.getpid(), signal.SIGSEGV)\n"), KOLM_OK);
    ck_assert(logged("did not end well"));
    fails("done()\nsys.exit(1)\n", KOLM_E_INTERNAL, "code 1");
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
    /* Half a line is out, and a child of its own holds the pipes too. */
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
    seen.time_left = 60000; /* and 0 once it has reported */
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
    fails("sys.stdout.write('{\"event\":\"result\"')\n", KOLM_E_INTERNAL, "no result");
    /* The last line may lack its end. */
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
    fails("import a_library_that_is_not_there\n", KOLM_E_FAILED_PRECONDITION, "No module named");
    ck_assert_ptr_nonnull(strstr(err.remedy, "kolm compute setup local-cpu"));
    fails("raise MemoryError()\n", KOLM_E_RESOURCE_EXHAUSTED, "MemoryError");
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
    fails("done()\n", KOLM_E_UNIMPLEMENTED, "local-cpu does the recipe lora, not linear");
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

/* ---- Runtime */

START_TEST(no_runtime) {
    python[0] = '\0';
    fails("done()\n", KOLM_E_FAILED_PRECONDITION, "local-cpu has no Python runtime");
    ck_assert_ptr_nonnull(strstr(err.remedy, "kolm compute setup local-cpu"));
    ck_assert_ptr_nonnull(strstr(err.remedy, "runtimes.local-cpu"));
    kit_copy(python, sizeof python, "python3");
    fails("done()\n", KOLM_E_FAILED_PRECONDITION, "absolute");
    kit_copy(python, sizeof python, "/nowhere/bin/python");
    fails("done()\n", KOLM_E_FAILED_PRECONDITION, "cannot be run");
    kit_copy(python, sizeof python, PYTHON);
    seen.trainer[0] = '\0';
    fails("done()\n", KOLM_E_FAILED_PRECONDITION, "trainer");
    kit_copy(seen.trainer, sizeof seen.trainer, "/nowhere/trainer");
    fails("done()\n", KOLM_E_FAILED_PRECONDITION, "/nowhere/trainer");
}
END_TEST

static bool runtime(const char *device, char out[KIT_TRAINER_RUNTIME], char missing[KIT_TRAINER_MISSING]) {
    const kit_trainer with = {.device = device};
    char remedy[KIT_TRAINER_MISSING];
    bool whole = kit_trainer_runtime(&host, &with, out, missing, remedy);
    ck_assert(whole == (missing[0] == '\0'));
    ck_assert(whole == (remedy[0] == '\0'));
    return whole;
}

static void rename_package(const char *from, const char *to) {
    char old[600], new[600];
    kit_format(old, sizeof old, "%s/env/lib/python3.11/site-packages/%s.dist-info", dir, from);
    kit_format(new, sizeof new, "%s/env/lib/python3.11/site-packages/%s.dist-info", dir, to);
    ck_assert_int_eq(rename(old, new), 0);
}

START_TEST(versions) {
    char text[KIT_TRAINER_RUNTIME], missing[KIT_TRAINER_MISSING];
    make_dir("env/bin");
    put_file("env/bin/python", "#!/nothing\n");
    put_file("env/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n");
    kit_format(python, sizeof python, "%s/env/bin/python", dir);
    /* No site-packages at all: a layout that is not known. */
    ck_assert(runtime("cpu", text, missing));
    ck_assert_ptr_nonnull(strstr(text, "versions unknown"));
    make_dir("env/lib/python3.11/site-packages/torch-2.13.0+cpu.dist-info");
    make_dir("env/lib/python3.11/site-packages/torch_directml-0.2.5.dist-info");
    make_dir("env/lib/python3.11/site-packages/torchvision-0.30.dist-info");
    make_dir("env/lib/python3.11/site-packages/transformers-5.23.0.dist-info");
    ck_assert(!runtime("cpu", text, missing));
    ck_assert_str_eq(text, "torch 2.13.0+cpu, transformers 5.23.0");
    ck_assert_ptr_nonnull(strstr(missing, "lacks peft"));
    make_dir("env/lib/python3.11/site-packages/Peft-0.21.2.dist-info");
    ck_assert(runtime("mps", text, missing));
    ck_assert_str_eq(text, "torch 2.13.0+cpu, transformers 5.23.0, peft 0.21.2");
    ck_assert(!runtime("cuda", text, missing));
    ck_assert_ptr_nonnull(strstr(missing, "2.13.0+cpu) was built for processors only"));
    ck_assert(!runtime("rocm", text, missing));
    rename_package("torch-2.13.0+cpu", "torch-2.13.0+cu126");
    ck_assert(!runtime("rocm", text, missing));
    ck_assert_ptr_nonnull(strstr(missing, "NVIDIA"));
    ck_assert(runtime("cuda", text, missing));
    rename_package("torch-2.13.0+cu126", "torch-2.13.0+rocm6.4");
    ck_assert(runtime("rocm", text, missing));
    ck_assert(!runtime("cuda", text, missing));
    rename_package("torch-2.13.0+rocm6.4", "torch-2.13.0");
    make_dir("env/lib64/python3.11/site-packages/unsloth-2026.1.dist-info");
    ck_assert(runtime("cuda", text, missing));
    ck_assert_ptr_nonnull(strstr(text, ", unsloth 2026.1"));
    ck_assert(runtime("directml", text, missing));
    ck_assert_ptr_nonnull(strstr(text, ", torch-directml 0.2.5"));
    ck_assert(!runtime("mlx", text, missing));
    ck_assert_ptr_nonnull(strstr(missing, "lacks mlx, mlx-lm"));
    make_dir("env/lib/python3.11/site-packages/mlx-0.31.dist-info");
    make_dir("env/lib/python3.11/site-packages/mlx_lm-0.29.dist-info");
    make_dir("env/lib/python3.11/site-packages/mlx_cpu-0.31.dist-info");
    ck_assert(runtime("mlx", text, missing));
    ck_assert_str_eq(text, "mlx 0.31, mlx-lm 0.29");
    /* What a wider environment has cannot be seen from here: nothing is called missing. */
    put_file("env/pyvenv.cfg", "include-system-site-packages = true\n");
    make_dir("env/lib/python3.11/site-packages/x-1.dist-info");
    char path[600];
    kit_format(path, sizeof path, "%s/env/lib/python3.11/site-packages/torch-2.13.0.dist-info", dir);
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert(runtime("cpu", text, missing));
    ck_assert_ptr_nonnull(strstr(text, "versions unknown"));
}
END_TEST

START_TEST(detected) {
    kolm_detect_result_t result = {.struct_size = (uint32_t)sizeof result};
    ck_assert_int_eq(kit_trainer_detected(&host, &trainer, "1 device: a card", &result), KOLM_OK);
    ck_assert_uint_eq(result.state, KOLM_DETECT_AVAILABLE);
    ck_assert_str_eq(result.reason, "1 device: a card");
    python[0] = '\0';
    ck_assert_int_eq(kit_trainer_detected(&host, &trainer, "1 device: a card", &result), KOLM_OK);
    ck_assert_uint_eq(result.state, KOLM_DETECT_ABSENT);
    ck_assert_str_eq(result.reason, "1 device: a card; local-cpu has no Python runtime yet");
    ck_assert_ptr_nonnull(strstr(result.remedy, "kolm compute setup local-cpu"));
}
END_TEST

START_TEST(a_group) {
    static const kit_trainer with = {.device = "cuda", .processes = 2};
    kolm_train_result_t result;
    /* An interpreter that shows how it was called, and is the trainer as well. */
    put_file("python", "#!" PYTHON "\n" PRELUDE "a = sys.argv[1:]\n"
                       "assert a[:4] == ['-I', '-B', '-m', 'torch.distributed.run'], a\n"
                       "assert '--nproc-per-node=2' in a and '--standalone' in a, a\n"
                       "at = a.index('--no-python')\n"
                       "assert a[at + 1] == sys.argv[0] and a[at + 2:at + 4] == ['-s', '-B'], a\n"
                       "assert a[at + 5:at + 10] == ['train', '--device', 'cuda', '--threads', '1'], a\n"
                       "assert os.environ['OMP_NUM_THREADS'] == '1'\n"
                       "done(device='two cards')\n");
    kit_format(python, sizeof python, "%s/python", dir);
    ck_assert_msg(train_with("", &with, &result) == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(result.device, "two cards");
}
END_TEST

/* ---- infer */

#define ANSWERER                                                                                                       \
    PRELUDE "n = 0\n"                                                                                                  \
            "with open(arg['--input']) as rows, open(arg['--output'], 'w') as out:\n"                                  \
            "    for row in rows:\n"                                                                                   \
            "        n += 1; out.write(row.upper()); out.flush()\n"                                                    \
            "done(answers=n, device='d')\n"

static int32_t infer(const char *input, const char *output, kolm_infer_result_t *out) {
    const kolm_infer_args_t args = {
        .struct_size = (uint32_t)sizeof args, .threads = 1, .job_dir = job, .input_path = input, .output_path = output};
    *out = (kolm_infer_result_t){.struct_size = (uint32_t)sizeof *out, .billed_micro_usd = UINT64_MAX};
    err = (kolm_error_t)KIT_ERROR_INIT;
    return kit_trainer_infer(&host, &trainer, &args, out, &err);
}

START_TEST(answers_in_files) {
    kolm_infer_result_t result;
    char input[600], output[600];
    kit_buf text = {0};
    put_job("infer", "lora");
    put_file("trainer/__main__.py", ANSWERER);
    put_file("in.jsonl", "a\nb\n");
    kit_format(input, sizeof input, "%s/in.jsonl", dir);
    kit_format(output, sizeof output, "%s/out.jsonl", dir);
    ck_assert_msg(infer(input, output, &result) == KOLM_OK, "%s", err.text);
    ck_assert_uint_eq(result.answers, 2);
    ck_assert_uint_eq(result.billed_micro_usd, 0);
    ck_assert_str_eq(result.device, "d");
    ck_assert_int_eq(kit_read_file(output, 100, &text, &err), KOLM_OK);
    ck_assert_str_eq(kit_buf_text(&text), "A\nB\n");
    kit_buf_free(&text);
    ck_assert_int_ne(infer("/nowhere/in", output, &result), KOLM_OK);
    put_file("trainer/__main__.py", PRELUDE "done()\n");
    ck_assert_int_eq(infer(input, output, &result), KOLM_E_INTERNAL);
}
END_TEST

START_TEST(answers_through_descriptors) {
    kolm_infer_result_t result;
    char input[64], output[64], piece[64] = "";
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    put_job("infer", "lora");
    put_file("trainer/__main__.py", ANSWERER);
    for (int i = 0; i < 2; i++) {
        const char *folder = i == 0 ? "/proc/self/fd" : "/dev/fd";
        if (access(folder, X_OK) != 0) continue;
        ck_assert_int_eq(kit_pipe(&in[0], &in[1], &err), KOLM_OK);
        ck_assert_int_eq(kit_pipe(&out[0], &out[1], &err), KOLM_OK);
        ck_assert_int_eq(kit_write_all(in[1], "a\nb\nc\n", 6, &err), KOLM_OK);
        close(in[1]);
        kit_format(input, sizeof input, "%s/%d", folder, in[0]);
        kit_format(output, sizeof output, "%s/%d", folder, out[1]);
        ck_assert_msg(infer(input, output, &result) == KOLM_OK, "%s", err.text);
        ck_assert_uint_eq(result.answers, 3);
        ck_assert_int_eq(read(out[0], piece, sizeof piece - 1), 6);
        ck_assert_str_eq(piece, "A\nB\nC\n");
        close(in[0]);
        close(out[0]);
        close(out[1]);
    }
    ck_assert_int_eq(infer("/proc/self/fd/987", "/dev/null", &result), KOLM_E_NOT_FOUND);
    ck_assert_int_eq(infer("/proc/self/fd/x", "/dev/null", &result), KOLM_E_NOT_FOUND);
}
END_TEST

/* ---- test */

static int32_t selftest(const char *script, kolm_test_result_t *out) {
    const kolm_test_args_t args = {.struct_size = (uint32_t)sizeof args, .threads = 1};
    kit_buf text = {0};
    kit_buf_fmt(&text, "%s%s", PRELUDE, script);
    put_file("trainer/__main__.py", kit_buf_text(&text));
    kit_buf_free(&text);
    *out = (kolm_test_result_t){.struct_size = (uint32_t)sizeof *out};
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_buf_clear(&seen.steps);
    kit_buf_clear(&seen.metrics);
    return kit_trainer_test(&host, &trainer, &args, out, &err);
}

static bool stepped(const char *line) {
    return strstr(kit_buf_text(&seen.steps), line) != NULL;
}

START_TEST(four_steps) {
    kolm_test_result_t result;
    ck_assert_int_eq(selftest("if sys.argv[1] == 'probe': done(torch='9', device='a card', free_bytes=2500000000)\n"
                              "else: done(reproducible=True, digest='abcdef', answers=4)\n",
                              &result),
                     KOLM_OK);
    ck_assert_uint_eq(result.passed, 1);
    ck_assert_str_eq(result.summary, "local-cpu is ready for kolm compile");
    ck_assert(stepped("1/4 runtime check: 0 "));
    ck_assert(stepped("2/4 device: 0 a card, 2.5 GB free"));
    ck_assert(stepped("the same bytes: abcdef"));
    ck_assert(stepped("4/4 answer round-trip: 0 4 answers"));
    ck_assert_str_eq(kit_buf_text(&seen.metrics), "test.reproducible.lora=1 ");
    ck_assert_int_eq(selftest("done(reproducible=False, digest='a')\n", &result), KOLM_OK);
    ck_assert_str_eq(kit_buf_text(&seen.metrics), "test.reproducible.lora=0 ");
    ck_assert(stepped("different bytes"));
}
END_TEST

START_TEST(steps_that_fail) {
    kolm_test_result_t result;
    ck_assert_int_eq(selftest("say(event='error', code=9, text='torch sees no card', remedy='install the driver')\n"
                              "sys.exit(1)\n",
                              &result),
                     KOLM_E_FAILED_PRECONDITION);
    ck_assert_uint_eq(result.passed, 0);
    ck_assert(stepped("2/4 device: 1 torch sees no card"));
    ck_assert(!stepped("3/4"));
    ck_assert_str_eq(err.remedy, "install the driver");
    ck_assert_int_eq(selftest("done()\n", &result), KOLM_E_INTERNAL);
    ck_assert(stepped("3/4 trainer dry run (twice): 1"));
    ck_assert_int_eq(selftest("done(reproducible=True, answers=0)\n", &result), KOLM_E_INTERNAL);
    ck_assert(stepped("4/4 answer round-trip: 1"));
    python[0] = '\0';
    ck_assert_int_eq(selftest("done()\n", &result), KOLM_E_FAILED_PRECONDITION);
    ck_assert(stepped("1/4 runtime check: 1 local-cpu has no Python runtime"));
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
    tcase_add_test(cases, no_runtime);
    tcase_add_test(cases, versions);
    tcase_add_test(cases, detected);
    tcase_add_test(cases, a_group);
    tcase_add_test(cases, answers_in_files);
    tcase_add_test(cases, answers_through_descriptors);
    tcase_add_test(cases, four_steps);
    tcase_add_test(cases, steps_that_fail);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
