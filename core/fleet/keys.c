/* SPDX-License-Identifier: Apache-2.0 */
/* Changes to the keyring: `kolm keys`, `kolm backend trust` and `untrust`, without their output. */
#include "fleet/keys.h"

#include "fleet/publishers.h"
#include "session/machine.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t now(void) {
    return (int64_t)time(NULL);
}

static kit_status directory(kolm_session *session, bool create, char **out_dir, kolm_error_t *err) {
    store_home *home = NULL;
    *out_dir = NULL;
    KIT_TRY(session_home(session, &home, err));
    if (create) KIT_TRY(store_home_create(home, err));
    return store_home_place(home, STORE_KEYS, out_dir, err);
}

/* The same, after importing the keys that an older kolm stored elsewhere. */
static kit_status open_ring(kolm_session *session, char **out_dir, kolm_error_t *err) {
    store_home *home = NULL;
    KIT_TRY(session_home(session, &home, err));
    KIT_TRY(store_home_create(home, err));
    KIT_TRY(fleet_publishers_move(session, err));
    return store_home_place(home, STORE_KEYS, out_dir, err);
}

kit_status fleet_keyring_open(kolm_session *session, receipt_keyring **out_ring, kolm_error_t *err) {
    char *dir = NULL;
    KIT_TRY(directory(session, false, &dir, err));
    kit_status status = receipt_keyring_load(dir, out_ring, err);
    free(dir);
    return status;
}

kit_status fleet_key_own(kolm_session *session, receipt_key **out_key, kolm_error_t *err) {
    char *dir = NULL;
    bool created = false;
    KIT_TRY(directory(session, true, &dir, err));
    kit_status status = receipt_key_open(dir, out_key, &created, err);
    free(dir);
    return status;
}

static kit_status parse_time(const char *text, const char *option, int64_t fallback, int64_t *out, kolm_error_t *err) {
    *out = fallback;
    if (text == NULL || receipt_time_parse(text, out)) return KOLM_OK;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "write it like 2026-01-31 or 2026-01-31T12:00:00Z",
                    "--%s '%s' is not a date", option, text);
}

kit_status fleet_key_trust_file(kolm_session *session, const fleet_key_trust *t, receipt_public *out_key,
                                kolm_error_t *err) {
    const char *label = t->label != NULL ? t->label : "";
    int64_t from = 0, to = 0;
    char *dir = NULL;
    KIT_TRY(parse_time(t->from, "from", RECEIPT_NO_START, &from, err));
    KIT_TRY(parse_time(t->to, "to", RECEIPT_NO_END, &to, err));
    KIT_TRY(receipt_public_read(t->file, out_key, err));
    KIT_TRY(t->backends ? open_ring(session, &dir, err) : directory(session, true, &dir, err));
    kit_status status = t->backends ? receipt_keys_trust_backends(dir, out_key, label, from, to, now(), err)
                                    : receipt_keys_trust(dir, out_key, label, from, to, now(), err);
    free(dir);
    return status;
}

kit_status fleet_key_revoke(kolm_session *session, const char *given, const char *reason,
                            char out_keyid[KIT_SHA256_HEX], kolm_error_t *err) {
    kolm_error_t other = KIT_ERROR_INIT;
    char *dir = NULL;
    fleet_policy *policy = NULL;
    KIT_TRY(directory(session, true, &dir, err));
    if (fleet_publishers_move(session, &other) != KOLM_OK) session_warn(session, "%s", other.text);
    kit_status status = KOLM_OK;
    kit_copy(out_keyid, KIT_SHA256_HEX, "");
    if (fleet_policy_load(session, &policy, &other) == KOLM_OK)
        status = fleet_policy_whole_keyid(policy, given, out_keyid, err);
    if (status == KOLM_OK)
        status = receipt_keys_revoke(dir, *out_keyid ? out_keyid : given, reason, now(), out_keyid, err);
    fleet_policy_free(policy);
    free(dir);
    return status;
}

kit_status fleet_key_rotate(kolm_session *session, receipt_public *out_old, receipt_public *out_new,
                            kolm_error_t *err) {
    char *dir = NULL, *chain = NULL;
    store_home *home = NULL;
    kit_buf line = {0};
    KIT_TRY(directory(session, true, &dir, err));
    kit_status status = session_home(session, &home, err);
    if (status == KOLM_OK) status = store_home_place(home, STORE_RECEIPTS, &chain, err);
    if (status == KOLM_OK) status = receipt_key_rotate(dir, chain, now(), out_old, out_new, &line, err);
    free(dir);
    free(chain);
    kit_buf_free(&line);
    return status;
}

/* ---- untrust */

/* The error for a key that is not in the user's ring: names the ring that has it. */
static kit_status not_ours(fleet_policy *policy, const char *keyid, kolm_error_t *err) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    fleet_publisher *all = NULL;
    size_t count = 0;
    if (fleet_policy_publishers(policy, &all, &count, &ignored) != KOLM_OK) return KOLM_E_NOT_FOUND;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(all[i].key->key.keyid, keyid) != 0) continue;
        if (strcmp(all[i].source, "machine") == 0)
            (void)kit_fail(
                err, KOLM_E_NOT_FOUND, "remove it there as root, or never trust it in this home: `kolm keys revoke`",
                "the key %.16s is the machine's (%s/backend-keys), not this home's", keyid, session_machine_dir);
        else if (all[i].key->own)
            (void)kit_fail(err, KOLM_E_NOT_FOUND, "`kolm keys rotate` replaces it, `kolm keys revoke` ends it",
                           "the key %.16s is your own", keyid);
    }
    free(all);
    return KOLM_E_NOT_FOUND;
}

/* Plugins signed by a revoked key are refused, whether the key is trusted or not. */
static bool is_revoked(fleet_policy *policy, const char *keyid) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    fleet_publisher *all = NULL;
    size_t count = 0;
    bool revoked = false;
    if (fleet_policy_publishers(policy, &all, &count, &ignored) != KOLM_OK) return false;
    for (size_t i = 0; i < count; i++)
        revoked = revoked || (all[i].revoked && strcmp(all[i].key->key.keyid, keyid) == 0);
    free(all);
    return revoked;
}

kit_status fleet_key_untrust(kolm_session *session, const char *given, char out_keyid[KIT_SHA256_HEX],
                             cJSON **out_backends, bool *out_revoked, kolm_error_t *err) {
    char *dir = NULL;
    fleet_policy *policy = NULL;
    kit_status status = open_ring(session, &dir, err);
    if (status == KOLM_OK) status = fleet_policy_load(session, &policy, err);
    if (status == KOLM_OK) status = fleet_policy_whole_keyid(policy, given, out_keyid, err);
    if (status == KOLM_OK)
        status = fleet_signed_by(session, out_keyid, out_backends, err); /* before the key is removed */
    *out_revoked = status == KOLM_OK && is_revoked(policy, out_keyid);
    if (status == KOLM_OK) status = receipt_keys_untrust_backends(dir, out_keyid, now(), out_keyid, err);
    if (status == KOLM_E_NOT_FOUND && policy) status = not_ours(policy, out_keyid, err);
    fleet_policy_free(policy);
    free(dir);
    return status;
}
