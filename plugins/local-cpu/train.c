/* SPDX-License-Identifier: Apache-2.0 */
/* Reads train.jsonl once into encoded rows and a table of labels, then lets choose.c and fit.c work. */
#include "train.h"
#include "kolm/kit/hash.h"
#include "kolm/kit/json.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/lines.h"
#include "numeric.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Labels, in the order of their first row until they are sorted */

typedef struct labels {
    char **text;
    uint32_t *rows;
    uint32_t count, capacity;
    uint32_t *slot; /* open addressing: label + 1, 0 empty */
    uint32_t slots;
    kit_hash_secret secret; /* who writes the rows chooses the labels */
} labels;

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED,
                    "close other programs, raise the memory limit, or train on fewer rows",
                    "out of memory while reading the training rows");
}

static void labels_free(labels *l) {
    for (uint32_t i = 0; i < l->count; i++)
        free(l->text[i]);
    free(l->text);
    free(l->rows);
    free(l->slot);
    memset(l, 0, sizeof *l);
}

static uint32_t place_of(const labels *l, const char *text) {
    uint32_t place = (uint32_t)kit_hash(&l->secret, text, strlen(text)) & (l->slots - 1);
    while (l->slot[place] != 0 && strcmp(l->text[l->slot[place] - 1], text) != 0)
        place = (place + 1) & (l->slots - 1);
    return place;
}

static kit_status labels_grow(labels *l, kolm_error_t *err) {
    uint32_t capacity = l->capacity == 0 ? 64 : l->capacity * 2;
    char **text = realloc(l->text, capacity * sizeof *text);
    if (text != NULL) l->text = text;
    uint32_t *rows_ = realloc(l->rows, capacity * sizeof *rows_);
    if (rows_ != NULL) l->rows = rows_;
    uint32_t *slot = calloc((size_t)capacity * 4, sizeof *slot);
    if (text == NULL || rows_ == NULL || slot == NULL) {
        free(slot);
        return out_of_memory(err);
    }
    free(l->slot);
    l->slot = slot;
    l->slots = capacity * 4;
    l->capacity = capacity;
    for (uint32_t i = 0; i < l->count; i++)
        l->slot[place_of(l, l->text[i])] = i + 1;
    return KOLM_OK;
}

static kit_status labels_find(labels *l, const char *text, uint32_t *out, kolm_error_t *err) {
    if (l->count == l->capacity) KIT_TRY(labels_grow(l, err));
    uint32_t place = place_of(l, text);
    if (l->slot[place] == 0) {
        if (l->count == MODEL_LABELS_MAX)
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                            "the linear recipe is for closed sets of answers; use --recipe lora for free text",
                            "the rows have more than %u different outputs", MODEL_LABELS_MAX);
        if (strlen(text) > MODEL_LABEL_BYTES_MAX)
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                            "the linear recipe is for closed sets of answers; use --recipe lora for free text",
                            "an output has %zu bytes, more than a label may have (%u)", strlen(text),
                            MODEL_LABEL_BYTES_MAX);
        if ((l->text[l->count] = strdup(text)) == NULL) return out_of_memory(err);
        l->rows[l->count] = 0;
        l->slot[place] = ++l->count;
    }
    *out = l->slot[place] - 1;
    return KOLM_OK;
}

/* ---- Rows */

/* Deals the rows of a label to the folds in turn, each round in an order of its own. */
static uint32_t fold_of(uint32_t label, uint32_t nth, uint32_t folds, uint64_t seed) {
    uint8_t order[ROWS_FOLDS_MAX];
    uint64_t state = num_mix(seed ^ ((uint64_t)label << 32 | nth / folds));
    for (uint32_t i = 0; i < folds; i++) {
        uint32_t j = num_below(&state, i + 1);
        order[i] = order[j];
        order[j] = (uint8_t)i;
    }
    return order[nth % folds];
}

typedef struct reading {
    const train_request *request;
    rows *rows;
    labels labels;
    uint32_t folds;
    uint64_t bytes, total_bytes;
    kit_json_walk walk;
    kit_buf texts[2]; /* input, output */
} reading;

static kit_status read_row(reading *r, const char *line, size_t length, kolm_error_t *err) {
    static const char *const keys[] = {"input", "output"};
    uint32_t label = 0;
    KIT_TRY(kit_json_row_texts(&r->walk, line, length, keys, 2, r->texts, err));
    KIT_TRY(labels_find(&r->labels, kit_buf_text(&r->texts[1]), &label, err));
    return rows_add(r->rows, kit_buf_text(&r->texts[0]), r->texts[0].length, label,
                    fold_of(label, r->labels.rows[label]++, r->folds, r->request->seed), err);
}

static kit_status read_rows(reading *r, kit_lines *lines, kolm_error_t *err) {
    const choose_watch *watch = &r->request->watch;
    for (uint64_t n = 0;; n++) {
        const char *line;
        size_t length;
        kit_status status = kit_lines_next(lines, &line, &length, err);
        if (status == KOLM_OK && line == NULL) return KOLM_OK;
        if (status == KOLM_OK) status = read_row(r, line, length, err);
        if (status != KOLM_OK)
            return kit_fail_context(err, "%s, line %llu", r->request->rows_path,
                                    (unsigned long long)kit_lines_number(lines));
        r->bytes += length + 1;
        if (n % 256 != 255) continue;
        if (watch->stop != NULL && watch->stop(watch->user))
            return kit_fail(err, KOLM_E_CANCELLED, "", "training was stopped");
        if (watch->step != NULL && n % 4096 == 4095) watch->step(watch->user, "reading", r->bytes, r->total_bytes);
    }
}

static kit_status read_file(reading *r, kolm_error_t *err) {
    kit_lines *lines = NULL;
    int fd = open(r->request->rows_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open the training rows %s", r->request->rows_path);
    off_t end = lseek(fd, 0, SEEK_END);
    r->total_bytes = end > 0 ? (uint64_t)end : 0;
    (void)lseek(fd, 0, SEEK_SET);
    kit_status status = kit_lines_open(fd, TRAIN_LINE_MAX, &lines, err);
    if (status == KOLM_OK) status = read_rows(r, lines, err);
    kit_lines_close(lines);
    close(fd);
    return status;
}

/* ---- Sorting the labels */

typedef struct sorted_label {
    char *text;
    uint32_t old;
} sorted_label;

static int by_text(const void *a, const void *b) {
    return strcmp(((const sorted_label *)a)->text, ((const sorted_label *)b)->text);
}

/* Sorts labels (and their counts); *out_map: old number -> new one, for the caller to free. */
static kit_status sort_labels(labels *l, uint32_t **out_map, kolm_error_t *err) {
    uint32_t *map = malloc(l->count * sizeof *map), *counts = malloc(l->count * sizeof *counts);
    sorted_label *order = malloc(l->count * sizeof *order);
    if (map == NULL || counts == NULL || order == NULL) {
        free(map);
        free(counts);
        free(order);
        return out_of_memory(err);
    }
    for (uint32_t i = 0; i < l->count; i++)
        order[i] = (sorted_label){l->text[i], i};
    qsort(order, l->count, sizeof *order, by_text);
    for (uint32_t i = 0; i < l->count; i++) {
        map[order[i].old] = i;
        counts[i] = l->rows[order[i].old];
        l->text[i] = order[i].text;
    }
    memcpy(l->rows, counts, l->count * sizeof *counts);
    free(counts);
    free(order);
    *out_map = map;
    return KOLM_OK;
}

/* ---- The whole */

/* The rows of each label weigh rows / labels together, as scikit-learn's class_weight="balanced" has it (after King and
 * Zeng, Political Analysis 9, 2001); NULL for no weights. */
static kit_status weigh_labels(const reading *r, float **out_weight, kolm_error_t *err) {
    *out_weight = NULL;
    if (!r->request->balanced) return KOLM_OK;
    if ((*out_weight = malloc(r->labels.count * sizeof **out_weight)) == NULL) return out_of_memory(err);
    double mean = (double)rows_count(r->rows) / (double)r->labels.count;
    for (uint32_t m = 0; m < r->labels.count; m++)
        (*out_weight)[m] = (float)(mean / (double)r->labels.rows[m]);
    return KOLM_OK;
}

static kit_status choose_and_fit(const reading *r, train_report *out, kolm_error_t *err) {
    float *weight = NULL;
    const train_request *q = r->request;
    choose_job job = {.rows = r->rows,
                      .labels = r->labels.count,
                      .label_rows = r->labels.rows,
                      .folds = r->folds,
                      .effort = q->effort,
                      .seed = q->seed,
                      .threads = q->threads,
                      .scratch_dir = q->scratch_dir,
                      .abstain_micro = q->abstain_micro,
                      .target_accuracy_micro = q->target_accuracy_micro,
                      .watch = q->watch};
    KIT_TRY(weigh_labels(r, &weight, err));
    job.label_weight = weight;
    kit_status status = choose(&job, &out->result, err);
    if (status == KOLM_OK) status = choose_fit(&job, &out->result, r->labels.text, q->model_path, err);
    free(weight);
    return status;
}

kit_status train_run(const train_request *request, train_report *out, kolm_error_t *err) {
    reading r = {.request = request, .folds = choose_folds(request->rows, request->effort)};
    uint32_t *map = NULL;
    memset(out, 0, sizeof *out);
    KIT_TRY(kit_hash_secret_draw(&r.labels.secret, err));
    kit_status status = rows_new(request->scratch_dir, 3, &r.rows, err);
    if (status != KOLM_OK) return status;
    if ((status = read_file(&r, err)) != KOLM_OK) goto out;
    if (r.labels.count < 2) {
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "add rows with at least one other output", "%s",
                          r.labels.count == 0 ? "there are no training rows"
                                              : "all training rows have the same output, so there is nothing to learn");
        goto out;
    }
    if ((status = sort_labels(&r.labels, &map, err)) != KOLM_OK) goto out;
    if ((status = rows_finish(r.rows, choose_features_max(r.labels.count, rows_count(r.rows)), r.labels.count, map,
                              err)) != KOLM_OK)
        goto out;
    if ((status = choose_and_fit(&r, out, err)) != KOLM_OK) goto out;
    out->rows = rows_count(r.rows);
    out->balanced = request->balanced;
    out->labels = r.labels.text;
    out->label_count = r.labels.count;
    r.labels.text = NULL;
    r.labels.count = 0;
out:
    free(map);
    kit_json_walk_free(&r.walk);
    kit_buf_free(&r.texts[0]);
    kit_buf_free(&r.texts[1]);
    rows_free(r.rows);
    labels_free(&r.labels);
    return status;
}

void train_report_free(train_report *report) {
    for (uint32_t i = 0; i < report->label_count; i++)
        free(report->labels[i]);
    free(report->labels);
    report->labels = NULL;
    report->label_count = 0;
}
