/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute quote: estimated time and cost of a job on every backend, with the basis of each figure. */
#include "cli/backend_text.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "fleet/quote.h"
#include "fleet/reap.h"
#include "host/host.h"
#include "session/site.h"

#include <inttypes.h>

#define COUNT_MAX 1000000000000u /* of rows and the like: above it a sum could overflow */

static const char *confidence_word(uint32_t confidence) {
    switch (confidence) {
    case KOLM_CONFIDENCE_MEASURED:
        return "measured";
    case KOLM_CONFIDENCE_MODEL:
        return "modelled";
    default:
        return "guess";
    }
}

static void price_text(const fleet_backend *b, const char *site, char *out, size_t capacity) {
    const fleet_detection *d = fleet_backend_detection(b);
    char origin[100];
    if (b->offer->price_micro_usd_per_hour == 0)
        kit_copy(out, capacity, "free");
    else if (fleet_price_overridden(b) && site)
        kit_copy(out, capacity, "price from the machine's config.json");
    else if (b->priced_live)
        kit_format(out, capacity, "live price of its cheapest offer that fits, %s", b->priced_on);
    else
        kit_format(out, capacity, "%s%s%s", cli_price_origin(b, origin, sizeof origin),
                   d->offers_asked && d->offer_why[0] ? ": " : "", d->offers_asked ? d->offer_why : "");
}

static void print_quotes(cli_context *context, const fleet_registry *registry, const fleet_quote *quotes,
                         const kolm_cost_args_t *job) {
    char duration[32], cost[32], bytes[32], price[400];
    cli_print(context, "%" PRIu64 " rows, %s, recipe %s\n", job->rows,
              session_bytes(bytes, sizeof bytes, job->input_bytes), cli_safe(job->recipe));
    for (size_t i = 0; i < registry->count; i++) {
        const fleet_backend *b = &registry->backends[i];
        const kolm_cost_result_t *c = &quotes[i].cost;
        if (!quotes[i].answered) {
            cli_print(context, "  %-14s  %-9s  %-10s  %s\n", cli_safe(b->name), "-", "-", cli_safe(quotes[i].why));
            continue;
        }
        price_text(b, session_site_said(&context->session, "backends", b->name, "cost_per_hour_usd"), price,
                   sizeof price);
        cli_print(context, "  %-14s  %-9s  %-10s  %-8s  %s; %s%s\n", b->name,
                  session_duration(duration, sizeof duration, c->duration_ms),
                  session_usd(cost, sizeof cost, c->cost_micro_usd), confidence_word(c->confidence), cli_safe(c->basis),
                  cli_safe(price),
                  fleet_second_start(b) > 0 ? "; with the start of a second machine for the answers" : "");
    }
}

static bool put_quote(cJSON *array, const fleet_registry *registry, size_t i, const fleet_quote *quote) {
    static const char *const billings[] = {"free", "per-hour", "per-token", "per-call"};
    const fleet_backend *b = &registry->backends[i];
    const kolm_cost_result_t *c = &quote->cost;
    int64_t age = fleet_price_age(registry, b);
    cJSON *o = cJSON_CreateObject();
    bool good = o && kit_json_put_string(o, "name", b->name) && kit_json_put_bool(o, "answered", quote->answered);
    if (good && !quote->answered) good = kit_json_put_string(o, "why", quote->why);
    if (good && quote->answered) {
        good = (c->duration_ms == UINT64_MAX ? kit_json_put_null(o, "duration_ms")
                                             : kit_json_put_u64(o, "duration_ms", c->duration_ms)) &&
               (c->cost_micro_usd == UINT64_MAX ? kit_json_put_null(o, "cost_usd")
                                                : kit_json_put(o, "cost_usd", kit_json_micro(c->cost_micro_usd))) &&
               kit_json_put_string(o, "billing", billings[c->billing < 4 ? c->billing : 0]) &&
               kit_json_put_string(o, "confidence", confidence_word(c->confidence)) &&
               kit_json_put_string(o, "basis", c->basis) &&
               kit_json_put_string(o, "price_source", fleet_price_source(b)) &&
               (age < 0 ? kit_json_put_null(o, "price_age_seconds")
                        : kit_json_put_u64(o, "price_age_seconds", (uint64_t)age));
    }
    return cli_append(array, o, good);
}

static int print_as_json(cli_context *context, const fleet_registry *registry, const fleet_quote *quotes,
                         const kolm_cost_args_t *job) {
    cJSON *value = cJSON_CreateObject();
    bool good = value && kit_json_put_string(value, "schema", "kolm.compute.quote/1");
    cJSON *asked = good ? cJSON_AddObjectToObject(value, "job") : NULL;
    good = asked && kit_json_put_u64(asked, "rows", job->rows) &&
           kit_json_put_u64(asked, "input_bytes", job->input_bytes) && kit_json_put_u64(asked, "labels", job->labels) &&
           kit_json_put_u64(asked, "epochs", job->epochs) &&
           kit_json_put_u64(asked, "base_parameters", job->base_parameters) &&
           kit_json_put_string(asked, "recipe", job->recipe);
    cJSON *list = good ? cJSON_AddArrayToObject(value, "quotes") : NULL;
    good = list != NULL;
    for (size_t i = 0; good && i < registry->count; i++)
        good = put_quote(list, registry, i, &quotes[i]);
    return cli_print_json(context, cli_whole(value, good), CLI_EXIT_OK);
}

static int quote(cli_context *context, const fleet_quote_request *o) {
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_quotes quotes;
    int exit_code = CLI_EXIT_OK;
    kit_status status = fleet_quotes_get(&context->session, o, &quotes, &err);
    if (status != KOLM_OK)
        exit_code = cli_fail(context, SESSION_REASON_NONE, &err);
    else if (context->json)
        exit_code = print_as_json(context, quotes.registry, quotes.at, &quotes.job);
    else
        print_quotes(context, quotes.registry, quotes.at, &quotes.job);
    fleet_quotes_free(&quotes);
    return exit_code;
}

int cli_compute_quote(cli_context *context, int argc, char **argv) {
    fleet_quote_request o = {0};
    const cli_option options[] = {
        {"data", 'd', CLI_STRING, &o.data, "FILE",
         "the training data: rows and bytes are counted; - for standard input"},
        {"rows", 0, CLI_U64, &o.rows, "N", "training rows, instead of -d"},
        {"bytes", 0, CLI_U64, &o.bytes, "N", "bytes of all inputs"},
        {"labels", 0, CLI_U64, &o.labels, "N", "distinct outputs, where known"},
        {"recipe", 0, CLI_STRING, &o.recipe, "NAME", "linear, lora, or what a backend makes"},
        {"base-parameters", 0, CLI_U64, &o.parameters, "N", "parameters of the base model"},
        {"epochs", 0, CLI_U64, &o.epochs, "N", "passes over the data; the backend's own number otherwise"},
        {"airgap", 0, CLI_AIRGAP, &o.airgap, NULL,
         "query no backend that needs the network, and deny it to the others (strict)"},
    };
    const cli_syntax syntax = {.command = "kolm compute quote",
                               .words = "",
                               .summary = "Estimates time and cost of a job on every backend.",
                               CLI_ROWS(options)};
    int result = cli_options_parse(context, &syntax, argc, argv);
    if (result >= 0) return result;
    if (!o.data && !o.rows.set)
        return cli_usage_error(context, syntax.command, "nothing to quote: pass -d FILE or --rows N");
    if (o.recipe && !host_recipe_name_ok(o.recipe))
        return cli_usage_error(context, syntax.command, "--recipe: '%s' is not the name of a recipe",
                               cli_safe(o.recipe));
    if (o.rows.value > COUNT_MAX || o.bytes.value > COUNT_MAX * 1000 || o.labels.value > COUNT_MAX ||
        o.parameters.value > COUNT_MAX * 1000)
        return cli_usage_error(context, syntax.command, "one of the numbers is too large for any job");
    if (o.rows.set && o.rows.value == 0)
        return cli_usage_error(context, syntax.command, "--rows 0: there is nothing to quote");
    if (o.epochs.value > UINT32_MAX)
        return cli_usage_error(context, syntax.command, "--epochs: the number is too large");
    fleet_reap_start(&context->session, o.airgap);
    return quote(context, &o);
}
