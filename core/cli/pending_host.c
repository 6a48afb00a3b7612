/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for the host until it is there: no backend is found. Removed when core/host declares host_dep. */
#include "host/host.h"

kit_status host_scan(const host_scan_options *options, host_registry **out_registry, kolm_error_t *err) {
    (void)options;
    (void)out_registry;
    return kit_fail(err, KOLM_E_UNIMPLEMENTED, "use a later version", "this build cannot look for backends");
}

void host_registry_free(host_registry *registry) {
    (void)registry;
}

const char *host_billing_name(uint32_t billing) {
    return billing == KOLM_BILLING_FREE ? "free" : "";
}

kit_status host_detect_all(const host_registry *registry, const host_backend *const *rows, size_t count,
                           const host_call_options *options, host_result *out_results, kolm_error_t *err) {
    (void)rows;
    (void)count;
    (void)out_results;
    return host_scan((const void *)options, (void *)(uintptr_t)registry, err);
}

kit_status host_cost_all(const host_registry *registry, const host_backend *const *rows, size_t count,
                         const kolm_cost_args_t *args, const host_call_options *options, host_result *out_results,
                         kolm_error_t *err) {
    (void)args;
    return host_detect_all(registry, rows, count, options, out_results, err);
}

kit_status host_test(const host_registry *registry, const host_backend *backend, uint32_t threads,
                     const host_call_options *options, host_result *out_result, kolm_error_t *err) {
    (void)backend;
    (void)threads;
    return host_detect_all(registry, NULL, 0, options, out_result, err);
}

void host_verdict_text(const host_result *result, char *out, size_t capacity) {
    kit_copy(out, capacity, result->error.text);
}
