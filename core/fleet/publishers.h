/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs that change whose plugins are believed share. */
#ifndef KOLM_FLEET_PUBLISHERS_H
#define KOLM_FLEET_PUBLISHERS_H

#include "fleet/policy.h"

/* Moves what is in HOME/backend-keys, where kolm kept publishers before keys had roles, to HOME/keys; nothing when
 * there is none. */
kit_status fleet_publishers_move(kolm_session *session, kolm_error_t *err) KIT_MUST_USE;

/* The backends that are found now and that the key signed: an array of {"name", "plugin", "state"}, state as `backend
 * list` has it. */
kit_status fleet_signed_by(kolm_session *session, const char *keyid, cJSON **out_backends,
                           kolm_error_t *err) KIT_MUST_USE;

#endif
