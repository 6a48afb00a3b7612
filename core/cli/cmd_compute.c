/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute: the table of its verbs. */
#include "cli/cli.h"
#include "cli/output.h"

#include <string.h>

static const cli_command verbs[] = {
    {"list", "every backend kolm knows about", cli_compute_list},
    {"detect", "detect which backends are usable on this machine", cli_compute_detect},
    {"pick", "choose a backend, and say why", cli_compute_pick},
    {"use", "make a backend the default", cli_compute_use},
    {"info", "everything about one backend", cli_compute_info},
    {"status", "default backend, jobs, totals, and what is kept elsewhere", cli_compute_status},
    {"reap", "end leases that earlier calls left open", cli_compute_reap},
    {"test", "test a backend before it is needed", cli_compute_test},
    {"setup", "create the Python runtime of a backend", cli_compute_setup},
    {"quote", "what a job would take and cost on every backend", cli_compute_quote},
};

int cli_cmd_compute(cli_context *context, int argc, char **argv) {
    return cli_group_of(context, "kolm compute", "the picker and its backends.", verbs, sizeof verbs / sizeof *verbs,
                        argc, argv);
}
