/* SPDX-License-Identifier: Apache-2.0 */
/* kolm report: the training rows that the model itself finds nearest to its worst mistakes. */
#ifndef KOLM_COMPILE_REPORT_NEAR_H
#define KOLM_COMPILE_REPORT_NEAR_H

#include "model/model.h"
#include "report/near.h"

/* Rows of training that a model is given to compare: of more, those that read most like a mistake. */
#define REPORT_NEAR_ROWS 10000

typedef struct report_near_asking {
    kolm_session *session;
    model_answering *answering; /* has answered the held-out rows; is asked again */
    session_airgap airgap;
    session_reason reason; /* the meaning of a failure; NONE at first */
} report_near_asking;

/* For report_answers.near, user being a report_near_asking. Replaces the questions and the answers in the job
 * directory. *out_known false if the manifest does not list this for the recipe, or the model could not answer; a
 * failure of the backend is a warning. Fails if the session was stopped, the model was changed, or memory or disk are
 * exhausted. */
kit_status report_near_by_model(void *user, const char *train, const char *const *texts, size_t count,
                                near_found (*found)[REPORT_NEAR_MAX], bool *out_known, kolm_error_t *err) KIT_MUST_USE;

#endif
