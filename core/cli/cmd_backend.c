/* SPDX-License-Identifier: Apache-2.0 */
/* kolm backend: the table of its verbs, for authors, packagers and administrators of backends. */
#include "cli/cli.h"
#include "cli/output.h"

#include <string.h>

static const cli_command verbs[] = {
    {"new", "write a new backend, in one file", cli_backend_new},
    {"check", "check that a backend keeps the contract", cli_backend_check},
    {"list", "every directory searched, every file considered", cli_backend_list},
    {"why", "why a backend is used or not: the rule that decided", cli_backend_why},
    {"grant", "grant a backend the secrets and files that it requests", cli_backend_grant},
    {"trust", "trust the key of a publisher of backends", cli_backend_trust},
    {"untrust", "stop trusting plugins signed by a key", cli_backend_untrust},
    {"keys", "the keys whose plugins are trusted here", cli_backend_keys},
    {"sign", "sign a backend with the key of this home", cli_backend_sign},
};

int cli_cmd_backend(cli_context *context, int argc, char **argv) {
    return cli_group_of(context, "kolm backend", "for authors, packagers and administrators of backends.", verbs,
                        sizeof verbs / sizeof *verbs, argc, argv);
}
