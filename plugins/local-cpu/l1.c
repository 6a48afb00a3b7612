/* SPDX-License-Identifier: Apache-2.0 */
/* L1-regularised logistic regression for four labels at a time, by coordinate descent on quadratic models (newGLMNET).
 */
#include "kolm/kit/buf.h"
#include "numeric.h"
#include "solver.h"

#include <stdlib.h>
#include <string.h>

#define OUTER_MAX 40
#define INNER_MAX 20
#define ENOUGH 0.005f /* of the first outer step's violation */
#define SEARCH_MAX 12 /* halvings of a step */
#define RIDGE 1e-6f   /* keeps every second derivative positive */

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED,
                    "close other programs, raise the memory limit, or use fewer threads",
                    "out of memory while training");
}

/* ---- Columns */

void columns_free(columns *c) {
    free(c->start);
    free(c->row);
    free(c->value);
    free(c->label);
    free(c->fold);
    memset(c, 0, sizeof *c);
}

/* Makes one pass over all rows; if fill is false, counts the entries of each column in start[feature + 1]. */
static kit_status columns_pass(rows_reader *reader, columns *c, uint64_t *at, bool fill, kolm_error_t *err) {
    for (uint32_t b = 0; b < rows_blocks(reader->rows); b++) {
        KIT_TRY(rows_reader_load(reader, b, err));
        for (uint32_t i = 0; i < reader->count; i++) {
            rows_reader_read(reader, i);
            const row_view *view = &reader->view;
            c->label[reader->first + i] = view->label;
            c->fold[reader->first + i] = view->fold;
            for (uint32_t k = 0; k < view->length; k++) {
                uint64_t slot = at[view->index[k]]++;
                if (!fill) continue;
                c->row[slot] = reader->first + i;
                c->value[slot] = view->value[k];
            }
        }
    }
    return KOLM_OK;
}

static kit_status columns_fill(rows_reader *reader, columns *c, kolm_error_t *err) {
    uint64_t *at = calloc(c->lines + 1, sizeof *at);
    kit_status status = at != NULL ? columns_pass(reader, c, at, false, err) : out_of_memory(err);
    if (status == KOLM_OK) {
        for (uint32_t j = 0; j < c->lines; j++) {
            c->start[j + 1] = c->start[j] + at[j];
            at[j] = c->start[j];
        }
        c->row = malloc((c->start[c->lines] + 1) * sizeof *c->row);
        c->value = malloc((c->start[c->lines] + 1) * sizeof *c->value);
        status = c->row != NULL && c->value != NULL ? columns_pass(reader, c, at, true, err) : out_of_memory(err);
    }
    free(at);
    return status;
}

kit_status columns_make(const rows *r, unsigned families, columns *out, kolm_error_t *err) {
    const features *f = rows_features(r);
    rows_reader reader;
    memset(out, 0, sizeof *out);
    out->rows = rows_count(r);
    out->lines = families & 2u ? features_all(f) : f->count[TEXT_WORDS];
    out->start = calloc(out->lines + 1, sizeof *out->start);
    out->label = malloc((out->rows + 1) * sizeof *out->label);
    out->fold = malloc((out->rows + 1) * sizeof *out->fold);
    kit_status status = rows_reader_open(r, families, &reader, err);
    if (status != KOLM_OK) goto out;
    status = out->start && out->label && out->fold ? columns_fill(&reader, out, err) : out_of_memory(err);
    rows_reader_close(&reader);
out:
    if (status != KOLM_OK) columns_free(out);
    return status;
}

/* ---- The solver */

typedef struct l1 {
    const solve_task *task;
    const columns *c;
    num_v4 *weight;   /* lines + 1, the bias last */
    num_v4 *step;     /* the same */
    num_v4 *score;    /* per row: w.x */
    num_v4 *change;   /* per row: step.x */
    num_v4 *slope;    /* per row: first derivative of the model at score + change */
    num_v4 *curve;    /* per row: second derivative of the loss at score */
    uint32_t *active; /* features worth visiting */
    uint32_t actives;
} l1;

static void l1_close(l1 *s) {
    free(s->step);
    free(s->score);
    free(s->change);
    free(s->slope);
    free(s->curve);
    free(s->active);
}

static num_v4 *zeros(size_t n) {
    num_v4 *p = aligned_alloc(16, (n + 1) * sizeof *p);
    if (p != NULL) memset(p, 0, (n + 1) * sizeof *p);
    return p;
}

static kit_status l1_open(l1 *s, const solve_task *task, float *weights, kolm_error_t *err) {
    memset(s, 0, sizeof *s);
    s->task = task;
    s->c = task->columns;
    s->weight = (num_v4 *)(void *)weights;
    memset(weights, 0, solve_size(task) * sizeof *weights);
    s->step = zeros(s->c->lines + 1);
    s->score = zeros(s->c->rows);
    s->change = zeros(s->c->rows);
    s->slope = zeros(s->c->rows);
    s->curve = zeros(s->c->rows);
    s->active = malloc((s->c->lines + 1) * sizeof *s->active);
    return s->step && s->score && s->change && s->slope && s->curve && s->active ? KOLM_OK : out_of_memory(err);
}

static inline num_v4 signs_of(const l1 *s, uint32_t row) {
    num_i4 lane = (num_i4){0, 1, 2, 3} + (int32_t)s->task->first_label;
    int32_t label = (int32_t)s->c->label[row];
    return num_select(lane == (num_i4){label, label, label, label}, num_splat(1.0f), num_splat(-1.0f));
}

/* Loss of every row at score + part * change, summed per lane. */
static void add_loss(const l1 *s, num_v4 part, num_d4 *out) {
    num_d4 sum = {0};
    const num_v4 one = num_splat(1.0f), zero = num_splat(0.0f);
    for (uint32_t i = 0; i < s->c->rows; i++) {
        if (s->c->fold[i] == s->task->held_fold) continue;
        num_v4 margin = signs_of(s, i) * (s->score[i] + part * s->change[i]);
        num_v4 term = num_max(-margin, zero) + num_log4_near_one(one + num_exp4(-num_abs(margin)));
        if (s->task->label_weight != NULL) term *= num_splat(s->task->label_weight[s->c->label[i]]);
        sum += __builtin_convertvector(term, num_d4);
    }
    *out += sum * (double)s->task->cost;
}

/* First and second derivatives of the loss at the current scores. */
static void derive(l1 *s) {
    const num_v4 one = num_splat(1.0f);
    for (uint32_t i = 0; i < s->c->rows; i++) {
        if (s->c->fold[i] == s->task->held_fold) continue;
        num_v4 cost = num_splat(solve_cost(s->task, s->c->label[i])), y = signs_of(s, i),
               p = one / (one + num_exp4(y * s->score[i]));
        s->slope[i] = -cost * y * p;
        s->curve[i] = cost * p * (one - p);
    }
}

static inline float total(num_v4 a) {
    return (a[0] + a[1]) + (a[2] + a[3]);
}

static inline bool any(num_v4 a) {
    return a[0] != 0.0f || a[1] != 0.0f || a[2] != 0.0f || a[3] != 0.0f;
}

/* One coordinate step of the quadratic model for feature j. Returns its violation; *keep: worth another visit. */
static num_v4 visit_feature(l1 *s, uint32_t j, bool *keep) {
    const uint64_t begin = s->c->start[j], end = s->c->start[j + 1];
    const uint32_t *row = s->c->row;
    const float *value = s->c->value;
    const num_v4 one = num_splat(1.0f), zero = num_splat(0.0f);
    num_v4 g = zero, h = num_splat(RIDGE);
    for (uint64_t k = begin; k < end; k++) {
        if (k + 8 < end) {
            __builtin_prefetch(&s->slope[row[k + 8]]);
            __builtin_prefetch(&s->curve[row[k + 8]]);
        }
        num_v4 x = num_splat(value[k]);
        g += x * s->slope[row[k]];
        h += x * x * s->curve[row[k]];
    }
    num_v4 w = s->weight[j] + s->step[j], over = num_abs(g) - one;
    num_v4 violation =
        num_select(w > zero, num_abs(g + one), num_select(w < zero, num_abs(g - one), num_max(over, zero)));
    *keep = any(w) || any(num_max(over + num_splat(0.1f), zero));
    num_v4 move = num_select(g + one <= h * w, -(g + one) / h, num_select(g - one >= h * w, -(g - one) / h, -w));
    move = num_max(num_min(move, num_splat(10.0f)), num_splat(-10.0f));
    if (!any(move)) return violation;
    s->step[j] += move;
    for (uint64_t k = begin; k < end; k++) {
        num_v4 d = num_splat(value[k]) * move;
        s->change[row[k]] += d;
        s->slope[row[k]] += s->curve[row[k]] * d;
    }
    return violation;
}

static num_v4 visit_bias(l1 *s) {
    num_v4 g = num_splat(0.0f), h = num_splat(RIDGE);
    for (uint32_t i = 0; i < s->c->rows; i++) {
        g += s->slope[i];
        h += s->curve[i];
    }
    num_v4 move = -g / h;
    s->step[s->c->lines] += move;
    for (uint32_t i = 0; i < s->c->rows; i++) {
        s->change[i] += move;
        s->slope[i] += s->curve[i] * move;
    }
    return num_abs(g);
}

static void shuffle(uint32_t *order, uint32_t n, uint64_t seed) {
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = num_below(&seed, i), t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
}

/* Minimises the model: one pass over all features, then passes over the active ones. Returns the violation of the first
 * pass. */
static float minimise_model(l1 *s, uint32_t outer, float precision) {
    float first = 0.0f;
    s->actives = s->c->lines;
    for (uint32_t j = 0; j < s->c->lines; j++)
        s->active[j] = j;
    for (uint32_t pass = 0; pass < INNER_MAX; pass++) {
        num_v4 sum = visit_bias(s);
        uint32_t kept = 0, n = s->actives;
        shuffle(s->active, n, num_mix(s->task->seed + outer * 64u + pass));
        for (uint32_t i = 0; i < n; i++) {
            bool keep;
            uint32_t j = s->active[i];
            sum += visit_feature(s, j, &keep);
            if (keep) s->active[kept++] = j;
        }
        s->actives = kept;
        if (pass == 0) first = total(sum);
        if (total(sum) <= precision * first) break;
    }
    return first;
}

static void add_norm(const l1 *s, num_v4 part, num_d4 *out) {
    for (uint32_t j = 0; j < s->c->lines; j++)
        *out += __builtin_convertvector(num_abs(s->weight[j] + part * s->step[j]), num_d4);
}

/* Line search: takes as much of the step as decreases the objective, per lane. */
static void search(l1 *s) {
    num_v4 part = num_splat(1.0f);
    num_d4 before = {0};
    add_loss(s, num_splat(0.0f), &before);
    add_norm(s, num_splat(0.0f), &before);
    for (int halving = 0; halving <= SEARCH_MAX; halving++) {
        num_d4 after = {0};
        add_loss(s, part, &after);
        add_norm(s, part, &after);
        bool fine = true;
        for (int lane = 0; lane < 4; lane++) {
            if (after[lane] <= before[lane] + 1e-7 * before[lane]) continue;
            part[lane] = halving == SEARCH_MAX ? 0.0f : part[lane] * 0.5f;
            fine = false;
        }
        if (fine) break;
    }
    for (uint32_t j = 0; j <= s->c->lines; j++) {
        s->weight[j] += part * s->step[j];
        s->step[j] = num_splat(0.0f);
    }
    for (uint32_t i = 0; i < s->c->rows; i++) {
        s->score[i] += part * s->change[i];
        s->change[i] = num_splat(0.0f);
    }
}

kit_status solve_l1(const solve_task *task, float *weights, uint32_t *out_epochs, kolm_error_t *err) {
    l1 s;
    float start = 0.0f, precision = 0.5f;
    uint32_t outer = 0, most = task->max_epochs != 0 ? task->max_epochs : OUTER_MAX;
    if (task->columns == NULL || task->width != 4)
        return kit_fail(err, KOLM_E_INTERNAL, "report this", "the L1 solver was set up wrongly");
    kit_status status = l1_open(&s, task, weights, err);
    for (; outer < most && status == KOLM_OK; outer++) {
        if (task->stop != NULL && task->stop(task->user)) {
            status = kit_fail(err, KOLM_E_CANCELLED, "", "training was stopped");
            break;
        }
        derive(&s);
        float violation = minimise_model(&s, outer, precision);
        search(&s);
        if (outer == 0) start = violation;
        if (violation <= ENOUGH * start) break;
        precision = precision > 0.1f ? precision * 0.7f : precision;
    }
    if (out_epochs != NULL) *out_epochs = outer;
    l1_close(&s);
    return status;
}
