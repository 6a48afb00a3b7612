/* SPDX-License-Identifier: Apache-2.0 */
/* Checks that a backend ends what it rents. Every call has a journal; leases still open afterwards are reclaimed at
 * once. */
#include "conform/leases.h"
#include "kolm/kit/process.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define RECLAIM_MS 30000 /* per call */
#define RECLAIM_ALL_MS 300000
#define PAUSE_MS 500
#define FAILURES_MOST 6 /* calls without any answer */

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The user's home if there is one: what cannot be reclaimed here must stay recorded. */
kit_status check_rent_begin(check *c, host_call_options *options, lease_journal **out_journal, kolm_error_t *err) {
    char path[PATH_MAX];
    const store_home *home = c->options->home;
    *out_journal = NULL;
    if (!options->network) return KOLM_OK;
    kit_format(path, sizeof path, "%s/rented", c->work);
    if (!home && !c->rented) KIT_TRY(store_home_at(path, &c->rented, err));
    KIT_TRY(lease_journal_begin(home ? home : c->rented, c->row->name, "check", out_journal, err));
    options->lease_fd = lease_journal_fd(*out_journal);
    return KOLM_OK;
}

/* Calls reclaim once. False: there is no verdict, and the run ends. */
static bool reclaim(check *c, lease_journal *journal, const lease_entry *e, host_result *out_result) {
    host_call_options options;
    kolm_error_t err = KIT_ERROR_INIT;
    uint64_t now = now_ms();
    const kolm_reclaim_args_t args = {.age_seconds =
                                          e->begun_ms > 0 && now > e->begun_ms ? (now - e->begun_ms) / 1000 : 0,
                                      .name = e->name,
                                      .handle = e->handle,
                                      .kind = e->kind,
                                      .place = e->place};
    check_call_options(c, &options);
    options.network = c->options->network;
    options.timeout_ms = RECLAIM_MS;
    options.lease_fd = lease_journal_fd(journal);
    kit_status status = host_reclaim(c->registry, c->row, &args, &options, out_result, &err);
    if (!check_called(c, status, &err)) return false;
    check_hear(c, out_result);
    return true;
}

static bool is_gone(const host_result *r) {
    return r->verdict == HOST_OK && r->reclaim.outcome == KOLM_RECLAIM_GONE;
}

static const char *what_it_said(const host_result *r) {
    return r->verdict != HOST_OK                        ? r->error.text
           : r->reclaim.summary[0]                      ? r->reclaim.summary
           : r->reclaim.outcome == KOLM_RECLAIM_RUNNING ? "it is still there"
                                                        : "it is unknown whether it still exists";
}

/* Repeats until it is gone, and once more. *out_why is "" on success. */
static bool end_one(check *c, lease_journal *journal, const lease_entry *e, char *out_why, size_t capacity) {
    host_result result;
    kolm_error_t err = KIT_ERROR_INIT;
    int64_t end = kit_now_ms() + RECLAIM_ALL_MS;
    unsigned failures = 0;
    out_why[0] = '\0';
    do {
        if (!reclaim(c, journal, e, &result)) return false;
        failures += result.verdict != HOST_OK;
        if (is_gone(&result) || result.verdict == HOST_CANCELLED || failures == FAILURES_MOST) break;
        (void)poll(NULL, 0, PAUSE_MS);
    } while (kit_now_ms() < end);
    if (!is_gone(&result)) {
        kit_format(out_why, capacity,
                   "%s%s%s%s could not be reclaimed: %.300s; check with the provider whether it exists", e->name,
                   e->handle[0] ? " (" : "", e->handle, e->handle[0] ? ")" : "", what_it_said(&result));
        return true;
    }
    if (!reclaim(c, journal, e, &result)) return false;
    if (!is_gone(&result))
        kit_format(out_why, capacity, "%s was gone, but a second reclaim does not report that: %.300s", e->name,
                   what_it_said(&result));
    return check_called(c, lease_journal_gone(journal, e->name, UINT64_MAX, &err), &err);
}

/* Searches status for a resource of that name, which means that reclaim reported GONE wrongly. */
typedef struct looking {
    const char *name;
    bool found;
} looking;

static void on_holding(void *user, const kolm_holding_t *holding) {
    looking *l = user;
    if (holding->state != KOLM_HOLDING_REMOVED && strcmp(holding->name, l->name) == 0) l->found = true;
}

static bool still_listed(check *c, const char *name) {
    looking l = {.name = name};
    const host_events events = {.user = &l, .holding = on_holding};
    host_call_options options;
    host_result result;
    kolm_error_t err = KIT_ERROR_INIT;
    if (!(c->slots & HOST_SLOT_STATUS)) return false;
    check_call_options(c, &options);
    options.network = c->options->network;
    options.timeout_ms = 60000;
    options.events = &events;
    return check_called(c, host_status(c->registry, c->row, false, 0, &options, &result, &err), &err) && l.found;
}

static void note(check *c, const char *slot, const char *why) {
    if (why[0] && !c->lease_fault[0]) kit_format(c->lease_fault, sizeof c->lease_fault, "%s: %s", slot, why);
}

static void look_at(check *c, const char *slot, lease_journal *journal, const lease_entry *e, bool failed) {
    char why[600] = "", left[200];
    c->leases++;
    if (e->state == LEASE_GONE && still_listed(c, e->name)) {
        kit_format(why, sizeof why, "%s is recorded as gone, but status lists it", e->name);
        note(c, slot, why);
    }
    if (e->state == LEASE_GONE) return;
    if (!end_one(c, journal, e, why, sizeof why)) return;
    if (!why[0] && still_listed(c, e->name))
        kit_format(why, sizeof why, "reclaim reports that %s is gone, but status lists it", e->name);
    /* The call may have failed because it could not end it: then only reclaim can. */
    kit_format(left, sizeof left, "%s was not gone when it returned: end what it rents, and record GONE", e->name);
    note(c, slot, why[0] ? why : failed ? "" : left);
}

void check_rent_end(check *c, const char *slot, lease_journal *journal, const host_result *result) {
    lease_list list;
    kolm_error_t err = KIT_ERROR_INIT;
    if (!journal) return;
    bool killed = c->lease_kill;
    c->lease_seen = 0;
    if (check_called(c, lease_journal_read(journal, &list, &err), &err)) {
        for (size_t i = 0; i < list.count && !c->not_called; i++) {
            c->lease_seen++;
            look_at(c, slot, journal, &list.at[i], killed || result->verdict != HOST_OK);
        }
        lease_list_free(&list);
    }
    (void)check_called(c, lease_journal_end(journal, NULL, &err), &err);
}

/* ---- The checks */

/* Evaluates all earlier calls. */
void check_leases_end(check *c) {
    if (c->lease_fault[0])
        check_fail(c, "%s", c->lease_fault);
    else if (!(c->slots & HOST_SLOT_RECLAIM))
        check_note(c, "it has no reclaim: it may not rent anything");
    else if (!c->options->network)
        check_skip(c, "it may rent only with --network");
    else if (c->leases == 0)
        check_note(c, "it rented nothing");
    else
        check_note(c, "%u were rented, and are gone", c->leases);
}

/* True if the backend can and may rent. */
static bool rents(check *c) {
    if (!(c->slots & HOST_SLOT_RECLAIM))
        check_note(c, "it has no reclaim: it may not rent anything");
    else if (c->row->manifest->offer.airgap == PICK_AIRGAP_YES || !c->options->network)
        check_skip(c, "it may rent only with --network");
    else
        return check_may_train(c);
    return false;
}

void check_lease_killed(check *c) {
    static const host_audit dies = {.lease_fault = HOST_LEASE_DIES};
    host_result result;
    char kept[sizeof c->lease_fault];
    if (!rents(c)) return;
    kit_copy(kept, sizeof kept, c->lease_fault);
    c->lease_fault[0] = '\0';
    c->lease_kill = true;
    bool called = check_train_under(c, &dies, "killed", &result);
    c->lease_kill = false;
    if (called && c->lease_fault[0])
        check_fail(c, "killed between intent and handle: %s", c->lease_fault);
    else if (called && c->lease_seen == 0)
        check_skip(c, "it rented nothing for a small job: %s",
                   result.verdict == HOST_OK ? "the job was done without" : result.error.text);
    else if (called && result.verdict == HOST_OK)
        check_fail(c, "it recorded an intent, but never the handle: record it as soon as it is known");
    kit_copy(c->lease_fault, sizeof c->lease_fault, kept);
}

void check_lease_refused(check *c) {
    static const host_audit refuses = {.lease_fault = HOST_LEASE_REFUSED};
    host_result result;
    if (!rents(c)) return;
    uint32_t before = c->leases;
    if (!check_train_under(c, &refuses, "refused", &result)) return;
    if (c->leases != before)
        check_fail(c, "it continued after its intent was not recorded: create nothing then");
    else if (result.verdict == HOST_OK)
        check_note(c, "the job was done without a lease");
}

/* Tries a lease from a day ago that never existed. */
void check_reclaim_unknown(check *c) {
    lease_journal *journal = NULL;
    host_call_options options;
    host_result result;
    char why[600];
    kolm_error_t err = KIT_ERROR_INIT;
    lease_entry e = {.begun_ms = now_ms() - 86400000, .name = "kolm-check-5d1f07c2ab", .kind = "instance"};
    kit_copy(e.place, sizeof e.place, "nowhere");
    if (!rents(c)) return;
    check_call_options(c, &options);
    options.network = true;
    if (!check_called(c, check_rent_begin(c, &options, &journal, &err), &err)) return;
    if (reclaim(c, journal, &e, &result) && !is_gone(&result)) {
        kit_copy(why, sizeof why, what_it_said(&result));
        check_fail(c, "reclaim of a name that was never created, a day ago, is not GONE: %s", why);
    }
    (void)check_called(c, lease_journal_end(journal, NULL, &err), &err);
}
