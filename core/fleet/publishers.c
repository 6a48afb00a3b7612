/* SPDX-License-Identifier: Apache-2.0 */
/* The publishers of plugins: moves their keys to the keyring, and lists the plugins that each one signed. */
#include "fleet/publishers.h"
#include "fleet/registry.h"
#include "host/host.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* Moves a key of the old ring to the keyring. */
static kit_status move_key(const char *keys, const receipt_trusted *one, int64_t now, kolm_error_t *err) {
    char ignored[KIT_SHA256_HEX];
    if (one->own) return KOLM_OK;
    if (one->revoked) return receipt_keys_revoke(keys, one->key.keyid, one->reason, one->revoked_at, ignored, err);
    kit_status status =
        receipt_keys_trust_backends(keys, &one->key, one->label, one->valid_from, one->valid_to, now, err);
    /* Already revoked in the keyring: the old entry no longer counts. */
    return status == KOLM_E_FAILED_PRECONDITION ? KOLM_OK : status;
}

kit_status fleet_publishers_move(kolm_session *session, kolm_error_t *err) {
    store_home *home = NULL;
    char *keys = NULL, *old = NULL;
    receipt_keyring *from = NULL;
    struct stat info;
    KIT_TRY(session_home(session, &home, err));
    kit_status status = store_home_place(home, STORE_KEYS, &keys, err);
    if (status == KOLM_OK) status = store_home_place(home, STORE_OLD_KEYS, &old, err);
    if (status == KOLM_OK && lstat(old, &info) == 0 && S_ISDIR(info.st_mode)) {
        status = receipt_keyring_load(old, &from, err);
        for (size_t i = 0; status == KOLM_OK && i < receipt_keyring_count(from); i++)
            status = move_key(keys, receipt_keyring_at(from, i), (int64_t)time(NULL), err);
        if (status == KOLM_OK) status = kit_remove_tree(old, err);
        receipt_keyring_free(from);
    }
    free(keys);
    free(old);
    return status;
}

static bool put_row(cJSON *array, const host_backend *row) {
    static const char *const states[] = {
        [HOST_ROW_OK] = "taken", [HOST_ROW_REFUSED] = "refused", [HOST_ROW_SHADOWED] = "shadowed"};
    cJSON *o = cJSON_CreateObject();
    if (kit_json_put_string(o, "name", row->name) && kit_json_put_string(o, "plugin", row->plugin_path) &&
        kit_json_put_string(o, "state", states[row->state]) && cJSON_AddItemToArray(array, o))
        return true;
    cJSON_Delete(o);
    return false;
}

kit_status fleet_signed_by(kolm_session *session, const char *keyid, cJSON **out_backends, kolm_error_t *err) {
    fleet_registry *registry = NULL;
    fleet_policy *policy = NULL;
    cJSON *array = cJSON_CreateArray();
    kit_status status = fleet_policy_load(session, &policy, err);
    if (status == KOLM_OK) status = fleet_registry_open(session, &registry, err);
    bool good = array != NULL;
    for (size_t i = 0; status == KOLM_OK && good && i < registry->found->count; i++) {
        const host_backend *row = &registry->found->rows[i];
        char signer[KIT_SHA256_HEX];
        bool believed = false;
        if (fleet_policy_signer(policy, row, signer, &believed) && strcmp(signer, keyid) == 0)
            good = put_row(array, row);
    }
    if (status == KOLM_OK && !good) status = kit_no_memory(err);
    fleet_registry_free(registry);
    fleet_policy_free(policy);
    if (status == KOLM_OK)
        *out_backends = array;
    else
        cJSON_Delete(array);
    return status;
}
