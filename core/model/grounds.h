/* SPDX-License-Identifier: Apache-2.0 */
/* The files that a verdict on a model and its backend depends on, to detect an outdated verdict. */
#ifndef KOLM_MODEL_GROUNDS_H
#define KOLM_MODEL_GROUNDS_H

#include "kolm/kit/mark.h"
#include "session/session.h"

/* Appends a line with name and mark (kit_file_mark) for each file of the keyring, for the publishers' keys, and for
 * each policy and setting, of the user and of the machine. Equal text: nothing was changed, added or removed. A few
 * system calls per file; nothing is read. */
kit_status model_grounds(kolm_session *session, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;

#endif
