/* SPDX-License-Identifier: Apache-2.0 */
/* kolm score: the rows to measure on, and the report. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "compile/files.h"
#include "compile/rescore.h"
#include "fleet/reap.h"

#define SHOWN_CONFUSIONS 20 /* the commonest; --json has more */

static int print_score(cli_context *context, const rescore *s) {
    const int exit_code = s->ships ? CLI_EXIT_OK : CLI_EXIT_GATE;
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf text = {0};
    if (context->json) {
        cJSON *object = score_report_object(&s->k, s->answers, &s->gates);
        bool good = kit_json_put_string(object, "schema", "kolm.score/1");
        return cli_print_json(context, cli_whole(object, good), exit_code);
    }
    kit_status status = score_report_text(&s->k, s->answers, &s->gates, NULL, SHOWN_CONFUSIONS, &text, &err);
    if (status == KOLM_OK) cli_print(context, "%s", kit_buf_text(&text));
    kit_buf_free(&text);
    return status == KOLM_OK ? exit_code : cli_error(context, CLI_EXIT_INTERNAL, &err);
}

static int score_model(cli_context *context, const rescore_request *r) {
    session_reason reason = SESSION_REASON_NONE;
    kolm_error_t err = KIT_ERROR_INIT;
    rescore result;
    kit_status status = rescore_model(&context->session, r, &result, &reason, &err);
    int exit_code = status == KOLM_OK ? print_score(context, &result) : cli_fail(context, reason, &err);
    rescore_free(&result);
    return exit_code;
}

static int check_words(cli_context *context, const char *command, char **words, const rescore_request *r,
                       size_t count) {
    if (count == 2 && r->eval.count == 0)
        return cli_usage_error(context, command, "pass the rows with --eval: kolm score %s --eval %s",
                               cli_safe(words[0]), cli_safe(words[1]));
    if (count == 2)
        return cli_usage_error(context, command, "one FILE.kolm at a time: unexpected word '%s'", cli_safe(words[1]));
    if (r->eval.count == 0) return cli_usage_error(context, command, "--eval is missing: the rows to measure on");
    if (compile_data_stdin_twice(&r->eval, &(session_words){0}))
        return cli_usage_error(context, command, "standard input (-) is given twice, but can be read only once");
    return -1;
}

int cli_cmd_score(cli_context *context, int argc, char **argv) {
    rescore_request r = {0};
    const cli_option options[] = {
        {"eval", 0, CLI_WORDS, &r.eval, "FILE", "rows to measure on; - for standard input; may be repeated"},
        {"gate", 0, CLI_FRACTION, &r.gate, "K", "exit with 4 below this K-score"},
        {"min-accuracy", 0, CLI_FRACTION, &r.min_accuracy, "A", "exit with 4 below this accuracy"},
        {"allow-baseline", 0, CLI_FLAG, &r.allow_baseline, NULL,
         "with --gate or --min-accuracy: even if always giving the same answer may be as good"},
        {"skip-bad", 0, CLI_FLAG, &r.skip_bad, NULL, "skip bad rows instead of stopping at the first"},
        {"input-col", 0, CLI_STRING, &r.input_col, "NAME", "column or key of the input; several as A,B are joined"},
        {"output-col", 0, CLI_STRING, &r.output_col, "NAME", "column or key of the output"},
        {"no-header", 0, CLI_FLAG, &r.no_header, NULL, "tables have no header: columns are called 1, 2, ..."},
        {"backend", 0, CLI_STRING, &r.backend, "NAME", "use this backend or fail"},
        {"base", 0, CLI_STRING, &r.base, "DIR", "where the base model is; found by its digest otherwise"},
        {"allow-pickle", 0, CLI_FLAG, &r.allow_pickle, NULL,
         "load a base whose weights are pickles, which can run any program: only for files that you made"},
        {"airgap", 0, CLI_AIRGAP, &r.airgap, NULL, "no network for the backend, enforced (strict) or only requested"},
    };
    size_t word_count = 0;
    const cli_syntax syntax = {
        .command = "kolm score",
        .words = "FILE.kolm",
        .summary = "Measures accuracy and coverage of a compiled model on your own rows.",
        CLI_ROWS(options),
        .min_words = 1,
        .max_words = 2, /* so that the error can say what the second was meant for */
        .word_count_out = &word_count,
    };
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code < 0) exit_code = check_words(context, syntax.command, argv, &r, word_count);
    r.model = argv[0];
    if (exit_code < 0) {
        fleet_reap_start(&context->session, r.airgap);
        exit_code = score_model(context, &r);
    }
    cli_list_free(&r.eval);
    return exit_code;
}
