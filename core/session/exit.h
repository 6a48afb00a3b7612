/* SPDX-License-Identifier: Apache-2.0 */
/* What a failure means to whoever asked for the work. */
#ifndef KOLM_SESSION_EXIT_H
#define KOLM_SESSION_EXIT_H

#include <stdint.h>

/* The exit codes of kolm; part of its documented interface, and of what the server of a model sends (model/serve.h). */
#define SESSION_EXIT_OK 0
#define SESSION_EXIT_INTERNAL 1 /* kolm itself could not work: no memory, disk full, standard output closed */
#define SESSION_EXIT_USAGE 2    /* the command line or the environment is wrong */
#define SESSION_EXIT_NOTHING 3  /* no backend is available for this */
#define SESSION_EXIT_GATE 4     /* the model was made and is not good enough */
#define SESSION_EXIT_BACKEND 5  /* a backend failed, or does not do this */
#define SESSION_EXIT_DATA 6     /* a file is missing, unreadable or not what it should be */
#define SESSION_EXIT_VERIFY 7   /* a signature, a digest or a replay does not agree */
#define SESSION_EXIT_UNJUDGED                                                                                          \
    8 /* nobody knows whether a model may be believed: keyring, log or disk could not be read */
#define SESSION_EXIT_INTERRUPTED 130 /* Ctrl-C or SIGTERM */

/* The one that a failed file or data operation deserves: 130 for CANCELLED, 1 for RESOURCE_EXHAUSTED and INTERNAL, 2 for
 * FAILED_PRECONDITION, 5 for UNIMPLEMENTED, UNAVAILABLE and DEADLINE_EXCEEDED, else 6. */
int session_exit_of(int32_t code);

#endif
