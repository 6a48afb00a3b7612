/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: the header of a safetensors file. The tensors of an accepted file cover the data exactly once, have the
 * lengths of their shapes and are found by name; all other inputs are rejected with a message. In inputs that begin
 * with a brace the header length is corrected, so that mutations reach the code after that check. */
#include "encoder/safetensors.h"
#include "fuzz.h"

#include <string.h>

static void check(const enc_tensors *tensors, const uint8_t *bytes, size_t size) {
    const uint8_t *at = NULL;
    uint64_t sum = 0;
    must(enc_tensors_count(tensors) > 0);
    for (size_t i = 0; i < enc_tensors_count(tensors); i++) {
        const enc_tensor *t = enc_tensors_at(tensors, i);
        uint64_t count = 1;
        must(t->rank <= ENC_RANK_MAX && enc_tensors_find(tensors, t->name) == t);
        for (uint32_t d = 0; d < t->rank; d++)
            count *= t->shape[d];
        must(count == t->count);
        if (t->dtype != ENC_OTHER) must(count * enc_dtype_bytes(t->dtype) == t->bytes);
        must(t->data >= bytes + 8 && t->data + t->bytes <= bytes + size);
        must(at == NULL || t->data == at);
        at = t->data + t->bytes;
        for (uint64_t b = 0; b < t->bytes; b++)
            sum += t->data[b];
    }
    must(at == bytes + size && sum < UINT64_MAX && enc_tensors_find(tensors, "no such tensor") == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    enc_tensors *tensors = NULL;
    const size_t room = size + 8;
    uint8_t *bytes = aligned_alloc(16, (room + 15) & ~(size_t)15);
    must(bytes != NULL);
    size_t length = size;
    if (size > 0 && data[0] == '{') {
        /* "{...}\n%%\nDATA": the text of the header, then the data. */
        const uint8_t *mark = memmem(data, size, "\n%%\n", 4);
        uint64_t header = mark != NULL ? (uint64_t)(mark - data) : size;
        size_t rest = mark != NULL ? size - header - 4 : 0;
        memcpy(bytes, &header, 8);
        memcpy(bytes + 8, data, header);
        if (rest > 0) memcpy(bytes + 8 + header, data + header + 4, rest);
        length = 8 + header + rest;
    } else if (size > 0) {
        memcpy(bytes, data, size);
    }
    kit_status status = enc_tensors_read(bytes, length, "model.safetensors", &tensors, &err);
    if (status == KOLM_OK) {
        check(tensors, bytes, length);
    } else {
        must(tensors == NULL && status == KOLM_E_DATA_LOSS);
        fuzz_refused(status, &err);
    }
    enc_tensors_free(tensors);
    free(bytes);
    return 0;
}
