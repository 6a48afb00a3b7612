/* SPDX-License-Identifier: Apache-2.0 */
/* Replicate: detects its token and estimates a job; training and inference come with their own version. */
#include "kolm/kit/backend.h"

#define VARIABLE "KOLM_REPLICATE_TOKEN"
#define WHERE "https://replicate.com/account/api-tokens"
#define RUNTIME "Cog containers"
#define TOKENS_PER_SECOND_3B 4500u
#define BILLING KOLM_BILLING_PER_CALL
#define BASIS "billed by the run and its hardware; see the price page of the trainer"

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
    KOLM_BACKEND_HEADER_INIT, .name = "replicate", .version = KOLM_VERSION, .vendor = "kolm",
    .licence = "Apache-2.0",  .homepage = "",      .detect = detect,        .cost = cost,
};
