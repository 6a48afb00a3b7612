/* SPDX-License-Identifier: Apache-2.0 */
/* The exit codes of kolm, part of its documented interface: one for each reason (session/reason.h). */
#ifndef KOLM_CLI_EXIT_H
#define KOLM_CLI_EXIT_H

#include "session/reason.h"

#define CLI_EXIT_OK 0
#define CLI_EXIT_INTERNAL 1
#define CLI_EXIT_USAGE 2
#define CLI_EXIT_NOTHING 3
#define CLI_EXIT_GATE 4
#define CLI_EXIT_BACKEND 5
#define CLI_EXIT_DATA 6
#define CLI_EXIT_VERIFY 7
#define CLI_EXIT_UNJUDGED 8
#define CLI_EXIT_INTERRUPTED 130

/* The row of the table; 0 for NONE. */
int cli_exit_of(session_reason reason);

#endif
