/* SPDX-License-Identifier: Apache-2.0 */
/* kolm report: the requested page, and its path. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "compile/files.h"
#include "compile/report.h"

#include <sys/stat.h>

static int print_json(cli_context *context, const report_request *r, const report_made *m, int exit_code) {
    cJSON *object = cJSON_CreateObject();
    bool good = kit_json_put_string(object, "schema", "kolm.report/1") &&
                kit_json_put_string(object, "file", r->model) && kit_json_put_string(object, "page", m->path) &&
                kit_json_put_u64(object, "bytes", m->bytes) && kit_json_put_string(object, "verdict", m->verdict) &&
                kit_json_put_bool(object, "shipped", !m->failed) && kit_json_put_bool(object, "asked", m->asked);
    return cli_print_json(context, cli_whole(object, good), exit_code);
}

static int report_model(cli_context *context, const report_request *r) {
    session_reason reason = SESSION_REASON_NONE;
    kolm_error_t err = KIT_ERROR_INIT;
    report_made m;
    char size[32];
    kit_status status = report_make(&context->session, "kolm " KOLM_VERSION, r, &m, &reason, &err);
    int exit_code = cli_exit_of(reason);
    if (status != KOLM_OK) {
        exit_code = cli_fail(context, reason, &err);
    } else if (context->json) {
        exit_code = print_json(context, r, &m, exit_code);
    } else {
        cli_print(context, "%s  %s, %s\n", cli_safe(m.path), session_bytes(size, sizeof size, m.bytes),
                  cli_safe(m.verdict));
        if (m.asked) cli_print(context, "It contains rows of the data, so only you can read it.\n");
    }
    report_made_free(&m);
    return exit_code;
}

static bool is_directory(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static int check_words(cli_context *context, const char *command, const report_request *r) {
    if (r->data.count == 0 && r->eval.count > 0)
        return cli_usage_error(context, command,
                               "--eval goes with --data (-d): both are needed to make the split again");
    if (compile_data_stdin_twice(&r->data, &r->eval))
        return cli_usage_error(context, command, "standard input (-) is given twice and can be read once");
    if ((r->seed.set || r->contradictions != NULL) && !is_directory(r->model))
        return cli_usage_error(context, command,
                               "--seed and --contradictions are for a directory: an artifact records them");
    return -1;
}

int cli_cmd_report(cli_context *context, int argc, char **argv) {
    report_request r = {0};
    const cli_option options[] = {
        {"data", 'd', CLI_WORDS, &r.data, "FILE",
         "the rows that it was made from: adds single answers, the worst mistakes and what is near them; may be "
         "repeated"},
        {"eval", 0, CLI_WORDS, &r.eval, "FILE", "the rows of compile's --eval, with --data; may be repeated"},
        {"out", 'o', CLI_STRING, &r.out, "FILE", "the page (the name of the model with .html, next to it)"},
        {"force", 'f', CLI_FLAG, &r.force, NULL, "replace a file of that name"},
        {"skip-bad", 0, CLI_FLAG, &r.skip_bad, NULL, "as given to compile: leave bad rows out"},
        {"input-col", 0, CLI_STRING, &r.input_col, "NAME", "as given to compile: column or key of the input"},
        {"output-col", 0, CLI_STRING, &r.output_col, "NAME", "as given to compile: column or key of the output"},
        {"no-header", 0, CLI_FLAG, &r.no_header, NULL, "as given to compile: tables have no header"},
        {"seed", 0, CLI_U64, &r.seed, "N", "for DIR.failed, as given to compile; an artifact records it"},
        {"contradictions", 0, CLI_STRING, &r.contradictions, "RULE",
         "for DIR.failed, as given to compile; an artifact records it"},
        {"backend", 0, CLI_STRING, &r.backend, "NAME", "use this backend or fail"},
        {"base", 0, CLI_STRING, &r.base, "DIR", "where the base model is; found by its digest otherwise"},
        {"allow-pickle", 0, CLI_FLAG, &r.allow_pickle, NULL,
         "load a base whose weights are pickles, which can run any program: only for files that you made"},
        {"airgap", 0, CLI_AIRGAP, &r.airgap, NULL, "no network for the backend, enforced (strict) or only requested"},
    };
    const cli_syntax syntax = {
        .command = "kolm report",
        .words = "FILE.kolm|DIR.failed",
        .summary = "Writes a page of HTML about a model: its score, its labels, its mistakes, where it was made, its "
                   "receipts.",
        .notes = "The page is one self-contained file. Without --data it contains what the artifact contains, which is "
                 "counts;\nwith --data also rows of the data. The exit code is that of kolm verify, but 0 for an "
                 "unknown key as well: the page\nsays so on top.",
        CLI_ROWS(options),
    };
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    r.model = argv[0];
    if (exit_code < 0) exit_code = check_words(context, syntax.command, &r);
    if (exit_code < 0) exit_code = report_model(context, &r);
    cli_list_free(&r.data);
    cli_list_free(&r.eval);
    return exit_code;
}
