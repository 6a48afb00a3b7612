/* SPDX-License-Identifier: Apache-2.0 */
/* Recordings of requests and answers for contract tests, without secrets; a replay does not use the network. */
#ifndef KOLM_HTTP_TAPE_H
#define KOLM_HTTP_TAPE_H

#include "kolm/kit/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Pass a tape to kit_http_open in its options, and close it after kit_http_close. It is a file of JSON lines, one per
 * try, in the order in which the tries ended:
 *
 *   {"request": {"method", "url", "headers": {NAME: VALUE}, "body"}, "answer": {"status", "headers", "body"}}
 *   {"request": ..., "failure": {"curl": CODE, "sent": BOOL, "stage": N, "status": N}}
 *     (status 0: none received; curl: libcurl's error number; stage: 0 resolving to 5 receiving)
 *
 * Never written, whichever side sent it:
 *   - a secret of the request: a header with one becomes "[secret]", as does, in every other text, each run of eight of
 *     its bytes (kit_secret_redact);
 *   - cookies, and answer headers whose name refers to a token, key, secret, signature or credential;
 *   - in JSON bodies of either side, the texts of members whose name ends in token, secret, password, signature,
 *     credential, credentials, jwt, cookie, authorization, api_key, access_key, private_key or secret_key: "[hidden]",
 *     so that a key created by the request is not recorded. Case, '-' and '_' are ignored in all these names, so this
 *     includes privateKey;
 *   - in the query of a URL (of the request, in a JSON text or in a Location header), the values of such names, and of
 *     those used in presigned URLs (X-Amz-..., X-Goog-..., Signature, Policy, Expires, sig, se, sp, sv);
 *   - bodies that are not UTF-8 or larger than 1 MiB, and request bodies from a file or in parts: only their size,
 *     "body_size"; such an answer cannot be replayed.
 * Read a recording before you publish it: names and e-mail addresses are not treated as secrets.
 *
 * Replay: each try consumes the next line, and fails with FAILED_PRECONDITION if method, URL or body do not match it
 * (compared as they would be written). There are no pauses. Use a tape from one thread at a time.
 */
typedef struct kit_http_tape kit_http_tape;

/* The file is written when the tape is closed, and replaces an existing one. */
kit_status kit_http_tape_record(const char *path, kit_http_tape **out, kolm_error_t *err) KIT_MUST_USE;
kit_status kit_http_tape_replay(const char *path, kit_http_tape **out, kolm_error_t *err) KIT_MUST_USE;
/* Writes what was recorded. FAILED_PRECONDITION if a replay did not use all lines. OK if NULL. The tape is freed in any
 * case. */
kit_status kit_http_tape_close(kit_http_tape *tape, kolm_error_t *err) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
