/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine knows about its backends: the default, running jobs, leases, and what was spent. */
#ifndef KOLM_FLEET_OVERVIEW_H
#define KOLM_FLEET_OVERVIEW_H

#include "fleet/choose.h"
#include "lease/lease.h"
#include "receipt/totals.h"

/* What one backend did on one day. */
typedef struct fleet_day {
    const char *name, *backend; /* "2026-01-31", UTC; "" if unknown */
    const receipt_day *jobs;    /* from the receipts; NULL: none */
    const lease_total *leases;  /* what was rented; NULL: nothing */
} fleet_day;

typedef struct fleet_overview {
    const char *backend; /* the default; NULL: the picker chooses. Owned by the session */
    const char *by;      /* its source: "env", "config", "picker"; static */
    int64_t cache_age;   /* of the detection cache, seconds; -1: none */
    size_t jobs;         /* number of job directories */
    receipt_totals sums;
    lease_list leases; /* open ones */
    lease_totals rented;
    fleet_day *days; /* sorted by day, then backend; point into sums and rented */
    size_t day_count;
} fleet_overview;

/* since: totals count from this time on, in seconds since 1970; INT64_MIN: all. Calls no plugin. Call
 * fleet_overview_free in every case. */
kit_status fleet_overview_get(kolm_session *session, int64_t since, fleet_overview *out,
                              kolm_error_t *err) KIT_MUST_USE;
void fleet_overview_free(fleet_overview *overview);

#endif
