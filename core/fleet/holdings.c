/* SPDX-License-Identifier: Apache-2.0 */
/* Calls the status slot of backends, and returns what they keep elsewhere as JSON. */
#include "fleet/holdings.h"
#include "fleet/grants.h"

#include "fleet/calls.h"
#include "fleet/named.h"

#include <stdlib.h>
#include <string.h>

static const char *const states[] = {"idle", "in use", "removed"};

typedef struct listening {
    fleet_holdings *elsewhere;
    const char *backend;
} listening;

static bool put_known(cJSON *object, const char *key, uint64_t value) {
    return value == UINT64_MAX ? kit_json_put_null(object, key) : kit_json_put_u64(object, key, value);
}

static void on_holding(void *user, const kolm_holding_t *holding) {
    const listening *l = user;
    cJSON *row = cJSON_CreateObject();
    bool good = kit_json_put_string(row, "backend", l->backend) && kit_json_put_string(row, "place", holding->place) &&
                kit_json_put_string(row, "kind", holding->kind) && kit_json_put_string(row, "name", holding->name) &&
                kit_json_put_string(row, "state", holding->state < 3 ? states[holding->state] : "unknown") &&
                put_known(row, "bytes", holding->bytes) && put_known(row, "age_seconds", holding->age_seconds) &&
                (holding->price_micro_usd_per_hour >= KIT_JSON_MICRO_LIMIT
                     ? kit_json_put_null(row, "cost_per_hour_usd")
                     : kit_json_put(row, "cost_per_hour_usd", kit_json_micro(holding->price_micro_usd_per_hour))) &&
                kit_json_put_string(row, "note", holding->note);
    if (!good || !cJSON_AddItemToArray(l->elsewhere->held, row)) cJSON_Delete(row);
}

static bool note_asked(fleet_holdings *e, const char *backend, const char *key, const char *text, const char *remedy) {
    cJSON *row = cJSON_CreateObject();
    bool good = kit_json_put_string(row, "backend", backend) && kit_json_put_string(row, key, text) &&
                (!remedy || kit_json_put_string(row, "remedy", remedy)) && cJSON_AddItemToArray(e->asked, row);
    if (!good) cJSON_Delete(row);
    return good;
}

/* A backend that is not set up keeps nothing elsewhere: reported only if it was named. */
static kit_status ask_one(kolm_session *session, fleet_registry *registry, const fleet_backend *backend,
                          const fleet_holdings_options *options, fleet_holdings *e, kolm_error_t *err) {
    listening l = {.elsewhere = e, .backend = backend->name};
    kolm_error_t why = KIT_ERROR_INIT;
    char summary[256] = "";
    kit_status status = fleet_call_status(session, registry, backend, options->airgap, options->prune,
                                          options->older_seconds, on_holding, &l, summary, sizeof summary, &why);
    bool good = true;
    if (status == KOLM_OK)
        good = note_asked(e, backend->name, "summary", summary, NULL);
    else if (status == KOLM_E_CANCELLED || (options->only && status == KOLM_E_UNIMPLEMENTED)) {
        *err = why;
        return status;
    } else if (options->only || (status != KOLM_E_UNIMPLEMENTED && status != KOLM_E_NOT_FOUND)) {
        e->failed = true;
        good = note_asked(e, backend->name, "error", why.text, why.remedy);
    }
    return good ? KOLM_OK : kit_no_memory(err);
}

static kit_status find_only(kolm_session *session, fleet_registry *registry, const char *name,
                            fleet_backend **out_backend, session_reason *out_reason, kolm_error_t *err) {
    KIT_TRY(fleet_named(registry, name, out_backend, out_reason, err));
    return fleet_grant_require(session, registry, name, out_reason, err);
}

kit_status fleet_holdings_query(kolm_session *session, const fleet_holdings_options *options,
                                fleet_holdings *out_elsewhere, session_reason *out_reason, kolm_error_t *err) {
    fleet_registry *registry = NULL;
    fleet_backend *only = NULL;
    *out_reason = 0;
    *out_elsewhere = (fleet_holdings){.held = cJSON_CreateArray(), .asked = cJSON_CreateArray()};
    if (!out_elsewhere->held || !out_elsewhere->asked) return kit_no_memory(err);
    kit_status status = fleet_registry_open(session, &registry, err);
    if (status == KOLM_OK) status = fleet_registry_settle(session, registry, err);
    if (status == KOLM_OK && options->only)
        status = find_only(session, registry, options->only, &only, out_reason, err);
    for (size_t i = 0; status == KOLM_OK && registry && i < registry->count; i++) {
        const fleet_backend *backend = &registry->backends[i];
        if (only ? backend != only : backend->refused != NULL || backend->group == FLEET_GROUP_LOCAL) continue;
        status = ask_one(session, registry, backend, options, out_elsewhere, err);
    }
    fleet_registry_free(registry);
    return status;
}

void fleet_holdings_free(fleet_holdings *e) {
    cJSON_Delete(e->held);
    cJSON_Delete(e->asked);
    *e = (fleet_holdings){0};
}
