/* SPDX-License-Identifier: Apache-2.0 */
/* The single answers of a model for a report: asked again, or kept by a missed gate. */
#ifndef KOLM_CLI_REPORT_AGAIN_H
#define KOLM_CLI_REPORT_AGAIN_H

#include "cli/options.h"
#include "model/model.h"
#include "report/gather.h"

typedef struct report_request {
    session_words data, eval;
    const char *out, *backend, *base, *input_col, *output_col, *contradictions;
    session_number seed;
    session_airgap airgap;
    bool skip_bad, no_header, force, allow_pickle;
    const char *model;
} report_request;

/* Splits the data as compile did, and when they are those of the manifest, by digest, asks the model and gathers what its
 * answers show. manifest_sha256: of the artifact that was gathered; another one is not asked. *out_exit is what a failure
 * means. */
kit_status cli_report_again(cli_context *context, const report_request *request, const char *manifest_sha256,
                            report_gathering *gathering, int *out_exit, kolm_error_t *err) KIT_MUST_USE;

/* The same for the directory of a missed gate, after report_gather_failed: the split is made again with the options of the request,
 * and the answers are those that the directory keeps. */
kit_status cli_report_kept(cli_context *context, const report_request *request, report_gathering *gathering,
                           int *out_exit, kolm_error_t *err) KIT_MUST_USE;

#endif
