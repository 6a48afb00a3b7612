/* SPDX-License-Identifier: Apache-2.0 */
/* Decides which backend does a job, and refuses rather than replace one that a person named. */
#include "cli/choose.h"
#include "cli/cli.h"
#include "cli/grants.h"
#include "cli/output.h"
#include "cli/pick_text.h"

#include <stdlib.h>
#include <string.h>

kit_status cli_default_backend(cli_context *context, const char **out_name, cli_chosen_by *out_by, kolm_error_t *err) {
    const cJSON *config = NULL;
    const char *name = secure_getenv("KOLM_BACKEND");
    *out_by = CLI_BY_ENVIRONMENT;
    *out_name = NULL;
    if (name && *name) {
        *out_name = name;
        return KOLM_OK;
    }
    KIT_TRY(cli_config(context, &config, err));
    *out_by = CLI_BY_PICKER;
    if (cJSON_IsNull(kit_json_get(config, "backend")) || !kit_json_get(config, "backend")) return KOLM_OK;
    if (!kit_json_get_string(config, "backend", out_name)) {
        return kit_fail(err, KOLM_E_DATA_LOSS, "`kolm compute use NAME` sets it, `kolm compute use --clear` removes it",
                        "\"backend\" in config.json is not a string");
    }
    *out_by = CLI_BY_CONFIG;
    return KOLM_OK;
}

static kit_status who(cli_context *context, const cli_choose_options *options, const char **out_name,
                      cli_chosen_by *out_by, kolm_error_t *err) {
    if (options->backend) {
        *out_name = options->backend;
        *out_by = CLI_BY_FLAG;
        return KOLM_OK;
    }
    *out_by = CLI_BY_PICKER;
    if (options->picker_only) return KOLM_OK;
    return cli_default_backend(context, out_name, out_by, err);
}

static const pick_entry *entry_of(const pick_result *result, const char *name) {
    for (size_t i = 0; i < result->count; i++) {
        if (strcmp(result->candidates[result->entries[i].candidate].name, name) == 0) return &result->entries[i];
    }
    return NULL;
}

static void say(cli_choice *choice) {
    static const char *const names[] = {"flag", "env", "config", "picker", "model"};
    char score[8];
    const char *name = choice->backend->name;
    choice->by_name = names[choice->by];
    switch (choice->by) {
    case CLI_BY_FLAG:
        kit_format(choice->said, sizeof choice->said, "%s (flag: --backend %s)", name, name);
        break;
    case CLI_BY_ENVIRONMENT:
        kit_format(choice->said, sizeof choice->said, "%s (env: KOLM_BACKEND=%s)", name, name);
        break;
    case CLI_BY_CONFIG:
        kit_format(choice->said, sizeof choice->said, "%s (config: kolm compute use %s)", name, name);
        break;
    case CLI_BY_MODEL:
        kit_format(choice->said, sizeof choice->said, "%s (made the model)", name);
        break;
    default:
        pick_score_text(choice->score, score);
        kit_format(choice->said, sizeof choice->said, "%s (picked: score %s)", name, score);
        break;
    }
}

/* A named backend: it passes every filter and is available, or the error says which it does not. */
static kit_status check_named(const pick_result *result, const pick_entry *entry, cli_chosen_by by, int *out_exit,
                              kolm_error_t *err) {
    static const char *const where[] = {"--backend", "KOLM_BACKEND", "kolm compute use", "", ""};
    const pick_candidate *c = &result->candidates[entry->candidate];
    if (!entry->eligible) {
        bool refused = c->refused != NULL;
        *out_exit = refused ? CLI_EXIT_NOTHING : CLI_EXIT_BACKEND;
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "name another backend, or loosen the filter; kolm does not replace a backend that you named",
                        "%s (named by %s) cannot do this: %s", c->name, where[by], entry->reasons[0].text);
    }
    if (!c->available) {
        *out_exit = CLI_EXIT_NOTHING;
        char state[64];
        pick_state_text(c, state, sizeof state);
        const char *remedy = c->remedy && *c->remedy ? c->remedy : "name another backend, or let the picker choose";
        return kit_fail(err, KOLM_E_UNAVAILABLE, remedy, "%s (named by %s) is not available (%s): %s", c->name,
                        where[by], state, c->reason && *c->reason ? c->reason : "nothing more is known");
    }
    return KOLM_OK;
}

/* Who made a model knows its format; the defaults of the user are about where to train. Only a local maker, though:
 * what was made elsewhere is answered here, without a network, unless elsewhere is named. */
static const char *maker_of(const pick_result *result, const cli_choose_options *options) {
    const pick_entry *entry = options->backend || !options->maker ? NULL : entry_of(result, options->maker);
    const pick_candidate *c = entry ? &result->candidates[entry->candidate] : NULL;
    bool usable = entry && entry->eligible && c->available && strcmp(c->kind, "local") == 0;
    return usable ? options->maker : NULL;
}

static kit_status decide(cli_choice *choice, const char *name, const pick_result *result, int *out_exit,
                         kolm_error_t *err) {
    const pick_entry *entry = name ? entry_of(result, name) : result->winner;
    if (!entry) {
        *out_exit = CLI_EXIT_NOTHING;
        return cli_pick_nothing(result, err);
    }
    choice->backend = cli_registry_find(choice->registry, result->candidates[entry->candidate].name);
    if (name && choice->backend->bad_settings) return cli_backend_refuse(choice->backend, out_exit, err);
    if (name) KIT_TRY(check_named(result, entry, choice->by, out_exit, err));
    choice->score = entry->score;
    say(choice);
    return KOLM_OK;
}

typedef struct ranking {
    pick_candidate *candidates;
    pick_result *result; /* points into candidates */
} ranking;

static void ranking_clear(ranking *r) {
    pick_result_free(r->result);
    cli_candidates_free(r->candidates);
    *r = (ranking){0};
}

static kit_status rank(cli_context *context, const cli_choice *choice, const cli_detect_options *detect,
                       const pick_constraints *constraints, ranking *out, kolm_error_t *err) {
    KIT_TRY(cli_registry_detect(context, choice->registry, detect, err));
    KIT_TRY(cli_registry_candidates(choice->registry, &out->candidates, err));
    return pick_run(out->candidates, choice->registry->count, constraints, &out->result, err);
}

/* Nobody named it, so that the command goes on without it; but whoever wrote the setting wanted it to count. */
static void warn_left_out(cli_context *context, const cli_registry *registry) {
    for (size_t i = 0; i < registry->count; i++) {
        const cli_backend *b = &registry->backends[i];
        if (b->bad_settings) cli_warn(context, "%s is left out: %s", cli_safe(b->name), cli_safe(b->refused));
    }
}

kit_status cli_choose(cli_context *context, const cli_choose_options *options, cli_choice **out_choice, int *out_exit,
                      kolm_error_t *err) {
    ranking ranked = {0};
    static const char *const source[] = {"--backend", "KOLM_BACKEND", "config.json (kolm compute use)", "", ""};
    const char *name = NULL;
    cli_detect_options detect = {.refresh = options->refresh,
                                 .airgap = options->constraints.airgap,
                                 .airgap_strict = options->airgap_strict,
                                 .allow_private_remote = options->constraints.allow_private_remote};
    pick_constraints constraints = options->constraints;
    constraints.need_slot = true; /* work is going to be dispatched: a promise is not enough */
    *out_exit = CLI_EXIT_OK;
    cli_choice *choice = calloc(1, sizeof *choice);
    kit_status status = choice ? KOLM_OK : kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    if (status == KOLM_OK) status = who(context, options, &name, &choice->by, err);
    if (status == KOLM_OK) status = cli_registry_open(context, &choice->registry, err);
    if (status == KOLM_OK && name && !cli_registry_find(choice->registry, name)) {
        status = cli_registry_unknown(choice->registry, name, err);
        kit_fail_context(err, "%s", source[choice->by]);
        *out_exit = CLI_EXIT_USAGE;
    }
    if (status == KOLM_OK && name) status = cli_grant_require(context, choice->registry, name, out_exit, err);
    if (status == KOLM_OK && !name) warn_left_out(context, choice->registry);
    for (size_t i = 0; status == KOLM_OK && i < options->constraints.exclude_count; i++) {
        if (cli_registry_find(choice->registry, options->constraints.exclude[i])) continue;
        status = cli_registry_unknown(choice->registry, options->constraints.exclude[i], err);
        kit_fail_context(err, "--exclude");
        *out_exit = CLI_EXIT_USAGE;
    }
    /* The maker of a model does not need the others to be looked at, if it can be used. */
    if (status == KOLM_OK && !options->backend && options->maker && cli_registry_find(choice->registry, options->maker))
        detect.only = options->maker;
    if (status == KOLM_OK) status = rank(context, choice, &detect, &constraints, &ranked, err);
    const char *maker = status == KOLM_OK ? maker_of(ranked.result, options) : NULL;
    if (status == KOLM_OK && detect.only && !maker) {
        detect.only = NULL;
        ranking_clear(&ranked);
        status = rank(context, choice, &detect, &constraints, &ranked, err);
    }
    if (maker) {
        name = maker;
        choice->by = CLI_BY_MODEL;
    }
    if (status == KOLM_OK) status = pick_record(ranked.result, &constraints, &choice->record, err);
    if (status == KOLM_OK) status = decide(choice, name, ranked.result, out_exit, err);
    ranking_clear(&ranked);
    if (status == KOLM_OK) {
        *out_choice = choice;
    } else {
        if (*out_exit == CLI_EXIT_OK) *out_exit = cli_interrupted() ? CLI_EXIT_INTERRUPTED : cli_exit_of(status);
        cli_choice_free(choice);
    }
    return status;
}

void cli_choice_free(cli_choice *choice) {
    if (!choice) return;
    cJSON_Delete(choice->record);
    cli_registry_free(choice->registry);
    free(choice);
}
