/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: untrusted envelopes and public keys are read or rejected with a sentence, and never verify by
 * accident. */
#include "receipt/dsse.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static receipt_key *nobody;
    kolm_error_t err = KIT_ERROR_INIT;
    receipt_envelope envelope;
    receipt_public key;
    char pem[RECEIPT_PEM_BYTES];
    uint8_t seed[32] = {42};
    if (nobody == NULL) must(receipt_key_from_seed(seed, &nobody, &err) == KOLM_OK);
    kit_status status = receipt_envelope_parse((const char *)data, size, &envelope, &err);
    if (status == KOLM_OK) {
        must(envelope.type != NULL && envelope.signature_count >= 1 &&
             envelope.signature_count <= RECEIPT_MAX_SIGNATURES);
        bool signs = true;
        must(receipt_envelope_signed_by(&envelope, receipt_key_public(nobody), &signs, &err) == KOLM_OK && !signs);
    } else {
        must(status == KOLM_E_INVALID_ARGUMENT && envelope.type == NULL && err.text[0] != '\0');
    }
    receipt_envelope_free(&envelope);
    if (receipt_public_parse((const char *)data, size, &key, &err) == KOLM_OK) {
        receipt_public again;
        receipt_public_pem(&key, pem);
        must(receipt_public_parse(pem, strlen(pem), &again, &err) == KOLM_OK && memcmp(&again, &key, sizeof key) == 0);
    } else {
        must(err.text[0] != '\0' && err.remedy[0] != '\0');
    }
    return 0;
}
