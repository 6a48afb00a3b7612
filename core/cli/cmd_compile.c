/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compile: data in, a signed model out. The whole story in the order in which it happens. */
#include "cli/cli.h"
#include "compile/compile.h"
#include "cli/output.h"
#include "kolm/kit/process.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int check_given(const compile *c, const char *command) {
    const compile_request *r = &c->request;
    if (r->task == NULL)
        return cli_usage_error(c->context, command, "--task (-t) is missing: the name of the model to make");
    if (r->data.count == 0)
        return cli_usage_error(c->context, command, "--data (-d) is missing: the rows to learn from");
    if (cli_data_stdin_twice(&r->data, &r->eval))
        return cli_usage_error(c->context, command,
                               "standard input (-) is given twice and can be read once: put one of them into a file");
    return -1;
}

/* What follows the options in help: the recipes are those of the backends that are here. */
static const char *help_notes(const compile *c, int argc, char **argv, kit_buf *text) {
    bool wanted = false;
    for (int i = 1; i < argc; i++)
        wanted = wanted || strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
    kit_buf_str(text, "A row is {\"input\": \"...\", \"output\": \"...\"}. Below a gate no artifact is written: "
                      "NAME-VERSION.failed says why, and the\nexit code is 4.");
    if (wanted) cli_recipes_text(c->context, text);
    return kit_buf_text(text);
}

static int parse(compile *c, int argc, char **argv) {
    kit_buf notes = {0};
    compile_request *r = &c->request;
    const cli_option options[] = {
        {"task", 't', CLI_STRING, &r->task, "NAME", "name of the model to make"},
        {"data", 'd', CLI_WORDS, &r->data, "FILE",
         "rows to learn from: JSON lines, CSV or TSV; - for standard input; may be given again"},
        {"eval", 0, CLI_WORDS, &r->eval, "FILE",
         "rows to measure on, otherwise a fifth of the data is held out; may be given again"},
        {"out", 'o', CLI_STRING, &r->out, "PATH", "directory for the artifact, or its file name ending in .kolm"},
        {"version", 0, CLI_STRING, &r->version, "VERSION", "version of the model (1.0.0)"},
        {"backend", 0, CLI_STRING, &r->backend, "NAME", "use this backend or none"},
        {"recipe", 0, CLI_STRING, &r->recipe, "RECIPE", "auto, linear, lora, or another that a backend makes (auto)"},
        {"base", 0, CLI_STRING, &r->base, "MODEL",
         "base model of the lora recipe: a directory, or a name in the local cache"},
        {"embed-base", 0, CLI_FLAG, &r->embed_base, NULL,
         "put the base into the artifact, which then answers anywhere"},
        {"set", 0, CLI_WORDS, &r->set, "NAME=VALUE",
         "option of the recipe, such as rank=8 or epochs=5; may be given again"},
        {"gate", 0, CLI_FRACTION, &r->gate, "K", "K-score that the model must reach (0.85)"},
        {"min-accuracy", 0, CLI_FRACTION, &r->min_accuracy, "A", "accuracy that the model must reach (0.80)"},
        {"allow-baseline", 0, CLI_FLAG, &r->allow_baseline, NULL,
         "ship although always giving one answer may be as good"},
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
        {"no-header", 0, CLI_FLAG, &r->no_header, NULL, "tables begin with a row: columns are called 1, 2, ..."},
        {"airgap", 0, CLI_AIRGAP, &r->airgap, NULL,
         "no network for anything that runs, enforced (strict) or only asked for"},
        {"allow-private-remote", 0, CLI_FLAG, &r->allow_private_remote, NULL,
         "with --airgap: a box of yours on a private address may be used"},
        {"budget", 0, CLI_USD, &r->budget, "USD", "dollars for the job: refuse one that is quoted above this"},
        {"max-price", 0, CLI_USD, &r->max_price, "USD_PER_HOUR", "only backends that cost at most this an hour"},
        {"min-vram", 0, CLI_GB, &r->min_vram, "GB", "only backends with this much accelerator memory"},
        {"max-tier", 0, CLI_TIER, &r->max_tier, "N", "only backends of this tier or a lower one"},
        {"exclude", 0, CLI_LIST, &r->exclude, "NAME", "never this backend; may be given again"},
        {"embed-eval", 0, CLI_FLAG, &r->embed_eval, NULL, "put the held-out rows into the artifact"},
        {"force", 'f', CLI_FLAG, &r->force, NULL, "replace an artifact of the same name"},
        {"keep-job", 0, CLI_FLAG, &r->keep_job, NULL,
         "leave the job directory behind and say where it is: kolm job run does it again"},
        {"quiet", 'q', CLI_FLAG, &r->quiet, NULL, "print the score, the artifact and errors only"},
    };
    const cli_syntax syntax = {
        .command = "kolm compile",
        .words = "",
        .summary = "Trains a model from examples, scores it, and signs it when it is good enough.",
        .notes = help_notes(c, argc, argv, &notes),
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int exit_code = cli_options_parse(c->context, &syntax, argc, argv);
    kit_buf_free(&notes);
    return exit_code >= 0 ? exit_code : check_given(c, syntax.command);
}

static kit_status run(compile *c, bool *out_ships, kolm_error_t *err) {
    KIT_TRY(compile_check_request(c, err));
    KIT_TRY(compile_prepare_data(c, err));
    KIT_TRY(compile_choose(c, err));
    KIT_TRY(compile_train(c, err));
    KIT_TRY(compile_answer(c, err));
    KIT_TRY(compile_score(c, err));
    *out_ships = score_ships(&c->k, c->answers, &c->gates);
    return *out_ships ? compile_ship(c, err) : compile_write_failed(c, err);
}

static int finish(compile *c, bool ships) {
    if (c->context->json)
        return cli_print_json(c->context, compile_record(c, ships), ships ? CLI_EXIT_OK : CLI_EXIT_GATE);
    if (ships) {
        compile_print_shipped(c);
        return CLI_EXIT_OK;
    }
    cli_print(c->context,
              "[failed]      %s  nothing was shipped; the report, the answers and the confusions are there\n",
              cli_safe(c->failed_path));
    cli_print(c->context, "[failed]      what to try: %s\n", compile_advice(c));
    return CLI_EXIT_GATE;
}

static void clean_up(compile *c) {
    kolm_error_t err = KIT_ERROR_INIT;
    bool keep = c->request.keep_job && c->job.path != NULL;
    if (keep && job_directory_keep(&c->job, &err) != KOLM_OK)
        cli_warn(c->context, "%s", cli_safe(err.text));
    else if (keep && !c->context->json) {
        cli_print(c->context, "[job]         %s\n", cli_safe(c->job.path));
        if (c->choice) /* on its own `job run` takes the best that is here, which need not be the same */
            cli_print(c->context, "[job]         again: kolm job run --backend %s DIR\n", c->choice->backend->name);
    }
    job_directory_close(&c->job, keep);
    for (size_t i = 0; i < c->payload_count; i++) {
        free(c->payload[i].name);
        free(c->payload[i].path);
    }
    free(c->payload);
    score_answers_free(c->answers);
    cJSON_Delete(c->result);
    cJSON_Delete(c->reported);
    cli_choice_free(c->choice);
    job_common_free(&c->data.common);
    if (c->data.heldout_fd >= 0) close(c->data.heldout_fd);
    cli_data_close(&c->data_files);
    cli_data_close(&c->eval_files);
    cli_list_free(&c->request.data);
    cli_list_free(&c->request.eval);
    cli_list_free(&c->request.exclude);
    cli_list_free(&c->request.set);
    job_base_free(&c->base);
    cJSON_Delete(c->trainer);
    free(c->out_path);
    free(c->sidecar_path);
    free(c->failed_path);
    free(c->chain_path);
    free(c->keys_dir);
    free(c);
}

int cli_cmd_compile(cli_context *context, int argc, char **argv) {
    compile *c = calloc(1, sizeof *c);
    kolm_error_t err = KIT_ERROR_INIT;
    if (c == NULL) {
        err.code =
            kit_fail(&err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit", "out of memory");
        return cli_error(context, CLI_EXIT_INTERNAL, &err);
    }
    c->context = context;
    c->job.lock_fd = -1;
    c->data.heldout_fd = -1;
    c->quoted_micro = RECEIPT_UNKNOWN;
    c->started_at = (int64_t)time(NULL);
    c->started_ms = kit_now_ms();
    c->request = (compile_request){.version = "1.0.0", .recipe = "auto", .effort = "normal", .class_weight = "none",
                                   .contradictions = "majority"};
    int exit_code = parse(c, argc, argv);
    if (exit_code < 0) {
        bool ships = false;
        kit_status status = run(c, &ships, &err);
        if (status == KOLM_OK) {
            exit_code = finish(c, ships);
        } else {
            job_directory_mend_error(&c->job, c->request.keep_job, &err);
            exit_code = cli_error(
                context, status == KOLM_E_CANCELLED || cli_interrupted() ? CLI_EXIT_INTERRUPTED : c->exit_code, &err);
        }
    }
    clean_up(c);
    return exit_code;
}
