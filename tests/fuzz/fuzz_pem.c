/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a private key in PEM is read or rejected; if read, it is equal after it is written again, and its public
 * key verifies its signatures. */
#include "fuzz.h"
#include "receipt/dsse.h"
#include "receipt/internal.h"

#include <string.h>

static void check_signs(const receipt_key *key) {
    kit_buf text = {0};
    receipt_envelope envelope = {0};
    bool signs = false;
    must(receipt_envelope_sign(key, "text/plain", "x", 1, &text, NULL) == KOLM_OK);
    must(receipt_envelope_parse(text.data, text.length, &envelope, NULL) == KOLM_OK);
    must(receipt_envelope_signed_by(&envelope, receipt_key_public(key), &signs, NULL) == KOLM_OK && signs);
    receipt_envelope_free(&envelope);
    kit_buf_free(&text);
}

static void check(const receipt_key *key) {
    receipt_key *again = NULL;
    receipt_public half;
    const char *pem = receipt_key_pem(key);
    must(receipt_public_parse(pem, strlen(pem), &half, NULL) == KOLM_OK);
    must(memcmp(&half, receipt_key_public(key), sizeof half) == 0);
    must(receipt_key_store(fuzz_directory(), key, true, NULL) == KOLM_OK);
    must(receipt_key_load(fuzz_directory(), &again, NULL) == KOLM_OK);
    must(memcmp(receipt_key_public(again), receipt_key_public(key), sizeof half) == 0);
    check_signs(again);
    receipt_key_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    receipt_key *key = NULL;
    fuzz_put(RECEIPT_SIGNING, data, size);
    kit_status status = receipt_key_load(fuzz_directory(), &key, &err);
    if (status == KOLM_OK) {
        check(key);
    } else {
        must(status == KOLM_E_DATA_LOSS && key == NULL);
        fuzz_refused(status, &err);
    }
    receipt_key_free(key);
    return 0;
}
