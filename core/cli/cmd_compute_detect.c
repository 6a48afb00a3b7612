/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute detect: detects which backends are usable here, and shows devices, reasons and remedies. */
#include "cli/backend_text.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "fleet/reap.h"
#include "fleet/registry.h"

#include <inttypes.h>
#include <string.h>

static cli_style style_of(fleet_state state) {
    if (state == FLEET_AVAILABLE) return CLI_GREEN;
    if (state == FLEET_ABSENT || state == FLEET_NOT_LOADED) return CLI_DIM;
    return CLI_RED;
}

static void print_backend(cli_context *context, const fleet_backend *b) {
    const fleet_detection *d = fleet_backend_detection(b);
    const fleet_state state = b->refused ? FLEET_REFUSED : d->state;
    const char *reason = b->refused ? b->refused : d->reason;
    char padded[16];
    kit_format(padded, sizeof padded, "%-11s", fleet_state_name(state));
    cli_print(context, "  %-14s  %s  %s\n", cli_safe(b->name), cli_styled(context, style_of(state), padded),
              cli_safe(reason));
    for (size_t i = 0; i < d->device_count; i++) {
        kit_buf text = {0};
        cli_device_text(&d->devices[i], &text);
        cli_print(context, "  %-14s  %-11s  %s\n", "", "", kit_buf_text(&text));
        kit_buf_free(&text);
    }
    if (*d->remedy && state != FLEET_AVAILABLE)
        cli_print(context, "  %-14s  %-11s  -> %s\n", "", "", cli_safe(d->remedy));
}

static void print_text(cli_context *context, const fleet_registry *registry) {
    size_t available = 0, cached = 0;
    for (size_t i = 0; i < registry->count; i++) {
        print_backend(context, &registry->backends[i]);
        available += fleet_backend_available(&registry->backends[i]);
        cached += registry->backends[i].from_cache;
    }
    cli_print(context, "%zu of %zu available", available, registry->count);
    if (cached) cli_print(context, " (%zu from the cache; --refresh looks again)", cached);
    cli_print(context, "\n");
}

static int print_as_json(cli_context *context, const fleet_registry *registry) {
    cJSON *value = cJSON_CreateObject();
    bool good = value && kit_json_put_string(value, "schema", "kolm.compute.detect/1");
    cJSON *list = good ? cJSON_AddArrayToObject(value, "backends") : NULL;
    cJSON *refused = list ? cJSON_AddArrayToObject(value, "refused") : NULL;
    good = refused != NULL;
    for (size_t i = 0; good && i < registry->count; i++) {
        const fleet_backend *b = &registry->backends[i];
        good = b->refused ? cli_put_problem(refused, b->name, b->manifest_path, b->refused) : cli_put_backend(list, b);
    }
    return cli_print_json(context, cli_whole(value, good), CLI_EXIT_OK);
}

int cli_compute_detect(cli_context *context, int argc, char **argv) {
    fleet_detect_options detect = {0};
    bool force = false;
    session_airgap airgap = SESSION_AIRGAP_OFF;
    session_number timeout = {0};
    const cli_option options[] = {
        {"refresh", 0, CLI_FLAG, &detect.refresh, NULL,
         "detect again, with the values of secrets, and ignore the cache"},
        {"force", 0, CLI_FLAG, &force, NULL, "the same as --refresh"},
        {"timeout", 0, CLI_U64, &timeout, "SECONDS", "for each backend, 1 to 3600 (5)"},
        {"airgap", 0, CLI_AIRGAP, &airgap, NULL,
         "load no backend that needs the network, and deny it to the others (strict)"},
        {"allow-private-remote", 0, CLI_FLAG, &detect.allow_private_remote, NULL,
         "under --airgap, also a self-hosted target on a private address"},
    };
    const cli_syntax syntax = {
        .command = "kolm compute detect",
        .words = "",
        .summary = "Detects which backends are usable here.",
        .notes = "Results are cached for an hour; a new token or a changed plugin counts at once. Backends are "
                 "told\nwhich of their secrets are set, and get the values only with --refresh.",
        CLI_ROWS(options)};
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_registry *registry = NULL;
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    if (timeout.set && (timeout.value < 1 || timeout.value > 3600))
        return cli_usage_error(context, syntax.command, "--timeout: use 1 to 3600 seconds");
    detect.timeout_seconds = timeout.value;
    detect.refresh = detect.refresh || force;
    detect.airgap = airgap != SESSION_AIRGAP_OFF;
    detect.airgap_strict = airgap == SESSION_AIRGAP_STRICT;
    fleet_reap_start(&context->session, airgap);
    kit_status status = fleet_registry_open(&context->session, &registry, &err);
    if (status == KOLM_OK) status = fleet_registry_detect(&context->session, registry, &detect, &err);
    if (status != KOLM_OK) {
        exit_code = cli_fail(context, SESSION_REASON_NONE, &err);
    } else if (context->json) {
        exit_code = print_as_json(context, registry);
    } else {
        print_text(context, registry);
        exit_code = CLI_EXIT_OK;
    }
    fleet_registry_free(registry);
    return exit_code;
}
