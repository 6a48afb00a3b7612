/* SPDX-License-Identifier: Apache-2.0 */
/* The record of a rental in kolm's own journal: kit_rent_journal over the host service lease. */
#ifndef KOLM_RENT_JOURNAL_H
#define KOLM_RENT_JOURNAL_H

#include "kolm/backend.h"
#include "kolm/rent/rent.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Set plan.journal to &kit_rent_host_journal and plan.journal_user to a kit_rent_host of train, infer, test or reclaim.
 * A record is on disk when a function returns, and kolm calls reclaim for everything that is not gone at the end. With
 * an ABI older than 1.2, or without network, intent fails, so nothing is created. Any thread.
 */
typedef struct kit_rent_host {
    const kolm_host_v1_t *host;
    const char *kind;  /* "instance" or "job" */
    const char *place; /* region or account, as named by the user; never "" */
} kit_rent_host;

extern const kit_rent_journal kit_rent_host_journal;

/* Builds kit_rent_host.place: PLACE, followed by which account, or which part of one, in brackets. A provider also
 * answers "not found" for what is in another account, so that answer is valid only in the recorded one. which: ""
 * records none. */
#define KIT_RENT_PLACE_BYTES 200u
void kit_rent_place(const char *place, const char *which, char out[KIT_RENT_PLACE_BYTES]);
/* Returns true if a recorded place ends in that one, whatever precedes it, because names may change. Also true if the
 * record has none, as from an older kolm. */
bool kit_rent_place_is(const char *place, const char *which);
/* Fills the result of reclaim for something that was not found here but recorded in another place. */
void kit_rent_doubt(const char *name, const char *here, const char *recorded, kolm_reclaim_result_t *out_result);

/* Builds plan.prefix: BACKEND, '-' and 16 random hexadecimal digits, unique to the job. backend: at most 23 bytes that
 * are allowed in a prefix. UNKNOWN if the system has no random bytes. */
#define KIT_RENT_PREFIX_BYTES 41u
kit_status kit_rent_make_prefix(const char *backend, char out[KIT_RENT_PREFIX_BYTES], kolm_error_t *err) KIT_MUST_USE;

/* Fills the result of reclaim from a state machine begun with kit_rent_reclaim: GONE in the state gone, with an unknown
 * bill, because the time of its end is unknown; RUNNING in destroying, and in lost with a handle; else UNKNOWN. The
 * summary is the error, if any. */
void kit_rent_reclaimed(const kit_rent *rent, kolm_reclaim_result_t *out_result);

#ifdef __cplusplus
}
#endif
#endif
