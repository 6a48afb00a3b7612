/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's config.json below the user's, and which of the two said what. */
#ifndef KOLM_SESSION_SITE_H
#define KOLM_SESSION_SITE_H

#include "host/manifest.h"
#include "session/session.h"

/*
 * SYSCONFDIR/kolm/config.json is what an administrator sets for everybody: the same keys as in a user's. It must belong to
 * root and be changeable by nobody else, like the machine's policy. What a user's file says comes before it, key by key:
 * "backend"; backends.NAME.KEY; runtimes.NAME, before which a runtime that the user made comes too. {"backend": null} in a
 * user's file leaves the choice to the picker.
 */

/* What counts, with the names of the files, for the host room. Belongs to the session. */
kit_status session_site_config(kolm_session *session, host_config *out_config, kolm_error_t *err) KIT_MUST_USE;
/* The machine's file when section.name.key (key NULL: section.name; name NULL: section) comes from there; NULL: the
 * user's, or nobody's. */
const char *session_site_said(const kolm_session *session, const char *section, const char *name, const char *key);

#endif
