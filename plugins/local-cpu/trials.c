/* SPDX-License-Identifier: Apache-2.0 */
/* Fits on all folds but one, computes out-of-fold scores, and selects the rows to score. */
#include "trials.h"
#include "kolm/kit/buf.h"
#include "numeric.h"
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#define CV_ROWS_MAX 40000u         /* rows that candidates are compared on */
#define CV_SCORES_MAX (5u << 19)   /* floats of one candidate's out-of-fold scores: 10 MiB */
#define CV_CODES_MAX 14000000u     /* features of those rows */
#define JOINT_MEMORY (96ull << 20) /* maximum bytes of parallel joint fits */
#define FIRST_DECIDES 2500u        /* with this many rows the first fold alone decides */
#define FIRST_EPOCHS 10u           /* of each fit in that case: more do not improve the choice */
#define NEAR_EPOCHS 5u             /* of a fit that starts where one with another cost ended */
#define HOPELESS_MICRO 25000       /* a candidate this far behind on the first fold is dropped */

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

/* Weighs a held-out row like a new text: features that the other folds' rows lack are unknown, and do not count in its
 * length. */
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

/* Scores the held-out rows with the strip, and stores the scores next to those of the other strips. */
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
    task.dual_stride = c->stride;
    if (t->duals != NULL) task.end = t->duals + (size_t)(fold - t->duals_fold) * rows_count(c->rows) * c->stride;
    if (fold == 0 && t->begin != NULL) task.begin = t->begin->duals;
    if (c->compared == 1 && c->job->effort == EFFORT_NORMAL && task.kind != SOLVE_L1)
        task.max_epochs = task.begin != NULL ? NEAR_EPOCHS : FIRST_EPOCHS;
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

/* Maps a task number to candidate, fold and strip, candidate by candidate. */
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

/* Number of fits that may run in parallel: joint fits are as large as all labels together. */
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

/* The counts of one label among the scored rows. */
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

/* Fills the candidate's counts and merit, and which rows it got right, from its scores of the folds below fold_end. */
static kit_status measure(const cv *c, const trial *t, uint32_t fold_end, kolm_error_t *err) {
    choose_candidate *out = t->candidate;
    label_count *count = calloc(c->job->labels, sizeof *count);
    if (count == NULL) return out_of_memory(err);
    out->correct = out->rows = 0;
    for (uint32_t s = 0; s < c->slots; s++) {
        if (c->slot_fold[s] >= fold_end) continue;
        const float *line = t->scores + (size_t)s * c->stride;
        uint32_t best = 0;
        for (uint32_t m = 1; m < c->job->labels; m++)
            if (line[m] > line[best]) best = m;
        t->right[s] = best == c->truth[s];
        count[c->truth[s]].rows++;
        count[c->truth[s]].correct += t->right[s];
        out->correct += t->right[s];
        out->rows++;
    }
    out->merit = c->job->label_weight == NULL ? micro_of(out->correct, out->rows) : mean_recall(count, c->job->labels);
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

static kit_status trial_open(const cv *c, trial *t, kolm_error_t *err) {
    t->scores = calloc((size_t)c->slots * c->stride + 1, sizeof *t->scores);
    t->right = calloc((size_t)c->slots + 1, 1);
    return t->scores != NULL && t->right != NULL ? KOLM_OK : out_of_memory(err);
}

/* After the first fold: drops candidates far behind the best so far; their merit remains that of this fold. */
static kit_status drop_hopeless(cv *c, kolm_error_t *err) {
    for (uint32_t i = c->batch_first; i < c->batch_first + c->batch_count; i++) {
        KIT_TRY(measure(c, &c->trial[i], 1, err));
        uint64_t mine = c->trial[i].candidate->merit;
        c->trial[i].first_fold = mine;
        if (mine > c->best_first_fold) c->best_first_fold = mine;
    }
    for (uint32_t i = c->batch_first; i < c->batch_first + c->batch_count; i++)
        c->trial[i].dropped = c->trial[i].first_fold + HOPELESS_MICRO < c->best_first_fold;
    return KOLM_OK;
}

kit_status cv_run_batch(cv *c, kolm_error_t *err) {
    c->batch_count = c->result->candidates - c->batch_first;
    for (uint32_t i = c->batch_first; i < c->batch_first + c->batch_count; i++)
        KIT_TRY(trial_open(c, &c->trial[i], err));
    KIT_TRY(run_folds(c, 0, 1, err));
    KIT_TRY(drop_hopeless(c, err));
    if (c->compared > 1) KIT_TRY(run_folds(c, 1, c->compared - 1, err));
    for (uint32_t i = c->batch_first; i < c->batch_first + c->batch_count; i++)
        if (!c->trial[i].dropped) KIT_TRY(measure(c, &c->trial[i], c->compared, err));
    c->batch_first = c->result->candidates;
    return KOLM_OK;
}

/* ---- Warm starts */

/* True if rows are few enough that another fit may start where this trial's fits end. */
static bool duals_kept(const cv *c, const trial *t) {
    return c->part == NULL && t->candidate->part[0].kind != SOLVE_L1 &&
           (uint64_t)rows_count(c->rows) * c->stride <= SOLVE_DUALS_MAX;
}

kit_status cv_begin_at(cv *c, trial *a, trial *b, kolm_error_t *err) {
    if (!duals_kept(c, a) || c->compared > 1) return KOLM_OK;
    if (b == NULL) {
        a->duals = calloc((size_t)rows_count(c->rows) * c->stride + 1, sizeof *a->duals);
        return a->duals != NULL ? KOLM_OK : out_of_memory(err);
    }
    b->begin = a;
    return KOLM_OK;
}

/* ---- Sums of two trials */

static double spread(const cv *c, const float *scores) {
    double sum = 0.0, squares = 0.0, n = 0.0;
    for (uint32_t s = 0; s < c->slots; s++) {
        if (c->slot_fold[s] >= c->compared) continue;
        n += c->job->labels;
        for (uint32_t m = 0; m < c->job->labels; m++) {
            double x = scores[(size_t)s * c->stride + m];
            sum += x;
            squares += x * x;
        }
    }
    double variance = squares / n - sum / n * (sum / n);
    return variance > 1e-12 ? num_sqrt(variance) : 1.0;
}

static void add_scores(const cv *c, trial *t) {
    const float *a = c->trial[t->of[0]].scores, *b = c->trial[t->of[1]].scores;
    const choose_part *part = t->candidate->part;
    for (size_t i = 0; i < (size_t)c->slots * c->stride; i++)
        t->scores[i] = a[i] * part[0].share + b[i] * part[1].share;
}

kit_status cv_add_blend(cv *c, uint32_t a, uint32_t b, float share, uint32_t *out, kolm_error_t *err) {
    *out = c->result->candidates++;
    trial *t = &c->trial[*out];
    choose_candidate *made = &c->result->candidate[*out];
    const choose_candidate *pair[2] = {&c->result->candidate[a], &c->result->candidate[b]};
    c->batch_first = c->result->candidates;
    *t = (trial){.candidate = made, .of = {a, b}};
    made->parts = 2;
    made->part[0] = pair[0]->part[0];
    made->part[1] = pair[1]->part[0];
    /* Divide each by the spread of its scores. */
    made->part[0].share = (float)(share / spread(c, c->trial[a].scores));
    made->part[1].share = (float)(1.0 / spread(c, c->trial[b].scores));
    (void)kit_format(made->name, sizeof made->name, "%g x (%s) + (%s)", (double)share, pair[0]->name, pair[1]->name);
    KIT_TRY(trial_open(c, t, err));
    add_scores(c, t);
    return measure(c, t, c->compared, err);
}

/* ---- The folds that are not compared */

/* The mean of the dual variables of a row over the fits that included it: the mean of feasible points is feasible. */
static kit_status mean_duals(const cv *c, trial *t, uint32_t folds, kolm_error_t *err) {
    const size_t all = (size_t)rows_count(c->rows) * c->stride;
    rows_reader reader;
    KIT_TRY(rows_reader_open(c->rows, 0, &reader, err));
    kit_status status = KOLM_OK;
    for (uint32_t b = 0; b < rows_blocks(c->rows) && status == KOLM_OK; b++) {
        if ((status = rows_reader_load(&reader, b, err)) != KOLM_OK) break;
        for (uint32_t i = 0; i < reader.count; i++) {
            row_head head;
            const uint32_t fold = rows_reader_head(&reader, i, &head)->fold;
            const bool held = fold >= c->compared && fold < c->compared + folds;
            float *to = t->duals + (size_t)(reader.first + i) * c->stride, share = 1.0f / (float)(folds - held);
            for (uint32_t m = 0; m < c->stride; m++) {
                float sum = to[m];
                for (uint32_t f = 1; f < folds; f++)
                    sum += to[f * all + m];
                to[m] = sum * share;
            }
        }
    }
    rows_reader_close(&reader);
    return status;
}

/* Runs the remaining folds of a trial with a single part. */
static kit_status finish_single(cv *c, uint32_t number, uint32_t folds, float **out_duals, kolm_error_t *err) {
    trial *t = &c->trial[number];
    c->batch_first = number;
    c->batch_count = 1;
    free(t->duals);
    t->duals = NULL;
    t->duals_fold = c->compared;
    if (duals_kept(c, t)) {
        const size_t all = (size_t)rows_count(c->rows) * c->stride * folds;
        if ((t->duals = calloc(all + 1, sizeof *t->duals)) == NULL) return out_of_memory(err);
    }
    KIT_TRY(run_folds(c, c->compared, folds, err));
    if (t->duals != NULL && folds > 1) KIT_TRY(mean_duals(c, t, folds, err));
    if (folds > 1) *out_duals = t->duals;
    if (folds > 1) t->duals = NULL;
    return measure(c, t, c->compared + folds, err);
}

kit_status cv_finish(cv *c, uint32_t number, kolm_error_t *err) {
    trial *t = &c->trial[number];
    const uint32_t folds = c->job->folds - c->compared;
    if (folds == 0 || c->job->effort == EFFORT_QUICK || c->job->labels > MANY_LABELS) return KOLM_OK;
    if (t->candidate->parts == 1) return finish_single(c, number, folds, &c->result->duals[0], err);
    for (uint32_t p = 0; p < t->candidate->parts; p++)
        KIT_TRY(finish_single(c, t->of[p], folds, &c->result->duals[p], err));
    add_scores(c, t);
    return measure(c, t, c->job->folds, err);
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

/* Gives every row, or a subset if there are many labels, a slot; except rows whose label is unique, which no fit could
 * know. */
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

/* Fills c->seen: whether the feature would have been kept without the rows of the fold. */
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
    if (c->part != NULL) least = 1; /* in a subset of the rows frequencies are smaller anyway */
    for (uint32_t j = 0; j < all && status == KOLM_OK; j++)
        for (uint32_t f = 0; f < folds; f++)
            c->seen[(size_t)f * all + j] =
                in[(size_t)j * (folds + 1) + folds] - in[(size_t)j * (folds + 1) + f] >= least;
    rows_reader_close(&reader);
    free(in);
    return status;
}

/* Many rows are compared on the first fold only: the others would hardly improve the choice. */
static kit_status weigh_slots(cv *c, kolm_error_t *err) {
    uint32_t first = 0, count = 0, present = 0, *of_label = calloc(c->job->labels, sizeof *of_label);
    c->weight = calloc((size_t)c->slots + 1, sizeof *c->weight);
    if (of_label == NULL || c->weight == NULL) {
        free(of_label);
        return out_of_memory(err);
    }
    for (uint32_t s = 0; s < c->slots; s++)
        first += c->slot_fold[s] == 0;
    c->compared = c->job->effort == EFFORT_QUICK || c->job->labels > MANY_LABELS ||
                          (c->job->effort == EFFORT_NORMAL && first >= FIRST_DECIDES)
                      ? 1
                      : c->job->folds;
    for (uint32_t s = 0; s < c->slots; s++) {
        if (c->slot_fold[s] >= c->compared) continue;
        count++;
        present += of_label[c->truth[s]]++ == 0;
    }
    for (uint32_t s = 0; s < c->slots; s++)
        if (c->slot_fold[s] < c->compared)
            c->weight[s] = c->job->label_weight == NULL ? 1.0f / (float)count
                                                        : 1.0f / ((float)present * (float)of_label[c->truth[s]]);
    free(of_label);
    return KOLM_OK;
}

kit_status cv_open(cv *c, kolm_error_t *err) {
    KIT_TRY(choose_rows(c, err));
    KIT_TRY(choose_slots(c, err));
    KIT_TRY(weigh_slots(c, err));
    return look_at_folds(c, err);
}

void cv_close(cv *c) {
    for (uint32_t i = 0; i < CHOOSE_CANDIDATES; i++) {
        free(c->trial[i].scores);
        free(c->trial[i].right);
        free(c->trial[i].duals);
    }
    free(c->weight);
    columns_free(&c->columns);
    rows_free(c->part);
    free(c->slot);
    free(c->truth);
    free(c->slot_fold);
    free(c->seen);
}
