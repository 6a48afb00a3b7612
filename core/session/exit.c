/* SPDX-License-Identifier: Apache-2.0 */
/* Which exit code a status deserves where nothing more is known. */
#include "session/exit.h"

#include "kolm/kit/status.h"

int session_exit_of(int32_t code) {
    switch (code) {
    case KOLM_OK:
        return SESSION_EXIT_OK;
    case KOLM_E_CANCELLED:
        return SESSION_EXIT_INTERRUPTED;
    case KOLM_E_RESOURCE_EXHAUSTED:
    case KOLM_E_INTERNAL:
        return SESSION_EXIT_INTERNAL;
    case KOLM_E_FAILED_PRECONDITION:
        return SESSION_EXIT_USAGE;
    case KOLM_E_UNIMPLEMENTED:
    case KOLM_E_UNAVAILABLE:
    case KOLM_E_DEADLINE_EXCEEDED:
        return SESSION_EXIT_BACKEND;
    default:
        return SESSION_EXIT_DATA;
    }
}
