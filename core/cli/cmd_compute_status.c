/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute status: the default backend, jobs and leases, the detection cache, what was spent, and what is kept
 * elsewhere. */
#include "cli/cli.h"
#include "cli/elsewhere_text.h"
#include "cli/lease_text.h"
#include "cli/options.h"
#include "cli/output.h"
#include "fleet/overview.h"
#include "session/site.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define OLDER_SECONDS 86400 /* what --prune removes unless --older says otherwise */

static const char *state_of(const lease_entry *e) {
    return e->state == LEASE_DAMAGED ? "damaged" : e->owned ? "in use" : "open";
}

static void print_days(cli_context *context, const fleet_day *days, size_t count) {
    bool rented = false;
    char usd[32];
    for (size_t i = 0; i < count; i++)
        rented = rented || days[i].leases;
    for (size_t i = 0; i < count; i++) {
        const fleet_day *d = &days[i];
        cli_print(context, "  %-10s  %-14s %4" PRIu64 " compiles %9s", d->name[0] ? d->name : "?",
                  d->backend[0] ? cli_safe(d->backend) : "?", d->jobs ? d->jobs->jobs : 0,
                  session_usd(usd, sizeof usd, d->jobs ? d->jobs->cost_micro_usd : 0));
        if (rented)
            cli_print(context, "  %4" PRIu64 " rented %9s%s", d->leases ? d->leases->leases : 0,
                      session_usd(usd, sizeof usd, d->leases ? d->leases->billed_micro_usd : 0),
                      d->leases && d->leases->unknown ? ", and an unknown bill" : "");
        cli_print(context, "\n");
    }
}

static bool put_days(cJSON *value, const fleet_day *days, size_t count) {
    cJSON *list = cJSON_AddArrayToObject(value, "days");
    bool good = list != NULL;
    for (size_t i = 0; good && i < count; i++) {
        const fleet_day *d = &days[i];
        cJSON *row = cJSON_CreateObject();
        good = cJSON_AddItemToArray(list, row) && kit_json_put_string(row, "day", d->name[0] ? d->name : NULL) &&
               kit_json_put_string(row, "backend", d->backend[0] ? d->backend : NULL) &&
               kit_json_put_u64(row, "jobs", d->jobs ? d->jobs->jobs : 0) &&
               kit_json_put(row, "cost_usd", kit_json_micro(d->jobs ? d->jobs->cost_micro_usd : 0)) &&
               kit_json_put_u64(row, "unknown_cost", d->jobs ? d->jobs->unknown_cost : 0) &&
               kit_json_put_u64(row, "leases", d->leases ? d->leases->leases : 0) &&
               kit_json_put(row, "billed_usd", kit_json_micro(d->leases ? d->leases->billed_micro_usd : 0)) &&
               kit_json_put_u64(row, "unknown_billed", d->leases ? d->leases->unknown : 0);
    }
    return good;
}

static bool put_leases(cJSON *value, const lease_list *leases) {
    cJSON *list = cJSON_AddArrayToObject(value, "leases");
    bool good = list != NULL;
    for (size_t i = 0; good && i < leases->count; i++)
        good = cJSON_AddItemToArray(list, cli_lease_json(&leases->at[i], state_of(&leases->at[i])));
    return good;
}

static void print_leases(cli_context *context, const lease_list *leases) {
    if (leases->count == 0) {
        cli_print(context, "leases:   none\n");
        return;
    }
    cli_print(context, "leases:   %zu\n", leases->count);
    for (size_t i = 0; i < leases->count; i++)
        cli_lease_print(context, &leases->at[i], state_of(&leases->at[i]));
}

static void print_text(cli_context *context, const fleet_overview *s, const char *since, const char *home) {
    char cost[32], wall[32], age[32] = "none";
    const char *site =
        strcmp(s->by, "config") == 0 ? session_site_said(&context->session, "backend", NULL, NULL) : NULL;
    if (s->cache_age >= 0) session_duration(age, sizeof age, (uint64_t)s->cache_age * 1000);
    if (s->backend)
        cli_print(context, "default:  %s (%s%s%s)\n", cli_safe(s->backend), s->by, site ? ": " : "", site ? site : "");
    else
        cli_print(context, "default:  the picker chooses\n");
    if (s->jobs)
        cli_print(context, "jobs:     %zu\n", s->jobs);
    else
        cli_print(context, "jobs:     none\n");
    print_leases(context, &s->leases);
    cli_print(context, "detected: %s%s\n", age, s->cache_age >= 0 ? " ago" : "");
    cli_print(context, "totals:   %" PRIu64 " compiles, %s, %s (%s%s)\n", s->sums.jobs,
              session_duration(wall, sizeof wall, s->sums.wall_ms),
              session_usd(cost, sizeof cost, s->sums.cost_micro_usd), since ? "the last " : "all time",
              since ? since : "");
    if (s->sums.unknown_cost)
        cli_print(context, "          %" PRIu64 " of them without a known cost\n", s->sums.unknown_cost);
    print_days(context, s->days, s->day_count);
    if (s->sums.unreadable)
        cli_warn(context, "%" PRIu64 " lines of receipts.jsonl could not be read", s->sums.unreadable);
    if (s->rented.unreadable)
        cli_warn(context, "%" PRIu64 " lines of leases.jsonl could not be read", s->rented.unreadable);
    cli_print(context, "home:     %s\n", cli_safe(home));
}

/* value takes ownership of the lists. */
static bool put_elsewhere(cJSON *value, fleet_holdings *e) {
    cJSON *held = e->held, *asked = e->asked;
    e->held = e->asked = NULL;
    bool good = kit_json_put(value, "elsewhere", held);
    return kit_json_put(value, "asked", asked) && good;
}

static int print_as_json(cli_context *context, const fleet_overview *s, const char *since, const char *home,
                         fleet_holdings *e, int exit_code) {
    cJSON *value = cJSON_CreateObject();
    bool good = value && kit_json_put_string(value, "schema", "kolm.compute.status/1") &&
                kit_json_put_string(value, "home", home);
    cJSON *chosen = good ? cJSON_AddObjectToObject(value, "default") : NULL;
    good = chosen && kit_json_put_string(chosen, "backend", s->backend) && kit_json_put_string(chosen, "by", s->by) &&
           kit_json_put_u64(value, "jobs", s->jobs) && put_leases(value, &s->leases) &&
           (s->cache_age >= 0 ? kit_json_put_u64(value, "cache_age_seconds", (uint64_t)s->cache_age)
                              : kit_json_put_null(value, "cache_age_seconds"));
    cJSON *sums = good ? cJSON_AddObjectToObject(value, "totals") : NULL;
    good = sums && kit_json_put_string(sums, "since", since) && kit_json_put_u64(sums, "jobs", s->sums.jobs) &&
           kit_json_put_u64(sums, "wall_duration_ms", s->sums.wall_ms) &&
           kit_json_put(sums, "cost_usd", kit_json_micro(s->sums.cost_micro_usd)) &&
           kit_json_put_u64(sums, "unknown_cost", s->sums.unknown_cost) &&
           kit_json_put_u64(sums, "unreadable", s->sums.unreadable + s->rented.unreadable) &&
           put_days(value, s->days, s->day_count);
    if (good && e->held) good = put_elsewhere(value, e);
    return cli_print_json(context, cli_whole(value, good), exit_code);
}

/* Everything except the state of this machine. */
static int print_elsewhere(cli_context *context, fleet_holdings *e, int exit_code) {
    if (!context->json) {
        cli_elsewhere_print(context, e);
        return exit_code;
    }
    cJSON *value = cJSON_CreateObject();
    bool good = kit_json_put_string(value, "schema", "kolm.compute.status/1") && put_elsewhere(value, e);
    return cli_print_json(context, cli_whole(value, good), exit_code);
}

static int no_span(cli_context *context, const char *command, const char *option, const char *text) {
    return cli_usage_error(context, command, "--%s: '%s' is not a span such as 24h, 7d or 30m", option, cli_safe(text));
}

int cli_compute_status(cli_context *context, int argc, char **argv) {
    const char *since = NULL, *older = NULL;
    bool remote = false, prune = false;
    size_t words = 0;
    session_airgap airgap = SESSION_AIRGAP_OFF;
    const cli_option options[] = {
        {"since", 0, CLI_STRING, &since, "SPAN", "totals of the last 24h, 7d, 30m, ..."},
        {"remote", 0, CLI_FLAG, &remote, NULL, "query what every backend keeps elsewhere (uses the network)"},
        {"prune", 0, CLI_FLAG, &prune, NULL, "remove what is idle there (implies --remote)"},
        {"older", 0, CLI_STRING, &older, "SPAN", "prune only what has been unused for that long (1d)"},
        {"airgap", 0, CLI_AIRGAP, &airgap, NULL, "query no provider over the network; list what was not checked"},
    };
    const cli_syntax syntax = {.command = "kolm compute status",
                               .words = "[NAME]",
                               .summary =
                                   "Shows the default backend, jobs, leases and totals; what backends, or the one "
                                   "named, keep elsewhere.",
                               .word_count_out = &words,
                               CLI_ROWS(options)};
    kolm_error_t err = KIT_ERROR_INIT;
    store_home *home = NULL;
    fleet_holdings elsewhere = {0};
    fleet_overview s = {0};
    int64_t span = 0, from = INT64_MIN, age = OLDER_SECONDS, now = (int64_t)time(NULL);
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    if (since && !session_span_parse(since, &span)) return no_span(context, syntax.command, "since", since);
    if (older && !session_span_parse(older, &age)) return no_span(context, syntax.command, "older", older);
    if (older && !prune) return cli_usage_error(context, syntax.command, "--older says what --prune removes: use both");
    if (since) from = now - span;
    const char *name = words > 0 ? argv[0] : NULL;
    session_reason failed = SESSION_REASON_NONE;
    fleet_reap_start(&context->session, airgap);
    kit_status status = session_home(&context->session, &home, &err);
    if (status == KOLM_OK && !name) status = fleet_overview_get(&context->session, from, &s, &err);
    if (status == KOLM_OK && (name || remote || prune)) {
        const fleet_holdings_options where = {
            .only = name, .airgap = airgap, .prune = prune, .older_seconds = (uint64_t)age};
        status = fleet_holdings_query(&context->session, &where, &elsewhere, &failed, &err);
    }
    exit_code = elsewhere.failed ? CLI_EXIT_BACKEND : CLI_EXIT_OK;
    if (status != KOLM_OK)
        exit_code = cli_fail(context, failed, &err);
    else if (name)
        exit_code = print_elsewhere(context, &elsewhere, exit_code);
    else if (context->json)
        exit_code = print_as_json(context, &s, since, store_home_path(home), &elsewhere, exit_code);
    else {
        print_text(context, &s, since, store_home_path(home));
        if (elsewhere.held) cli_elsewhere_print(context, &elsewhere);
    }
    fleet_holdings_free(&elsewhere);
    fleet_overview_free(&s);
    return exit_code;
}
