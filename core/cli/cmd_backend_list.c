/* SPDX-License-Identifier: Apache-2.0 */
/* kolm backend list and why: the directories searched, what was found there, and which rule decided. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "fleet/grants.h"
#include "fleet/policy.h"
#include "fleet/registry.h"
#include "host/host.h"

#include <string.h>

static const char *origin_text(host_origin origin) {
    static const char *const texts[] = {[HOST_ORIGIN_PATH] = "KOLM_BACKEND_PATH",
                                        [HOST_ORIGIN_USER] = "your own",
                                        [HOST_ORIGIN_INSTALLED] = "installed",
                                        [HOST_ORIGIN_BUILD] = "build tree"};
    return texts[origin];
}

static const char *state_text(const host_backend *row) {
    static const char *const texts[] = {
        [HOST_ROW_OK] = "taken", [HOST_ROW_REFUSED] = "refused", [HOST_ROW_SHADOWED] = "shadowed"};
    return texts[row->state];
}

static const char *path_of(const host_backend *row) {
    return row->plugin_path ? row->plugin_path : row->manifest_path ? row->manifest_path : row->directory;
}

/* A row has the real path of its directory, which may differ from the path searched. */
static bool found_in(const host_backend *row, const host_searched *place) {
    return place->searched && strcmp(row->directory, place->directory ? place->directory : place->path) == 0;
}

/* ---- For people */

static void print_rules(cli_context *context) {
    cli_print(context, "%s\n", cli_styled(context, CLI_BOLD, "RULES"));
    for (int rule = 1; rule < HOST_RULES; rule++)
        cli_print(context, "  %d  %s\n", rule, host_rule_text((host_rule)rule));
}

static void print_row(cli_context *context, const host_backend *row) {
    if (row->state == HOST_ROW_OK)
        cli_print(context, "  %-14s  %-8s  %s%s%s\n", cli_safe(row->stem), state_text(row), cli_safe(path_of(row)),
                  row->granted ? "" : "  ", row->granted ? "" : cli_safe(row->why.text));
    else
        cli_print(context, "  %-14s  %-8s  rule %d: %s\n", cli_safe(row->stem), state_text(row), (int)row->rule,
                  cli_safe(row->why.text));
}

static void print_place(cli_context *context, const host_registry *found, const host_searched *place, size_t number) {
    cli_print(context, "%zu  %s  (%s)%s%s\n", number, cli_safe(place->path), origin_text(place->origin),
              place->searched ? "" : "  not searched: ", place->searched ? "" : cli_safe(place->why.text));
    for (size_t i = 0; i < found->count; i++)
        if (found_in(&found->rows[i], place)) print_row(context, &found->rows[i]);
}

static void print_all(cli_context *context, const host_registry *found) {
    cli_print(context, "%s\n", cli_styled(context, CLI_BOLD, "SEARCHED, IN THIS ORDER"));
    for (size_t i = 0; i < found->searched_count; i++)
        print_place(context, found, &found->searched[i], i + 1);
    for (size_t i = 0; i < found->note_count; i++)
        cli_print(context, "note: %s\n", cli_safe(found->notes[i].text));
    print_rules(context);
}

/* ---- As JSON */

static bool put_row(cJSON *array, const host_backend *row) {
    cJSON *o = cJSON_CreateObject();
    bool good =
        kit_json_put_string(o, "name", row->name) && kit_json_put_string(o, "version", row->version) &&
        kit_json_put_string(o, "state", state_text(row)) && kit_json_put_string(o, "directory", row->directory) &&
        kit_json_put_string(o, "origin", origin_text(row->origin)) &&
        kit_json_put_string(o, "plugin", row->plugin_path) && kit_json_put_string(o, "manifest", row->manifest_path) &&
        kit_json_put_string(o, "unread", row->manifest ? host_manifest_unread(row->manifest) : NULL);
    if (row->state == HOST_ROW_OK)
        good = good && kit_json_put_null(o, "rule") &&
               kit_json_put_string(o, "why", row->granted ? NULL : row->why.text) &&
               kit_json_put_string(o, "remedy", row->granted ? NULL : row->why.remedy);
    else
        good = good && kit_json_put_u64(o, "rule", row->rule) && kit_json_put_string(o, "why", row->why.text) &&
               kit_json_put_string(o, "remedy", row->why.remedy);
    good =
        good && kit_json_put(o, "asks", fleet_asks_json(row)) &&
        (row->state == HOST_ROW_OK ? kit_json_put_bool(o, "granted", row->granted) : kit_json_put_null(o, "granted"));
    return cli_append(array, o, good);
}

static bool put_place(cJSON *array, const host_searched *place) {
    cJSON *o = cJSON_CreateObject();
    bool good = kit_json_put_string(o, "path", place->path) && kit_json_put_string(o, "directory", place->directory) &&
                kit_json_put_string(o, "origin", origin_text(place->origin)) &&
                kit_json_put_bool(o, "searched", place->searched) &&
                kit_json_put_string(o, "why", place->searched ? NULL : place->why.text);
    return cli_append(array, o, good);
}

/* name: only its rows; NULL: all. */
static cJSON *to_json(const host_registry *found, const char *name) {
    cJSON *value = cJSON_CreateObject();
    bool good = kit_json_put_string(value, "schema", name ? "kolm.backend.why/1" : "kolm.backend.list/1");
    cJSON *places = good ? cJSON_AddArrayToObject(value, "searched") : NULL;
    cJSON *rows = places ? cJSON_AddArrayToObject(value, "rows") : NULL;
    cJSON *rules = rows ? cJSON_AddArrayToObject(value, "rules") : NULL;
    good = rules != NULL;
    for (size_t i = 0; good && i < found->searched_count; i++)
        good = put_place(places, &found->searched[i]);
    for (size_t i = 0; good && i < found->count; i++)
        if (!name || strcmp(found->rows[i].name, name) == 0) good = put_row(rows, &found->rows[i]);
    for (int rule = 1; good && rule < HOST_RULES; rule++) {
        cJSON *text = cJSON_CreateString(host_rule_text((host_rule)rule));
        good = text && cJSON_AddItemToArray(rules, text);
    }
    return cli_whole(value, good);
}

/* ---- list */

int cli_backend_list(cli_context *context, int argc, char **argv) {
    const cli_syntax syntax = {.command = "kolm backend list",
                               .words = "",
                               .summary =
                                   "Shows every directory that was searched and every file that was considered."};
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_registry *registry = NULL;
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    kit_status status = fleet_registry_open(&context->session, &registry, &err);
    if (status == KOLM_OK) status = fleet_registry_settle(&context->session, registry, &err);
    exit_code = CLI_EXIT_OK;
    if (status != KOLM_OK)
        exit_code = cli_fail(context, SESSION_REASON_NONE, &err);
    else if (context->json)
        exit_code = cli_print_json(context, to_json(registry->found, NULL), CLI_EXIT_OK);
    else
        print_all(context, registry->found);
    fleet_registry_free(registry);
    return exit_code;
}

/* ---- why */

static void print_asks(cli_context *context, const host_backend *row) {
    host_ask asks[HOST_ASKS_MAX];
    char one[512];
    size_t count = row->manifest ? host_manifest_asks(row->manifest, asks) : 0;
    for (size_t i = 0; i < count; i++)
        cli_print(context, "  asks for: %s\n", cli_safe(fleet_ask_text(&asks[i], one, sizeof one)));
    if (row->state != HOST_ROW_OK || count == 0) return;
    if (row->granted)
        cli_print(context, "  granted: %s\n",
                  fleet_grant_needed(row) ? "yes" : "yes, like everything installed with kolm");
    else
        cli_print(context, "  %s\n    -> %s\n", cli_safe(row->why.text), cli_safe(row->why.remedy));
}

/* Lists the rules for a row: passed, decisive, and not evaluated. */
static void explain_row(cli_context *context, fleet_policy *policy, const host_backend *row) {
    char signature[512];
    cli_print(context, "%s  (%s): %s\n", cli_safe(path_of(row)), origin_text(row->origin), state_text(row));
    for (int rule = 1; rule < HOST_RULES; rule++) {
        bool decided = row->rule == (host_rule)rule;
        /* ORDER is evaluated for every row, whatever the others returned. */
        bool asked = row->state == HOST_ROW_OK || decided || (host_rule)rule < row->rule;
        cli_print(context, "  rule %d  %-62s  %s\n", rule, host_rule_text((host_rule)rule),
                  !asked    ? "-"
                  : decided ? cli_styled(context, CLI_RED, "NO")
                            : "yes");
    }
    if (row->state != HOST_ROW_OK) {
        cli_print(context, "  because %s\n", cli_safe(row->why.text));
        if (row->why.remedy[0]) cli_print(context, "    -> %s\n", cli_safe(row->why.remedy));
    }
    const char *unread = row->manifest ? host_manifest_unread(row->manifest) : NULL;
    if (unread)
        cli_print(context, "  note: its manifest is of a later version; this kolm does not know: %s\n",
                  cli_safe(unread));
    print_asks(context, row);
    fleet_policy_describe(policy, row, signature, sizeof signature);
    if (signature[0]) cli_print(context, "  signature: %s\n", cli_safe(signature));
}

static void print_detection(cli_context *context, const fleet_backend *b) {
    const char *reason = fleet_backend_detection(b)->reason, *remedy = fleet_backend_detection(b)->remedy;
    cli_print(context, "here and now: %s%s%s\n", fleet_backend_state(b), *reason ? ": " : "", cli_safe(reason));
    if (*remedy) cli_print(context, "    -> %s\n", cli_safe(remedy));
}

static int unknown(cli_context *context, fleet_registry *registry, const char *name, kolm_error_t *err) {
    (void)fleet_registry_unknown(registry, name, err);
    kit_copy(err->remedy, sizeof err->remedy,
             "`kolm backend list` shows which directories were searched, and what was found");
    return cli_error(context, CLI_EXIT_USAGE, err);
}

static bool any_row(const host_registry *found, const char *name) {
    for (size_t i = 0; i < found->count; i++)
        if (strcmp(found->rows[i].name, name) == 0) return true;
    return false;
}

static int explain(cli_context *context, fleet_registry *registry, const char *name, bool patient, kolm_error_t *err) {
    const host_registry *found = registry->found;
    const fleet_backend *taken = fleet_registry_find(registry, name);
    fleet_detect_options detect = {.only = name, .refresh = true, .withhold = true, .patient = patient};
    fleet_policy *policy = NULL;
    kit_status status = fleet_policy_load(&context->session, &policy, err);
    for (size_t i = 0; status == KOLM_OK && i < found->count; i++) {
        if (strcmp(found->rows[i].name, name) != 0) continue;
        explain_row(context, policy, &found->rows[i]);
    }
    fleet_policy_free(policy);
    if (status == KOLM_OK && taken && !taken->refused) {
        status = fleet_registry_detect(&context->session, registry, &detect, err);
        if (status == KOLM_OK) print_detection(context, taken);
    }
    return status == KOLM_OK ? CLI_EXIT_OK : cli_fail(context, SESSION_REASON_NONE, err);
}

int cli_backend_why(cli_context *context, int argc, char **argv) {
    bool patient = false;
    const cli_option options[] = {{"patient", 0, CLI_FLAG, &patient, NULL,
                                   "wait up to an hour for its answer, so that a debugger can be attached"}};
    const cli_syntax syntax = {
        .command = "kolm backend why",
        .words = "NAME",
        .summary = "Explains why a backend is used or not: every file of its name, the rule that "
                   "decided, and what the plugin reports.",
        .notes = "Exit code 2 if nothing of this name was found.",
        CLI_ROWS(options),
    };
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_registry *registry = NULL;
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    kit_status status = fleet_registry_open(&context->session, &registry, &err);
    if (status == KOLM_OK) status = fleet_registry_settle(&context->session, registry, &err);
    if (status != KOLM_OK)
        exit_code = cli_fail(context, SESSION_REASON_NONE, &err);
    else if (!any_row(registry->found, argv[0]))
        exit_code = unknown(context, registry, argv[0], &err);
    else if (context->json)
        exit_code = cli_print_json(context, to_json(registry->found, argv[0]), CLI_EXIT_OK);
    else
        exit_code = explain(context, registry, argv[0], patient, &err);
    fleet_registry_free(registry);
    return exit_code;
}
