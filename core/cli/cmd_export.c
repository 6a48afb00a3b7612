/* SPDX-License-Identifier: Apache-2.0 */
/* kolm export: writes an adapter or a merged model to a directory. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "model/export.h"

static int print_made(cli_context *context, const export_request *r, export_kind kind) {
    static const char *const words[] = {[EXPORT_ADAPTER] = "an adapter, in PEFT's files",
                                        [EXPORT_MERGED] = "a whole model",
                                        [EXPORT_ENCODER] =
                                            "a sentence encoder with what was learned on it, and predict.py"};
    static const char *const names[] = {
        [EXPORT_ADAPTER] = "adapter", [EXPORT_MERGED] = "model", [EXPORT_ENCODER] = "encoder"};
    if (!context->json) {
        cli_print(context, "[export]      %s  %s\n", cli_safe(r->to), words[kind]);
        return CLI_EXIT_OK;
    }
    cJSON *record = cJSON_CreateObject();
    bool good = kit_json_put_string(record, "schema", "kolm.export/1") && kit_json_put_string(record, "path", r->to) &&
                kit_json_put_bool(record, "merged", r->merge) && kit_json_put_string(record, "kind", names[kind]);
    return cli_print_json(context, cli_whole(record, good), CLI_EXIT_OK);
}

int cli_cmd_export(cli_context *context, int argc, char **argv) {
    export_request r = {0};
    size_t word_count = 0;
    const cli_option options[] = {
        {"to", 0, CLI_STRING, &r.to, "DIR", "the directory to create; must not exist, or be empty"},
        {"merge", 0, CLI_FLAG, &r.merge, NULL, "add the adapter to the weights of the base, for a complete model"},
        {"base", 0, CLI_STRING, &r.base, "DIR", "where the base model is; found by its digest otherwise"},
        {"allow-pickle", 0, CLI_FLAG, &r.allow_pickle, NULL,
         "load a base whose weights are pickles, which can run any program: only for files that you made"},
        {"backend", 0, CLI_STRING, &r.backend, "NAME", "merge with this backend's Python runtime"},
    };
    const cli_syntax syntax = {
        .command = "kolm export",
        .words = "FILE.kolm",
        .summary = "Writes a model for other programs. Of a fine-tuned model it writes the adapter in PEFT's format, "
                   "which vLLM and the\nconverter of llama.cpp read, too, or with --merge a directory that "
                   "transformers loads by itself; of a model on a sentence\nencoder a directory that "
                   "sentence-transformers loads, with predict.py, which gives the same answers as kolm.",
        CLI_ROWS(options),
        .min_words = 1,
        .max_words = 2, /* so that the error can say what the second was meant for */
        .word_count_out = &word_count,
    };
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    if (word_count == 2 && r.to == NULL)
        return cli_usage_error(context, syntax.command,
                               "name the directory to create with --to: kolm export %s --to %s", cli_safe(argv[0]),
                               cli_safe(argv[1]));
    if (word_count == 2)
        return cli_usage_error(context, syntax.command, "one FILE.kolm at a time: unexpected word '%s'",
                               cli_safe(argv[1]));
    if (r.to == NULL) return cli_usage_error(context, syntax.command, "--to is missing: the directory to create");
    r.model = argv[0];
    kolm_error_t err = KIT_ERROR_INIT;
    session_reason reason = SESSION_REASON_NONE;
    export_kind kind = EXPORT_ADAPTER;
    if (model_export(&context->session, &r, &kind, &reason, &err) != KOLM_OK) return cli_fail(context, reason, &err);
    return print_made(context, &r, kind);
}
