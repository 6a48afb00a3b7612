/* SPDX-License-Identifier: Apache-2.0 */
/* The table must be a constant data object, which Go cannot export. */
#include "_cgo_export.h"

/* The prototypes that cgo generates have no const; the slots of backend.h do. */
#define SLOT(type, function) (type)(function)

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT,
    .name = "words-go",
    .version = "1.0.0",
    .vendor = "kolm",
    .licence = "Apache-2.0",
    .homepage = "",
    .detect = SLOT(kolm_detect_fn, goDetect),
    .cost = SLOT(kolm_cost_fn, goCost),
    .train = SLOT(kolm_train_fn, goTrain),
    .infer = SLOT(kolm_infer_fn, goInfer),
    .test = SLOT(kolm_test_fn, goTest),
};
