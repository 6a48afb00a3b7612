/* SPDX-License-Identifier: Apache-2.0 */
/* Looks up a backend that the user named, and checks that it is fit for the purpose. */
#ifndef KOLM_FLEET_NAMED_H
#define KOLM_FLEET_NAMED_H

#include "fleet/registry.h"

/* *out_reason: meaning of a failure (session/reason.h). */

/* Returns the backend of that name. INVALID_ARGUMENT names the nearest one. Fails with the reason for a refused one,
 * which is still stored in *out_backend. */
kit_status fleet_named(fleet_registry *registry, const char *name, fleet_backend **out_backend,
                       session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;
/* The same for `kolm compute test`: it must be granted, allowed by the airgap, detected, and not known to lack a test
 * slot (UNIMPLEMENTED). */
kit_status fleet_named_for_test(kolm_session *session, fleet_registry *registry, const char *name,
                                session_airgap airgap, fleet_backend **out_backend, session_reason *out_reason,
                                kolm_error_t *err) KIT_MUST_USE;

/* What `kolm compute use` did. */
typedef struct fleet_default {
    fleet_registry *registry; /* owned */
    fleet_backend *backend;   /* in registry, detected; NULL: none was named */
    char *config;             /* owned; the file that was changed */
} fleet_default;
/* Makes the named backend the default in the user's config.json; NULL removes the default. A failed detection is only a
 * warning: a default may be unavailable today. Call fleet_default_free in every case. */
kit_status fleet_default_set(kolm_session *session, const char *name, fleet_default *out, session_reason *out_reason,
                             kolm_error_t *err) KIT_MUST_USE;
void fleet_default_free(fleet_default *set);

#endif
