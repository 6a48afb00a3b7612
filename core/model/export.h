/* SPDX-License-Identifier: Apache-2.0 */
/* Exports a model as files for other programs: an adapter in PEFT's format, or merged with its base; a head on a
 * sentence encoder, next to that encoder (export_encoder.h). */
#ifndef KOLM_MODEL_EXPORT_H
#define KOLM_MODEL_EXPORT_H

#include "session/session.h"

typedef struct export_request {
    const char *model;          /* path of the artifact */
    const char *to;             /* the directory to create: missing, or empty */
    const char *base, *backend; /* the base (NULL: found by its digest); whose Python runtime to use (NULL: any) */
    bool merge;                 /* merge the adapter into the weights of the base */
    bool allow_pickle;          /* the base may be pickles */
} export_request;

typedef enum export_kind { EXPORT_ADAPTER, EXPORT_MERGED, EXPORT_ENCODER } export_kind;

/* Opens and verifies the model, writes the files to a directory next to `to`, and moves it into place when complete, if
 * neither model nor base was changed in the meantime; on failure nothing is left. ALREADY_EXISTS if `to` exists;
 * INVALID_ARGUMENT for any other kind of model, and for merging a model on an encoder; FAILED_PRECONDITION if no
 * runtime can merge. Log lines of the merge go to the sink as the backend "export". *out_reason: meaning of a failure,
 * INTERRUPTED if the session was stopped. */
kit_status model_export(kolm_session *session, const export_request *request, export_kind *out_kind,
                        session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;

#endif
