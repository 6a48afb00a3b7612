/* SPDX-License-Identifier: Apache-2.0 */
/* The loop of a batch: line in, line out. */
#include "infer.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLUSH_AT (64u * 1024)

static void put_answer(const model *m, const char *id, const model_answer *answer, kit_buf *out) {
    uint32_t length;
    const char *label = model_label(m, answer->label, &length);
    kit_buf_str(out, "{\"id\":");
    kit_json_string(out, id, strlen(id));
    kit_buf_str(out, ",\"output\":");
    if (answer->abstains)
        kit_buf_str(out, "null");
    else
        kit_json_string(out, label, length);
    kit_buf_fmt(out, ",\"confidence\":%u.%06u", (unsigned)(answer->confidence_micro / MODEL_MICRO),
                (unsigned)(answer->confidence_micro % MODEL_MICRO));
    if (answer->abstains) {
        kit_buf_str(out, ",\"best\":");
        kit_json_string(out, label, length);
    }
    kit_buf_str(out, "}\n");
}

/* What is kept from line to line, for its memory. */
typedef struct question {
    kit_json_walk walk;
    kit_buf texts[2]; /* id, input */
} question;

static kit_status answer_line(model *m, const char *line, size_t length, question *q, kit_buf *out,
                              kolm_error_t *err) {
    static const char *const keys[] = {"id", "input"};
    model_answer answer;
    KIT_TRY(kit_json_row_texts(&q->walk, line, length, keys, 2, q->texts, err));
    KIT_TRY(model_answer_text(m, kit_buf_text(&q->texts[1]), q->texts[1].length, &answer, err));
    put_answer(m, kit_buf_text(&q->texts[0]), &answer, out);
    return kit_buf_ok(out, err);
}

static kit_status flush(kit_buf *out, int fd, kolm_error_t *err) {
    if (out->length == 0) return KOLM_OK;
    kit_status status = kit_write_all(fd, out->data, out->length, err);
    kit_buf_clear(out);
    return status == KOLM_OK ? status : kit_fail_context(err, "writing the answers");
}

static kit_status answer_all(model *m, kit_lines *lines, int output, question *q, kit_buf *out,
                             const infer_watch *watch, uint64_t *answers, kolm_error_t *err) {
    for (;;) {
        const char *line;
        size_t length;
        if (!kit_lines_ready(lines) || out->length >= FLUSH_AT) {
            KIT_TRY(flush(out, output, err));
            if (watch->stop != NULL && watch->stop(watch->user))
                return kit_fail(err, KOLM_E_CANCELLED, "", "answering was stopped");
            if (watch->step != NULL) watch->step(watch->user, *answers);
        }
        kit_status status = kit_lines_next(lines, &line, &length, err);
        if (status == KOLM_OK && line == NULL) return KOLM_OK;
        if (status == KOLM_OK) status = answer_line(m, line, length, q, out, err);
        if (status != KOLM_OK)
            return kit_fail_context(err, "input line %llu", (unsigned long long)kit_lines_number(lines));
        ++*answers;
    }
}

kit_status infer_run(model *m, int input, int output, const infer_watch *watch, uint64_t *out_answers,
                     kolm_error_t *err) {
    kit_lines *lines = NULL;
    kit_buf out = {0};
    question q = {0};
    *out_answers = 0;
    kit_status status = kit_lines_open(input, INFER_LINE_MAX, &lines, err);
    if (status == KOLM_OK) status = answer_all(m, lines, output, &q, &out, watch, out_answers, err);
    if (status == KOLM_OK)
        status = flush(&out, output, err);
    else if (out.length > 0) { /* the answers before the bad line are good; its error is the one to tell */
        kolm_error_t ignored = KIT_ERROR_INIT;
        if (flush(&out, output, &ignored) != KOLM_OK) status = err != NULL ? err->code : status;
    }
    kit_lines_close(lines);
    kit_json_walk_free(&q.walk);
    kit_buf_free(&q.texts[0]);
    kit_buf_free(&q.texts[1]);
    kit_buf_free(&out);
    return status;
}
