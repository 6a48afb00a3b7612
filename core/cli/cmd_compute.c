/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute: the table of its verbs. */
#include "cli/cli.h"
#include "cli/output.h"

#include <string.h>

static const cli_command verbs[] = {
    {"list", "every backend kolm knows about", cli_compute_list},
    {"detect", "look at this machine and say which backends are usable", cli_compute_detect},
    {"pick", "choose a backend, and say why", cli_compute_pick},
    {"use", "make a backend the default", cli_compute_use},
    {"info", "everything about one backend", cli_compute_info},
    {"status", "default backend, jobs, leases, totals", cli_compute_status},
    {"test", "prove a backend before it is needed", cli_compute_test},
    {"quote", "what a job would take and cost on every backend", cli_compute_quote},
};

static void print_help(cli_context *context) {
    cli_print(context, "kolm compute: the picker and its backends.\n\nusage: kolm compute COMMAND [options]\n\ncommands:\n");
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        cli_print(context, "  %-8s  %s\n", verbs[i].name, verbs[i].help);
    }
    cli_print(context, "\n  kolm compute COMMAND --help says more.\n");
}

int cli_cmd_compute(cli_context *context, int argc, char **argv) {
    if (argc < 2) {
        print_help(context);
        return CLI_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(context);
        return CLI_EXIT_OK;
    }
    return cli_dispatch(context, "kolm compute", verbs, sizeof verbs / sizeof *verbs, argc - 1, argv + 1);
}
