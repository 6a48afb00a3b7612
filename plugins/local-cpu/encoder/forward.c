/* SPDX-License-Identifier: Apache-2.0 */
/* Runs one chunk of texts through the model: tokens to vectors, layers, and pooling. */
#include "numeric.h"
#include "pool.h"
#include "weights.h"

#include <stdlib.h>
#include <string.h>

#define INNER_BLOCK 384u /* inner units of the feed-forward network that are computed at a time */
#define PARTS 3u         /* of a product per thread, when several share it */

/* What each of the threads that share a chunk has for itself. */
typedef struct scratch {
    float *rows; /* widened weights */
    float *attention;
} scratch;

/* The memory for one chunk. All floats are in one allocation. */
struct enc_workspace {
    float *all;
    enc_panels x, q, k, v, inner; /* inner also holds the output of the attention */
    float *row;                   /* one token's numbers */
    uint32_t inner_block;
    size_t count;
    pool_phases phases;
    uint32_t threads;
    scratch own[];
};

static size_t rounded(size_t count) {
    return (count + 63) & ~(size_t)63;
}

static float *take(enc_workspace *s, size_t count) {
    float *at = s->all != NULL ? s->all + s->count : NULL;
    s->count += rounded(count);
    return at;
}

/* Divides the allocation among the members; without an allocation, only determines its size. */
static void lay_out(enc_workspace *s, const encoder *e, uint32_t most, uint32_t longest) {
    const enc_description *d = &e->is;
    const uint32_t panel = e->kernels->panel, widest = d->hidden > d->inner ? d->hidden : d->inner;
    const size_t tokens = (size_t)(most + panel - 1) / panel * panel;
    s->inner_block = d->inner < INNER_BLOCK ? d->inner : INNER_BLOCK;
    if (s->inner_block < d->hidden) s->inner_block = d->hidden; /* it also holds the attention's output */
    s->count = 0;
    enc_panels *const to[] = {&s->x, &s->q, &s->k, &s->v, &s->inner};
    for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
        to[i]->rows = to[i] == &s->inner ? s->inner_block : d->hidden;
        /* The attention reads whole vectors, up to one vector beyond the last number. */
        to[i]->at = take(s, tokens * to[i]->rows + panel);
    }
    for (uint32_t i = 0; i < s->threads; i++) {
        s->own[i].rows = take(s, (size_t)e->kernels->block * widest);
        s->own[i].attention = take(s, enc_attention_scratch(e->kernels, longest, d->hidden / d->heads));
    }
    s->row = take(s, d->hidden);
}

kit_status enc_workspace_new(const encoder *e, uint32_t most, uint32_t longest, uint32_t threads, enc_workspace **out,
                             kolm_error_t *err) {
    enc_workspace *s = calloc(1, sizeof *s + threads * sizeof *s->own);
    *out = NULL;
    if (s != NULL) {
        s->threads = threads;
        lay_out(s, e, most, longest);
        s->all = aligned_alloc(64, s->count * sizeof *s->all);
    }
    if (s == NULL || s->all == NULL) {
        free(s);
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs, use fewer threads or shorter texts",
                        "out of memory while embedding texts");
    }
    memset(s->all, 0, s->count * sizeof *s->all);
    lay_out(s, e, most, longest);
    pool_phases_init(&s->phases);
    *out = s;
    return KOLM_OK;
}

void enc_workspace_free(enc_workspace *s) {
    if (s == NULL) return;
    pool_phases_destroy(&s->phases);
    free(s->all);
    free(s);
}

/* ---- Tokens to vectors */

static const uint8_t *row_of(const enc_matrix *m, uint32_t row) {
    return m->data + (size_t)row * m->columns * enc_dtype_bytes(m->dtype);
}

static float *place_of(const encoder *e, enc_panels p, uint32_t token) {
    const uint32_t panel = e->kernels->panel;
    return p.at + (size_t)(token / panel) * p.rows * panel + token % panel;
}

static void fill_token(const encoder *e, enc_workspace *s, uint32_t id, uint32_t position, uint32_t token) {
    const enc_weights *w = &e->weights;
    const uint32_t hidden = e->is.hidden, panel = e->kernels->panel;
    float *to = place_of(e, s->x, token);
    e->kernels->widen(row_of(&w->words, id), w->words.dtype, hidden, s->row);
    for (uint32_t k = 0; k < hidden; k++)
        to[(size_t)k * panel] = s->row[k];
    if (w->types.rows > 0) {
        e->kernels->widen(row_of(&w->types, 0), w->types.dtype, hidden, s->row);
        for (uint32_t k = 0; k < hidden; k++)
            to[(size_t)k * panel] += s->row[k];
    }
    e->kernels->widen(row_of(&w->positions, position), w->positions.dtype, hidden, s->row);
    for (uint32_t k = 0; k < hidden; k++)
        to[(size_t)k * panel] += s->row[k];
}

/* The padding token has the position of padding. It only occurs if the text contains it literally. */
static void fill_text(const encoder *e, enc_workspace *s, const enc_text *text, uint32_t first) {
    const bool offset = e->is.family != ENC_BERT;
    uint32_t next = offset ? e->is.pad + 1 : 0;
    for (uint32_t i = 0; i < text->count; i++) {
        const bool pads = offset && text->tokens[i] == e->is.pad;
        fill_token(e, s, text->tokens[i], pads ? e->is.pad : next, first + i);
        next += pads ? 0 : 1;
    }
}

/* ---- Layers: a sequence of phases, whose units the threads share */

typedef struct chunk {
    const encoder *e;
    enc_workspace *space;
    const enc_text *texts;
    const uint32_t *which;
    uint32_t count;
    enc_extent extent;
    uint32_t parts; /* of a product */
} chunk;

/* A thread's way through the phases of a chunk. */
typedef struct walk {
    const chunk *c;
    const scratch *own;
    uint32_t phase;
    enc_panels x, q; /* exchange their places after each norm */
    const enc_product *products;
    const enc_norm *norm;
} walk;

static void run_phase(walk *w, uint32_t units, void (*unit)(void *user, uint32_t number)) {
    pool_phase_run(&w->c->space->phases, w->phase++, units, unit, w);
}

static void run_part(void *user, uint32_t number) {
    const walk *w = user;
    const enc_kernels *kernels = w->c->e->kernels;
    enc_product p = w->products[number / w->c->parts];
    const uint32_t part = number % w->c->parts, blocks = p.rows / kernels->block;
    const uint32_t first = (uint32_t)((uint64_t)blocks * part / w->c->parts) * kernels->block;
    if (part + 1 < w->c->parts) p.rows = (uint32_t)((uint64_t)blocks * (part + 1) / w->c->parts) * kernels->block;
    p.rows -= first;
    p.first_row += first;
    p.y_row += first;
    if (p.bias != NULL) p.bias += first;
    p.scratch = w->own->rows;
    if (p.rows > 0) kernels->multiply(&p, w->c->extent);
}

/* Products that do not need one another. */
static void multiply(walk *w, const enc_product *products, uint32_t count) {
    w->products = products;
    run_phase(w, count * w->c->parts, run_part);
}

static enc_product product(const enc_linear *by, enc_panels x, enc_panels y) {
    return (enc_product){.w = &by->w, .rows = by->w.rows, .columns = by->w.columns, .x = x, .y = y, .bias = by->bias};
}

/* Only the heads of a single text are shared: a text that begins within a panel is written with whole vectors, which
 * may reach into the first row of the next head and write back what they read there. */
static uint32_t attention_units(const chunk *c) {
    return c->space->threads > 1 && c->count == 1 ? c->e->is.heads : 1;
}

static void attend(void *user, uint32_t number) {
    const walk *w = user;
    const chunk *c = w->c;
    const enc_description *d = &c->e->is;
    const enc_weights *weights = &c->e->weights;
    const uint32_t heads = d->heads / attention_units(c);
    enc_attention a = {.q = w->q,
                       .k = c->space->k,
                       .v = c->space->v,
                       .to = c->space->inner,
                       .first_head = number * heads,
                       .heads = heads,
                       .size = d->hidden / d->heads,
                       .bias = weights->distances,
                       .bias_stride = 2 * weights->reach + ENC_VECTOR_MOST,
                       .bias_zero = weights->reach,
                       .scratch = w->own->attention};
    a.scale = (float)(1.0 / num_sqrt((double)a.size));
    for (uint32_t i = 0; i < c->count; i++) {
        a.count = c->texts[c->which[i]].count;
        if (a.count > 0) c->e->kernels->attend(&a);
        a.first += a.count;
    }
}

/* Computes and uses the inner units block by block: each block extends the chain of every output. */
static void feed_forward(walk *w, const enc_layer *layer) {
    const uint32_t inner = w->c->e->is.inner;
    const enc_workspace *s = w->c->space;
    for (uint32_t first = 0; first < inner; first += s->inner_block) {
        const uint32_t units = inner - first < s->inner_block ? inner - first : s->inner_block;
        const enc_product in = {.w = &layer->in.w,
                                .first_row = first,
                                .rows = units,
                                .columns = w->c->e->is.hidden,
                                .x = w->x,
                                .y = s->inner,
                                .bias = layer->in.bias + first,
                                .activate = true,
                                .activation = w->c->e->is.activation};
        const enc_product out = {.w = &layer->out.w,
                                 .rows = w->c->e->is.hidden,
                                 .first_column = first,
                                 .columns = units,
                                 .x = s->inner,
                                 .y = w->q,
                                 .more = w->x,
                                 .add = first + units == inner,
                                 .bias = first == 0 ? layer->out.bias : NULL};
        multiply(w, &in, 1);
        multiply(w, &out, 1);
    }
}

static void normalise_all(void *user, uint32_t number) {
    const walk *w = user;
    const encoder *e = w->c->e;
    (void)number;
    e->kernels->normalise(w->q, w->c->extent, w->norm->gain, w->norm->bias, e->is.epsilon);
}

/* Of q, which becomes x. */
static void normalise(walk *w, const enc_norm *norm) {
    const enc_panels x = w->x;
    w->norm = norm;
    run_phase(w, 1, normalise_all);
    w->x = w->q;
    w->q = x;
}

static void one_layer(walk *w, const enc_layer *layer) {
    const enc_workspace *s = w->c->space;
    const enc_product in[] = {product(&layer->q, w->x, w->q), product(&layer->k, w->x, s->k),
                              product(&layer->v, w->x, s->v)};
    multiply(w, in, 3);
    run_phase(w, attention_units(w->c), attend);
    enc_product out = product(&layer->o, s->inner, w->q);
    out.add = true;
    out.more = w->x;
    multiply(w, &out, 1);
    normalise(w, &layer->after_attention);
    feed_forward(w, layer);
    normalise(w, &layer->after);
}

static void fill(void *user, uint32_t number) {
    const walk *w = user;
    const chunk *c = w->c;
    const enc_norm *norm = &c->e->weights.norm;
    uint32_t tokens = 0;
    (void)number;
    for (uint32_t i = 0; i < c->count; i++) {
        const enc_text *text = &c->texts[c->which[i]];
        fill_text(c->e, c->space, text, tokens);
        tokens += text->count;
    }
    c->e->kernels->normalise(w->x, c->extent, norm->gain, norm->bias, c->e->is.epsilon);
}

static kit_status run_layers(void *user, uint32_t number, kolm_error_t *err) {
    const chunk *c = user;
    walk w = {.c = c, .own = &c->space->own[number], .x = c->space->x, .q = c->space->q};
    (void)err;
    run_phase(&w, 1, fill);
    for (uint32_t i = 0; i < c->e->is.layers; i++)
        one_layer(&w, &c->e->weights.layers[i]);
    return KOLM_OK;
}

/* ---- Pooling */

static void scale_to_one(float *x, uint32_t count) {
    float sum[4] = {0};
    for (uint32_t k = 0; k < count; k++)
        sum[k % 4] += x[k] * x[k];
    float length = (float)num_sqrt((double)((sum[0] + sum[1]) + (sum[2] + sum[3])));
    if (length < 1e-12f) length = 1e-12f;
    for (uint32_t k = 0; k < count; k++)
        x[k] = x[k] / length;
}

static void pool_text(const encoder *e, const enc_workspace *s, uint32_t first, uint32_t count, float *out) {
    const uint32_t hidden = e->is.hidden, panel = e->kernels->panel, most = e->is.pooling == ENC_CLS ? 1 : count;
    memset(out, 0, hidden * sizeof *out);
    for (uint32_t i = 0; i < most; i++) {
        const float *at = place_of(e, s->x, first + i);
        if (e->is.pooling == ENC_MEAN)
            for (uint32_t k = 0; k < hidden; k++)
                out[k] += at[(size_t)k * panel];
        else
            for (uint32_t k = 0; k < hidden; k++)
                out[k] = i == 0 || at[(size_t)k * panel] > out[k] ? at[(size_t)k * panel] : out[k];
    }
    if (e->is.pooling == ENC_MEAN && count > 0)
        for (uint32_t k = 0; k < hidden; k++)
            out[k] = out[k] / (float)count;
    if (e->is.normalise) scale_to_one(out, hidden);
}

kit_status enc_forward(const encoder *e, enc_workspace *s, const enc_text *texts, const uint32_t *which, uint32_t count,
                       float *out, kolm_error_t *err) {
    const uint32_t panel = e->kernels->panel, lanes = e->kernels->lanes;
    chunk c = {.e = e, .space = s, .texts = texts, .which = which, .count = count};
    uint32_t tokens = 0;
    for (uint32_t i = 0; i < count; i++)
        tokens += texts[which[i]].count;
    if (tokens > 0) {
        c.extent.panels = (tokens + panel - 1) / panel;
        c.extent.last_vectors = (tokens - (c.extent.panels - 1) * panel + lanes - 1) / lanes;
        c.parts = s->threads > 1 ? PARTS * s->threads : 1;
        pool_phases_restart(&s->phases);
        KIT_TRY(pool_run(s->threads, s->threads, run_layers, &c, err));
    }
    tokens = 0;
    for (uint32_t i = 0; i < count; i++) {
        const enc_text *text = &texts[which[i]];
        if (text->count > 0)
            pool_text(e, s, tokens, text->count, out + (size_t)which[i] * e->is.hidden);
        else
            memset(out + (size_t)which[i] * e->is.hidden, 0, e->is.hidden * sizeof *out);
        tokens += text->count;
    }
    return KOLM_OK;
}

/* ---- Static embeddings */

static float number_at(const encoder *e, const enc_tensor *t, uint32_t i) {
    double wide;
    float narrow;
    if (t->dtype != ENC_F64) {
        e->kernels->widen(t->data + (size_t)i * enc_dtype_bytes(t->dtype), t->dtype, 1, &narrow);
        return narrow;
    }
    memcpy(&wide, t->data + (size_t)i * 8, 8);
    return (float)wide;
}

static uint32_t static_row(const enc_tensor *t, uint32_t id) {
    int32_t narrow;
    int64_t wide;
    if (t->count == 0) return id;
    if (t->dtype == ENC_I64) {
        memcpy(&wide, t->data + (size_t)id * 8, 8);
        return (uint32_t)wide;
    }
    memcpy(&narrow, t->data + (size_t)id * 4, 4);
    return (uint32_t)narrow;
}

/* Converts sixteen numbers at a time, so that no buffer for a whole row is needed. */
static void add_row(const encoder *e, uint32_t id, float *out) {
    const enc_weights *w = &e->weights;
    const float by = w->weight_of.count > 0 ? number_at(e, &w->weight_of, id) : 1.0f;
    const uint8_t *row = row_of(&w->words, static_row(&w->row_of, id));
    const uint32_t size = enc_dtype_bytes(w->words.dtype);
    float some[16];
    for (uint32_t k = 0; k < w->words.columns; k += 16) {
        const uint32_t n = w->words.columns - k < 16 ? w->words.columns - k : 16;
        if (w->words.dtype == ENC_I8)
            for (uint32_t i = 0; i < n; i++)
                some[i] = (float)(int8_t)row[k + i];
        else
            e->kernels->widen(row + (size_t)k * size, w->words.dtype, n, some);
        for (uint32_t i = 0; i < n; i++)
            out[k + i] += some[i] * by;
    }
}

void enc_forward_static(const encoder *e, const enc_text *text, float *out) {
    const uint32_t columns = e->weights.words.columns;
    memset(out, 0, columns * sizeof *out);
    if (text->count == 0) return;
    for (uint32_t i = 0; i < text->count; i++)
        add_row(e, text->tokens[i], out);
    for (uint32_t k = 0; k < columns; k++)
        out[k] = out[k] / (float)text->count;
    if (e->is.normalise) scale_to_one(out, columns);
}
