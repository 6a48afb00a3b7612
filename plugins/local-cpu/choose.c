/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of the cross-validation and what follows from its out-of-fold scores. */
#include "choose.h"
#include "kolm/kit/buf.h"
#include "numeric.h"
#include "pool.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CV_ROWS_MAX 40000u            /* rows that candidates are compared on */
#define CV_SCORES_MAX (5u << 19)      /* floats of one candidate's out-of-fold scores: 10 MiB */
#define CV_CODES_MAX 14000000u        /* features of those rows */
#define CV_ROWS_MIN 30u               /* fewer cannot choose anything */
#define JOINT_WEIGHTS_MAX (10u << 20) /* floats: beyond 40 MiB the joint solver is not tried */
#define JOINT_DUALS_MAX (8u << 20)    /* floats */
#define JOINT_MEMORY (48ull << 20)    /* bytes that joint fits running side by side may take */
#define MANY_LABELS 1000u             /* from here on nothing is compared, the epochs are few */
#define CHARS_MATTER_MICRO 10000      /* when characters add more than this, texts are short and L1 is not tried */
#define CLEAR_LEAD_MICRO 1000         /* when L1 leads by more than this, the joint solver is not tried */
#define LONG_TEXT_WORDS 40            /* word features a row from which the quick plan takes L1 */
#define HOPELESS_MICRO 25000          /* a candidate that far behind on the first fold is dropped */

uint32_t choose_folds(uint64_t row_count, choose_effort effort) {
    if (effort == EFFORT_QUICK) return 5;
    return row_count < 2000 || effort == EFFORT_HIGH ? 5 : 3;
}

uint32_t choose_strip(uint32_t labels) {
    return labels <= 8 ? 4 : labels > MANY_LABELS ? 8 : 16;
}

uint32_t choose_features_max(uint32_t labels, uint64_t row_count) {
    uint64_t most = (16ull << 20) / labels;
    if (row_count / labels < ROWS_FEW) return 1u << 19;
    return most > 1u << 18 ? 1u << 18 : most < 1u << 14 ? 1u << 14 : (uint32_t)most;
}

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED,
                    "close other programs, raise the memory limit, or use fewer threads",
                    "out of memory while choosing the model");
}

/* ---- State of one call */

typedef struct trial {
    choose_candidate *candidate;
    float *scores;       /* [slots][stride]; of its single part */
    bool dropped;        /* after the first fold */
    uint64_t first_fold; /* merit on it, millionths */
} trial;

typedef struct cv {
    const choose_job *job;
    choose_result *result;
    const rows *rows; /* the job's, or a part of them */
    rows *part;
    columns columns; /* of the words, when L1 is tried */
    uint32_t *slot;  /* of each row among those scored; NO_SLOT: not scored */
    uint32_t *truth; /* of each slot */
    uint32_t *slot_fold;
    uint32_t slots, stride;
    uint8_t *seen; /* [fold][feature]: occurs in a row of another fold */
    trial trial[CHOOSE_CANDIDATES];
    /* One batch of fits. */
    uint32_t batch_first, batch_count, fold_first, fold_count;
    uint64_t best_first_fold;
    atomic_uint steps;
    uint32_t steps_total;
} cv;
#define NO_SLOT UINT32_MAX

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

static solve_task task_of(const choose_job *job, const rows *r, const choose_part *part, uint32_t fold,
                          uint32_t first) {
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
    solve_task task = task_of(c->job, c->rows, &t->candidate->part[0], fold, first_label);
    task.columns = &c->columns;
    float *weights = aligned_alloc(64, (solve_size(&task) * sizeof *weights + 63) & ~(size_t)63);
    if (weights == NULL) return out_of_memory(err);
    kit_status status = solve(&task, weights, NULL, err);
    if (status == KOLM_OK) status = score_fold(c, &task, weights, t->scores, err);
    free(weights);
    report(c, "comparing");
    return status;
}

static uint32_t strips_of(const choose_part *part, uint32_t labels) {
    uint32_t width = width_of(part, labels);
    return (labels + width - 1) / width;
}

/* Task number -> candidate, fold and strip, candidates of the batch one after another. */
static kit_status batch_task(void *user, uint32_t number, kolm_error_t *err) {
    cv *c = user;
    for (uint32_t i = c->batch_first; i < c->batch_first + c->batch_count; i++) {
        trial *t = &c->trial[i];
        if (t->dropped) continue;
        uint32_t strips = strips_of(&t->candidate->part[0], c->job->labels), tasks = strips * c->fold_count;
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
        solve_task task = task_of(c->job, c->rows, &c->trial[i].candidate->part[0], 0, 0);
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

/* Fills the candidate's counts and merit from its scores of the folds below fold_end. */
static kit_status measure(const cv *c, const float *scores, uint32_t fold_end, choose_candidate *out,
                          kolm_error_t *err) {
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
        if (!c->trial[i].dropped) tasks += strips_of(&c->trial[i].candidate->part[0], c->job->labels) * count;
    return pool_run(batch_threads(c), tasks, batch_task, c, err);
}

static trial *add_trial(cv *c, const char *name, solve_kind kind, unsigned families, float cost) {
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
        KIT_TRY(measure(c, c->trial[i].scores, 1, t, err));
        uint64_t mine = t->merit;
        c->trial[i].first_fold = mine;
        if (mine > c->best_first_fold) c->best_first_fold = mine;
    }
    for (uint32_t i = c->batch_first; i < c->batch_first + c->batch_count; i++)
        c->trial[i].dropped = c->trial[i].first_fold + HOPELESS_MICRO < c->best_first_fold;
    return KOLM_OK;
}

/* Runs the trials added since c->batch_first over all folds. */
static kit_status run_batch(cv *c, kolm_error_t *err) {
    uint32_t folds = c->job->effort == EFFORT_QUICK ? 1 : c->job->folds;
    c->batch_count = c->result->candidates - c->batch_first;
    for (uint32_t i = c->batch_first; i < c->batch_first + c->batch_count; i++)
        if ((c->trial[i].scores = calloc((size_t)c->slots * c->stride + 1, sizeof(float))) == NULL)
            return out_of_memory(err);
    KIT_TRY(run_folds(c, 0, 1, err));
    KIT_TRY(drop_hopeless(c, err));
    if (folds > 1) KIT_TRY(run_folds(c, 1, folds - 1, err));
    for (uint32_t i = c->batch_first; i < c->batch_first + c->batch_count; i++)
        if (!c->trial[i].dropped) KIT_TRY(measure(c, c->trial[i].scores, folds, c->trial[i].candidate, err));
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

/* ---- The plan */

static bool joint_fits(const cv *c, unsigned families) {
    const choose_part part = {SOLVE_JOINT, families, 1.0f, 1.0f};
    solve_task task = task_of(c->job, c->job->rows, &part, SOLVE_NO_FOLD, 0);
    return c->job->labels > 2 && solve_size(&task) <= JOINT_WEIGHTS_MAX &&
           (uint64_t)rows_count(c->job->rows) * task.width <= JOINT_DUALS_MAX;
}

static uint32_t best_of(const cv *c, uint32_t first, uint32_t end) {
    uint32_t best = first;
    for (uint32_t i = first; i < end; i++)
        if (c->result->candidate[i].merit > c->result->candidate[best].merit) best = i;
    return best;
}

static double spread(const cv *c, const float *scores) {
    double sum = 0.0, squares = 0.0, n = (double)c->slots * c->job->labels;
    for (uint32_t s = 0; s < c->slots; s++)
        for (uint32_t m = 0; m < c->job->labels; m++) {
            double x = scores[(size_t)s * c->stride + m];
            sum += x;
            squares += x * x;
        }
    double variance = squares / n - sum / n * (sum / n);
    return variance > 1e-12 ? num_sqrt(variance) : 1.0;
}

/* The sum of two measured candidates, each divided by the spread of its scores. Costs no fit. */
static kit_status add_blend(cv *c, uint32_t a, uint32_t b, float share, kolm_error_t *err) {
    trial *t = &c->trial[c->result->candidates];
    choose_candidate *made = &c->result->candidate[c->result->candidates++];
    const choose_candidate *pair[2] = {&c->result->candidate[a], &c->result->candidate[b]};
    t->candidate = made;
    made->parts = 2;
    made->part[0] = pair[0]->part[0];
    made->part[1] = pair[1]->part[0];
    made->part[0].share = (float)(share / spread(c, c->trial[a].scores));
    made->part[1].share = (float)(1.0 / spread(c, c->trial[b].scores));
    (void)kit_format(made->name, sizeof made->name, "%g x (%s) + (%s)", (double)share, pair[0]->name, pair[1]->name);
    size_t all = (size_t)c->slots * c->stride;
    if ((t->scores = malloc((all + 1) * sizeof(float))) == NULL) return out_of_memory(err);
    for (size_t i = 0; i < all; i++)
        t->scores[i] = c->trial[a].scores[i] * made->part[0].share + c->trial[b].scores[i] * made->part[1].share;
    KIT_TRY(measure(c, t->scores, UINT32_MAX, made, err));
    c->batch_first = c->result->candidates;
    return KOLM_OK;
}

static void forget_scores(cv *c, uint32_t first, uint32_t end, uint32_t but) {
    for (uint32_t i = first; i < end; i++) {
        if (i == but) continue;
        free(c->trial[i].scores);
        c->trial[i].scores = NULL;
    }
}

/* Texts of many words with many rows for each label: there L1 may pay. */
static bool l1_may_pay(const cv *c) {
    uint64_t n = rows_count(c->job->rows), words = rows_codes(c->job->rows, 0);
    return words <= COLUMNS_MAX_CODES && n / c->job->labels >= 100 && words / n >= 10 && c->job->labels <= 100;
}

/* Runs the trials added since mark; *out_best: the best of them, the only one whose scores are kept. */
static kit_status run_and_keep_best(cv *c, uint32_t mark, uint32_t *out_best, kolm_error_t *err) {
    KIT_TRY(run_batch(c, err));
    *out_best = best_of(c, mark, c->result->candidates);
    forget_scores(c, mark, c->result->candidates, *out_best);
    return KOLM_OK;
}

static kit_status try_l1(cv *c, uint32_t *out_best, kolm_error_t *err) {
    uint32_t mark = c->result->candidates;
    KIT_TRY(columns_make(c->rows, 1, &c->columns, err));
    (void)add_trial(c, "l1", SOLVE_L1, 1, 2.0f);
    (void)add_trial(c, "l1", SOLVE_L1, 1, 4.0f);
    return run_and_keep_best(c, mark, out_best, err);
}

static kit_status try_joint(cv *c, unsigned families, uint32_t *out_best, kolm_error_t *err) {
    uint32_t mark = c->result->candidates;
    (void)add_trial(c, "joint", SOLVE_JOINT, families, 0.5f);
    (void)add_trial(c, "joint", SOLVE_JOINT, families, 1.0f);
    if (c->job->effort == EFFORT_HIGH) (void)add_trial(c, "joint", SOLVE_JOINT, families, 0.25f);
    return run_and_keep_best(c, mark, out_best, err);
}

/* Strips that the plan fits if nothing is dropped on the way: the end that progress counts towards. */
static uint32_t planned_steps(const cv *c) {
    const choose_part svm = {SOLVE_SVM, 3, 1.0f, 1.0f}, l1 = {SOLVE_L1, 1, 1.0f, 1.0f};
    uint32_t steps = 2 * strips_of(&svm, c->job->labels);
    if (l1_may_pay(c)) steps += 2 * strips_of(&l1, c->job->labels);
    if (joint_fits(c, 3)) steps += c->job->effort == EFFORT_HIGH ? 3 : 2;
    return steps * c->job->folds;
}

static kit_status plan_normal(cv *c, kolm_error_t *err) {
    choose_result *r = c->result;
    uint32_t svm, joint = UINT32_MAX, l1 = UINT32_MAX;
    bool large = rows_count(c->rows) > 20000;
    c->steps_total = planned_steps(c);
    /* Families, by the quickest solver. */
    (void)add_trial(c, "svm", SOLVE_SVM, 1, large ? 0.25f : 0.5f);
    (void)add_trial(c, "svm", SOLVE_SVM, 3, large ? 0.25f : 0.5f);
    KIT_TRY(run_and_keep_best(c, 0, &svm, err));
    bool chars_matter = c->trial[1].first_fold > c->trial[0].first_fold + CHARS_MATTER_MICRO;
    if (!chars_matter && l1_may_pay(c)) KIT_TRY(try_l1(c, &l1, err));
    bool l1_leads = l1 != UINT32_MAX && r->candidate[l1].merit > r->candidate[svm].merit + CLEAR_LEAD_MICRO;
    unsigned families = r->candidate[svm].part[0].families;
    if (!l1_leads && joint_fits(c, families)) KIT_TRY(try_joint(c, families, &joint, err));
    if (joint != UINT32_MAX && !c->trial[joint].dropped) KIT_TRY(add_blend(c, joint, svm, 1.0f, err));
    if (l1 != UINT32_MAX && !c->trial[l1].dropped) KIT_TRY(add_blend(c, l1, svm, 2.0f, err));
    r->chosen = best_of(c, 0, r->candidates);
    return KOLM_OK;
}

/* No comparing: one fit on four fifths to learn how sure answers are. Long texts get words under L1, others all
 * features. */
static kit_status plan_quick(cv *c, kolm_error_t *err) {
    bool long_texts = l1_may_pay(c) && rows_codes(c->job->rows, 0) / rows_count(c->job->rows) >= LONG_TEXT_WORDS;
    const trial *t = long_texts ? add_trial(c, "l1", SOLVE_L1, 1, 3.0f) : add_trial(c, "svm", SOLVE_SVM, 3, 1.0f);
    c->result->chosen = 0;
    c->steps_total = strips_of(&t->candidate->part[0], c->job->labels);
    if (long_texts) KIT_TRY(columns_make(c->rows, 1, &c->columns, err));
    return run_batch(c, err);
}

static kit_status settle(cv *c, kolm_error_t *err) {
    choose_result *r = c->result;
    calibration_rows rows_ = {c->trial[r->chosen].scores, c->truth, c->slots, c->job->labels, c->stride};
    r->calibration = calibrate(&rows_);
    KIT_TRY(calibrate_ece(&rows_, r->calibration, &r->ece_micro, err));
    r->threshold_micro = c->job->abstain_micro;
    if (r->threshold_micro == 0 && c->job->target_accuracy_micro != 0) {
        KIT_TRY(calibrate_threshold(&rows_, r->calibration, c->job->target_accuracy_micro, &r->threshold_micro, err));
        r->target_missed = r->threshold_micro > MODEL_MICRO;
    }
    r->oof_rows = c->slots;
    for (uint32_t s = 0; s < c->slots; s++) {
        uint32_t best,
            micro = model_confidence(rows_.scores + (size_t)s * c->stride, c->job->labels, r->calibration, &best);
        if (micro < r->threshold_micro) continue;
        r->oof_answered++;
        r->oof_correct += best == c->truth[s];
    }
    return KOLM_OK;
}

/* Hands the scores of the chosen one on, with the numbers of their rows. */
static kit_status keep_held(cv *c, kolm_error_t *err) {
    choose_held *held = c->job->held;
    const uint32_t *number = rows_numbers(c->rows);
    if (held == NULL || number == NULL || c->slots < CV_ROWS_MIN) return KOLM_OK;
    if ((held->row = malloc((c->slots + 1) * sizeof *held->row)) == NULL) return out_of_memory(err);
    for (uint32_t i = 0; i < rows_count(c->rows); i++)
        if (c->slot[i] != NO_SLOT) held->row[c->slot[i]] = number[i];
    held->count = c->slots;
    held->stride = c->stride;
    held->folds = c->job->effort == EFFORT_QUICK || c->job->labels > MANY_LABELS ? 1 : c->job->folds;
    held->scores = c->trial[c->result->chosen].scores;
    c->trial[c->result->chosen].scores = NULL;
    return KOLM_OK;
}

void choose_held_free(choose_held *held) {
    free(held->scores);
    free(held->row);
    *held = (choose_held){0};
}

/* Too few rows to measure anything: the plain choice, uncalibrated and saying so by oof_rows 0. */
static void settle_blind(cv *c) {
    choose_result *r = c->result;
    (void)add_trial(c, "svm", SOLVE_SVM, 3, 1.0f);
    r->chosen = 0;
    r->calibration.temperature_micro = 300000;
    r->threshold_micro = c->job->abstain_micro;
    if (r->threshold_micro == 0 && c->job->target_accuracy_micro != 0) {
        r->threshold_micro = MODEL_MICRO + 1; /* no threshold is known to reach it */
        r->target_missed = true;
    }
}

kit_status choose(const choose_job *job, choose_result *out, kolm_error_t *err) {
    cv c = {.job = job, .result = out};
    memset(out, 0, sizeof *out);
    kit_status status = choose_rows(&c, err);
    if (status == KOLM_OK) status = choose_slots(&c, err);
    if (status == KOLM_OK) status = look_at_folds(&c, err);
    if (status == KOLM_OK) {
        if (c.slots < CV_ROWS_MIN) {
            settle_blind(&c);
        } else {
            status =
                job->effort == EFFORT_QUICK || job->labels > MANY_LABELS ? plan_quick(&c, err) : plan_normal(&c, err);
            if (status == KOLM_OK) status = settle(&c, err);
        }
    }
    if (status == KOLM_OK) status = keep_held(&c, err);
    for (uint32_t i = 0; i < CHOOSE_CANDIDATES; i++)
        free(c.trial[i].scores);
    columns_free(&c.columns);
    rows_free(c.part);
    free(c.slot);
    free(c.truth);
    free(c.slot_fold);
    free(c.seen);
    return status;
}
