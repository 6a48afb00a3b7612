/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the session room: the parts of the configuration. */
/* Sources: config.c, runtimes.c and site.c. */
#ifndef KOLM_SESSION_INTERNAL_H
#define KOLM_SESSION_INTERNAL_H

#include "session/session.h"

/* Adds runtimes.NAME = HOME/runtimes/NAME/bin/python to config for each complete runtime that config does not name, so
 * that backends get it from one place (host/call.h). Costs one readdir; runs no program. */
kit_status session_runtimes_add(const store_home *home, cJSON *config, kolm_error_t *err) KIT_MUST_USE;

/* Reads the machine's file, if there is one, and adds what the session's configuration lacks. */
kit_status session_site_merge(kolm_session *session, kolm_error_t *err) KIT_MUST_USE;

/* Frees the configuration; the next access reads it again. */
void session_forget_config(kolm_session *session);

#endif
