/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute reap: lists and ends leases that earlier calls left open. */
#include "cli/cli.h"
#include "cli/lease_text.h"
#include "cli/options.h"
#include "cli/output.h"

#include <stdlib.h>
#include <string.h>

static const char *state_of(const fleet_reaped *r, bool look) {
    if (look) return r->lease.state == LEASE_DAMAGED ? "damaged" : "open";
    return fleet_reap_fate_name(r->fate);
}

/* True if the same message was already printed: one that applies to several leases of a backend (a rejected token, for
 * example) is printed once, one that names a lease for each. */
static bool is_said(const fleet_reap *reap, size_t at) {
    const fleet_reaped *r = &reap->at[at], *before = at > 0 ? r - 1 : NULL;
    return before && strcmp(before->lease.backend, r->lease.backend) == 0 && strcmp(before->why, r->why) == 0 &&
           strcmp(before->remedy, r->remedy) == 0;
}

static void print_text(cli_context *context, const fleet_reap *reap, bool look) {
    size_t open = fleet_reap_open(reap);
    for (size_t i = 0; i < reap->count; i++) {
        const fleet_reaped *r = &reap->at[i];
        char usd[32];
        cli_lease_print(context, &r->lease, state_of(r, look));
        if (r->fate == FLEET_REAP_ENDED && r->lease.billed_micro_usd <= INT64_MAX)
            cli_print(context, "      billed %s\n", session_usd(usd, sizeof usd, r->lease.billed_micro_usd));
        if (!r->why[0] || is_said(reap, i)) continue;
        cli_print(context, "      %s", cli_safe(r->why));
        cli_print(context, "%s%s\n", r->remedy[0] ? "; " : "", cli_safe(r->remedy));
    }
    for (size_t i = 0; i < reap->owned.count; i++)
        cli_lease_print(context, &reap->owned.at[i], "in use");
    if (reap->count + reap->owned.count == 0)
        cli_print(context, "nothing is rented\n");
    else if (look && open > 0)
        cli_print(context, "`kolm compute reap --yes` ends open leases; those in use belong to a running call\n");
}

static int print_as_json(cli_context *context, const fleet_reap *reap, bool look, int exit_code) {
    cJSON *value = cJSON_CreateObject();
    bool good = kit_json_put_string(value, "schema", "kolm.compute.reap/1");
    cJSON *list = good ? cJSON_AddArrayToObject(value, "leases") : NULL;
    good = list != NULL;
    for (size_t i = 0; good && i < reap->count; i++) {
        const fleet_reaped *r = &reap->at[i];
        cJSON *row = cli_lease_json(&r->lease, state_of(r, look));
        good = row && cJSON_AddItemToArray(list, row) && kit_json_put_string(row, "why", r->why[0] ? r->why : NULL) &&
               kit_json_put_string(row, "remedy", r->remedy[0] ? r->remedy : NULL);
    }
    for (size_t i = 0; good && i < reap->owned.count; i++)
        good = cJSON_AddItemToArray(list, cli_lease_json(&reap->owned.at[i], "in use"));
    if (good) good = kit_json_put_u64(value, "open", fleet_reap_open(reap));
    return cli_print_json(context, cli_whole(value, good), exit_code);
}

int cli_compute_reap(cli_context *context, int argc, char **argv) {
    bool yes = false;
    const char *forget = NULL;
    fleet_reap_options how = {.look = true};
    const cli_option options[] = {
        {"yes", 0, CLI_FLAG, &yes, NULL, "end it"},
        {"airgap", 0, CLI_AIRGAP, &how.airgap, NULL, "query no provider over the network; list what was not checked"},
        {"forget", 0, CLI_STRING, &forget, "NAME", "remove the record of a lease that you have ended at the provider"},
    };
    const cli_syntax syntax = {.command = "kolm compute reap",
                               .words = "",
                               .summary = "Lists leases that earlier calls left open; with --yes ends them.",
                               CLI_ROWS(options)};
    fleet_reap reap = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    if (forget && yes)
        return cli_usage_error(context, syntax.command, "--yes ends all, --forget ends none: use one of them");
    kit_status status = forget ? fleet_reap_forget(&context->session, forget, &err) : KOLM_OK;
    how.look = !yes;
    how.timeout_ms = 60000;
    if (status == KOLM_OK) status = fleet_reap_run(&context->session, NULL, &how, &reap, &err);
    exit_code = yes && fleet_reap_open(&reap) > 0 ? CLI_EXIT_BACKEND : CLI_EXIT_OK;
    if (status != KOLM_OK)
        exit_code = cli_fail(context, status == KOLM_E_NOT_FOUND ? SESSION_REASON_USAGE : SESSION_REASON_NONE, &err);
    else if (context->json)
        exit_code = print_as_json(context, &reap, how.look, exit_code);
    else
        print_text(context, &reap, how.look);
    fleet_reap_free(&reap);
    return exit_code;
}
