/* SPDX-License-Identifier: Apache-2.0 */
/* The hash for tables with keys from untrusted input: SipHash-2-4 with a secret. */
#ifndef KOLM_KIT_HASH_H
#define KOLM_KIT_HASH_H

/*
 * J.-P. Aumasson, D. J. Bernstein: SipHash: a fast short-input PRF, INDOCRYPT 2012. Who does not know the secret cannot
 * find keys that fall on one place of a table, and make every look-up a walk over all of them. Places differ from run to
 * run, so nothing that is shown or kept may depend on them: keep the order in which keys came, or sort.
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

/* Random bytes from the kernel: one secret for each table. */
kit_status kit_hash_secret_draw(kit_hash_secret *out_secret, kolm_error_t *err) KIT_MUST_USE;
uint64_t kit_hash(const kit_hash_secret *secret, const void *bytes, size_t length);

#ifdef __cplusplus
}
#endif
#endif
