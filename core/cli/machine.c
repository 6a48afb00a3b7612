/* SPDX-License-Identifier: Apache-2.0 */
/* The one place where the configured SYSCONFDIR gets into kolm. */
#include "cli/machine.h"

const char cli_machine_dir[] = CLI_SYSCONFDIR "/kolm";
