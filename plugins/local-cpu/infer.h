/* SPDX-License-Identifier: Apache-2.0 */
/* Answers JSON lines with a model as they arrive, in constant memory. */
#ifndef LOCAL_CPU_INFER_H
#define LOCAL_CPU_INFER_H

#include "model.h"

#define INFER_LINE_MAX (256u << 20)

typedef struct infer_watch {
    bool (*stop)(void *user);
    void (*step)(void *user, uint64_t answers);
    void *user;
} infer_watch;

/* An engine: receives texts one by one, then answers all of them, in order. A failed call returns no answers, and
 * discards the texts like a successful one. */
typedef struct infer_engine {
    void *self;
    const model *labels; /* the model that has the labels */
    uint32_t most;       /* texts that it accepts before it must answer, at least 1 */
    kit_status (*add)(void *self, const char *text, size_t length, kolm_error_t *err);
    /* Returns whether the pending texts are enough work, about a second, to be answered now; NULL: only `most`
     * counts. */
    bool (*full)(const void *self);
    kit_status (*answer)(void *self, model_answer *out, kolm_error_t *err);
    /* Returns JSON text to append to the members of an answer: it begins with a comma, or is "". number: from 0. NULL:
     * nothing. */
    const char *(*more)(void *self, uint64_t number);
    void *more_self;
} infer_engine;

/* Reads {"id","input"} lines from input (without seeking) and writes {"id","output","confidence"} lines, in order,
 * flushing whenever no further complete line is available. Below the model's threshold output is null and "best" is the
 * label. Calls watch.stop before every batch of the engine; if true, returns CANCELLED without answering what is
 * pending. */
kit_status infer_run(model *m, int input, int output, const infer_watch *watch, uint64_t *out_answers,
                     kolm_error_t *err) KIT_MUST_USE;
kit_status infer_run_engine(const infer_engine *engine, int input, int output, const infer_watch *watch,
                            uint64_t *out_answers, kolm_error_t *err) KIT_MUST_USE;

#endif
