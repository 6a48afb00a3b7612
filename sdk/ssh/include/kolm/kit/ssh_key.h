/* SPDX-License-Identifier: Apache-2.0 */
/* A key for one rental: generated here, used once, never the user's own. */
#ifndef KOLM_KIT_SSH_KEY_H
#define KOLM_KIT_SSH_KEY_H

#include "kolm/kit/status.h"
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KIT_SSH_PUBLIC_BYTES 256u

/* In libkolm-kit-ssh. Generates an Ed25519 key from the system's random numbers and writes the private half to path,
 * mode 0600, without a passphrase, in OpenSSH's format (PROTOCOL.key of its sources), for use in
 * kit_ssh_options.identity_files. out_public is the line for authorized_keys, "ssh-ed25519 AAAA... COMMENT". comment:
 * printable ASCII without spaces, at most 100 bytes. The private half is wiped from memory. The caller must remove the
 * file unless it is below scratch_dir. */
kit_status kit_ssh_key_make(const char *path, const char *comment, char out_public[KIT_SSH_PUBLIC_BYTES],
                            kolm_error_t *err) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
