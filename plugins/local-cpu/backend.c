/* SPDX-License-Identifier: Apache-2.0 */
/* The exported table of the local-cpu backend. */
#include "backend.h"

const kit_trainer local_cpu_trainer = {.device = "cpu", .backend = "local-cpu"};

#ifndef KOLM_VERSION
#define KOLM_VERSION "0"
#endif

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .features = KOLM_FEATURE_MODEL_SLICES,
    .name = "local-cpu",      .version = KOLM_VERSION,
    .vendor = "kolm",         .licence = "Apache-2.0",
    .homepage = "",           .detect = local_cpu_detect,
    .cost = local_cpu_cost,   .train = local_cpu_train,
    .infer = local_cpu_infer, .test = local_cpu_test,
};
