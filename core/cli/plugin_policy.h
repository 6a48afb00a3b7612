/* SPDX-License-Identifier: Apache-2.0 */
/* Whose plugins may be loaded: the policy files, signatures of plugins, and the keys of their publishers. */
#ifndef KOLM_CLI_PLUGIN_POLICY_H
#define KOLM_CLI_PLUGIN_POLICY_H

/*
 * policy.json, of the machine (SYSCONFDIR/kolm/policy.json, must belong to root and be writable by nobody else) and of
 * the user (HOME/policy.json):
 *
 *     {"plugins": {"signatures": "required" | "optional", "except": ["acme", ...]}}
 *
 * Signatures are required when either file says so; only the file that requires them can make an exception. A file that
 * is there and cannot be understood is an error of every verb that would load a plugin: a policy is never skipped.
 *
 * A signature lies beside its plugin, NAME.so.sig: one DSSE envelope of the type CLI_PLUGIN_TYPE over the canonical
 * JSON
 * {"manifest_sha256","name","plugin_sha256"}. It counts when a publisher's key made it: one that `kolm backend trust`
 * put into HOME/backend-keys, one in SYSCONFDIR/kolm/backend-keys, or the signing key of this home. A signature by such
 * a key that does not agree with the files refuses the plugin even where none is required.
 */

#include "cli/context.h"

#define CLI_PLUGIN_TYPE "application/vnd.kolm.backend+json"

struct host_backend;
struct receipt_key;
typedef struct cli_policy cli_policy;

/* Reads both files; INVALID_ARGUMENT or PERMISSION_DENIED when one of them cannot be believed. */
kit_status cli_policy_load(cli_context *context, cli_policy **out_policy, kolm_error_t *err) KIT_MUST_USE;
void cli_policy_free(cli_policy *policy);
/* True when a plugin of this name must be signed; *out_path (may be NULL): the file that says so, "" otherwise. */
bool cli_policy_demands(const cli_policy *policy, const char *name, const char **out_path);
/* host_scan_options.admit, with user = the policy. */
kit_status cli_policy_admit(void *policy, const struct host_backend *row, kolm_error_t *why);
/* One line about the row's signature: "signed by KEYID (label)", "not signed", ... */
void cli_policy_describe(cli_policy *policy, const struct host_backend *row, char *out, size_t capacity);

/* Signs plugin and manifest (PATH.so beside PATH.json) with the signing key of this home; *out_path: the signature. */
kit_status cli_plugin_sign(cli_context *context, const char *plugin, char **out_path, char out_keyid[65],
                           kolm_error_t *err) KIT_MUST_USE;

#endif
