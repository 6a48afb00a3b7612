/* SPDX-License-Identifier: Apache-2.0 */
/* kolm backend grant: grants a backend what it requests, revokes that, lists the grants. */
#include "cli/cli.h"
#include "cli/grant_text.h"
#include "cli/options.h"
#include "cli/output.h"
#include "fleet/grants.h"
#include "fleet/named.h"

#include <string.h>

/* ---- All of them */

static const char *who_of(const cJSON *grant, char out[96]) {
    const cJSON *to = kit_json_get(grant, "to");
    const char *id = "";
    if (kit_json_get_string(to, "signer", &id))
        kit_format(out, 96, "signer %.16s...", id);
    else if (kit_json_get_string(to, "plugin_sha256", &id))
        kit_format(out, 96, "SHA-256 %.16s...", id);
    return out;
}

static bool is_found(const fleet_registry *registry, const char *name) {
    const host_backend *row = host_find(registry->found, name);
    return row && row->state == HOST_ROW_OK && row->granted;
}

static void print_grants(cli_context *context, const fleet_registry *registry, const cJSON *grants) {
    const cJSON *grant, *what;
    char who[96] = "";
    cJSON_ArrayForEach(grant, grants) {
        cli_print(context, "%-14s  %s%s\n", cli_safe(grant->string), cli_safe(who_of(grant, who)),
                  is_found(registry, grant->string) ? "" : "  (does not apply to the files found now)");
        cJSON_ArrayForEach(what, kit_json_get(grant, "what")) cli_print(context, "  %s\n", cli_safe(what->valuestring));
    }
    if (cJSON_GetArraySize(grants) == 0) cli_print(context, "nothing is granted to any backend\n");
}

static cJSON *grants_json(const fleet_registry *registry, const cJSON *grants) {
    cJSON *value = cJSON_CreateObject();
    cJSON *array =
        kit_json_put_string(value, "schema", "kolm.backend.grants/1") ? cJSON_AddArrayToObject(value, "grants") : NULL;
    bool good = array != NULL;
    for (const cJSON *grant = good ? grants->child : NULL; good && grant; grant = grant->next) {
        const char *at = NULL;
        cJSON *o = cJSON_CreateObject();
        (void)kit_json_get_string(grant, "at", &at);
        good = kit_json_put_string(o, "backend", grant->string) &&
               kit_json_put(o, "to", cJSON_Duplicate(kit_json_get(grant, "to"), true)) &&
               kit_json_put(o, "what", cJSON_Duplicate(kit_json_get(grant, "what"), true)) &&
               kit_json_put_string(o, "at", at) && kit_json_put_bool(o, "counts", is_found(registry, grant->string));
        good = cli_append(array, o, good);
    }
    return cli_whole(value, good);
}

static int list(cli_context *context) {
    kolm_error_t err = KIT_ERROR_INIT;
    cJSON *grants = NULL;
    fleet_registry *registry = NULL;
    int exit_code = CLI_EXIT_OK;
    kit_status status = fleet_grants_read(&context->session, &grants, &err);
    if (status == KOLM_OK) status = fleet_registry_open(&context->session, &registry, &err);
    if (status != KOLM_OK)
        exit_code = cli_fail_own(context, &err);
    else if (context->json)
        exit_code = cli_print_json(context, grants_json(registry, grants), CLI_EXIT_OK);
    else
        print_grants(context, registry, grants);
    fleet_registry_free(registry);
    cJSON_Delete(grants);
    return exit_code;
}

/* ---- One */

/* row and to may be NULL. */
static int done(cli_context *context, const char *name, const char *state, const host_backend *row,
                const fleet_grantee *to) {
    if (!context->json) {
        if (row && to) cli_grant_show(row, to, stdout);
        cli_print(context, "%s  %s\n", state, cli_safe(name));
        return CLI_EXIT_OK;
    }
    cJSON *value = cJSON_CreateObject();
    bool good = kit_json_put_string(value, "schema", "kolm.backend.grant/1") &&
                kit_json_put_string(value, "backend", name) && kit_json_put_string(value, "state", state) &&
                kit_json_put(value, "asks", row ? fleet_asks_json(row) : cJSON_CreateArray()) &&
                (to ? kit_json_put(value, "to", fleet_grantee_json(to)) : kit_json_put_null(value, "to"));
    return cli_print_json(context, cli_whole(value, good), CLI_EXIT_OK);
}

static int grant_row(cli_context *context, const host_backend *row) {
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_grantee to;
    if (!fleet_grant_needed(row)) return done(context, row->name, "needs none", row, NULL);
    kit_status status = fleet_grantee_of(&context->session, row, &to, &err);
    if (status == KOLM_OK) status = fleet_grant_give(&context->session, row, &to, &err);
    return status == KOLM_OK ? done(context, row->name, "granted", row, &to) : cli_fail_own(context, &err);
}

static int give(cli_context *context, const char *name) {
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_registry *registry = NULL;
    fleet_backend *backend = NULL;
    session_reason reason = SESSION_REASON_NONE;
    int exit_code;
    if (fleet_registry_open(&context->session, &registry, &err) != KOLM_OK)
        exit_code = cli_fail_own(context, &err);
    else if (fleet_named(registry, name, &backend, &reason, &err) != KOLM_OK)
        exit_code = cli_fail(context, reason, &err);
    else
        exit_code = grant_row(context, backend->row);
    fleet_registry_free(registry);
    return exit_code;
}

static int take(cli_context *context, const char *name) {
    kolm_error_t err = KIT_ERROR_INIT;
    bool had = false;
    kit_status status = fleet_grant_take(&context->session, name, &had, &err);
    if (status != KOLM_OK) return cli_fail_own(context, &err);
    return done(context, name, had ? "removed" : "nothing to remove", NULL, NULL);
}

int cli_backend_grant(cli_context *context, int argc, char **argv) {
    bool removes = false;
    size_t words = 0;
    const cli_option options[] = {{"remove", 0, CLI_FLAG, &removes, NULL, "revoke the grant"}};
    const cli_syntax syntax = {
        .command = "kolm backend grant",
        .words = "[NAME]",
        .summary = "Grants a backend the secrets, variables and files that its manifest requests; without NAME, lists "
                   "the grants.",
        .notes = "Until then it is not called. A grant is bound to the key that signed the plugin, if that key is "
                 "trusted\n(`kolm backend keys`), else to exactly these files: another version needs a new grant, and "
                 "so does one that\nrequests more. Backends that are installed with kolm need no grant.",
        CLI_ROWS(options),
        .word_count_out = &words};
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    if (words == 0 && removes) return cli_usage_error(context, syntax.command, "--remove: missing NAME");
    if (words == 0) return list(context);
    return removes ? take(context, argv[0]) : give(context, argv[0]);
}
