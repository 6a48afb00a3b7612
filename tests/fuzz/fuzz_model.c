/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: the model file of the embedded engine. An accepted file answers any text with one of its labels,
 * identically from any address, with values in range; all other inputs are rejected with a message. The checksum of the
 * head is corrected first, because a forger can compute it, too. */
#include "fuzz.h"

#include "kolm/kit/text.h"
#include "model.h"
#include "numeric.h"

#include <string.h>

#define HEAD 128u

static uint64_t padded(uint64_t n) {
    return (n + 15u) & ~(uint64_t)15u;
}

static uint64_t sum_of(uint64_t sum, const uint8_t *bytes, uint64_t length) {
    uint64_t word;
    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&word, bytes, 8);
        sum = (sum ^ word) * 0x9E3779B97F4A7C15ull;
        sum ^= sum >> 29;
    }
    word = 0;
    memcpy(&word, bytes, length);
    return num_mix((sum ^ word) * 0x9E3779B97F4A7C15ull + length);
}

/* The checksum covers the head and all sections before the weights, as in model.h. */
static void seal(uint8_t *bytes, size_t size) {
    uint32_t labels, feature_count[2];
    uint64_t lengths[3], end = HEAD, zero = 0;
    if (size < HEAD) return;
    memcpy(&labels, bytes + 20, 4);
    memcpy(feature_count, bytes + 24, 8);
    memcpy(lengths, bytes + 32, 24);
    for (int i = 0; i < 3; i++) {
        if (lengths[i] > size) return;
        end += padded(lengths[i]);
    }
    end += padded(((uint64_t)feature_count[0] + feature_count[1]) * 4) + 2 * padded((uint64_t)labels * 4);
    if (end > size) return;
    memcpy(bytes + 120, &zero, 8);
    uint64_t sum = sum_of(sum_of(0, bytes, HEAD), bytes + HEAD, end - HEAD);
    memcpy(bytes + 120, &sum, 8);
}

static void check(model *m, model *other) {
    static const char *const texts[] = {"", "refund my order", "\303\234ber \344\275\240\345\245\275 \377 7"};
    const uint32_t labels = model_label_count(m);
    must(labels >= 1 && labels <= MODEL_LABELS_MAX && model_threshold_micro(m) <= MODEL_MICRO + 1u);
    for (uint32_t i = 0; i < labels; i++) {
        uint32_t length = 0;
        const char *label = model_label(m, i, &length);
        must(length <= MODEL_LABEL_BYTES_MAX && kit_utf8_valid(label, length) == length);
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        model_answer answer, again;
        must(model_answer_text(m, texts[i], strlen(texts[i]), &answer, NULL) == KOLM_OK);
        must(model_answer_text(other, texts[i], strlen(texts[i]), &again, NULL) == KOLM_OK);
        must(answer.label < labels && answer.confidence_micro <= MODEL_MICRO);
        must(answer.abstains == (answer.confidence_micro < model_threshold_micro(m)));
        must(again.label == answer.label && again.confidence_micro == answer.confidence_micro);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    model *m = NULL, *other = NULL;
    uint8_t *bytes = aligned_alloc(16, padded(size + 1)), *shifted = malloc(size + 1);
    must(bytes != NULL && shifted != NULL);
    if (size > 0) memcpy(bytes, data, size);
    seal(bytes, size);
    memcpy(shifted + 1, bytes, size);
    kit_status status = model_from_bytes(bytes, size, &m, &err);
    if (status == KOLM_OK) {
        must(model_from_bytes(shifted + 1, size, &other, &err) == KOLM_OK);
        check(m, other);
    } else {
        must(m == NULL && (status == KOLM_E_DATA_LOSS || status == KOLM_E_UNIMPLEMENTED));
        fuzz_refused(status, &err);
    }
    model_close(m);
    model_close(other);
    free(bytes);
    free(shifted);
    return 0;
}
