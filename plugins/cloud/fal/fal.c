/* SPDX-License-Identifier: Apache-2.0 */
/* fal: answers from endpoints that the user has deployed there; it does not train. */
#include "api.h"

static const kit_service_site site = {
    .name = "fal",
    .title = "fal",
    .variable = "KOLM_FAL_TOKEN",
    .where = "https://fal.ai/dashboard/keys",
    .money = "https://fal.ai/dashboard/billing",
    .base = "https://queue.fal.run",
    .scheme = "Key ",
    .halves = ':',
    .hosts = {"api.fal.ai"},
};

static const kit_queue_backend fal = {
    .site = &site,
    .runtime = "inference only",
    .basis = "billed per call, which cannot be predicted from here; this service does not train",
    .billing = KOLM_BILLING_PER_CALL,
    .own_bytes = sizeof(fal_request),
    .check = fal_check,
    .open = fal_open,
    .answer = fal_answer,
};

KIT_QUEUE_ANSWERS(fal)

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .name = "fal",  .version = KOLM_VERSION, .vendor = "kolm",
    .licence = "Apache-2.0",  .homepage = "", KIT_QUEUE_ANSWERS_TABLE,
};
