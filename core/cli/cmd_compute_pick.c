/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute pick: chooses a backend under constraints, explains it, records it, replays a record. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/pick_text.h"
#include "fleet/picked.h"
#include "fleet/reap.h"

typedef struct pick_options {
    fleet_pick_request ask;
    session_number budget;
    bool explain;
    const char *replay;
} pick_options;

static int parse(cli_context *context, pick_options *o, int argc, char **argv) {
    const cli_option options[] = {
        {"recipe", 0, CLI_STRING, &o->ask.recipe, "NAME",
         "only backends that make this recipe: linear, lora or a backend's own"},
        {"infer", 0, CLI_FLAG, &o->ask.infer, NULL, "pick a backend for inference instead of training"},
        {"airgap", 0, CLI_AIRGAP, &o->ask.airgap, NULL,
         "only backends that need no network; detection runs without it (strict)"},
        {"allow-private-remote", 0, CLI_FLAG, &o->ask.allow_private_remote, NULL,
         "under --airgap, also a self-hosted target on a private address"},
        {"min-vram", 0, CLI_GB, &o->ask.min_vram, "GB", "at least this much accelerator memory"},
        {"max-price", 0, CLI_USD, &o->ask.max_price, "USD_PER_HOUR", "at most this many dollars an hour"},
        {"budget", 0, CLI_USD, &o->budget, "USD", "the old name of --max-price; in compile it is dollars for the job"},
        {"max-tier", 0, CLI_TIER, &o->ask.max_tier, "N", "only backends of tier N or lower"},
        {"exclude", 0, CLI_LIST, &o->ask.exclude, "NAME", "not this one; may be repeated, or given as A,B"},
        {"explain", 0, CLI_FLAG, &o->explain, NULL, "show the five terms and what would flip the choice"},
        {"replay", 0, CLI_STRING, &o->replay, "FILE", "repeat a recorded pick, and compare the results"},
        {"refresh", 0, CLI_FLAG, &o->ask.refresh, NULL, "detect again and ignore the cache"},
    };
    const cli_syntax syntax = {
        .command = "kolm compute pick",
        .words = "",
        .summary = "Chooses a backend, and says why.",
        .notes = "S = 0.35 available + 0.20 cost_inv + 0.15 latency_inv + 0.15 repro + 0.15 perf\nExit code 3 if "
                 "nothing available passes; 7 if a replay differs.",
        CLI_ROWS(options),
    };
    int result = cli_options_parse(context, &syntax, argc, argv);
    if (result >= 0) return result;
    bool filters = o->ask.infer || o->ask.recipe || o->ask.airgap || o->ask.allow_private_remote ||
                   o->ask.min_vram.set || o->budget.set || o->ask.max_price.set || o->ask.max_tier.set ||
                   o->ask.exclude.count || o->ask.refresh;
    if (o->replay && filters) {
        return cli_usage_error(context, syntax.command,
                               "--replay takes its constraints from the record; pass no others");
    }
    if (!o->budget.set) return -1;
    if (o->ask.max_price.set)
        return cli_usage_error(context, syntax.command, "--budget is the old name of --max-price: use one of them");
    cli_warn(context,
             "--budget of this command means dollars an hour: write --max-price; elsewhere --budget is dollars "
             "for a job");
    o->ask.max_price = o->budget;
    return -1;
}

/* The formula ranks all backends; if the winner cannot be used, this prints the one that would be. */
static kit_status note_detect_only(cli_context *context, const fleet_picked *picked, kolm_error_t *err) {
    const char *lacks = NULL, *used = NULL;
    const pick_result *result = picked->result;
    KIT_TRY(fleet_pick_used(picked, &lacks, &used, err));
    if (lacks)
        cli_print(context, "note:    %s %s in this version; %s would %s%s\n",
                  result->candidates[result->winner->candidate].name, lacks,
                  picked->constraints.infer ? "kolm run" : "kolm compile", used ? "use " : "find nothing to use",
                  used ? used : "");
    return KOLM_OK;
}

/* Prints the answer in the requested form; returns 0, or 3 if none was picked. */
static int answer(cli_context *context, fleet_picked *picked, bool explain) {
    const pick_result *result = picked->result;
    int exit_code = result->winner ? CLI_EXIT_OK : CLI_EXIT_NOTHING;
    kolm_error_t err = KIT_ERROR_INIT;
    if (context->json) {
        exit_code = cli_print_json(context, picked->record, exit_code);
        picked->record = NULL;
    } else {
        cli_pick_print(context, result);
        if (note_detect_only(context, picked, &err) != KOLM_OK) exit_code = cli_error(context, CLI_EXIT_INTERNAL, &err);
        if (explain) cli_pick_explain(context, result);
    }
    if (!result->winner && pick_nothing(result, &err) != KOLM_OK) {
        bool json = context->json;
        context->json = false; /* the record is the document; this is a remark on it */
        exit_code = cli_error(context, exit_code, &err);
        context->json = json;
    }
    return exit_code;
}

static int run(cli_context *context, pick_options *o) {
    kolm_error_t err = KIT_ERROR_INIT;
    session_reason reason = SESSION_REASON_NONE;
    fleet_picked picked;
    o->ask.record = context->json;
    if (!o->replay) fleet_reap_start(&context->session, o->ask.airgap);
    kit_status status = o->replay ? fleet_pick_replay(o->replay, &picked, &reason, &err)
                                  : fleet_pick(&context->session, &o->ask, &picked, &reason, &err);
    int exit_code = status == KOLM_OK ? answer(context, &picked, o->explain) : cli_fail(context, reason, &err);
    fleet_picked_free(&picked);
    return exit_code;
}

int cli_compute_pick(cli_context *context, int argc, char **argv) {
    pick_options o = {0};
    int result = parse(context, &o, argc, argv);
    if (result < 0) result = run(context, &o);
    cli_list_free(&o.ask.exclude);
    return result;
}
