/* SPDX-License-Identifier: Apache-2.0 */
/* A backend that a person named for something: found and fit for it, or what is wrong with that. */
#ifndef KOLM_FLEET_NAMED_H
#define KOLM_FLEET_NAMED_H

#include "fleet/registry.h"

/* *out_reason: what a failure means (session/reason.h). */

/* The backend of that name. INVALID_ARGUMENT names the nearest one; one that is refused fails with the reason, and is
 * in *out_backend all the same. */
kit_status fleet_named(fleet_registry *registry, const char *name, fleet_backend **out_backend,
                       session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;
/* The same for `kolm compute test`: granted, allowed by the airgap, detected, and with a test slot as far as is known
 * (UNIMPLEMENTED). */
kit_status fleet_named_for_test(kolm_session *session, fleet_registry *registry, const char *name,
                                session_airgap airgap, fleet_backend **out_backend, session_reason *out_reason,
                                kolm_error_t *err) KIT_MUST_USE;

/* What `kolm compute use` did. */
typedef struct fleet_default {
    fleet_registry *registry; /* owned */
    fleet_backend *backend;   /* of it, detected; NULL: none was named */
    char *config;             /* owned; the file that says it now */
} fleet_default;
/* Makes the named backend the default in the user's config.json; NULL takes the default back. What detection cannot say
 * is only a warning: a default may be unavailable today. fleet_default_free in every case. */
kit_status fleet_default_set(kolm_session *session, const char *name, fleet_default *out, session_reason *out_reason,
                             kolm_error_t *err) KIT_MUST_USE;
void fleet_default_free(fleet_default *set);

#endif
