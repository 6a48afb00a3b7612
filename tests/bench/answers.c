/* SPDX-License-Identifier: Apache-2.0 */
/* A backend that answers at once and needs nothing, so the remaining cost of a detect is kolm's own. Compiled once; the
 * bench overwrites the name below in each copy. */
#include <kolm/backend.h>

#include <string.h>

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    (void)host;
    (void)args;
    (void)out_error;
    out_result->state = KOLM_DETECT_AVAILABLE;
    memcpy(out_result->reason, "answers", sizeof "answers");
    return KOLM_OK;
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .name = "crowd-0000",    .version = "1.0.0",
    .vendor = "tests",        .licence = "Apache-2.0", .homepage = "https://example.org",
    .detect = detect,
};
