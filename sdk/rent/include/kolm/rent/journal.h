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
 * plan.journal = &kit_rent_host_journal and plan.journal_user = a kit_rent_host of train, infer, test or reclaim: a
 * record is on disk when the function returns, and kolm calls reclaim for everything that is not gone at the end. With
 * a kolm older than 1.2, or without network, intent fails, so nothing is created. Any thread.
 */
typedef struct kit_rent_host {
    const kolm_host_v1_t *host;
    const char *kind;  /* "instance" or "job" */
    const char *place; /* region or account, as named by the user; never "" */
} kit_rent_host;

extern const kit_rent_journal kit_rent_host_journal;

/* For kit_rent_host.place: PLACE, and in brackets which account, or which part of it. A provider says "not found" of
 * what is in another account, too: its answer counts only there. which: "" is not recorded. */
#define KIT_RENT_PLACE_BYTES 200u
void kit_rent_place(const char *place, const char *which, char out[KIT_RENT_PLACE_BYTES]);
/* Whether a recorded place has that one at its end, whatever is before it: a name may have been changed. True if the
 * record has none, as that of an older kolm. */
bool kit_rent_place_is(const char *place, const char *which);
/* What reclaim says of something that is not found here, and was recorded in another place. */
void kit_rent_doubt(const char *name, const char *here, const char *recorded, kolm_reclaim_result_t *out_result);

/* For plan.prefix: BACKEND, '-' and 16 random hexadecimal digits, unique to the job. backend: at most 23 bytes, of
 * those allowed in a prefix. UNKNOWN if the system has no random bytes. */
#define KIT_RENT_PREFIX_BYTES 41u
kit_status kit_rent_make_prefix(const char *backend, char out[KIT_RENT_PREFIX_BYTES], kolm_error_t *err) KIT_MUST_USE;

/* What reclaim returns for a state machine begun with kit_rent_reclaim: GONE in the state gone, with an unknown bill,
 * because it is not known when it ended; RUNNING while it is being destroyed, and in lost with a handle; else UNKNOWN.
 * The summary is the error, if any. */
void kit_rent_reclaimed(const kit_rent *rent, kolm_reclaim_result_t *out_result);

#ifdef __cplusplus
}
#endif
#endif
