/* SPDX-License-Identifier: Apache-2.0 */
/* Fits on all folds but one, their out-of-fold scores, and which rows are scored. */
#include "trials.h"
#include "kolm/kit/buf.h"
#include "numeric.h"
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#define CV_ROWS_MAX 40000u         /* rows that candidates are compared on */
#define CV_SCORES_MAX (5u << 19)   /* floats of one candidate's out-of-fold scores: 10 MiB */
#define CV_CODES_MAX 14000000u     /* features of those rows */
#define JOINT_MEMORY (48ull << 20) /* bytes that joint fits running side by side may take */
#define HOPELESS_MICRO 25000       /* a candidate that far behind on the first fold is dropped */

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED,
                    "close other programs, raise the memory limit, or use fewer threads",
                    "out of memory while choosing the model");
}

static void report(cv *c, const char *phase) {
    uint32_t done = atomic_fetch_add(&c->steps, 1) + 1;
    const choose_watch *w = &c->job->watch;
    if (w->step != NULL) w->step(w->user, phase, done, c->steps_total > done ? c->steps_total : done);
}

static uint32_t width_of(const choose_part *part, uint32_t labels) {
    if (part->kind == SOLVE_JOINT) return (labels + 15u) & ~15u;
    if (part->kind == SOLVE_L1) return 4;
    return choose_strip(labels);
}

solve_task cv_task_of(const choose_job *job, const rows *r, const choose_part *part, uint32_t fold, uint32_t first) {
    return (solve_task){.rows = r,
                        .kind = part->kind,
                        .families = part->families,
                        .cost = part->cost,
                        .label_weight = job->label_weight,
                        .held_fold = fold,
                        .seed = job->seed,
                        .labels = job->labels,
                        .first_label = first,
                        .width = width_of(part, job->labels),
                        .max_epochs = job->labels > MANY_LABELS ? 8 : 0,
                        .scratch_dir = job->scratch_dir,
                        .stop = job->watch.stop,
                        .user = job->watch.user};
}

/* ---- Out-of-fold scores */

/* Weighs a held-out row as a new text would be: what the other folds' rows do not have is unknown, and does not count
 * in its length. */
static void forget_unseen(const cv *c, uint32_t fold, uint32_t words, row_view *view, uint32_t *index, float *value) {
    const uint8_t *seen = c->seen + (size_t)fold * features_all(rows_features(c->rows));
    double square[TEXT_FAMILIES] = {0};
    uint32_t n = 0;
    for (uint32_t k = 0; k < view->length; k++) {
        if (!seen[view->index[k]]) continue;
        index[n] = view->index[k];
        value[n] = view->value[k];
        square[index[n] >= words] += (double)value[n] * value[n];
        n++;
    }
    float scale[TEXT_FAMILIES];
    for (unsigned f = 0; f < TEXT_FAMILIES; f++)
        scale[f] = square[f] > 0.0 ? (float)(1.0 / num_sqrt(square[f])) : 0.0f;
    for (uint32_t k = 0; k < n; k++)
        value[k] *= scale[index[k] >= words];
    view->index = index;
    view->value = value;
    view->length = n;
}

/* Scores the held-out rows with the strip and puts them beside the other strips'. */
static kit_status score_fold(const cv *c, const solve_task *task, const float *weights, float *scores,
                             kolm_error_t *err) {
    rows_reader reader;
    uint32_t lines = (uint32_t)(solve_size(task) / task->width) - 1;
    float *sums = aligned_alloc(64, (task->width * sizeof *sums + 63) & ~(size_t)63);
    if (sums == NULL) return out_of_memory(err);
    kit_status status = rows_reader_open(c->rows, task->families, &reader, err);
    for (uint32_t b = 0; b < rows_blocks(c->rows) && status == KOLM_OK; b++) {
        if ((status = rows_reader_load(&reader, b, err)) != KOLM_OK) break;
        for (uint32_t i = 0; i < reader.count; i++) {
            row_head head;
            uint32_t slot = c->slot[reader.first + i];
            if (slot == NO_SLOT || rows_reader_head(&reader, i, &head)->fold != task->held_fold) continue;
            rows_reader_read(&reader, i);
            forget_unseen(c, task->held_fold, rows_features(c->rows)->count[TEXT_WORDS], &reader.view, reader.index,
                          reader.value);
            solve_score(weights, task->width, lines, &reader.view, sums);
            uint32_t n = c->stride - task->first_label < task->width ? c->stride - task->first_label : task->width;
            memcpy(scores + (size_t)slot * c->stride + task->first_label, sums, n * sizeof *sums);
        }
    }
    rows_reader_close(&reader);
    free(sums);
    return status;
}

static kit_status fit_and_score(cv *c, const trial *t, uint32_t fold, uint32_t first_label, kolm_error_t *err) {
    solve_task task = cv_task_of(c->job, c->rows, &t->candidate->part[0], fold, first_label);
    task.columns = &c->columns;
    float *weights = aligned_alloc(64, (solve_size(&task) * sizeof *weights + 63) & ~(size_t)63);
    if (weights == NULL) return out_of_memory(err);
    kit_status status = solve(&task, weights, NULL, err);
    if (status == KOLM_OK) status = score_fold(c, &task, weights, t->scores, err);
    free(weights);
    report(c, "comparing");
    return status;
}

uint32_t cv_strips_of(const choose_part *part, uint32_t labels) {
    uint32_t width = width_of(part, labels);
    return (labels + width - 1) / width;
}

/* Task number -> candidate, fold and strip, candidates of the batch one after another. */
static kit_status batch_task(void *user, uint32_t number, kolm_error_t *err) {
    cv *c = user;
    for (uint32_t i = c->batch_first; i < c->batch_first + c->batch_count; i++) {
        trial *t = &c->trial[i];
        if (t->dropped) continue;
        uint32_t strips = cv_strips_of(&t->candidate->part[0], c->job->labels), tasks = strips * c->fold_count;
        if (number < tasks)
            return fit_and_score(c, t, c->fold_first + number / strips,
                                 number % strips * width_of(&t->candidate->part[0], c->job->labels), err);
        number -= tasks;
    }
    return KOLM_OK;
}

/* How many of the batch's fits may run at once: joint fits are as large as all labels together. */
static uint32_t batch_threads(const cv *c) {
    uint32_t threads = c->job->threads;
    for (uint32_t i = c->batch_first; i < c->batch_first + c->batch_count; i++) {
        if (c->trial[i].dropped || c->trial[i].candidate->part[0].kind != SOLVE_JOINT) continue;
        solve_task task = cv_task_of(c->job, c->rows, &c->trial[i].candidate->part[0], 0, 0);
        uint64_t bytes = (solve_size(&task) + (uint64_t)rows_count(c->rows) * task.width) * sizeof(float);
        uint32_t most = (uint32_t)(JOINT_MEMORY / (bytes + 1));
        if (most < 1) most = 1;
        if (most < threads) threads = most;
    }
    return threads;
}

static uint64_t micro_of(uint64_t correct, uint64_t all) {
    return all == 0 ? 0 : (correct * MODEL_MICRO + all / 2) / all;
}

/* Of one label among the rows that were scored. */
typedef struct label_count {
    uint32_t rows, correct;
} label_count;

static uint64_t mean_recall(const label_count *count, uint32_t labels) {
    uint64_t sum = 0, present = 0;
    for (uint32_t m = 0; m < labels; m++) {
        sum += micro_of(count[m].correct, count[m].rows);
        present += count[m].rows > 0;
    }
    return present == 0 ? 0 : (sum + present / 2) / present;
}

kit_status cv_measure(const cv *c, const float *scores, uint32_t fold_end, choose_candidate *out, kolm_error_t *err) {
    label_count *count = calloc(c->job->labels, sizeof *count);
    if (count == NULL) return out_of_memory(err);
    out->correct = out->rows = 0;
    for (uint32_t s = 0; s < c->slots; s++) {
        if (c->slot_fold[s] >= fold_end) continue;
        const float *line = scores + (size_t)s * c->stride;
        uint32_t best = 0;
        for (uint32_t m = 1; m < c->job->labels; m++)
            if (line[m] > line[best]) best = m;
        count[c->truth[s]].rows++;
        count[c->truth[s]].correct += best == c->truth[s];
        out->correct += best == c->truth[s];
        out->rows++;
    }
    out->merit = c->job->label_weight != NULL ? mean_recall(count, c->job->labels) : micro_of(out->correct, out->rows);
    free(count);
    return KOLM_OK;
}

static kit_status run_folds(cv *c, uint32_t first, uint32_t count, kolm_error_t *err) {
    uint32_t tasks = 0;
    c->fold_first = first;
    c->fold_count = count;
    for (uint32_t i = c->batch_first; i < c->batch_first + c->batch_count; i++)
        if (!c->trial[i].dropped) tasks += cv_strips_of(&c->trial[i].candidate->part[0], c->job->labels) * count;
    return pool_run(batch_threads(c), tasks, batch_task, c, err);
}

trial *cv_add_trial(cv *c, const char *name, solve_kind kind, unsigned families, float cost) {
    trial *t = &c->trial[c->result->candidates];
    t->candidate = &c->result->candidate[c->result->candidates++];
    (void)kit_format(t->candidate->name, sizeof t->candidate->name, "%s %s c=%g",
                     families == 1 ? "words" : "words+chars", name, (double)cost);
    t->candidate->part[0] = (choose_part){kind, families, cost, 1.0f};
    t->candidate->parts = 1;
    return t;
}

/* After the first fold: what is far behind the best so far is not worth the others; its figure stays that of the one
 * fold. */
static kit_status drop_hopeless(cv *c, kolm_error_t *err) {
    for (uint32_t i = c->batch_first; i < c->batch_first + c->batch_count; i++) {
        choose_candidate *t = c->trial[i].candidate;
        KIT_TRY(cv_measure(c, c->trial[i].scores, 1, t, err));
        uint64_t mine = t->merit;
        c->trial[i].first_fold = mine;
        if (mine > c->best_first_fold) c->best_first_fold = mine;
    }
    for (uint32_t i = c->batch_first; i < c->batch_first + c->batch_count; i++)
        c->trial[i].dropped = c->trial[i].first_fold + HOPELESS_MICRO < c->best_first_fold;
    return KOLM_OK;
}

kit_status cv_run_batch(cv *c, kolm_error_t *err) {
    uint32_t folds = c->job->effort == EFFORT_QUICK ? 1 : c->job->folds;
    c->batch_count = c->result->candidates - c->batch_first;
    for (uint32_t i = c->batch_first; i < c->batch_first + c->batch_count; i++)
        if ((c->trial[i].scores = calloc((size_t)c->slots * c->stride + 1, sizeof(float))) == NULL)
            return out_of_memory(err);
    KIT_TRY(run_folds(c, 0, 1, err));
    KIT_TRY(drop_hopeless(c, err));
    if (folds > 1) KIT_TRY(run_folds(c, 1, folds - 1, err));
    for (uint32_t i = c->batch_first; i < c->batch_first + c->batch_count; i++)
        if (!c->trial[i].dropped) KIT_TRY(cv_measure(c, c->trial[i].scores, folds, c->trial[i].candidate, err));
    c->batch_first = c->result->candidates;
    return KOLM_OK;
}

/* ---- Which rows are scored */

static kit_status choose_rows(cv *c, kolm_error_t *err) {
    const choose_job *job = c->job;
    uint64_t n = rows_count(job->rows), codes = rows_codes(job->rows, 0) + rows_codes(job->rows, 1),
             wanted = CV_ROWS_MAX;
    uint64_t by_codes = codes == 0 ? n : (uint64_t)CV_CODES_MAX * n / codes;
    if (by_codes < wanted) wanted = by_codes;
    if (job->labels > MANY_LABELS || n <= wanted) {
        c->rows = job->rows;
        return KOLM_OK;
    }
    KIT_TRY(rows_sample(job->rows, (uint32_t)wanted, job->seed, job->scratch_dir, &c->part, err));
    c->rows = c->part;
    return KOLM_OK;
}

/* Every row, or a part when labels are many, gets a slot; not those whose label no other row has: nothing could know
 * it. */
static kit_status choose_slots(cv *c, kolm_error_t *err) {
    uint32_t n = rows_count(c->rows),
             folds = c->job->effort == EFFORT_QUICK || c->job->labels > MANY_LABELS ? 1 : c->job->folds;
    rows_reader reader;
    c->stride = (c->job->labels + 3u) & ~3u;
    uint64_t most = CV_SCORES_MAX / c->stride, eligible = (uint64_t)n * folds / c->job->folds;
    c->slot = malloc((n + 1) * sizeof *c->slot);
    c->truth = malloc((n + 1) * sizeof *c->truth);
    c->slot_fold = malloc((n + 1) * sizeof *c->slot_fold);
    if (c->slot == NULL || c->truth == NULL || c->slot_fold == NULL) return out_of_memory(err);
    KIT_TRY(rows_reader_open(c->rows, 0, &reader, err));
    kit_status status = KOLM_OK;
    for (uint32_t b = 0; b < rows_blocks(c->rows) && status == KOLM_OK; b++) {
        if ((status = rows_reader_load(&reader, b, err)) != KOLM_OK) break;
        for (uint32_t i = 0; i < reader.count; i++) {
            row_head head;
            (void)rows_reader_head(&reader, i, &head);
            bool taken = head.fold < folds && c->job->label_rows[head.label] > 1 &&
                         (eligible <= most || (num_mix(reader.first + i) >> 32) * eligible >> 32 < most);
            c->slot[reader.first + i] = taken ? c->slots : NO_SLOT;
            if (!taken) continue;
            c->truth[c->slots] = head.label;
            c->slot_fold[c->slots++] = head.fold;
        }
    }
    rows_reader_close(&reader);
    return status;
}

/* Fills c->seen: would the feature have been kept had the fold's rows not been there? */
static kit_status look_at_folds(cv *c, kolm_error_t *err) {
    uint32_t all = features_all(rows_features(c->rows)), folds = c->job->folds, least = rows_least_frequency(c->rows);
    uint32_t *in = calloc((size_t)all + 1, (folds + 1) * sizeof *in); /* [feature][fold], then all folds together */
    c->seen = calloc((size_t)all + 1, folds);
    rows_reader reader = {0};
    kit_status status = in != NULL && c->seen != NULL ? rows_reader_open(c->rows, 3, &reader, err) : out_of_memory(err);
    for (uint32_t b = 0; b < rows_blocks(c->rows) && status == KOLM_OK; b++) {
        if ((status = rows_reader_load(&reader, b, err)) != KOLM_OK) break;
        for (uint32_t i = 0; i < reader.count; i++) {
            rows_reader_read(&reader, i);
            for (uint32_t k = 0; k < reader.view.length; k++) {
                uint32_t *line = in + (size_t)reader.view.index[k] * (folds + 1);
                line[reader.view.fold]++;
                line[folds]++;
            }
        }
    }
    if (c->part != NULL) least = 1; /* in a part of the rows frequencies are smaller anyway */
    for (uint32_t j = 0; j < all && status == KOLM_OK; j++)
        for (uint32_t f = 0; f < folds; f++)
            c->seen[(size_t)f * all + j] =
                in[(size_t)j * (folds + 1) + folds] - in[(size_t)j * (folds + 1) + f] >= least;
    rows_reader_close(&reader);
    free(in);
    return status;
}

kit_status cv_open(cv *c, kolm_error_t *err) {
    KIT_TRY(choose_rows(c, err));
    KIT_TRY(choose_slots(c, err));
    return look_at_folds(c, err);
}

void cv_close(cv *c) {
    for (uint32_t i = 0; i < CHOOSE_CANDIDATES; i++)
        free(c->trial[i].scores);
    columns_free(&c->columns);
    rows_free(c->part);
    free(c->slot);
    free(c->truth);
    free(c->slot_fold);
    free(c->seen);
}
