/* SPDX-License-Identifier: Apache-2.0 */
/* The only way to call a slot of a backend: which backends may be called, and what each slot gets. */
#ifndef KOLM_FLEET_CALL_H
#define KOLM_FLEET_CALL_H

/*
 * Every call of a plugin by a verb goes through fleet_call_one or fleet_call_all (lint enforces this; only
 * core/conform, which examines a plugin, calls the host directly). What a slot gets is a row of the table `rules` in
 * call.c:
 *
 *   slot         deadline  network                                    secrets
 *   detect       5 s       on refresh if needed, unless an airgap     values only if with_secrets, else which are set
 *   cost         5 s       none                                       none
 *   train, infer none      unless there is an airgap                  those in its manifest, unless there is an airgap
 *   test         none      if it needs one, unless there is an airgap the same
 *   status       300 s     if it needs one, unless there is an airgap the same
 *   reclaim      8 s       unless there is an airgap                  the same
 *
 * A train, infer or test call with network access to a backend that needs it gets its own journal (lease/lease.h).
 * Leases still open in it when the call ends are reclaimed at once, and reported.
 *
 * Under an airgap, private_remote gives a backend on the user's own machine at a private address network and secrets in
 * the slots that may have them; the backend is told to use only private addresses. Nothing enforces that, and the
 * receipt records it.
 *
 * A backend that is refused, or was not granted what it requests, is never called (host/scan.h, grants.h, policy.h).
 */

#include "fleet/registry.h"
#include "host/host.h"
#include "lease/lease.h"

/* Zero-initialise what is not needed. */
typedef struct fleet_call {
    uint32_t slot; /* HOST_SLOT_* */
    session_airgap airgap;
    bool private_remote;
    /* detect */
    uint64_t timeout_seconds; /* 0: the slot's default */
    int64_t timeout_ms;       /* the same for reclaim */
    bool finish;              /* reclaim: run even if the session was stopped */
    bool with_secrets;
    bool debugged; /* for a debugger: the deadline is an hour, and the plugin is loaded by its path */
    /* cost; price and cold start are filled in from each backend */
    const kolm_cost_args_t *cost;
    /* train, infer, test */
    uint32_t threads; /* 0: one */
    const char *job_dir;
    int input_fd, output_fd; /* infer: as host_infer; -1: the job's files */
    int model_fd;            /* infer: 0: none */
    uint64_t budget_micro_usd, max_price_micro_usd,
        min_vram_bytes;       /* limits set by the user; 0: none (budget.h caps the budget) */
    uint64_t quote_micro_usd; /* of the job; 0: unknown */
    const char *job_id;       /* for the journal; NULL: none */
    lease_list *leases;       /* receives what the call rented; the caller frees it; may be NULL */
    /* status */
    bool prune;
    uint64_t older_seconds;
    /* Receivers of events. The backend's log goes to the session unless events->log is set. */
    const char *label;                 /* for its progress; NULL: progress is not shown */
    cJSON *metrics;                    /* an object that receives its metrics, NAME: "0.41"; NULL: discarded */
    const host_events *events;         /* callbacks for all other events, and overrides; NULL: none */
    const volatile sig_atomic_t *stop; /* a stop flag besides the session's; NULL: none */
} fleet_call;

/* OK if the backend may be called like this. PERMISSION_DENIED if the airgap excludes it, or the host's reason if it is
 * refused or not granted. */
kit_status fleet_call_allows(const fleet_backend *backend, const fleet_call *call, kolm_error_t *err);
/* Calls one slot of one backend. KOLM_OK whenever there is a verdict; a backend that may not be called is
 * HOST_NOT_LOADED. */
kit_status fleet_call_one(kolm_session *session, fleet_registry *registry, const fleet_backend *backend,
                          const fleet_call *call, host_result *out_result, kolm_error_t *err) KIT_MUST_USE;
/* Calls detect or cost of many backends in parallel, each with its own deadline; all must pass fleet_call_allows.
 * out_results has `count` entries. CANCELLED if the session was stopped. */
kit_status fleet_call_all(kolm_session *session, fleet_registry *registry, const host_backend *const *rows,
                          size_t count, const fleet_call *call, host_result *out_results,
                          kolm_error_t *err) KIT_MUST_USE;

/* Reclaims many leases in parallel under one deadline. Their backends must pass fleet_call_allows. */
kit_status fleet_call_reclaims(kolm_session *session, fleet_registry *registry, host_reclaim_item *items, size_t count,
                               const fleet_call *call, kolm_error_t *err) KIT_MUST_USE;

/* Reads the secrets of the home into the registry, once. */
kit_status fleet_read_credentials(kolm_session *session, fleet_registry *registry, kolm_error_t *err) KIT_MUST_USE;

/* OK for HOST_OK; otherwise the error of the result, with *out_reason INTERRUPTED or BACKEND. what: "training on
 * local-x". */
kit_status fleet_verdict(const host_result *result, const char *what, session_reason *out_reason,
                         kolm_error_t *err) KIT_MUST_USE;

/* Warns if the number of answers that a backend reports differs from the number that were read. */
void fleet_count_answers(kolm_session *session, const char *backend, const host_result *result, uint64_t read);

#endif
