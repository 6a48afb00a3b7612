/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute info: everything that is known about one backend. */
#include "cli/backend_text.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/settings_text.h"
#include "fleet/named.h"
#include "fleet/recipe.h"
#include "fleet/registry.h"
#include "fleet/repro.h"
#include "host/host.h"
#include "runtime/lock.h"
#include "runtime/runtime.h"
#include "session/site.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define LABEL "%-14s"

static void line(cli_context *context, const char *label, const char *text) {
    if (text && *text) cli_print(context, LABEL "%s\n", label, cli_safe(text));
}

/* "environment (...cdef)", or "not set". */
static void token_text(const fleet_registry *registry, const char *name, kit_buf *out) {
    store_secret_source source = STORE_SECRET_NONE;
    const char *value = store_secret(registry->credentials, name, &source);
    kit_buf_fmt(out, "%s ", name);
    if (!value) {
        kit_buf_str(out, "not set");
        return;
    }
    kit_buf_fmt(out, "from the %s", store_secret_source_name(source));
    if (*store_secret_tail(value)) kit_buf_fmt(out, " (...%s)", store_secret_tail(value));
}

static void print_tokens(cli_context *context, const fleet_registry *registry, const fleet_backend *b) {
    for (size_t i = 0; i < b->manifest->auth_count; i++) {
        kit_buf text = {0};
        token_text(registry, b->manifest->auth[i], &text);
        line(context, i ? "" : "token", kit_buf_text(&text));
        kit_buf_free(&text);
    }
}

static void print_vram(cli_context *context, const fleet_backend *b) {
    char text[48], bytes[32];
    switch (b->offer->vram) {
    case PICK_VRAM_OWN:
        kit_copy(text, sizeof text, "that of the detected card");
        break;
    case PICK_VRAM_SHARED:
        kit_copy(text, sizeof text, "shared with the processor");
        break;
    case PICK_VRAM_CAP:
        kit_format(text, sizeof text, "up to %s", session_bytes(bytes, sizeof bytes, b->offer->vram_cap_bytes));
        break;
    default:
        kit_copy(text, sizeof text, "none");
        break;
    }
    line(context, "memory", text);
}

static void print_devices(cli_context *context, const fleet_backend *b) {
    const fleet_detection *d = fleet_backend_detection(b);
    for (size_t i = 0; i < d->device_count; i++) {
        kit_buf text = {0};
        cli_device_text(&d->devices[i], &text);
        cli_print(context, LABEL "%s\n", i == 0 ? "device" : "", kit_buf_text(&text));
        kit_buf_free(&text);
    }
}

static const char *slot_word(const fleet_backend *b, bool claimed, uint32_t slot) {
    if (!claimed) return "no";
    switch (fleet_backend_slot(b, slot)) {
    case PICK_SLOT_PRESENT:
        return "yes";
    case PICK_SLOT_MISSING:
        return "not implemented yet in this version (detect only)";
    default:
        return "yes, by its manifest";
    }
}

/* Lists the manifest fields that a configuration file overrides. */
static void print_overrides(cli_context *context, const fleet_backend *b) {
    static const struct {
        unsigned bit;
        const char *key;
    } keys[] = {{HOST_OVERRIDE_COST, "cost_per_hour_usd"},
                {HOST_OVERRIDE_COLD_START, "cold_start_seconds"},
                {HOST_OVERRIDE_PERF, "perf"},
                {HOST_OVERRIDE_TIER, "tier"}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!(b->row->manifest->overridden & keys[i].bit)) continue;
        const char *site = session_site_said(&context->session, "backends", b->name, keys[i].key);
        cli_print(context, LABEL "%s comes from %s, not from the manifest\n", "", keys[i].key,
                  cli_safe(site ? site : context->session.config_path));
    }
}

static void print_cost(cli_context *context, const fleet_backend *b) {
    char text[200], price[64], origin[100];
    cli_price_origin(b, origin, sizeof origin);
    kit_format(text, sizeof text, "%s%s%s", cli_backend_price(b, price, sizeof price), origin[0] ? ", " : "", origin);
    line(context, "price", text);
    const fleet_detection *d = fleet_backend_detection(b);
    if (d->offers_asked && !b->priced_live) line(context, "", d->offer_why);
    print_overrides(context, b);
    if (b->offer->price_micro_usd_per_hour == PICK_UNPRICED) {
        cli_print(context, LABEL "%s\n", "",
                  cli_styled(context, CLI_YELLOW,
                             fleet_keeps_budget(b)
                                 ? "warning: billed per use: --max-price does not limit it; --budget does, because its "
                                   "service estimates a job before it accepts it"
                                 : "warning: billed per use: the cost is not predictable, and --budget and "
                                   "--max-price do not limit it"));
    }
}

/* The Python runtime for language models; nothing for a backend without one. */
static void print_environment(cli_context *context, const fleet_registry *registry, const fleet_backend *b) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    cJSON *environment = NULL;
    runtime_lock lock = {0};
    kit_buf text = {0};
    if (runtime_of(&context->session, b->name, &environment, &ignored) != KOLM_OK) return;
    kit_status known = runtime_lock_read(registry->found->trainer, b->row, &lock, &ignored);
    if (cJSON_IsObject(environment)) {
        const cJSON *about = kit_json_get(environment, "about");
        const char *made_from = "";
        runtime_text(environment, &text);
        line(context, "environment", kit_buf_text(&text));
        if (about && kit_json_get_string(about, "lock_sha256", &made_from) && known == KOLM_OK &&
            strcmp(made_from, lock.sha256) != 0)
            cli_print(context, LABEL "made from another lock; `kolm compute setup %s` creates it again\n", "", b->name);
        kit_buf_clear(&text);
        runtime_packages(about, &text);
        line(context, "packages", kit_buf_text(&text));
    } else if (known == KOLM_OK) {
        cli_print(context, LABEL "none; `kolm compute setup %s` makes one\n", "environment", b->name);
    }
    kit_buf_free(&text);
    runtime_lock_free(&lock);
    cJSON_Delete(environment);
}

static void print_score(cli_context *context, const fleet_registry *registry, const fleet_backend *b) {
    kolm_error_t err = KIT_ERROR_INIT;
    pick_candidate *candidates = NULL;
    char score[8];
    if (fleet_registry_candidates(registry, &candidates, &err) != KOLM_OK) return;
    pick_score_text(pick_score(&candidates[b - registry->backends], NULL), score);
    line(context, "score", score);
    fleet_candidates_free(candidates);
}

static void print_text(cli_context *context, const fleet_registry *registry, const fleet_backend *b) {
    static const char *const airgap[] = {"not allowed", "allowed", "with --allow-private-remote and a private target"};
    char number[32];
    kit_buf repro = {0};
    line(context, "name", b->name);
    line(context, "summary", b->manifest->summary);
    line(context, "kind", b->offer->kind);
    kit_format(number, sizeof number, "%" PRIu32, b->offer->tier);
    line(context, "tier", number);
    line(context, "state", fleet_backend_state(b));
    line(context, "reason", fleet_backend_detection(b)->reason);
    if (!fleet_backend_available(b)) line(context, "remedy", fleet_backend_detection(b)->remedy);
    print_devices(context, b);
    line(context, "requires", b->needs);
    print_tokens(context, registry, b);
    line(context, "runtime", b->manifest->runtime);
    line(context, "found", fleet_backend_detection(b)->runtime);
    print_environment(context, registry, b);
    print_vram(context, b);
    fleet_repro_put(&context->session, b, &repro);
    line(context, "reproducible", kit_buf_text(&repro));
    kit_buf_free(&repro);
    line(context, "trains", slot_word(b, b->offer->train, HOST_SLOT_TRAIN));
    line(context, "answers", slot_word(b, b->offer->infer, HOST_SLOT_INFER));
    cli_recipes_print(context, b);
    line(context, "formats", b->manifest->formats);
    line(context, "airgap", airgap[b->offer->airgap]);
    print_cost(context, b);
    kit_format(number, sizeof number, "%" PRIu32 " s", b->offer->cold_start_seconds);
    line(context, "cold start", number);
    kit_format(number, sizeof number, "%" PRIu32 ".%05" PRIu32, b->offer->perf_units / PICK_UNIT,
               b->offer->perf_units % PICK_UNIT);
    line(context, "perf", number);
    print_score(context, registry, b);
    cli_settings_print(context, b);
    line(context, "version", fleet_backend_detection(b)->version);
    line(context, "plugin", b->plugin_path);
    line(context, "manifest", b->manifest_path);
    if (host_manifest_unread(b->manifest))
        cli_print(context, LABEL "of a later version; this kolm does not know: %s\n", "",
                  cli_safe(host_manifest_unread(b->manifest)));
}

static bool put_tokens(cJSON *value, const fleet_registry *registry, const fleet_backend *b) {
    cJSON *array = cJSON_AddArrayToObject(value, "tokens");
    for (size_t i = 0; array && i < b->manifest->auth_count; i++) {
        store_secret_source source = STORE_SECRET_NONE;
        const char *secret = store_secret(registry->credentials, b->manifest->auth[i], &source);
        cJSON *object = cJSON_CreateObject();
        bool good = object && kit_json_put_string(object, "name", b->manifest->auth[i]) &&
                    kit_json_put_bool(object, "set", secret != NULL) &&
                    kit_json_put_string(object, "source", store_secret_source_name(source)) &&
                    kit_json_put_string(object, "tail", secret ? store_secret_tail(secret) : "");
        if (!cli_append(array, object, good)) return false;
    }
    return array != NULL;
}

static int print_as_json(cli_context *context, const fleet_registry *registry, const fleet_backend *b) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    cJSON *value = cJSON_CreateObject(), *environment = NULL;
    kit_buf repro = {0};
    fleet_repro_put(&context->session, b, &repro);
    if (runtime_of(&context->session, b->name, &environment, &ignored) != KOLM_OK) environment = cJSON_CreateNull();
    bool good = kit_json_put(value, "environment", environment) &&
                kit_json_put_string(value, "unread", host_manifest_unread(b->manifest)) &&
                kit_json_put_string(value, "schema", "kolm.compute.info/1") && cli_fill_backend(value, b) &&
                kit_json_put_bool(value, "cost_predictable", b->offer->price_micro_usd_per_hour != PICK_UNPRICED) &&
                put_tokens(value, registry, b) && cli_settings_put(context, value, b) && fleet_recipes_put(value, b) &&
                kit_json_put_string(value, "formats", b->manifest->formats) &&
                kit_json_put_string(value, "reproducible", kit_buf_text(&repro));
    kit_buf_free(&repro);
    return cli_print_json(context, cli_whole(value, good), CLI_EXIT_OK);
}

int cli_compute_info(cli_context *context, int argc, char **argv) {
    bool refresh = false;
    const cli_option options[] = {{"refresh", 0, CLI_FLAG, &refresh, NULL, "detect again and ignore the cache"}};
    const cli_syntax syntax = {
        .command = "kolm compute info",
        .words = "NAME",
        .summary = "Shows everything that is known about one backend.",
        CLI_ROWS(options),
    };
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_registry *registry = NULL;
    fleet_backend *backend = NULL;
    session_reason reason = SESSION_REASON_NONE;
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    exit_code = CLI_EXIT_OK;
    fleet_detect_options detect = {.only = argv[0], .refresh = refresh};
    kit_status status = fleet_registry_open(&context->session, &registry, &err);
    if (status == KOLM_OK) status = fleet_named(registry, argv[0], &backend, &reason, &err);
    if (backend && backend->bad_settings && !context->json) cli_settings_print(context, backend);
    if (status == KOLM_OK) status = fleet_registry_detect(&context->session, registry, &detect, &err);
    if (status != KOLM_OK)
        exit_code = cli_fail(context, reason, &err);
    else if (context->json)
        exit_code = print_as_json(context, registry, backend);
    else
        print_text(context, registry, backend);
    fleet_registry_free(registry);
    return exit_code;
}
