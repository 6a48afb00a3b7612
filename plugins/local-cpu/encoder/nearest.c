/* SPDX-License-Identifier: Apache-2.0 */
/* Embeds the questions, then the rows batch by batch; each question keeps the nearest rows. */
#include "encoder/nearest.h"
#include "encoder/sentences.h"
#include "kolm/kit/json.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/text.h"
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_TEXTS 256u
#define BATCH_TOKENS 8192u
#define ID_BYTES 64u

typedef struct row {
    char id[ID_BYTES];
    double likeness; /* 0: unused entry */
} row;

struct nearest {
    sentences *sentences;
    uint32_t threads, dimensions, questions, waiting;
    float *asked, *batch;  /* [questions][dimensions]; [BATCH_TEXTS][dimensions] */
    char (*ids)[ID_BYTES]; /* of the batch */
    row (*near)[NEAREST_ROWS];
    const infer_watch *watch;
    uint64_t rows;
    kit_json_walk walk;
    kit_buf texts[2], text;
};

typedef kit_status (*line_fn)(nearest *n, const char *line, size_t length, bool *out_enough, kolm_error_t *err);

static kit_status each_line(nearest *n, int fd, line_fn take, kolm_error_t *err) {
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    bool enough = false;
    kit_status status = kit_lines_open(fd, INFER_LINE_MAX, &lines, err);
    while (status == KOLM_OK && !enough) {
        status = kit_lines_next(lines, &line, &length, err);
        if (status != KOLM_OK || line == NULL) break;
        status = take(n, line, length, &enough, err);
    }
    kit_lines_close(lines);
    return status;
}

static kit_status read_texts(nearest *n, const char *line, size_t length, kolm_error_t *err) {
    static const char *const keys[] = {"id", "input"};
    return kit_json_row_texts(&n->walk, line, length, keys, 2, n->texts, err);
}

/* ---- Questions */

static kit_status add_question(nearest *n, const char *line, size_t length, bool *out_enough, kolm_error_t *err) {
    *out_enough = n->questions++ == NEAREST_QUESTIONS;
    if (*out_enough) return KOLM_OK;
    KIT_TRY(read_texts(n, line, length, err));
    return sentences_add(n->sentences, kit_buf_text(&n->texts[1]), n->texts[1].length, err);
}

static kit_status embed_questions(nearest *n, int fd, kolm_error_t *err) {
    const off_t start = lseek(fd, 0, SEEK_CUR);
    if (start < 0) return kit_fail_errno(err, errno, "cannot read the questions twice");
    KIT_TRY(each_line(n, fd, add_question, err));
    if (lseek(fd, start, SEEK_SET) < 0) return kit_fail_errno(err, errno, "cannot read the questions twice");
    return sentences_embed(n->sentences, n->threads, n->asked, err);
}

/* ---- Rows */

static void place(row places[NEAREST_ROWS], const char *id, double likeness) {
    uint32_t at = NEAREST_ROWS;
    while (at > 0 && likeness > places[at - 1].likeness)
        at--;
    if (at == NEAREST_ROWS) return;
    memmove(&places[at + 1], &places[at], (NEAREST_ROWS - 1 - at) * sizeof *places);
    (void)kit_copy(places[at].id, ID_BYTES, id);
    places[at].likeness = likeness;
}

/* In a fixed order, so that every machine produces the same bytes. */
static double likeness_of(const float *a, const float *b, uint32_t count) {
    double sum = 0;
    for (uint32_t k = 0; k < count; k++)
        sum += (double)a[k] * (double)b[k];
    return sum > 1 ? 1 : sum;
}

static kit_status compare_batch(nearest *n, kolm_error_t *err) {
    const infer_watch *watch = n->watch;
    if (watch->stop != NULL && watch->stop(watch->user))
        return kit_fail(err, KOLM_E_CANCELLED, "", "answering was stopped");
    KIT_TRY(sentences_embed(n->sentences, n->threads, n->batch, err));
    for (uint32_t i = 0; i < n->waiting; i++)
        for (uint32_t q = 0; q < n->questions; q++)
            place(
                n->near[q], n->ids[i],
                likeness_of(n->batch + (size_t)i * n->dimensions, n->asked + (size_t)q * n->dimensions, n->dimensions));
    n->rows += n->waiting;
    n->waiting = 0;
    if (watch->step != NULL) watch->step(watch->user, n->rows);
    return KOLM_OK;
}

static kit_status add_row(nearest *n, const char *line, size_t length, bool *out_enough, kolm_error_t *err) {
    (void)out_enough;
    KIT_TRY(read_texts(n, line, length, err));
    if (n->texts[0].length >= ID_BYTES) return KOLM_OK;
    KIT_TRY(sentences_add(n->sentences, kit_buf_text(&n->texts[1]), n->texts[1].length, err));
    (void)kit_copy(n->ids[n->waiting++], ID_BYTES, kit_buf_text(&n->texts[0]));
    if (n->waiting < BATCH_TEXTS && sentences_waiting_tokens(n->sentences) < BATCH_TOKENS) return KOLM_OK;
    return compare_batch(n, err);
}

static kit_status compare_rows(nearest *n, const char *path, kolm_error_t *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    kit_status status = each_line(n, fd, add_row, err);
    if (status == KOLM_OK && n->waiting > 0) status = compare_batch(n, err);
    close(fd);
    return status == KOLM_OK ? status : kit_fail_context(err, "%s", path);
}

/* ---- Entry points */

static kit_status make_room(nearest *n, kolm_error_t *err) {
    n->asked = malloc((size_t)NEAREST_QUESTIONS * n->dimensions * sizeof *n->asked);
    n->batch = malloc((size_t)BATCH_TEXTS * n->dimensions * sizeof *n->batch);
    n->ids = malloc(BATCH_TEXTS * sizeof *n->ids);
    n->near = calloc(NEAREST_QUESTIONS, sizeof *n->near);
    return n->asked != NULL && n->batch != NULL && n->ids != NULL && n->near != NULL ? KOLM_OK : kit_no_memory(err);
}

kit_status nearest_make(sentences *s, uint32_t threads, int questions, const char *rows_path, const infer_watch *watch,
                        nearest **out, kolm_error_t *err) {
    *out = NULL;
    nearest *n = calloc(1, sizeof *n);
    if (n == NULL) return kit_no_memory(err);
    n->sentences = s;
    n->threads = threads;
    n->dimensions = enc_dimensions(sentences_encoder(s));
    n->watch = watch;
    kit_status status = make_room(n, err);
    if (status == KOLM_OK) status = embed_questions(n, questions, err);
    const bool fits = n->questions > 0 && n->questions <= NEAREST_QUESTIONS;
    if (status == KOLM_OK && fits) status = compare_rows(n, rows_path, err);
    if (status == KOLM_OK && fits)
        *out = n;
    else
        nearest_free(n);
    return status;
}

void nearest_free(nearest *n) {
    if (n == NULL) return;
    kit_json_walk_free(&n->walk);
    kit_buf_free(&n->texts[0]);
    kit_buf_free(&n->texts[1]);
    kit_buf_free(&n->text);
    free(n->asked);
    free(n->batch);
    free(n->ids);
    free(n->near);
    free(n);
}

const char *nearest_text(void *self, uint64_t question) {
    nearest *n = self;
    if (question >= n->questions) return "";
    kit_buf_clear(&n->text);
    kit_buf_str(&n->text, ",\"near\":[");
    for (uint32_t i = 0; i < NEAREST_ROWS && n->near[question][i].likeness > 0; i++) {
        const row *r = &n->near[question][i];
        const uint32_t micro = (uint32_t)(r->likeness * MODEL_MICRO + 0.5);
        kit_buf_str(&n->text, i > 0 ? ",{\"id\":" : "{\"id\":");
        kit_json_string(&n->text, r->id, strlen(r->id));
        kit_buf_fmt(&n->text, ",\"likeness\":%u.%06u}", (unsigned)(micro / MODEL_MICRO),
                    (unsigned)(micro % MODEL_MICRO));
    }
    kit_buf_char(&n->text, ']');
    return kit_buf_ok(&n->text, NULL) == KOLM_OK ? kit_buf_text(&n->text) : "";
}
