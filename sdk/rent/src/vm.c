/* SPDX-License-Identifier: Apache-2.0 */
/* The slots that rent: train, infer and test of a provider of machines. */
#include "vm.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/job.h"
#include "kolm/kit/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEST_SECONDS 1800 /* limit for a test */
#define CHUNK 65536

static kit_status digest_of(const char *job_dir, char out[KIT_SHA256_HEX], kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(job_dir, "job.json", &path, err));
    kit_status status = kit_sha256_file(path, out, NULL, err);
    free(path);
    return status;
}

static kit_status recipe_of(const char *job_dir, bool *out_needs_gpu, kolm_error_t *err) {
    kit_job *job = NULL;
    KIT_TRY(kit_job_read(job_dir, &job, err));
    *out_needs_gpu = strcmp(job->recipe, "lora") == 0;
    kit_job_free(job);
    return KOLM_OK;
}

/* Puts the machine as offered before the device as detected. */
static void name_device(const vm_bill *bill, char *device, size_t capacity) {
    char seen[128];
    kit_copy(seen, sizeof seen, device);
    kit_format(device, capacity, "%.38s: %.86s", bill->what, seen);
}

int32_t kit_vm_train(const kit_vm *vm, const kolm_host_v1_t *host, const kolm_train_args_t *args,
                     kolm_train_result_t *out_result, kolm_error_t *out_error) {
    char digest[KIT_SHA256_HEX];
    vm_bill bill;
    vm_work work = {.digest = digest, .train = args, .train_result = out_result};
    KIT_TRY(recipe_of(args->job_dir, &work.needs_gpu, out_error));
    KIT_TRY(digest_of(args->job_dir, digest, out_error));
    KIT_TRY(vm_rent(vm, host, &work, &bill, out_error));
    out_result->billed_micro_usd = bill.micro_usd;
    name_device(&bill, out_result->device, sizeof out_result->device);
    return KOLM_OK;
}

/* ---- infer: reads all questions before anything is rented */

static kit_status copy_questions(const char *from, const char *to, uint64_t *out_bytes, kolm_error_t *err) {
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) return kit_fail_errno(err, errno, "cannot open %s", from);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    kit_status status = out >= 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot write %s", to);
    char *chunk = malloc(CHUNK);
    if (chunk == NULL && status == KOLM_OK) status = kit_no_memory(err);
    while (status == KOLM_OK) {
        ssize_t n = read(in, chunk, CHUNK);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = kit_fail_errno(err, errno, "cannot read %s", from);
        if (n <= 0) break;
        *out_bytes += (uint64_t)n;
        status = kit_write_all(out, chunk, (size_t)n, err);
    }
    free(chunk);
    if (out >= 0 && close(out) != 0 && status == KOLM_OK) status = kit_fail_errno(err, errno, "cannot write %s", to);
    close(in);
    return status;
}

/* path may be a pipe whose reader waits until it is opened. */
static kit_status write_nothing(const char *path, kolm_error_t *err) {
    int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out < 0 || close(out) != 0) return kit_fail_errno(err, errno, "cannot write %s", path);
    return KOLM_OK;
}

static kit_status infer(const kit_vm *vm, const kolm_host_v1_t *host, const kolm_infer_args_t *args,
                        const char *questions, kolm_infer_result_t *out_result, kolm_error_t *err) {
    char digest[KIT_SHA256_HEX];
    vm_bill bill;
    uint64_t bytes = 0;
    kolm_infer_args_t here = *args;
    vm_work work = {.digest = digest, .infer = &here, .infer_result = out_result};
    here.input_path = questions;
    KIT_TRY(recipe_of(args->job_dir, &work.needs_gpu, err));
    KIT_TRY(digest_of(args->job_dir, digest, err));
    KIT_TRY(copy_questions(args->input_path, questions, &bytes, err));
    out_result->answers = out_result->billed_micro_usd = 0;
    kit_copy(out_result->device, sizeof out_result->device, "none: there were no inputs");
    if (bytes == 0) return write_nothing(args->output_path, err);
    KIT_TRY(vm_rent(vm, host, &work, &bill, err));
    out_result->billed_micro_usd = bill.micro_usd;
    name_device(&bill, out_result->device, sizeof out_result->device);
    return KOLM_OK;
}

int32_t kit_vm_infer(const kit_vm *vm, const kolm_host_v1_t *host, const kolm_infer_args_t *args,
                     kolm_infer_result_t *out_result, kolm_error_t *out_error) {
    char *questions = NULL;
    KIT_TRY(kit_path_join(host->scratch_dir, "questions.jsonl", &questions, out_error));
    kit_status status = infer(vm, host, args, questions, out_result, out_error);
    free(questions);
    return status;
}

/* ---- test */

typedef struct bench {
    const kit_vm *vm;
    const kolm_host_v1_t *host;
    kit_rent_account account;
    vm_limits limits;
    vm_bill bill;
    char note[256];
} bench;

static kit_status check_token(bench *t, kolm_error_t *err) {
    KIT_TRY(vm_limits_read(t->vm, t->host, &t->limits, err));
    t->account.wish = t->limits.wish;
    KIT_TRY(kit_rent_account_open(&t->vm->site, t->host, &t->account, err));
    return vm_check(t->vm, &t->account, t->note, sizeof t->note, NULL, err);
}

static kit_status check_offers(bench *t, kolm_error_t *err) {
    kit_rent_offer cheapest;
    size_t count = 0;
    kit_status status = vm_cheapest(t->vm, &t->account, &cheapest, &count, err);
    if (status == KOLM_OK && count == 0)
        status = kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "try again later, or allow other machines",
                          "%s has no suitable machine to offer now", t->vm->site.title);
    if (status == KOLM_OK)
        kit_format(t->note, sizeof t->note, "%zu offers; the cheapest: %s at %.4f USD an hour%s%s", count,
                   cheapest.what, (double)cheapest.micro_usd_per_hour / 1e6,
                   cheapest.is_reference ? ", the reference price of " : "",
                   cheapest.is_reference ? t->vm->priced_on : "");
    return status;
}

static kit_status check_machine(bench *t, kolm_error_t *err) {
    const vm_work work = {.digest = "7e577e57", .seconds_most = TEST_SECONDS};
    KIT_TRY(vm_rent(t->vm, t->host, &work, &t->bill, err));
    t->host->metric(t->host->user, "test.reproducible", 1);
    kit_format(t->note, sizeof t->note, "%s, the same bytes twice, for %.4f USD", t->bill.what,
               (double)t->bill.micro_usd / 1e6);
    return KOLM_OK;
}

/* Checks by name in the provider's list, which includes keys. */
static kit_status check_nothing_left(bench *t, kolm_error_t *err) {
    kit_rent_box *boxes = calloc(KIT_RENT_BOXES_MAX, sizeof *boxes);
    size_t count = 0, left = 0;
    if (boxes == NULL) return kit_no_memory(err);
    kit_status status = t->vm->machine.list(&t->account, t->bill.name, boxes, KIT_RENT_BOXES_MAX, &count, err);
    for (size_t i = 0; i < count && i < KIT_RENT_BOXES_MAX; i++)
        left += boxes[i].life != KIT_RENT_ENDED;
    free(boxes);
    if (status == KOLM_OK && left > 0)
        status = kit_fail(err, KOLM_E_FAILED_PRECONDITION, "kolm compute reap",
                          "%zu of the created resources still exist", left);
    if (status == KOLM_OK) kit_copy(t->note, sizeof t->note, "no machine or key of this test is left");
    return status;
}

static kit_status check_more(bench *t, kolm_error_t *err) {
    return t->vm->also(t->host, t->note, sizeof t->note, err);
}

int32_t kit_vm_test(const kit_vm *vm, const kolm_host_v1_t *host, const kolm_test_args_t *args,
                    kolm_test_result_t *out_result, kolm_error_t *out_error) {
    const struct {
        const char *title;
        kit_status (*run)(bench *t, kolm_error_t *err);
    } steps[] = {{"auth check", check_token},
                 {"offers", check_offers},
                 {"rented machine, trainer dry run", check_machine},
                 {"nothing left", check_nothing_left},
                 {vm->also_title, check_more}};
    const uint32_t total = vm->also != NULL && vm->also_set(host) ? 5 : 4;
    bench t = {.vm = vm, .host = host};
    bool good = true;
    (void)args, (void)out_error;
    for (uint32_t i = 0; i < total; i++) {
        kolm_error_t err = KIT_ERROR_INIT;
        int64_t begun = kit_now_ms();
        t.note[0] = '\0';
        bool ran = good;
        if (ran) good = steps[i].run(&t, &err) == KOLM_OK;
        char note[1100];
        kit_copy(note, sizeof note, t.note);
        if (ran && !good) kit_format(note, sizeof note, "%s; %s", err.text, err.remedy);
        const kolm_test_step_t step = {.struct_size = (uint32_t)sizeof step,
                                       .outcome = !ran   ? KOLM_STEP_SKIPPED
                                                  : good ? KOLM_STEP_OK
                                                         : KOLM_STEP_FAILED,
                                       .number = i + 1,
                                       .total = total,
                                       .duration_us = (uint64_t)(kit_now_ms() - begun) * 1000,
                                       .title = steps[i].title,
                                       .note = note};
        host->test_step(host->user, &step);
    }
    kit_rent_account_close(&t.account);
    out_result->passed = good ? 1 : 0;
    kit_format(out_result->summary, sizeof out_result->summary,
               good ? "%s is ready for kolm compile" : "%s is not ready: the first step that failed says why",
               vm->site.name);
    return KOLM_OK;
}
