/* SPDX-License-Identifier: Apache-2.0 */
/* Changes to the keyring of this home: which key signs, which keys are trusted for models, and which for plugins. */
#ifndef KOLM_FLEET_KEYS_H
#define KOLM_FLEET_KEYS_H

#include "fleet/policy.h"
#include "kolm/kit/json.h"
#include "receipt/keys.h"

/*
 * HOME/keys (receipt/keys.h) has every key with its roles. Unless noted, functions that change it create the home, use
 * the current time, and first import the keys that an older kolm kept in HOME/backend-keys (publishers.h). Errors are
 * those of receipt/keys.h: FAILED_PRECONDITION for what the user can fix, NOT_FOUND for a key that is not in the ring.
 */

kit_status fleet_keyring_open(kolm_session *session, receipt_keyring **out_ring, kolm_error_t *err) KIT_MUST_USE;
/* The signing key of this home, generated if there is none. Free with receipt_key_free. */
kit_status fleet_key_own(kolm_session *session, receipt_key **out_key, kolm_error_t *err) KIT_MUST_USE;

typedef struct fleet_key_trust {
    const char *file;      /* a public key in PEM */
    const char *label;     /* NULL: none */
    const char *from, *to; /* "2026-01-31" or "2026-01-31T12:00:00Z"; NULL: no bound */
    bool backends;         /* trust it for plugins; else for models, without importing backend-keys */
} fleet_key_trust;
kit_status fleet_key_trust_file(kolm_session *session, const fleet_key_trust *trust, receipt_public *out_key,
                                kolm_error_t *err) KIT_MUST_USE;

/* Permanently revokes, for models and plugins, the key whose id begins with `given`. Unrelated errors in the home are
 * only warnings and do not prevent that. */
kit_status fleet_key_revoke(kolm_session *session, const char *given, const char *reason,
                            char out_keyid[KIT_SHA256_HEX], kolm_error_t *err) KIT_MUST_USE;
/* Replaces the signing key by a new one, which the old one signs. Does not import backend-keys. */
kit_status fleet_key_rotate(kolm_session *session, receipt_public *out_old, receipt_public *out_new,
                            kolm_error_t *err) KIT_MUST_USE;

/* Stops trusting the key for plugins: those it signed count as unsigned. *out_backends: those plugins, as from
 * fleet_signed_by (the caller frees it, also on failure). *out_revoked: they stay refused, because the key is revoked.
 * NOT_FOUND reports where a key comes from that this home cannot untrust. */
kit_status fleet_key_untrust(kolm_session *session, const char *given, char out_keyid[KIT_SHA256_HEX],
                             cJSON **out_backends, bool *out_revoked, kolm_error_t *err) KIT_MUST_USE;

#endif
