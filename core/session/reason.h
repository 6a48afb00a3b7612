/* SPDX-License-Identifier: Apache-2.0 */
/* Why an operation failed, from the caller's point of view: who can fix it, which a status does not tell. */
#ifndef KOLM_SESSION_REASON_H
#define KOLM_SESSION_REASON_H

#include <stdint.h>

/*
 * A function that returns a reason in addition to its status sets it before each step that may fail, so that it is
 * correct however the step fails. The command maps each to an exit code (core/cli/exit.h), and the server of a model
 * sends its number (model/serve.h), so the numbers must not change.
 */
typedef enum session_reason {
    SESSION_REASON_NONE = 0,     /* nothing more specific than the status: session_reason_of */
    SESSION_REASON_INTERNAL = 1, /* kolm itself could not work: no memory, disk full */
    SESSION_REASON_USAGE = 2,    /* the request or the environment is wrong */
    SESSION_REASON_NOTHING = 3,  /* no backend is available for this */
    SESSION_REASON_GATE = 4,     /* the model was trained but is not good enough */
    SESSION_REASON_BACKEND = 5,  /* a backend failed, or does not do this */
    SESSION_REASON_DATA = 6,     /* a file is missing, unreadable or not what it should be */
    SESSION_REASON_VERIFY = 7,   /* a signature, a digest or a replay does not agree */
    SESSION_REASON_UNJUDGED = 8, /* it is unknown whether a model is trusted: keyring, log or disk could not be read */
    SESSION_REASON_INTERRUPTED = 9, /* the session was stopped */
} session_reason;

/* The reason of a failed file or data operation: INTERRUPTED for CANCELLED, INTERNAL for RESOURCE_EXHAUSTED and
 * INTERNAL, USAGE for FAILED_PRECONDITION, BACKEND for UNIMPLEMENTED, UNAVAILABLE and DEADLINE_EXCEEDED, NONE for OK,
 * else DATA. */
session_reason session_reason_of(int32_t code);

#endif
