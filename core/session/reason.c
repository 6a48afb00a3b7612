/* SPDX-License-Identifier: Apache-2.0 */
/* Maps a status to a reason. */
#include "session/reason.h"

#include "kolm/kit/status.h"

session_reason session_reason_of(int32_t code) {
    switch (code) {
    case KOLM_OK:
        return SESSION_REASON_NONE;
    case KOLM_E_CANCELLED:
        return SESSION_REASON_INTERRUPTED;
    case KOLM_E_RESOURCE_EXHAUSTED:
    case KOLM_E_INTERNAL:
        return SESSION_REASON_INTERNAL;
    case KOLM_E_FAILED_PRECONDITION:
        return SESSION_REASON_USAGE;
    case KOLM_E_UNIMPLEMENTED:
    case KOLM_E_UNAVAILABLE:
    case KOLM_E_DEADLINE_EXCEEDED:
        return SESSION_REASON_BACKEND;
    default:
        return SESSION_REASON_DATA;
    }
}
