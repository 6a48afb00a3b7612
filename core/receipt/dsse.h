/* SPDX-License-Identifier: Apache-2.0 */
/* DSSE envelopes: the signed wrapper of every statement that kolm makes or trusts. */
#ifndef KOLM_RECEIPT_DSSE_H
#define KOLM_RECEIPT_DSSE_H

/*
 * Source: DSSE v1.0.2, protocol.md and envelope.md. What is signed is
 *
 *     PAE(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body
 *
 * with LEN in ASCII decimal and SP = 0x20, so that types and bodies cannot be confused. Rules: the payload type is
 * signed, and compared before anything is parsed; the bytes that are parsed are those that were verified; keyid is only
 * a hint; standard and URL-safe base64 are accepted; unknown fields are ignored.
 */

#include "kolm/kit/digest.h"
#include "receipt/keys.h"

#define RECEIPT_MAX_LINE (16u << 20) /* bytes of an envelope */
#define RECEIPT_MAX_SIGNATURES 16

typedef struct receipt_envelope {
    char *type;      /* owned */
    kit_buf payload; /* decoded */
    size_t signature_count;
    struct {
        uint8_t bytes[RECEIPT_SIGNATURE_BYTES];
        size_t length; /* 0: not an Ed25519 signature, never verifies */
    } signatures[RECEIPT_MAX_SIGNATURES];
} receipt_envelope;

/* Appends PAE(type, payload). */
void receipt_pae(const char *type, const void *payload, size_t length, kit_buf *out);

/* Appends {"payload":..,"payloadType":..,"signatures":[{"keyid":..,"sig":..}]}: canonical JSON, no LF. The same key and
 * payload give the same bytes. */
kit_status receipt_envelope_sign(const receipt_key *key, const char *type, const void *payload, size_t length,
                                 kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* Number of bytes that receipt_envelope_sign appends for a type of ASCII letters, digits and "./+-" and a payload of
 * length bytes. */
size_t receipt_envelope_length(const char *type, size_t length);

/* INVALID_ARGUMENT unless it is strict JSON with the three fields and valid base64. Verifies nothing. */
kit_status receipt_envelope_parse(const char *text, size_t length, receipt_envelope *out_envelope,
                                  kolm_error_t *err) KIT_MUST_USE;
void receipt_envelope_free(receipt_envelope *envelope); /* leaves it zeroed */
/* *out_signed: true if one of the signatures, over this type and payload, is by key. Any status but KOLM_OK means
 * unknown (out of memory), not "no". */
kit_status receipt_envelope_signed_by(const receipt_envelope *envelope, const receipt_public *key, bool *out_signed,
                                      kolm_error_t *err) KIT_MUST_USE;
/* *out_spelled: true if text, from which envelope was parsed, is byte for byte what receipt_envelope_sign writes for
 * its payload, type, key id and signature, with a type of ASCII letters, digits and "./+-"; out_keyid is then the key
 * id. Any other form of the same envelope has another digest, so the next line of the chain would not match. */
kit_status receipt_envelope_spelled(const receipt_envelope *envelope, const char *text, size_t length,
                                    bool *out_spelled, char out_keyid[KIT_SHA256_HEX], kolm_error_t *err) KIT_MUST_USE;

#endif
