/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute list: every backend that was found, where it runs and what it costs; loads no plugin. */
#include "cli/backend_text.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "fleet/registry.h"

#include <inttypes.h>
#include <string.h>

static const char *note(const fleet_backend *b) {
    if (b->ungranted) return "  (not granted)";
    if (b->offer->train && fleet_backend_slot(b, HOST_SLOT_TRAIN) == PICK_SLOT_MISSING) return "  (detect only)";
    if (b->offer->train && (!b->offer->infer || fleet_backend_slot(b, HOST_SLOT_INFER) == PICK_SLOT_MISSING))
        return "  (cannot answer)";
    return "";
}

static void print_row(cli_context *context, const fleet_backend *b) {
    char price[32], origin[100];
    cli_price_origin(b, origin, sizeof origin);
    cli_print(context, "  %-14s  tier %" PRIu32 "  %-20s %-10s  %s%s%s%s%s\n", b->name, b->offer->tier,
              cli_safe(b->needs), cli_backend_price(b, price, sizeof price), cli_safe(b->manifest->runtime), note(b),
              origin[0] ? "  (" : "", origin, origin[0] ? ")" : "");
}

static void print_groups(cli_context *context, const fleet_registry *registry) {
    for (fleet_group group = 0; group < FLEET_GROUPS; group++) {
        bool titled = false;
        for (size_t i = 0; i < registry->count; i++) {
            const fleet_backend *b = &registry->backends[i];
            if (b->refused || b->group != group) continue;
            if (!titled) cli_print(context, "%s\n", cli_styled(context, CLI_BOLD, fleet_group_title(group)));
            titled = true;
            print_row(context, b);
        }
    }
}

static void print_refused(cli_context *context, const fleet_registry *registry) {
    bool titled = false;
    for (size_t i = 0; i < registry->count; i++) {
        const fleet_backend *b = &registry->backends[i];
        if (!b->refused) continue;
        if (!titled) cli_print(context, "%s\n", cli_styled(context, CLI_BOLD, "REFUSED"));
        titled = true;
        cli_print(context, "  %-14s  %s\n", cli_safe(b->name), cli_safe(b->refused));
    }
    titled = false;
    for (size_t i = 0; i < registry->shadowed_count; i++) {
        if (!titled) cli_print(context, "%s\n", cli_styled(context, CLI_BOLD, "SHADOWED"));
        titled = true;
        cli_print(context, "  %-14s  %s\n", cli_safe(registry->shadowed[i].name), cli_safe(registry->shadowed[i].why));
    }
}

static void print_nothing(cli_context *context, const fleet_registry *registry) {
    if (registry->count) return;
    cli_print(context, "no backends found\n"
                       "  -> install one (packages are called kolm-backend-NAME); `kolm backend list` shows which "
                       "directories were searched\n");
    if (registry->notes) cli_warn(context, "%s", cli_safe(registry->notes));
}

static bool put_problems(cJSON *value, const fleet_registry *registry) {
    cJSON *refused = cJSON_AddArrayToObject(value, "refused");
    cJSON *shadowed = cJSON_AddArrayToObject(value, "shadowed");
    if (!refused || !shadowed) return false;
    for (size_t i = 0; i < registry->count; i++) {
        const fleet_backend *b = &registry->backends[i];
        if (b->refused && !cli_put_problem(refused, b->name, b->manifest_path, b->refused)) return false;
    }
    for (size_t i = 0; i < registry->shadowed_count; i++) {
        const fleet_shadowed *s = &registry->shadowed[i];
        if (!cli_put_problem(shadowed, s->name, s->path, s->why)) return false;
    }
    return true;
}

static int print_list_json(cli_context *context, const fleet_registry *registry) {
    cJSON *value = cJSON_CreateObject();
    bool good = value && kit_json_put_string(value, "schema", "kolm.compute.list/1");
    cJSON *list = good ? cJSON_AddArrayToObject(value, "backends") : NULL;
    good = list != NULL;
    for (size_t i = 0; good && i < registry->count; i++) {
        if (!registry->backends[i].refused) good = cli_put_backend(list, &registry->backends[i]);
    }
    return cli_print_json(context, cli_whole(value, good && put_problems(value, registry)), CLI_EXIT_OK);
}

int cli_compute_list(cli_context *context, int argc, char **argv) {
    const cli_syntax syntax = {.command = "kolm compute list",
                               .words = "",
                               .summary = "Lists every backend kolm knows about. Loads no plugin.",
                               .notes = "`kolm compute detect` says which of them are usable here."};
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_registry *registry = NULL;
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    kit_status status = fleet_registry_open(&context->session, &registry, &err);
    if (status != KOLM_OK) return cli_fail(context, SESSION_REASON_NONE, &err);
    status = fleet_registry_recall(&context->session, registry, &err);
    if (status != KOLM_OK) {
        exit_code = cli_fail(context, SESSION_REASON_NONE, &err);
    } else if (context->json) {
        exit_code = print_list_json(context, registry);
    } else {
        print_groups(context, registry);
        print_refused(context, registry);
        print_nothing(context, registry);
        exit_code = CLI_EXIT_OK;
    }
    fleet_registry_free(registry);
    return exit_code;
}
