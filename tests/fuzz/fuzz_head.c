/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: head.bin of the engine's encoder. An accepted file is written back with the same bytes and its answers
 * are in range; all other inputs are rejected with a message. The checksum is corrected first, because a forger can
 * compute it, too. */
#include "encoder/head.h"
#include "fuzz.h"
#include "numeric.h"

#include <string.h>

#define CHECK_AT 88u

static uint64_t sum_of(const uint8_t *bytes, size_t size) {
    uint64_t sum = 0;
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = 0;
        for (size_t i = 0; i < 8 && at + i < size && at != CHECK_AT; i++)
            word |= (uint64_t)bytes[at + i] << (8 * i);
        sum = (sum ^ word) * 0x9E3779B97F4A7C15ull;
        sum ^= sum >> 29;
    }
    return num_mix(sum + size);
}

static void seal(uint8_t *bytes, size_t size) {
    if (size < CHECK_AT + 8) return;
    const uint64_t sum = sum_of(bytes, size);
    for (unsigned i = 0; i < 8; i++)
        bytes[CHECK_AT + i] = (uint8_t)(sum >> (8 * i));
}

/* Embeddings of zeros, of ones, and with an infinity. */
static void check(const head_model *m) {
    float *embedding = calloc(m->dimensions, sizeof *embedding), *margin = calloc(m->labels, sizeof *margin);
    float *score = malloc(m->labels * sizeof *score);
    must(embedding != NULL && margin != NULL && score != NULL);
    for (int i = 0; i < 3; i++) {
        head_answer answer;
        for (uint32_t k = 0; i > 0 && k < m->dimensions; k++)
            embedding[k] = i == 1 ? 1.0f : k == 0 ? (float)INFINITY : -1e30f;
        margin[0] = (float)i;
        head_answer_embedding(m, embedding, margin, score, &answer);
        must(answer.label < m->labels && answer.confidence_micro <= MODEL_MICRO && answer.factor_micro <= MODEL_MICRO);
        must(answer.abstains == (answer.confidence_micro < m->threshold_micro));
        for (uint32_t k = 0; k < m->labels; k++)
            must(score[k] == score[k]);
    }
    free(embedding);
    free(margin);
    free(score);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    head_model m;
    uint8_t *bytes = malloc(size + 1);
    kit_buf again = {0};
    must(bytes != NULL);
    if (size > 0) memcpy(bytes, data, size);
    seal(bytes, size);
    kit_status status = head_read(bytes, size, &m, &err);
    if (status == KOLM_OK) {
        check(&m);
        must(head_write(&m, &again, &err) == KOLM_OK && again.length == size);
        must(memcmp(again.data, bytes, size) == 0);
    } else {
        must(m.scale == NULL && m.weight == NULL && (status == KOLM_E_DATA_LOSS || status == KOLM_E_UNIMPLEMENTED));
        fuzz_refused(status, &err);
    }
    head_model_free(&m);
    kit_buf_free(&again);
    free(bytes);
    return 0;
}
