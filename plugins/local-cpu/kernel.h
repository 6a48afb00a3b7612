/* SPDX-License-Identifier: Apache-2.0 */
/* The innermost loops over labels, for vectors of LANES numbers. Included by solver.c once for each width. */

/*
 * Requires KERNEL(name), LANES and TARGET (a function attribute or nothing). Lanes never interact, and no target has
 * fused operations enabled, so every width produces the same bits.
 */
typedef float KERNEL(vec) __attribute__((vector_size(4 * LANES)));
typedef int32_t KERNEL(ivec) __attribute__((vector_size(4 * LANES)));
#define V KERNEL(vec)
#define I KERNEL(ivec)
#define NOTHING ((V){0})
#define SPLAT(x) (NOTHING + (x))
#define SELECT(mask, yes, no) ((V)(((I)(yes) & (mask)) | ((I)(no) & ~(mask))))

/* One visit of SOLVE_SVM; vectors: number of V in the strip. Returns the largest violation over the lanes. */
TARGET static inline __attribute__((always_inline)) float KERNEL(visit_svm_n)(work *w, float *alpha,
                                                                              const uint32_t vectors) {
    const row_view *row = &w->reader.view;
    const float soft = 0.5f / solve_cost(w->task, row->label), inverse = 1.0f / (row->square + 1.0f + soft);
    V *weights = (V *)(void *)w->weights, *bias = weights + (size_t)w->lines * vectors, *a = (V *)(void *)alpha;
    V z[4], d[4], violation = NOTHING;
    for (uint32_t v = 0; v < vectors; v++)
        z[v] = bias[v];
    for (uint32_t k = 0; k < row->length; k++) {
        if (k + AHEAD < row->length) __builtin_prefetch(weights + (size_t)row->index[k + AHEAD] * vectors);
        const V *line = weights + (size_t)row->index[k] * vectors;
        const V x = SPLAT(row->value[k]);
        for (uint32_t v = 0; v < vectors; v++)
            z[v] += x * line[v];
    }
    for (uint32_t v = 0; v < vectors; v++) {
        I lane;
        for (int32_t i = 0; i < LANES; i++)
            lane[i] = i + (int32_t)(v * LANES);
        const I own = lane == (int32_t)row->label - (int32_t)w->task->first_label;
        const V y = SELECT(own, SPLAT(1.0f), SPLAT(-1.0f));
        const V gradient = y * z[v] - SPLAT(1.0f) + a[v] * SPLAT(soft);
        const V negative = SELECT(gradient < NOTHING, gradient, NOTHING);
        const V projected = SELECT(a[v] > NOTHING, gradient, negative);
        const V size = (V)((I)projected & 0x7FFFFFFF);
        violation = SELECT(size > violation, size, violation);
        V next = a[v] - gradient * SPLAT(inverse);
        next = SELECT(next > NOTHING, next, NOTHING);
        d[v] = (next - a[v]) * y;
        a[v] = next;
    }
    float most = 0.0f;
    for (int i = 0; i < LANES; i++)
        if (violation[i] > most) most = violation[i];
    if (most <= 1e-6f) return most;
    for (uint32_t v = 0; v < vectors; v++)
        bias[v] += d[v];
    for (uint32_t k = 0; k < row->length; k++) {
        V *line = weights + (size_t)row->index[k] * vectors;
        const V x = SPLAT(row->value[k]);
        for (uint32_t v = 0; v < vectors; v++)
            line[v] += x * d[v];
    }
    return most;
}

TARGET static float KERNEL(visit_svm)(work *w, float *alpha) {
    const uint32_t vectors = w->task->width / LANES;
    if (vectors == 1) return KERNEL(visit_svm_n)(w, alpha, 1);
    if (vectors == 2) return KERNEL(visit_svm_n)(w, alpha, 2);
    return KERNEL(visit_svm_n)(w, alpha, 4);
}

/* sums = bias + sum of value * line; four vectors stay in registers over the whole row. */
TARGET static void KERNEL(score)(const float *weights, uint32_t width, uint32_t lines, const row_view *row,
                                 float *sums) {
    const uint32_t vectors = width / LANES;
    const V *all = (const V *)(const void *)weights;
    V *z = (V *)(void *)sums;
    uint32_t v = 0;
    for (; v + 4 <= vectors; v += 4) {
        const V *bias = all + (size_t)lines * vectors + v;
        V a = bias[0], b = bias[1], c = bias[2], d = bias[3];
        for (uint32_t k = 0; k < row->length; k++) {
            const V *line = all + (size_t)row->index[k] * vectors + v;
            const V x = SPLAT(row->value[k]);
            a += x * line[0];
            b += x * line[1];
            c += x * line[2];
            d += x * line[3];
        }
        z[v] = a;
        z[v + 1] = b;
        z[v + 2] = c;
        z[v + 3] = d;
    }
    for (; v < vectors; v++) {
        V a = all[(size_t)lines * vectors + v];
        for (uint32_t k = 0; k < row->length; k++)
            a += SPLAT(row->value[k]) * all[(size_t)row->index[k] * vectors + v];
        z[v] = a;
    }
}

#undef V
#undef I
#undef NOTHING
#undef SPLAT
#undef SELECT
#undef KERNEL
#undef LANES
#undef TARGET
