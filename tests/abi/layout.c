/* SPDX-License-Identifier: Apache-2.0 */
/* The offset and size, in numbers, of every field of the ABI on 64-bit machines. The test is that this compiles. */

/*
 * Lines are only added here, when a minor version appends fields; a change to an existing line is an ABI break.
 * Compiled with the current header and with each frozen copy, whose minor version is ABI_FROZEN.
 */
#if !defined(ABI_FROZEN)
#define ABI_MINOR 2
#include <kolm/backend.h>
#elif ABI_FROZEN == 1
#define ABI_MINOR 1
#include "backend-1.1.h"
#else
#define ABI_MINOR 0
#include "backend-1.0.h"
#endif
#include <assert.h>

#if UINTPTR_MAX == UINT64_MAX
#define AT(type, field, offset, size)                                                                                  \
    static_assert(offsetof(type, field) == (offset) && sizeof(((type *)0)->field) == (size), #type "." #field)
#else
#define AT(type, field, offset, size)                                                                                  \
    static_assert(offsetof(type, field) <= (offset) && sizeof(((type *)0)->field) <= (size), #type "." #field)
#endif
/* A record may grow, never shrink. */
#if UINTPTR_MAX == UINT64_MAX
#define HOLDS(type, size) static_assert(sizeof(type) >= (size) && offsetof(type, struct_size) == 0, #type " shrank")
#else
#define HOLDS(type, size) static_assert(offsetof(type, struct_size) == 0, #type " has no size")
#endif
#define VALUE(name, number) static_assert((name) == (number), #name " changed")

AT(kolm_error_t, struct_size, 0, 4);
AT(kolm_error_t, code, 4, 4);
AT(kolm_error_t, text, 8, 512);
AT(kolm_error_t, remedy, 520, 512);
HOLDS(kolm_error_t, 1032);

AT(kolm_device_t, struct_size, 0, 4);
AT(kolm_device_t, memory_kind, 4, 4);
AT(kolm_device_t, total_memory_bytes, 8, 8);
AT(kolm_device_t, free_memory_bytes, 16, 8);
AT(kolm_device_t, index, 24, 4);
AT(kolm_device_t, units, 28, 4);
AT(kolm_device_t, name, 32, 8);
AT(kolm_device_t, id, 40, 8);
AT(kolm_device_t, driver, 48, 8);
AT(kolm_device_t, runtime, 56, 8);
HOLDS(kolm_device_t, 64);

AT(kolm_progress_t, struct_size, 0, 4);
AT(kolm_progress_t, reserved, 4, 4);
AT(kolm_progress_t, step, 8, 8);
AT(kolm_progress_t, total, 16, 8);
AT(kolm_progress_t, loss, 24, 8);
AT(kolm_progress_t, tokens_per_second, 32, 8);
AT(kolm_progress_t, phase, 40, 8);
HOLDS(kolm_progress_t, 48);

AT(kolm_test_step_t, struct_size, 0, 4);
AT(kolm_test_step_t, outcome, 4, 4);
AT(kolm_test_step_t, number, 8, 4);
AT(kolm_test_step_t, total, 12, 4);
AT(kolm_test_step_t, duration_us, 16, 8);
AT(kolm_test_step_t, title, 24, 8);
AT(kolm_test_step_t, note, 32, 8);
HOLDS(kolm_test_step_t, 40);

AT(kolm_host_v1_t, struct_size, 0, 4);
AT(kolm_host_v1_t, abi_major, 4, 2);
AT(kolm_host_v1_t, abi_minor, 6, 2);
AT(kolm_host_v1_t, features, 8, 8);
AT(kolm_host_v1_t, user, 16, 8);
AT(kolm_host_v1_t, log, 24, 8);
AT(kolm_host_v1_t, progress, 32, 8);
AT(kolm_host_v1_t, metric, 40, 8);
AT(kolm_host_v1_t, device, 48, 8);
AT(kolm_host_v1_t, test_step, 56, 8);
AT(kolm_host_v1_t, cancelled, 64, 8);
AT(kolm_host_v1_t, time_left_ms, 72, 8);
AT(kolm_host_v1_t, secret, 80, 8);
AT(kolm_host_v1_t, setting, 88, 8);
AT(kolm_host_v1_t, scratch_dir, 96, 8);
HOLDS(kolm_host_v1_t, 104);

AT(kolm_detect_args_t, struct_size, 0, 4);
AT(kolm_detect_args_t, allow_network, 4, 4);
HOLDS(kolm_detect_args_t, 8);

AT(kolm_detect_result_t, struct_size, 0, 4);
AT(kolm_detect_result_t, state, 4, 4);
AT(kolm_detect_result_t, reason, 8, 256);
AT(kolm_detect_result_t, remedy, 264, 256);
AT(kolm_detect_result_t, runtime, 520, 128);
HOLDS(kolm_detect_result_t, 648);

AT(kolm_cost_args_t, struct_size, 0, 4);
AT(kolm_cost_args_t, epochs, 4, 4);
AT(kolm_cost_args_t, rows, 8, 8);
AT(kolm_cost_args_t, input_bytes, 16, 8);
AT(kolm_cost_args_t, labels, 24, 8);
AT(kolm_cost_args_t, base_parameters, 32, 8);
AT(kolm_cost_args_t, price_micro_usd_per_hour, 40, 8);
AT(kolm_cost_args_t, cold_start_seconds, 48, 4);
AT(kolm_cost_args_t, threads, 52, 4);
AT(kolm_cost_args_t, recipe, 56, 8);
HOLDS(kolm_cost_args_t, 64);

AT(kolm_cost_result_t, struct_size, 0, 4);
AT(kolm_cost_result_t, billing, 4, 4);
AT(kolm_cost_result_t, duration_ms, 8, 8);
AT(kolm_cost_result_t, cost_micro_usd, 16, 8);
AT(kolm_cost_result_t, confidence, 24, 4);
AT(kolm_cost_result_t, reserved, 28, 4);
AT(kolm_cost_result_t, basis, 32, 256);
HOLDS(kolm_cost_result_t, 288);

AT(kolm_train_args_t, struct_size, 0, 4);
AT(kolm_train_args_t, threads, 4, 4);
AT(kolm_train_args_t, job_dir, 8, 8);
HOLDS(kolm_train_args_t, 16);

AT(kolm_train_result_t, struct_size, 0, 4);
AT(kolm_train_result_t, reserved, 4, 4);
AT(kolm_train_result_t, billed_micro_usd, 8, 8);
AT(kolm_train_result_t, device, 16, 128);
AT(kolm_train_result_t, toolchain, 144, 256);
HOLDS(kolm_train_result_t, 400);

AT(kolm_infer_args_t, struct_size, 0, 4);
AT(kolm_infer_args_t, threads, 4, 4);
AT(kolm_infer_args_t, job_dir, 8, 8);
AT(kolm_infer_args_t, input_path, 16, 8);
AT(kolm_infer_args_t, output_path, 24, 8);
HOLDS(kolm_infer_args_t, 32);

AT(kolm_infer_result_t, struct_size, 0, 4);
AT(kolm_infer_result_t, reserved, 4, 4);
AT(kolm_infer_result_t, answers, 8, 8);
AT(kolm_infer_result_t, billed_micro_usd, 16, 8);
AT(kolm_infer_result_t, device, 24, 128);
HOLDS(kolm_infer_result_t, 152);

AT(kolm_test_args_t, struct_size, 0, 4);
AT(kolm_test_args_t, threads, 4, 4);
AT(kolm_test_args_t, allow_network, 8, 4);
AT(kolm_test_args_t, reserved, 12, 4);
HOLDS(kolm_test_args_t, 16);

AT(kolm_test_result_t, struct_size, 0, 4);
AT(kolm_test_result_t, passed, 4, 4);
AT(kolm_test_result_t, summary, 8, 256);
HOLDS(kolm_test_result_t, 264);

AT(kolm_backend_v1_t, struct_size, 0, 4);
AT(kolm_backend_v1_t, abi_major, 4, 2);
AT(kolm_backend_v1_t, abi_minor, 6, 2);
AT(kolm_backend_v1_t, required_features, 8, 8);
AT(kolm_backend_v1_t, fingerprint, 16, 4);
AT(kolm_backend_v1_t, host_minor_needed, 20, 2);
AT(kolm_backend_v1_t, reserved, 22, 2);
AT(kolm_backend_v1_t, features, 24, 8);
AT(kolm_backend_v1_t, name, 32, 8);
AT(kolm_backend_v1_t, version, 40, 8);
AT(kolm_backend_v1_t, vendor, 48, 8);
AT(kolm_backend_v1_t, licence, 56, 8);
AT(kolm_backend_v1_t, homepage, 64, 8);
AT(kolm_backend_v1_t, detect, 72, 8);
AT(kolm_backend_v1_t, cost, 80, 8);
AT(kolm_backend_v1_t, train, 88, 8);
AT(kolm_backend_v1_t, infer, 96, 8);
AT(kolm_backend_v1_t, test, 104, 8);
HOLDS(kolm_backend_v1_t, 112);

VALUE(KOLM_ABI_MAJOR, 1);
VALUE(KOLM_OK, 0);
VALUE(KOLM_E_CANCELLED, 1);
VALUE(KOLM_E_UNKNOWN, 2);
VALUE(KOLM_E_INVALID_ARGUMENT, 3);
VALUE(KOLM_E_DEADLINE_EXCEEDED, 4);
VALUE(KOLM_E_NOT_FOUND, 5);
VALUE(KOLM_E_ALREADY_EXISTS, 6);
VALUE(KOLM_E_PERMISSION_DENIED, 7);
VALUE(KOLM_E_RESOURCE_EXHAUSTED, 8);
VALUE(KOLM_E_FAILED_PRECONDITION, 9);
VALUE(KOLM_E_ABORTED, 10);
VALUE(KOLM_E_OUT_OF_RANGE, 11);
VALUE(KOLM_E_UNIMPLEMENTED, 12);
VALUE(KOLM_E_INTERNAL, 13);
VALUE(KOLM_E_UNAVAILABLE, 14);
VALUE(KOLM_E_DATA_LOSS, 15);
VALUE(KOLM_E_UNAUTHENTICATED, 16);
VALUE(KOLM_LOG_DEBUG, 0);
VALUE(KOLM_LOG_INFO, 1);
VALUE(KOLM_LOG_WARNING, 2);
VALUE(KOLM_LOG_ERROR, 3);
VALUE(KOLM_MEMORY_NONE, 0);
VALUE(KOLM_MEMORY_OWN, 1);
VALUE(KOLM_MEMORY_SHARED, 2);
VALUE(KOLM_MEMORY_UNKNOWN, UINT64_MAX);
VALUE(KOLM_UNKNOWN_COUNT, UINT64_MAX);
VALUE(KOLM_STEP_OK, 0);
VALUE(KOLM_STEP_FAILED, 1);
VALUE(KOLM_STEP_SKIPPED, 2);
VALUE(KOLM_FEATURE_NETWORK, 1);
VALUE(KOLM_FEATURE_MODEL_SLICES, 2);
VALUE(KOLM_DETECT_AVAILABLE, 0);
VALUE(KOLM_DETECT_ABSENT, 1);
VALUE(KOLM_DETECT_BROKEN, 2);
VALUE(KOLM_DETECT_REFUSED, 3);
VALUE(KOLM_BILLING_FREE, 0);
VALUE(KOLM_BILLING_PER_HOUR, 1);
VALUE(KOLM_BILLING_PER_TOKEN, 2);
VALUE(KOLM_BILLING_PER_CALL, 3);
VALUE(KOLM_CONFIDENCE_NONE, 0);
VALUE(KOLM_CONFIDENCE_MODEL, 1);
VALUE(KOLM_CONFIDENCE_MEASURED, 2);
#if UINTPTR_MAX == UINT64_MAX
VALUE(KOLM_BACKEND_SIZE_1_0, 112);
VALUE(KOLM_HOST_SIZE_1_0, 104);
#endif

VALUE(KOLM_ABI_MINOR, ABI_MINOR);

/* Added in 1.1. */
#if ABI_MINOR >= 1
AT(kolm_holding_t, struct_size, 0, 4);
AT(kolm_holding_t, state, 4, 4);
AT(kolm_holding_t, bytes, 8, 8);
AT(kolm_holding_t, age_seconds, 16, 8);
AT(kolm_holding_t, price_micro_usd_per_hour, 24, 8);
AT(kolm_holding_t, place, 32, 8);
AT(kolm_holding_t, kind, 40, 8);
AT(kolm_holding_t, name, 48, 8);
AT(kolm_holding_t, note, 56, 8);
HOLDS(kolm_holding_t, 64);

AT(kolm_host_v1_t, holding, 104, 8);
HOLDS(kolm_host_v1_t, 112);

AT(kolm_status_args_t, struct_size, 0, 4);
AT(kolm_status_args_t, allow_network, 4, 4);
AT(kolm_status_args_t, prune, 8, 4);
AT(kolm_status_args_t, reserved, 12, 4);
AT(kolm_status_args_t, older_seconds, 16, 8);
HOLDS(kolm_status_args_t, 24);

AT(kolm_status_result_t, struct_size, 0, 4);
AT(kolm_status_result_t, reserved, 4, 4);
AT(kolm_status_result_t, summary, 8, 256);
HOLDS(kolm_status_result_t, 264);

AT(kolm_backend_v1_t, status, 112, 8);
HOLDS(kolm_backend_v1_t, 120);

VALUE(KOLM_HOLDING_IDLE, 0);
VALUE(KOLM_HOLDING_IN_USE, 1);
VALUE(KOLM_HOLDING_REMOVED, 2);
#endif

/* Added in 1.2. */
#if ABI_MINOR >= 2
AT(kolm_lease_t, struct_size, 0, 4);
AT(kolm_lease_t, event, 4, 4);
AT(kolm_lease_t, price_micro_usd_per_hour, 8, 8);
AT(kolm_lease_t, billed_micro_usd, 16, 8);
AT(kolm_lease_t, name, 24, 8);
AT(kolm_lease_t, handle, 32, 8);
AT(kolm_lease_t, kind, 40, 8);
AT(kolm_lease_t, place, 48, 8);
AT(kolm_lease_t, note, 56, 8);
HOLDS(kolm_lease_t, 64);

AT(kolm_host_v1_t, lease, 112, 8);
HOLDS(kolm_host_v1_t, 120);

AT(kolm_reclaim_args_t, struct_size, 0, 4);
AT(kolm_reclaim_args_t, allow_network, 4, 4);
AT(kolm_reclaim_args_t, age_seconds, 8, 8);
AT(kolm_reclaim_args_t, name, 16, 8);
AT(kolm_reclaim_args_t, handle, 24, 8);
AT(kolm_reclaim_args_t, kind, 32, 8);
AT(kolm_reclaim_args_t, place, 40, 8);
HOLDS(kolm_reclaim_args_t, 48);

AT(kolm_reclaim_result_t, struct_size, 0, 4);
AT(kolm_reclaim_result_t, outcome, 4, 4);
AT(kolm_reclaim_result_t, billed_micro_usd, 8, 8);
AT(kolm_reclaim_result_t, summary, 16, 256);
HOLDS(kolm_reclaim_result_t, 272);

AT(kolm_backend_v1_t, reclaim, 120, 8);
HOLDS(kolm_backend_v1_t, 128);

VALUE(KOLM_LEASE_INTENT, 0);
VALUE(KOLM_LEASE_HANDLE, 1);
VALUE(KOLM_LEASE_GONE, 2);
VALUE(KOLM_RECLAIM_RUNNING, 0);
VALUE(KOLM_RECLAIM_GONE, 1);
VALUE(KOLM_RECLAIM_UNKNOWN, 2);
#endif

int main(void) {
    return 0;
}
