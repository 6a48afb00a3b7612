/* SPDX-License-Identifier: Apache-2.0 */
/* The one way to call a slot of a backend: who may be called, and what each slot gets. */
#ifndef KOLM_FLEET_CALL_H
#define KOLM_FLEET_CALL_H

/*
 * Every call of a plugin by a verb goes through fleet_call_one or fleet_call_all (lint holds that; core/conform alone,
 * which examines a plugin, calls the host itself). What a slot gets is a row of the table `rules` in call.c:
 *
 *   slot         deadline  network                                    secrets
 *   detect       5 s       refreshed and needed, unless an airgap     their values only if with_secrets, else which are set
 *   cost         5 s       none                                       none
 *   train, infer none      unless there is an airgap                  those of its manifest, unless there is an airgap
 *   test         none      if it needs one, unless there is an airgap the same
 *   status       300 s     if it needs one, unless there is an airgap the same
 *   reclaim      8 s       unless there is an airgap                  the same
 *
 * A call of train, infer or test that has the network and a backend that needs one gets a journal of its own
 * (lease/lease.h). What is open in it when the call has ended is reclaimed at once, and reported.
 *
 * Under an airgap private_remote lets a backend of the user's own at a private address have network and secrets in the
 * slots that may have them at all; it is told to keep to private addresses. Nothing enforces that, and the receipt says
 * so.
 *
 * A backend that is refused, or was not granted what it asks for, is never called (host/scan.h, grants.h, policy.h).
 */

#include "fleet/registry.h"
#include "host/host.h"
#include "lease/lease.h"

/* Zero-initialise what is not wanted. */
typedef struct fleet_call {
    uint32_t slot; /* HOST_SLOT_* */
    session_airgap airgap;
    bool private_remote;
    /* detect */
    uint64_t timeout_seconds; /* instead of the slot's; 0: the slot's */
    int64_t timeout_ms;       /* reclaim: the same */
    bool finish;              /* reclaim: although the session was stopped */
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
        min_vram_bytes;       /* what the user wants; 0: nothing (budget.h caps it) */
    uint64_t quote_micro_usd; /* of the job; 0: not known */
    const char *job_id;       /* for the journal; NULL: none */
    lease_list *leases;       /* gets what the call rented; the caller frees it; NULL: not wanted */
    /* status */
    bool prune;
    uint64_t older_seconds;
    /* Receivers of events. What the backend logs goes to the session unless events has a log. */
    const char *label;                 /* of its progress; NULL: progress is not shown */
    cJSON *metrics;                    /* an object that gets what it measures, NAME: "0.41"; NULL: not kept */
    const host_events *events;         /* the rest, and what is to go elsewhere; NULL: nothing */
    const volatile sig_atomic_t *stop; /* another reason to stop than the session's; NULL: none */
} fleet_call;

/* Whether the backend may be called so: PERMISSION_DENIED when the airgap keeps it out, the host's reason when it is
 * refused or not granted. */
kit_status fleet_call_allows(const fleet_backend *backend, const fleet_call *call, kolm_error_t *err);
/* Calls one slot of one backend. KOLM_OK whenever there is a verdict; a backend that may not be called is
 * HOST_NOT_LOADED. */
kit_status fleet_call_one(kolm_session *session, fleet_registry *registry, const fleet_backend *backend,
                          const fleet_call *call, host_result *out_result, kolm_error_t *err) KIT_MUST_USE;
/* detect or cost of many at once, under one deadline each; all must pass fleet_call_allows. out_results has
 * `count` places. CANCELLED when the session was stopped. */
kit_status fleet_call_all(kolm_session *session, fleet_registry *registry, const host_backend *const *rows,
                          size_t count, const fleet_call *call, host_result *out_results,
                          kolm_error_t *err) KIT_MUST_USE;

/* Many leases at once, under one deadline, of backends that fleet_call_allows lets pass. */
kit_status fleet_call_reclaims(kolm_session *session, fleet_registry *registry, host_reclaim_item *items, size_t count,
                               const fleet_call *call, kolm_error_t *err) KIT_MUST_USE;

/* Reads the secrets of the home into the registry, once. */
kit_status fleet_read_credentials(kolm_session *session, fleet_registry *registry, kolm_error_t *err) KIT_MUST_USE;

/* OK for HOST_OK; else the error of the result, and *out_reason INTERRUPTED or BACKEND. what: "training on local-x". */
kit_status fleet_verdict(const host_result *result, const char *what, session_reason *out_reason,
                         kolm_error_t *err) KIT_MUST_USE;

/* Warns when a backend that answered says that it gave more or fewer answers than were read. */
void fleet_count_answers(kolm_session *session, const char *backend, const host_result *result, uint64_t read);

#endif
