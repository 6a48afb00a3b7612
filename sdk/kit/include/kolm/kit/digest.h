/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256, in libkolm-kit-digest. */
#ifndef KOLM_KIT_DIGEST_H
#define KOLM_KIT_DIGEST_H

#include "kolm/kit/status.h"
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KIT_SHA256_BYTES 32
#define KIT_SHA256_HEX 65 /* 64 digits and the NUL */

/* SHA-256 by nettle, which uses the processor's SHA instructions. Only _new and reading a file can fail. */
typedef struct kit_sha256 kit_sha256;
kit_status kit_sha256_new(kit_sha256 **out, kolm_error_t *err) KIT_MUST_USE;
kit_status kit_sha256_update(kit_sha256 *state, const void *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;
kit_status kit_sha256_final(kit_sha256 *state, uint8_t out[KIT_SHA256_BYTES],
                            kolm_error_t *err) KIT_MUST_USE; /* and resets the state */
void kit_sha256_free(kit_sha256 *state);
kit_status kit_sha256_bytes(const void *bytes, size_t length, char out_hex[KIT_SHA256_HEX],
                            kolm_error_t *err) KIT_MUST_USE;
/* The digest of a regular file; INVALID_ARGUMENT for anything else. */
kit_status kit_sha256_file(const char *path, char out_hex[KIT_SHA256_HEX], uint64_t *out_size,
                           kolm_error_t *err) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
