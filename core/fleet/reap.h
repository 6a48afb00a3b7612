/* SPDX-License-Identifier: Apache-2.0 */
/* The reaper: ends leases that earlier calls left open. */
#ifndef KOLM_FLEET_REAP_H
#define KOLM_FLEET_REAP_H

#include "fleet/registry.h"
#include "lease/lease.h"

/*
 * The reaper takes each open lease whose journal has no owner (lease/lease.h), and asks its backend to reclaim it: all
 * in parallel, each in its own process, under one deadline. Leases that are gone are taken off the record; the others
 * stay, and the next command tries again. Under an airgap nothing is queried, and the user is told.
 *
 * If nothing is open, this costs one stat(2). Otherwise it locks the journals it works on, so that two kolms never
 * reclaim the same lease at once. One thread.
 */

typedef enum fleet_reap_fate {
    FLEET_REAP_LEFT,    /* not queried: why has the reason (airgap, damaged, backend missing, ...) */
    FLEET_REAP_RUNNING, /* still exists: being ended */
    FLEET_REAP_UNKNOWN, /* queried, but it is unknown whether it still exists: see why */
    FLEET_REAP_ENDED,   /* gone now; why is set if that could not be recorded */
} fleet_reap_fate;
const char *fleet_reap_fate_name(fleet_reap_fate fate); /* "left", "running", "unknown", "ended"; static */

typedef struct fleet_reaped {
    lease_entry lease;
    fleet_reap_fate fate;
    char why[400]; /* "" if there is nothing to report */
    char remedy[400];
} fleet_reaped;

typedef struct fleet_reap {
    fleet_reaped *at; /* one for each lease without an owner */
    size_t count;
    lease_list owned; /* open leases of calls that still run */
} fleet_reap;

typedef struct fleet_reap_options {
    session_airgap airgap;
    bool look;           /* dry run: query, but change nothing */
    int64_t timeout_ms;  /* for all together; 0: 8 s */
    bool finish;         /* run even if the session was stopped: the stopped work may have left a lease */
    const char *journal; /* only this one; NULL: all */
} fleet_reap_options;

/* registry: NULL, or one that is already open. Fails only if kolm itself cannot work. The caller must free out in every
 * case. */
kit_status fleet_reap_run(kolm_session *session, fleet_registry *registry, const fleet_reap_options *options,
                          fleet_reap *out, kolm_error_t *err) KIT_MUST_USE;
void fleet_reap_free(fleet_reap *reap);
/* Number of leases that are not gone. */
size_t fleet_reap_open(const fleet_reap *reap);
/* Reports what was ended in one line, and what is still open in another. */
void fleet_reap_tell(kolm_session *session, const fleet_reap *reap);
/* Runs the reaper at the start of a verb, and reports. Never fails: errors become warnings. */
void fleet_reap_start(kolm_session *session, session_airgap airgap);

/* Takes a lease that the user has ended by hand off the record: name is its name, or JOURNAL:LINE for a damaged one.
 * NOT_FOUND if there is none, FAILED_PRECONDITION if the call that rented it still runs. */
kit_status fleet_reap_forget(kolm_session *session, const char *name, kolm_error_t *err) KIT_MUST_USE;

#endif
