/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine knows about its computing: the default, jobs at work, leases, and what was spent. */
#ifndef KOLM_FLEET_OVERVIEW_H
#define KOLM_FLEET_OVERVIEW_H

#include "fleet/choose.h"
#include "lease/lease.h"
#include "receipt/totals.h"

/* What one backend did on one day; either may be NULL. */
typedef struct fleet_day {
    const char *name, *backend; /* "2026-01-31", UTC; "" where that is not known */
    const receipt_day *jobs;    /* what the receipts say */
    const lease_total *leases;  /* what was rented */
} fleet_day;

typedef struct fleet_overview {
    const char *backend; /* the default; NULL: the picker chooses. Of the session */
    const char *by;      /* who said so: "env", "config", "picker"; static */
    int64_t cache_age;   /* of the detection cache, seconds; -1: none */
    size_t jobs;         /* job directories that are there */
    receipt_totals sums;
    lease_list leases; /* open ones */
    lease_totals rented;
    fleet_day *days; /* by day, then backend; they point into sums and rented */
    size_t day_count;
} fleet_overview;

/* since: seconds since 1970 from which on totals count; INT64_MIN: all. Calls no plugin. fleet_overview_free in every
 * case. */
kit_status fleet_overview_get(kolm_session *session, int64_t since, fleet_overview *out,
                              kolm_error_t *err) KIT_MUST_USE;
void fleet_overview_free(fleet_overview *overview);

#endif
