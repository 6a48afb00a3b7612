/* SPDX-License-Identifier: Apache-2.0 */
/* Modal: sandboxes with a GPU, over its own protocol. The SDK implements the slots; this is the table. */
#include "api.h"

#include "kolm/backend.h"

/* Prices with two cores and 16 GiB of memory, added up from those in offers.c; the workspace's own rates take
 * precedence. */
static const kit_vm_price prices[] = {
    {"1x T4 (16 GB)", 1261000},   {"1x L4 (24 GB)", 1471000},    {"1x A10 (24 GB)", 1771000},
    {"1x L40S (48 GB)", 2621000}, {"1x A100 (40 GB)", 2771000},  {"1x A100 (80 GB)", 3171000},
    {"1x H100 (80 GB)", 4621000}, {"1x H200 (141 GB)", 5211000}, {"1x B200 (192 GB)", 6921000},
};

const kit_vm modal_vm = {
    .machine = {.name = "Modal",
                .can = KIT_RENT_CAN_NAME,
                .settle_ms = 60000,
                .offers = modal_offers,
                .prepare = modal_prepare,
                .create = modal_create,
                .look = modal_look,
                .list = modal_list,
                .destroy = modal_destroy},
    .site = {.name = "modal",
             .title = "Modal",
             .token = "KOLM_MODAL_TOKEN",
             .where = "https://modal.com/settings/tokens",
             .base = "https://api.modal.com",
             .halves = ':'},
    .runtime = "serverless GPU",
    .place = "Modal",
    .tokens_per_second_3b = 5500, /* roughly as published: LoRA, packed rows, one 80 GB data-centre GPU */
    .prices = prices,
    .price_count = sizeof prices / sizeof *prices,
    .priced_on = "2026-06-27",
    .wire_new = modal_wire_new,
    .check = modal_check,
    .scope = modal_scope,
};

KIT_VM_SLOTS(modal_vm)

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .features = KOLM_FEATURE_MODEL_SLICES,
    .name = "modal",          .version = KOLM_VERSION,
    .vendor = "kolm",         .licence = "Apache-2.0",
    .homepage = "",           KIT_VM_TABLE,
};
