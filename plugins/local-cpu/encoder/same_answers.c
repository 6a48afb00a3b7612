/* SPDX-License-Identifier: Apache-2.0 */
/* Answers the held-out rows twice, batch by batch, and compares. */
#include "encoder/same_answers.h"
#include "encoder/head.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/lines.h"
#include "train.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_TEXTS 256u
#define BATCH_TOKENS 8192u
#define MARGINS_MAX (1u << 20) /* floats of the pending texts */
#define FILES_MAX 64u

typedef struct comparing {
    const same_job *job;
    sentences *other;
    model *linear;
    head_model head;
    uint32_t most, waiting;
    float *margins, *scores, *embeddings[2];
    uint64_t rows;
    kit_json_walk walk;
    kit_buf text;
} comparing;

/* ---- Opening */

static kit_status open_other(comparing *c, kolm_error_t *err) {
    enc_file list[FILES_MAX];
    enc_files *files = NULL;
    const enc_files *all = enc_files_used(sentences_encoder(c->job->sentences));
    const size_t count = enc_files_count(all);
    for (size_t i = 0; i < count; i++) {
        list[i] = *enc_files_at(all, i);
        if (strcmp(list[i].name, c->job->other->name) == 0) list[i] = *c->job->other;
    }
    KIT_TRY(enc_files_of(list, count, enc_files_shown(all), &files, err));
    KIT_TRY(sentences_open(files, NULL, c->job->read_end, &c->other, err));
    if (c->job->kernels != NULL) sentences_use(c->other, c->job->kernels);
    return KOLM_OK;
}

static kit_status read_head(comparing *c, kolm_error_t *err) {
    struct stat info;
    kit_buf bytes = {0};
    if (stat(c->job->head_path, &info) != 0) return kit_fail_errno(err, errno, "cannot access %s", c->job->head_path);
    kit_status status = kit_read_file(c->job->head_path, (size_t)info.st_size, &bytes, err);
    if (status == KOLM_OK) status = head_read(bytes.data, bytes.length, &c->head, err);
    kit_buf_free(&bytes);
    return status;
}

static kit_status open_parts(comparing *c, kolm_error_t *err) {
    struct stat info;
    const size_t dimensions = enc_dimensions(sentences_encoder(c->job->sentences));
    KIT_TRY(read_head(c, err));
    if (stat(c->job->linear_path, &info) != 0)
        return kit_fail_errno(err, errno, "cannot access %s", c->job->linear_path);
    KIT_TRY(model_open(c->job->linear_path, 0, (uint64_t)info.st_size, &c->linear, err));
    const uint32_t labels = model_label_count(c->linear);
    c->most = MARGINS_MAX / labels < BATCH_TEXTS ? MARGINS_MAX / labels : BATCH_TEXTS;
    c->margins = malloc((size_t)c->most * labels * sizeof *c->margins);
    c->scores = malloc(labels * sizeof *c->scores);
    for (size_t i = 0; i < 2; i++)
        c->embeddings[i] = malloc(c->most * dimensions * sizeof **c->embeddings);
    return c->margins != NULL && c->scores != NULL && c->embeddings[0] != NULL && c->embeddings[1] != NULL
               ? KOLM_OK
               : kit_no_memory(err);
}

static void comparing_end(comparing *c) {
    sentences_close(c->other);
    model_close(c->linear);
    head_model_free(&c->head);
    free(c->margins);
    free(c->scores);
    free(c->embeddings[0]);
    free(c->embeddings[1]);
    kit_json_walk_free(&c->walk);
    kit_buf_free(&c->text);
}

/* ---- Comparing */

static bool is_same(comparing *c, uint32_t text) {
    head_answer answer[2];
    for (size_t i = 0; i < 2; i++)
        head_answer_embedding(&c->head, c->embeddings[i] + (size_t)text * c->head.dimensions,
                              c->margins + (size_t)text * c->head.labels, c->scores, &answer[i]);
    return answer[0].label == answer[1].label && answer[0].confidence_micro == answer[1].confidence_micro &&
           answer[0].abstains == answer[1].abstains;
}

static kit_status compare_batch(comparing *c, bool *out_same, kolm_error_t *err) {
    const choose_watch *watch = &c->job->watch;
    if (watch->stop != NULL && watch->stop(watch->user))
        return kit_fail(err, KOLM_E_CANCELLED, "", "training was stopped");
    KIT_TRY(sentences_embed(c->job->sentences, c->job->threads, c->embeddings[0], err));
    KIT_TRY(sentences_embed(c->other, c->job->threads, c->embeddings[1], err));
    for (uint32_t i = 0; i < c->waiting && *out_same; i++)
        *out_same = is_same(c, i);
    c->rows += c->waiting;
    c->waiting = 0;
    if (watch->step != NULL) watch->step(watch->user, "checking", c->rows, KOLM_UNKNOWN_COUNT);
    return KOLM_OK;
}

static kit_status add_row(comparing *c, const char *line, size_t length, bool *out_same, kolm_error_t *err) {
    static const char *const keys[] = {"input"};
    const float *scores;
    KIT_TRY(kit_json_row_texts(&c->walk, line, length, keys, 1, &c->text, err));
    const char *text = kit_buf_text(&c->text);
    KIT_TRY(model_score_text(c->linear, text, c->text.length, &scores, err));
    memcpy(c->margins + (size_t)c->waiting * c->head.labels, scores, c->head.labels * sizeof *scores);
    KIT_TRY(sentences_add(c->job->sentences, text, c->text.length, err));
    KIT_TRY(sentences_add(c->other, text, c->text.length, err));
    c->waiting++;
    if (c->waiting < c->most && sentences_waiting_tokens(c->other) < BATCH_TOKENS) return KOLM_OK;
    return compare_batch(c, out_same, err);
}

static kit_status compare_rows(comparing *c, bool *out_same, kolm_error_t *err) {
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    int fd = open(c->job->rows_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? KOLM_OK : kit_fail_errno(err, errno, "cannot open %s", c->job->rows_path);
    *out_same = true;
    kit_status status = kit_lines_open(fd, TRAIN_LINE_MAX, &lines, err);
    while (status == KOLM_OK && *out_same) {
        status = kit_lines_next(lines, &line, &length, err);
        if (status != KOLM_OK || line == NULL) break;
        status = add_row(c, line, length, out_same, err);
    }
    if (status == KOLM_OK && *out_same && c->waiting > 0) status = compare_batch(c, out_same, err);
    *out_same = *out_same && c->rows > 0;
    kit_lines_close(lines);
    close(fd);
    return status == KOLM_OK ? status : kit_fail_context(err, "%s", c->job->rows_path);
}

kit_status same_answers(const same_job *job, bool *out_same, kolm_error_t *err) {
    comparing c = {.job = job};
    *out_same = false;
    if (job->rows_path == NULL) return KOLM_OK;
    kit_status status = open_parts(&c, err);
    if (status == KOLM_OK) status = open_other(&c, err);
    if (status == KOLM_OK) status = compare_rows(&c, out_same, err);
    comparing_end(&c);
    return status;
}
