/* SPDX-License-Identifier: Apache-2.0 */
/* The reaper: ends what earlier calls rented and did not end. */
#ifndef KOLM_FLEET_REAP_H
#define KOLM_FLEET_REAP_H

#include "fleet/registry.h"
#include "lease/lease.h"

/*
 * A lease is for the reaper when it is open and its journal has no owner (lease/lease.h). Its backend is asked to
 * reclaim it: all at once, each in a process of its own, under one deadline. What is gone goes off the record; what is
 * not stays, and the next command asks again. Under an airgap nothing is queried, and the user is told so.
 *
 * Where nothing is open this costs one stat. Otherwise it holds the journals that it works on, so that two kolms never
 * ask for the same lease at once. One thread.
 */

typedef enum fleet_reap_fate {
    FLEET_REAP_LEFT,    /* was not asked: why says why (airgap, damaged, the backend is not there, ...) */
    FLEET_REAP_RUNNING, /* is still there: being ended */
    FLEET_REAP_UNKNOWN, /* was asked, and it is unknown whether it still exists: why */
    FLEET_REAP_ENDED,   /* is gone now; why, if that could not be recorded */
} fleet_reap_fate;
const char *fleet_reap_fate_name(fleet_reap_fate fate); /* "left", "running", "unknown", "ended"; static */

typedef struct fleet_reaped {
    lease_entry lease;
    fleet_reap_fate fate;
    char why[400]; /* "" when there is nothing to say */
    char remedy[400];
} fleet_reaped;

typedef struct fleet_reap {
    fleet_reaped *at; /* one for each lease that had no owner */
    size_t count;
    lease_list owned; /* open leases of calls that still run */
} fleet_reap;

typedef struct fleet_reap_options {
    session_airgap airgap;
    bool look;           /* ask and change nothing: what would be done */
    int64_t timeout_ms;  /* for all; 0: 8 s */
    bool finish;         /* although the session was stopped: what was stopped may have left something */
    const char *journal; /* only this one; NULL: all */
} fleet_reap_options;

/* registry: NULL, or one that is open already. Fails only when kolm itself cannot work; out is freed by the caller in
 * every case. */
kit_status fleet_reap_run(kolm_session *session, fleet_registry *registry, const fleet_reap_options *options,
                          fleet_reap *out, kolm_error_t *err) KIT_MUST_USE;
void fleet_reap_free(fleet_reap *reap);
/* How many are not gone. */
size_t fleet_reap_open(const fleet_reap *reap);
/* Says in one line what was ended, and in one what is still open. */
void fleet_reap_tell(kolm_session *session, const fleet_reap *reap);
/* Runs and tells, at the start of a verb. Never fails: what goes wrong is a warning. */
void fleet_reap_start(kolm_session *session, session_airgap airgap);

/* Takes a lease off the record that the user has ended by hand: its name, or JOURNAL:LINE for a damaged one. NOT_FOUND
 * when there is none, FAILED_PRECONDITION when the call that rented it still runs. */
kit_status fleet_reap_forget(kolm_session *session, const char *name, kolm_error_t *err) KIT_MUST_USE;

#endif
