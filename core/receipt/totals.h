/* SPDX-License-Identifier: Apache-2.0 */
/* What the receipts of a chain come to. */
#ifndef KOLM_RECEIPT_TOTALS_H
#define KOLM_RECEIPT_TOTALS_H

#include "kolm/kit/status.h"

#include <signal.h>
#include <stdint.h>

typedef struct receipt_totals {
    uint64_t jobs, wall_ms, cost_micro_usd;
    uint64_t unknown_cost; /* jobs whose cost nobody knows */
    uint64_t unreadable;   /* lines that are no receipt */
} receipt_totals;

/* Adds up the receipts of the chain at path whose job ended at since (seconds since 1970; INT64_MIN: all) or later. No file is
 * no receipts. Signatures are not looked at. CANCELLED once *stop is not 0; RESOURCE_EXHAUSTED when memory is out, because a sum
 * that lacks a line for that would be wrong. */
kit_status receipt_totals_read(const char *path, int64_t since, const volatile sig_atomic_t *stop,
                               receipt_totals *out_totals, kolm_error_t *err) KIT_MUST_USE;

#endif
