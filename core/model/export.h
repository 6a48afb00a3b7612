/* SPDX-License-Identifier: Apache-2.0 */
/* A model as files that other programs read: an adapter as PEFT stores it, or merged with its base; a head on a
 * sentence encoder beside that encoder (export_encoder.h). */
#ifndef KOLM_MODEL_EXPORT_H
#define KOLM_MODEL_EXPORT_H

#include "session/session.h"

typedef struct export_request {
    const char *model; /* path of the artifact */
    const char *to;    /* the directory to make: absent, or empty */
    const char *base,
        *backend;      /* where the base is (NULL: found by its digest); whose Python runtime merges (NULL: any) */
    bool merge;        /* add the adapter into the weights of the base: a whole model */
    bool allow_pickle; /* the base may be pickles */
} export_request;

typedef enum export_kind { EXPORT_ADAPTER, EXPORT_MERGED, EXPORT_ENCODER } export_kind;

/* Opens and verifies the model, writes the files to a directory next to `to`, and moves it into place when complete, if
 * neither model nor base was changed in the meantime; on failure nothing is left. ALREADY_EXISTS if `to` exists;
 * INVALID_ARGUMENT for a model that is neither, and for an encoder's that is to be merged; FAILED_PRECONDITION when
 * there is no runtime that could merge. Log lines of the merge go to the sink as the backend "export". *out_reason:
 * meaning of a failure, INTERRUPTED if the session was stopped. */
kit_status model_export(kolm_session *session, const export_request *request, export_kind *out_kind,
                        session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;

#endif
