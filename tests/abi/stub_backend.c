/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest object from which every record of the ABI is reachable; abidiff compares it with the baseline. */
#include <kolm/backend.h>

static int32_t stub_detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                           kolm_error_t *out_error) {
    (void)host;
    (void)args;
    (void)out_result;
    (void)out_error;
    return KOLM_E_UNIMPLEMENTED;
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .name = "stub", .version = "1",        .vendor = "stub",
    .licence = "Apache-2.0",  .homepage = "", .detect = stub_detect,
};
