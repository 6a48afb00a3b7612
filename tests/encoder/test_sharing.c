/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that share a chunk of texts: none writes what another one may write at the same time. */
#include "../suite.h"
#include "encoder/weights.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define HIDDEN 32u
#define INNER 48u
#define HEADS 4u
#define WORDS 16u
#define LONGEST 40u
#define TEXTS 7u
#define THREADS 3u

/* ---- A model of one layer */

static float numbers[65536];
static size_t used;

static float *some(size_t count) {
    float *at = numbers + used;
    used += count;
    ck_assert_uint_le(used, sizeof numbers / sizeof *numbers);
    return at;
}

static enc_matrix matrix(uint32_t rows, uint32_t columns) {
    return (enc_matrix){
        .data = (const uint8_t *)some((size_t)rows * columns), .dtype = ENC_F32, .rows = rows, .columns = columns};
}

static enc_linear linear(uint32_t rows, uint32_t columns) {
    return (enc_linear){.w = matrix(rows, columns), .bias = some(rows)};
}

static enc_norm norm(void) {
    return (enc_norm){.gain = some(HIDDEN), .bias = some(HIDDEN)};
}

static void make(encoder *e, enc_layer *layer) {
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        numbers[i] = (float)(i * 2654435761u % 1021) / 1021.0f - 0.5f;
    used = 0;
    *layer = (enc_layer){.q = linear(HIDDEN, HIDDEN),
                         .k = linear(HIDDEN, HIDDEN),
                         .v = linear(HIDDEN, HIDDEN),
                         .o = linear(HIDDEN, HIDDEN),
                         .in = linear(INNER, HIDDEN),
                         .out = linear(HIDDEN, INNER),
                         .after_attention = norm(),
                         .after = norm()};
    *e = (encoder){
        .is = {.family = ENC_BERT,
               .hidden = HIDDEN,
               .inner = INNER,
               .layers = 1,
               .heads = HEADS,
               .vocabulary = WORDS,
               .positions = LONGEST,
               .epsilon = 1e-6f,
               .activation = ENC_GELU,
               .pooling = ENC_MEAN,
               .max_tokens = LONGEST},
        .weights = {
            .words = matrix(WORDS, HIDDEN), .positions = matrix(LONGEST, HIDDEN), .norm = norm(), .layers = layer}};
}

static uint32_t tokens[TEXTS][LONGEST];

static void make_texts(enc_text *texts) {
    for (uint32_t i = 0; i < TEXTS; i++) {
        texts[i] = (enc_text){.tokens = tokens[i], .count = 3 + i * 5};
        for (uint32_t k = 0; k < texts[i].count; k++)
            tokens[i][k] = (i * 7 + k * 3) % WORDS;
    }
}

/* ---- Kernels that note how the attention is divided */

static const enc_kernels *real;
static atomic_uint parts, unsafe;

/* kernels.h: no other call may write the rows after those of a text that begins within a vector. */
static void note_and_attend(const enc_attention *a) {
    if (a->heads < HEADS) {
        atomic_fetch_add(&parts, 1);
        if (a->first % real->lanes != 0) atomic_fetch_add(&unsafe, 1);
    }
    real->attend(a);
}

static void embed(encoder *e, const enc_text *texts, uint32_t count, uint32_t threads, float *out) {
    kolm_error_t err = KIT_ERROR_INIT;
    atomic_store(&parts, 0);
    atomic_store(&unsafe, 0);
    ck_assert_msg(enc_embed(e, texts, count, threads, out, &err) == KOLM_OK, "%s", err.text);
}

/* An encoder whose kernels note what is attended to. */
static void make_watched(encoder *e, enc_layer *layer, enc_kernels *out_kernels) {
    make(e, layer);
    real = enc_kernels_find(0);
    *out_kernels = *real;
    out_kernels->attend = note_and_attend;
    enc_use(e, out_kernels);
}

START_TEST(heads_of_texts_that_share_vectors_stay_together) {
    static const uint32_t lanes[] = {16, 8, 4};
    enc_text texts[TEXTS];
    float one[TEXTS * HIDDEN], shared[TEXTS * HIDDEN];
    make_texts(texts);
    for (size_t i = 0; i < 3; i++) {
        encoder e;
        enc_layer layer;
        enc_kernels watched;
        real = enc_kernels_find(lanes[i]);
        if (real == NULL) continue;
        make(&e, &layer);
        watched = *real;
        watched.attend = note_and_attend;
        enc_use(&e, &watched);
        /* all texts are one chunk, which the threads share */
        enc_workspace *space = NULL;
        kolm_error_t err = KIT_ERROR_INIT;
        const uint32_t which[TEXTS] = {0, 1, 2, 3, 4, 5, 6};
        for (uint32_t threads = 1; threads <= THREADS; threads += THREADS - 1) {
            ck_assert_int_eq(enc_workspace_new(&e, TEXTS * LONGEST, LONGEST, threads, &space, &err), KOLM_OK);
            ck_assert_int_eq(enc_forward(&e, space, texts, which, TEXTS, threads == 1 ? one : shared, &err), KOLM_OK);
            enc_workspace_free(space);
        }
        ck_assert_uint_eq(atomic_load(&unsafe), 0);
        ck_assert_int_eq(memcmp(one, shared, sizeof one), 0);
    }
}
END_TEST

/* A single text begins with a vector. */
START_TEST(heads_of_a_single_text_are_shared) {
    enc_text texts[TEXTS];
    float one[HIDDEN], shared[HIDDEN];
    encoder e;
    enc_layer layer;
    enc_kernels watched;
    make_texts(texts);
    make_watched(&e, &layer, &watched);
    embed(&e, texts + TEXTS - 1, 1, 1, one);
    ck_assert_uint_eq(atomic_load(&parts), 0);
    embed(&e, texts + TEXTS - 1, 1, THREADS, shared);
    ck_assert_uint_eq(atomic_load(&parts), HEADS);
    ck_assert_uint_eq(atomic_load(&unsafe), 0);
    ck_assert_int_eq(memcmp(one, shared, sizeof one), 0);
}
END_TEST

/* ---- Little memory */

static size_t largest, most = SIZE_MAX; /* the largest request so far; what is refused */

/* Replaces that of libc in this program. */
void *aligned_alloc(size_t alignment, size_t size) {
    void *at = NULL;
    if (size > largest) largest = size;
    return size <= most && posix_memalign(&at, alignment, size) == 0 ? at : NULL;
}

/* Each sharer needs memory of its own: if there is too little for so many, fewer share. */
START_TEST(fewer_share_if_memory_is_short) {
    if (test_under_valgrind()) return; /* it replaces aligned_alloc itself */
    enc_text texts[TEXTS];
    float wanted[HIDDEN], got[HIDDEN];
    encoder e;
    enc_layer layer;
    enc_kernels watched;
    kolm_error_t err = KIT_ERROR_INIT;
    make_texts(texts);
    make_watched(&e, &layer, &watched);
    for (uint32_t threads = 1; threads <= 4; threads++) {
        largest = 0;
        embed(&e, texts + TEXTS - 1, 1, threads, threads == 1 ? wanted : got);
        ck_assert_uint_eq(atomic_load(&parts), threads == 1 ? 0 : HEADS);
        most = largest; /* so much, but not more */
        embed(&e, texts + TEXTS - 1, 1, 4, got);
        ck_assert_uint_eq(atomic_load(&parts), threads == 1 ? 0 : HEADS);
        ck_assert_int_eq(memcmp(got, wanted, sizeof got), 0);
        if (threads == 1) {
            most--;
            ck_assert_int_eq(enc_embed(&e, texts + TEXTS - 1, 1, 4, got, &err), KOLM_E_RESOURCE_EXHAUSTED);
        }
        most = SIZE_MAX;
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sharing");
    TCase *tcase = tcase_create("sharing");
    tcase_add_test(tcase, heads_of_texts_that_share_vectors_stay_together);
    tcase_add_test(tcase, heads_of_a_single_text_are_shared);
    tcase_add_test(tcase, fewer_share_if_memory_is_short);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
