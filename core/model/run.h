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
    char **texts;               /* instead of lines, when there are any */
    size_t text_count;
    bool jsonl;        /* lines are rows {"id", "input"} */
    bool skip_bad;     /* leave bad lines out instead of stopping at the first */
    bool serve;        /* answer others (model/serve.h) instead; no questions then */
    bool allow_pickle; /* a base may be pickles */
    session_airgap airgap;
    uint64_t idle_seconds;   /* with serve: exit after this idle time; 0: never */
    uint64_t answer_seconds; /* timeout of the next answer; 0: none */
} run_request;

/* One valid answer, to the next question. Texts are valid during the call. */
typedef struct run_answer {
    const char *line;          /* as the backend wrote it, one JSON object without a line end */
    const char *id;            /* of the question: its own, else its number from 1 on */
    const char *output, *best; /* output NULL: withheld; then best may be the label that is nearest, or NULL */
    double confidence;         /* 0 to 1 */
} run_answer;

/* Who gets the answers. Called by a thread of its own while the caller's waits for the backend, never by two at once;
 * the last call is over before run_model returns. */
typedef struct run_receiver {
    kit_status (*answer)(void *user, const run_answer *answer, kolm_error_t *err); /* a failure ends the run */
    void (*pause)(void *user); /* the next answer has to be waited for: what was printed should be seen */
    bool (*gone)(void *user);  /* the reader is gone, or they cannot be stored: stop without an error */
    void *user;
} run_receiver;

/* What became of the questions. */
typedef struct run_tally {
    uint64_t lines, bad, answers; /* read; left out with skip_bad; answered */
    char bad_examples[RUN_BAD_EXAMPLES][256];
} run_tally;

/* Opens and verifies the model, sends all questions in order to its warm server, or else to a backend, in constant
 * memory, and checks that each answer is valid and belongs to the next question. OK with what was left out in
 * *out_tally. A failure says how many were answered before it; *out_reason: its meaning, INTERRUPTED if the session was
 * stopped. DATA_LOSS if a backend returns unrequested answers, or success with too few; DEADLINE_EXCEEDED after
 * answer_seconds. */
kit_status run_model(kolm_session *session, const run_request *request, const run_receiver *receiver,
                     run_tally *out_tally, session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;

#endif
