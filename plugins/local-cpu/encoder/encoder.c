/* SPDX-License-Identifier: Apache-2.0 */
/* Opens encoders, and packs many texts into chunks for threads. */
#include "encoder.h"
#include "kolm/kit/file.h"
#include "pool.h"
#include "weights.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define WEIGHTS_MAX (1ull << 40)
#define CHUNK_TOKENS 256u /* usual size of a chunk, at which a thread's data fits into its own cache */
#define SHARERS_MAX 4u    /* threads that compute one chunk together; memory limits more of them */

/* ---- Opening */

static kit_status read_weights(encoder *e, kolm_error_t *err) {
    kit_buf name = {0};
    enc_file file;
    kolm_error_t inner = KIT_ERROR_INIT;
    kit_buf_fmt(&name, "%smodel.safetensors", e->is.directory);
    kit_status status = kit_buf_ok(&name, err);
    if (status == KOLM_OK) status = enc_files_get(e->files, name.data, WEIGHTS_MAX, &file, &inner);
    if (status == KOLM_E_NOT_FOUND)
        status = kit_fail(err, KOLM_E_NOT_FOUND,
                          "save the model as one model.safetensors, as current versions do, or use --recipe lora",
                          "%s has no %s, from which recipe encoder reads the weights", enc_files_shown(e->files),
                          kit_buf_text(&name));
    else if (status != KOLM_OK && err != NULL && inner.code != 0)
        *err = inner;
    kit_buf_free(&name);
    if (status != KOLM_OK) return status;
    KIT_TRY(kit_path_join(enc_files_shown(e->files), file.name, &e->shown, err));
    KIT_TRY(enc_tensors_read(file.bytes, file.size, e->shown, &e->tensors, err));
    return enc_weights_bind(e, err);
}

#define MAPPED_AROUND 65536u /* bytes that Linux maps at a page fault, as far as they are in the page cache */

/* Maps the layers in advance: every text reads all of them, and weights in unmapped pages are never prefetched. One
 * read per MAPPED_AROUND bytes takes half the time of MADV_POPULATE_READ, which visits every page. The table of words
 * is not included, because a text reads only a few of its rows. */
static void *map_layers(void *argument) {
    encoder *e = argument;
    const enc_weights *w = &e->weights;
    uintptr_t first = UINTPTR_MAX, end = 0;
    for (uint32_t i = 0; i < e->is.layers; i++) {
        const enc_layer *l = &w->layers[i];
        const enc_matrix *const all[] = {&l->q.w, &l->k.w, &l->v.w, &l->o.w, &l->in.w, &l->out.w};
        for (size_t m = 0; m < sizeof all / sizeof *all; m++) {
            const uintptr_t at = (uintptr_t)all[m]->data, size = (size_t)all[m]->rows * all[m]->columns;
            if (at < first) first = at;
            if (at + size * enc_dtype_bytes(all[m]->dtype) > end) end = at + size * enc_dtype_bytes(all[m]->dtype);
        }
    }
    const uintptr_t words = (uintptr_t)w->words.data;
    if (end == 0 || (words > first && words < end)) return NULL;
    for (uintptr_t at = first; at < end && !atomic_load(&e->closes); at += MAPPED_AROUND)
        (void)*(const volatile uint8_t *)at;
    return NULL;
}

uint64_t enc_layer_bytes(const encoder *e) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < e->is.layers; i++) {
        const enc_layer *l = &e->weights.layers[i];
        const enc_matrix *const all[] = {&l->q.w, &l->k.w, &l->v.w, &l->o.w, &l->in.w, &l->out.w};
        for (size_t m = 0; m < sizeof all / sizeof *all; m++)
            bytes += (uint64_t)all[m]->rows * all[m]->columns * enc_dtype_bytes(all[m]->dtype);
    }
    return bytes;
}

kit_status enc_open_files(enc_files *files, encoder **out, kolm_error_t *err) {
    *out = NULL;
    encoder *e = calloc(1, sizeof *e);
    if (e == NULL) {
        enc_files_close(files);
        return kit_no_memory(err);
    }
    e->files = files;
    e->kernels = enc_kernels_find(0);
    e->few = enc_kernels_find(8);
    if (e->few == NULL) e->few = e->kernels;
    kit_status status = enc_describe(files, &e->is, err);
    if (status == KOLM_OK) status = read_weights(e, err);
    if (status != KOLM_OK) {
        enc_close(e);
        return status;
    }
    e->maps = e->is.layers > 0 && pool_start(&e->mapper, map_layers, e);
    if (!e->maps) (void)map_layers(e);
    *out = e;
    return KOLM_OK;
}

kit_status enc_open(const char *directory, encoder **out, kolm_error_t *err) {
    enc_files *files = NULL;
    *out = NULL;
    KIT_TRY(enc_files_open(directory, &files, err));
    return enc_open_files(files, out, err);
}

void enc_close(encoder *e) {
    if (e == NULL) return;
    atomic_store(&e->closes, true);
    if (e->maps) pthread_join(e->mapper, NULL);
    enc_weights_free(e);
    enc_tensors_free(e->tensors);
    enc_description_free(&e->is);
    enc_files_close(e->files);
    free(e->shown);
    free(e);
}

const enc_description *enc_described(const encoder *e) {
    return &e->is;
}

enc_files *enc_files_used(const encoder *e) {
    return e->files;
}

uint32_t enc_dimensions(const encoder *e) {
    return e->is.hidden;
}

const char *enc_vectors(const encoder *e) {
    return e->kernels->name;
}

void enc_use(encoder *e, const enc_kernels *kernels) {
    e->kernels = e->few = kernels;
}

/* ---- Packing */

typedef struct batch {
    const encoder *e;
    const enc_text *texts;
    size_t count;
    float *out;
    uint32_t *order;    /* texts, chunk by chunk */
    uint32_t *chunk_at; /* where each chunk begins in order, then the end */
    uint32_t chunks;
    uint32_t most, longest;
    enc_workspace **space; /* one for each thread */
    atomic_uint *taken;
    uint32_t spaces;
} batch;

static kit_status check_texts(batch *b, uint64_t *out_tokens, kolm_error_t *err) {
    const enc_description *d = &b->e->is;
    *out_tokens = 0;
    for (size_t i = 0; i < b->count; i++) {
        const enc_text *t = &b->texts[i];
        if (t->count > d->max_tokens)
            return kit_fail(err, KOLM_E_OUT_OF_RANGE, "shorten the text, or split it",
                            "text %zu has %u tokens, and the encoder reads %u", i, (unsigned)t->count,
                            (unsigned)d->max_tokens);
        for (uint32_t k = 0; k < t->count; k++)
            if (t->tokens[k] >= d->vocabulary)
                return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                                "use the tokenizer of this model: download both again, together",
                                "token %u of text %zu is not among the %u of the encoder", (unsigned)t->tokens[k], i,
                                (unsigned)d->vocabulary);
        *out_tokens += t->count;
        if (t->count > b->longest) b->longest = t->count;
    }
    return KOLM_OK;
}

/* Sorts texts by length: those of n tokens begin at sorted[first[n]]. */
static void sort_texts(const batch *b, uint32_t *first, uint32_t *sorted) {
    memset(first, 0, (b->longest + 2) * sizeof *first);
    for (size_t i = 0; i < b->count; i++)
        first[b->texts[i].count + 1]++;
    for (uint32_t n = 0; n <= b->longest; n++)
        first[n + 1] += first[n];
    for (size_t i = 0; i < b->count; i++)
        sorted[first[b->texts[i].count]++] = (uint32_t)i;
    for (uint32_t n = b->longest + 1; n > 0; n--)
        first[n] = first[n - 1];
    first[0] = 0;
}

/* Fills each chunk with the longest text left, then repeatedly with the longest that still fits, so that chunks are
 * full if there are enough short texts. left[n]: number of texts of n tokens that are in no chunk yet. */
static void fill_chunks(batch *b, const uint32_t *first, uint32_t *left, const uint32_t *sorted) {
    uint32_t at = 0, longest = b->longest;
    for (uint32_t n = 0; n <= b->longest; n++)
        left[n] = first[n + 1] - first[n];
    while (at < b->count) {
        uint32_t room = b->most;
        b->chunk_at[b->chunks++] = at;
        while (longest > 0 && left[longest] == 0)
            longest--;
        for (uint32_t n = longest; at < b->count;) {
            while (left[n] == 0 && n > 0)
                n--;
            if (left[n] == 0) break;
            b->order[at++] = sorted[first[n] + --left[n]];
            room -= n;
            if (n > room) n = room;
        }
    }
    b->chunk_at[b->chunks] = at;
}

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs, or pass fewer texts at a time",
                    "out of memory while embedding texts");
}

/* Spreads few texts over all threads; divides many so that a chunk stays in the cache. */
static uint32_t chunk_size(const batch *b, uint64_t tokens, uint32_t threads) {
    const uint32_t panel = b->e->kernels->panel;
    uint64_t share = (tokens + threads - 1) / threads;
    share = (share + panel - 1) / panel * panel;
    uint32_t most = share < CHUNK_TOKENS ? (uint32_t)share : CHUNK_TOKENS;
    return most > b->longest ? most : b->longest;
}

static kit_status pack(batch *b, uint64_t tokens, uint32_t threads, kolm_error_t *err) {
    uint32_t *first = malloc((b->longest + 2) * sizeof *first), *left = malloc((b->longest + 1) * sizeof *left);
    uint32_t *sorted = malloc((b->count + 1) * sizeof *sorted);
    b->order = malloc((b->count + 1) * sizeof *b->order);
    b->chunk_at = malloc((b->count + 2) * sizeof *b->chunk_at);
    const bool good = first != NULL && left != NULL && sorted != NULL && b->order != NULL && b->chunk_at != NULL;
    if (good) {
        b->most = chunk_size(b, tokens, threads);
        sort_texts(b, first, sorted);
        fill_chunks(b, first, left, sorted);
    }
    free(first);
    free(left);
    free(sorted);
    return good ? KOLM_OK : out_of_memory(err);
}

/* ---- Embedding */

static kit_status run_chunk(void *user, uint32_t number, kolm_error_t *err) {
    batch *b = user;
    uint32_t i = 0;
    /* There are as many workspaces as threads, so one is free. */
    while (atomic_exchange(&b->taken[i], 1) != 0)
        i = (i + 1) % b->spaces;
    kit_status status = enc_forward(b->e, b->space[i], b->texts, b->order + b->chunk_at[number],
                                    b->chunk_at[number + 1] - b->chunk_at[number], b->out, err);
    atomic_store(&b->taken[i], 0);
    return status;
}

static kit_status run_static(void *user, uint32_t number, kolm_error_t *err) {
    const batch *b = user;
    const size_t share = 256, first = number * share;
    (void)err;
    for (size_t i = first; i < b->count && i < first + share; i++)
        enc_forward_static(b->e, &b->texts[i], b->out + i * b->e->is.hidden);
    return KOLM_OK;
}

static kit_status run_transformer(batch *b, uint64_t tokens, uint32_t threads, kolm_error_t *err) {
    KIT_TRY(pack(b, tokens, threads, err));
    const uint32_t wanted = threads < b->chunks ? threads : b->chunks;
    uint32_t sharers = b->chunks > 1 ? 1 : threads < SHARERS_MAX ? threads : SHARERS_MAX;
    b->space = calloc(wanted + 1, sizeof *b->space);
    b->taken = calloc(wanted + 1, sizeof *b->taken);
    if (b->space == NULL || b->taken == NULL) return out_of_memory(err);
    for (; b->spaces < wanted; b->spaces++) {
        kit_status status = enc_workspace_new(b->e, b->most, b->longest, sharers, &b->space[b->spaces], err);
        /* Fewer threads than requested are slower, not wrong. */
        while (status != KOLM_OK && sharers > 1)
            status = enc_workspace_new(b->e, b->most, b->longest, --sharers, &b->space[b->spaces], err);
        if (status != KOLM_OK && b->spaces > 0) break;
        KIT_TRY(status);
    }
    return pool_run(b->spaces, b->chunks, run_chunk, b, err);
}

static kit_status check_finite(const batch *b, kolm_error_t *err) {
    const size_t count = b->count * b->e->is.hidden;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, b->out + i, 4);
        if ((bits >> 23 & 255) == 255)
            return kit_fail(err, KOLM_E_DATA_LOSS, "download the model again; if the error persists, use another one",
                            "the weights in %s produce numbers that are not finite", b->e->shown);
    }
    return KOLM_OK;
}

/* All widths produce the same bits. The widest is not the fastest for a short text, which spends its time waiting for
 * weights that are not in the cache, and the widest instructions slow the processor down. */
static const encoder *for_tokens(const encoder *e, uint64_t tokens, encoder *room) {
    if (e->few == e->kernels || tokens > e->few->lanes) return e;
    *room = *e;
    room->kernels = e->few;
    return room;
}

kit_status enc_embed(const encoder *e, const enc_text *texts, size_t count, uint32_t threads, float *out,
                     kolm_error_t *err) {
    batch b = {.e = e, .texts = texts, .count = count, .out = out};
    encoder room;
    uint64_t tokens = 0;
    if (count > UINT32_MAX / 2)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "pass fewer texts at a time", "%zu texts are too many at once",
                        count);
    if (threads < 1) threads = 1;
    KIT_TRY(check_texts(&b, &tokens, err));
    if (count == 0) return KOLM_OK;
    b.e = for_tokens(e, tokens, &room);
    kit_status status = e->is.family == ENC_STATIC
                            ? pool_run(threads, (uint32_t)((count + 255) / 256), run_static, &b, err)
                            : run_transformer(&b, tokens, threads, err);
    for (uint32_t i = 0; i < b.spaces; i++)
        enc_workspace_free(b.space[i]);
    free(b.space);
    free(b.taken);
    free(b.order);
    free(b.chunk_at);
    return status == KOLM_OK ? check_finite(&b, err) : status;
}
