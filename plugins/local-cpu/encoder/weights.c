/* SPDX-License-Identifier: Apache-2.0 */
/* Finds an encoder's tensors by the names that transformers gives them, and checks their shapes. */
#include "weights.h"

#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 160

typedef struct binding {
    encoder *e;
    const char *prefix; /* ""; "bert." or similar if the model was saved with a head */
    kolm_error_t *err;
} binding;

static kit_status lacks(const binding *b, const char *name) {
    return kit_fail(b->err, KOLM_E_DATA_LOSS, "download the model again (`hf download NAME`), or save it again",
                    "%s lacks the tensor %s%s", b->e->shown, b->prefix, name);
}

/* Old versions of transformers saved a norm's numbers under other names. */
static const char *old_name(const char *name, char out[NAME_MAX_BYTES]) {
    const char *norm = strstr(name, "LayerNorm.");
    if (norm == NULL) return NULL;
    kit_format(out, NAME_MAX_BYTES, "%.*sLayerNorm.%s", (int)(norm - name), name,
               strcmp(norm + 10, "weight") == 0 ? "gamma" : "beta");
    return out;
}

static const enc_tensor *find(const binding *b, const char *name) {
    char full[NAME_MAX_BYTES], old[NAME_MAX_BYTES];
    kit_format(full, sizeof full, "%s%s", b->prefix, name);
    const enc_tensor *t = enc_tensors_find(b->e->tensors, full);
    if (t != NULL || old_name(name, old) == NULL) return t;
    kit_format(full, sizeof full, "%s%s", b->prefix, old);
    return enc_tensors_find(b->e->tensors, full);
}

static bool is_float(const enc_tensor *t) {
    return t->dtype == ENC_F32 || t->dtype == ENC_F16 || t->dtype == ENC_BF16;
}

/* rows 0: any number of rows. A vector has 1 row. */
static kit_status get(const binding *b, const char *name, uint32_t rows, uint32_t columns, enc_tensor *out) {
    const enc_tensor *t = find(b, name);
    if (t == NULL) return lacks(b, name);
    if (!is_float(t))
        return kit_fail(b->err, KOLM_E_UNIMPLEMENTED, "save the model as F32, F16 or BF16, or use --recipe lora",
                        "the tensor %s of %s has numbers of type %s; recipe encoder reads F32, F16 and BF16", t->name,
                        b->e->shown, enc_dtype_name(t->dtype));
    const bool vector = rows == 1 && t->rank == 1;
    const uint64_t has_rows = vector ? 1 : t->shape[0], has = t->rank == 0 ? 0 : t->shape[t->rank - 1];
    if ((!vector && t->rank != 2) || has != columns || (rows != 0 && has_rows != rows) || has_rows > UINT32_MAX ||
        t->count == 0)
        return kit_fail(b->err, KOLM_E_DATA_LOSS, "download the model again: config.json and weights belong together",
                        "the tensor %s of %s is not of %u x %u numbers, as its configuration says", t->name,
                        b->e->shown, (unsigned)rows, (unsigned)columns);
    *out = *t;
    return KOLM_OK;
}

static kit_status matrix(const binding *b, const char *name, uint32_t rows, uint32_t columns, enc_matrix *out) {
    enc_tensor t = {0};
    KIT_TRY(get(b, name, rows, columns, &t));
    *out = (enc_matrix){t.data, t.dtype, t.rank == 1 ? 1 : (uint32_t)t.shape[0], columns};
    return KOLM_OK;
}

static kit_status vector(const binding *b, const char *name, uint32_t count, float **out) {
    enc_weights *w = &b->e->weights;
    enc_tensor t = {0};
    KIT_TRY(get(b, name, 1, count, &t));
    *out = w->owned + w->owned_used;
    w->owned_used += count;
    b->e->kernels->widen(t.data, t.dtype, count, *out);
    return KOLM_OK;
}

static kit_status norm(const binding *b, const char *at, enc_norm *out) {
    char name[NAME_MAX_BYTES];
    kit_format(name, sizeof name, "%s.weight", at);
    KIT_TRY(vector(b, name, b->e->is.hidden, &out->gain));
    kit_format(name, sizeof name, "%s.bias", at);
    return vector(b, name, b->e->is.hidden, &out->bias);
}

static kit_status linear(const binding *b, const char *at, uint32_t rows, uint32_t columns, enc_linear *out) {
    char name[NAME_MAX_BYTES];
    kit_format(name, sizeof name, "%s.weight", at);
    KIT_TRY(matrix(b, name, rows, columns, &out->w));
    kit_format(name, sizeof name, "%s.bias", at);
    return vector(b, name, rows, &out->bias);
}

static kit_status layer(const binding *b, uint32_t number, enc_layer *out) {
    static const char *const bert[] = {"attention.self.query", "attention.self.key", "attention.self.value",
                                       "attention.output.dense", "attention.output.LayerNorm"};
    static const char *const mpnet[] = {"attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o",
                                        "attention.LayerNorm"};
    const enc_description *d = &b->e->is;
    const char *const *names = d->family == ENC_MPNET ? mpnet : bert;
    enc_linear *const to[] = {&out->q, &out->k, &out->v, &out->o};
    char at[NAME_MAX_BYTES];
    for (int i = 0; i < 4; i++) {
        kit_format(at, sizeof at, "encoder.layer.%u.%s", (unsigned)number, names[i]);
        KIT_TRY(linear(b, at, d->hidden, d->hidden, to[i]));
    }
    kit_format(at, sizeof at, "encoder.layer.%u.%s", (unsigned)number, names[4]);
    KIT_TRY(norm(b, at, &out->after_attention));
    kit_format(at, sizeof at, "encoder.layer.%u.intermediate.dense", (unsigned)number);
    KIT_TRY(linear(b, at, d->inner, d->hidden, &out->in));
    kit_format(at, sizeof at, "encoder.layer.%u.output.dense", (unsigned)number);
    KIT_TRY(linear(b, at, d->hidden, d->inner, &out->out));
    kit_format(at, sizeof at, "encoder.layer.%u.output.LayerNorm", (unsigned)number);
    return norm(b, at, &out->after);
}

/* MPNet's 32 buckets of distances (those of T5): 16 for keys up to the query's position, then 16 for keys after it; in
 * both, 8 exact distances, then increasingly wide ranges, for a maximum distance of 128. */
static uint32_t kind_of_distance(int32_t query_less_key) {
    static const uint8_t wider[] = {12, 16, 23, 32, 46, 64, 91};
    const uint32_t n = (uint32_t)(query_less_key < 0 ? -query_less_key : query_less_key);
    uint32_t kind = n < 8 ? n : 8;
    for (size_t i = 0; n >= 8 && i < sizeof wider; i++)
        kind += n >= wider[i];
    return kind + (query_less_key < 0 ? 16 : 0);
}

static kit_status distances(const binding *b) {
    enc_weights *w = &b->e->weights;
    const enc_description *d = &b->e->is;
    enc_matrix m;
    KIT_TRY(matrix(b, "encoder.relative_attention_bias.weight", 32, d->heads, &m));
    float *table = w->owned + w->owned_used;
    w->owned_used += 32 * (size_t)d->heads;
    b->e->kernels->widen(m.data, m.dtype, 32 * (size_t)d->heads, table);
    const size_t stride = 2 * (size_t)w->reach + ENC_VECTOR_MOST;
    w->distances = w->owned + w->owned_used;
    w->owned_used += stride * d->heads;
    for (uint32_t h = 0; h < d->heads; h++)
        for (uint32_t i = 0; i < stride; i++)
            w->distances[h * stride + i] =
                i <= 2 * w->reach ? table[kind_of_distance((int32_t)i - (int32_t)w->reach) * d->heads + h] : 0.0f;
    return KOLM_OK;
}

static kit_status find_prefix(binding *b) {
    static const char *const prefixes[] = {"", "bert.", "roberta.", "mpnet.", "0.auto_model."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        b->prefix = prefixes[i];
        if (find(b, "embeddings.word_embeddings.weight") != NULL) return KOLM_OK;
    }
    b->prefix = "";
    return lacks(b, "embeddings.word_embeddings.weight");
}

/* Number of floats of a model of these sizes besides its matrices. */
static size_t floats_of(const enc_description *d, uint32_t reach) {
    size_t count = 2 * (size_t)d->hidden + (size_t)d->layers * (9 * (size_t)d->hidden + d->inner);
    if (d->family == ENC_MPNET) count += (32 + 2 * (size_t)reach + ENC_VECTOR_MOST) * d->heads;
    return count;
}

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the memory limit",
                    "out of memory while opening the encoder");
}

static kit_status bind_transformer(binding *b) {
    enc_weights *w = &b->e->weights;
    const enc_description *d = &b->e->is;
    w->reach = d->max_tokens;
    w->owned_count = floats_of(d, w->reach);
    w->owned = malloc(w->owned_count * sizeof *w->owned);
    w->layers = calloc(d->layers, sizeof *w->layers);
    if (w->owned == NULL || w->layers == NULL) return out_of_memory(b->err);
    KIT_TRY(find_prefix(b));
    KIT_TRY(matrix(b, "embeddings.word_embeddings.weight", d->vocabulary, d->hidden, &w->words));
    KIT_TRY(matrix(b, "embeddings.position_embeddings.weight", d->positions, d->hidden, &w->positions));
    if (d->types > 0) KIT_TRY(matrix(b, "embeddings.token_type_embeddings.weight", d->types, d->hidden, &w->types));
    KIT_TRY(norm(b, "embeddings.LayerNorm", &w->norm));
    for (uint32_t i = 0; i < d->layers; i++)
        KIT_TRY(layer(b, i, &w->layers[i]));
    return d->family == ENC_MPNET ? distances(b) : KOLM_OK;
}

/* ---- Static embeddings */

static kit_status static_extra(const binding *b, const char *name, bool whole, uint32_t tokens, enc_tensor *out) {
    const enc_tensor *t = enc_tensors_find(b->e->tensors, name);
    if (t == NULL) return KOLM_OK;
    const bool good = whole ? t->dtype == ENC_I32 || t->dtype == ENC_I64 : is_float(t) || t->dtype == ENC_F64;
    if (!good || t->rank != 1 || t->count == 0 || t->count > UINT32_MAX || (tokens != 0 && t->count != tokens))
        return kit_fail(b->err, KOLM_E_DATA_LOSS, "download the model again",
                        "the tensor %s of %s is not one number a token", name, b->e->shown);
    *out = *t;
    return KOLM_OK;
}

static int64_t whole_at(const enc_tensor *t, uint64_t i) {
    int32_t narrow;
    int64_t wide;
    if (t->dtype == ENC_I32) {
        memcpy(&narrow, t->data + i * 4, 4);
        return narrow;
    }
    memcpy(&wide, t->data + i * 8, 8);
    return wide;
}

static kit_status bind_static(const binding *b) {
    enc_weights *w = &b->e->weights;
    const enc_tensor *t = enc_tensors_find(b->e->tensors, "embeddings");
    if (t == NULL) t = enc_tensors_find(b->e->tensors, "embedding.weight");
    if (t == NULL) return lacks(b, "embeddings");
    if ((!is_float(t) && t->dtype != ENC_I8) || t->rank != 2 || t->count == 0 || t->shape[0] > UINT32_MAX ||
        t->shape[1] > 65536)
        return kit_fail(b->err, KOLM_E_UNIMPLEMENTED, "save the model as F32, F16, BF16 or I8",
                        "the tensor %s of %s is not a table of such numbers, but of %s in %u dimensions", t->name,
                        b->e->shown, enc_dtype_name(t->dtype), (unsigned)t->rank);
    w->words = (enc_matrix){t->data, t->dtype, (uint32_t)t->shape[0], (uint32_t)t->shape[1]};
    KIT_TRY(static_extra(b, "mapping", true, 0, &w->row_of));
    const uint32_t tokens = w->row_of.count > 0 ? (uint32_t)w->row_of.count : w->words.rows;
    KIT_TRY(static_extra(b, "weights", false, tokens, &w->weight_of));
    for (uint64_t i = 0; i < w->row_of.count; i++)
        if (whole_at(&w->row_of, i) < 0 || whole_at(&w->row_of, i) >= w->words.rows)
            return kit_fail(b->err, KOLM_E_DATA_LOSS, "download the model again",
                            "the tensor mapping of %s maps token %llu to a row that does not exist", b->e->shown,
                            (unsigned long long)i);
    b->e->is.hidden = w->words.columns;
    b->e->is.vocabulary = tokens;
    return KOLM_OK;
}

kit_status enc_weights_bind(encoder *e, kolm_error_t *err) {
    binding b = {.e = e, .prefix = "", .err = err};
    return e->is.family == ENC_STATIC ? bind_static(&b) : bind_transformer(&b);
}

void enc_weights_free(encoder *e) {
    free(e->weights.owned);
    free(e->weights.layers);
    e->weights = (enc_weights){0};
}
