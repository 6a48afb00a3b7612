/* SPDX-License-Identifier: Apache-2.0 */
/* The journals of the calls that the checks make. */
#ifndef KOLM_CONFORM_LEASES_H
#define KOLM_CONFORM_LEASES_H

#include "conform/conform.h"
#include "host/host.h"
#include "lease/lease.h"

/* A journal for a call with these options; *out_journal is NULL for a call without the network, which may rent
 * nothing. */
kit_status check_rent_begin(check *c, host_call_options *options, lease_journal **out_journal,
                            kolm_error_t *err) KIT_MUST_USE;
/* After the call: reclaims what is still recorded, twice, and stores the first fault in c->lease_fault. Takes ownership
 * of journal. */
void check_rent_end(check *c, const char *slot, lease_journal *journal, const host_result *result);

/* job.c: true if train may be called; otherwise reports why not. */
bool check_may_train(check *c);
/* Trains the small job under these conditions. False if the check is decided, or the run ends. */
bool check_train_under(check *c, const host_audit *audit, const char *name, host_result *out_result);

#endif
