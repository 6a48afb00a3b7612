/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's config.json, overridden by the user's, and the origin of each value. */
#ifndef KOLM_SESSION_SITE_H
#define KOLM_SESSION_SITE_H

#include "host/manifest.h"
#include "session/session.h"

/*
 * SYSCONFDIR/kolm/config.json holds the administrator's settings for all users: the same keys as in a user's. It must
 * be owned and writable by root only, like the machine's policy. The user's file overrides it, key by key: "backend";
 * backends.NAME.KEY; runtimes.NAME, which a runtime made by the user overrides, too. {"backend": null} in the user's
 * file leaves the choice to the picker.
 */

/* The effective configuration, with the names of the files, for the host room. Owned by the session. */
kit_status session_site_config(kolm_session *session, host_config *out_config, kolm_error_t *err) KIT_MUST_USE;
/* Returns the machine's file if section.name.key (key NULL: section.name; name NULL: section) comes from there; NULL:
 * from the user's, or from neither. */
const char *session_site_said(const kolm_session *session, const char *section, const char *name, const char *key);

#endif
