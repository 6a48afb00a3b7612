/* SPDX-License-Identifier: Apache-2.0 */
/* The socket of a model's server: its path and its lock. */
#ifndef KOLM_MODEL_SERVE_PLACE_H
#define KOLM_MODEL_SERVE_PLACE_H

#include "model/serve.h"

#include <sys/un.h>

/* The path of the socket without its suffix. Checks the directory, which is created if make is true. */
kit_status serve_place_find(kolm_session *session, const char *manifest_sha256, bool make, kit_buf *out,
                            kolm_error_t *err) KIT_MUST_USE;
void serve_place_address(const char *place, struct sockaddr_un *out);
/* Listens exclusively: the server holds the lock as long as it lives, so an old socket can be removed safely.
 * ALREADY_EXISTS if another kolm has it. The caller closes both descriptors, also after a failure. */
kit_status serve_place_listen(const char *place, int *out_lock, int *out_listener, kolm_error_t *err) KIT_MUST_USE;
/* Removes the socket and the lock file; the caller holds the lock. */
void serve_place_forget(const char *place);

#endif
