/* SPDX-License-Identifier: Apache-2.0 */
/* Why something did not succeed, for whoever asked for it: whose turn it is now, which a status does not say. */
#ifndef KOLM_SESSION_REASON_H
#define KOLM_SESSION_REASON_H

#include <stdint.h>

/*
 * A function that gives a reason besides its status sets it before a step that may fail, so that it is right whichever way the step
 * fails. What a program makes of it is its own affair: the command has one exit code for each (core/cli/exit.h), and the server of a
 * model sends its number (model/serve.h), which therefore stays what it is.
 */
typedef enum session_reason {
    SESSION_REASON_NONE = 0,     /* no more than the status says: session_reason_of */
    SESSION_REASON_INTERNAL = 1, /* kolm itself could not work: no memory, disk full */
    SESSION_REASON_USAGE = 2,    /* what was asked for, or the environment, is wrong */
    SESSION_REASON_NOTHING = 3,  /* no backend is available for this */
    SESSION_REASON_GATE = 4,     /* the model was made and is not good enough */
    SESSION_REASON_BACKEND = 5,  /* a backend failed, or does not do this */
    SESSION_REASON_DATA = 6,     /* a file is missing, unreadable or not what it should be */
    SESSION_REASON_VERIFY = 7,   /* a signature, a digest or a replay does not agree */
    SESSION_REASON_UNJUDGED = 8, /* unknown whether a model may be believed: keyring, log or disk could not be read */
    SESSION_REASON_INTERRUPTED = 9, /* the session was stopped */
} session_reason;

/* The one that a failed file or data operation has: INTERRUPTED for CANCELLED, INTERNAL for RESOURCE_EXHAUSTED and INTERNAL, USAGE for
 * FAILED_PRECONDITION, BACKEND for UNIMPLEMENTED, UNAVAILABLE and DEADLINE_EXCEEDED, NONE for OK, else DATA. */
session_reason session_reason_of(int32_t code);

#endif
