/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for the calls of the host until they are there: every detection fails with one sentence. Weak: goes away
 * when they come. */
#include "host/host.h"

#define PENDING __attribute__((weak))

static kit_status pending(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_UNIMPLEMENTED, "use a later version", "this build cannot call backends");
}

PENDING kit_status host_detect_all(const host_registry *registry, const host_backend *const *rows, size_t count,
                                   const host_call_options *options, host_result *out_results, kolm_error_t *err) {
    (void)registry, (void)rows, (void)count, (void)options, (void)out_results;
    return pending(err);
}

PENDING kit_status host_cost_all(const host_registry *registry, const host_backend *const *rows, size_t count,
                                 const kolm_cost_args_t *args, const host_call_options *options,
                                 host_result *out_results, kolm_error_t *err) {
    (void)registry, (void)rows, (void)count, (void)args, (void)options, (void)out_results;
    return pending(err);
}

PENDING kit_status host_test(const host_registry *registry, const host_backend *backend, uint32_t threads,
                             const host_call_options *options, host_result *out_result, kolm_error_t *err) {
    (void)registry, (void)backend, (void)threads, (void)options, (void)out_result;
    return pending(err);
}

PENDING void host_verdict_text(const host_result *result, char *out, size_t capacity) {
    kit_copy(out, capacity, result->error.text);
}
