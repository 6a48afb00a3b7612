/* SPDX-License-Identifier: Apache-2.0 */
/* Lambda: on-demand GPU machines over SSH. The SDK implements the slots; this is the table. */
#include "api.h"

#include "kolm/backend.h"

/* List prices of machines with one GPU, from a comparison published on the day priced_on; a live offer takes
 * precedence. */
static const kit_vm_price prices[] = {
    {"1x RTX 6000 (24 GB)", 580000},   {"1x A10 (24 GB)", 860000},        {"1x A100 (40 GB)", 1480000},
    {"1x H100 (80 GB PCIe)", 2860000}, {"1x H100 (80 GB SXM5)", 3780000},
};

const kit_vm lambda_vm = {
    .machine = {.name = "Lambda",
                .can = KIT_RENT_CAN_NAME,
                .settle_ms = 60000,
                .offers = lambda_offers,
                .create = lambda_create,
                .look = lambda_look,
                .list = lambda_list,
                .destroy = lambda_destroy},
    .site = {.name = "lambda",
             .title = "Lambda",
             .token = "KOLM_LAMBDA_TOKEN",
             .where = "https://cloud.lambda.ai/api-keys",
             .base = "https://cloud.lambda.ai/api/v1",
             .scheme = "Bearer ",
             .gap_ms = 1000,
             .create_gap_ms = 12000,
             .read_refusal = lambda_read_refusal,
             .refusals = lambda_refusals},
    .user = "ubuntu",
    .runtime = "on-demand SSH",
    .place = "Lambda",
    .tokens_per_second_3b = 5500, /* roughly as published: LoRA, packed rows, one 80 GB data-centre GPU */
    .prices = prices,
    .price_count = sizeof prices / sizeof *prices,
    .priced_on = "2026-05-07",
    .key_add = lambda_key_add,
};

KIT_VM_SLOTS(lambda_vm)

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .features = KOLM_FEATURE_MODEL_SLICES,
    .name = "lambda",         .version = KOLM_VERSION,
    .vendor = "kolm",         .licence = "Apache-2.0",
    .homepage = "",           KIT_VM_TABLE,
};
