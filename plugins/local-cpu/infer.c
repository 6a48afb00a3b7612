/* SPDX-License-Identifier: Apache-2.0 */
/* The loop of an infer job: reads questions and writes answers, line by line. */
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

static void put_answer(const infer_engine *engine, uint64_t number, const char *id, const model_answer *answer,
                       kit_buf *out) {
    const model *m = engine->labels;
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
    if (engine->more != NULL) kit_buf_str(out, engine->more(engine->more_self, number));
    kit_buf_str(out, "}\n");
}

/* ---- Questions and answers */

typedef struct stream {
    const infer_engine *engine;
    int output;
    const infer_watch *watch;
    kit_lines *lines;
    kit_json_walk walk;
    kit_buf texts[2]; /* id, input; kept to reuse their memory */
    kit_buf ids;      /* of the pending questions, each with its NUL */
    model_answer *waiting;
    uint32_t count;
    kit_buf out;
    uint64_t answers;
} stream;

static kit_status ask(stream *s, const char *line, size_t length, kolm_error_t *err) {
    static const char *const keys[] = {"id", "input"};
    KIT_TRY(kit_json_row_texts(&s->walk, line, length, keys, 2, s->texts, err));
    KIT_TRY(s->engine->add(s->engine->self, kit_buf_text(&s->texts[1]), s->texts[1].length, err));
    kit_buf_add(&s->ids, kit_buf_text(&s->texts[0]), s->texts[0].length + 1);
    KIT_TRY(kit_buf_ok(&s->ids, err));
    s->count++;
    return KOLM_OK;
}

static kit_status look_up(const stream *s, kolm_error_t *err) {
    if (s->watch->stop != NULL && s->watch->stop(s->watch->user))
        return kit_fail(err, KOLM_E_CANCELLED, "", "answering was stopped");
    return KOLM_OK;
}

/* Answers the pending texts. None are pending afterwards, whatever the result: the engine discards the texts of a
 * failed batch, and a second call would answer none of them and report success. */
static kit_status answer(stream *s, kolm_error_t *err) {
    const uint32_t count = s->count;
    if (count == 0) return KOLM_OK;
    s->count = 0;
    kit_status status = kit_buf_ok(&s->ids, err);
    if (status == KOLM_OK) status = look_up(s, err);
    if (status == KOLM_OK) status = s->engine->answer(s->engine->self, s->waiting, err);
    const char *id = kit_buf_text(&s->ids);
    for (uint32_t i = 0; i < count && status == KOLM_OK; i++, id += strlen(id) + 1)
        put_answer(s->engine, s->answers + i, id, &s->waiting[i], &s->out);
    kit_buf_clear(&s->ids);
    if (status == KOLM_OK) status = kit_buf_ok(&s->out, err);
    if (status == KOLM_OK) s->answers += count;
    return status;
}

static kit_status flush(stream *s, kolm_error_t *err) {
    KIT_TRY(kit_buf_ok(&s->out, err)); /* otherwise a line may be incomplete */
    if (s->out.length == 0) return KOLM_OK;
    kit_status status = kit_write_all(s->output, s->out.data, s->out.length, err);
    kit_buf_clear(&s->out);
    return status == KOLM_OK ? status : kit_fail_context(err, "writing the answers");
}

static bool is_full(const stream *s) {
    const infer_engine *e = s->engine;
    return s->count == e->most || (s->count > 0 && e->full != NULL && e->full(e->self));
}

/* Before waiting for the next line, answers all that were read and flushes. */
static kit_status catch_up(stream *s, kolm_error_t *err) {
    const bool ready = kit_lines_ready(s->lines);
    if (!ready || is_full(s)) KIT_TRY(answer(s, err));
    if (ready && s->out.length < FLUSH_AT) return KOLM_OK;
    KIT_TRY(flush(s, err));
    KIT_TRY(look_up(s, err));
    if (s->watch->step != NULL) s->watch->step(s->watch->user, s->answers);
    return KOLM_OK;
}

static kit_status answer_all(stream *s, kolm_error_t *err) {
    for (;;) {
        const char *line;
        size_t length;
        KIT_TRY(catch_up(s, err));
        kit_status status = kit_lines_next(s->lines, &line, &length, err);
        if (status == KOLM_OK && line == NULL) return answer(s, err);
        if (status == KOLM_OK) status = ask(s, line, length, err);
        if (status != KOLM_OK)
            return kit_fail_context(err, "input line %llu", (unsigned long long)kit_lines_number(s->lines));
    }
}

kit_status infer_run_engine(const infer_engine *engine, int input, int output, const infer_watch *watch,
                            uint64_t *out_answers, kolm_error_t *err) {
    stream s = {.engine = engine, .output = output, .watch = watch};
    s.waiting = calloc(engine->most, sizeof *s.waiting);
    kit_status status = s.waiting != NULL ? kit_lines_open(input, INFER_LINE_MAX, &s.lines, err) : kit_no_memory(err);
    if (status == KOLM_OK) status = answer_all(&s, err);
    if (status == KOLM_OK) {
        status = flush(&s, err);
    } else { /* questions before a bad line are answered; its error is reported */
        kolm_error_t ignored = KIT_ERROR_INIT;
        if (status != KOLM_E_CANCELLED) (void)answer(&s, &ignored);
        (void)flush(&s, &ignored);
    }
    *out_answers = s.answers;
    kit_lines_close(s.lines);
    kit_json_walk_free(&s.walk);
    kit_buf_free(&s.texts[0]);
    kit_buf_free(&s.texts[1]);
    kit_buf_free(&s.ids);
    kit_buf_free(&s.out);
    free(s.waiting);
    return status;
}

/* ---- The linear model, which answers each text at once */

typedef struct linear {
    model *model;
    model_answer last;
} linear;

static kit_status linear_add(void *self, const char *text, size_t length, kolm_error_t *err) {
    linear *l = self;
    return model_answer_text(l->model, text, length, &l->last, err);
}

static kit_status linear_answer(void *self, model_answer *out, kolm_error_t *err) {
    (void)err;
    *out = ((const linear *)self)->last;
    return KOLM_OK;
}

kit_status infer_run(model *m, int input, int output, const infer_watch *watch, uint64_t *out_answers,
                     kolm_error_t *err) {
    linear l = {.model = m};
    const infer_engine engine = {.self = &l, .labels = m, .most = 1, .add = linear_add, .answer = linear_answer};
    return infer_run_engine(&engine, input, output, watch, out_answers, err);
}
