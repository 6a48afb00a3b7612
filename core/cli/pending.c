/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs that the table already names and whose own file is still to come; a verb's function leaves here when its file
 * arrives. */
#include "cli/cli.h"
#include "cli/output.h"

static int pending(cli_context *context, const char *verb) {
    kolm_error_t err = KIT_ERROR_INIT;
    int32_t code = kit_fail(&err, KOLM_E_UNIMPLEMENTED, "use a later version", "%s is not in this build", verb);
    return cli_error(context, code == KOLM_E_UNIMPLEMENTED ? CLI_EXIT_BACKEND : CLI_EXIT_INTERNAL, &err);
}

#define PENDING(function)                                                                                              \
    int function(cli_context *context, int argc, char **argv) {                                                        \
        (void)argc;                                                                                                    \
        return pending(context, argv[0]);                                                                              \
    }

PENDING(cli_cmd_inspect)
PENDING(cli_cmd_verify)
PENDING(cli_cmd_keys)
