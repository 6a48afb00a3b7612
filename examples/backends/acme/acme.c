/* SPDX-License-Identifier: Apache-2.0 */
/* ACME: machines over SSH. The slots are the SDK's; this is the table. */
#include "api.h"

#include <kolm/backend.h>

static const kit_vm_price prices[] = {{"1x A10 (24 GB)", 600000}, {"1x H100 (80 GB)", 2400000}};

extern const kit_vm acme_vm; /* also driven by tests */
const kit_vm acme_vm = {
    .machine = {.name = "ACME",
                .can = KIT_RENT_CAN_NAME,
                .settle_ms = 60000,
                .offers = acme_offers,
                .create = acme_create,
                .look = acme_look,
                .list = acme_list,
                .destroy = acme_destroy},
    .site = {.name = "acme",
             .title = "ACME",
             .token = "ACME_TOKEN",
             .where = "https://acme.example/keys",
             .base = "https://api.acme.example/v1",
             .scheme = "Bearer ",
             .gap_ms = 500,
             .read_refusal = acme_read_refusal,
             .refusals = acme_refusals},
    .user = "root",
    .runtime = "on-demand SSH",
    .place = "ACME",
    .tokens_per_second_3b = 5000,
    .prices = prices,
    .price_count = sizeof prices / sizeof *prices,
    .priced_on = "2026-11-30",
};

KIT_VM_SLOTS(acme_vm)

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .features = KOLM_FEATURE_MODEL_SLICES,
    .name = "acme",           .version = "1.0.0",
    .vendor = "you",          .licence = "Apache-2.0",
    .homepage = "",           KIT_VM_TABLE,
};
