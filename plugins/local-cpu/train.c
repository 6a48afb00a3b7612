/* SPDX-License-Identifier: Apache-2.0 */
/* Reads train.jsonl once into encoded rows and a table of labels, then lets choose.c and fit.c work. */
#include "train.h"
#include "encoder/answer.h"
#include "encoder/embeddings.h"
#include "encoder/halves.h"
#include "encoder/same_answers.h"
#include "kolm/kit/file.h"
#include "kolm/kit/hash.h"
#include "kolm/kit/json.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/lines.h"
#include "numeric.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Labels, in the order of their first row until they are sorted */

typedef struct labels {
    char **text;
    uint32_t *rows;
    uint32_t count, capacity;
    uint32_t *slot; /* open addressing: label + 1, 0 empty */
    uint32_t slots;
    kit_hash_secret secret; /* labels are untrusted input */
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

/* Assigns the rows of a label to the folds in turn, in a new order for each round. */
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
    uint32_t *label, *fold; /* of each row, in order; only for recipe encoder */
    uint32_t row_capacity;
    uint64_t key; /* of their bytes, and of what embeds them */
    sentences *sentences;
    uint64_t bytes, total_bytes;
    kit_json_walk walk;
    kit_buf texts[2]; /* input, output */
} reading;

/* Stores what recipe encoder needs for each row, and adds the row to the key of the embeddings. */
static kit_status note_row(reading *r, const char *line, size_t length, uint32_t label, uint32_t fold,
                           kolm_error_t *err) {
    const uint32_t n = rows_count(r->rows);
    if (n == r->row_capacity) {
        const uint32_t capacity = n < UINT32_MAX / 2 - 512 ? n * 2 + 1024 : UINT32_MAX;
        uint32_t *labels_ = realloc(r->label, (size_t)capacity * sizeof *labels_);
        if (labels_ != NULL) r->label = labels_;
        uint32_t *folds = realloc(r->fold, (size_t)capacity * sizeof *folds);
        if (folds != NULL) r->fold = folds;
        if (labels_ == NULL || folds == NULL) return out_of_memory(err);
        r->row_capacity = capacity;
    }
    r->label[n] = label;
    r->fold[n] = fold;
    for (size_t at = 0; at < length; at += 8) {
        uint64_t word = 0;
        memcpy(&word, line + at, length - at < 8 ? length - at : 8);
        r->key = (r->key ^ word) * 0x9E3779B97F4A7C15ull;
        r->key ^= r->key >> 29;
    }
    r->key = num_mix(r->key + length);
    return KOLM_OK;
}

static kit_status read_row(reading *r, const char *line, size_t length, kolm_error_t *err) {
    static const char *const keys[] = {"input", "output"};
    uint32_t label = 0;
    KIT_TRY(kit_json_row_texts(&r->walk, line, length, keys, 2, r->texts, err));
    KIT_TRY(labels_find(&r->labels, kit_buf_text(&r->texts[1]), &label, err));
    const uint32_t fold = fold_of(label, r->labels.rows[label]++, r->folds, r->request->seed);
    if (r->request->encoder != NULL) KIT_TRY(note_row(r, line, length, label, fold, err));
    return rows_add(r->rows, kit_buf_text(&r->texts[0]), r->texts[0].length, label, fold, err);
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

/* The rows of each label have a total weight of rows / labels, like scikit-learn's class_weight="balanced" (after King
 * and Zeng, Political Analysis 9, 2001); NULL for no weights. */
static kit_status weigh_labels(const reading *r, float **out_weight, kolm_error_t *err) {
    *out_weight = NULL;
    if (!r->request->balanced) return KOLM_OK;
    if ((*out_weight = malloc(r->labels.count * sizeof **out_weight)) == NULL) return out_of_memory(err);
    double mean = (double)rows_count(r->rows) / (double)r->labels.count;
    for (uint32_t m = 0; m < r->labels.count; m++)
        (*out_weight)[m] = (float)(mean / (double)r->labels.rows[m]);
    return KOLM_OK;
}

/* ---- Recipe encoder */

static kit_status write_in(const char *directory, const char *name, const void *bytes, size_t length,
                           kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(directory, name, &path, err));
    kit_status status = kit_write_file(path, 0600, bytes, length, err);
    free(path);
    return status;
}

/* Converts weights to fp16 if that changes no number, or at least no answer to the held-out rows; otherwise leaves *out
 * empty. */
static kit_status try_halves(const reading *r, const char *head_path, const enc_file *file, kit_buf *out,
                             kolm_error_t *err) {
    const train_encoder *e = r->request->encoder;
    const char *end = strrchr(file->name, '.');
    bool done = false, same = false;
    if (end == NULL || strcmp(end, ".safetensors") != 0) return KOLM_OK;
    KIT_TRY(enc_halve(file, out, &done, &same, err));
    const enc_file halves = {file->name, (const uint8_t *)out->data, out->length};
    const same_job job = {.sentences = r->sentences,
                          .other = &halves,
                          .read_end = e->read_end,
                          .rows_path = e->heldout_path,
                          .linear_path = r->request->model_path,
                          .head_path = head_path,
                          .threads = r->request->threads,
                          .kernels = e->kernels,
                          .watch = r->request->watch};
    if (done && !same) KIT_TRY(same_answers(&job, &same, err));
    if (!same) kit_buf_free(out);
    return KOLM_OK;
}

/* A file of the encoder, copied into the model under the same name. */
static kit_status embed_file(const reading *r, const char *head_path, const enc_file *file, kolm_error_t *err) {
    kit_buf path = {0}, halves = {0};
    kit_buf_fmt(&path, "%s/" ENCODER_BASE "%s", r->request->encoder->model_dir, file->name);
    KIT_TRY(kit_buf_ok(&path, err));
    char *slash = strrchr(path.data, '/');
    *slash = '\0';
    kit_status status = kit_mkdirs(path.data, 0700, err);
    *slash = '/';
    if (status == KOLM_OK) status = try_halves(r, head_path, file, &halves, err);
    if (status == KOLM_OK && halves.length > 0)
        status = kit_write_file(path.data, 0600, halves.data, halves.length, err);
    else if (status == KOLM_OK)
        status = kit_write_file(path.data, 0600, file->bytes, file->size, err);
    kit_buf_free(&halves);
    kit_buf_free(&path);
    return status;
}

/* Copies what answering needs from the encoder: its tokenizer, or all files. */
static kit_status write_encoder(const reading *r, const char *head_path, uint64_t *out_bytes, kolm_error_t *err) {
    const train_encoder *e = r->request->encoder;
    const char *said = e->read_end ? "{\"format\":1,\"read\":\"end\"}\n" : "{\"format\":1,\"read\":\"front\"}\n";
    enc_file files[2];
    const size_t count = sentences_tokenizer_files(r->sentences, files);
    const enc_files *all = enc_files_used(sentences_encoder(r->sentences));
    *out_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const char *slash = strrchr(files[i].name, '/');
        *out_bytes += files[i].size;
        if (e->embed_base) continue;
        KIT_TRY(write_in(e->model_dir, slash != NULL ? slash + 1 : files[i].name, files[i].bytes, files[i].size, err));
    }
    for (size_t i = 0; e->embed_base && i < enc_files_count(all); i++)
        KIT_TRY(embed_file(r, head_path, enc_files_at(all, i), err));
    return write_in(e->model_dir, ENCODER_FILE, said, strlen(said), err);
}

static kit_status size_of(const char *path, uint64_t *out, kolm_error_t *err) {
    struct stat info;
    if (stat(path, &info) != 0) return kit_fail_errno(err, errno, "cannot access %s", path);
    *out = (uint64_t)info.st_size;
    return KOLM_OK;
}

/* An answer reads the layers, the tokenizer and both models, but only a few rows of the embedding tables. */
static kit_status weigh_reading(const reading *r, const char *head_path, uint64_t tokenizer_bytes, train_report *out,
                                kolm_error_t *err) {
    uint64_t head = 0, linear = 0, base = r->request->encoder->base_bytes;
    KIT_TRY(size_of(head_path, &head, err));
    KIT_TRY(size_of(r->request->model_path, &linear, err));
    const uint64_t payload = head + linear + tokenizer_bytes;
    const double read = (double)enc_layer_bytes(sentences_encoder(r->sentences)) + (double)payload;
    out->read_bytes_micro = (uint64_t)(read * 1e6 / (double)(payload + base + 1) + 0.5);
    return KOLM_OK;
}

static kit_status train_on(const reading *r, const choose_job *job, const embeddings *rows_, const char *head_path,
                           train_report *out, kolm_error_t *err) {
    const train_request *q = r->request;
    const head_job head = {.embeddings = rows_->at,
                           .rows = rows_count(r->rows),
                           .dimensions = out->dimensions,
                           .labels = job->labels,
                           .folds = r->folds,
                           .label = r->label,
                           .fold = r->fold,
                           .label_weight = job->label_weight,
                           .held = job->held,
                           .linear = out->result.calibration,
                           .abstain_micro = q->abstain_micro,
                           .target_accuracy_micro = q->target_accuracy_micro,
                           .threads = q->threads,
                           .scratch_dir = q->scratch_dir,
                           .kernels = q->encoder->kernels,
                           .watch = q->watch};
    return head_train(&head, head_path, &out->head, err);
}

/* Other files in the directory are not part of the model. */
static kit_status name_base_files(const reading *r, train_report *out, kolm_error_t *err) {
    const enc_files *all = enc_files_used(sentences_encoder(r->sentences));
    const size_t count = enc_files_count(all);
    if ((out->base_files = calloc(count, sizeof *out->base_files)) == NULL) return out_of_memory(err);
    for (; out->base_file_count < count; out->base_file_count++)
        KIT_TRY(kit_strdup(enc_files_at(all, out->base_file_count)->name, &out->base_files[out->base_file_count], err));
    return KOLM_OK;
}

static kit_status add_head(const reading *r, const choose_job *job, train_report *out, kolm_error_t *err) {
    const train_request *q = r->request;
    embeddings rows_ = {0};
    char *head_path = NULL;
    uint64_t tokenizer_bytes = 0;
    const embed_job embed = {.sentences = r->sentences,
                             .rows_path = q->rows_path,
                             .directory = q->encoder->checkpoint_dir,
                             .key = r->key,
                             .rows = rows_count(r->rows),
                             .threads = q->threads,
                             .watch = q->watch};
    const enc_description *is = enc_described(sentences_encoder(r->sentences));
    out->has_head = true;
    out->embedded = q->encoder->embed_base;
    out->dimensions = enc_dimensions(sentences_encoder(r->sentences));
    out->max_tokens = is->max_tokens;
    KIT_TRY(kit_path_join(q->encoder->model_dir, HEAD_FILE, &head_path, err));
    kit_status status = embeddings_make(&embed, &rows_, err);
    if (status == KOLM_OK) status = train_on(r, job, &rows_, head_path, out, err);
    if (status == KOLM_OK) status = write_encoder(r, head_path, &tokenizer_bytes, err);
    if (status == KOLM_OK) status = weigh_reading(r, head_path, tokenizer_bytes, out, err);
    if (status == KOLM_OK) status = name_base_files(r, out, err);
    out->tokens = rows_.tokens;
    out->texts_cut = rows_.cut;
    out->resumed = rows_.resumed;
    embeddings_close(&rows_);
    free(head_path);
    return status;
}

static void key_text(reading *r, const char *text) {
    for (const char *p = text; *p != '\0'; p++)
        r->key = num_mix(r->key ^ (uint8_t)*p);
    r->key = num_mix(r->key + strlen(text));
}

/* Called before anything is read, to report errors early. */
static kit_status open_encoder(reading *r, kolm_error_t *err) {
    const train_encoder *e = r->request->encoder;
    enc_files *files = NULL;
    if (e == NULL) return KOLM_OK;
    rows_keep_numbers(r->rows);
    key_text(r, e->engine);
    key_text(r, e->base_name);
    r->key = num_mix(r->key + e->read_end);
    KIT_TRY(enc_files_open(e->base, &files, err));
    KIT_TRY(sentences_open(files, NULL, e->read_end, &r->sentences, err));
    if (e->kernels != NULL) sentences_use(r->sentences, e->kernels);
    return KOLM_OK;
}

/* ---- The whole training */

static kit_status choose_and_fit(const reading *r, train_report *out, kolm_error_t *err) {
    float *weight = NULL;
    choose_held held = {0};
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
                      .watch = q->watch,
                      .held = q->encoder != NULL ? &held : NULL};
    KIT_TRY(weigh_labels(r, &weight, err));
    job.label_weight = weight;
    kit_status status = choose(&job, &out->result, err);
    if (status == KOLM_OK) status = choose_fit(&job, &out->result, r->labels.text, q->model_path, err);
    choose_result_free(&out->result);
    if (status == KOLM_OK && q->encoder != NULL) status = add_head(r, &job, out, err);
    choose_held_free(&held);
    free(weight);
    return status;
}

static kit_status read_all(reading *r, uint32_t **out_map, kolm_error_t *err) {
    KIT_TRY(open_encoder(r, err));
    KIT_TRY(read_file(r, err));
    if (r->labels.count < 2)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "add rows with at least one other output", "%s",
                        r->labels.count == 0 ? "there are no training rows"
                                             : "all training rows have the same output, so there is nothing to learn");
    KIT_TRY(sort_labels(&r->labels, out_map, err));
    for (uint32_t i = 0; r->label != NULL && i < rows_count(r->rows); i++)
        r->label[i] = (*out_map)[r->label[i]];
    return rows_finish(r->rows, choose_features_max(r->labels.count, rows_count(r->rows)), r->labels.count, *out_map,
                       err);
}

static void reading_close(reading *r) {
    kit_json_walk_free(&r->walk);
    kit_buf_free(&r->texts[0]);
    kit_buf_free(&r->texts[1]);
    sentences_close(r->sentences);
    free(r->label);
    free(r->fold);
    rows_free(r->rows);
    labels_free(&r->labels);
}

kit_status train_run(const train_request *request, train_report *out, kolm_error_t *err) {
    reading r = {.request = request, .folds = choose_folds(request->rows, request->effort)};
    uint32_t *map = NULL;
    memset(out, 0, sizeof *out);
    KIT_TRY(kit_hash_secret_draw(&r.labels.secret, err));
    kit_status status = rows_new(request->scratch_dir, 3, &r.rows, err);
    if (status == KOLM_OK) status = read_all(&r, &map, err);
    if (status == KOLM_OK) status = choose_and_fit(&r, out, err);
    if (status == KOLM_OK) {
        out->rows = rows_count(r.rows);
        out->balanced = request->balanced;
        out->labels = r.labels.text;
        out->label_count = r.labels.count;
        r.labels.text = NULL;
        r.labels.count = 0;
    }
    free(map);
    reading_close(&r);
    return status;
}

void train_report_free(train_report *report) {
    for (uint32_t i = 0; i < report->label_count; i++)
        free(report->labels[i]);
    for (size_t i = 0; i < report->base_file_count; i++)
        free(report->base_files[i]);
    free(report->labels);
    free(report->base_files);
    report->labels = report->base_files = NULL;
    report->label_count = 0;
    report->base_file_count = 0;
}
