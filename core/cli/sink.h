/* SPDX-License-Identifier: Apache-2.0 */
/* The one place where what happens in the rooms below comes out: on the terminal, or into a document. */
#ifndef KOLM_CLI_SINK_H
#define KOLM_CLI_SINK_H

#include "session/event.h"

/* session_sink.event; user is the cli_context. */
void cli_sink(void *user, const session_event *event);

#endif
