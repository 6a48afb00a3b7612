/* SPDX-License-Identifier: Apache-2.0 */
/* The calls that the verbs of `kolm compute` make into plugins, each in a process of its own. */
#ifndef KOLM_FLEET_CALLS_H
#define KOLM_FLEET_CALLS_H

#include "fleet/registry.h"
#include "fleet/repro.h"

typedef struct fleet_quote {
    bool answered;
    kolm_cost_result_t cost;
    char why[320]; /* why there is no answer; "" if there is one */
} fleet_quote;

/* Calls the cost slot of every backend in parallel. Adds to each answer what the provider charges once per machine, and
 * the start of a second machine for the answers. job holds what is the same for all (rows, bytes, recipe, ...); price
 * and cold start are filled in from each backend. quotes has registry->count entries, in the registry's order. */
kit_status fleet_call_costs(kolm_session *session, fleet_registry *registry, const kolm_cost_args_t *job,
                            session_airgap airgap, fleet_quote *quotes, kolm_error_t *err) KIT_MUST_USE;

/* Called for each step as it is reported. */
typedef void (*fleet_step_fn)(void *user, const kolm_test_step_t *step);
/* Runs the test slot. The status is that of the call: a test that ran and failed is KOLM_OK with passed 0. *out_repros:
 * for which recipes its trainings gave the same bytes, as far as it reports that. Warnings go to standard error. */
kit_status fleet_call_test(kolm_session *session, fleet_registry *registry, const fleet_backend *backend,
                           session_airgap airgap, fleet_step_fn step, void *user, kolm_test_result_t *out_result,
                           fleet_repros *out_repros, kolm_error_t *err) KIT_MUST_USE;

/* Called for each holding as it is reported. */
typedef void (*fleet_holding_fn)(void *user, const kolm_holding_t *holding);
/* Runs the status slot. UNIMPLEMENTED if the plugin has none. Warnings go to standard error. */
kit_status fleet_call_status(kolm_session *session, fleet_registry *registry, const fleet_backend *backend,
                             session_airgap airgap, bool prune, uint64_t older_seconds, fleet_holding_fn holding,
                             void *user, char *out_summary, size_t capacity, kolm_error_t *err) KIT_MUST_USE;

#endif
