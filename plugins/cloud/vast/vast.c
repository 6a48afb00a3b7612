/* SPDX-License-Identifier: Apache-2.0 */
/* Vast.ai: machines of its marketplace over SSH. The SDK implements the slots; this is the table. */
#include "api.h"

#include "kolm/backend.h"

const kit_vm vast_vm = {
    .machine = {.name = "Vast.ai",
                .can = KIT_RENT_CAN_NAME,
                .settle_ms = 60000,
                .offers = vast_offers,
                .create = vast_create,
                .look = vast_look,
                .list = vast_list,
                .destroy = vast_destroy},
    .site = {.name = "vast",
             .title = "Vast.ai",
             .token = "KOLM_VAST_TOKEN",
             .where = "https://cloud.vast.ai/manage-keys/",
             .base = "https://console.vast.ai",
             .scheme = "Bearer ",
             .gap_ms = 3000,         /* for deletions; queries need 2 s, adding a key 1 s */
             .create_gap_ms = 16500, /* 4.5 s, and 12 s more after a creation */
             .read_refusal = vast_read_refusal,
             .refusals = vast_refusals},
    .user = "root",
    .runtime = "marketplace SSH",
    .place = "Vast.ai",
    .tokens_per_second_3b = 5000, /* roughly as published: LoRA, packed rows, one 80 GB data-centre GPU */
    .check = vast_check,
    .balance = vast_balance,
    .scope = vast_scope,
};

KIT_VM_SLOTS(vast_vm)

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .features = KOLM_FEATURE_MODEL_SLICES,
    .name = "vast",           .version = KOLM_VERSION,
    .vendor = "kolm",         .licence = "Apache-2.0",
    .homepage = "",           KIT_VM_TABLE,
};
