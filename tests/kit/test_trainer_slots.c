/* SPDX-License-Identifier: Apache-2.0 */
/* The other slots of a backend with the trainer: runtimes that have only file names, infer, test. */
#include "trainer_fixture.h"

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
    /* No site-packages at all: an unknown layout. */
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
    /* Packages of the system are not visible here, so none is reported as missing. */
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
    /* An interpreter that checks its arguments and also acts as the trainer. */
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
    Suite *suite = suite_create("kit trainer slots");
    TCase *cases = tcase_create("all");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 120);
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
