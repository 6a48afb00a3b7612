/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compile: its options, and how it ended. compile/compile.c has the steps. */
#include "cli/cli.h"
#include "cli/compile_text.h"
#include "cli/options.h"
#include "cli/output.h"
#include "compile/compile.h"
#include "fleet/reap.h"

#include <string.h>

#define COMMAND "kolm compile"

static int check_given(cli_context *context, const compile *c) {
    const compile_request *r = &c->request;
    if (r->task == NULL)
        return cli_usage_error(context, COMMAND, "--task (-t) is missing: the name of the model to make");
    if (r->data.count == 0) return cli_usage_error(context, COMMAND, "--data (-d) is missing: the rows to learn from");
    if (compile_data_stdin_twice(&r->data, &r->eval))
        return cli_usage_error(
            context, COMMAND,
            "standard input (-) is given twice, but can be read only once: put one of them into a file");
    return -1;
}

/* Text after the options in help: the recipes of the installed backends. */
static const char *help_notes(cli_context *context, int argc, char **argv, kit_buf *text) {
    bool wanted = false;
    for (int i = 1; i < argc; i++)
        wanted = wanted || strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
    kit_buf_str(text, "A row is {\"input\": \"...\", \"output\": \"...\"}. Below a gate no artifact is written: "
                      "NAME-VERSION.failed says why, and the\nexit code is 4.");
    if (wanted) fleet_recipes_text(&context->session, text);
    return kit_buf_text(text);
}

static int parse_options(cli_context *context, compile_request *r, const char *notes, int argc, char **argv) {
    const cli_option options[] = {
        {"task", 't', CLI_STRING, &r->task, "NAME", "name of the model to make"},
        {"data", 'd', CLI_WORDS, &r->data, "FILE",
         "rows to learn from: JSON lines, CSV or TSV; - for standard input; may be repeated"},
        {"eval", 0, CLI_WORDS, &r->eval, "FILE",
         "rows to measure on, otherwise a fifth of the data is held out; may be repeated"},
        {"out", 'o', CLI_STRING, &r->out, "PATH", "directory for the artifact, or its file name ending in .kolm"},
        {"version", 0, CLI_STRING, &r->version, "VERSION", "version of the model (1.0.0)"},
        {"backend", 0, CLI_STRING, &r->backend, "NAME", "use this backend or fail"},
        {"recipe", 0, CLI_STRING, &r->recipe, "RECIPE",
         "auto, linear, encoder, lora, or another that a backend makes (auto)"},
        {"base", 0, CLI_STRING, &r->base, "MODEL",
         "sentence encoder to learn on, or language model to fine-tune: a directory, or a name in the local cache"},
        {"embed-base", 0, CLI_FLAG, &r->embed_base, NULL,
         "put the base into the artifact, which then answers anywhere"},
        {"set", 0, CLI_WORDS, &r->set, "NAME=VALUE",
         "option of the recipe, such as rank=8 or epochs=5; may be repeated"},
        {"gate", 0, CLI_FRACTION, &r->gate, "K", "K-score that the model must reach (0.85)"},
        {"min-accuracy", 0, CLI_FRACTION, &r->min_accuracy, "A", "accuracy that the model must reach (0.80)"},
        {"allow-baseline", 0, CLI_FLAG, &r->allow_baseline, NULL,
         "ship even if always giving the same answer may be as good"},
        {"class-weight", 0, CLI_STRING, &r->class_weight, "WEIGHT",
         "none, or balanced: each label counts as much as any other, however rare (none)"},
        {"effort", 0, CLI_STRING, &r->effort, "EFFORT", "quick, normal or high (normal)"},
        {"abstain", 0, CLI_FRACTION, &r->abstain, "P", "withhold answers below this confidence"},
        {"target-accuracy", 0, CLI_FRACTION, &r->target_accuracy, "A",
         "withhold just enough answers to reach this accuracy"},
        {"seed", 0, CLI_U64, &r->seed, "N", "seed of every random choice (0)"},
        {"threads", 0, CLI_U64, &r->threads, "N", "processors to use; the result does not depend on it"},
        {"skip-bad", 0, CLI_FLAG, &r->skip_bad, NULL, "count bad rows instead of stopping at the first"},
        {"contradictions", 0, CLI_STRING, &r->contradictions, "RULE",
         "the same input with several outputs: majority, drop, keep or error (majority)"},
        {"input-col", 0, CLI_STRING, &r->input_col, "NAME", "column or key of the input; several as A,B are joined"},
        {"output-col", 0, CLI_STRING, &r->output_col, "NAME", "column or key of the output"},
        {"no-header", 0, CLI_FLAG, &r->no_header, NULL, "tables have no header: columns are called 1, 2, ..."},
        {"airgap", 0, CLI_AIRGAP, &r->airgap, NULL,
         "no network for anything that runs, enforced (strict) or only requested"},
        {"allow-private-remote", 0, CLI_FLAG, &r->allow_private_remote, NULL,
         "with --airgap: your own machine on a private address may be used"},
        {"budget", 0, CLI_USD, &r->budget, "USD", "dollars for the job: refuse one that is quoted above this"},
        {"max-price", 0, CLI_USD, &r->max_price, "USD_PER_HOUR", "only backends that cost at most this an hour"},
        {"min-vram", 0, CLI_GB, &r->min_vram, "GB", "only backends with this much accelerator memory"},
        {"max-tier", 0, CLI_TIER, &r->max_tier, "N", "only backends of this tier or a lower one"},
        {"exclude", 0, CLI_LIST, &r->exclude, "NAME", "not this backend; may be repeated"},
        {"embed-eval", 0, CLI_FLAG, &r->embed_eval, NULL, "put the held-out rows into the artifact"},
        {"force", 'f', CLI_FLAG, &r->force, NULL, "replace an artifact of the same name"},
        {"keep-job", 0, CLI_FLAG, &r->keep_job, NULL,
         "keep the job directory and print its path: kolm job run runs it again"},
        {"quiet", 'q', CLI_FLAG, &context->quiet, NULL, "print the score, the artifact and errors only"},
    };
    const cli_syntax syntax = {
        .command = COMMAND,
        .words = "",
        .summary = "Trains a model from examples, scores it, and signs it if it is good enough.",
        .notes = notes,
        CLI_ROWS(options),
    };
    return cli_options_parse(context, &syntax, argc, argv);
}

static int parse(cli_context *context, compile *c, int argc, char **argv) {
    kit_buf notes = {0};
    int exit_code = parse_options(context, &c->request, help_notes(context, argc, argv, &notes), argc, argv);
    kit_buf_free(&notes);
    return exit_code >= 0 ? exit_code : check_given(context, c);
}

/* Prints the path of the job directory that was kept. */
static void keep_job(cli_context *context, compile *c) {
    kolm_error_t err = KIT_ERROR_INIT;
    if (!c->request.keep_job || c->job.path == NULL) return;
    if (job_directory_keep(&c->job, &err) != KOLM_OK) {
        cli_warn(context, "%s", cli_safe(err.text));
    } else if (!context->json) {
        cli_print(context, "[job]         %s\n", cli_safe(c->job.path));
        if (c->choice) /* `job run` alone picks the best backend, which may be another one */
            cli_print(context, "[job]         again: kolm job run --backend %s DIR\n", c->choice->backend->name);
    }
}

static int run(cli_context *context, compile *c) {
    kolm_error_t err = KIT_ERROR_INIT;
    bool ships = false;
    if (compile_run(c, &ships, &err) != KOLM_OK) {
        if (!context->json) cli_compile_rented(context, c); /* it costs money nevertheless */
        return cli_fail(context, c->reason, &err);
    }
    const int exit_code = cli_exit_of(c->reason);
    return context->json ? cli_print_json(context, compile_record(c, ships), exit_code) : exit_code;
}

int cli_cmd_compile(cli_context *context, int argc, char **argv) {
    compile *c = NULL;
    kolm_error_t err = KIT_ERROR_INIT;
    if (compile_new(&context->session, &c, &err) != KOLM_OK) return cli_error(context, CLI_EXIT_INTERNAL, &err);
    int exit_code = parse(context, c, argc, argv);
    if (exit_code < 0) {
        fleet_reap_start(&context->session, c->request.airgap);
        exit_code = run(context, c);
    }
    keep_job(context, c);
    cli_list_free(&c->request.data);
    cli_list_free(&c->request.eval);
    cli_list_free(&c->request.exclude);
    cli_list_free(&c->request.set);
    compile_free(c);
    return exit_code;
}
