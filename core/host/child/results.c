/* SPDX-License-Identifier: Apache-2.0 */
/* Checks a result against the rules of kolm/backend.h. */
#include "host/child/child.h"

#include <string.h>

static bool is_filled(const char *array) {
    return array[0] != '\0';
}

void child_check_detect(kolm_detect_result_t *result) {
    bool wanted = result->state == KOLM_DETECT_BROKEN || result->state == KOLM_DETECT_REFUSED;
    child_check_array("the reason", result->reason, sizeof result->reason, 0);
    child_check_array("the remedy", result->remedy, sizeof result->remedy, CHILD_MAY_BE_EMPTY);
    child_check_array("the runtime", result->runtime, sizeof result->runtime, CHILD_MAY_BE_EMPTY);
    if (wanted && !is_filled(result->remedy))
        child_breach(HOST_BREACH_RECORD, "the remedy", "say what makes the backend available",
                     "is empty, and the state is broken or refused");
    if (result->state == KOLM_DETECT_AVAILABLE && is_filled(result->remedy))
        child_breach_mild(HOST_BREACH_RECORD, "the remedy", "leave it empty",
                          "is not empty, and the state is available");
}

void child_check_cost(kolm_cost_result_t *result) {
    result->duration_ms = child_check_u64("duration_ms", result->duration_ms);
    result->cost_micro_usd = child_check_u64("cost_micro_usd", result->cost_micro_usd);
    child_check_reserved("the field reserved of the result", result->reserved);
    child_check_array("the basis", result->basis, sizeof result->basis, 0);
    if (result->billing == KOLM_BILLING_FREE && result->cost_micro_usd != 0)
        child_breach(HOST_BREACH_RECORD, "cost_micro_usd", "name the billing, or cost nothing",
                     "is %llu, and the billing is free", (unsigned long long)result->cost_micro_usd);
}

void child_check_train(kolm_train_result_t *result) {
    result->billed_micro_usd = child_check_u64("billed_micro_usd", result->billed_micro_usd);
    child_check_reserved("the field reserved of the result", result->reserved);
    child_check_array("the device", result->device, sizeof result->device, 0);
    child_check_array("the toolchain", result->toolchain, sizeof result->toolchain, 0);
}

void child_check_infer(kolm_infer_result_t *result) {
    result->billed_micro_usd = child_check_u64("billed_micro_usd", result->billed_micro_usd);
    result->answers = child_check_u64("the number of answers", result->answers);
    child_check_reserved("the field reserved of the result", result->reserved);
    child_check_array("the device", result->device, sizeof result->device, CHILD_MAY_BE_EMPTY);
}

void child_check_test(kolm_test_result_t *result) {
    child_check_array("the summary", result->summary, sizeof result->summary, 0);
    if (result->passed > 1)
        child_breach(HOST_BREACH_RECORD, "passed", "set it to 0 or 1",
                     "is %u, which is neither 0 nor 1, and counts as 0", result->passed);
}

void child_check_status(kolm_status_result_t *result) {
    child_check_reserved("the field reserved of the result", result->reserved);
    child_check_array("the summary", result->summary, sizeof result->summary, CHILD_MAY_BE_EMPTY);
}

void child_check_reclaim(kolm_reclaim_result_t *result) {
    const char *name;
    child_check_array("the summary", result->summary, sizeof result->summary, CHILD_MAY_BE_EMPTY);
    result->billed_micro_usd = child_check_u64("billed_micro_usd", result->billed_micro_usd);
    if (result->outcome != KOLM_RECLAIM_GONE && child_leases_left(&name) == 0) {
        child_breach(HOST_BREACH_RECORD, "the outcome", "return KOLM_RECLAIM_GONE with it",
                     "is %u, and GONE was recorded", result->outcome);
        result->outcome = KOLM_RECLAIM_GONE;
    }
}

void child_check_size(const void *record, uint32_t size, size_t room) {
    static const char remedy[] = "write the fields that end within struct_size, and no others";
    uint32_t now;
    memcpy(&now, record, sizeof now);
    if (now != size)
        child_breach(HOST_BREACH_RECORD, "struct_size of the result", "leave it as it is", "was %u and is %u", size,
                     now);
    const uint8_t *bytes = record;
    for (size_t i = size; i < room; i++) {
        if (bytes[i] == 0) continue;
        child_breach(HOST_BREACH_RECORD, "the result", remedy, "is of %u bytes, and byte %zu was written", size, i + 1);
        return;
    }
}

void child_check_error(kolm_error_t *error, int32_t code) {
    child_check_array("the text of the error", error->text, sizeof error->text,
                      CHILD_MAY_BE_EMPTY | CHILD_MAY_HAVE_LINES);
    child_check_array("the remedy of the error", error->remedy, sizeof error->remedy,
                      CHILD_MAY_BE_EMPTY | CHILD_MAY_HAVE_LINES);
    if (code < 0 || code > KOLM_E_UNAUTHENTICATED)
        child_breach(HOST_BREACH_RECORD, "the code", "return one of KOLM_E_*", "%d is not one of KOLM_E_*", code);
    else if (error->code != KOLM_OK && error->code != code)
        child_breach_mild(HOST_BREACH_RECORD, "the code in the error record", "report the same in both",
                          "is %d, and the returned one is %d", error->code, code);
}
