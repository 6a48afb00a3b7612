/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute pick: chooses a backend under constraints, explains it, records it, replays a record. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/pick_text.h"
#include "fleet/reap.h"
#include "fleet/registry.h"

#include <stdlib.h>
#include <string.h>

#define RECORD_MAX (16u << 20)

typedef struct pick_options {
    const char *recipe;
    bool infer, allow_private_remote, explain, refresh;
    session_airgap airgap;
    session_number min_vram, max_price, budget, max_tier;
    session_words exclude;
    const char *replay;
} pick_options;

static int parse(cli_context *context, pick_options *o, int argc, char **argv) {
    const cli_option options[] = {
        {"recipe", 0, CLI_STRING, &o->recipe, "NAME",
         "only who makes this recipe: linear, lora or one of a backend's own"},
        {"infer", 0, CLI_FLAG, &o->infer, NULL, "pick a place to answer rather than to train"},
        {"airgap", 0, CLI_AIRGAP, &o->airgap, NULL,
         "only backends that need no network; detection is kept from it (strict)"},
        {"allow-private-remote", 0, CLI_FLAG, &o->allow_private_remote, NULL,
         "under --airgap, also a self-hosted target on a private address"},
        {"min-vram", 0, CLI_GB, &o->min_vram, "GB", "at least this much accelerator memory"},
        {"max-price", 0, CLI_USD, &o->max_price, "USD_PER_HOUR", "at most this many dollars an hour"},
        {"budget", 0, CLI_USD, &o->budget, "USD", "the old name of --max-price; in compile it is dollars for the job"},
        {"max-tier", 0, CLI_TIER, &o->max_tier, "N", "only backends of tier N or lower"},
        {"exclude", 0, CLI_LIST, &o->exclude, "NAME", "not this one; may be given again, or as A,B"},
        {"explain", 0, CLI_FLAG, &o->explain, NULL, "show the five terms and what would flip the choice"},
        {"replay", 0, CLI_STRING, &o->replay, "FILE", "ask the question of a record again, and compare the answers"},
        {"refresh", 0, CLI_FLAG, &o->refresh, NULL, "detect again rather than believe the cache"},
    };
    const cli_syntax syntax = {
        .command = "kolm compute pick",
        .words = "",
        .summary = "Chooses a backend, and says why.",
        .notes = "S = 0.35 available + 0.20 cost_inv + 0.15 latency_inv + 0.15 repro + 0.15 perf\n"
                 "Exit code 3 when nothing available passes; 7 when a replay differs.",
        CLI_ROWS(options),
    };
    int result = cli_options_parse(context, &syntax, argc, argv);
    if (result >= 0) return result;
    bool filters = o->infer || o->recipe || o->airgap || o->allow_private_remote || o->min_vram.set || o->budget.set ||
                   o->max_price.set || o->max_tier.set || o->exclude.count || o->refresh;
    if (o->replay && filters) {
        return cli_usage_error(context, syntax.command,
                               "--replay takes its constraints from the record; give no others");
    }
    if (!o->budget.set) return -1;
    if (o->max_price.set)
        return cli_usage_error(context, syntax.command, "--budget is the old name of --max-price: give one of them");
    cli_warn(context,
             "--budget of this command means dollars an hour: write --max-price; elsewhere --budget is dollars "
             "for a job");
    o->max_price = o->budget;
    return -1;
}

static void constraints_of(const pick_options *o, pick_constraints *k) {
    *k = (pick_constraints){
        .infer = o->infer,
        .need_answers = !o->infer,
        .recipe = o->recipe,
        .airgap = o->airgap != SESSION_AIRGAP_OFF,
        .allow_private_remote = o->allow_private_remote,
        .has_min_vram = o->min_vram.set,
        .min_vram_bytes = o->min_vram.value * 1000,
        .has_budget = o->max_price.set,
        .budget_micro_usd_per_hour = o->max_price.value,
        .has_max_tier = o->max_tier.set,
        .max_tier = (uint32_t)o->max_tier.value,
        .exclude = (const char *const *)o->exclude.items,
        .exclude_count = o->exclude.count,
    };
}

/* The formula ranks places; a place that this version cannot use yet may win. Then who would really be used is said. */
static kit_status note_detect_only(cli_context *context, const pick_result *result, const pick_constraints *constraints,
                                   kolm_error_t *err) {
    if (!result->winner) return KOLM_OK;
    const pick_candidate *winner = &result->candidates[result->winner->candidate];
    bool trains = winner->train_slot != PICK_SLOT_MISSING, answers = winner->infer_slot != PICK_SLOT_MISSING;
    if (answers && (constraints->infer || trains)) return KOLM_OK;
    pick_constraints dispatch = *constraints;
    pick_result *usable = NULL;
    dispatch.need_slot = true;
    KIT_TRY(pick_run(result->candidates, result->count, &dispatch, &usable, err));
    const char *verb = constraints->infer ? "kolm run" : "kolm compile";
    const char *what = !constraints->infer && trains ? "cannot answer" : "is detect only";
    cli_print(context, "note:    %s %s in this version; %s would %s%s\n", winner->name, what, verb,
              usable->winner ? "use " : "find nothing to use",
              usable->winner ? usable->candidates[usable->winner->candidate].name : "");
    pick_result_free(usable);
    return KOLM_OK;
}

/* Prints the answer in the asked form; 0, or 3 when nobody was picked. record is taken. */
static int answer(cli_context *context, const pick_result *result, const pick_constraints *constraints,
                  const pick_options *o, cJSON *record) {
    int exit_code = result->winner ? CLI_EXIT_OK : CLI_EXIT_NOTHING;
    kolm_error_t err = KIT_ERROR_INIT;
    if (context->json) {
        exit_code = cli_print_json(context, record, exit_code);
    } else {
        cli_pick_print(context, result);
        if (note_detect_only(context, result, constraints, &err) != KOLM_OK)
            exit_code = cli_error(context, CLI_EXIT_INTERNAL, &err);
        if (o->explain) cli_pick_explain(context, result);
        cJSON_Delete(record);
    }
    if (!result->winner && pick_nothing(result, &err) != KOLM_OK) {
        bool json = context->json;
        context->json = false; /* the record is the document; this is the sentence beside it */
        exit_code = cli_error(context, exit_code, &err);
        context->json = json;
    }
    return exit_code;
}

static int fresh(cli_context *context, const pick_options *o) {
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_registry *registry = NULL;
    pick_candidate *candidates = NULL;
    pick_result *result = NULL;
    pick_constraints constraints;
    cJSON *record = NULL;
    session_reason reason = SESSION_REASON_NONE;
    int exit_code;
    fleet_detect_options detect = {.refresh = o->refresh,
                                   .airgap = o->airgap != SESSION_AIRGAP_OFF,
                                   .airgap_strict = o->airgap == SESSION_AIRGAP_STRICT,
                                   .allow_private_remote = o->allow_private_remote};
    constraints_of(o, &constraints);
    fleet_reap_start(&context->session, o->airgap);
    kit_status status = fleet_registry_open(&context->session, &registry, &err);
    for (size_t i = 0; status == KOLM_OK && i < o->exclude.count; i++) {
        if (fleet_registry_find(registry, o->exclude.items[i])) continue;
        status = fleet_registry_unknown(registry, o->exclude.items[i], &err);
        reason = SESSION_REASON_USAGE;
    }
    if (status == KOLM_OK) status = fleet_registry_detect(&context->session, registry, &detect, &err);
    if (status == KOLM_OK) status = fleet_registry_candidates(registry, &candidates, &err);
    if (status == KOLM_OK) status = pick_run(candidates, registry->count, &constraints, &result, &err);
    if (status == KOLM_OK) status = pick_record(result, &constraints, &record, &err);
    if (status == KOLM_OK)
        exit_code = answer(context, result, &constraints, o, record);
    else
        exit_code = cli_fail(context, reason, &err);
    pick_result_free(result);
    fleet_candidates_free(candidates);
    fleet_registry_free(registry);
    return exit_code;
}

static int replay(cli_context *context, const pick_options *o) {
    kolm_error_t err = KIT_ERROR_INIT;
    cJSON *recorded = NULL, *again = NULL;
    pick_question *question = NULL;
    pick_result *result = NULL;
    int exit_code;
    kit_status status = kit_json_read(o->replay, RECORD_MAX, &recorded, &err);
    if (status == KOLM_OK) status = pick_question_read(recorded, &question, &err);
    if (status == KOLM_OK)
        status = pick_run(question->candidates, question->count, &question->constraints, &result, &err);
    if (status == KOLM_OK) status = pick_record(result, &question->constraints, &again, &err);
    if (status != KOLM_OK) {
        exit_code = cli_fail(context, SESSION_REASON_NONE, &err);
    } else {
        status = pick_records_agree(recorded, again, &err);
        exit_code =
            status == KOLM_OK
                ? answer(context, result, &question->constraints, o, again)
                : cli_error(context, status == KOLM_E_RESOURCE_EXHAUSTED ? CLI_EXIT_INTERNAL : CLI_EXIT_VERIFY, &err);
        if (status != KOLM_OK) cJSON_Delete(again);
    }
    pick_result_free(result);
    pick_question_free(question);
    cJSON_Delete(recorded);
    return exit_code;
}

int cli_compute_pick(cli_context *context, int argc, char **argv) {
    pick_options o = {0};
    int result = parse(context, &o, argc, argv);
    if (result < 0) result = o.replay ? replay(context, &o) : fresh(context, &o);
    cli_list_free(&o.exclude);
    return result;
}
