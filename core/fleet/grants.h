/* SPDX-License-Identifier: Apache-2.0 */
/* Grants: which of the user's secrets, variables and files each backend may use. */
#ifndef KOLM_FLEET_GRANTS_H
#define KOLM_FLEET_GRANTS_H

/*
 * A backend that requests something of the user's (host/asks.h) is not called until the user grants it: with
 * `kolm backend grant NAME`, or by answering yes at first use on a terminal. Backends installed with kolm or by a
 * package (the installed directory, a build's own plugins) were put there by whoever installed kolm, and need no grant.
 * HOME/grants.json must be mode 0600, owned by the user or root, and not a symbolic link:
 *
 *     {"format":1,"grants":{NAME:{"to":{"signer":KEYID} or {"plugin_sha256","manifest_sha256","libs_sha256"},
 *      "what":["secret ACME_TOKEN","variable ACME_REGION","read ~/.acme","write ~/.cache/acme/"],"at":"2026-01-31T12:00:00Z"}}}
 *
 * A plugin signed by a trusted key (policy.h) is identified by that key: newer versions keep the grant until the key is
 * no longer trusted. Any other is identified by the digests of the plugin, its manifest and its own libraries
 * (libs_sha256, if it has any), wherever they are. A backend that requests more than was granted gets nothing. An
 * invalid file grants nothing, and every row reports that.
 */

#include "fleet/policy.h"
#include "fleet/registry.h"
#include "host/asks.h"
#include "host/host.h"
#include "kolm/kit/digest.h"

typedef struct fleet_grants fleet_grants;

/* An invalid file is not an error: nothing is granted then. policy must outlive the grants. */
kit_status fleet_grants_load(kolm_session *session, fleet_policy *policy, fleet_grants **out_grants,
                             kolm_error_t *err) KIT_MUST_USE;
void fleet_grants_free(fleet_grants *grants);
/* host_scan_options.grant, with user = the grants. */
kit_status fleet_grants_check(void *grants, const host_backend *row, kolm_error_t *why);
/* False for a row that requests nothing, or was installed with kolm. */
bool fleet_grant_needed(const host_backend *row);
/* "the secret ACME_TOKEN", "to read ~/.acme"; returns out. */
const char *fleet_ask_text(const host_ask *ask, char *out, size_t capacity);
/* ["secret ACME_TOKEN", ...]; NULL if out of memory. */
cJSON *fleet_asks_json(const host_backend *row);

/* The recipient of a grant, identified by key or by content. */
typedef struct fleet_grantee {
    char signer[KIT_SHA256_HEX]; /* "": not signed by a trusted key */
    char plugin[KIT_SHA256_HEX], manifest[KIT_SHA256_HEX];
    char libs[KIT_SHA256_HEX]; /* "": it has no libraries of its own */
} fleet_grantee;
kit_status fleet_grantee_of(kolm_session *session, const host_backend *row, fleet_grantee *out,
                            kolm_error_t *err) KIT_MUST_USE;
cJSON *fleet_grantee_json(const fleet_grantee *to); /* NULL if out of memory */

/* Grants the row everything it requests, replacing any earlier grant to that name. */
kit_status fleet_grant_give(kolm_session *session, const host_backend *row, const fleet_grantee *to,
                            kolm_error_t *err) KIT_MUST_USE;
/* Revokes a grant. *out_had: whether there was one. */
kit_status fleet_grant_take(kolm_session *session, const char *name, bool *out_had, kolm_error_t *err) KIT_MUST_USE;
/* Reads the grants as stored, an object. Fails, with FAILED_PRECONDITION for example, if the file is not trusted. */
kit_status fleet_grants_read(kolm_session *session, cJSON **out_grants, kolm_error_t *err) KIT_MUST_USE;

/* For a backend named by the user: OK if it may be called. Asks the user if possible (SESSION_GRANT), and stores the
 * grant if the answer is yes. Otherwise fails, with *out_reason set. */
kit_status fleet_grant_require(kolm_session *session, fleet_registry *registry, const char *name,
                               session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;

#endif
