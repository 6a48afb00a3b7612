/* SPDX-License-Identifier: Apache-2.0 */
/* Together AI: detects its token and estimates a job; training and inference come with their own version. */
#include "kolm/kit/backend.h"

#define VARIABLE "KOLM_TOGETHER_TOKEN"
#define WHERE "https://api.together.ai/settings/api-keys"
#define RUNTIME "managed LoRA"
#define TOKENS_PER_SECOND_3B 4000u
#define BILLING KOLM_BILLING_PER_TOKEN
#define BASIS                                                                                                          \
    "billed by the trained token: the bill follows how the service tokenises the rows, and may differ by a factor of " \
    "three"

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    (void)args;
    return kit_detect_token(host, VARIABLE, WHERE, RUNTIME, out_result, out_error);
}

static int32_t cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                    kolm_error_t *out_error) {
    (void)host, (void)out_error;
    return kit_estimate_unpriced(args, TOKENS_PER_SECOND_3B, BILLING, BASIS, out_result);
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .name = "together", .version = KOLM_VERSION, .vendor = "kolm",
    .licence = "Apache-2.0",  .homepage = "",     .detect = detect,        .cost = cost,
};
