/* SPDX-License-Identifier: Apache-2.0 */
/* kolm backend: the table of its verbs, for those who make, package or admit backends. */
#include "cli/cli.h"
#include "cli/output.h"

#include <string.h>

static const cli_command verbs[] = {
    {"new", "write a backend of your own in one file", cli_backend_new},
    {"check", "does a backend keep the contract?", cli_backend_check},
    {"list", "every directory searched, every file considered", cli_backend_list},
    {"why", "what became of one name, and which rule decided", cli_backend_why},
    {"trust", "believe the key of a publisher of backends", cli_backend_trust},
    {"sign", "sign a backend with the key of this home", cli_backend_sign},
};

int cli_cmd_backend(cli_context *context, int argc, char **argv) {
    const size_t count = sizeof verbs / sizeof *verbs;
    bool help = argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    if (argc >= 2 && !help) return cli_dispatch(context, "kolm backend", verbs, count, argc - 1, argv + 1);
    cli_print(context, "kolm backend: for those who make, package or admit backends.\n\n"
                       "usage: kolm backend COMMAND [options]\n\ncommands:\n");
    for (size_t i = 0; i < count; i++)
        cli_print(context, "  %-8s  %s\n", verbs[i].name, verbs[i].help);
    cli_print(context, "\n  kolm backend COMMAND --help says more.\n");
    return help ? CLI_EXIT_OK : CLI_EXIT_USAGE;
}
