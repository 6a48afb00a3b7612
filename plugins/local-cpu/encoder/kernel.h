/* SPDX-License-Identifier: Apache-2.0 */
/* Products, norms and attention for vectors of LANES floats. Included by kernels.c once for each width, after
 * vector.h. */

/*
 * Requires, in addition to the macros of vector.h, ROWS: the number of rows of weights that are multiplied at a time,
 * such that ROWS * 2 sums fit into the processor's registers. A panel is two vectors wide.
 */
#define PANEL (2 * LANES)

/* ---- Products */

/* A tile multiplies rows of w, `stride` floats apart, by vectors of x. Its sums begin with start, or with y if NULL. */
typedef struct W(stretch) {
    const float *w;
    size_t stride, ahead; /* ahead: distance to the weights that are needed next, for prefetching */
    uint32_t count;
    const float *start;
} W(stretch);

/* Multiplies the next number of every row by that of every token. */
INLINE void W(step)(const int rows, const int vectors, const float **at, size_t stride, const float *x,
                    V sum[ROWS][2]) {
    V part[2];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++)
        part[v] = W(load)(x + v * LANES);
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
        const V weight = SPLAT(at[r / 3][(size_t)(r % 3) * stride]);
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            sum[r][v] = W(fma)(weight, part[v], sum[r][v]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r += 3)
        at[r / 3]++;
}

INLINE void W(tile)(const int rows, const int vectors, const W(stretch) * s, const float *x, float *y) {
    const size_t stride = s->stride;
    const float *const start = s->start;
    V sum[ROWS][2];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            sum[r][v] = start != NULL ? SPLAT(start[r]) : W(load)(y + r * PANEL + v * LANES);
    /* A pointer to every third row: the two rows after it are one and two strides away, which an addressing mode can
     * express. */
    const float *at[(ROWS + 2) / 3];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r += 3)
        at[r / 3] = s->w + (size_t)r * stride;
    uint32_t k = 0;
    /* Prefetches cache lines of the next weights one at a time, in ascending order: a dozen at once would delay each
     * other and the current loads, and ascending addresses start the hardware prefetcher. The addresses are integers,
     * because the last ones are beyond the matrix. */
    const uintptr_t row = s->count * sizeof(float), gap = stride * sizeof(float) - row;
    uintptr_t next = (uintptr_t)(s->w) + s->ahead * sizeof(float), row_end = next + row;
    for (; k + 16 <= s->count; k += 16)
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++, x += PANEL) {
            if (j < rows) {
                __builtin_prefetch((const void *)next, 0, 3);
                next += 16 * sizeof(float);
                if (next >= row_end) next += gap, row_end += row + gap;
            }
            W(step)(rows, vectors, at, stride, x, sum);
        }
    for (; k < s->count; k++, x += PANEL)
        W(step)(rows, vectors, at, stride, x, sum);
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            W(store)(y + r * PANEL + v * LANES, sum[r][v]);
}

TARGET static void W(tile_all)(const W(stretch) * s, const float *x, float *y) {
    W(tile)(ROWS, 2, s, x, y);
}
TARGET static void W(tile_half)(const W(stretch) * s, const float *x, float *y) {
    W(tile)(ROWS, 1, s, x, y);
}
TARGET static void W(tile_one)(const W(stretch) * s, const float *x, float *y) {
    W(tile)(1, 2, s, x, y);
}

/* Adds `more` and applies the activation to numbers that have just been stored. */
INLINE void W(finish)(const enc_product *p, uint32_t rows, const float *more, float *y) {
    if (p->add)
        for (uint32_t i = 0; i < rows * PANEL; i += LANES)
            W(store)(y + i, W(load)(y + i) + W(load)(more + i));
    if (p->activate)
        for (uint32_t i = 0; i < rows * PANEL; i += LANES)
            W(store)(y + i, W(after)(p->activation, W(load)(y + i)));
}

TARGET static void W(widen)(const uint8_t *from, enc_dtype dtype, size_t count, float *to) {
    if (dtype == ENC_F32) {
        memcpy(to, from, count * 4);
        return;
    }
    size_t i = 0;
    for (; i < count; i += LANES) {
        W(halves) some = {0};
        const size_t left = count - i < LANES ? count - i : LANES;
        memcpy(&some, from + 2 * i, left == LANES ? sizeof some : 2 * left);
        const V wide = dtype == ENC_F16 ? W(widen_half)(some) : W(widen_bfloat)(some);
        if (left == LANES)
            W(store)(to + i, wide);
        else
            memcpy(to + i, &wide, 4 * left);
    }
}

/* Returns the weights of `rows` rows of the product from row n on, as floats; *stride: floats from row to row. */
INLINE const float *W(weights)(const enc_product *p, uint32_t n, uint32_t rows, size_t *stride) {
    const enc_matrix *m = p->w;
    const size_t at = (size_t)(p->first_row + n) * m->columns + p->first_column;
    *stride = m->columns;
    if (m->dtype == ENC_F32) return (const float *)(const void *)(m->data + at * 4);
    for (uint32_t r = 0; r < rows; r++) {
        const uint8_t *row = m->data + (at + (size_t)r * m->columns) * 2;
        W(widen)(row, m->dtype, p->columns, p->scratch + (size_t)r * p->columns);
    }
    *stride = p->columns;
    return p->scratch;
}

TARGET static void W(multiply)(const enc_product *p, enc_extent extent) {
    for (uint32_t n = 0; n < p->rows;) {
        const uint32_t rows = p->rows - n >= ROWS ? ROWS : 1;
        W(stretch) s = {.count = p->columns, .start = p->bias != NULL ? p->bias + n : NULL};
        s.w = W(weights)(p, n, rows, &s.stride);
        for (uint32_t panel = 0; panel < extent.panels; panel++) {
            const float *x = p->x.at + ((size_t)panel * p->x.rows + p->x_row) * PANEL;
            const size_t to = ((size_t)panel * p->y.rows + p->y_row + n) * PANEL;
            s.ahead = panel == 0 && p->w->dtype == ENC_F32 ? rows * s.stride : 0;
            if (rows == 1)
                W(tile_one)(&s, x, p->y.at + to);
            else if (panel + 1 == extent.panels && extent.last_vectors == 1)
                W(tile_half)(&s, x, p->y.at + to);
            else
                W(tile_all)(&s, x, p->y.at + to);
            if (p->add || p->activate) W(finish)(p, rows, p->add ? p->more.at + to : NULL, p->y.at + to);
        }
        n += rows;
    }
}

/* ---- Norms */

/* Sums x, or the square of x - middle, over the rows of one vector of tokens, in four chains. */
INLINE V W(sum_rows)(const float *x, uint32_t rows, V middle, const bool squares) {
    V sum[4] = {{0}, {0}, {0}, {0}};
    for (uint32_t k = 0; k < rows; k += 4)
#pragma GCC unroll 4
        for (uint32_t c = 0; c < 4; c++) {
            if (k + c >= rows) continue;
            const V part = W(load)(x + (size_t)(k + c) * PANEL);
            if (squares)
                sum[c] = W(fma)(part - middle, part - middle, sum[c]);
            else
                sum[c] += part;
        }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

TARGET static void W(normalise)(enc_panels x, enc_extent extent, const float *gain, const float *bias, float epsilon) {
    const V count = SPLAT((float)x.rows);
    for (uint32_t panel = 0; panel < extent.panels; panel++) {
        const uint32_t vectors = panel + 1 == extent.panels ? extent.last_vectors : 2;
        for (uint32_t v = 0; v < vectors; v++) {
            float *at = x.at + (size_t)panel * x.rows * PANEL + v * LANES;
            const V mean = W(sum_rows)(at, x.rows, (V){0}, false) / count;
            const V variance = W(sum_rows)(at, x.rows, mean, true) / count;
            const V inverse = SPLAT(1.0f) / W(root)(variance + SPLAT(epsilon));
            for (uint32_t k = 0; k < x.rows; k++) {
                float *here = at + (size_t)k * PANEL;
                W(store)(here, W(fma)((W(load)(here) - mean) * inverse, SPLAT(gain[k]), SPLAT(bias[k])));
            }
        }
    }
}

/* ---- Attention: one head of one text at a time */

/* Floats of a row of count tokens: rounded up to vectors, plus as many keys as are scored at a time. */
INLINE size_t W(strip)(uint32_t count) {
    return ((size_t)count + LANES - 1) / LANES * LANES + (LANES > 8 ? LANES : 8);
}

TARGET static void W(gather)(enc_panels from, uint32_t row, uint32_t size, uint32_t first, uint32_t count, float *to) {
    const size_t stride = W(strip)(count);
    for (uint32_t done = 0; done < count;) {
        const uint32_t token = first + done, lane = token % PANEL;
        const uint32_t here = PANEL - lane < count - done ? PANEL - lane : count - done;
        const float *at = from.at + ((size_t)(token / PANEL) * from.rows + row) * PANEL + lane;
        /* Copies whole vectors: excess numbers are overwritten by the next piece, or never read. */
        for (uint32_t d = 0; d < size; d++)
            for (uint32_t i = 0; i < here; i += LANES)
                W(store)(to + d * stride + done + i, W(load)(at + (size_t)d * PANEL + i));
        done += here;
    }
}

/* Computes the scores of eight keys for the vector of queries at q. Memory after the last key is readable, and scores
 * from there are ignored. */
INLINE void W(score)(const float *q, const float *k, size_t stride, uint32_t size, V *to) {
    V sum[8];
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
        sum[j] = (V){0};
    for (uint32_t d = 0; d < size; d++) {
        const V query = W(load)(q + d * stride);
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++)
            sum[j] = W(fma)(SPLAT(k[d * stride + (size_t)j]), query, sum[j]);
    }
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
        to[j] = sum[j];
}

/* Replaces the scores, one vector of queries per key, by the numerators of their softmax; returns 1 / their sum. */
INLINE V W(share)(V *score, uint32_t count, float scale, const float *bias) {
    V most = SPLAT(-3.0e38f), sum = {0};
    for (uint32_t j = 0; j < count; j++) {
        score[j] = score[j] * SPLAT(scale);
        if (bias != NULL) score[j] += W(load)(bias - j);
        most = W(maximum)(score[j], most);
    }
    for (uint32_t j = 0; j < count; j++) {
        score[j] = W(exponential)(score[j] - most);
        sum += score[j];
    }
    return SPLAT(1.0f) / sum;
}

/* Computes `rows` numbers of the head: the sum of share times value over all keys, times inverse. */
INLINE void W(mix)(const int rows, const V *share, uint32_t count, const float *v, size_t stride, V inverse,
                   float *to) {
    V sum[8];
#pragma GCC unroll 8
    for (int d = 0; d < rows; d++)
        sum[d] = (V){0};
    for (uint32_t j = 0; j < count; j++) {
        const V one = share[j];
#pragma GCC unroll 8
        for (int d = 0; d < rows; d++)
            sum[d] = W(fma)(SPLAT(v[(size_t)d * stride + j]), one, sum[d]);
    }
#pragma GCC unroll 8
    for (int d = 0; d < rows; d++)
        W(store)(to + (size_t)d * LANES, sum[d] * inverse);
}

/* Stores the head's numbers of `count` queries from `token` on; from: one vector of queries per number. Neighbours in a
 * panel are written back unchanged. */
TARGET static void W(scatter)(enc_panels to, uint32_t row, uint32_t size, uint32_t token, uint32_t count,
                              const float *from) {
    I lane;
    for (int32_t i = 0; i < LANES; i++)
        lane[i] = i;
    for (uint32_t done = 0; done < count;) {
        const uint32_t first = (token + done) % PANEL;
        const uint32_t here = PANEL - first < count - done ? PANEL - first : count - done;
        const I ours = lane < (int32_t)here;
        float *at = to.at + ((size_t)((token + done) / PANEL) * to.rows + row) * PANEL + first;
        for (uint32_t d = 0; d < size; d++) {
            float *place = at + (size_t)d * PANEL;
            W(store)(place, SELECT(ours, W(load)(from + (size_t)d * LANES + done), W(load)(place)));
        }
        done += here;
    }
}

/* Returns a head's numbers of one text, in rows `stride` floats apart: in their panel, or copied to `room` if the text
 * is in several panels. */
INLINE const float *W(head)(const enc_attention *a, enc_panels from, uint32_t row, float *room, size_t *stride) {
    const uint32_t panel = a->first / PANEL, lane = a->first % PANEL;
    *stride = PANEL;
    if (lane + a->count <= PANEL) return from.at + ((size_t)panel * from.rows + row) * PANEL + lane;
    W(gather)(from, row, a->size, a->first, a->count, room);
    *stride = W(strip)(a->count);
    return room;
}

/* Computes the attention of one vector of queries, from query i of the text on. */
INLINE void W(answer)(const enc_attention *a, uint32_t head, uint32_t i, const float *const at[3], size_t stride,
                      V *score, float *mixed) {
    const float *q = at[0] + i, *k = at[1], *v = at[2];
    const float *bias = a->bias != NULL ? a->bias + (size_t)head * a->bias_stride + a->bias_zero + i : NULL;
    for (uint32_t j = 0; j < a->count; j += 8)
        W(score)(q, k + j, stride, a->size, score + j);
    const V inverse = W(share)(score, a->count, a->scale, bias);
    for (uint32_t d = 0; d < a->size;) {
        if (d + 8 > a->size && a->size >= 8) d = a->size - 8; /* computes some twice instead of the rest one by one */
        if (a->size >= 8)
            W(mix)(8, score, a->count, v + d * stride, stride, inverse, mixed + (size_t)d * LANES);
        else
            W(mix)(1, score, a->count, v + d * stride, stride, inverse, mixed + (size_t)d * LANES);
        d += a->size >= 8 ? 8 : 1;
    }
    const uint32_t left = a->count - i;
    W(scatter)(a->to, head * a->size, a->size, a->first + i, left < LANES ? left : LANES, mixed);
}

TARGET static void W(attend)(const enc_attention *a) {
    const size_t strip = W(strip)(a->count) * a->size;
    float *room = a->scratch, *mixed = room + 3 * strip;
    V *score = (V *)(void *)(mixed + (size_t)(a->size + 1) * LANES);
    const enc_panels from[3] = {a->q, a->k, a->v};
    for (uint32_t h = a->first_head; h < a->first_head + a->heads; h++) {
        const float *at[3];
        size_t stride = 0;
        for (int i = 0; i < 3; i++)
            at[i] = W(head)(a, from[i], h * a->size, room + (size_t)i * strip, &stride);
        for (uint32_t i = 0; i < a->count; i += LANES)
            W(answer)(a, h, i, at, stride, score, mixed);
    }
}

/* ---- For tests */

TARGET static void W(exponentials)(const float *x, size_t count, float *to) {
    for (size_t i = 0; i < count; i += LANES)
        W(store)(to + i, W(exponential)(W(load)(x + i)));
}

TARGET static void W(activations)(enc_activation activation, float *x, size_t count) {
    for (size_t i = 0; i < count; i += LANES)
        W(store)(x + i, W(after)(activation, W(load)(x + i)));
}

static const enc_kernels W(kernels) = {.name = NAME,
                                       .lanes = LANES,
                                       .panel = PANEL,
                                       .block = ROWS,
                                       .multiply = W(multiply),
                                       .normalise = W(normalise),
                                       .attend = W(attend),
                                       .widen = W(widen),
                                       .exponential = W(exponentials),
                                       .activate = W(activations)};

#undef V
#undef I
#undef SPLAT
#undef SELECT
#undef INLINE
#undef SHIFTER
#undef PANEL
#undef W
#undef LANES
#undef ROWS
#undef TARGET
#undef FUSED
#undef NAME
