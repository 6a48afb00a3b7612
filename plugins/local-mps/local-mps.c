/* SPDX-License-Identifier: Apache-2.0 */
/* The GPU of an Apple Silicon Mac, which the trainer uses as PyTorch's mps device. */
#include "kolm/kit/backend.h"
#include "kolm/kit/metal.h"
#include "kolm/kit/trainer.h"

/* Operations that Metal lacks run on the CPU instead of ending the training. */
static const char *const env[] = {"PYTORCH_ENABLE_MPS_FALLBACK=1", NULL};
static const kit_trainer trainer = {.device = "mps", .env = env};

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    char runtime[KIT_TRAINER_RUNTIME], missing[KIT_TRAINER_MISSING], remedy[KIT_TRAINER_MISSING], reason[256];
    (void)args, (void)out_error;
    (void)kit_trainer_runtime(host, &trainer, runtime, missing, remedy);
    int32_t status = kit_detect_metal(host, runtime, out_result);
    if (status != KOLM_OK || out_result->state != KOLM_DETECT_AVAILABLE) return status;
    kit_copy(reason, sizeof reason, out_result->reason);
    return kit_trainer_detected(host, &trainer, reason, out_result);
}

static int32_t cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                    kolm_error_t *out_error) {
    (void)host, (void)out_error;
    return kit_estimate_lora(args, 800, out_result);
}

static int32_t train(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out_result,
                     kolm_error_t *out_error) {
    return kit_trainer_train(host, &trainer, args, out_result, out_error);
}

static int32_t infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out_result,
                     kolm_error_t *out_error) {
    return kit_trainer_infer(host, &trainer, args, out_result, out_error);
}

static int32_t test(const kolm_host_v1_t *host, const kolm_test_args_t *args, kolm_test_result_t *out_result,
                    kolm_error_t *out_error) {
    return kit_trainer_test(host, &trainer, args, out_result, out_error);
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT,
    .features = KOLM_FEATURE_MODEL_SLICES,
    .name = "local-mps",
    .version = KOLM_VERSION,
    .vendor = "kolm",
    .licence = "Apache-2.0",
    .homepage = "",
    .detect = detect,
    .cost = cost,
    .train = train,
    .infer = infer,
    .test = test,
};
