/* SPDX-License-Identifier: Apache-2.0 */
/* The logistic regression of the head: passes over the rows, and L-BFGS on top. */
#include "encoder/head.h"
#include "numeric.h"
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#define SHARES_MEMORY (64u << 20) /* maximum bytes of parallel gradients */
#define HISTORY 10u
#define ROUNDS_MAX 300u
#define TRIES_MAX 20u
#define SLOPE_ENOUGH 2e-5f /* scikit-learn stops at 1e-4 of the same measure */
#define SUFFICIENT 1e-4    /* of the decrease that the slope promises (Armijo) */
#define NOISE 2e-7         /* relative: changes of the objective below it are rounding */

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED,
                    "close other programs, raise the memory limit, or use fewer threads",
                    "out of memory while fitting the head");
}

static float *floats(size_t count) {
    size_t bytes = (count * sizeof(float) + 127) & ~(size_t)63;
    float *p = aligned_alloc(64, bytes);
    if (p != NULL) memset(p, 0, bytes);
    return p;
}

/* ---- A pass over rows */

/* The state of a share. Rows are stored as panels of rows for W x, and as panels of dimensions for the gradient. */
typedef struct share {
    float *by_row, *by_dimension, *score, *error, *gradient;
    double *bias;
    double loss;
} share;

typedef struct pass {
    const head_rows *rows;
    const enc_kernels *kernels;
    uint32_t *row; /* the rows that it visits */
    uint32_t count, blocks, shares;
    uint32_t lines;  /* labels rounded up to the rows that a kernel multiplies at a time */
    uint32_t panels; /* of dimensions */
    float cost;
    float *weights, *bias; /* [lines][dimensions], [lines] */
    share share[HEAD_SHARES];
    /* If not NULL, the pass computes scores instead of a gradient. */
    float *scores;
    uint32_t stride;
    head_scale scale;
} pass;

static void pass_close(pass *p) {
    for (uint32_t s = 0; s < HEAD_SHARES; s++) {
        share *own = &p->share[s];
        free(own->by_row);
        free(own->by_dimension);
        free(own->score);
        free(own->error);
        free(own->gradient);
        free(own->bias);
    }
    free(p->row);
    free(p->weights);
    free(p->bias);
}

static bool share_open(const pass *p, share *s) {
    const size_t dimensions = (size_t)p->panels * p->kernels->panel;
    s->by_row = floats((size_t)HEAD_BLOCK * p->rows->dimensions);
    s->score = floats((size_t)HEAD_BLOCK * p->lines);
    if (s->by_row == NULL || s->score == NULL) return false;
    if (p->scores != NULL) return true;
    s->by_dimension = floats(HEAD_BLOCK * dimensions);
    s->error = floats((size_t)HEAD_BLOCK * p->lines);
    s->gradient = floats(dimensions * p->lines);
    s->bias = calloc(p->lines, sizeof *s->bias);
    return s->by_dimension != NULL && s->error != NULL && s->gradient != NULL && s->bias != NULL;
}

/* Number of shares. It must not depend on the kernels or threads, because the bytes of the model depend on it. */
static uint32_t share_count(const head_rows *r, uint32_t blocks) {
    const uint64_t one = (uint64_t)r->labels * r->dimensions * sizeof(float);
    uint64_t most = SHARES_MEMORY / one;
    if (most > HEAD_SHARES) most = HEAD_SHARES;
    if (most > blocks) most = blocks;
    return most < 1 ? 1 : (uint32_t)most;
}

/* Visits the rows of fold `only`, or all but those of `held`. */
static kit_status pass_open(const head_rows *r, uint32_t held, uint32_t only, pass *p, kolm_error_t *err) {
    p->rows = r;
    p->kernels = r->kernels != NULL ? r->kernels : enc_kernels_find(0);
    p->lines = (r->labels + p->kernels->block - 1) / p->kernels->block * p->kernels->block;
    p->panels = (r->dimensions + p->kernels->panel - 1) / p->kernels->panel;
    p->row = malloc(((size_t)r->rows + 1) * sizeof *p->row);
    p->weights = floats((size_t)p->lines * r->dimensions);
    p->bias = floats(p->lines);
    if (p->row == NULL || p->weights == NULL || p->bias == NULL) return out_of_memory(err);
    for (uint32_t i = 0; i < r->rows; i++)
        if ((held == HEAD_NO_FOLD || r->fold[i] != held) && (only == HEAD_NO_FOLD || r->fold[i] == only))
            p->row[p->count++] = i;
    p->blocks = (p->count + HEAD_BLOCK - 1) / HEAD_BLOCK;
    p->shares = share_count(r, p->blocks);
    for (uint32_t s = 0; s < p->shares; s++)
        if (!share_open(p, &p->share[s])) return out_of_memory(err);
    return KOLM_OK;
}

static void pack(const pass *p, share *s, uint32_t first, uint32_t count) {
    const uint32_t dimensions = p->rows->dimensions, panel = p->kernels->panel;
    for (uint32_t i = 0; i < count; i++) {
        const float *from = p->rows->embeddings + (size_t)p->row[first + i] * dimensions;
        float *to = s->by_row + (size_t)(i / panel) * panel * dimensions + i % panel;
        for (uint32_t k = 0; k < dimensions; k++)
            to[(size_t)k * panel] = from[k];
        for (uint32_t k = 0; p->scores == NULL && k < dimensions; k += panel) {
            const uint32_t n = dimensions - k < panel ? dimensions - k : panel;
            memcpy(s->by_dimension + (size_t)k * HEAD_BLOCK + (size_t)i * panel, from + k, n * sizeof *from);
        }
    }
}

static enc_extent extent_of(const enc_kernels *k, uint32_t count) {
    const uint32_t panels = (count + k->panel - 1) / k->panel;
    return (enc_extent){panels, (count - (panels - 1) * k->panel + k->lanes - 1) / k->lanes};
}

static float row_cost(const pass *p, uint32_t row) {
    const float *weight = p->rows->label_weight;
    return weight != NULL ? p->cost * weight[p->rows->label[row]] : p->cost;
}

static num_v4 load4(const float *p) {
    num_v4 x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* The errors of the labels' probabilities, times the cost of the row, for four rows from row i of the block on. */
static void four_errors(const pass *p, share *s, uint32_t first, uint32_t i, uint32_t count) {
    const uint32_t panel = p->kernels->panel, labels = p->rows->labels;
    const float *score = s->score + (size_t)(i / panel) * panel * p->lines + i % panel;
    num_v4 most = load4(score), sum = num_splat(0.0f), cost = num_splat(0.0f);
    for (uint32_t m = 1; m < labels; m++)
        most = num_max(load4(score + (size_t)m * panel), most);
    for (uint32_t m = 0; m < labels; m++) {
        const num_v4 e = num_exp4(load4(score + (size_t)m * panel) - most);
        memcpy(s->error + (size_t)m * HEAD_BLOCK + i, &e, sizeof e);
        sum += e;
    }
    for (uint32_t j = 0; j < 4 && i + j < count; j++)
        cost[j] = row_cost(p, p->row[first + i + j]);
    const num_v4 share_of = cost / sum;
    for (uint32_t m = 0; m < labels; m++) {
        const num_v4 e = load4(s->error + (size_t)m * HEAD_BLOCK + i) * share_of;
        memcpy(s->error + (size_t)m * HEAD_BLOCK + i, &e, sizeof e);
    }
    for (uint32_t j = 0; j < 4 && i + j < count; j++) {
        const uint32_t own = p->rows->label[p->row[first + i + j]];
        s->error[(size_t)own * HEAD_BLOCK + i + j] -= cost[j];
        s->loss += (double)cost[j] * (num_log(sum[j]) + ((double)most[j] - (double)score[(size_t)own * panel + j]));
    }
}

static void add_block(const pass *p, share *s, uint32_t first, uint32_t count) {
    for (uint32_t i = 0; i < count; i += 4)
        four_errors(p, s, first, i, count);
    for (uint32_t m = 0; m < p->rows->labels; m++)
        for (uint32_t i = 0; i < count; i++)
            s->bias[m] += (double)s->error[(size_t)m * HEAD_BLOCK + i];
    const enc_matrix w = {(const uint8_t *)s->error, ENC_F32, p->lines, HEAD_BLOCK};
    const enc_product product = {
        .w = &w, .rows = p->lines, .columns = count, .x = {s->by_dimension, HEAD_BLOCK}, .y = {s->gradient, p->lines}};
    p->kernels->multiply(&product, extent_of(p->kernels, p->rows->dimensions));
}

static void give_scores(const pass *p, const share *s, uint32_t first, uint32_t count) {
    const uint32_t panel = p->kernels->panel, labels = p->rows->labels;
    for (uint32_t i = 0; i < count; i++) {
        const float *score = s->score + (size_t)(i / panel) * panel * p->lines + i % panel;
        float *to = p->scores + (size_t)p->row[first + i] * p->stride, most = score[0];
        double sum = 0.0;
        for (uint32_t m = 0; m < labels; m++) {
            to[m] = score[(size_t)m * panel];
            if (to[m] > most) most = to[m];
        }
        if (p->scale == HEAD_PLAIN) continue;
        for (uint32_t m = 0; m < labels; m++)
            sum += num_exp((double)to[m] - (double)most);
        for (uint32_t m = 0; m < labels; m++)
            to[m] = (float)((double)to[m] - (double)most - num_log(sum));
    }
}

static kit_status share_task(void *user, uint32_t number, kolm_error_t *err) {
    pass *p = user;
    share *s = &p->share[number];
    const uint32_t end = (uint32_t)((uint64_t)p->blocks * (number + 1) / p->shares);
    s->loss = 0.0;
    if (p->scores == NULL) {
        memset(s->gradient, 0, (size_t)p->panels * p->kernels->panel * p->lines * sizeof *s->gradient);
        memset(s->bias, 0, p->lines * sizeof *s->bias);
    }
    for (uint32_t b = (uint32_t)((uint64_t)p->blocks * number / p->shares); b < end; b++) {
        const uint32_t first = b * HEAD_BLOCK, count = p->count - first < HEAD_BLOCK ? p->count - first : HEAD_BLOCK;
        if (p->rows->stop != NULL && p->rows->stop(p->rows->user))
            return kit_fail(err, KOLM_E_CANCELLED, "", "the fit of the head was stopped");
        pack(p, s, first, count);
        const enc_matrix w = {(const uint8_t *)p->weights, ENC_F32, p->lines, p->rows->dimensions};
        const enc_product product = {.w = &w,
                                     .rows = p->lines,
                                     .columns = p->rows->dimensions,
                                     .x = {s->by_row, p->rows->dimensions},
                                     .y = {s->score, p->lines},
                                     .bias = p->bias};
        p->kernels->multiply(&product, extent_of(p->kernels, count));
        if (p->scores != NULL)
            give_scores(p, s, first, count);
        else
            add_block(p, s, first, count);
    }
    return KOLM_OK;
}

static kit_status pass_run(pass *p, const float *weights, kolm_error_t *err) {
    const size_t all = (size_t)p->rows->labels * p->rows->dimensions;
    memcpy(p->weights, weights, all * sizeof *weights);
    memcpy(p->bias, weights + all, p->rows->labels * sizeof *weights);
    return pool_run(p->rows->threads, p->blocks == 0 ? 0 : p->shares, share_task, p, err);
}

static kit_status objective(pass *p, const float *weights, double *out, float *gradient, kolm_error_t *err) {
    const uint32_t dimensions = p->rows->dimensions, panel = p->kernels->panel;
    const size_t all = (size_t)p->rows->labels * dimensions;
    double square = 0.0, loss = 0.0;
    KIT_TRY(pass_run(p, weights, err));
    for (uint32_t s = 0; s < p->shares; s++)
        loss += p->share[s].loss;
    for (uint32_t m = 0; m < p->rows->labels; m++) {
        double bias = 0.0;
        for (uint32_t s = 0; s < p->shares; s++)
            bias += p->share[s].bias[m];
        gradient[all + m] = (float)bias;
        for (uint32_t d = 0; d < dimensions; d++) {
            const float w = weights[(size_t)m * dimensions + d];
            const size_t at = ((size_t)(d / panel) * p->lines + m) * panel + d % panel;
            float sum = w;
            for (uint32_t s = 0; s < p->shares; s++)
                sum += p->share[s].gradient[at];
            gradient[(size_t)m * dimensions + d] = sum;
            square += (double)w * w;
        }
    }
    *out = square / 2 + loss;
    return KOLM_OK;
}

kit_status head_objective(const head_rows *on, uint32_t held, float cost, const float *weights, double *out,
                          float *gradient, kolm_error_t *err) {
    pass p = {.cost = cost};
    kit_status status = pass_open(on, held, HEAD_NO_FOLD, &p, err);
    if (status == KOLM_OK) status = objective(&p, weights, out, gradient, err);
    pass_close(&p);
    return status;
}

kit_status head_score(const head_rows *on, uint32_t only, const float *weights, head_scale scale, float *scores,
                      uint32_t stride, kolm_error_t *err) {
    pass p = {.scores = scores, .stride = stride, .scale = scale};
    kit_status status = pass_open(on, HEAD_NO_FOLD, only, &p, err);
    if (status == KOLM_OK) status = pass_run(&p, weights, err);
    pass_close(&p);
    return status;
}

/* ---- L-BFGS */

/* Eight chains, added in a fixed order. */
static double dot(const float *a, const float *b, size_t count) {
    num_d4 sum[2] = {{0}, {0}};
    double rest = 0.0;
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (size_t c = 0; c < 2; c++)
            sum[c] += __builtin_convertvector(load4(a + i + 4 * c), num_d4) *
                      __builtin_convertvector(load4(b + i + 4 * c), num_d4);
    for (; i < count; i++)
        rest += (double)a[i] * (double)b[i];
    const num_d4 both = sum[0] + sum[1];
    return ((both[0] + both[1]) + (both[2] + both[3])) + rest;
}

static void add(float *to, double factor, const float *from, size_t count) {
    const float by = (float)factor;
    for (size_t i = 0; i < count; i++)
        to[i] += by * from[i];
}

typedef struct search {
    pass pass;
    size_t size;
    float *at, *gradient, *next, *next_gradient, *direction;
    float *step[HISTORY], *turn[HISTORY]; /* changes of the weights, of the gradient */
    double inverse[HISTORY];              /* 1 / (step . turn) */
    uint32_t kept, newest;
    double value, next_value, slope;
    uint32_t passes;
} search;

static kit_status search_open(search *s, const head_rows *on, kolm_error_t *err) {
    s->size = head_size(on);
    float **const all[] = {&s->gradient, &s->next, &s->next_gradient, &s->direction};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if ((*all[i] = floats(s->size)) == NULL) return out_of_memory(err);
    for (uint32_t i = 0; i < HISTORY; i++)
        if ((s->step[i] = floats(s->size)) == NULL || (s->turn[i] = floats(s->size)) == NULL) return out_of_memory(err);
    return KOLM_OK;
}

static void search_close(search *s) {
    pass_close(&s->pass);
    free(s->gradient);
    free(s->next);
    free(s->next_gradient);
    free(s->direction);
    for (uint32_t i = 0; i < HISTORY; i++) {
        free(s->step[i]);
        free(s->turn[i]);
    }
}

/* Computes the direction from the gradient and the last steps, and its slope. */
static void aim(search *s) {
    double alpha[HISTORY] = {0};
    for (size_t i = 0; i < s->size; i++)
        s->direction[i] = -s->gradient[i];
    for (uint32_t k = 0; k < s->kept; k++) {
        const uint32_t h = (s->newest + HISTORY - k) % HISTORY;
        alpha[h] = s->inverse[h] * dot(s->step[h], s->direction, s->size);
        add(s->direction, -alpha[h], s->turn[h], s->size);
    }
    if (s->kept > 0) {
        const uint32_t h = s->newest;
        const float scale = (float)(1.0 / (s->inverse[h] * dot(s->turn[h], s->turn[h], s->size)));
        for (size_t i = 0; i < s->size; i++)
            s->direction[i] *= scale;
    }
    for (uint32_t k = s->kept; k-- > 0;) {
        const uint32_t h = (s->newest + HISTORY - k) % HISTORY;
        add(s->direction, alpha[h] - s->inverse[h] * dot(s->turn[h], s->direction, s->size), s->step[h], s->size);
    }
    s->slope = dot(s->gradient, s->direction, s->size);
}

/* Line search: moves along the direction until the objective falls enough. *out_moved: by more than rounding. */
static kit_status walk(search *s, bool *out_moved, kolm_error_t *err) {
    double length = s->kept > 0 ? 1.0 : 1.0 / num_sqrt(dot(s->gradient, s->gradient, s->size));
    const double noise = NOISE * (s->value > 1.0 ? s->value : 1.0);
    *out_moved = false;
    for (uint32_t i = 0; i < TRIES_MAX; i++) {
        memcpy(s->next, s->at, s->size * sizeof *s->next);
        add(s->next, length, s->direction, s->size);
        KIT_TRY(objective(&s->pass, s->next, &s->next_value, s->next_gradient, err));
        s->passes++;
        const double change = s->next_value - s->value;
        if (change <= SUFFICIENT * length * s->slope) {
            *out_moved = true;
            return KOLM_OK;
        }
        if (-length * s->slope < noise) return KOLM_OK;
        /* The minimum of the parabola through the known values. */
        double next = -s->slope * length * length / (2.0 * (change - s->slope * length));
        if (!(next > 0.1 * length)) next = 0.1 * length;
        if (next > 0.5 * length) next = 0.5 * length;
        length = next;
    }
    return KOLM_OK;
}

/* Adds the step to the history and moves to its end. */
static void settle(search *s) {
    const uint32_t h = s->kept == 0 ? 0 : (s->newest + 1) % HISTORY;
    for (size_t i = 0; i < s->size; i++) {
        s->step[h][i] = s->next[i] - s->at[i];
        s->turn[h][i] = s->next_gradient[i] - s->gradient[i];
    }
    const double curve = dot(s->step[h], s->turn[h], s->size);
    if (curve > 1e-12 * dot(s->turn[h], s->turn[h], s->size)) {
        s->inverse[h] = 1.0 / curve;
        s->newest = h;
        if (s->kept < HISTORY) s->kept++;
    }
    memcpy(s->at, s->next, s->size * sizeof *s->at);
    memcpy(s->gradient, s->next_gradient, s->size * sizeof *s->gradient);
    s->value = s->next_value;
}

static float steepest(const search *s, double by) {
    float most = 0.0f;
    for (size_t i = 0; i < s->size; i++) {
        const float size = s->gradient[i] < 0.0f ? -s->gradient[i] : s->gradient[i];
        if (!(size <= most)) most = size; /* keeps a NaN */
    }
    return (float)(most / by);
}

static kit_status descend(search *s, head_report *report, kolm_error_t *err) {
    double by = 0.0;
    for (uint32_t i = 0; i < s->pass.count; i++)
        by += (double)row_cost(&s->pass, s->pass.row[i]);
    KIT_TRY(objective(&s->pass, s->at, &s->value, s->gradient, err));
    s->passes++;
    for (report->rounds = 0;; report->rounds++) {
        bool moved = true;
        report->slope = steepest(s, by);
        report->converged = report->slope <= SLOPE_ENOUGH;
        if (!(s->value < 1e300) || report->slope != report->slope)
            return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "embed the rows again",
                            "the embeddings contain numbers that are not finite: no head can be fitted to them");
        if (report->converged || report->rounds == ROUNDS_MAX) break;
        aim(s);
        if (!(s->slope < 0.0)) { /* the history is misleading: use steepest descent */
            s->kept = 0;
            aim(s);
        }
        KIT_TRY(walk(s, &moved, err));
        if (moved) {
            settle(s);
        } else {
            if (s->kept == 0) break;
            s->kept = 0;
        }
    }
    report->passes = s->passes;
    report->objective = s->value;
    return KOLM_OK;
}

kit_status head_fit(const head_rows *on, uint32_t held, float cost, float *weights, head_report *out,
                    kolm_error_t *err) {
    search s = {.pass.cost = cost, .at = weights};
    head_report report = {0};
    kit_status status = pass_open(on, held, HEAD_NO_FOLD, &s.pass, err);
    if (status == KOLM_OK && s.pass.count == 0)
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "provide more rows", "there is no row to fit the head on");
    if (status == KOLM_OK) status = search_open(&s, on, err);
    if (status == KOLM_OK) status = descend(&s, &report, err);
    search_close(&s);
    if (out != NULL) *out = report;
    return status;
}

void head_normalise(float *embeddings, size_t count, uint32_t dimensions) {
    for (size_t i = 0; i < count; i++) {
        float *row = embeddings + i * dimensions;
        const double square = dot(row, row, dimensions), inverse = square > 0.0 ? 1.0 / num_sqrt(square) : 0.0;
        for (uint32_t d = 0; d < dimensions; d++)
            row[d] = (float)((double)row[d] * inverse);
    }
}
