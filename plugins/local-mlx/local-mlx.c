/* SPDX-License-Identifier: Apache-2.0 */
/* Apple's MLX: the GPU of a Mac; on Linux its builds for CPUs and CUDA, if the runtime has them. */
#include "kolm/kit/backend.h"
#include "kolm/kit/metal.h"
#include "kolm/kit/trainer.h"

#include <string.h>

static const char *const env[] = {"CUDA_VISIBLE_DEVICES", NULL};
static const kit_trainer trainer = {.device = "mlx", .env = env};

/* Without Metal, the installed packages decide: mlx uses the CPU unless one of its CUDA builds is installed as well. */
static void report_build(const kolm_host_v1_t *host, const char *name, const char *runtime) {
    const kolm_device_t record = {
        .struct_size = (uint32_t)sizeof record,
        .memory_kind = KOLM_MEMORY_NONE,
        .total_memory_bytes = KOLM_MEMORY_UNKNOWN,
        .free_memory_bytes = KOLM_MEMORY_UNKNOWN,
        .name = name,
        .id = "",
        .driver = "",
        .runtime = runtime,
    };
    host->device(host->user, &record);
}

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    char runtime[KIT_TRAINER_RUNTIME], missing[KIT_TRAINER_MISSING], remedy[KIT_TRAINER_MISSING], reason[256];
    (void)args, (void)out_error;
    bool whole = kit_trainer_runtime(host, &trainer, runtime, missing, remedy);
    int32_t status = kit_detect_metal(host, runtime, out_result);
    if (status != KOLM_OK) return status;
    kit_copy(reason, sizeof reason, out_result->reason);
    if (out_result->state == KOLM_DETECT_ABSENT && whole) {
        const char *name = strstr(runtime, "mlx-cuda") != NULL ? "mlx on CUDA" : "mlx on CPU";
        report_build(host, name, runtime);
        kit_copy(reason, sizeof reason, name);
    }
    return kit_trainer_detected(host, &trainer, reason, out_result);
}

static int32_t cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                    kolm_error_t *out_error) {
    (void)host, (void)out_error;
    return kit_estimate_lora(args, 1200, out_result);
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
    .name = "local-mlx",
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
