/* SPDX-License-Identifier: Apache-2.0 */
/* Totals over the receipts of a chain. */
#ifndef KOLM_RECEIPT_TOTALS_H
#define KOLM_RECEIPT_TOTALS_H

#include "kolm/kit/status.h"

#include <signal.h>
#include <stdint.h>

/* Receipts of one backend that ended on one day (UTC). */
typedef struct receipt_day {
    char backend[33]; /* "" unknown */
    char day[11];     /* "2026-11-30"; "" unknown */
    uint64_t jobs, cost_micro_usd, unknown_cost;
} receipt_day;

typedef struct receipt_totals {
    uint64_t jobs, wall_ms, cost_micro_usd;
    uint64_t unknown_cost; /* jobs with unknown cost */
    uint64_t unreadable;   /* lines that are not receipts */
    receipt_day *days;     /* by day, then by backend */
    size_t day_count, day_room;
} receipt_totals;

/* Adds up the receipts of the chain at path whose job ended at since (seconds since 1970; INT64_MIN: all) or later. A
 * missing file has no receipts. Does not check signatures. CANCELLED if *stop becomes non-zero; RESOURCE_EXHAUSTED if
 * out of memory, because a sum without a line would be wrong. */
kit_status receipt_totals_read(const char *path, int64_t since, const volatile sig_atomic_t *stop,
                               receipt_totals *out_totals, kolm_error_t *err) KIT_MUST_USE;
void receipt_totals_free(receipt_totals *totals);

#endif
