/* SPDX-License-Identifier: Apache-2.0 */
/* DSSE: what is signed, its canonical form, and its signatures. */
#include "receipt/internal.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/text.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define OPEN_PAYLOAD "{\"payload\":\""
#define OPEN_TYPE "\",\"payloadType\":\""
#define OPEN_KEYID "\",\"signatures\":[{\"keyid\":\""
#define OPEN_SIGNATURE "\",\"sig\":\""
#define CLOSE_ENVELOPE "\"}]}"

static size_t base64_length(size_t length) {
    return (length + 2) / 3 * 4;
}

void receipt_pae(const char *type, const void *payload, size_t length, kit_buf *out) {
    kit_buf_fmt(out, "DSSEv1 %zu %s %zu ", strlen(type), type, length);
    kit_buf_add(out, payload, length);
}

void receipt_envelope_text(const char *type, const void *payload, size_t length, const char *keyid,
                           const uint8_t signature[RECEIPT_SIGNATURE_BYTES], kit_buf *out) {
    kit_buf_str(out, OPEN_PAYLOAD);
    kit_base64(out, payload, length);
    kit_buf_str(out, OPEN_TYPE);
    kit_buf_str(out, type);
    kit_buf_str(out, OPEN_KEYID);
    kit_buf_str(out, keyid);
    kit_buf_str(out, OPEN_SIGNATURE);
    kit_base64(out, signature, RECEIPT_SIGNATURE_BYTES);
    kit_buf_str(out, CLOSE_ENVELOPE);
}

size_t receipt_envelope_length(const char *type, size_t length) {
    return sizeof OPEN_PAYLOAD + sizeof OPEN_TYPE + sizeof OPEN_KEYID + sizeof OPEN_SIGNATURE + sizeof CLOSE_ENVELOPE -
           5 + base64_length(length) + strlen(type) + RECEIPT_KEYID_HEX + base64_length(RECEIPT_SIGNATURE_BYTES);
}

kit_status receipt_envelope_sign(const receipt_key *key, const char *type, const void *payload, size_t length,
                                 kit_buf *out, kolm_error_t *err) {
    kit_buf message = {0};
    uint8_t signature[RECEIPT_SIGNATURE_BYTES];
    receipt_pae(type, payload, length, &message);
    kit_status status = kit_buf_ok(&message, err);
    if (status == KOLM_OK) status = receipt_key_sign(key, message.data, message.length, signature, err);
    if (status == KOLM_OK) {
        receipt_envelope_text(type, payload, length, receipt_key_public(key)->keyid, signature, out);
        status = kit_buf_ok(out, err);
    }
    kit_buf_free(&message);
    return status;
}

static kit_status malformed(const char *what, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "download the file again", "it is not a DSSE envelope: %s", what);
}

static kit_status parse_signatures(const cJSON *list, receipt_envelope *out, kolm_error_t *err) {
    if (!cJSON_IsArray(list) || list->child == NULL)
        return malformed("\"signatures\" must be a list that is not empty", err);
    for (const cJSON *item = list->child; item != NULL; item = item->next) {
        const char *text = NULL;
        kit_buf bytes = {0};
        if (out->signature_count == RECEIPT_MAX_SIGNATURES) return malformed("it has more than 16 signatures", err);
        if (!kit_json_get_string(item, "sig", &text)) return malformed("a signature without \"sig\"", err);
        const cJSON *keyid = kit_json_get(item, "keyid");
        if (keyid != NULL && !cJSON_IsString(keyid)) return malformed("\"keyid\" must be a string", err);
        kit_status status = kit_base64_decode(&bytes, text, strlen(text), err);
        if (status != KOLM_OK) {
            kit_buf_free(&bytes);
            return status == KOLM_E_INVALID_ARGUMENT ? malformed("\"sig\" is not base64", err) : status;
        }
        size_t at = out->signature_count++;
        if (bytes.length == RECEIPT_SIGNATURE_BYTES) {
            memcpy(out->signatures[at].bytes, bytes.data, bytes.length);
            out->signatures[at].length = bytes.length;
        }
        kit_buf_free(&bytes);
    }
    return KOLM_OK;
}

kit_status receipt_envelope_parse(const char *text, size_t length, receipt_envelope *out_envelope, kolm_error_t *err) {
    cJSON *value = NULL;
    const char *payload = NULL, *type = NULL;
    *out_envelope = (receipt_envelope){0};
    if (length > RECEIPT_MAX_LINE) return malformed("it is larger than 16 MiB", err);
    kit_status status = kit_json_parse(text, length, &value, err);
    if (status != KOLM_OK) return status;
    if (!kit_json_get_string(value, "payload", &payload))
        status = malformed("\"payload\" must be a string", err);
    else if (!kit_json_get_string(value, "payloadType", &type))
        status = malformed("\"payloadType\" must be a string", err);
    if (status == KOLM_OK) status = kit_strdup(type, &out_envelope->type, err);
    if (status == KOLM_OK) {
        status = kit_base64_decode(&out_envelope->payload, payload, strlen(payload), err);
        if (status == KOLM_E_INVALID_ARGUMENT) status = malformed("\"payload\" is not base64", err);
    }
    if (status == KOLM_OK) status = parse_signatures(kit_json_get(value, "signatures"), out_envelope, err);
    cJSON_Delete(value);
    if (status != KOLM_OK) receipt_envelope_free(out_envelope);
    return status;
}

void receipt_envelope_free(receipt_envelope *envelope) {
    free(envelope->type);
    kit_buf_free(&envelope->payload);
    *envelope = (receipt_envelope){0};
}

kit_status receipt_envelope_signed_by(const receipt_envelope *envelope, const receipt_public *key, bool *out_signed,
                                      kolm_error_t *err) {
    kit_buf message = {0};
    *out_signed = false;
    receipt_pae(envelope->type, kit_buf_text(&envelope->payload), envelope->payload.length, &message);
    kit_status status = kit_buf_ok(&message, err);
    for (size_t i = 0; status == KOLM_OK && i < envelope->signature_count && !*out_signed; i++) {
        if (envelope->signatures[i].length != RECEIPT_SIGNATURE_BYTES) continue;
        *out_signed = crypto_sign_verify_detached(envelope->signatures[i].bytes, (const uint8_t *)message.data,
                                                  message.length, key->bytes) == 0;
    }
    kit_buf_free(&message);
    return status;
}

static bool is_plain_type(const char *type) {
    return type[0] != '\0' &&
           type[strspn(type, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./+-")] == '\0';
}

kit_status receipt_envelope_spelled(const receipt_envelope *envelope, const char *text, size_t length,
                                    bool *out_spelled, char out_keyid[KIT_SHA256_HEX], kolm_error_t *err) {
    kit_buf again = {0};
    size_t at = sizeof OPEN_PAYLOAD + sizeof OPEN_TYPE + sizeof OPEN_KEYID - 3 +
                base64_length(envelope->payload.length) + strlen(envelope->type);
    *out_spelled = false;
    if (envelope->signature_count != 1 || envelope->signatures[0].length != RECEIPT_SIGNATURE_BYTES ||
        !is_plain_type(envelope->type) || length != receipt_envelope_length(envelope->type, envelope->payload.length))
        return KOLM_OK;
    memcpy(out_keyid, text + at, RECEIPT_KEYID_HEX);
    out_keyid[RECEIPT_KEYID_HEX] = '\0';
    if (!receipt_is_keyid(out_keyid)) return KOLM_OK;
    receipt_envelope_text(envelope->type, kit_buf_text(&envelope->payload), envelope->payload.length, out_keyid,
                          envelope->signatures[0].bytes, &again);
    kit_status status = kit_buf_ok(&again, err);
    *out_spelled = status == KOLM_OK && again.length == length && memcmp(again.data, text, length) == 0;
    kit_buf_free(&again);
    return status;
}
