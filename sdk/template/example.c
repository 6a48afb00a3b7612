/* SPDX-License-Identifier: Apache-2.0 */
/* A whole backend in one file: copy it, rename it, fill in the slots that your silicon can serve. */
#include <kolm/backend.h>

#include <stdio.h>

/* Is it usable here and now? Cheap, quiet when absent; see backend.h for the four answers. */
static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    (void)args;
    (void)out_error;
    char address[128];
    uint64_t length = 0;
    int32_t found = host->secret(host->user, "EXAMPLE_ADDRESS", address, sizeof address, &length);
    if (found != KOLM_OK) {
        out_result->state = KOLM_DETECT_ABSENT;
        snprintf(out_result->reason, sizeof out_result->reason, "EXAMPLE_ADDRESS is not set");
        snprintf(out_result->remedy, sizeof out_result->remedy, "set EXAMPLE_ADDRESS to the address of the cluster");
        return KOLM_OK;
    }
    /* Settings are backends.NAME.KEY of the user's config.json; the manifest declares each one that is asked for here, so
     * that kolm tells a user of a mistyped one. */
    char region[64];
    if (host->setting(host->user, "region", region, sizeof region, NULL) != KOLM_OK) region[0] = '\0';
    const kolm_device_t device = {
        .struct_size = (uint32_t)sizeof(kolm_device_t),
        .memory_kind = KOLM_MEMORY_OWN,
        .total_memory_bytes = KOLM_MEMORY_UNKNOWN,
        .free_memory_bytes = KOLM_MEMORY_UNKNOWN,
        .name = "example accelerator",
        .id = region,
        .driver = "",
        .runtime = "",
    };
    host->device(host->user, &device);
    out_result->state = KOLM_DETECT_AVAILABLE;
    snprintf(out_result->reason, sizeof out_result->reason, "EXAMPLE_ADDRESS is set");
    return KOLM_OK;
}

/* Pure: only args decide. */
static int32_t cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                    kolm_error_t *out_error) {
    (void)host;
    (void)out_error;
    out_result->billing = KOLM_BILLING_FREE;
    out_result->duration_ms = args->rows < UINT64_MAX / 4 ? 1000 + args->rows * 2 : UINT64_MAX; /* unknown */
    out_result->cost_micro_usd = 0;
    out_result->confidence = KOLM_CONFIDENCE_NONE;
    snprintf(out_result->basis, sizeof out_result->basis, "2 ms a row and one second to start");
    return KOLM_OK;
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT,
    .name = "example",
    .version = "0.1.0",
    .vendor = "you",
    .licence = "Apache-2.0",
    .homepage = "https://example.org",
    .detect = detect,
    .cost = cost,
    .train = NULL, /* NULL: not implemented; shown as `detect only` and never chosen */
    .infer = NULL,
    .test = NULL,
};
