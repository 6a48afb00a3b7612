/* SPDX-License-Identifier: Apache-2.0 */
/* Whose plugins may be loaded: the policy files, signatures of plugins, and the keys of their publishers. */
#ifndef KOLM_FLEET_POLICY_H
#define KOLM_FLEET_POLICY_H

/*
 * policy.json, of the machine (SYSCONFDIR/kolm/policy.json, must belong to root and be writable by nobody else) and of
 * the user (HOME/policy.json):
 *
 *     {"plugins": {"signatures": "required" | "optional", "except": ["acme", ...]}}
 *
 * Signatures are required when either file says so; only the file that requires them can make an exception. A file that
 * is there and cannot be understood is an error of every verb that would load a plugin: a policy is never skipped.
 *
 * A signature lies beside its plugin, NAME.so.sig: one DSSE envelope of the type FLEET_PLUGIN_TYPE over the canonical
 * JSON
 * {"manifest_sha256","name","plugin_sha256"}. It counts when a publisher's key made it: one that has the role
 * "backends" in HOME/keys (`kolm backend trust`), one in SYSCONFDIR/kolm/backend-keys, or the signing key of this home.
 * A signature by such a key that does not agree with the files refuses the plugin even where none is required, and so
 * does the signature of a key that was revoked: in HOME/keys, which goes before what the machine says, or in the
 * machine's ring.
 *
 * HOME/backend-keys, where kolm kept publishers before keys had roles, is still read. The first verb that changes the
 * keyring moves what is in it to HOME/keys.
 */

#include "kolm/kit/digest.h"
#include "receipt/keys.h"
#include "session/session.h"

#define FLEET_PLUGIN_TYPE "application/vnd.kolm.backend+json"

struct host_backend;
typedef struct fleet_policy fleet_policy;

/* Reads both files; INVALID_ARGUMENT or PERMISSION_DENIED when one of them cannot be believed. */
kit_status fleet_policy_load(kolm_session *session, fleet_policy **out_policy, kolm_error_t *err) KIT_MUST_USE;
void fleet_policy_free(fleet_policy *policy);
/* True when a plugin of this name must be signed; *out_path (may be NULL): the file that says so, "" otherwise. */
bool fleet_policy_demands(const fleet_policy *policy, const char *name, const char **out_path);
/* host_scan_options.admit, with user = the policy. */
kit_status fleet_policy_admit(void *policy, const struct host_backend *row, kolm_error_t *why);
/* One line about the row's signature: "signed by KEYID (label)", "not signed", ... */
void fleet_policy_describe(fleet_policy *policy, const struct host_backend *row, char *out, size_t capacity);

/* Of the names and bytes of the libraries of its own; "" where it has none. */
kit_status fleet_plugin_libs_digest(const struct host_backend *row, char out[KIT_SHA256_HEX],
                                    kolm_error_t *err) KIT_MUST_USE;
/* The key whose signature is beside the plugin; false when there is none, or of a key that nobody here knows.
 * *out_believed: it vouches for these files now: neither revoked nor out of its dates. */
bool fleet_policy_signer(fleet_policy *policy, const struct host_backend *row, char out_keyid[KIT_SHA256_HEX],
                         bool *out_believed);

/* ---- The publishers: who may sign plugins here. */
typedef struct fleet_publisher {
    const receipt_trusted *key;     /* belongs to the policy */
    const char *source;             /* "own", "home", "machine" */
    const receipt_trusted *revoked; /* where it is, the entry that says so; NULL */
} fleet_publisher;
/* Who is vouched for in any ring, a key that is in two of them twice, and each revoked key that nobody vouches for
 * once. free(*out). */
kit_status fleet_policy_publishers(fleet_policy *policy, fleet_publisher **out, size_t *out_count,
                                   kolm_error_t *err) KIT_MUST_USE;
/* The whole id that a beginning of at least eight digits means in any of the rings; given itself when it means none. */
kit_status fleet_policy_whole_keyid(fleet_policy *policy, const char *given, char out_keyid[KIT_SHA256_HEX],
                                    kolm_error_t *err) KIT_MUST_USE;

/* Signs plugin and manifest (PATH.so beside PATH.json) with the signing key of this home; *out_path: the signature. */
kit_status fleet_plugin_sign(kolm_session *session, const char *plugin, char **out_path, char out_keyid[65],
                             kolm_error_t *err) KIT_MUST_USE;

#endif
