/* SPDX-License-Identifier: Apache-2.0 */
/* kolm report: what a model is worth, as one page of HTML. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/report_again.h"
#include "compile/files.h"
#include "kolm/kit/file.h"
#include "model/model.h"
#include "model/path.h"
#include "report/gather.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct made {
    char *path; /* of the page */
    size_t bytes;
    const char *verdict; /* static, or of the gathering */
    bool failed;         /* made from the directory of a missed gate */
    bool asked;          /* there are single answers, and rows of the data, in it */
} made;

/* ---- Where it goes */

/* DIR/NAME.kolm and DIR/NAME.failed/ become DIR/NAME.html. */
static kit_status place(const report_request *r, char **out, kolm_error_t *err) {
    static const char *const endings[] = {".kolm", ".failed"};
    if (r->out != NULL) return kit_strdup(r->out, out, err);
    size_t length = strlen(r->model);
    while (length > 1 && r->model[length - 1] == '/')
        length--;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const size_t ending = strlen(endings[i]);
        if (length > ending && r->model[length - ending - 1] != '/' &&
            strncmp(r->model + length - ending, endings[i], ending) == 0) {
            length -= ending;
            break;
        }
    }
    kit_buf path = {0};
    kit_buf_add(&path, r->model, length);
    kit_buf_str(&path, ".html");
    KIT_TRY(kit_buf_ok(&path, err));
    *out = kit_buf_take(&path);
    return KOLM_OK;
}

static kit_status taken(const char *path, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_ALREADY_EXISTS, "pass --force to replace it, or another name with --out",
                    "%s exists already", path);
}

/* Looked at before a model is asked, and by the kernel when the page is put there. */
static kit_status check_place(const report_request *r, const char *path, kolm_error_t *err) {
    struct stat info;
    if (lstat(path, &info) != 0) return KOLM_OK;
    if (S_ISDIR(info.st_mode))
        return kit_fail(err, KOLM_E_ALREADY_EXISTS, "give --out the name of a file", "%s is a directory", path);
    return r->force ? KOLM_OK : taken(path, err);
}

/* Rows of the data are for whoever made the page; it is his to give on. */
static kit_status write_page(const report_request *r, const kit_buf *page, const made *m, kolm_error_t *err) {
    kit_atomic_file file = {.fd = -1};
    KIT_TRY(kit_atomic_open(m->path, m->asked ? 0600 : 0644, &file, err));
    kit_status status = kit_write_all(file.fd, page->data, page->length, err);
    if (status == KOLM_OK) status = kit_atomic_commit(&file, r->force, err);
    kit_atomic_abort(&file);
    return status == KOLM_E_ALREADY_EXISTS ? taken(m->path, err) : status;
}

/* ---- What it is made of */

/* A verdict that could not be reached, or that the bytes themselves are: then the page says so on top. */
static void judge_failure(model_handle *model, kit_status status, const kolm_error_t *err) {
    receipt_report *r = &model->report;
    r->verdict = status == ARTIFACT_E_CHANGED ? RECEIPT_TAMPERED : RECEIPT_MALFORMED;
    kit_format(r->text, sizeof r->text, "%s: %s",
               model->unjudged ? "could not be checked" : receipt_verdict_name(r->verdict), err->text);
    kit_copy(r->remedy, sizeof r->remedy, err->remedy);
}

static kit_status gather_model(cli_context *context, const report_request *r, report_gathering *g, made *m,
                               int *out_exit, kolm_error_t *err) {
    model_handle model;
    kit_status status = model_handle_open(&context->session, r->model, MODEL_TRUST_RECEIPTS, &model, out_exit, err);
    const bool told = model.artifact != NULL && !cli_interrupted() && status != KOLM_E_CANCELLED &&
                      (model.unjudged || status == KOLM_E_DATA_LOSS || status == ARTIFACT_E_CHANGED);
    int verdict_exit = SESSION_EXIT_OK;
    if (status != KOLM_OK && told) {
        judge_failure(&model, status, err);
        status = KOLM_OK;
    }
    if (status == KOLM_OK) {
        const receipt_verdict verdict = model.report.verdict;
        verdict_exit = model.unjudged                                                 ? SESSION_EXIT_UNJUDGED
                       : verdict == RECEIPT_TRUSTED || verdict == RECEIPT_UNKNOWN_KEY ? SESSION_EXIT_OK
                                                                                      : SESSION_EXIT_VERIFY;
        *out_exit = SESSION_EXIT_INTERNAL;
        const report_judgement judgement = {.judged = !model.unjudged,
                                            .has_receipts = model.has_sidecar,
                                            .report = &model.report,
                                            .file_sha256 = model.file_sha256};
        status = report_gather_artifact(g, model.artifact, &judgement, err);
    }
    if (status == KOLM_OK && r->data.count > 0 && verdict_exit == SESSION_EXIT_OK) {
        status = cli_report_again(context, r, artifact_manifest_sha256(model.artifact), g, out_exit, err);
        m->asked = status == KOLM_OK;
    } else if (status == KOLM_OK && r->data.count > 0) {
        status = report_gather_notice(
            g, REPORT_BAD, "The model was not asked again.",
            "A model that may not be trusted is never run: there are no single answers in this page.", err);
    }
    model_handle_close(&model);
    if (status == KOLM_OK) *out_exit = verdict_exit;
    return status;
}

static bool is_directory(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static kit_status gather_failed(cli_context *context, const report_request *r, report_gathering *g, made *m,
                                int *out_exit, kolm_error_t *err) {
    *out_exit = SESSION_EXIT_DATA;
    m->failed = true;
    KIT_TRY(report_gather_failed(g, r->model, err));
    if (r->data.count > 0) KIT_TRY(cli_report_kept(context, r, g, out_exit, err));
    m->asked = r->data.count > 0;
    *out_exit = SESSION_EXIT_OK;
    return KOLM_OK;
}

static kit_status make(cli_context *context, const report_request *r, report_gathering *g, made *m, int *out_exit,
                       kolm_error_t *err) {
    kit_buf page = {0};
    *out_exit = SESSION_EXIT_INTERNAL;
    KIT_TRY(place(r, &m->path, err));
    *out_exit = SESSION_EXIT_USAGE;
    KIT_TRY(check_place(r, m->path, err));
    if (is_directory(r->model))
        KIT_TRY(gather_failed(context, r, g, m, out_exit, err));
    else
        KIT_TRY(gather_model(context, r, g, m, out_exit, err));
    const int verdict_exit = *out_exit;
    *out_exit = SESSION_EXIT_INTERNAL;
    m->verdict = report_gather_facts(g)->verdict;
    kit_status status = report_page(report_gather_facts(g), &page, err);
    if (status == KOLM_OK) {
        *out_exit = SESSION_EXIT_DATA;
        status = write_page(r, &page, m, err);
        if (status == KOLM_E_ALREADY_EXISTS) *out_exit = SESSION_EXIT_USAGE;
    }
    m->bytes = page.length;
    kit_buf_free(&page);
    if (status == KOLM_OK) *out_exit = verdict_exit;
    return status;
}

/* ---- What is said of it */

static int print_json(cli_context *context, const report_request *r, const made *m, int exit_code) {
    cJSON *object = cJSON_CreateObject();
    if (kit_json_put_string(object, "schema", "kolm.report/1") && kit_json_put_string(object, "file", r->model) &&
        kit_json_put_string(object, "page", m->path) && kit_json_put_u64(object, "bytes", m->bytes) &&
        kit_json_put_string(object, "verdict", m->verdict) && kit_json_put_bool(object, "shipped", !m->failed) &&
        kit_json_put_bool(object, "asked", m->asked))
        return cli_print_json(context, object, exit_code);
    cJSON_Delete(object);
    return cli_print_json(context, NULL, exit_code);
}

static int report_model(cli_context *context, const report_request *r) {
    int exit_code = SESSION_EXIT_INTERNAL;
    kolm_error_t err = KIT_ERROR_INIT;
    report_gathering *g = NULL;
    made m = {0};
    char size[32];
    kit_status status = report_gather_new("kolm " KOLM_VERSION, r->model, &g, &err);
    if (status == KOLM_OK) status = make(context, r, g, &m, &exit_code, &err);
    if (status != KOLM_OK) {
        exit_code = cli_error(
            context, status == KOLM_E_CANCELLED || cli_interrupted() ? SESSION_EXIT_INTERRUPTED : exit_code, &err);
    } else if (context->json) {
        exit_code = print_json(context, r, &m, exit_code);
    } else {
        cli_print(context, "%s  %s, %s\n", cli_safe(m.path), session_bytes(size, sizeof size, m.bytes),
                  cli_safe(m.verdict));
        if (m.asked) cli_print(context, "It holds rows of the data: only you can read it.\n");
    }
    report_gather_free(g);
    free(m.path);
    return exit_code;
}

static int check_words(cli_context *context, const char *command, const report_request *r) {
    if (r->data.count == 0 && r->eval.count > 0)
        return cli_usage_error(context, command,
                               "--eval goes with --data (-d): both are needed to make the split again");
    if (compile_data_stdin_twice(&r->data, &r->eval))
        return cli_usage_error(context, command, "standard input (-) is given twice and can be read once");
    if ((r->seed.set || r->contradictions != NULL) && !is_directory(r->model))
        return cli_usage_error(
            context, command,
            "--seed and --contradictions are for a directory: an artifact says itself what they were");
    return -1;
}

int cli_cmd_report(cli_context *context, int argc, char **argv) {
    report_request r = {0};
    const cli_option options[] = {
        {"data", 'd', CLI_WORDS, &r.data, "FILE",
         "the rows that it was made from: adds single answers, the worst mistakes and what is near them; may be given "
         "again"},
        {"eval", 0, CLI_WORDS, &r.eval, "FILE", "the rows of compile's --eval, with --data; may be given again"},
        {"out", 'o', CLI_STRING, &r.out, "FILE", "the page (the name of the model with .html, beside it)"},
        {"force", 'f', CLI_FLAG, &r.force, NULL, "replace a file of that name"},
        {"skip-bad", 0, CLI_FLAG, &r.skip_bad, NULL, "as compile was told: leave bad rows out"},
        {"input-col", 0, CLI_STRING, &r.input_col, "NAME", "as compile was told: column or key of the input"},
        {"output-col", 0, CLI_STRING, &r.output_col, "NAME", "as compile was told: column or key of the output"},
        {"no-header", 0, CLI_FLAG, &r.no_header, NULL, "as compile was told: tables begin with a row"},
        {"seed", 0, CLI_U64, &r.seed, "N", "of DIR.failed, as compile was told; an artifact says it itself"},
        {"contradictions", 0, CLI_STRING, &r.contradictions, "RULE",
         "of DIR.failed, as compile was told; an artifact says it itself"},
        {"backend", 0, CLI_STRING, &r.backend, "NAME", "use this backend or none"},
        {"base", 0, CLI_STRING, &r.base, "DIR", "where the base model is; found by its digest otherwise"},
        {"allow-pickle", 0, CLI_FLAG, &r.allow_pickle, NULL,
         "load a base whose weights are pickles, which can run any program: only files that you made"},
        {"airgap", 0, CLI_AIRGAP, &r.airgap, NULL, "no network for the backend, enforced (strict) or only requested"},
    };
    const cli_syntax syntax = {
        .command = "kolm report",
        .words = "FILE.kolm|DIR.failed",
        .summary = "Writes a page of HTML about a model: its score, its labels, its mistakes, where it was made, its "
                   "receipts.",
        .notes = "The page is one file with nothing from elsewhere in it. Without --data it holds what the artifact "
                 "holds, which is counts;\n"
                 "with --data also rows of the data. The exit code is that of kolm verify, but 0 for an unknown key as "
                 "well: the page\n"
                 "says so on top.",
        .options = options,
        .option_count = sizeof options / sizeof *options,
        .min_words = 1,
        .max_words = 1,
        .words_out = argv,
    };
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    r.model = argv[0];
    if (exit_code < 0) exit_code = check_words(context, syntax.command, &r);
    if (exit_code < 0) exit_code = report_model(context, &r);
    cli_list_free(&r.data);
    cli_list_free(&r.eval);
    return exit_code;
}
