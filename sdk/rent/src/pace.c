/* SPDX-License-Identifier: Apache-2.0 */
/* How often a provider is polled. */
#include "pace.h"

#define FIRST_MS 250u
#define OFTEN_MS 60000u

/* Detects fast changes fast, and in the whole first minute polls no more than once per poll_ms on average. */
uint64_t rent_pace_pause(uint64_t poll_ms, uint64_t age_ms) {
    if (age_ms > OFTEN_MS) return poll_ms * 4;
    uint64_t pause = FIRST_MS + age_ms * 2 / 3;
    return pause < poll_ms * 2 ? pause : poll_ms * 2;
}

int64_t rent_pace_next(uint32_t gap_ms, uint32_t create_gap_ms, int64_t asked_ms, int64_t created_ms, bool creates) {
    int64_t next = asked_ms > 0 ? asked_ms + gap_ms : 0;
    if (creates && created_ms > 0 && created_ms + create_gap_ms > next) next = created_ms + create_gap_ms;
    return next;
}
