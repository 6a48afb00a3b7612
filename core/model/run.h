/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to a compiled model, and its answers one by one: all of `kolm run` except the printing. */
#ifndef KOLM_MODEL_RUN_H
#define KOLM_MODEL_RUN_H

#include "session/session.h"

#define RUN_BAD_EXAMPLES 10

/* The model and the questions. Borrowed for the call. */
typedef struct run_request {
    const char *model;          /* path of the artifact */
    const char *backend, *base; /* NULL: chosen; found by its digest */
    const char *input;          /* a file of lines; NULL or "-": standard input */
    char **texts;               /* used instead of lines, if there are any */
    size_t text_count;
    bool jsonl;        /* lines are rows {"id", "input"} */
    bool skip_bad;     /* skip bad lines instead of stopping at the first */
    bool serve;        /* serve other processes (model/serve.h) instead; no questions then */
    bool allow_pickle; /* a base may be pickles */
    session_airgap airgap;
    uint64_t idle_seconds;   /* with serve: exit after this idle time; 0: never */
    uint64_t answer_seconds; /* timeout of the next answer; 0: none */
} run_request;

/* One valid answer, to the next question. Texts are valid during the call. */
typedef struct run_answer {
    const char *line;          /* as the backend wrote it, one JSON object without a line end */
    const char *id;            /* of the question: its own, else its number, from 1 */
    const char *output, *best; /* output NULL: withheld; then best may be the label that is nearest, or NULL */
    double confidence;         /* 0 to 1 */
} run_answer;

/* Callbacks for the answers. Called by one separate thread, while the caller's thread waits for the backend; the last
 * call returns before run_model does. */
typedef struct run_receiver {
    kit_status (*answer)(void *user, const run_answer *answer, kolm_error_t *err); /* a failure ends the run */
    void (*pause)(void *user); /* no answer is available yet: flush the output */
    bool (*gone)(void *user);  /* the reader is gone, or they cannot be stored: stop without an error */
    void *user;
} run_receiver;

/* Counts of the questions. */
typedef struct run_tally {
    uint64_t lines, bad, answers; /* read; skipped with skip_bad; answered */
    char bad_examples[RUN_BAD_EXAMPLES][256];
} run_tally;

/* Opens and verifies the model, sends all questions in order to its warm server, or else to a backend, in constant
 * memory, and checks that each answer is valid and belongs to the next question. *out_tally has the number of skipped
 * lines. An error says how many were answered before it; *out_reason: its meaning, INTERRUPTED if the session was
 * stopped. DATA_LOSS if a backend returns unrequested answers, or success with too few; DEADLINE_EXCEEDED after
 * answer_seconds. */
kit_status run_model(kolm_session *session, const run_request *request, const run_receiver *receiver,
                     run_tally *out_tally, session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;

#endif
