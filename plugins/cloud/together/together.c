/* SPDX-License-Identifier: Apache-2.0 */
/* Together AI: LoRA on its models with its fine-tuning service, and answers from its chat API. */
#include "api.h"

static const kit_service_site site = {
    .name = "together",
    .title = "Together AI",
    .variable = "KOLM_TOGETHER_TOKEN",
    .where = "https://api.together.ai/settings/api-keys",
    .money = "https://api.together.ai/settings/billing",
    .base = "https://api.together.ai",
    .scheme = "Bearer ",
};

static const kit_queue_backend together = {
    .site = &site,
    .queue = &together_queue,
    .recipe = "hosted-lora",
    .runtime = "managed LoRA",
    .basis = "billed per trained token, which cannot be predicted from here; before a job is submitted the service's "
             "own estimate is compared with the budget",
    .billing = KOLM_BILLING_PER_TOKEN,
    .tokens_per_second_3b = 4000,
    .own_bytes = sizeof(together_job),
    .check = together_check,
    .begin = together_begin,
    .row = together_row,
    .open = together_open,
    .answer = together_answer,
    .probe = together_probe,
    .list = together_list,
};

KIT_QUEUE_SLOTS(together)

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .name = "together", .version = KOLM_VERSION, .vendor = "kolm",
    .licence = "Apache-2.0",  .homepage = "",     KIT_QUEUE_TABLE,
};
