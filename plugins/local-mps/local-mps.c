/* SPDX-License-Identifier: Apache-2.0 */
/* The GPU of an Apple Silicon Mac for PyTorch's mps device; training comes with its own version. */
#include "kolm/kit/backend.h"
#include "kolm/kit/metal.h"

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    (void)args, (void)out_error;
    return kit_detect_metal(host, "", out_result);
}

static int32_t cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                    kolm_error_t *out_error) {
    (void)host, (void)out_error;
    return kit_estimate_lora(args, 800, out_result);
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .name = "local-mps",
    .version = KOLM_VERSION,  .vendor = "kolm",
    .licence = "Apache-2.0",  .homepage = "https://kolm.example",
    .detect = detect,         .cost = cost,
};
