/* SPDX-License-Identifier: Apache-2.0 */
/* kolm report, with the data: repeats the split, and runs the model again. */
#include "compile/report.h"

#include "compile/files.h"
#include "compile/report_near.h"
#include "fleet/call.h"
#include "model/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct again {
    kolm_session *session;
    const report_request *request;
    model_handle model;
    model_answering answering;
    report_near_asking near;
    job_directory *job; /* of the infer job, or a directory of its own */
    job_summary rows;
    char *prepared; /* a directory that no backend sees: train.jsonl has the outputs */
    char *train, *predictions;
} again;

static const char *const rules[] = {"majority", "drop", "keep", "error"}; /* as job_contradictions */

static bool find_rule(const char *word, job_contradictions *out) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(word, rules[i]) == 0) {
            *out = (job_contradictions)i;
            return true;
        }
    return false;
}

static kit_status split(again *a, const compile_data_files *data, const compile_data_files *eval, kolm_error_t *err) {
    const report_request *r = a->request;
    const char *word = r->contradictions;
    job_contradictions rule = JOB_CONTRADICTIONS_MAJORITY;
    uint64_t seed = r->seed.value;
    if (a->model.artifact != NULL) {
        const cJSON *options = kit_json_get(artifact_manifest(a->model.artifact), "options");
        if (!kit_json_get_u64(options, "seed", &seed)) seed = 0;
        if (!kit_json_get_string(options, "contradictions", &word)) word = NULL;
    }
    if (word != NULL && !find_rule(word, &rule))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use majority, drop, keep or error, as given to compile",
                        "'%s' is not a rule for contradictions", word);
    KIT_TRY(kit_path_join(a->job->private, "prepared", &a->prepared, err));
    if (mkdir(a->prepared, 0700) != 0) return kit_fail_errno(err, errno, "cannot create %s", a->prepared);
    const job_prepare_options prepare = {
        .data = data->at,
        .data_count = data->count,
        .eval = eval->at,
        .eval_count = eval->count,
        .reader = {.input_col = r->input_col, .output_col = r->output_col, .no_header = r->no_header},
        .skip_bad = r->skip_bad,
        .contradictions = rule,
        .seed = seed,
        .job_dir = a->prepared,
        .private_dir = a->job->private,
        .cancel = a->session->stop};
    return job_prepare(&prepare, &a->rows, err);
}

static bool is_digest(const cJSON *data, const char *part, const char *found) {
    const char *sha256 = NULL;
    return kit_json_get_string(kit_json_get(data, part), "sha256", &sha256) && strcmp(sha256, found) == 0;
}

/* The split must be the same, or the rest would not be about this model. */
static kit_status check_rows(const again *a, kolm_error_t *err) {
    if (a->model.artifact == NULL) return KOLM_OK; /* the directory of a missed gate has no digests */
    const cJSON *manifest = artifact_manifest(a->model.artifact), *data = kit_json_get(manifest, "data");
    const char *how = NULL;
    const bool split_file =
        kit_json_get_string(kit_json_get(manifest, "options"), "split", &how) && strcmp(how, "file") == 0;
    const bool train = is_digest(data, "train", a->rows.train_sha256),
               eval = is_digest(data, "eval", a->rows.eval_sha256);
    if (train && eval) return KOLM_OK;
    return kit_fail(
        err, KOLM_E_INVALID_ARGUMENT,
        split_file
            ? "pass the same files as to compile, including those of --eval, with the same options for reading them"
            : "pass the same files as to compile, without --eval, with the same options for reading them",
        "these are not the rows that %s was made from: the digest of %s differs", a->request->model,
        !train ? "the rows to learn from" : "the held-out rows");
}

/* If compile found questions with several answers, they are searched again, to be shown. */
static kit_status gather_pairs(const again *a, const compile_data_files *data, report_gathering *g, kolm_error_t *err) {
    const job_summary *s = &a->rows;
    const report_rows rows = {.at = data->at,
                              .count = data->count,
                              .reader = {.input_col = a->request->input_col,
                                         .output_col = a->request->output_col,
                                         .no_header = a->request->no_header,
                                         .cancel = a->session->stop},
                              .skip_bad = a->request->skip_bad,
                              .labels = s->closed,
                              .scratch = a->job->private};
    if (s->contradictions + s->outvoted + s->kept_contradictions == 0) return KOLM_OK;
    return report_gather_pairs(g, &rows, err);
}

static kit_status prepare(again *a, report_gathering *g, kolm_error_t *err) {
    compile_data_files data = {0}, eval = {0};
    kit_status status = compile_data_open(a->session, &a->request->data, &data, err);
    if (status == KOLM_OK) status = compile_data_open(a->session, &a->request->eval, &eval, err);
    if (status == KOLM_OK) status = split(a, &data, &eval, err);
    if (status == KOLM_OK) status = check_rows(a, err);
    if (status == KOLM_OK) status = gather_pairs(a, &data, g, err);
    compile_data_close(&data);
    compile_data_close(&eval);
    if (status == KOLM_OK) status = kit_path_join(a->prepared, "train.jsonl", &a->train, err);
    return status;
}

/* Only the questions are copied to where the backend reads. */
static kit_status hand_over(const again *a, kolm_error_t *err) {
    char *from = NULL, *to = NULL;
    kit_status status = kit_path_join(a->prepared, "eval.jsonl", &from, err);
    if (status == KOLM_OK) status = kit_path_join(a->job->job, "eval.jsonl", &to, err);
    if (status == KOLM_OK && rename(from, to) != 0) status = kit_fail_errno(err, errno, "cannot create %s", to);
    free(from);
    free(to);
    return status;
}

static kit_status gather(again *a, report_answers *answers, report_gathering *g, kolm_error_t *err) {
    answers->question.heldout_fd = a->rows.heldout_fd;
    answers->question.heldout_sha256 = a->rows.eval_sha256;
    answers->question.predictions = a->predictions;
    answers->question.cancel = a->session->stop;
    answers->train = a->train;
    answers->place = a->request->eval.count > 0 ? "evaluation data" : "data";
    answers->labels = a->rows.closed;
    a->near = (report_near_asking){.session = a->session, .answering = &a->answering, .airgap = a->request->airgap};
    if (a->model.artifact != NULL) {
        answers->near = report_near_by_model;
        answers->near_user = &a->near;
    }
    return report_gather_answers(g, answers, err);
}

static kit_status open_model(again *a, const char *manifest_sha256, session_reason *out_reason, kolm_error_t *err) {
    KIT_TRY(model_handle_open(a->session, a->request->model, MODEL_TRUST_CONTENT, &a->model, out_reason, err));
    a->model.allow_pickle = a->request->allow_pickle;
    *out_reason = SESSION_REASON_VERIFY;
    if (strcmp(artifact_manifest_sha256(a->model.artifact), manifest_sha256) != 0)
        return kit_fail(err, KOLM_E_ABORTED, "run the command again", "%s was replaced while it was read",
                        a->request->model);
    return model_may_run(a->session, &a->model, err);
}

static kit_status check_files(const again *a, session_reason *out_reason, kolm_error_t *err) {
    *out_reason = SESSION_REASON_DATA;
    KIT_TRY(compile_data_check(&a->request->data, "--data", err));
    return compile_data_check(&a->request->eval, "--eval", err);
}

static kit_status do_again(again *a, const char *manifest_sha256, report_gathering *g, session_reason *out_reason,
                           kolm_error_t *err) {
    const report_request *r = a->request;
    report_answers answers = {0};
    KIT_TRY(check_files(a, out_reason, err));
    KIT_TRY(open_model(a, manifest_sha256, out_reason, err));
    KIT_TRY(
        model_answering_begin(a->session, &a->model, r->backend, r->base, r->airgap, &a->answering, out_reason, err));
    a->job = &a->answering.job;
    *out_reason = SESSION_REASON_DATA;
    KIT_TRY(prepare(a, g, err));
    KIT_TRY(hand_over(a, err));
    KIT_TRY(model_answering_rows(a->session, &a->answering, r->airgap, a->rows.eval_rows, out_reason, err));
    *out_reason = SESSION_REASON_INTERNAL;
    KIT_TRY(kit_path_join(a->job->job, "predictions.jsonl", &a->predictions, err));
    answers.question.backend = a->answering.choice->backend->name;
    if (!kit_json_get_string(kit_json_get(artifact_manifest(a->model.artifact), "evaluation"), "sha256",
                             &answers.scored_sha256))
        answers.scored_sha256 = NULL;
    fleet_count_answers(a->session, answers.question.backend, a->answering.result, a->rows.eval_rows);
    kit_status status = gather(a, &answers, g, err);
    *out_reason = a->near.reason != SESSION_REASON_NONE ? a->near.reason
                  : status == KOLM_E_ABORTED            ? SESSION_REASON_UNJUDGED
                  : status == KOLM_E_CANCELLED          ? SESSION_REASON_INTERRUPTED
                  : status == KOLM_E_RESOURCE_EXHAUSTED ? SESSION_REASON_INTERNAL
                                                        : SESSION_REASON_BACKEND;
    return status;
}

static void end(again *a) {
    job_common_free(&a->rows.common);
    if (a->rows.heldout_fd >= 0) close(a->rows.heldout_fd);
    model_answering_end(&a->answering);
    model_handle_close(&a->model);
    free(a->prepared);
    free(a->train);
    free(a->predictions);
}

kit_status report_ask_again(kolm_session *session, const report_request *request, const char *manifest_sha256,
                            report_gathering *gathering, session_reason *out_reason, kolm_error_t *err) {
    again a = {
        .session = session, .request = request, .answering = {.job = {.lock_fd = -1}}, .rows = {.heldout_fd = -1}};
    kit_status status = do_again(&a, manifest_sha256, gathering, out_reason, err);
    end(&a);
    return status;
}

static kit_status do_kept(again *a, report_gathering *g, session_reason *out_reason, kolm_error_t *err) {
    report_answers answers = {.kept = a->request->model};
    KIT_TRY(check_files(a, out_reason, err));
    *out_reason = SESSION_REASON_INTERNAL;
    KIT_TRY(model_job_make(a->session, a->job, err));
    *out_reason = SESSION_REASON_DATA;
    KIT_TRY(prepare(a, g, err));
    KIT_TRY(report_gather_rows(g, &a->rows, err));
    KIT_TRY(kit_path_join(a->prepared, "predictions.jsonl", &a->predictions, err));
    KIT_TRY(report_kept_answers(a->request->model, a->rows.heldout_fd, a->predictions, err));
    return gather(a, &answers, g, err);
}

kit_status report_ask_kept(kolm_session *session, const report_request *request, report_gathering *gathering,
                           session_reason *out_reason, kolm_error_t *err) {
    job_directory job = {.lock_fd = -1};
    again a = {.session = session,
               .request = request,
               .answering = {.job = {.lock_fd = -1}},
               .job = &job,
               .rows = {.heldout_fd = -1}};
    kit_status status = do_kept(&a, gathering, out_reason, err);
    job_directory_close(&job, false);
    end(&a);
    return status;
}
