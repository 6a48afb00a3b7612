/* SPDX-License-Identifier: Apache-2.0 */
/* kolm score: opens a model, runs it on new rows, and compares. */
#include "compile/rescore.h"

#include "compile/files.h"
#include "fleet/call.h"
#include "kolm/kit/text.h"
#include "model/model.h"
#include "model/path.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Whether the model's outputs are labels, whose surrounding blanks are removed. */
static bool has_labels(const model_handle *model) {
    const cJSON *manifest = artifact_manifest(model->artifact);
    const char *recipe = NULL, *outputs = NULL;
    if (kit_json_get_string(manifest, "recipe", &recipe) && strcmp(recipe, "linear") == 0) return true;
    return kit_json_get_string(kit_json_get(manifest, "options"), "outputs", &outputs) &&
           strcmp(outputs, "labels") == 0;
}

static kit_status prepare(kolm_session *session, const rescore_request *r, const model_handle *model,
                          const job_directory *job, job_summary *out_summary, kolm_error_t *err) {
    compile_data_files files;
    job_common common;
    KIT_TRY(job_common_get(kit_json_get(artifact_manifest(model->artifact), "options"), &common, err));
    kit_status status = compile_data_open(session, &r->eval, &files, err);
    if (status != KOLM_OK) {
        job_common_free(&common);
        return status;
    }
    const job_prepare_options options = {
        .eval = files.at,
        .eval_count = files.count,
        .reader = {.input_col = r->input_col, .output_col = r->output_col, .no_header = r->no_header},
        .skip_bad = r->skip_bad,
        .common = &common,
        .labels = has_labels(model),
        .job_dir = job->job,
        .private_dir = job->private,
        .cancel = session->stop};
    status = job_prepare_eval(&options, out_summary, err);
    if (status == KOLM_OK)
        session_tell(session, &(session_event){.kind = SESSION_ROWS_READ, .files = &files, .summary = out_summary});
    job_common_free(&out_summary->common);
    job_common_free(&common);
    compile_data_close(&files);
    return status;
}

static uint64_t payload_bytes(const model_handle *model) {
    uint64_t sum = 0;
    for (size_t i = 0; i < artifact_entry_count(model->artifact); i++) {
        const artifact_entry *entry = artifact_entry_at(model->artifact, i);
        if (strncmp(entry->name, "model/", 6) == 0) sum += entry->size;
    }
    return sum;
}

static kit_status read_answers(kolm_session *session, const model_answering *answering, const job_summary *rows,
                               score_answers **out, kolm_error_t *err) {
    char *predictions = NULL;
    KIT_TRY(kit_path_join(answering->job.job, "predictions.jsonl", &predictions, err));
    const score_question question = {.heldout_fd = rows->heldout_fd,
                                     .heldout_sha256 = rows->eval_sha256,
                                     .predictions = predictions,
                                     .backend = answering->choice->backend->name,
                                     .cancel = session->stop};
    kit_status status = score_answers_read(&question, out, err);
    free(predictions);
    if (status == KOLM_OK)
        fleet_count_answers(session, answering->choice->backend->name, answering->result, score_rows(*out));
    return status;
}

static bool is_weighted(const model_handle *model) {
    const char *word = NULL;
    return kit_json_get_string(kit_json_get(artifact_manifest(model->artifact), "options"), "class_weight", &word) &&
           strcmp(word, "balanced") == 0;
}

/* The labels of the model; NULL if it writes texts. */
static const cJSON *labels_of(const model_handle *model) {
    const cJSON *labels = kit_json_get(kit_json_get(artifact_manifest(model->artifact), "report"), "labels");
    return cJSON_GetArraySize(labels) > 0 ? labels : NULL;
}

/* The unknown label with most rows, of several the first by its bytes; NULL: none. *out_known: rows with known
 * labels. */
static kit_status find_unknown(const cJSON *labels, const score_answers *answers, const char **out, uint64_t *out_known,
                               kolm_error_t *err) {
    size_t count = 0, number = 0;
    uint64_t rows = 0, most = 0;
    while (score_label_at(answers, count, &rows) != NULL)
        count++;
    bool *known = calloc(count + 1, sizeof *known);
    if (known == NULL) return kit_no_memory(err);
    const cJSON *item;
    cJSON_ArrayForEach(item, labels) if (cJSON_IsString(item) && score_label_find(answers, item->valuestring, &number))
        known[number] = true;
    *out = NULL;
    *out_known = 0;
    for (size_t i = 0; i < count; i++) {
        const char *label = score_label_at(answers, i, &rows);
        if (known[i])
            *out_known += rows;
        else if (rows > most || (rows > 0 && rows == most && strcmp(label, *out) < 0)) {
            *out = label;
            most = rows;
        }
    }
    free(known);
    return KOLM_OK;
}

/* The model's label that the unknown one probably stands for; NULL: none. */
static const char *near_label(const cJSON *labels, const char *label) {
    const char *near = NULL;
    const cJSON *item;
    cJSON_ArrayForEach(item, labels) {
        if (near == NULL && cJSON_IsString(item))
            near = kit_nearest(label, (const char *const[]){item->valuestring}, 1);
        if (cJSON_IsString(item) && strcasecmp(item->valuestring, label) == 0) near = item->valuestring;
    }
    return near;
}

/* Rows whose label the model never learned are wrong whatever it answers. When there are no others, these rows are not
 * for this model, and a score of 0 would hide that. */
static kit_status check_labels(kolm_session *session, const rescore_request *r, const model_handle *model,
                               const score_answers *answers, kolm_error_t *err) {
    const cJSON *labels = labels_of(model);
    const char *example = NULL;
    uint64_t known = 0, all = score_rows(answers);
    if (labels == NULL) return KOLM_OK;
    KIT_TRY(find_unknown(labels, answers, &example, &known, err));
    if (example == NULL) return KOLM_OK;
    const char *near = near_label(labels, example);
    char meant[160] = "";
    if (near != NULL) kit_format(meant, sizeof meant, "; did you mean \"%.100s\"?", near);
    if (known == 0)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                        "the labels must be written as in the training rows: `kolm inspect` lists them; --output-col "
                        "names the column they are in",
                        "the model knows none of the labels of %s, such as \"%.100s\"%s", r->eval.items[0], example,
                        meant);
    session_warn(session, "%llu of %llu rows have a label that the model does not know, such as \"%s\"%s",
                 (unsigned long long)(all - known), (unsigned long long)all, example, meant);
    return KOLM_OK;
}

static kit_status check_words(const rescore_request *r, session_reason *out_reason, kolm_error_t *err) {
    *out_reason = SESSION_REASON_DATA;
    if (!model_looks_like_model(r->eval.items[0]) || model_looks_like_model(r->model))
        return compile_data_check(&r->eval, "--eval", err);
    *out_reason = SESSION_REASON_USAGE;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "put the compiled model first, and pass the rows with --eval",
                    "%s and %s are the wrong way round", r->model, r->eval.items[0]);
}

static void compute(const rescore_request *r, const model_handle *model, const job_base *base, rescore *out) {
    const uint64_t bytes = payload_bytes(model);
    score_baseline baseline;
    score_compute_read(
        score_rows(out->answers), score_answered(out->answers), score_correct(out->answers), bytes,
        model_read_bytes(bytes, base->weight_bytes, kit_json_get(artifact_manifest(model->artifact), "report")),
        &out->k);
    score_baseline_of(out->answers, &baseline);
    /* Rows of one label can measure the recall of that label, but not a baseline. */
    out->gates = (score_gates){.k_micro = (uint32_t)(r->gate.set ? r->gate.value : 850000),
                               .accuracy_micro = (uint32_t)(r->min_accuracy.set ? r->min_accuracy.value : 800000),
                               .allow_baseline = r->allow_baseline || baseline.labels == 1,
                               .balanced = is_weighted(model)};
    out->ships = !(r->gate.set || r->min_accuracy.set) || score_ships(&out->k, out->answers, &out->gates);
}

static kit_status measure(kolm_session *session, const rescore_request *r, rescore *out, session_reason *out_reason,
                          kolm_error_t *err) {
    model_handle model;
    model_answering answering = {.job = {.lock_fd = -1}};
    job_summary rows = {.heldout_fd = -1};
    KIT_TRY(check_words(r, out_reason, err));
    kit_status status = model_open_to_run(session, r->model, r->allow_pickle, &model, out_reason, err);
    if (status == KOLM_OK)
        status = model_answering_begin(session, &model, r->backend, r->base, r->airgap, &answering, out_reason, err);
    if (status == KOLM_OK) {
        *out_reason = SESSION_REASON_DATA;
        status = prepare(session, r, &model, &answering.job, &rows, err);
    }
    if (status == KOLM_OK)
        status = model_answering_rows(session, &answering, r->airgap, rows.eval_rows, out_reason, err);
    if (status == KOLM_OK) status = read_answers(session, &answering, &rows, &out->answers, err);
    if (status == KOLM_E_ABORTED) *out_reason = SESSION_REASON_UNJUDGED;
    if (status == KOLM_OK) {
        *out_reason = SESSION_REASON_DATA;
        status = check_labels(session, r, &model, out->answers, err);
    }
    if (status == KOLM_OK) compute(r, &model, &answering.base, out);
    if (rows.heldout_fd >= 0) close(rows.heldout_fd);
    model_answering_end(&answering);
    model_handle_close(&model);
    return status;
}

kit_status rescore_model(kolm_session *session, const rescore_request *r, rescore *out, session_reason *out_reason,
                         kolm_error_t *err) {
    *out = (rescore){0};
    kit_status status = measure(session, r, out, out_reason, err);
    if (status != KOLM_OK && (status == KOLM_E_CANCELLED || session_stopped(session)))
        *out_reason = SESSION_REASON_INTERRUPTED;
    return status;
}

void rescore_free(rescore *result) {
    score_answers_free(result->answers);
    result->answers = NULL;
}
