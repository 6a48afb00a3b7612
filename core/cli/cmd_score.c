/* SPDX-License-Identifier: Apache-2.0 */
/* kolm score: measures a compiled model again, on rows of the user's own. */
#include "model/answers_limit.h"

#include "cli/cli.h"
#include "cli/compile_text.h"
#include "cli/options.h"
#include "cli/output.h"
#include "compile/files.h"
#include "fleet/call.h"
#include "kolm/kit/text.h"
#include "model/model.h"
#include "model/path.h"
#include "score/score.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct score_request {
    session_words eval;
    const char *backend, *base, *input_col, *output_col;
    session_number gate, min_accuracy;
    bool skip_bad, no_header, allow_baseline;
    session_airgap airgap;
    char **words;
    bool allow_pickle;
} score_request;

/* Whether the model's outputs are labels, which have no blanks around them. */
static bool has_labels(const model_handle *model) {
    const cJSON *manifest = artifact_manifest(model->artifact);
    const char *recipe = NULL, *outputs = NULL;
    if (kit_json_get_string(manifest, "recipe", &recipe) && strcmp(recipe, "linear") == 0) return true;
    return kit_json_get_string(kit_json_get(manifest, "options"), "outputs", &outputs) &&
           strcmp(outputs, "labels") == 0;
}

static kit_status prepare(cli_context *context, const score_request *r, const model_handle *model,
                          const job_directory *job, job_summary *out_summary, kolm_error_t *err) {
    compile_data_files files;
    job_common common;
    KIT_TRY(job_common_get(kit_json_get(artifact_manifest(model->artifact), "options"), &common, err));
    kit_status status = compile_data_open(&context->session, &r->eval, &files, err);
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
        .cancel = cli_interrupt_flag()};
    status = job_prepare_eval(&options, out_summary, err);
    if (status == KOLM_OK && !context->json) cli_data_print(context, NULL, &files, out_summary);
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

static kit_status read_answers(cli_context *context, const model_answering *answering, const job_summary *rows,
                               score_answers **out, kolm_error_t *err) {
    char *predictions = NULL;
    KIT_TRY(kit_path_join(answering->job.job, "predictions.jsonl", &predictions, err));
    const score_question question = {.heldout_fd = rows->heldout_fd,
                                     .heldout_sha256 = rows->eval_sha256,
                                     .predictions = predictions,
                                     .backend = answering->choice->backend->name,
                                     .cancel = cli_interrupt_flag()};
    kit_status status = score_answers_read(&question, out, err);
    free(predictions);
    if (status == KOLM_OK)
        fleet_count_answers(&context->session, answering->choice->backend->name, answering->result, score_rows(*out));
    return status;
}

/* The questions are put, and no more written in answer to them than answers are. */
static kit_status ask(cli_context *context, const score_request *r, model_answering *answering, uint64_t rows,
                      int *out_exit, kolm_error_t *err) {
    model_answers_limit limit;
    KIT_TRY(model_answers_limit_begin(answering->job.job, rows, &limit, err));
    answering->stop = &limit.reached;
    kit_status status = model_answering_run(&context->session, answering, r->airgap, -1, -1, out_exit, err);
    answering->stop = NULL;
    status = model_answers_limit_end(&limit, answering->choice->backend->name, status, err);
    if (status == KOLM_E_DATA_LOSS) *out_exit = SESSION_EXIT_BACKEND;
    return status;
}

static bool is_weighted(const model_handle *model) {
    const char *word = NULL;
    return kit_json_get_string(kit_json_get(artifact_manifest(model->artifact), "options"), "class_weight", &word) &&
           strcmp(word, "balanced") == 0;
}

/* The labels that the model can answer; NULL where it writes texts. */
static const cJSON *labels_of(const model_handle *model) {
    const cJSON *labels = kit_json_get(kit_json_get(artifact_manifest(model->artifact), "report"), "labels");
    return cJSON_GetArraySize(labels) > 0 ? labels : NULL;
}

/* The label that is none of the model's and has most rows, of several the first by its bytes; NULL: there is none. *out_known:
 * rows of the others. */
static kit_status find_unknown(const cJSON *labels, const score_answers *answers, const char **out, uint64_t *out_known,
                               kolm_error_t *err) {
    size_t count = 0, number = 0;
    uint64_t rows = 0, most = 0;
    while (score_label_at(answers, count, &rows) != NULL)
        count++;
    bool *known = calloc(count + 1, sizeof *known);
    if (known == NULL)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit", "out of memory");
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

/* One of the model's labels that the unknown one was perhaps meant to be; NULL: none. */
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
static kit_status check_labels(cli_context *context, const score_request *r, const model_handle *model,
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
    cli_warn(context, "%llu of %llu rows have a label that the model does not know, such as \"%s\"%s",
             (unsigned long long)(all - known), (unsigned long long)all, cli_safe(example), cli_safe(meant));
    return KOLM_OK;
}

static kit_status measure(cli_context *context, const score_request *r, score_answers **out_answers, score_k *out_k,
                          bool *out_balanced, int *out_exit, kolm_error_t *err) {
    model_handle model;
    model_answering answering = {.job = {.lock_fd = -1}};
    job_summary rows = {.heldout_fd = -1};
    *out_exit = SESSION_EXIT_DATA;
    if (model_looks_like_model(r->eval.items[0]) && !model_looks_like_model(r->words[0])) {
        *out_exit = SESSION_EXIT_USAGE;
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "the compiled model comes first, the rows go with --eval",
                        "%s and %s are the wrong way round", r->words[0], r->eval.items[0]);
    }
    KIT_TRY(compile_data_check(&r->eval, "--eval", err));
    kit_status status = model_handle_open(&context->session, r->words[0], MODEL_TRUST_CONTENT, &model, out_exit, err);
    if (status == KOLM_OK) {
        *out_exit = SESSION_EXIT_VERIFY;
        status = model_may_run(&context->session, &model, err);
        model.allow_pickle = r->allow_pickle;
    }
    if (status == KOLM_OK)
        status =
            model_answering_begin(&context->session, &model, r->backend, r->base, r->airgap, &answering, out_exit, err);
    if (status == KOLM_OK) {
        *out_exit = SESSION_EXIT_DATA;
        status = prepare(context, r, &model, &answering.job, &rows, err);
    }
    if (status == KOLM_OK) status = ask(context, r, &answering, rows.eval_rows, out_exit, err);
    if (status == KOLM_OK) status = read_answers(context, &answering, &rows, out_answers, err);
    if (status == KOLM_E_ABORTED) *out_exit = SESSION_EXIT_UNJUDGED;
    if (status == KOLM_OK) {
        *out_exit = SESSION_EXIT_DATA;
        status = check_labels(context, r, &model, *out_answers, err);
    }
    if (status == KOLM_OK) *out_balanced = is_weighted(&model);
    if (status == KOLM_OK)
        score_compute_read(score_rows(*out_answers), score_answered(*out_answers), score_correct(*out_answers),
                           payload_bytes(&model),
                           model_read_bytes(payload_bytes(&model), answering.base.weight_bytes,
                                            kit_json_get(artifact_manifest(model.artifact), "report")),
                           out_k);
    if (rows.heldout_fd >= 0) close(rows.heldout_fd);
    model_answering_end(&answering);
    model_handle_close(&model);
    return status;
}

static int report(cli_context *context, const score_request *r, const score_answers *answers, const score_k *k,
                  bool balanced, kolm_error_t *err) {
    score_baseline baseline;
    score_baseline_of(answers, &baseline);
    /* Rows of one label are a fair question of how often that label is found; they say nothing of a baseline. */
    const score_gates gates = {.k_micro = (uint32_t)(r->gate.set ? r->gate.value : 850000),
                               .accuracy_micro = (uint32_t)(r->min_accuracy.set ? r->min_accuracy.value : 800000),
                               .allow_baseline = r->allow_baseline || baseline.labels == 1,
                               .balanced = balanced};
    int exit_code =
        (r->gate.set || r->min_accuracy.set) && !score_ships(k, answers, &gates) ? SESSION_EXIT_GATE : SESSION_EXIT_OK;
    if (context->json) {
        cJSON *object = score_report_object(k, answers, &gates);
        if (object != NULL && !kit_json_put_string(object, "schema", "kolm.score/1")) {
            cJSON_Delete(object);
            object = NULL;
        }
        return cli_print_json(context, object, exit_code);
    }
    kit_buf text = {0};
    kit_status status = score_report_text(k, answers, &gates, NULL, &text, err);
    if (status == KOLM_OK) cli_print(context, "%s", kit_buf_text(&text));
    kit_buf_free(&text);
    return status == KOLM_OK ? exit_code : cli_error(context, SESSION_EXIT_INTERNAL, err);
}

static int score_model(cli_context *context, const score_request *r) {
    int exit_code = SESSION_EXIT_INTERNAL;
    kolm_error_t err = KIT_ERROR_INIT;
    score_answers *answers = NULL;
    score_k k;
    bool balanced = false;
    kit_status status = measure(context, r, &answers, &k, &balanced, &exit_code, &err);
    if (status == KOLM_OK)
        exit_code = report(context, r, answers, &k, balanced, &err);
    else
        exit_code = cli_error(
            context, status == KOLM_E_CANCELLED || cli_interrupted() ? SESSION_EXIT_INTERRUPTED : exit_code, &err);
    score_answers_free(answers);
    return exit_code;
}

static int check_words(cli_context *context, const char *command, const score_request *r, size_t count) {
    if (count == 2 && r->eval.count == 0)
        return cli_usage_error(context, command, "the rows go with --eval: kolm score %s --eval %s",
                               cli_safe(r->words[0]), cli_safe(r->words[1]));
    if (count == 2)
        return cli_usage_error(context, command, "one FILE.kolm at a time: unexpected word '%s'",
                               cli_safe(r->words[1]));
    if (r->eval.count == 0) return cli_usage_error(context, command, "--eval is missing: the rows to measure on");
    if (compile_data_stdin_twice(&r->eval, &(session_words){0}))
        return cli_usage_error(context, command, "standard input (-) is given twice and can be read once");
    return -1;
}

int cli_cmd_score(cli_context *context, int argc, char **argv) {
    score_request r = {.words = argv};
    const cli_option options[] = {
        {"eval", 0, CLI_WORDS, &r.eval, "FILE", "rows to measure on; - for standard input; may be given again"},
        {"gate", 0, CLI_FRACTION, &r.gate, "K", "exit with 4 below this K-score"},
        {"min-accuracy", 0, CLI_FRACTION, &r.min_accuracy, "A", "exit with 4 below this accuracy"},
        {"allow-baseline", 0, CLI_FLAG, &r.allow_baseline, NULL,
         "with --gate or --min-accuracy: although always giving one answer may be as good"},
        {"skip-bad", 0, CLI_FLAG, &r.skip_bad, NULL, "leave bad rows out instead of stopping at the first"},
        {"input-col", 0, CLI_STRING, &r.input_col, "NAME", "column or key of the input; several as A,B are joined"},
        {"output-col", 0, CLI_STRING, &r.output_col, "NAME", "column or key of the output"},
        {"no-header", 0, CLI_FLAG, &r.no_header, NULL, "tables begin with a row: columns are called 1, 2, ..."},
        {"backend", 0, CLI_STRING, &r.backend, "NAME", "use this backend or none"},
        {"base", 0, CLI_STRING, &r.base, "DIR", "where the base model is; found by its digest otherwise"},
        {"allow-pickle", 0, CLI_FLAG, &r.allow_pickle, NULL,
         "load a base whose weights are pickles, which can run any program: only files that you made"},
        {"airgap", 0, CLI_AIRGAP, &r.airgap, NULL, "no network for the backend, enforced (strict) or only requested"},
    };
    size_t word_count = 0;
    const cli_syntax syntax = {
        .command = "kolm score",
        .words = "FILE.kolm",
        .summary = "Measures accuracy and coverage of a compiled model on rows of your own.",
        .options = options,
        .option_count = sizeof options / sizeof *options,
        .min_words = 1,
        .max_words = 2, /* to name what the second was meant for */
        .words_out = argv,
        .word_count_out = &word_count,
    };
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code < 0) exit_code = check_words(context, syntax.command, &r, word_count);
    if (exit_code < 0) exit_code = score_model(context, &r);
    cli_list_free(&r.eval);
    return exit_code;
}
