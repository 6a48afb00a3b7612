/* SPDX-License-Identifier: Apache-2.0 */
/* Replicate: training into a model of the user's, with a trainer that the user names, and answers from predictions. */
#include "api.h"

static const kit_service_site site = {
    .name = "replicate",
    .title = "Replicate",
    .variable = "KOLM_REPLICATE_TOKEN",
    .where = "https://replicate.com/account/api-tokens",
    .money = "https://replicate.com/account/billing",
    .base = "https://api.replicate.com",
    .scheme = "Bearer ",
    .hosts = {".replicate.com", "replicate.delivery", ".replicate.delivery"},
};

static const kit_queue_backend replicate = {
    .site = &site,
    .queue = &replicate_queue,
    .recipe = "hosted-lora",
    .runtime = "Cog containers",
    .basis = "billed by the second of the trainer's hardware, whose price is only on its web page: the cost cannot be "
             "predicted from here, and a budget is refused",
    .billing = KOLM_BILLING_PER_CALL,
    .tokens_per_second_3b = 4500,
    .own_bytes = sizeof(replicate_job),
    .check = replicate_check,
    .begin = replicate_begin,
    .row = replicate_row,
    .open = replicate_open,
    .answer = replicate_answer,
    .probe = replicate_probe,
    .list = replicate_list,
    .close = replicate_close,
};

KIT_QUEUE_SLOTS(replicate)

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .name = "replicate", .version = KOLM_VERSION, .vendor = "kolm",
    .licence = "Apache-2.0",  .homepage = "",      KIT_QUEUE_TABLE,
};
