/* SPDX-License-Identifier: Apache-2.0 */
/* The table of exit codes. */
#include "cli/exit.h"

int cli_exit_of(session_reason reason) {
    static const int codes[] = {
        [SESSION_REASON_NONE] = CLI_EXIT_OK,           [SESSION_REASON_INTERNAL] = CLI_EXIT_INTERNAL,
        [SESSION_REASON_USAGE] = CLI_EXIT_USAGE,       [SESSION_REASON_NOTHING] = CLI_EXIT_NOTHING,
        [SESSION_REASON_GATE] = CLI_EXIT_GATE,         [SESSION_REASON_BACKEND] = CLI_EXIT_BACKEND,
        [SESSION_REASON_DATA] = CLI_EXIT_DATA,         [SESSION_REASON_VERIFY] = CLI_EXIT_VERIFY,
        [SESSION_REASON_UNJUDGED] = CLI_EXIT_UNJUDGED, [SESSION_REASON_INTERRUPTED] = CLI_EXIT_INTERRUPTED,
    };
    return codes[reason];
}
