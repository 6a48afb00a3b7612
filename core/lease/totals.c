/* SPDX-License-Identifier: Apache-2.0 */
/* The total costs of leases that are gone, by backend and day. */
#include "lease/internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static void day_of(uint64_t ms, char out[11]) {
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm) || strftime(out, 11, "%Y-%m-%d", &tm) != 10) kit_copy(out, 11, "");
}

static int by_day(const void *a, const void *b) {
    const lease_total *x = a, *y = b;
    int order = strcmp(x->day, y->day);
    return order != 0 ? order : strcmp(x->backend, y->backend);
}

static void add(lease_totals *totals, const lease_entry *e) {
    lease_total key;
    size_t i = 0;
    kit_copy(key.backend, sizeof key.backend, e->backend);
    day_of(e->gone_ms, key.day);
    while (i < totals->count && by_day(&totals->at[i], &key) != 0)
        i++;
    lease_total *total = &totals->at[i];
    if (i == totals->count) {
        totals->count++;
        *total = (lease_total){0};
        kit_copy(total->backend, sizeof total->backend, key.backend);
        kit_copy(total->day, sizeof total->day, key.day);
    }
    total->leases++;
    if (e->billed_micro_usd > INT64_MAX)
        total->unknown++;
    else
        total->billed_micro_usd += e->billed_micro_usd;
}

static kit_status add_all(const lease_list *past, const lease_list *now, uint64_t since_ms, lease_totals *totals,
                          kolm_error_t *err) {
    const lease_list *const lists[] = {past, now};
    totals->at = calloc(past->count + now->count + 1, sizeof *totals->at);
    if (!totals->at) return kit_no_memory(err);
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < lists[k]->count; i++)
            if (lists[k]->at[i].state == LEASE_GONE && lists[k]->at[i].gone_ms >= since_ms)
                add(totals, &lists[k]->at[i]);
    qsort(totals->at, totals->count, sizeof *totals->at, by_day);
    return KOLM_OK;
}

/* Drops leases of journals that a crash left although they were already moved to the past. */
static void drop_past(lease_list *now, const lease_list *past) {
    for (size_t i = 0; i < now->count; i++)
        for (size_t k = 0; k < past->count; k++)
            if (strcmp(now->at[i].journal, past->at[k].journal) == 0 && strcmp(now->at[i].name, past->at[k].name) == 0)
                now->at[i].state = LEASE_OPEN; /* already counted */
}

kit_status lease_totals_read(const store_home *home, uint64_t since_ms, const volatile sig_atomic_t *stop,
                             lease_totals *out_totals, kolm_error_t *err) {
    lease_list past = {0}, now = {0};
    *out_totals = (lease_totals){0};
    /* In this order: a lease that is moved in between is read twice, and counted once. */
    kit_status status = lease_list_read(home, &now, err);
    if (status == KOLM_OK) status = lease_past_read(home, stop, &past, &out_totals->unreadable, err);
    if (status == KOLM_OK) {
        drop_past(&now, &past);
        status = add_all(&past, &now, since_ms, out_totals, err);
    }
    lease_list_free(&past);
    lease_list_free(&now);
    if (status != KOLM_OK) lease_totals_free(out_totals);
    return status;
}

void lease_totals_free(lease_totals *totals) {
    free(totals->at);
    *totals = (lease_totals){0};
}
