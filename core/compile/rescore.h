/* SPDX-License-Identifier: Apache-2.0 */
/* A compiled model measured again, on rows of the user's own. */
#ifndef KOLM_COMPILE_RESCORE_H
#define KOLM_COMPILE_RESCORE_H

#include "score/score.h"
#include "session/session.h"

/* Borrowed for the call. */
typedef struct rescore_request {
    const char *model;                  /* path of the artifact */
    session_words eval;                 /* files of rows, at least one */
    const char *backend, *base;         /* NULL: chosen; found by its digest */
    const char *input_col, *output_col; /* NULL: by their names */
    session_number gate, min_accuracy;  /* in millionths; not set: those of compile, which the model need not reach */
    bool allow_baseline, skip_bad, no_header, allow_pickle;
    session_airgap airgap;
} rescore_request;

typedef struct rescore {
    score_answers *answers;
    score_k k;
    score_gates gates;
    bool ships; /* false: below a gate that was set */
} rescore;

/* Opens and verifies the model, reads the rows (SESSION_ROWS_READ), runs the model on them, and compares. Warns if some
 * rows have a label that the model does not know; INVALID_ARGUMENT if all have. *out_reason: meaning of a failure,
 * INTERRUPTED if the session was stopped. Free with rescore_free in every case. */
kit_status rescore_model(kolm_session *session, const rescore_request *request, rescore *out,
                         session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;
void rescore_free(rescore *result);

#endif
