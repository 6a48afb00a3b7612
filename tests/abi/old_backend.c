/* SPDX-License-Identifier: Apache-2.0 */
/* A complete backend, compiled against the 1.0 header, or with ABI_1_1 against the 1.1 header: every later host must
 * load it and call its slots. */
#if defined(ABI_1_1)
#include "backend-1.1.h"
#define NAME "abi-1-1"
#else
#include "backend-1.0.h"
#define NAME "abi-1-0"
#endif

#include <stdio.h>

static int32_t old_detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                          kolm_error_t *out_error) {
    (void)out_error;
    kolm_device_t device = {
        .struct_size = (uint32_t)sizeof device,
        .memory_kind = KOLM_MEMORY_OWN,
        .total_memory_bytes = 16ull << 30,
        .free_memory_bytes = 8ull << 30,
        .units = 4,
        .name = "Old Accelerator",
        .id = "0000:01:00.0",
        .driver = "old 1.0",
        .runtime = "",
    };
    host->log(host->user, KOLM_LOG_INFO, "compiled against 1.0");
    host->device(host->user, &device);
    out_result->state = KOLM_DETECT_AVAILABLE;
    snprintf(out_result->reason, sizeof out_result->reason, "one old accelerator%s",
             args->allow_network != 0 ? ", network allowed" : "");
    snprintf(out_result->runtime, sizeof out_result->runtime, "old 1.0");
    return KOLM_OK;
}

static int32_t old_cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                        kolm_error_t *out_error) {
    (void)host;
    (void)out_error;
    out_result->billing = KOLM_BILLING_FREE;
    out_result->duration_ms = 1000 + args->rows;
    out_result->cost_micro_usd = 0;
    out_result->confidence = KOLM_CONFIDENCE_MODEL;
    snprintf(out_result->basis, sizeof out_result->basis, "a second and a millisecond a row");
    return KOLM_OK;
}

static int32_t old_test(const kolm_host_v1_t *host, const kolm_test_args_t *args, kolm_test_result_t *out_result,
                        kolm_error_t *out_error) {
    (void)args;
    (void)out_error;
    kolm_test_step_t step = {.struct_size = (uint32_t)sizeof step,
                             .outcome = KOLM_STEP_OK,
                             .number = 1,
                             .total = 1,
                             .title = "being old",
                             .note = ""};
    host->test_step(host->user, &step);
    out_result->passed = 1;
    snprintf(out_result->summary, sizeof out_result->summary, NAME " is ready for kolm compile");
    return KOLM_OK;
}

#if defined(ABI_1_1)
static int32_t old_status(const kolm_host_v1_t *host, const kolm_status_args_t *args, kolm_status_result_t *out_result,
                          kolm_error_t *out_error) {
    (void)args;
    (void)out_error;
    const kolm_holding_t holding = {
        .struct_size = (uint32_t)sizeof holding, .place = "long ago", .kind = "files", .name = "straw", .note = ""};
    host->holding(host->user, &holding);
    snprintf(out_result->summary, sizeof out_result->summary, "one place");
    return KOLM_OK;
}
#endif

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT,
    .name = NAME,
    .version = "1.0.0",
    .vendor = "kolm tests",
    .licence = "Apache-2.0",
    .homepage = "https://example.com/",
    .detect = old_detect,
    .cost = old_cost,
    .train = NULL,
    .infer = NULL,
    .test = old_test,
#if defined(ABI_1_1)
    .status = old_status,
#endif
};
