/* SPDX-License-Identifier: Apache-2.0 */
/* The hash for tables with untrusted keys: SipHash-2-4 with a secret. */
#ifndef KOLM_KIT_HASH_H
#define KOLM_KIT_HASH_H

/*
 * J.-P. Aumasson, D. J. Bernstein: SipHash: a fast short-input PRF, INDOCRYPT 2012. Without the secret an attacker
 * cannot construct keys that collide and make every lookup linear. Hashes differ from run to run, so nothing that is
 * shown or stored may depend on them: keep insertion order, or sort.
 */

#include "kolm/kit/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kit_hash_secret {
    uint64_t words[2];
} kit_hash_secret;

/* Random bytes from the kernel; use one secret per table. */
kit_status kit_hash_secret_draw(kit_hash_secret *out_secret, kolm_error_t *err) KIT_MUST_USE;
uint64_t kit_hash(const kit_hash_secret *secret, const void *bytes, size_t length);

#ifdef __cplusplus
}
#endif
#endif
