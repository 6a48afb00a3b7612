/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to a compiled model, and its answers one by one: all of `kolm run` but what is printed. */
#ifndef KOLM_MODEL_RUN_H
#define KOLM_MODEL_RUN_H

#include "session/session.h"

#define RUN_BAD_EXAMPLES 10

/* What is asked of which model. Borrowed for the call. */
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
    uint64_t idle_seconds;   /* with serve: for which nobody asked, before it ends; 0: never */
    uint64_t answer_seconds; /* in which the next answer is to come; 0: never mind */
} run_request;

/* One answer, checked: to the question that was next. Texts last as long as the call. */
typedef struct run_answer {
    const char *line;          /* as the backend wrote it, one JSON object without a line end */
    const char *id;            /* of the question: its own, else its number from 1 on */
    const char *output, *best; /* output NULL: withheld; then best may be the label that is nearest, or NULL */
    double confidence;         /* 0 to 1 */
} run_answer;

/* Who gets the answers. Called by a thread of its own while the caller's waits for the backend, never by two at once; the last
 * call is over before run_model returns. */
typedef struct run_receiver {
    kit_status (*answer)(void *user, const run_answer *answer, kolm_error_t *err); /* a failure ends the run */
    void (*pause)(void *user); /* the next answer has to be waited for: what was printed should be seen */
    bool (*gone)(
        void *user); /* nobody reads them any more, or they cannot be kept: no more is asked, which is no failure */
    void *user;
} run_receiver;

/* What became of the questions. */
typedef struct run_tally {
    uint64_t lines, bad, answers; /* read; left out with skip_bad; answered */
    char bad_examples[RUN_BAD_EXAMPLES][256];
} run_tally;

/* Opens and judges the model, asks the server that keeps it warm, or else a backend, all questions in order, in constant memory,
 * and checks that each answer is one and to the question that is next. OK with what was left out in *out_tally. A failure says
 * how many were answered before it; *out_reason is what it means, INTERRUPTED when the session was stopped. DATA_LOSS for a backend that
 * answers what nobody asked or calls too few answers a success; DEADLINE_EXCEEDED after answer_seconds. */
kit_status run_model(kolm_session *session, const run_request *request, const run_receiver *receiver,
                     run_tally *out_tally, session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;

#endif
