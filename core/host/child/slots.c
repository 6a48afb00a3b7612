/* SPDX-License-Identifier: Apache-2.0 */
/* Calls the requested slot, and turns its result into the reply. */
#include "host/child/child.h"

#include <string.h>

#define CHECK_SIZE(result) child_check_size(&(result), SIZE_OF(result), sizeof(result).now + CHILD_LATER_MAX)

#define SIZE_OF(record) (uint32_t)(sizeof(record).now + request->later_bytes)

/* After success, no lease may be left open. After a failure it may have been impossible to end it. */
static void check_leases(int32_t code) {
    const char *name;
    uint32_t left = code == KOLM_OK ? child_leases_left(&name) : 0;
    if (left > 0)
        child_breach(HOST_BREACH_LEFT, "it returned", "end what it rented, and record GONE, before it returns",
                     "with %u lease%s that %s not gone: %s", left, left == 1 ? "" : "s", left == 1 ? "is" : "are",
                     name);
}

static _Noreturn void finish(const child_request *request, int32_t code, kolm_error_t *error, const kit_buf *result) {
    child_audit_left();
    if (strcmp(request->slot, HOST_CALL_RECLAIM) != 0) check_leases(code);
    if (code == KOLM_OK) child_done(HOST_OK, NULL, false, result);
    child_check_error(error, code);
    bool listed = code > 0 && code <= KOLM_E_UNAUTHENTICATED;
    error->code = listed ? code : KOLM_E_UNKNOWN;
    if (error->text[0] != '\0') child_done(HOST_FAILED, error, false, NULL);
    if (listed)
        kit_format(error->text, sizeof error->text, "%s failed with %s (%d) and gave no reason", request->slot,
                   kit_status_name(code), code);
    else
        kit_format(error->text, sizeof error->text,
                   "%s failed with %d, which is not a KOLM_E_* code, and gave no reason", request->slot, code);
    child_done(HOST_FAILED, error, true, NULL);
}

static _Noreturn void reject(const char *slot, const char *what, unsigned value) {
    kolm_error_t error = KIT_ERROR_INIT;
    (void)kit_fail(&error, KOLM_E_INTERNAL, "report this to the author of the backend",
                   "%s answered with an unknown %s (%u)", slot, what, value);
    child_done(HOST_FAILED, &error, false, NULL);
}

static _Noreturn void run_detect(const child_request *request, const kolm_backend_v1_t *table,
                                 const kolm_host_v1_t *host) {
    CHILD_WITH_LATER(kolm_detect_args_t)
    args = {.now = {.struct_size = SIZE_OF(args), .allow_network = request->network ? 1 : 0}};
    CHILD_WITH_LATER(kolm_detect_result_t) result = {.now = {.struct_size = SIZE_OF(result)}}, blank = result;
    kolm_error_t error = KIT_ERROR_INIT;
    kit_buf out = {0};
    for (; child_audit_round(request); result = blank)
        (void)table->detect(host, &args.now, &result.now, &error);
    error = (kolm_error_t)KIT_ERROR_INIT;
    int32_t code = table->detect(host, &args.now, &result.now, &error);
    if (code == KOLM_OK && result.now.state > KOLM_DETECT_REFUSED) reject(request->slot, "state", result.now.state);
    CHECK_SIZE(result);
    if (code == KOLM_OK) child_check_detect(&result.now);
    host_write_detect_result(&out, &result.now);
    finish(request, code, &error, &out);
}

static _Noreturn void run_cost(const child_request *request, const kolm_backend_v1_t *table,
                               const kolm_host_v1_t *host) {
    CHILD_WITH_LATER(kolm_cost_args_t)
    args = {.now = {.struct_size = SIZE_OF(args)}};
    CHILD_WITH_LATER(kolm_cost_result_t) result = {.now = {.struct_size = SIZE_OF(result)}}, blank = result;
    kolm_error_t error = KIT_ERROR_INIT;
    kit_buf out = {0};
    (void)host_read_cost_args(request->args, &args.now);
    for (; child_audit_round(request); result = blank)
        (void)table->cost(host, &args.now, &result.now, &error);
    error = (kolm_error_t)KIT_ERROR_INIT;
    int32_t code = table->cost(host, &args.now, &result.now, &error);
    if (code == KOLM_OK && result.now.billing > KOLM_BILLING_PER_CALL)
        reject(request->slot, "billing", result.now.billing);
    if (code == KOLM_OK && result.now.confidence > KOLM_CONFIDENCE_MEASURED)
        reject(request->slot, "confidence", result.now.confidence);
    CHECK_SIZE(result);
    if (code == KOLM_OK) child_check_cost(&result.now);
    host_write_cost_result(&out, &result.now);
    finish(request, code, &error, &out);
}

static _Noreturn void run_train(const child_request *request, const kolm_backend_v1_t *table,
                                const kolm_host_v1_t *host) {
    CHILD_WITH_LATER(kolm_train_args_t)
    args = {.now = {.struct_size = SIZE_OF(args)}};
    CHILD_WITH_LATER(kolm_train_result_t)
    result = {.now = {.struct_size = SIZE_OF(result), .billed_micro_usd = UINT64_MAX}};
    kolm_error_t error = KIT_ERROR_INIT;
    kit_buf out = {0};
    (void)host_read_train_args(request->args, &args.now);
    int32_t code = table->train(host, &args.now, &result.now, &error);
    CHECK_SIZE(result);
    if (code == KOLM_OK) child_check_train(&result.now);
    host_write_train_result(&out, &result.now);
    finish(request, code, &error, &out);
}

static _Noreturn void run_infer(const child_request *request, const kolm_backend_v1_t *table,
                                const kolm_host_v1_t *host) {
    CHILD_WITH_LATER(kolm_infer_args_t)
    args = {.now = {.struct_size = SIZE_OF(args)}};
    CHILD_WITH_LATER(kolm_infer_result_t)
    result = {.now = {.struct_size = SIZE_OF(result), .billed_micro_usd = UINT64_MAX}};
    kolm_error_t error = KIT_ERROR_INIT;
    kit_buf out = {0};
    (void)host_read_infer_args(request->args, &args.now);
    uint64_t features = KOLM_HAS(kolm_backend_v1_t, table, features) ? table->features : 0;
    if (!(features & KOLM_FEATURE_MODEL_SLICES)) {
        kit_status copied = child_copy_model(args.now.job_dir, &error);
        if (copied != KOLM_OK) finish(request, copied, &error, NULL);
    }
    int32_t code = table->infer(host, &args.now, &result.now, &error);
    CHECK_SIZE(result);
    if (code == KOLM_OK) child_check_infer(&result.now);
    host_write_infer_result(&out, &result.now);
    finish(request, code, &error, &out);
}

static _Noreturn void run_test(const child_request *request, const kolm_backend_v1_t *table,
                               const kolm_host_v1_t *host) {
    CHILD_WITH_LATER(kolm_test_args_t)
    args = {.now = {.struct_size = SIZE_OF(args), .allow_network = request->network ? 1 : 0}};
    CHILD_WITH_LATER(kolm_test_result_t) result = {.now = {.struct_size = SIZE_OF(result)}};
    kolm_error_t error = KIT_ERROR_INIT;
    kit_buf out = {0};
    (void)host_read_test_args(request->args, &args.now);
    int32_t code = table->test(host, &args.now, &result.now, &error);
    CHECK_SIZE(result);
    if (code == KOLM_OK) child_check_test(&result.now);
    if (code == KOLM_OK && !child_tested_passed(result.now.passed == 1, &error))
        finish(request, error.code, &error, NULL);
    host_write_test_result(&out, &result.now);
    finish(request, code, &error, &out);
}

static _Noreturn void run_status(const child_request *request, const kolm_backend_v1_t *table,
                                 const kolm_host_v1_t *host) {
    CHILD_WITH_LATER(kolm_status_args_t)
    args = {.now = {.struct_size = SIZE_OF(args), .allow_network = request->network ? 1 : 0}};
    CHILD_WITH_LATER(kolm_status_result_t) result = {.now = {.struct_size = SIZE_OF(result)}};
    kolm_error_t error = KIT_ERROR_INIT;
    kit_buf out = {0};
    (void)host_read_status_args(request->args, &args.now);
    int32_t code = table->status(host, &args.now, &result.now, &error);
    CHECK_SIZE(result);
    if (code == KOLM_OK) child_check_status(&result.now);
    host_write_status_result(&out, &result.now);
    finish(request, code, &error, &out);
}

static _Noreturn void run_reclaim(const child_request *request, const kolm_backend_v1_t *table,
                                  const kolm_host_v1_t *host) {
    CHILD_WITH_LATER(kolm_reclaim_args_t)
    args = {.now = {.struct_size = SIZE_OF(args), .allow_network = request->network ? 1 : 0}};
    CHILD_WITH_LATER(kolm_reclaim_result_t)
    result = {.now = {.struct_size = SIZE_OF(result), .outcome = KOLM_RECLAIM_UNKNOWN, .billed_micro_usd = UINT64_MAX}};
    kolm_error_t error = KIT_ERROR_INIT;
    kit_buf out = {0};
    (void)host_read_reclaim_args(request->args, &args.now);
    int32_t code = table->reclaim(host, &args.now, &result.now, &error);
    if (code == KOLM_OK && result.now.outcome > KOLM_RECLAIM_UNKNOWN)
        reject(request->slot, "outcome", result.now.outcome);
    CHECK_SIZE(result);
    if (code == KOLM_OK) child_check_reclaim(&result.now);
    host_write_reclaim_result(&out, &result.now);
    finish(request, code, &error, &out);
}

_Noreturn void child_run(const child_request *request, const kolm_backend_v1_t *table) {
    static const struct {
        const char *name;
        uint32_t bit;
        void (*run)(const child_request *, const kolm_backend_v1_t *, const kolm_host_v1_t *);
    } slots[] = {
        {HOST_CALL_DETECT, HOST_SLOT_DETECT, run_detect},    {HOST_CALL_COST, HOST_SLOT_COST, run_cost},
        {HOST_CALL_TRAIN, HOST_SLOT_TRAIN, run_train},       {HOST_CALL_INFER, HOST_SLOT_INFER, run_infer},
        {HOST_CALL_TEST, HOST_SLOT_TEST, run_test},          {HOST_CALL_STATUS, HOST_SLOT_STATUS, run_status},
        {HOST_CALL_RECLAIM, HOST_SLOT_RECLAIM, run_reclaim},
    };
    kolm_error_t error = KIT_ERROR_INIT;
    uint32_t present = child_table_slots(table);
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
        if (strcmp(slots[i].name, request->slot) != 0) continue;
        if (!(present & slots[i].bit)) {
            (void)kit_fail(&error, KOLM_E_UNIMPLEMENTED, "choose another backend, or install a version of it that does",
                           "this backend does not implement %s", request->slot);
            child_done(HOST_UNIMPLEMENTED, &error, false, NULL);
        }
        /* Slots that work without network (detect, cost) may be called for a network backend at any time. */
        if (!host_call_is_light(slots[i].name) && !request->network &&
            (table->required_features & KOLM_FEATURE_NETWORK)) {
            (void)kit_fail(&error, KOLM_E_PERMISSION_DENIED, "choose a local backend, or allow the network",
                           "this backend requires the network, which this call must not use");
            child_done(HOST_NOT_LOADED, &error, false, NULL);
        }
        child_table_report(table);
        child_breach_begin(request->slot);
        child_audit_begin(request);
        child_leases_table((present & HOST_SLOT_RECLAIM) != 0);
        slots[i].run(request, table, child_services(request));
    }
    (void)kit_fail(&error, KOLM_E_INTERNAL, "", "there is no slot called %s", request->slot);
    child_done(HOST_NOT_LOADED, &error, false, NULL);
}
