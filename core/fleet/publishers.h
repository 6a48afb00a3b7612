/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the verbs that change which publishers of plugins are trusted. */
#ifndef KOLM_FLEET_PUBLISHERS_H
#define KOLM_FLEET_PUBLISHERS_H

#include "fleet/policy.h"

/* Moves the contents of HOME/backend-keys, where kolm stored publishers before keys had roles, to HOME/keys. No-op if
 * there is none. */
kit_status fleet_publishers_move(kolm_session *session, kolm_error_t *err) KIT_MUST_USE;

/* Lists the backends found now that the key signed: an array of {"name", "plugin", "state"}, state as in `backend
 * list`. */
kit_status fleet_signed_by(kolm_session *session, const char *keyid, cJSON **out_backends,
                           kolm_error_t *err) KIT_MUST_USE;

#endif
