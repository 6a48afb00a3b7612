/* SPDX-License-Identifier: Apache-2.0 */
/* kolm report: an HTML page about a model, or about one that missed its gate, and how it is made. */
#ifndef KOLM_COMPILE_REPORT_H
#define KOLM_COMPILE_REPORT_H

#include "report/gather.h"
#include "session/session.h"

/* Borrowed for the call. */
typedef struct report_request {
    const char *model;          /* an artifact, or the directory of a missed gate */
    session_words data, eval;   /* the files of rows that it was trained on; none: counts only */
    const char *out;            /* NULL: beside the model, with .html for .kolm or .failed */
    const char *backend, *base; /* which backend answers (NULL: chosen); where the base is (NULL: found by its
                                   digest) */
    const char *input_col, *output_col, *contradictions; /* as given to compile */
    session_number seed;                                 /* of a directory, as given to compile */
    session_airgap airgap;
    bool skip_bad, no_header, force, allow_pickle;
} report_request;

typedef struct report_made {
    char *path; /* of the page */
    size_t bytes;
    char *verdict;
    bool failed; /* made from the directory of a missed gate */
    bool asked;  /* it contains single answers and rows of the data: readable only by its owner */
} report_made;

/* Makes the page; program is "kolm 1.0". ALREADY_EXISTS if a file of that name exists, without force. *out_reason on
 * failure: its meaning, INTERRUPTED if the session was stopped; on success: VERIFY for a model that is not trusted,
 * UNJUDGED for one that could not be checked, else NONE. Free with report_made_free in every case. */
kit_status report_make(kolm_session *session, const char *program, const report_request *request, report_made *out,
                       session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;
void report_made_free(report_made *made);

/* ---- Its parts */

/* Splits the data as compile did and, if they match the digests in the manifest, runs the model and evaluates its
 * answers. manifest_sha256: of the artifact that was gathered; no other is run. *out_reason: meaning of a failure. */
kit_status report_ask_again(kolm_session *session, const report_request *request, const char *manifest_sha256,
                            report_gathering *gathering, session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;

/* The same for the directory of a missed gate, after report_gather_failed: the split is repeated with the options of
 * the request, and the answers are those stored in the directory. */
kit_status report_ask_kept(kolm_session *session, const report_request *request, report_gathering *gathering,
                           session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;

#endif
