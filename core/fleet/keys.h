/* SPDX-License-Identifier: Apache-2.0 */
/* The keyring of this home as people change it: which key signs here, whose signatures count for models, whose for
 * plugins. */
#ifndef KOLM_FLEET_KEYS_H
#define KOLM_FLEET_KEYS_H

#include "fleet/policy.h"
#include "kolm/kit/json.h"
#include "receipt/keys.h"

/*
 * HOME/keys (receipt/keys.h) has every key with its roles. Functions that change it make the home, take the time of
 * now, and first move in what an older kolm kept in HOME/backend-keys (publishers.h), except where they say otherwise.
 * Errors are those of receipt/keys.h: FAILED_PRECONDITION for what the user can put right, NOT_FOUND for a key that is
 * not in the ring.
 */

kit_status fleet_keyring_open(kolm_session *session, receipt_keyring **out_ring, kolm_error_t *err) KIT_MUST_USE;
/* The key that signs here, made if there is none. receipt_key_free. */
kit_status fleet_key_own(kolm_session *session, receipt_key **out_key, kolm_error_t *err) KIT_MUST_USE;

typedef struct fleet_key_trust {
    const char *file;      /* a public key in PEM */
    const char *label;     /* NULL: none */
    const char *from, *to; /* "2026-01-31" or "2026-01-31T12:00:00Z"; NULL: no bound */
    bool backends;         /* for plugins; else for models, and then the old ring is left alone */
} fleet_key_trust;
kit_status fleet_key_trust_file(kolm_session *session, const fleet_key_trust *trust, receipt_public *out_key,
                                kolm_error_t *err) KIT_MUST_USE;

/* Permanently revokes, for models and plugins, the key whose id begins with `given`. Other errors in the home are
 * warnings, and do not keep it trusted. */
kit_status fleet_key_revoke(kolm_session *session, const char *given, const char *reason,
                            char out_keyid[KIT_SHA256_HEX], kolm_error_t *err) KIT_MUST_USE;
/* A new key signs from now on; the old one signs for it. The old ring is left alone. */
kit_status fleet_key_rotate(kolm_session *session, receipt_public *out_old, receipt_public *out_new,
                            kolm_error_t *err) KIT_MUST_USE;

/* Plugins of the key count as not signed from now on. *out_backends: those that it signed, as fleet_signed_by has them
 * (the caller frees it, after a failure too); *out_revoked: they stay refused, since the key is revoked. NOT_FOUND says
 * whose the key is where it is not this home's to untrust. */
kit_status fleet_key_untrust(kolm_session *session, const char *given, char out_keyid[KIT_SHA256_HEX],
                             cJSON **out_backends, bool *out_revoked, kolm_error_t *err) KIT_MUST_USE;

#endif
