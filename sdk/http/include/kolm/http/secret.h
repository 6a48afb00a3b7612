/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets as a type: it cannot be printed, is sent only in the header that carries it, and is wiped when freed. */
#ifndef KOLM_HTTP_SECRET_H
#define KOLM_HTTP_SECRET_H

#include "kolm/kit/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * There is no function that returns the text of a secret: kit_http_header carries the object itself, and only the
 * code that writes the header of a request reads it. A server may echo a token, so every text that this library
 * produces (errors, log lines, recordings) passes through kit_secret_redact.
 *
 * A kit_secret is constant once made; any number of threads may use it. libcurl does not wipe the copies that it makes
 * while it sends a request; the copies of this library are wiped.
 */
typedef struct kit_secret kit_secret;

#define KIT_SECRET_BYTES_MAX 16384u /* longer than any token, and shorter than what servers accept in a header */

/* Copies length bytes at text: 1 to KIT_SECRET_BYTES_MAX printable ASCII characters, no spaces; else INVALID_ARGUMENT.
 * The error names `what` ("KOLM_ACME_TOKEN") and contains no part of the secret. */
kit_status kit_secret_new(const char *what, const char *text, size_t length, kit_secret **out,
                          kolm_error_t *err) KIT_MUST_USE;
/* Reads the environment name `variable`, which the manifest must list under auth or secrets, from host->secret.
 * UNAUTHENTICATED if it is not set; PERMISSION_DENIED if the manifest does not list it, or if the value is withheld
 * (detect without --refresh). */
kit_status kit_secret_read(const kolm_host_v1_t *host, const char *variable, kit_secret **out,
                           kolm_error_t *err) KIT_MUST_USE;
/* Splits "id:secret" at the first separator. INVALID_ARGUMENT if a half is missing. */
kit_status kit_secret_split(const kit_secret *secret, const char *what, char separator, kit_secret **out_left,
                            kit_secret **out_right, kolm_error_t *err) KIT_MUST_USE;
/* Wipes and frees the secret. No-op if NULL. */
void kit_secret_free(kit_secret *secret);

/* Appends text, with each run of at least KIT_SECRET_SHOWN_MAX + 1 bytes that is part of one of the secrets (or, if it
 * is shorter, the whole secret) replaced by "[secret]". This also finds a truncated token, or one within a URL. */
#define KIT_SECRET_SHOWN_MAX 7u
void kit_secret_redact(const kit_secret *const *secrets, size_t count, const char *text, size_t length, kit_buf *out);

/* Which secret it is, for a record of what was made with it: "token" and the first eight hexadecimal digits of a
 * SHA-256 over it. Nothing else can be learnt from that. On failure, for want of memory, it is "": a record without it
 * would count for any secret, so nothing is made then. */
#define KIT_SECRET_MARK_BYTES 16u
kit_status kit_secret_mark(const kit_secret *secret, char out[KIT_SECRET_MARK_BYTES]) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
