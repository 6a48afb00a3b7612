/* SPDX-License-Identifier: Apache-2.0 */
/* The only place where events of the rooms below become output: on the terminal, or in a document. */
#ifndef KOLM_CLI_SINK_H
#define KOLM_CLI_SINK_H

#include "session/event.h"

/* session_sink.event; user is the cli_context. */
void cli_sink(void *user, const session_event *event);

#endif
