/* SPDX-License-Identifier: Apache-2.0 */
/* A backend for tests of the verbs, compiled several times with different FAKE_NAME and FAKE_DETECT. */
#include "kolm/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What detect does. */
#define AVAILABLE 1
#define ABSENT 2
#define BROKEN 3
#define HANG 4
#define CRASH 5
#define TOKEN 6 /* available if FAKE_TOKEN is set */

/* What its test slot does. */
#define TEST_PASS 1
#define TEST_FAIL 2
#define TEST_DIE 3
#define FAKE_PASS (FAKE_TEST == TEST_PASS)

static int32_t fake_detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out,
                           kolm_error_t *err) {
    char token[256];
    (void)args;
    (void)err;
    /* Tests count the calls of detect by this line. */
    host->log(host->user, KOLM_LOG_INFO, "detect " FAKE_NAME);
    out->state = KOLM_DETECT_AVAILABLE;
    snprintf(out->reason, sizeof out->reason, "always here");
    snprintf(out->runtime, sizeof out->runtime, "fake 1.0");
    switch (FAKE_DETECT) {
    case ABSENT:
        out->state = KOLM_DETECT_ABSENT;
        snprintf(out->reason, sizeof out->reason, "no such card");
        snprintf(out->remedy, sizeof out->remedy, "buy one");
        return KOLM_OK;
    case BROKEN:
        out->state = KOLM_DETECT_BROKEN;
        snprintf(out->reason, sizeof out->reason, "driver and library differ");
        snprintf(out->remedy, sizeof out->remedy, "reboot");
        return KOLM_OK;
    case HANG:
        while (1)
            pause();
    case CRASH:
        abort();
    case TOKEN:
        if (host->secret(host->user, "FAKE_TOKEN", token, sizeof token, NULL) == KOLM_OK) return KOLM_OK;
        out->state = KOLM_DETECT_ABSENT;
        snprintf(out->reason, sizeof out->reason, "FAKE_TOKEN is not set");
        snprintf(out->remedy, sizeof out->remedy, "export FAKE_TOKEN");
        return KOLM_OK;
    default:
        break;
    }
#if FAKE_GB > 0
    kolm_device_t device = {.struct_size = (uint32_t)sizeof device,
                            .memory_kind = KOLM_MEMORY_OWN,
                            .total_memory_bytes = (uint64_t)FAKE_GB << 30,
                            .free_memory_bytes = (uint64_t)(FAKE_GB - 3) << 30,
                            .name = "fake card",
                            .id = "0000:01:00.0",
                            .driver = "fakedrv 2",
                            .runtime = "fake 1.0"};
    host->device(host->user, &device);
#endif
    return KOLM_OK;
}

static int32_t fake_cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out,
                         kolm_error_t *err) {
    (void)host;
    (void)err;
    out->duration_ms = args->rows * 10 + args->cold_start_seconds * 1000u;
    out->billing = args->price_micro_usd_per_hour == 0 ? KOLM_BILLING_FREE : KOLM_BILLING_PER_HOUR;
    out->cost_micro_usd = args->price_micro_usd_per_hour == UINT64_MAX
                              ? UINT64_MAX
                              : args->price_micro_usd_per_hour * out->duration_ms / 3600000;
    out->confidence = KOLM_CONFIDENCE_MODEL;
    snprintf(out->basis, sizeof out->basis, "%llu rows at 10 ms", (unsigned long long)args->rows);
    return KOLM_OK;
}

#if FAKE_TRAINS
static void step(const kolm_host_v1_t *host, uint32_t number, uint32_t outcome, const char *title, const char *note) {
    kolm_test_step_t s = {.struct_size = (uint32_t)sizeof s,
                          .outcome = outcome,
                          .number = number,
                          .total = 4,
                          .duration_us = 4800000 * (number == 2),
                          .title = title,
                          .note = note};
    host->test_step(host->user, &s);
}

static int32_t fake_test(const kolm_host_v1_t *host, const kolm_test_args_t *args, kolm_test_result_t *out,
                         kolm_error_t *err) {
    (void)args;
    (void)err;
    if (FAKE_TEST == TEST_DIE) abort();
    step(host, 1, KOLM_STEP_OK, "auth check", "");
    step(host, 2, KOLM_STEP_OK, "container provision (cold)", "");
    step(host, 3, FAKE_PASS ? KOLM_STEP_OK : KOLM_STEP_FAILED, "trainer dry run (no weights)",
         FAKE_PASS ? "" : "no trainer");
    step(host, 4, FAKE_PASS ? KOLM_STEP_OK : KOLM_STEP_SKIPPED, "receipt round-trip", "");
    out->passed = FAKE_PASS;
    snprintf(out->summary, sizeof out->summary, "%s",
             FAKE_PASS ? FAKE_NAME " is ready for kolm compile" : "the trainer is missing");
    return KOLM_OK;
}

static int32_t fake_train(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out,
                          kolm_error_t *err) {
    (void)host;
    (void)args;
    (void)out;
    if (err) snprintf(err->text, sizeof err->text, "a fake trains nothing");
    return KOLM_E_UNIMPLEMENTED;
}
#endif

#if FAKE_TRAINS == 1
static int32_t fake_infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out,
                          kolm_error_t *err) {
    (void)host;
    (void)args;
    (void)out;
    if (err) snprintf(err->text, sizeof err->text, "a fake answers nothing");
    return KOLM_E_UNIMPLEMENTED;
}
#endif

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .name = FAKE_NAME,       .version = "1.0.0",
    .vendor = "tests",        .licence = "Apache-2.0", .homepage = "https://example.org",
    .detect = fake_detect,    .cost = fake_cost,
#if FAKE_TRAINS
    .train = fake_train,      .test = fake_test,
#endif
#if FAKE_TRAINS == 1
    .infer = fake_infer,
#endif
};
