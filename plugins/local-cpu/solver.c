/* SPDX-License-Identifier: Apache-2.0 */
/* The solvers' loops: per row, scores of all labels of the strip at once, then the dual step of each label. */
#include "solver.h"
#include "kolm/kit/buf.h"
#include "numeric.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DUALS_IN_MEMORY (8u << 20) /* bytes; beyond it the dual variables are in a scratch file */
#define AHEAD 8                    /* features whose weights are prefetched */

/* ---- The dual variables of a fit, block by block */

typedef struct duals {
    float *data; /* all, or those of one block */
    uint32_t width;
    int fd;
    uint32_t rows;
} duals;

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED,
                    "close other programs, raise the memory limit, or use fewer threads",
                    "out of memory while training");
}

static kit_status duals_open(duals *d, const solve_task *task, kolm_error_t *err) {
    uint64_t all = (uint64_t)rows_count(task->rows) * task->width * sizeof(float);
    memset(d, 0, sizeof *d);
    d->fd = -1;
    d->width = task->width;
    if (all > DUALS_IN_MEMORY && task->scratch_dir != NULL && task->kind != SOLVE_JOINT) {
        char path[4096];
        if (!kit_format(path, sizeof path, "%s/duals-XXXXXX", task->scratch_dir))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use a shorter path",
                            "the path of the scratch directory is too long");
        if ((d->fd = mkostemp(path, O_CLOEXEC)) < 0)
            return kit_fail_errno(err, errno, "cannot make a scratch file in %s", task->scratch_dir);
        unlink(path);
        if (ftruncate(d->fd, (off_t)all) != 0)
            return kit_fail_errno(err, errno, "cannot size the scratch file in %s", task->scratch_dir);
        all = (uint64_t)rows_block_max(task->rows) * task->width * sizeof(float);
    }
    all = (all + 64) & ~(uint64_t)63;
    if ((d->data = aligned_alloc(64, all)) == NULL) return out_of_memory(err);
    memset(d->data, 0, all);
    return KOLM_OK;
}

static void duals_close(duals *d) {
    free(d->data);
    if (d->fd >= 0) close(d->fd);
}

/* Reads (or, with save, writes) the block's part; *out points at its first row. */
static kit_status duals_block(duals *d, const rows_reader *block, bool save, float **out, kolm_error_t *err) {
    size_t stride = d->width * sizeof(float), length = block->count * stride, done = 0;
    if (d->fd < 0) {
        *out = d->data + (size_t)block->first * d->width;
        return KOLM_OK;
    }
    *out = d->data;
    while (done < length) {
        off_t at = (off_t)((uint64_t)block->first * stride + done);
        ssize_t n = save ? pwrite(d->fd, (char *)d->data + done, length - done, at)
                         : pread(d->fd, (char *)d->data + done, length - done, at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return kit_fail_errno(err, errno, "the scratch file of the solver cannot be %s", save ? "written" : "read");
        if (n == 0)
            return kit_fail(err, KOLM_E_DATA_LOSS, "run the command again",
                            "the scratch file of the solver was cut short");
        done += (size_t)n;
    }
    return KOLM_OK;
}

/* ---- Order */

static void shuffle(uint32_t *order, uint32_t n, uint64_t seed) {
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = num_below(&seed, i), t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
}

/* The state of a fit, without its weights. */
typedef struct work {
    const solve_task *task;
    rows_reader reader;
    duals duals;
    uint32_t *block_order, *row_order;
    uint8_t *idle; /* per row: consecutive visits without any change */
    float *weights;
    float *scores;     /* SOLVE_JOINT: width */
    uint32_t *changed; /* SOLVE_JOINT: labels whose dual variable changed */
    float *change;
    uint32_t lines; /* features before the bias */
    float moved;    /* largest violation of the epoch */
} work;

static void work_close(work *w) {
    rows_reader_close(&w->reader);
    duals_close(&w->duals);
    free(w->block_order);
    free(w->row_order);
    free(w->idle);
    free(w->scores);
    free(w->changed);
    free(w->change);
}

static uint32_t lines_of(const solve_task *task) {
    const features *f = rows_features(task->rows);
    return task->families & 2u ? features_all(f) : f->count[TEXT_WORDS];
}

size_t solve_size(const solve_task *task) {
    return (size_t)(lines_of(task) + 1) * task->width;
}

static kit_status work_open(work *w, const solve_task *task, float *weights, kolm_error_t *err) {
    memset(w, 0, sizeof *w);
    w->duals.fd = -1;
    w->task = task;
    w->weights = weights;
    w->lines = lines_of(task);
    memset(weights, 0, solve_size(task) * sizeof *weights);
    KIT_TRY(rows_reader_open(task->rows, task->families, &w->reader, err));
    KIT_TRY(duals_open(&w->duals, task, err));
    w->block_order = malloc((rows_blocks(task->rows) + 1) * sizeof *w->block_order);
    w->row_order = malloc((rows_block_max(task->rows) + 1) * sizeof *w->row_order);
    w->idle = calloc(rows_count(task->rows) + 1, 1);
    w->scores = aligned_alloc(64, (task->width * sizeof(float) + 63) & ~(size_t)63);
    w->changed = malloc(task->width * sizeof *w->changed);
    w->change = malloc(task->width * sizeof *w->change);
    return w->block_order && w->row_order && w->idle && w->scores && w->changed && w->change ? KOLM_OK
                                                                                             : out_of_memory(err);
}

/* ---- One-vs-rest, and scores, for the vectors of this processor */

#define KERNEL(name) name##_4
#define LANES 4
#define TARGET
#include "kernel.h"

#if defined(__x86_64__)
#define KERNEL(name) name##_8
#define LANES 8
#define TARGET __attribute__((target("avx2")))
#include "kernel.h"
static bool wide(uint32_t width) {
    return width % 8 == 0 && __builtin_cpu_supports("avx2");
}
#endif

typedef float (*visit_fn)(work *w, float *alpha);

static visit_fn svm_of(uint32_t width) {
#if defined(__x86_64__)
    if (wide(width)) return visit_svm_8;
#endif
    (void)width;
    return visit_svm_4;
}

void solve_score(const float *weights, uint32_t width, uint32_t lines, const row_view *row, float *sums) {
#if defined(__x86_64__)
    if (wide(width)) {
        score_8(weights, width, lines, row, sums);
        return;
    }
#endif
    score_4(weights, width, lines, row, sums);
}

/* ---- All labels at once */

/* The joint step of one row: minimise A/2 sum a_m^2 + sum B_m a_m with sum a_m = 0, a_m <= C for the row's own label,
 * and a_m <= 0 for the others. The threshold beta is found by Michelot's shrinking of the active set:
 * a_m = min(bound, (beta - B_m) / A). */
static float joint_threshold(work *w, const float *b, uint32_t labels, uint32_t own, float top) {
    /* D_m = B_m, D_own += A C; beta solves sum over {D_m > beta} (D_m - beta) = A C, so it is at least max D - A C. */
    float *d = w->change, most = b[own] + top;
    uint32_t n = 0;
    for (uint32_t m = 0; m < labels; m++)
        if (b[m] > most) most = b[m];
    float beta = most - top;
    for (uint32_t m = 0; m < labels; m++) {
        float x = m == own ? b[m] + top : b[m];
        if (x > beta) d[n++] = x;
    }
    for (int round = 0; round < 64; round++) {
        float sum = 0.0f;
        uint32_t kept = 0;
        for (uint32_t i = 0; i < n; i++) {
            if (!(d[i] > beta)) continue;
            d[kept++] = d[i];
            sum += d[i];
        }
        float next = (sum - top) / (float)kept;
        if (kept == 0 || !(next > beta)) break;
        beta = next;
        n = kept;
    }
    return beta;
}

static float visit_joint(work *w, float *alpha) {
    const row_view *row = &w->reader.view;
    const uint32_t labels = w->task->labels, width = w->task->width, own = row->label;
    const float square = row->square + 1.0f, cost = solve_cost(w->task, own);
    float *g = w->scores, most = -1e30f, least = 1e30f;
    solve_score(w->weights, width, w->lines, row, g);
    for (uint32_t m = 0; m < labels; m++) {
        if (m != own) g[m] += 1.0f;
        float bound = m == own ? cost : 0.0f;
        if (g[m] > most) most = g[m];
        if (alpha[m] < bound && g[m] < least) least = g[m];
    }
    if (most - least <= 1e-4f) return 0.0f;
    for (uint32_t m = 0; m < labels; m++)
        g[m] -= square * alpha[m];
    float beta = joint_threshold(w, g, labels, own, square * cost);
    uint32_t changes = 0;
    for (uint32_t m = 0; m < labels; m++) {
        float bound = m == own ? cost : 0.0f, next = (beta - g[m]) / square;
        if (next > bound) next = bound;
        float d = next - alpha[m];
        if (d < 1e-7f && d > -1e-7f) continue;
        alpha[m] = next;
        w->changed[changes] = m;
        w->change[changes++] = d;
    }
    float *bias = w->weights + (size_t)w->lines * width;
    for (uint32_t i = 0; i < changes; i++)
        bias[w->changed[i]] += w->change[i];
    for (uint32_t k = 0; k < row->length; k++) {
        float *line = w->weights + (size_t)row->index[k] * width, x = row->value[k];
        for (uint32_t i = 0; i < changes; i++)
            line[w->changed[i]] += x * w->change[i];
    }
    return most - least;
}

/* ---- The common loop */

static visit_fn visit_of(const solve_task *task) {
    return task->kind == SOLVE_JOINT ? visit_joint : svm_of(task->width);
}

/* A row without changes in `idle` consecutive visits is skipped for that many epochs, except in the last ones. */
static bool resting(const work *w, uint32_t row, uint32_t epoch) {
    uint32_t idle = w->idle[row];
    return idle >= 2 && epoch % (idle < 6 ? idle : 6) != 0;
}

static kit_status one_block(work *w, visit_fn visit, uint32_t block, uint32_t epoch, kolm_error_t *err) {
    const solve_task *task = w->task;
    float *alpha;
    if (task->stop != NULL && task->stop(task->user))
        return kit_fail(err, KOLM_E_CANCELLED, "", "training was stopped");
    KIT_TRY(rows_reader_load(&w->reader, block, err));
    KIT_TRY(duals_block(&w->duals, &w->reader, false, &alpha, err));
    shuffle(w->row_order, w->reader.count, num_mix(task->seed * 1000003u + (uint64_t)epoch * 65537u + block));
    for (uint32_t i = 0; i < w->reader.count; i++) {
        uint32_t r = w->row_order[i];
        uint8_t *idle = &w->idle[w->reader.first + r];
        if (resting(w, w->reader.first + r, epoch)) continue;
        row_head head;
        if (rows_reader_head(&w->reader, r, &head)->fold == task->held_fold) continue;
        rows_reader_read(&w->reader, r);
        float violation = visit(w, alpha + (size_t)r * task->width);
        if (violation > w->moved) w->moved = violation;
        if (violation > 1e-3f)
            *idle = 0;
        else if (*idle < 255)
            ++*idle;
    }
    return duals_block(&w->duals, &w->reader, true, &alpha, err);
}

/* ---- Warm starts, and returning the final dual variables */

static uint32_t duals_kept(const solve_task *task) {
    const uint32_t left = task->dual_stride - task->first_label;
    return left < task->width ? left : task->width;
}

/* Computes the weights from dual variables: the sum of row times dual, with the sign of the label if it is stored
 * separately. */
static void add_row(work *w, const float *alpha, num_v4 *d) {
    const row_view *row = &w->reader.view;
    const uint32_t width = w->task->width, vectors = width / 4;
    num_v4 *weights = (num_v4 *)(void *)w->weights, *bias = weights + (size_t)w->lines * vectors;
    float *each = (float *)d;
    bool any = false;
    for (uint32_t m = 0; m < width; m++) {
        const bool negative = w->task->kind == SOLVE_SVM && w->task->first_label + m != row->label;
        each[m] = negative ? -alpha[m] : alpha[m];
        any = any || alpha[m] != 0.0f;
    }
    if (!any) return;
    for (uint32_t v = 0; v < vectors; v++)
        bias[v] += d[v];
    for (uint32_t k = 0; k < row->length; k++) {
        num_v4 *line = weights + (size_t)row->index[k] * vectors;
        const num_v4 x = num_splat(row->value[k]);
        for (uint32_t v = 0; v < vectors; v++)
            line[v] += x * d[v];
    }
}

static kit_status take_duals(work *w, kolm_error_t *err) {
    const solve_task *task = w->task;
    const size_t kept = duals_kept(task);
    for (uint32_t b = 0; b < rows_blocks(task->rows); b++) {
        KIT_TRY(rows_reader_load(&w->reader, b, err));
        for (uint32_t i = 0; i < w->reader.count; i++) {
            const size_t row = w->reader.first + i;
            float *alpha = w->duals.data + row * task->width;
            rows_reader_read(&w->reader, i);
            if (w->reader.view.fold == task->held_fold) continue;
            memcpy(alpha, task->begin + row * task->dual_stride + task->first_label, kept * sizeof *alpha);
            add_row(w, alpha, (num_v4 *)(void *)w->scores);
        }
    }
    return KOLM_OK;
}

static void hand_on_duals(const work *w) {
    const solve_task *task = w->task;
    const size_t kept = duals_kept(task);
    for (size_t row = 0; row < rows_count(task->rows); row++)
        memcpy(task->end + row * task->dual_stride + task->first_label, w->duals.data + row * task->width,
               kept * sizeof *task->end);
}

kit_status solve(const solve_task *task, float *weights, uint32_t *out_epochs, kolm_error_t *err) {
    static const uint32_t epochs[] = {[SOLVE_SVM] = 20, [SOLVE_JOINT] = 20};
    static const float enough[] = {[SOLVE_SVM] = 0.1f, [SOLVE_JOINT] = 0.1f};
    if (task->kind == SOLVE_L1) return solve_l1(task, weights, out_epochs, err);
    work w;
    uint32_t epoch = 0, most = task->max_epochs != 0 ? task->max_epochs : epochs[task->kind];
    kit_status status = work_open(&w, task, weights, err);
    visit_fn visit = visit_of(task);
    if (status == KOLM_OK && w.duals.fd >= 0 && (task->begin != NULL || task->end != NULL))
        status = kit_fail(err, KOLM_E_INTERNAL, "report this", "too many rows to return dual variables");
    if (status == KOLM_OK && task->begin != NULL) status = take_duals(&w, err);
    for (; epoch < most && status == KOLM_OK; epoch++) {
        uint32_t blocks = rows_blocks(task->rows);
        shuffle(w.block_order, blocks, num_mix(task->seed + epoch));
        w.moved = 0.0f;
        for (uint32_t b = 0; b < blocks && status == KOLM_OK; b++)
            status = one_block(&w, visit, w.block_order[b], epoch, err);
        if (w.moved <= enough[task->kind]) break;
    }
    if (status == KOLM_OK && task->end != NULL) hand_on_duals(&w);
    if (out_epochs != NULL) *out_epochs = epoch;
    work_close(&w);
    return status;
}
