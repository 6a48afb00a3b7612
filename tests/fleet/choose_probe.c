/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the decision of fleet_choose, for test_choose.py: choose_probe [--backend NAME] [--airgap] [--budget USD]
 * [--infer]. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "fleet/choose.h"

int main(int argc, char **argv) {
    cli_context context;
    fleet_choose_options o = {0};
    fleet_choice *choice = NULL;
    session_number budget = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    const cli_option options[] = {
        {"backend", 0, CLI_STRING, &o.backend, "NAME", "use this one"},
        {"airgap", 0, CLI_FLAG, &o.constraints.airgap, NULL, "no network"},
        {"infer", 0, CLI_FLAG, &o.constraints.infer, NULL, "to answer"},
        {"budget", 0, CLI_USD, &budget, "USD", "an hour"},
    };
    const cli_syntax syntax = {
        .command = "choose_probe", .words = "", .summary = "Chooses.", .options = options, .option_count = 4};
    cli_context_init(&context, argv[0]);
    session_reason reason = SESSION_REASON_NONE;
    int exit_code = cli_options_parse(&context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    o.constraints.has_budget = budget.set;
    o.constraints.budget_micro_usd_per_hour = budget.value;
    if (fleet_choose(&context.session, &o, &choice, &reason, &err) != KOLM_OK) {
        exit_code = cli_fail(&context, reason, &err);
    } else {
        const char *picked = "none";
        (void)kit_json_get_string(choice->record, "picked", &picked);
        cli_print(&context, "using %s\nby %s\npicker %s\n", choice->said, choice->by_name, picked);
        exit_code = CLI_EXIT_OK;
    }
    fleet_choice_free(choice);
    cli_context_free(&context);
    return cli_output_finish(&context, exit_code);
}
