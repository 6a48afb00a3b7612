/* SPDX-License-Identifier: Apache-2.0 */
/* A backend whose detect never answers; compiled under each of the shipped names to measure the common deadline. */
#include <kolm/backend.h>

#include <unistd.h>

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    (void)host;
    (void)args;
    (void)out_result;
    (void)out_error;
    for (;;)
        pause();
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT,          .name = NAME,     .version = "1.0.0", .vendor = "tests", .licence = "Apache-2.0",
    .homepage = "https://example.org", .detect = detect,
};
