/* SPDX-License-Identifier: Apache-2.0 */
/* Whose plugins may be loaded: the policy files, signatures of plugins, and the keys of their publishers. */
#ifndef KOLM_FLEET_POLICY_H
#define KOLM_FLEET_POLICY_H

/*
 * There are two policy files: the machine's, SYSCONFDIR/kolm/policy.json, which must be owned and writable only by
 * root, and the user's, HOME/policy.json:
 *
 *     {"plugins": {"signatures": "required" | "optional", "except": ["acme", ...]}}
 *
 * Signatures are required if either file requires them; a file's exceptions apply only to its own requirement. If a
 * file exists but is invalid, every verb that would load a plugin fails: a policy is never skipped.
 *
 * A signature is beside its plugin, NAME.so.sig: one DSSE envelope of the type FLEET_PLUGIN_TYPE over the canonical
 * JSON
 * {"manifest_sha256","name","plugin_sha256"}. It counts if made by a publisher's key: one with the role "backends" in
 * HOME/keys (`kolm backend trust`), one in SYSCONFDIR/kolm/backend-keys, or the signing key of this home. A plugin is
 * refused, even if no signature is required, if such a signature does not match the files, or if its key was revoked in
 * HOME/keys, which takes precedence, or in the machine's ring.
 *
 * HOME/backend-keys, where kolm stored publishers before keys had roles, is still read. The first verb that changes the
 * keyring moves its contents to HOME/keys.
 */

#include "kolm/kit/digest.h"
#include "receipt/keys.h"
#include "session/session.h"

#define FLEET_PLUGIN_TYPE "application/vnd.kolm.backend+json"

struct host_backend;
typedef struct fleet_policy fleet_policy;

/* Reads both files. INVALID_ARGUMENT or PERMISSION_DENIED if one of them is invalid or not trusted. */
kit_status fleet_policy_load(kolm_session *session, fleet_policy **out_policy, kolm_error_t *err) KIT_MUST_USE;
void fleet_policy_free(fleet_policy *policy);
/* True if a plugin of this name must be signed; *out_path (may be NULL): the file that requires it, else "". */
bool fleet_policy_demands(const fleet_policy *policy, const char *name, const char **out_path);
/* host_scan_options.admit, with user = the policy. */
kit_status fleet_policy_admit(void *policy, const struct host_backend *row, kolm_error_t *why);
/* One line about the row's signature: "signed by KEYID (label)", "not signed", ... */
void fleet_policy_describe(fleet_policy *policy, const struct host_backend *row, char *out, size_t capacity);

/* The digest of the names and contents of the plugin's own libraries; "" if it has none. */
kit_status fleet_plugin_libs_digest(const struct host_backend *row, char out[KIT_SHA256_HEX],
                                    kolm_error_t *err) KIT_MUST_USE;
/* Finds the key whose signature is beside the plugin; false if there is no signature, or its key is unknown.
 * *out_believed: the signature is valid for these files, and the key is neither revoked nor outside its dates. */
bool fleet_policy_signer(fleet_policy *policy, const struct host_backend *row, char out_keyid[KIT_SHA256_HEX],
                         bool *out_believed);

/* ---- The publishers: who may sign plugins here. */
typedef struct fleet_publisher {
    const receipt_trusted *key;     /* belongs to the policy */
    const char *source;             /* "own", "home", "machine" */
    const receipt_trusted *revoked; /* the entry that revokes it; NULL: not revoked */
} fleet_publisher;
/* Lists all keys trusted in any ring, a key in two rings twice, and each revoked key that is not trusted in any ring
 * once. The caller frees *out with free. */
kit_status fleet_policy_publishers(fleet_policy *policy, fleet_publisher **out, size_t *out_count,
                                   kolm_error_t *err) KIT_MUST_USE;
/* Expands a prefix of at least eight digits to the full key id of a key in any ring; copies `given` if none matches. */
kit_status fleet_policy_whole_keyid(fleet_policy *policy, const char *given, char out_keyid[KIT_SHA256_HEX],
                                    kolm_error_t *err) KIT_MUST_USE;

/* Signs plugin and manifest (PATH.so beside PATH.json) with the signing key of this home; *out_path: the signature
 * file. */
kit_status fleet_plugin_sign(kolm_session *session, const char *plugin, char **out_path, char out_keyid[65],
                             kolm_error_t *err) KIT_MUST_USE;

#endif
