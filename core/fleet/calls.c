/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of cost, test and status, and what the verbs get from their results. */
#include "fleet/calls.h"

#include "fleet/call.h"
#include "runtime/files.h"

#include <stdlib.h>
#include <string.h>

static void take_quote(fleet_quote *quote, const fleet_backend *b, const host_result *r) {
    quote->answered = r->verdict == HOST_OK;
    quote->cost = r->cost;
    if (quote->answered && r->cost.cost_micro_usd <= INT64_MAX)
        quote->cost.cost_micro_usd += fleet_price_once(b) + fleet_second_start(b);
    if (quote->answered) return;
    if (r->verdict == HOST_UNIMPLEMENTED)
        kit_format(quote->why, sizeof quote->why, "%s gives no quotes yet in this version", b->name);
    else
        host_verdict_text(r, quote->why, sizeof quote->why);
}

kit_status fleet_call_costs(kolm_session *session, fleet_registry *registry, const kolm_cost_args_t *job,
                            session_airgap airgap, fleet_quote *quotes, kolm_error_t *err) {
    const host_backend **rows = calloc(registry->count + 1, sizeof *rows);
    size_t *places = calloc(registry->count + 1, sizeof *places);
    host_result *results = calloc(registry->count + 1, sizeof *results);
    const fleet_call call = {.slot = HOST_SLOT_COST, .airgap = airgap, .cost = job};
    size_t count = 0;
    kit_status status = rows && places && results ? KOLM_OK : kit_no_memory(err);
    for (size_t i = 0; status == KOLM_OK && i < registry->count; i++) {
        const fleet_backend *b = &registry->backends[i];
        kolm_error_t why = KIT_ERROR_INIT;
        if (fleet_call_allows(b, &call, &why) != KOLM_OK) {
            kit_format(quotes[i].why, sizeof quotes[i].why, "%s%s", b->refused ? "refused: " : "", why.text);
        } else {
            places[count] = i;
            rows[count++] = b->row;
        }
    }
    if (status == KOLM_OK) status = fleet_call_all(session, registry, rows, count, &call, results, err);
    for (size_t i = 0; status == KOLM_OK && i < count; i++)
        take_quote(&quotes[places[i]], &registry->backends[places[i]], &results[i]);
    free(rows);
    free(places);
    free(results);
    return status;
}

typedef struct step_user {
    fleet_step_fn step;
    void *user;
    fleet_repros repros;
} step_user;

static void note_metric(void *user, const char *name, double value) {
    fleet_repro_note(&((step_user *)user)->repros, name, value);
}

static void pass_step(void *user, const kolm_test_step_t *step) {
    const step_user *s = user;
    s->step(s->user, step);
}

kit_status fleet_call_test(kolm_session *session, fleet_registry *registry, const fleet_backend *backend,
                           session_airgap airgap, fleet_step_fn step, void *user, kolm_test_result_t *out_result,
                           fleet_repros *out_repros, kolm_error_t *err) {
    step_user passed = {.step = step, .user = user};
    const host_events events = {.user = &passed, .metric = note_metric, .test_step = pass_step};
    long threads = sysconf(_SC_NPROCESSORS_ONLN);
    const fleet_call call = {
        .slot = HOST_SLOT_TEST, .airgap = airgap, .threads = threads > 0 ? (uint32_t)threads : 1, .events = &events};
    host_result *result = calloc(1, sizeof *result);
    kit_status status = result ? KOLM_OK : kit_no_memory(err);
    session_reason ignored;
    if (status == KOLM_OK) status = runtime_check(session, backend->name, NULL, &ignored, err);
    if (status == KOLM_OK) status = fleet_call_one(session, registry, backend, &call, result, err);
    if (status == KOLM_OK && result->verdict == HOST_OK) {
        *out_result = result->test;
        *out_repros = passed.repros;
    } else if (status == KOLM_OK) {
        char text[320];
        host_verdict_text(result, text, sizeof text);
        status = kit_fail(err, result->error.code ? result->error.code : KOLM_E_UNKNOWN, result->error.remedy,
                          "the test of %s failed to complete: %s", backend->name, text);
    }
    free(result);
    return status;
}

typedef struct holding_user {
    fleet_holding_fn holding;
    void *user;
} holding_user;

static void pass_holding(void *user, const kolm_holding_t *holding) {
    const holding_user *h = user;
    h->holding(h->user, holding);
}

kit_status fleet_call_status(kolm_session *session, fleet_registry *registry, const fleet_backend *backend,
                             session_airgap airgap, bool prune, uint64_t older_seconds, fleet_holding_fn holding,
                             void *user, char *out_summary, size_t capacity, kolm_error_t *err) {
    holding_user passed = {.holding = holding, .user = user};
    const host_events events = {.user = &passed, .holding = pass_holding};
    const fleet_call call = {
        .slot = HOST_SLOT_STATUS, .airgap = airgap, .prune = prune, .older_seconds = older_seconds, .events = &events};
    host_result *result = calloc(1, sizeof *result);
    kit_status status = result ? KOLM_OK : kit_no_memory(err);
    if (status == KOLM_OK) status = fleet_call_one(session, registry, backend, &call, result, err);
    if (status == KOLM_OK && result->verdict == HOST_OK) {
        kit_copy(out_summary, capacity, result->status.summary);
    } else if (status == KOLM_OK) {
        *err = result->error;
        status = result->verdict == HOST_UNIMPLEMENTED ? kit_fail(err, KOLM_E_UNIMPLEMENTED, "there is nothing to list",
                                                                  "%s keeps nothing elsewhere", backend->name)
                                                       : (result->error.code ? result->error.code : KOLM_E_UNKNOWN);
    }
    free(result);
    return status;
}
