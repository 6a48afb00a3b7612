/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs that change whose plugins are believed share. */
#ifndef KOLM_FLEET_PUBLISHERS_H
#define KOLM_FLEET_PUBLISHERS_H

#include "fleet/policy.h"

/* Moves what is in HOME/backend-keys, where kolm kept publishers before keys had roles, to HOME/keys; nothing when there is none. */
kit_status cli_publishers_move(cli_context *context, kolm_error_t *err) KIT_MUST_USE;

/* The backends that are found now and that the key signed: an array of {"name", "plugin", "state"}, state as `backend list` has it. */
kit_status cli_signed_by(cli_context *context, const char *keyid, cJSON **out_backends, kolm_error_t *err) KIT_MUST_USE;
/* One line for each that is not taken (taken false), or for all: "what  acme (/path/acme.so)". */
void cli_signed_print(cli_context *context, const cJSON *backends, const char *what, bool taken_too);

#endif
