/* SPDX-License-Identifier: Apache-2.0 */
/* Modal: detects its token and estimates a job; training and inference come with their own version. */
#include "kolm/kit/backend.h"

#define VARIABLE "KOLM_MODAL_TOKEN"
#define WHERE "https://modal.com/settings/tokens"
#define RUNTIME "serverless GPU"
#define TOKENS_PER_SECOND_3B 5500u /* one 80 GB data-centre GPU, LoRA, packed rows: the order of published figures */

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    (void)args;
    return kit_detect_token(host, VARIABLE, WHERE, RUNTIME, out_result, out_error);
}

static int32_t cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                    kolm_error_t *out_error) {
    (void)host, (void)out_error;
    return kit_estimate_lora(args, TOKENS_PER_SECOND_3B, out_result);
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .name = "modal", .version = KOLM_VERSION, .vendor = "kolm",
    .licence = "Apache-2.0",  .homepage = "",  .detect = detect,        .cost = cost,
};
