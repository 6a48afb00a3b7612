/* SPDX-License-Identifier: Apache-2.0 */
/* kolm report: one page of HTML about a model, or about one that missed its gate, and what it takes to make it. */
#ifndef KOLM_COMPILE_REPORT_H
#define KOLM_COMPILE_REPORT_H

#include "report/gather.h"
#include "session/session.h"

/* Borrowed for the call. */
typedef struct report_request {
    const char *model;          /* an artifact, or the directory of a missed gate */
    session_words data, eval;   /* the files of rows that it was made from; none: counts only */
    const char *out;            /* NULL: beside the model, with .html for .kolm or .failed */
    const char *backend, *base; /* who answers (NULL: chosen); where its base is (NULL: by its digest) */
    const char *input_col, *output_col, *contradictions; /* as compile was told */
    session_number seed;                                 /* of a directory, as compile was told */
    session_airgap airgap;
    bool skip_bad, no_header, force, allow_pickle;
} report_request;

typedef struct report_made {
    char *path; /* of the page */
    size_t bytes;
    char *verdict;
    bool failed; /* made from the directory of a missed gate */
    bool asked;  /* there are single answers, and rows of the data, in it: only its maker may read it */
} report_made;

/* All of it, by the name of this program ("kolm 1.0"). ALREADY_EXISTS when there is a file of that name and no force. *out_reason is what
 * a failure means, INTERRUPTED when the session was stopped; on success what the page is about: VERIFY for a model that is not to be
 * believed, UNJUDGED for one that could not be checked, else NONE. Free with report_made_free in every case. */
kit_status report_make(kolm_session *session, const char *program, const report_request *request, report_made *out,
                       session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;
void report_made_free(report_made *made);

/* ---- Its parts */

/* Splits the data as compile did, and when they are those of the manifest, by digest, asks the model and gathers what its
 * answers show. manifest_sha256: of the artifact that was gathered; another one is not asked. *out_reason is what a failure
 * means. */
kit_status report_ask_again(kolm_session *session, const report_request *request, const char *manifest_sha256,
                            report_gathering *gathering, session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;

/* The same for the directory of a missed gate, after report_gather_failed: the split is made again with the options of the request,
 * and the answers are those that the directory keeps. */
kit_status report_ask_kept(kolm_session *session, const report_request *request, report_gathering *gathering,
                           session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;

#endif
