/* SPDX-License-Identifier: Apache-2.0 */
/* RunPod: pods with a GPU over SSH, and answers from a serverless endpoint if one is set. The SDK implements the slots;
 * this is the table. */
#include "api.h"
#include "serverless.h"

#include "kolm/backend.h"

#include <string.h>

const kit_vm runpod_vm = {
    .machine = {.name = "RunPod",
                .can = KIT_RENT_CAN_NAME,
                .settle_ms = 60000,
                .offers = runpod_offers,
                .create = runpod_create,
                .look = runpod_look,
                .list = runpod_list,
                .destroy = runpod_destroy},
    .site = {.name = "runpod",
             .title = "RunPod",
             .token = "KOLM_RUNPOD_TOKEN",
             .where = "https://console.runpod.io/user/settings",
             .base = "https://api.runpod.io/v2",
             .scheme = "Bearer ",
             .gap_ms = 1000, /* 60 requests per minute */
             .read_refusal = runpod_read_refusal,
             .refusals = runpod_refusals},
    .user = "root",
    .runtime = "pods over SSH",
    .place = "RunPod",
    .tokens_per_second_3b = 6000, /* roughly as published: LoRA, packed rows, one 80 GB data-centre GPU */
    .balance = runpod_balance,
    .also_title = "serverless endpoint",
    .also_set = runpod_serverless_is_set,
    .also = runpod_serverless_test,
};

KIT_VM_SLOTS(runpod_vm)

/* A job belongs to the endpoint; everything else is a pod. */
static int32_t reclaim(const kolm_host_v1_t *host, const kolm_reclaim_args_t *args, kolm_reclaim_result_t *out_result,
                       kolm_error_t *out_error) {
    return strcmp(args->kind, "job") == 0 ? runpod_serverless_reclaim(host, args, out_result, out_error)
                                          : vm_reclaim(host, args, out_result, out_error);
}

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    int32_t status = vm_detect(host, args, out_result, out_error);
    if (status == KOLM_OK && out_result->state == KOLM_DETECT_AVAILABLE)
        runpod_serverless_detect(host, args, out_result);
    return status;
}

static int32_t infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out_result,
                     kolm_error_t *out_error) {
    if (runpod_serverless_answers(host, args->job_dir))
        return runpod_serverless_infer(host, args, out_result, out_error);
    return vm_infer(host, args, out_result, out_error);
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .features = KOLM_FEATURE_MODEL_SLICES,
    .name = "runpod",         .version = KOLM_VERSION,
    .vendor = "kolm",         .licence = "Apache-2.0",
    .homepage = "",           .detect = detect,
    .cost = vm_cost,          .train = vm_train,
    .infer = infer,           .test = vm_test,
    .status = vm_status,      .reclaim = reclaim,
};
