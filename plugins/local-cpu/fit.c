/* SPDX-License-Identifier: Apache-2.0 */
/* The final fit: strips of labels, each reduced to 8 bits as soon as it is solved, and the model file. */
#include "choose.h"
#include "kolm/kit/buf.h"
#include "numeric.h"
#include "pool.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define DENSE_MAX (64ull << 20) /* bytes of dense weights; larger models are sparse */
#define SPARSE_PER_LABEL 1024u  /* maximum number of weights per label of a sparse model */
#define SPARSE_LEAST 2          /* smaller 8-bit weights are dropped from a sparse model */
#define MANY_LABELS 1000u
#define MANY_EPOCHS 8u   /* of each fit if there are many labels; 0: the solver's default */
#define NEAR_EPOCHS 12u  /* starting where the fits of the cross-validation ended */
#define JOINT_EPOCHS 40u /* the final fit gets closer to the optimum than those that are compared */

typedef struct entry {
    uint32_t feature;
    int8_t weight;
} entry;

typedef struct fit {
    const choose_job *job;
    const choose_candidate *candidate;
    float *const *duals; /* of each part, to start from */
    columns columns;
    unsigned families; /* of all parts together */
    uint32_t lines;    /* features of those families */
    float *joint;      /* weights of the joint part, of all labels; NULL without one */
    model_draft draft;
    entry **entries; /* sparse: of each label */
    uint32_t *entry_count;
    atomic_uint done;
    uint32_t strips, width;
} fit;

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED,
                    "close other programs, raise the memory limit, or use fewer threads",
                    "out of memory while fitting the model");
}

static float *new_weights(const solve_task *task) {
    return aligned_alloc(64, (solve_size(task) * sizeof(float) + 63) & ~(size_t)63);
}

static uint32_t epochs_of(const fit *f, uint32_t number) {
    if (f->job->labels > MANY_LABELS) return MANY_EPOCHS;
    if (f->duals[number] != NULL) return NEAR_EPOCHS;
    return f->candidate->part[number].kind == SOLVE_JOINT ? JOINT_EPOCHS : 0;
}

static solve_task task_of(const fit *f, uint32_t number, uint32_t first, uint32_t width) {
    const choose_job *job = f->job;
    const choose_part *part = &f->candidate->part[number];
    return (solve_task){.rows = job->rows,
                        .kind = part->kind,
                        .families = part->families,
                        .cost = part->cost,
                        .label_weight = job->label_weight,
                        .held_fold = SOLVE_NO_FOLD,
                        .seed = job->seed,
                        .labels = job->labels,
                        .first_label = first,
                        .width = width,
                        .max_epochs = epochs_of(f, number),
                        .begin = f->duals[number],
                        .dual_stride = (job->labels + 3u) & ~3u,
                        .scratch_dir = job->scratch_dir,
                        .columns = &f->columns,
                        .stop = job->watch.stop,
                        .user = job->watch.user};
}

/* sum += share * weights, from label `skip` of the task on. */
static void add_strip(const fit *f, float *sum, const float *weights, const solve_task *task, uint32_t skip,
                      float share) {
    uint32_t lines = (uint32_t)(solve_size(task) / task->width) - 1;
    for (uint32_t j = 0; j <= lines; j++) {
        uint32_t to = j == lines ? f->lines : j; /* the bias comes last in both, for any families of the part */
        const float *from = weights + (size_t)j * task->width + skip;
        for (uint32_t v = 0; v < f->width && skip + v < task->width; v++)
            sum[(size_t)to * f->width + v] += share * from[v];
    }
}

static kit_status solve_strip(const fit *f, uint32_t first, float *sum, kolm_error_t *err) {
    for (uint32_t p = 0; p < f->candidate->parts; p++) {
        const choose_part *part = &f->candidate->part[p];
        float share = f->candidate->parts == 1 ? 1.0f : part->share;
        if (part->kind == SOLVE_JOINT) {
            solve_task task = task_of(f, p, 0, (f->job->labels + 15u) & ~15u);
            add_strip(f, sum, f->joint, &task, first, share);
            continue;
        }
        solve_task task = task_of(f, p, first, f->width);
        float *weights = new_weights(&task);
        if (weights == NULL) return out_of_memory(err);
        kit_status status = solve(&task, weights, NULL, err);
        if (status == KOLM_OK) add_strip(f, sum, weights, &task, 0, share);
        free(weights);
        KIT_TRY(status);
    }
    return KOLM_OK;
}

static int8_t reduce(float weight, float inverse) {
    float x = weight * inverse;
    return (int8_t)(x < 0.0f ? x - 0.5f : x + 0.5f);
}

/* Keeps the largest weights of one label; weights of equal size are kept or dropped together. */
static kit_status keep_entries(fit *f, uint32_t label, const float *sum, uint32_t lane, float inverse,
                               kolm_error_t *err) {
    uint32_t of_size[129] = {0}, least = 128, n = 0;
    for (uint32_t j = 0; j < f->lines; j++)
        of_size[abs(reduce(sum[(size_t)j * f->width + lane], inverse))]++;
    while (least > SPARSE_LEAST && n + of_size[least - 1] <= SPARSE_PER_LABEL)
        n += of_size[--least];
    entry *list = malloc((n + 1) * sizeof *list);
    if (list == NULL) return out_of_memory(err);
    n = 0;
    for (uint32_t j = 0; j < f->lines; j++) {
        int8_t w = reduce(sum[(size_t)j * f->width + lane], inverse);
        if ((uint32_t)abs(w) >= least) list[n++] = (entry){j, w};
    }
    f->entries[label] = list;
    f->entry_count[label] = n;
    return KOLM_OK;
}

static kit_status reduce_strip(fit *f, uint32_t first, const float *sum, kolm_error_t *err) {
    for (uint32_t lane = 0; lane < f->width && first + lane < f->job->labels; lane++) {
        uint32_t label = first + lane;
        float most = 0.0f;
        for (uint32_t j = 0; j < f->lines; j++) {
            float w = sum[(size_t)j * f->width + lane];
            if (w < 0.0f) w = -w;
            if (w > most) most = w;
        }
        float inverse = most > 0.0f ? 127.0f / most : 0.0f;
        f->draft.scale[label] = most / 127.0f;
        f->draft.bias[label] = sum[(size_t)f->lines * f->width + lane];
        if (f->draft.sparse) {
            KIT_TRY(keep_entries(f, label, sum, lane, inverse, err));
        } else {
            for (uint32_t j = 0; j < f->lines; j++)
                f->draft.dense[(size_t)j * f->draft.stride + label] = reduce(sum[(size_t)j * f->width + lane], inverse);
        }
    }
    return KOLM_OK;
}

static kit_status strip_task(void *user, uint32_t number, kolm_error_t *err) {
    fit *f = user;
    float *sum = calloc((size_t)(f->lines + 1) * f->width, sizeof *sum);
    if (sum == NULL) return out_of_memory(err);
    kit_status status = solve_strip(f, number * f->width, sum, err);
    if (status == KOLM_OK) status = reduce_strip(f, number * f->width, sum, err);
    free(sum);
    uint32_t done = atomic_fetch_add(&f->done, 1) + 1;
    if (f->job->watch.step != NULL) f->job->watch.step(f->job->watch.user, "training", done, f->strips);
    return status;
}

/* Converts label by label to feature by feature. */
static kit_status gather_entries(fit *f, kolm_error_t *err) {
    uint64_t all = 0;
    for (uint32_t m = 0; m < f->job->labels; m++)
        all += f->entry_count[m];
    uint32_t *at = f->draft.first = calloc((size_t)f->lines + 2, sizeof *at);
    f->draft.entry_label = malloc((all + 1) * sizeof *f->draft.entry_label);
    f->draft.entry_weight = malloc(all + 1);
    if (at == NULL || f->draft.entry_label == NULL || f->draft.entry_weight == NULL) return out_of_memory(err);
    for (uint32_t m = 0; m < f->job->labels; m++)
        for (uint32_t e = 0; e < f->entry_count[m]; e++)
            at[f->entries[m][e].feature + 2]++;
    for (uint32_t j = 2; j < f->lines + 2; j++)
        at[j] += at[j - 1];
    for (uint32_t m = 0; m < f->job->labels; m++)
        for (uint32_t e = 0; e < f->entry_count[m]; e++) { /* moves each start to the next one's place */
            uint32_t slot = at[f->entries[m][e].feature + 1]++;
            f->draft.entry_label[slot] = (uint16_t)m;
            f->draft.entry_weight[slot] = f->entries[m][e].weight;
        }
    return KOLM_OK;
}

static kit_status fit_open(fit *f, kolm_error_t *err) {
    const features *features_ = rows_features(f->job->rows);
    uint32_t labels = f->job->labels;
    f->width = choose_strip(labels);
    bool l1 = false;
    for (uint32_t p = 0; p < f->candidate->parts; p++) {
        f->families |= f->candidate->part[p].families;
        l1 = l1 || f->candidate->part[p].kind == SOLVE_L1;
    }
    if (l1) f->width = 4;
    f->strips = (labels + f->width - 1) / f->width;
    f->lines = f->families & 2u ? features_all(features_) : features_->count[TEXT_WORDS];
    f->draft.features = features_;
    f->draft.families = f->families;
    f->draft.label_count = labels;
    f->draft.stride = (labels + 3u) & ~3u;
    f->draft.sparse = (uint64_t)f->lines * f->draft.stride > DENSE_MAX;
    f->draft.scale = calloc(labels, sizeof(float));
    f->draft.bias = calloc(labels, sizeof(float));
    f->entries = calloc(labels, sizeof *f->entries);
    f->entry_count = calloc(labels, sizeof *f->entry_count);
    if (!f->draft.sparse) f->draft.dense = calloc((size_t)f->lines + 1, f->draft.stride);
    if (!f->draft.scale || !f->draft.bias || !f->entries || !f->entry_count || (!f->draft.sparse && !f->draft.dense))
        return out_of_memory(err);
    if (l1) KIT_TRY(columns_make(f->job->rows, 1, &f->columns, err));
    for (uint32_t p = 0; p < f->candidate->parts; p++) {
        if (f->candidate->part[p].kind != SOLVE_JOINT) continue;
        solve_task task = task_of(f, p, 0, (labels + 15u) & ~15u);
        if ((f->joint = new_weights(&task)) == NULL) return out_of_memory(err);
        KIT_TRY(solve(&task, f->joint, NULL, err));
    }
    return KOLM_OK;
}

static void fit_close(fit *f) {
    for (uint32_t m = 0; f->entries != NULL && m < f->job->labels; m++)
        free(f->entries[m]);
    free(f->entries);
    free(f->entry_count);
    free(f->joint);
    free(f->draft.dense);
    free(f->draft.first);
    free(f->draft.entry_label);
    free(f->draft.entry_weight);
    free(f->draft.scale);
    free(f->draft.bias);
    columns_free(&f->columns);
}

kit_status choose_fit(const choose_job *job, const choose_result *result, char *const *labels, const char *path,
                      kolm_error_t *err) {
    fit f = {.job = job, .candidate = &result->candidate[result->chosen], .duals = result->duals};
    f.draft.labels = labels;
    f.draft.calibration = result->calibration;
    f.draft.threshold_micro = result->threshold_micro;
    kit_status status = fit_open(&f, err);
    if (status == KOLM_OK) status = pool_run(job->threads, f.strips, strip_task, &f, err);
    if (status == KOLM_OK && f.draft.sparse) status = gather_entries(&f, err);
    if (status == KOLM_OK) status = model_write(&f.draft, path, err);
    fit_close(&f);
    return status;
}
