/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses the backend for a job. Fails rather than replace one that the user named. */
#include "fleet/choose.h"
#include "fleet/grants.h"
#include "session/site.h"

#include <stdlib.h>
#include <string.h>

kit_status fleet_default_backend(kolm_session *session, const char **out_name, fleet_chosen_by *out_by,
                                 kolm_error_t *err) {
    const cJSON *config = NULL;
    const char *name = secure_getenv("KOLM_BACKEND");
    *out_by = FLEET_BY_ENVIRONMENT;
    *out_name = NULL;
    if (name && *name) {
        *out_name = name;
        return KOLM_OK;
    }
    KIT_TRY(session_config(session, &config, err));
    *out_by = FLEET_BY_PICKER;
    if (cJSON_IsNull(kit_json_get(config, "backend")) || !kit_json_get(config, "backend")) return KOLM_OK;
    if (!kit_json_get_string(config, "backend", out_name)) {
        return kit_fail(err, KOLM_E_DATA_LOSS, "`kolm compute use NAME` sets it, `kolm compute use --clear` removes it",
                        "\"backend\" in config.json is not a string");
    }
    *out_by = FLEET_BY_CONFIG;
    return KOLM_OK;
}

static kit_status who(kolm_session *session, const fleet_choose_options *options, const char **out_name,
                      fleet_chosen_by *out_by, kolm_error_t *err) {
    if (options->backend) {
        *out_name = options->backend;
        *out_by = FLEET_BY_FLAG;
        return KOLM_OK;
    }
    *out_by = FLEET_BY_PICKER;
    if (options->picker_only) return KOLM_OK;
    return fleet_default_backend(session, out_name, out_by, err);
}

static const pick_entry *entry_of(const pick_result *result, const char *name) {
    for (size_t i = 0; i < result->count; i++) {
        if (strcmp(result->candidates[result->entries[i].candidate].name, name) == 0) return &result->entries[i];
    }
    return NULL;
}

static void say(fleet_choice *choice) {
    static const char *const names[] = {"flag", "env", "config", "picker", "model"};
    char score[8];
    const char *name = choice->backend->name;
    choice->by_name = names[choice->by];
    switch (choice->by) {
    case FLEET_BY_FLAG:
        kit_format(choice->said, sizeof choice->said, "%s (flag: --backend %s)", name, name);
        break;
    case FLEET_BY_ENVIRONMENT:
        kit_format(choice->said, sizeof choice->said, "%s (env: KOLM_BACKEND=%s)", name, name);
        break;
    case FLEET_BY_CONFIG:
        if (choice->site)
            kit_format(choice->said, sizeof choice->said, "%s (config: %s)", name, choice->site);
        else
            kit_format(choice->said, sizeof choice->said, "%s (config: kolm compute use %s)", name, name);
        break;
    case FLEET_BY_MODEL:
        kit_format(choice->said, sizeof choice->said, "%s (made the model)", name);
        break;
    default:
        pick_score_text(choice->score, score);
        kit_format(choice->said, sizeof choice->said, "%s (picked: score %s)", name, score);
        break;
    }
}

/* Fails unless the named backend passes every filter and is available. */
static kit_status check_named(const pick_result *result, const pick_entry *entry, const fleet_choice *choice,
                              session_reason *out_reason, kolm_error_t *err) {
    const char *where[] = {"--backend", "KOLM_BACKEND", choice->site ? choice->site : "kolm compute use", "", ""};
    fleet_chosen_by by = choice->by;
    const pick_candidate *c = &result->candidates[entry->candidate];
    if (!entry->eligible) {
        bool refused = c->refused != NULL;
        *out_reason = refused ? SESSION_REASON_NOTHING : SESSION_REASON_BACKEND;
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "name another backend, or relax the filter; kolm does not replace a backend that you named",
                        "%s (named by %s) cannot do this: %s", c->name, where[by], entry->reasons[0].text);
    }
    if (!c->available) {
        *out_reason = SESSION_REASON_NOTHING;
        char state[64];
        pick_state_text(c, state, sizeof state);
        const char *remedy = c->remedy && *c->remedy ? c->remedy : "name another backend, or let the picker choose";
        return kit_fail(err, KOLM_E_UNAVAILABLE, remedy, "%s (named by %s) is not available (%s): %s", c->name,
                        where[by], state, c->reason && *c->reason ? c->reason : "no further details");
    }
    return KOLM_OK;
}

/* The maker of a model knows its format, whereas the user's defaults are about training. Only a local maker counts:
 * models trained elsewhere run here, without a network, unless the user names another place. */
static const char *maker_of(const pick_result *result, const fleet_choose_options *options) {
    const pick_entry *entry = options->backend || !options->maker ? NULL : entry_of(result, options->maker);
    const pick_candidate *c = entry ? &result->candidates[entry->candidate] : NULL;
    bool usable = entry && entry->eligible && c->available && strcmp(c->offer.kind, "local") == 0;
    return usable ? options->maker : NULL;
}

/* ---- Models and recipes that not everybody knows */

static bool among(const char *words, const char *word) {
    size_t length = strlen(word);
    for (const char *at = words; at && *at; at += strcspn(at, ","), at += strspn(at, ", "))
        if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0')) return true;
    return false;
}

static bool answers_with(const fleet_backend *b, const fleet_choose_options *options) {
    return !options->format || (options->maker && strcmp(b->name, options->maker) == 0) ||
           among(b->manifest ? b->manifest->formats : NULL, options->format);
}

/* Rejects a named backend that lists only other formats. One that lists none may still be named, as before manifests
 * had formats. */
static kit_status check_format(const fleet_backend *named, const fleet_choose_options *options, kolm_error_t *err) {
    if (named->refused || answers_with(named, options) || !named->manifest->formats) return KOLM_OK;
    return kit_fail(
        err, KOLM_E_FAILED_PRECONDITION, "leave out --backend, or name one that can: `kolm compute info NAME` shows it",
        "%s (named by --backend) cannot do this: it answers with models of the format %s, and this one, made by %s, "
        "is of %s",
        named->name, named->manifest->formats, options->maker, options->format);
}

/* The maker and format in a model never cause questions to leave this machine: only the user can decide that. */
static bool elsewhere(const fleet_backend *b, const fleet_choose_options *options) {
    return options->format && strcmp(b->offer->kind, "local") != 0;
}

/* Excludes backends that cannot run the model, or that do not list a recipe that is not built in. */
static void narrow(pick_candidate *candidates, const fleet_registry *registry, const fleet_choose_options *options,
                   const char *name) {
    const char *recipe = options->constraints.recipe;
    bool own = recipe && strcmp(recipe, "linear") != 0 && strcmp(recipe, "lora") != 0;
    for (size_t i = 0; i < registry->count; i++) {
        const fleet_backend *b = &registry->backends[i];
        if (name && strcmp(b->name, name) == 0) continue;
        if (!answers_with(b, options) || elsewhere(b, options)) candidates[i].offer.infer = false;
        if (own && !options->format && !b->refused && !b->offer->recipes) candidates[i].offer.recipes = "linear, lora";
    }
}

/* Appends why the maker of the model cannot run it. */
static void add_state(const fleet_backend *maker, const fleet_choose_options *options, const pick_result *result,
                      kit_buf *out) {
    const pick_entry *entry = maker ? entry_of(result, maker->name) : NULL;
    if (!maker)
        kit_buf_str(out, "is not installed");
    else if (maker->refused)
        kit_buf_fmt(out, "is refused (%s)", maker->refused);
    else if (elsewhere(maker, options))
        kit_buf_str(out, "does not run on this machine, and is used only if it is named");
    else if (entry && !entry->eligible)
        kit_buf_fmt(out, "cannot (%s)", entry->reasons[0].text);
    else
        kit_buf_fmt(out, "is %s (%s)", fleet_backend_state(maker), fleet_backend_detection(maker)->reason);
}

static kit_status nobody_answers(fleet_choice *choice, const fleet_choose_options *options, const pick_result *result,
                                 kolm_error_t *err) {
    kit_buf text = {0};
    char remedy[sizeof err->remedy];
    const fleet_backend *maker = fleet_registry_find(choice->registry, options->maker);
    kit_buf_fmt(&text, "the model was made by %s, which ", options->maker);
    add_state(maker, options, result, &text);
    kit_buf_fmt(&text, "; no other backend that is available here answers with its format, %s", options->format);
    const char *known = !maker ? "" : maker->refused ? maker->refused_remedy : fleet_backend_detection(maker)->remedy;
    if (!maker)
        kit_format(
            remedy, sizeof remedy,
            "install %s: the package kolm-backend-%s, or its two files in ~/.kolm/backends; `kolm backend list` shows "
            "where kolm looks",
            options->maker, options->maker);
    else if (!maker->refused && elsewhere(maker, options))
        kit_format(remedy, sizeof remedy, "if the inputs may be sent there: --backend %s", options->maker);
    else
        kit_copy(remedy, sizeof remedy, *known ? known : "`kolm compute detect` shows what each backend lacks");
    kit_status status = kit_fail(err, KOLM_E_NOT_FOUND, remedy, "%s", kit_buf_text(&text));
    kit_buf_free(&text);
    return status;
}

static kit_status decide(fleet_choice *choice, const fleet_choose_options *options, const char *name,
                         const pick_result *result, session_reason *out_reason, kolm_error_t *err) {
    const pick_entry *entry = name ? entry_of(result, name) : result->winner;
    if (!entry) {
        *out_reason = SESSION_REASON_NOTHING;
        return options->format ? nobody_answers(choice, options, result, err) : pick_nothing(result, err);
    }
    choice->backend = fleet_registry_find(choice->registry, result->candidates[entry->candidate].name);
    if (name && choice->backend->bad_settings) return fleet_backend_refuse(choice->backend, out_reason, err);
    if (name) KIT_TRY(check_named(result, entry, choice, out_reason, err));
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
    fleet_candidates_free(r->candidates);
    *r = (ranking){0};
}

static kit_status rank(kolm_session *session, const fleet_choice *choice, const fleet_choose_options *options,
                       const char *name, const fleet_detect_options *detect, const pick_constraints *constraints,
                       ranking *out, kolm_error_t *err) {
    KIT_TRY(fleet_registry_detect(session, choice->registry, detect, err));
    KIT_TRY(fleet_registry_candidates(choice->registry, &out->candidates, err));
    narrow(out->candidates, choice->registry, options, name);
    return pick_run(out->candidates, choice->registry->count, constraints, &out->result, err);
}

/* The command continues without a backend that nobody named, but the user must learn that its settings are wrong. */
static void warn_left_out(kolm_session *session, const fleet_registry *registry) {
    for (size_t i = 0; i < registry->count; i++) {
        const fleet_backend *b = &registry->backends[i];
        if (b->bad_settings) session_warn(session, "%s is left out: %s", b->name, b->refused);
    }
}

/* Fails unless all backends that the user named exist. */
static kit_status check_names(const fleet_choice *choice, const fleet_choose_options *options, const char *name,
                              session_reason *out_reason, kolm_error_t *err) {
    const char *source[] = {"--backend", "KOLM_BACKEND", choice->site ? choice->site : "config.json (kolm compute use)",
                            "", ""};
    if (name && !fleet_registry_find(choice->registry, name)) {
        kit_status status = fleet_registry_unknown(choice->registry, name, err);
        kit_fail_context(err, "%s", source[choice->by]);
        *out_reason = SESSION_REASON_USAGE;
        return status;
    }
    for (size_t i = 0; i < options->constraints.exclude_count; i++) {
        if (fleet_registry_find(choice->registry, options->constraints.exclude[i])) continue;
        kit_status status = fleet_registry_unknown(choice->registry, options->constraints.exclude[i], err);
        kit_fail_context(err, "--exclude");
        *out_reason = SESSION_REASON_USAGE;
        return status;
    }
    return KOLM_OK;
}

/* A model needs a backend that knows its format; that overrides the default backend, which is for training. */
static kit_status regard_model(fleet_choice *choice, const fleet_choose_options *options, pick_constraints *constraints,
                               const char **name, session_reason *out_reason, kolm_error_t *err) {
    const fleet_backend *named = *name ? fleet_registry_find(choice->registry, *name) : NULL;
    if (!options->format) return KOLM_OK;
    if (named && choice->by == FLEET_BY_FLAG) {
        kit_status status = check_format(named, options, err);
        if (status != KOLM_OK) *out_reason = SESSION_REASON_BACKEND;
        if (named->manifest && named->manifest->formats) constraints->recipe = NULL;
        return status;
    }
    constraints->recipe = NULL; /* inference does not need the recipe */
    if (named && !answers_with(named, options)) {
        *name = NULL;
        choice->by = FLEET_BY_PICKER;
    }
    return KOLM_OK;
}

static kit_status choose(kolm_session *session, const fleet_choose_options *options, fleet_choice *choice,
                         ranking *ranked, session_reason *out_reason, kolm_error_t *err) {
    const char *name = NULL;
    fleet_detect_options detect = {.refresh = options->refresh,
                                   .airgap = options->constraints.airgap,
                                   .airgap_strict = options->airgap_strict,
                                   .allow_private_remote = options->constraints.allow_private_remote};
    pick_constraints constraints = options->constraints;
    constraints.need_slot = true; /* the slot will be called: the manifest's promise is not enough */
    KIT_TRY(who(session, options, &name, &choice->by, err));
    if (choice->by == FLEET_BY_CONFIG) choice->site = session_site_said(session, "backend", NULL, NULL);
    if (options->registry) {
        choice->registry = *options->registry;
        *options->registry = NULL;
    }
    if (!choice->registry) KIT_TRY(fleet_registry_open(session, &choice->registry, err));
    KIT_TRY(check_names(choice, options, name, out_reason, err));
    if (!name) warn_left_out(session, choice->registry);
    KIT_TRY(regard_model(choice, options, &constraints, &name, out_reason, err));
    if (name) KIT_TRY(fleet_grant_require(session, choice->registry, name, out_reason, err));
    /* The price of a named backend matters only if there is a limit; without a name, prices do not matter for running a
     * model, which happens on this machine. */
    detect.prices = name ? constraints.has_budget || constraints.has_job_budget : !options->format;
    detect.prices_of = name;
    detect.min_vram_bytes = constraints.has_min_vram ? constraints.min_vram_bytes : 0;
    /* If the maker of a model can be used, no other backend needs to be detected. */
    const fleet_backend *maker_here = options->maker ? fleet_registry_find(choice->registry, options->maker) : NULL;
    if (!options->backend && maker_here && !elsewhere(maker_here, options)) detect.only = options->maker;
    KIT_TRY(rank(session, choice, options, name, &detect, &constraints, ranked, err));
    const char *maker = maker_of(ranked->result, options);
    if (detect.only && !maker) {
        detect.only = NULL;
        ranking_clear(ranked);
        KIT_TRY(rank(session, choice, options, name, &detect, &constraints, ranked, err));
    }
    if (maker) {
        name = maker;
        choice->by = FLEET_BY_MODEL;
    }
    KIT_TRY(pick_record(ranked->result, &constraints, &choice->record, err));
    return decide(choice, options, name, ranked->result, out_reason, err);
}

kit_status fleet_choose(kolm_session *session, const fleet_choose_options *options, fleet_choice **out_choice,
                        session_reason *out_reason, kolm_error_t *err) {
    ranking ranked = {0};
    *out_reason = SESSION_REASON_NONE;
    fleet_choice *choice = calloc(1, sizeof *choice);
    kit_status status = choice ? choose(session, options, choice, &ranked, out_reason, err) : kit_no_memory(err);
    ranking_clear(&ranked);
    if (status == KOLM_OK) {
        *out_choice = choice;
    } else {
        if (*out_reason == SESSION_REASON_NONE)
            *out_reason = session_stopped(session) ? SESSION_REASON_INTERRUPTED : session_reason_of(status);
        fleet_choice_free(choice);
    }
    return status;
}

void fleet_choice_free(fleet_choice *choice) {
    if (!choice) return;
    cJSON_Delete(choice->record);
    fleet_registry_free(choice->registry);
    free(choice);
}
