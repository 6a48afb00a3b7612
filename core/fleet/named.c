/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the backend that the user named, or reports why the name or the backend cannot be used. */
#include "fleet/named.h"

#include "fleet/grants.h"

#include <stdlib.h>
#include <string.h>

kit_status fleet_named(fleet_registry *registry, const char *name, fleet_backend **out_backend,
                       session_reason *out_reason, kolm_error_t *err) {
    *out_backend = fleet_registry_find(registry, name);
    *out_reason = SESSION_REASON_USAGE;
    if (!*out_backend) return fleet_registry_unknown(registry, name, err);
    if ((*out_backend)->refused) return fleet_backend_refuse(*out_backend, out_reason, err);
    *out_reason = 0;
    return KOLM_OK;
}

kit_status fleet_named_for_test(kolm_session *session, fleet_registry *registry, const char *name,
                                session_airgap airgap, fleet_backend **out_backend, session_reason *out_reason,
                                kolm_error_t *err) {
    fleet_detect_options detect = {
        .only = name, .airgap = airgap != SESSION_AIRGAP_OFF, .airgap_strict = airgap == SESSION_AIRGAP_STRICT};
    fleet_backend *backend = NULL;
    KIT_TRY(fleet_named(registry, name, &backend, out_reason, err));
    *out_reason = SESSION_REASON_BACKEND;
    KIT_TRY(fleet_grant_require(session, registry, name, out_reason, err));
    *out_reason = SESSION_REASON_BACKEND;
    if (airgap != SESSION_AIRGAP_OFF && backend->offer->airgap != PICK_AIRGAP_YES)
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, "leave --airgap out, or test a local backend",
                        "%s needs a network, but --airgap allows none", name);
    *out_reason = 0;
    KIT_TRY(fleet_registry_detect(session, registry, &detect, err));
    *out_reason = SESSION_REASON_BACKEND;
    if (fleet_backend_slot(backend, HOST_SLOT_TEST) == PICK_SLOT_MISSING) {
        if (fleet_backend_slot(backend, HOST_SLOT_TRAIN) == PICK_SLOT_PRESENT)
            return kit_fail(err, KOLM_E_UNIMPLEMENTED,
                            "compile a small model with it instead; its author can add a test", "%s has no test", name);
        return kit_fail(err, KOLM_E_UNIMPLEMENTED,
                        "`kolm compute info` shows what is known about it; use another backend to compile",
                        "%s is detect only: it has no test, because training is not implemented yet in this version",
                        name);
    }
    *out_backend = backend;
    return KOLM_OK;
}

/* ---- The default */

static kit_status set_backend(cJSON *config, void *user, kolm_error_t *err) {
    const char *name = *(const char *const *)user;
    cJSON_DeleteItemFromObjectCaseSensitive(config, "backend");
    if (!name || kit_json_put_string(config, "backend", name)) return KOLM_OK;
    return kit_no_memory(err);
}

static void try_detect(kolm_session *session, fleet_registry *registry, const char *name) {
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_detect_options detect = {.only = name};
    if (fleet_registry_detect(session, registry, &detect, &err) != KOLM_OK) session_warn(session, "%s", err.text);
}

kit_status fleet_default_set(kolm_session *session, const char *name, fleet_default *out, session_reason *out_reason,
                             kolm_error_t *err) {
    store_home *home = NULL;
    *out = (fleet_default){0};
    *out_reason = 0;
    KIT_TRY(session_home(session, &home, err));
    if (name) {
        KIT_TRY(fleet_registry_open(session, &out->registry, err));
        KIT_TRY(fleet_named(out->registry, name, &out->backend, out_reason, err));
        try_detect(session, out->registry, name);
    }
    KIT_TRY(store_config_update(home, set_backend, &name, err));
    return store_home_place(home, STORE_CONFIG, &out->config, err);
}

void fleet_default_free(fleet_default *set) {
    fleet_registry_free(set->registry);
    free(set->config);
    *set = (fleet_default){0};
}
