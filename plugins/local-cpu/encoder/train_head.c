/* SPDX-License-Identifier: Apache-2.0 */
/* Selects the rows for choosing the head, calibrates its answers, and does the final fit. */
#include "encoder/train_head.h"
#include "kolm/kit/file.h"
#include "numeric.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Lambda in units of 1 / temperature of the linear model, and the cost of the regression. The cost is fixed: choosing
 * the lowest of 3, 10, 30 and 100 within a standard error of the best lost 1.3 points on Banking77's test set with ten
 * rows per label, and 1.1 with five. */
static const float lambdas[] = {0.05f, 0.15f, 0.4f, 0.8f, 1.6f, 3.2f, 6.4f};
static const float costs[] = {10.0f};
#define LAMBDAS (sizeof lambdas / sizeof *lambdas)
#define COSTS (sizeof costs / sizeof *costs)
#define BLIND_LAMBDA 1 /* index of the lambda used if nothing can be measured */
#define NO_SLOT UINT32_MAX

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED,
                    "close other programs, raise the memory limit, or use fewer threads",
                    "out of memory while the head is trained");
}

/* The rows used for comparing candidates. */
typedef struct part {
    head_rows rows;
    uint32_t *number; /* of each row, in the job */
    uint32_t *label, *fold;
    float *margins;
    uint32_t stride;
    float *copy; /* of their embeddings, in an unlinked file; NULL if the part has all rows */
    size_t copy_bytes;
} part;

static void report(const head_job *job, const char *phase, uint64_t done, uint64_t total) {
    if (job->watch.step != NULL) job->watch.step(job->watch.user, phase, done, total);
}

/* ---- Choosing rows */

static kit_status copy_embeddings(const head_job *job, part *p, kolm_error_t *err) {
    const size_t line = job->dimensions * sizeof(float);
    kit_buf path = {0};
    kit_buf_fmt(&path, "%s/head-XXXXXX", job->scratch_dir);
    KIT_TRY(kit_buf_ok(&path, err));
    int fd = mkostemp(path.data, O_CLOEXEC);
    kit_status status =
        fd >= 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot make a scratch file in %s", job->scratch_dir);
    if (fd >= 0) unlink(path.data);
    kit_buf_free(&path);
    for (uint32_t i = 0; i < p->rows.rows && status == KOLM_OK; i++)
        status = kit_write_all(fd, job->embeddings + (size_t)p->number[i] * job->dimensions, line, err);
    if (status == KOLM_OK) {
        p->copy_bytes = p->rows.rows * line;
        void *at = mmap(NULL, p->copy_bytes, PROT_READ, MAP_SHARED, fd, 0);
        p->copy = at != MAP_FAILED ? at : NULL;
        if (p->copy == NULL) status = kit_fail_errno(err, errno, "cannot map a scratch file in %s", job->scratch_dir);
    }
    if (fd >= 0) close(fd);
    return status;
}

/* Chooses the rows that have margins or are in a fold that is never held out; a subset if there are too many. */
static kit_status choose_part_of(const head_job *job, part *p, kolm_error_t *err) {
    const uint64_t most = HEAD_CV_NUMBERS / p->stride;
    uint32_t *slot = malloc(((size_t)job->rows + 1) * sizeof *slot), count = 0;
    p->number = malloc(((size_t)job->rows + 1) * sizeof *p->number);
    if (slot == NULL || p->number == NULL) {
        free(slot);
        return out_of_memory(err);
    }
    for (uint32_t i = 0; i < job->rows; i++)
        slot[i] = NO_SLOT;
    for (uint32_t s = 0; s < job->held->count; s++)
        slot[job->held->row[s]] = s;
    for (uint32_t i = 0; i < job->rows; i++) {
        const bool drawn = job->rows <= most || (num_mix(i) >> 32) * job->rows >> 32 < most;
        if (drawn && (slot[i] != NO_SLOT || job->fold[i] >= job->held->folds)) p->number[count++] = i;
    }
    p->rows.rows = count;
    p->label = malloc(((size_t)count + 1) * sizeof *p->label);
    p->fold = malloc(((size_t)count + 1) * sizeof *p->fold);
    p->margins = calloc((size_t)count * p->stride + 1, sizeof *p->margins);
    if (p->label == NULL || p->fold == NULL || p->margins == NULL) {
        free(slot);
        return out_of_memory(err);
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t from = slot[p->number[i]];
        p->label[i] = job->label[p->number[i]];
        p->fold[i] = job->fold[p->number[i]];
        if (from != NO_SLOT)
            memcpy(p->margins + (size_t)i * p->stride, job->held->scores + (size_t)from * p->stride,
                   p->stride * sizeof *p->margins);
    }
    free(slot);
    return KOLM_OK;
}

static head_rows all_rows(const head_job *job) {
    return (head_rows){.embeddings = job->embeddings,
                       .label = job->label,
                       .fold = job->fold,
                       .rows = job->rows,
                       .dimensions = job->dimensions,
                       .labels = job->labels,
                       .label_weight = job->label_weight,
                       .threads = job->threads,
                       .kernels = job->kernels,
                       .stop = job->watch.stop,
                       .user = job->watch.user};
}

static kit_status part_open(const head_job *job, part *p, kolm_error_t *err) {
    p->rows = all_rows(job);
    p->stride = job->held->stride;
    KIT_TRY(choose_part_of(job, p, err));
    p->rows.label = p->label;
    p->rows.fold = p->fold;
    if (p->rows.rows == job->rows) return KOLM_OK;
    KIT_TRY(copy_embeddings(job, p, err));
    p->rows.embeddings = p->copy;
    return KOLM_OK;
}

static void part_close(part *p) {
    if (p->copy != NULL) munmap(p->copy, p->copy_bytes);
    free(p->number);
    free(p->label);
    free(p->fold);
    free(p->margins);
}

/* ---- Calibration */

/* The confidence that each scored row's answer would have had, and whether it was right. */
static kit_status find_confidences(const part *p, const head_choice *choice, uint32_t folds, head_trained *out,
                                   uint32_t *micro, uint8_t *right, kolm_error_t *err) {
    float *similarity = malloc(((size_t)p->rows.rows + 1) * sizeof *similarity);
    kit_status status = similarity != NULL ? head_similarities(&p->rows, folds, similarity, err) : out_of_memory(err);
    if (status == KOLM_OK) status = head_distance_fit(&p->rows, folds, similarity, &out->distance, err);
    for (uint32_t i = 0; i < choice->scored && status == KOLM_OK; i++) {
        uint32_t best;
        const uint64_t sure =
            model_confidence(choice->scores + (size_t)i * choice->stride, p->rows.labels, choice->calibration, &best);
        micro[i] = (uint32_t)(sure * head_distance_factor(out->distance, similarity[choice->row[i]]) / MODEL_MICRO);
        right[i] = best == choice->truth[i];
    }
    free(similarity);
    return status;
}

static kit_status settle(const head_job *job, const part *p, const head_choice *choice, head_trained *out,
                         kolm_error_t *err) {
    uint32_t *micro = malloc(((size_t)choice->scored + 1) * sizeof *micro);
    uint8_t *right = malloc((size_t)choice->scored + 1);
    kit_status status = micro != NULL && right != NULL
                            ? find_confidences(p, choice, job->held->folds, out, micro, right, err)
                            : out_of_memory(err);
    if (status == KOLM_OK) {
        out->ece_micro = calibrate_ece_of(micro, right, choice->scored);
        if (out->threshold_micro == 0 && job->target_accuracy_micro != 0) {
            status = calibrate_threshold_of(micro, right, choice->scored, job->target_accuracy_micro,
                                            &out->threshold_micro, err);
            out->target_missed = out->threshold_micro > MODEL_MICRO;
        }
        out->oof_rows = choice->scored;
        for (uint32_t i = 0; i < choice->scored; i++) {
            if (micro[i] < out->threshold_micro) continue;
            out->oof_answered++;
            out->oof_correct += right[i];
        }
    }
    free(micro);
    free(right);
    return status;
}

/* ---- The choice */

/* *out_weights: where the fit of all rows starts; NULL if out of memory. */
static kit_status choose_by_folds(const head_job *job, head_trained *out, float **out_weights, kolm_error_t *err) {
    const float unit = (float)MODEL_MICRO / (float)job->linear.temperature_micro;
    float scaled[LAMBDAS];
    part p = {0};
    head_choice choice = {0};
    for (size_t i = 0; i < LAMBDAS; i++)
        scaled[i] = lambdas[i] * unit < 1000.0f ? lambdas[i] * unit : 1000.0f;
    report(job, "choosing", 0, 2);
    kit_status status = part_open(job, &p, err);
    const head_choose_job question = {.rows = &p.rows,
                                      .folds = job->folds,
                                      .scored = job->held->folds,
                                      .margins = p.margins,
                                      .stride = p.stride,
                                      .lambda = scaled,
                                      .cost = costs,
                                      .lambdas = LAMBDAS,
                                      .costs = COSTS};
    if (status == KOLM_OK) status = head_choose(&question, &choice, err);
    report(job, "choosing", 1, 2);
    if (status == KOLM_OK) {
        memcpy(out->candidate, choice.candidate, sizeof out->candidate);
        out->candidates = choice.candidates;
        out->chosen = choice.chosen;
        out->lambda = choice.candidate[choice.chosen].lambda;
        out->cost = choice.candidate[choice.chosen].cost;
        out->calibration = choice.calibration;
        status = settle(job, &p, &choice, out, err);
    }
    if (status == KOLM_OK) {
        *out_weights = choice.weights;
        choice.weights = NULL;
    }
    head_choice_free(&choice);
    part_close(&p);
    return status;
}

/* Too few rows to measure anything: the default choice, uncalibrated, and no distance is unusual. */
static kit_status choose_blind(const head_job *job, head_trained *out, float **out_weights, kolm_error_t *err) {
    const head_rows rows_ = all_rows(job);
    out->lambda = lambdas[BLIND_LAMBDA] * (float)MODEL_MICRO / (float)job->linear.temperature_micro;
    out->cost = costs[0];
    out->calibration = (calibration){MODEL_MICRO, 0};
    out->distance = (head_distance){-2.0f, 4.0f};
    if (out->threshold_micro == 0 && job->target_accuracy_micro != 0) {
        out->threshold_micro = MODEL_MICRO + 1; /* no threshold is known to reach it */
        out->target_missed = true;
    }
    *out_weights = calloc(head_size(&rows_), sizeof **out_weights);
    return *out_weights != NULL ? KOLM_OK : out_of_memory(err);
}

/* ---- The final fit */

static kit_status write_head(const head_model *m, const char *path, kolm_error_t *err) {
    kit_buf bytes = {0};
    kit_status status = head_write(m, &bytes, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, bytes.data, bytes.length, err);
    kit_buf_free(&bytes);
    return status;
}

static kit_status fit_all(const head_job *job, const head_trained *t, float *weights, const char *path,
                          kolm_error_t *err) {
    const head_rows rows_ = all_rows(job);
    head_model m = {0};
    float *means = malloc(head_size(&rows_) * sizeof *means);
    if (means == NULL) return out_of_memory(err);
    kit_status status = head_fit(&rows_, HEAD_NO_FOLD, t->cost, weights, NULL, err);
    if (status == KOLM_OK) status = head_means(&rows_, HEAD_NO_FOLD, means, err);
    if (status == KOLM_OK) status = head_reduce(job->labels, job->dimensions, weights, means, &m, err);
    if (status == KOLM_OK) {
        m.lambda = t->lambda;
        m.cost = t->cost;
        m.distance = t->distance;
        m.calibration = t->calibration;
        m.threshold_micro = t->threshold_micro;
        status = write_head(&m, path, err);
    }
    head_model_free(&m);
    free(means);
    return status;
}

kit_status head_train(const head_job *job, const char *path, head_trained *out, kolm_error_t *err) {
    float *weights = NULL;
    *out = (head_trained){.threshold_micro = job->abstain_micro};
    kit_status status =
        job->held->count > 0 ? choose_by_folds(job, out, &weights, err) : choose_blind(job, out, &weights, err);
    if (status == KOLM_OK) status = fit_all(job, out, weights, path, err);
    if (status == KOLM_OK) report(job, "choosing", 2, 2);
    free(weights);
    return status;
}
