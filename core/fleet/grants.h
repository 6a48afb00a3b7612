/* SPDX-License-Identifier: Apache-2.0 */
/* What the user granted to which backend: the user's secrets, variables and files. */
#ifndef KOLM_FLEET_GRANTS_H
#define KOLM_FLEET_GRANTS_H

/*
 * A backend that asks for something of the user's (host/asks.h) is called once the user granted it that: with
 * `kolm backend grant NAME`, or by a yes at first use on a terminal. What is installed with kolm, or beside it by a
 * package (the installed directory, a build's own plugins), was put there by who installed kolm, and needs none.
 * HOME/grants.json, 0600, the user's or root's own and no link:
 *
 *     {"format":1,"grants":{NAME:{"to":{"signer":KEYID} or {"plugin_sha256","manifest_sha256","libs_sha256"},
 *      "what":["secret ACME_TOKEN","variable ACME_REGION","read ~/.acme","write ~/.cache/acme/"],"at":"2026-01-31T12:00:00Z"}}}
 *
 * A plugin signed by a trusted key (policy.h) is known by that key: its next version keeps the grant, and loses it with
 * the key. Any other is known by its bytes, those of its manifest and those of its own libraries (libs_sha256, where it
 * has any), wherever it lies. One that asks for more than was granted has nothing. A file that is not as above grants
 * nothing to anyone, and every row says so.
 */

#include "fleet/policy.h"
#include "fleet/registry.h"
#include "host/asks.h"
#include "host/host.h"
#include "kolm/kit/digest.h"

typedef struct fleet_grants fleet_grants;

/* What is wrong with the file is no error: nobody is granted anything then. policy must live as long. */
kit_status fleet_grants_load(kolm_session *session, fleet_policy *policy, fleet_grants **out_grants,
                             kolm_error_t *err) KIT_MUST_USE;
void fleet_grants_free(fleet_grants *grants);
/* host_scan_options.grant, with user = the grants. */
kit_status fleet_grants_check(void *grants, const host_backend *row, kolm_error_t *why);
/* False for a row that asks for nothing, or is installed with kolm. */
bool fleet_grant_needed(const host_backend *row);
/* "the secret ACME_TOKEN", "to read ~/.acme"; returns out. */
const char *fleet_ask_text(const host_ask *ask, char *out, size_t capacity);
/* ["secret ACME_TOKEN", ...]; NULL when memory is out. */
cJSON *fleet_asks_json(const host_backend *row);

/* To whom a grant would be: by key, or by content. */
typedef struct fleet_grantee {
    char signer[KIT_SHA256_HEX]; /* "": not signed by a key that is believed */
    char plugin[KIT_SHA256_HEX], manifest[KIT_SHA256_HEX];
    char libs[KIT_SHA256_HEX]; /* "": it has none of its own */
} fleet_grantee;
kit_status fleet_grantee_of(kolm_session *session, const host_backend *row, fleet_grantee *out,
                            kolm_error_t *err) KIT_MUST_USE;
cJSON *fleet_grantee_json(const fleet_grantee *to); /* NULL when memory is out */

/* Gives the row all that it asks for, in the place of what its name was granted before. */
kit_status fleet_grant_give(kolm_session *session, const host_backend *row, const fleet_grantee *to,
                            kolm_error_t *err) KIT_MUST_USE;
/* *out_had: whether there was one. */
kit_status fleet_grant_take(kolm_session *session, const char *name, bool *out_had, kolm_error_t *err) KIT_MUST_USE;
/* The grants as the file has them, an object; FAILED_PRECONDITION or so when it cannot be believed. */
kit_status fleet_grants_read(kolm_session *session, cJSON **out_grants, kolm_error_t *err) KIT_MUST_USE;

/* For a backend that was named: OK when it may be called. Where somebody can be asked (SESSION_GRANT) he is; a yes is
 * kept, and the row is granted from then on. *out_reason otherwise. */
kit_status fleet_grant_require(kolm_session *session, fleet_registry *registry, const char *name,
                               session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;

#endif
