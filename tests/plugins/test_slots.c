/* SPDX-License-Identifier: Apache-2.0 */
/* The six local backends, loaded as kolm-host loads them, with an interpreter that only records how it was called. */
#include "../suite.h"
#include "kolm/kit/buf.h"
#include "kolm/kit/file.h"
#include "kolm/kit/job.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[256], job[300], scratch[300], python[320], trainer[320], nvml[400], processes[16];
static kit_buf steps, logs;
static kolm_error_t err;

static const struct {
    const char *name, *path, *device;
    const char *steps; /* of its test */
} plugins[] = {
    {"local-cpu", LOCAL_CPU, "cpu", "8"},    {"local-cuda", LOCAL_CUDA, "cuda", "4"},
    {"local-rocm", LOCAL_ROCM, "rocm", "4"}, {"local-mps", LOCAL_MPS, "mps", "4"},
    {"local-mlx", LOCAL_MLX, "mlx", "4"},    {"local-directml", LOCAL_DIRECTML, "directml", "4"},
};
#define PLUGINS (int)(sizeof plugins / sizeof *plugins)

static void host_log(void *user, uint32_t level, const char *text) {
    (void)user;
    kit_buf_fmt(&logs, "%u %s\n", level, text);
}

static void host_progress(void *user, const kolm_progress_t *progress) {
    (void)user, (void)progress;
}

static void host_metric(void *user, const char *name, double value) {
    (void)user, (void)name, (void)value;
}

static void host_device(void *user, const kolm_device_t *device) {
    (void)user, (void)device;
}

static void host_step(void *user, const kolm_test_step_t *step) {
    (void)user;
    kit_buf_fmt(&steps, "%u/%u %u %s\n", step->number, step->total, step->outcome, step->title);
}

static int32_t host_cancelled(void *user) {
    (void)user;
    return 0;
}

static int64_t host_time_left(void *user) {
    (void)user;
    return INT64_MAX;
}

static int32_t host_secret(void *user, const char *name, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user, (void)name, (void)buffer, (void)capacity, (void)out_length;
    return KOLM_E_PERMISSION_DENIED;
}

static int32_t host_setting(void *user, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length) {
    const struct {
        const char *key, *value;
    } settings[] = {
        {"runtime.python", python}, {"runtime.trainer", trainer}, {"nvml_library", nvml}, {"processes", processes}};
    (void)user, (void)out_length;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (strcmp(key, settings[i].key) == 0 && settings[i].value[0] != '\0')
            return kit_copy(buffer, capacity, settings[i].value) ? KOLM_OK : KOLM_E_OUT_OF_RANGE;
    return KOLM_E_NOT_FOUND;
}

static kolm_host_v1_t host = {.struct_size = (uint32_t)sizeof host,
                              .abi_major = KOLM_ABI_MAJOR,
                              .features = KOLM_FEATURES_KNOWN,
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

/* Appends its arguments, one per line, and some environment variables to DIR/called; answers like the real one. */
#define INTERPRETER                                                                                                    \
    "#!" PYTHON "\n"                                                                                                   \
    "import json, os, sys\n"                                                                                           \
    "a = sys.argv[1:]\n"                                                                                               \
    "with open(os.path.join(os.path.dirname(sys.argv[0]), 'called'), 'a') as out:\n"                                   \
    "    out.write(' '.join(a) + '\\n')\n"                                                                             \
    "    for name in sorted(os.environ):\n"                                                                            \
    "        if name.startswith(('CUDA_', 'HIP_', 'ROCR_', 'CUBLAS', 'PYTORCH_')):\n"                                  \
    "            out.write(name + '=' + os.environ[name] + '\\n')\n"                                                   \
    "print(json.dumps({'event': 'result', 'result': {'device': 'noted', 'toolchain': 'none', 'answers': 2,\n"          \
    "                                                'reproducible': True}}))\n"

static void setup(void) {
    const char *tmp = getenv("TMPDIR");
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_format(dir, sizeof dir, "%.200s/plugin-slots-XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    kit_format(job, sizeof job, "%s/job", dir);
    kit_format(scratch, sizeof scratch, "%s/scratch", dir);
    kit_format(python, sizeof python, "%s/python", dir);
    kit_format(trainer, sizeof trainer, "%s/scratch", dir);
    ck_assert_int_eq(kit_mkdirs(job, 0700, &err), KOLM_OK);
    ck_assert_int_eq(kit_mkdirs(scratch, 0700, &err), KOLM_OK);
    put_file("python", INTERPRETER);
    host.scratch_dir = scratch;
    nvml[0] = processes[0] = '\0';
    host.features = KOLM_FEATURES_KNOWN;
    unsetenv("CUDA_VISIBLE_DEVICES");
    unsetenv("CUDA_DEVICE_ORDER");
}

static void teardown(void) {
    kit_buf_free(&steps);
    kit_buf_free(&logs);
    ck_assert_int_eq(kit_remove_tree(dir, &err), KOLM_OK);
}

static const kolm_backend_v1_t *load(int i) {
    void *library = dlopen(plugins[i].path, RTLD_NOW | RTLD_LOCAL);
    ck_assert_msg(library != NULL, "%s", dlerror());
    const kolm_backend_v1_t *table = dlsym(library, KOLM_BACKEND_SYMBOL);
    ck_assert_ptr_nonnull(table);
    ck_assert_str_eq(table->name, plugins[i].name);
    return table;
}

static void put_job(const char *kind, const char *recipe, const char *file) {
    char text[500];
    kit_format(text, sizeof text,
               "{\"format\":1,\"kind\":\"%s\",\"task\":\"t\",\"recipe\":\"%s\",\"seed\":1,\"effort\":\"quick\","
               "\"rows\":0,\"labels\":0,"
               "\"options\":{},\"model_files\":[{\"name\":\"%s\",\"path\":\"/dev/null\",\"offset\":0,\"size\":0}]}",
               kind, recipe, file);
    put_file("job/job.json", text);
}

static int32_t train(int i) {
    const kolm_train_args_t args = {.struct_size = (uint32_t)sizeof args, .threads = 4, .job_dir = job};
    kolm_train_result_t result = {.struct_size = (uint32_t)sizeof result, .billed_micro_usd = UINT64_MAX};
    err = (kolm_error_t)KIT_ERROR_INIT;
    int32_t status = load(i)->train(&host, &args, &result, &err);
    ck_assert(status != KOLM_OK || (strcmp(result.device, "noted") == 0 && result.billed_micro_usd == 0));
    return status;
}

static int32_t infer(int i) {
    const kolm_infer_args_t args = {.struct_size = (uint32_t)sizeof args,
                                    .threads = 4,
                                    .job_dir = job,
                                    .input_path = "/dev/null",
                                    .output_path = "/dev/null"};
    kolm_infer_result_t result = {.struct_size = (uint32_t)sizeof result, .billed_micro_usd = UINT64_MAX};
    err = (kolm_error_t)KIT_ERROR_INIT;
    int32_t status = load(i)->infer(&host, &args, &result, &err);
    ck_assert(status != KOLM_OK || result.answers == 2);
    return status;
}

/* True if a line that the interpreter recorded contains this. */
static bool called(const char *part) {
    char path[600];
    kit_buf text = {0};
    kit_format(path, sizeof path, "%s/called", dir);
    bool found = kit_read_file(path, 1 << 20, &text, NULL) == KOLM_OK && strstr(kit_buf_text(&text), part) != NULL;
    kit_buf_free(&text);
    return found;
}

START_TEST(the_trainer_is_called) {
    char want[64], text[200];
    put_job("train", "lora", "x");
    ck_assert_msg(train(_i) == KOLM_OK, "%s", err.text);
    kit_format(want, sizeof want, "train --device %s --threads 4 --job ", plugins[_i].device);
    ck_assert(called(want));
    ck_assert(!called("torch.distributed"));
    put_job("infer", "lora", "kolm_trainer.json");
    ck_assert_msg(infer(_i) == KOLM_OK, "%s", err.text);
    kit_format(want, sizeof want, "infer --device %s --threads 4 --job ", plugins[_i].device);
    ck_assert(called(want));
    ck_assert(called(" --input /dev/null --output /dev/null"));

    const kolm_test_args_t args = {.struct_size = (uint32_t)sizeof args, .threads = 2};
    kolm_test_result_t result = {.struct_size = (uint32_t)sizeof result};
    ck_assert_msg(load(_i)->test(&host, &args, &result, &err) == KOLM_OK, "%s", err.text);
    ck_assert_uint_eq(result.passed, 1);
    kit_format(text, sizeof text, "%s/%s 0 answer round-trip\n", plugins[_i].steps, plugins[_i].steps);
    ck_assert_msg(strstr(kit_buf_text(&steps), text) != NULL, "%s", kit_buf_text(&steps));
    kit_format(text, sizeof text, "%s is ready for kolm compile", plugins[_i].name);
    ck_assert_str_eq(result.summary, text);
    ck_assert(called("selftest --device"));
}
END_TEST

START_TEST(without_a_runtime) {
    char want[64];
    python[0] = '\0';
    put_job("train", "lora", "x");
    ck_assert_int_eq(train(_i), KOLM_E_FAILED_PRECONDITION);
    kit_format(want, sizeof want, "kolm compute setup %s", plugins[_i].name);
    ck_assert_msg(strstr(err.remedy, want) != NULL, "%s", err.remedy);
    put_job("infer", "lora", "kolm_trainer.json");
    ck_assert_int_eq(infer(_i), KOLM_E_FAILED_PRECONDITION);
    put_job("train", "linear", "x");
    ck_assert(_i == 0 ? train(_i) != KOLM_E_UNIMPLEMENTED : train(_i) == KOLM_E_UNIMPLEMENTED);
    put_job("train", "dance", "x");
    ck_assert_int_eq(train(_i), KOLM_E_UNIMPLEMENTED);
}
END_TEST

START_TEST(both_recipes_have_a_price) {
    static const char *const recipes[] = {"linear", "lora"};
    for (int i = 0; i < 2; i++) {
        const kolm_cost_args_t args = {.struct_size = (uint32_t)sizeof args,
                                       .rows = 1000,
                                       .input_bytes = 100000,
                                       .labels = 5,
                                       .threads = 2,
                                       .recipe = recipes[i]};
        kolm_cost_result_t result = {.struct_size = (uint32_t)sizeof result};
        ck_assert_msg(load(_i)->cost(&host, &args, &result, &err) == KOLM_OK, "%s", err.text);
        ck_assert(result.basis[0] != '\0' && result.duration_ms > 0 && result.cost_micro_usd == 0);
    }
}
END_TEST

#define CUDA 1

static void cards(const char *twin) {
    kit_format(nvml, sizeof nvml, "%s/fake-nvml-%s.so", DOUBLES, twin);
    put_job("train", "lora", "x");
    put_file("called", "");
    kit_buf_clear(&logs);
    ck_assert_msg(train(CUDA) == KOLM_OK, "%s", err.text);
}

START_TEST(one_process_a_card) {
    cards("one");
    ck_assert(!called("torch.distributed"));
    cards("two");
    ck_assert(called("-I -B -m torch.distributed.run --standalone --nnodes=1 --nproc-per-node=2 --no-python "));
    ck_assert(called(" train --device cuda --threads 2 --job "));
    ck_assert(called("CUDA_DEVICE_ORDER=PCI_BUS_ID\n"));
    ck_assert(called("CUBLAS_WORKSPACE_CONFIG=:4096:8\n"));
    ck_assert(!called("CUDA_VISIBLE_DEVICES"));
    kit_copy(processes, sizeof processes, "3");
    cards("one");
    ck_assert(called("--nproc-per-node=3 "));
    kit_copy(processes, sizeof processes, "many");
    cards("two");
    ck_assert(called("--nproc-per-node=2 "));
}
END_TEST

START_TEST(slices_count_as_one) {
    cards("mig");
    ck_assert(!called("torch.distributed"));
}
END_TEST

START_TEST(what_the_user_hides) {
    ck_assert_int_eq(setenv("CUDA_VISIBLE_DEVICES", "1", 1), 0);
    ck_assert_int_eq(setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST", 1), 0);
    cards("two");
    ck_assert(!called("torch.distributed"));
    ck_assert(called("CUDA_VISIBLE_DEVICES=1\n"));
    ck_assert(called("CUDA_DEVICE_ORDER=FASTEST_FIRST\n"));
}
END_TEST

START_TEST(an_airgap_has_no_group) {
    host.features &= ~KOLM_FEATURE_NETWORK;
    cards("two");
    ck_assert(!called("torch.distributed"));
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&logs), "one card"));
}
END_TEST

START_TEST(amd_lists_are_passed_on) {
    ck_assert_int_eq(setenv("HIP_VISIBLE_DEVICES", "1", 1), 0);
    ck_assert_int_eq(setenv("ROCR_VISIBLE_DEVICES", "0,1", 1), 0);
    put_job("train", "lora", "x");
    ck_assert_msg(train(2) == KOLM_OK, "%s", err.text);
    ck_assert(called("HIP_VISIBLE_DEVICES=1\n") && called("ROCR_VISIBLE_DEVICES=0,1\n"));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("slots");
    TCase *cases = tcase_create("all");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 120);
    tcase_add_loop_test(cases, the_trainer_is_called, 0, PLUGINS);
    tcase_add_loop_test(cases, without_a_runtime, 0, PLUGINS);
    tcase_add_loop_test(cases, both_recipes_have_a_price, 0, PLUGINS);
    tcase_add_test(cases, one_process_a_card);
    tcase_add_test(cases, slices_count_as_one);
    tcase_add_test(cases, what_the_user_hides);
    tcase_add_test(cases, an_airgap_has_no_group);
    tcase_add_test(cases, amd_lists_are_passed_on);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
