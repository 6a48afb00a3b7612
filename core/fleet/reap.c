/* SPDX-License-Identifier: Apache-2.0 */
/* Asks backends to reclaim leases left by earlier calls, and records which are gone. */
#include "fleet/reap.h"

#include "fleet/call.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

#define UNKNOWN_MOST_MS 600000u /* longer than the listing of any provider lags behind */

const char *fleet_reap_fate_name(fleet_reap_fate fate) {
    static const char *const names[] = {"left", "running", "unknown", "ended"};
    return names[fate];
}

void fleet_reap_free(fleet_reap *reap) {
    free(reap->at);
    lease_list_free(&reap->owned);
    *reap = (fleet_reap){0};
}

size_t fleet_reap_open(const fleet_reap *reap) {
    size_t n = 0;
    for (size_t i = 0; i < reap->count; i++)
        n += reap->at[i].fate != FLEET_REAP_ENDED;
    return n;
}

/* ---- What there is to do */

static void leave(fleet_reaped *r, const char *remedy, const char *why) {
    r->fate = FLEET_REAP_LEFT;
    kit_copy(r->why, sizeof r->why, why);
    kit_copy(r->remedy, sizeof r->remedy, remedy);
}

/* "kolm-1 (i-0abc)", or the damaged line. */
static void name_of(const lease_entry *e, char *out, size_t capacity) {
    if (e->state == LEASE_DAMAGED)
        kit_format(out, capacity, "%s:%llu", e->journal, (unsigned long long)e->line);
    else
        kit_format(out, capacity, "%s%s%s%s", e->name, e->handle[0] ? " (" : "", e->handle, e->handle[0] ? ")" : "");
}

static void leave_damaged(fleet_reaped *r) {
    char remedy[400], name[200];
    name_of(&r->lease, name, sizeof name);
    kit_format(
        remedy, sizeof remedy,
        "check with %s whether anything of kolm is running there, end it, and then run `kolm compute reap --forget %s`",
        r->lease.backend, name);
    leave(r, remedy, "a line of its journal is damaged: what it was is not known");
}

static void leave_without_backend(fleet_reaped *r, const char *why) {
    char remedy[400];
    kit_format(remedy, sizeof remedy,
               "install %s again; or end it at the provider, and then `kolm compute reap --forget %s`",
               r->lease.backend, r->lease.name);
    leave(r, remedy, why);
}

/* Separates the leases to reap from those that still have an owner. */
static kit_status sort_out(const lease_list *list, const char *journal, fleet_reap *out, kolm_error_t *err) {
    out->at = calloc(list->count + 1, sizeof *out->at);
    out->owned.at = calloc(list->count + 1, sizeof *out->owned.at);
    if (!out->at || !out->owned.at) return kit_no_memory(err);
    out->owned.room = list->count + 1;
    for (size_t i = 0; i < list->count; i++) {
        const lease_entry *e = &list->at[i];
        if (e->state == LEASE_GONE || (journal && strcmp(journal, e->journal) != 0)) continue;
        if (e->owned)
            out->owned.at[out->owned.count++] = *e;
        else
            out->at[out->count++] = (fleet_reaped){.lease = *e};
        if (!e->owned && e->state == LEASE_DAMAGED) leave_damaged(&out->at[out->count - 1]);
    }
    return KOLM_OK;
}

/* ---- Journals that are held while their leases are worked on */

typedef struct held {
    lease_journal **at;
    size_t count;
} held;

static lease_journal *held_find(const held *h, const char *id) {
    for (size_t i = 0; i < h->count; i++)
        if (strcmp(lease_journal_id(h->at[i]), id) == 0) return h->at[i];
    return NULL;
}

/* UNAVAILABLE: another kolm has taken it. NOT_FOUND: already settled. */
static kit_status hold(const store_home *home, held *h, const char *id, lease_journal **out_journal,
                       kolm_error_t *err) {
    *out_journal = held_find(h, id);
    if (*out_journal) return KOLM_OK;
    kit_status status = lease_journal_adopt(home, id, out_journal, err);
    if (status == KOLM_OK) h->at[h->count++] = *out_journal;
    return status;
}

/* Includes journals without open leases, left by a kolm that was killed before it settled them. */
static kit_status settle(const store_home *home, held *h, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < h->count; i++) {
        kit_status one = lease_journal_end(h->at[i], NULL, status == KOLM_OK ? err : NULL);
        if (status == KOLM_OK) status = one;
    }
    h->count = 0;
    return status == KOLM_OK ? lease_settle(home, err) : status;
}

/* ---- Asking */

typedef struct asking {
    host_reclaim_item *items;
    fleet_reaped **of; /* the lease of each item */
    size_t count;
    lease_clocks now;
} asking;

static void add(asking *a, fleet_reaped *r, const fleet_backend *backend, const lease_journal *journal) {
    host_reclaim_item *item = &a->items[a->count];
    a->of[a->count++] = r;
    item->row = backend->row;
    item->lease_fd = lease_journal_fd(journal);
    item->args = (kolm_reclaim_args_t){.age_seconds = lease_age_ms(&r->lease, &a->now) / 1000,
                                       .name = r->lease.name,
                                       .handle = r->lease.handle,
                                       .kind = r->lease.kind,
                                       .place = r->lease.place};
}

/* False if another kolm has ended it in the meantime. */
static bool choose_one(fleet_registry *registry, const fleet_call *call, const store_home *home, fleet_reaped *r,
                       held *h, asking *a) {
    const fleet_backend *backend = fleet_registry_find(registry, r->lease.backend);
    kolm_error_t why = KIT_ERROR_INIT;
    lease_journal *journal = NULL;
    if (r->lease.state == LEASE_DAMAGED) return true;
    if (!backend) {
        leave_without_backend(r, "its backend is no longer installed");
        return true;
    }
    if (fleet_call_allows(backend, call, &why) != KOLM_OK) {
        leave(r, why.remedy, why.text);
        return true;
    }
    kit_status status = hold(home, h, r->lease.journal, &journal, &why);
    if (status == KOLM_OK)
        add(a, r, backend, journal);
    else if (status == KOLM_E_UNAVAILABLE)
        leave(r, "", "another kolm is working on it");
    else if (status != KOLM_E_NOT_FOUND)
        leave(r, why.remedy, why.text);
    return status != KOLM_E_NOT_FOUND;
}

static void choose(fleet_registry *registry, const fleet_call *call, const store_home *home, fleet_reap *out, held *h,
                   asking *a) {
    size_t kept = 0;
    for (size_t i = 0; i < out->count; i++) {
        out->at[kept] = out->at[i];
        kept += choose_one(registry, call, home, &out->at[kept], h, a);
    }
    out->count = kept;
}

/* True if the plugin has already recorded the end itself, with its bill. */
static bool take_gone(const lease_journal *journal, fleet_reaped *r) {
    lease_list list;
    bool gone = false;
    if (lease_journal_read(journal, &list, NULL) != KOLM_OK) return false;
    for (size_t i = 0; i < list.count && !gone; i++) {
        gone = list.at[i].state == LEASE_GONE && strcmp(list.at[i].name, r->lease.name) == 0;
        if (gone) r->lease = list.at[i];
    }
    lease_list_free(&list);
    return gone;
}

/* If the provider cannot tell for that long, only the user can. */
static void point_to_the_user(fleet_reaped *r, const lease_clocks *now) {
    if (r->fate != FLEET_REAP_UNKNOWN || r->remedy[0] || lease_age_ms(&r->lease, now) < UNKNOWN_MOST_MS) return;
    if (!r->why[0]) kit_copy(r->why, sizeof r->why, "the provider does not report whether it exists");
    kit_format(r->remedy, sizeof r->remedy,
               "check with %s whether it exists, end it, and then run `kolm compute reap --forget %s`",
               r->lease.backend, r->lease.name);
}

static void take_answer(lease_journal *journal, fleet_reaped *r, const host_result *result, const lease_clocks *now) {
    const bool answered = result->verdict == HOST_OK;
    kolm_error_t why = KIT_ERROR_INIT;
    r->fate = FLEET_REAP_ENDED;
    if (take_gone(journal, r)) return;
    if (answered && result->reclaim.outcome == KOLM_RECLAIM_GONE) {
        if (lease_journal_gone(journal, r->lease.name, result->reclaim.billed_micro_usd, &why) == KOLM_OK)
            (void)take_gone(journal, r);
        else
            kit_format(r->why, sizeof r->why, "it is gone, but this cannot be recorded, so it is checked again: %s",
                       why.text);
        return;
    }
    r->fate = answered && result->reclaim.outcome == KOLM_RECLAIM_RUNNING ? FLEET_REAP_RUNNING : FLEET_REAP_UNKNOWN;
    kit_copy(r->why, sizeof r->why, answered ? result->reclaim.summary : result->error.text);
    kit_copy(r->remedy, sizeof r->remedy, answered ? "" : result->error.remedy);
    if (answered) point_to_the_user(r, now);
}

static kit_status ask_all(kolm_session *session, fleet_registry *registry, const fleet_reap_options *o,
                          const store_home *home, fleet_reap *out, held *h, kolm_error_t *err) {
    asking a = {.items = calloc(out->count + 1, sizeof *a.items), .of = calloc(out->count + 1, sizeof *a.of)};
    const fleet_call call = {
        .slot = HOST_SLOT_RECLAIM, .airgap = o->airgap, .timeout_ms = o->timeout_ms, .finish = o->finish};
    kit_status status = a.items && a.of ? KOLM_OK : kit_no_memory(err);
    lease_clocks_read(&a.now);
    if (status == KOLM_OK) choose(registry, &call, home, out, h, &a);
    if (status == KOLM_OK && a.count > 0) status = fleet_call_reclaims(session, registry, a.items, a.count, &call, err);
    for (size_t i = 0; status == KOLM_OK && i < a.count; i++)
        take_answer(held_find(h, a.of[i]->lease.journal), a.of[i], &a.items[i].result, &a.now);
    free(a.items);
    free(a.of);
    return status;
}

static void leave_all(fleet_reap *out, const char *remedy, const char *why) {
    for (size_t i = 0; i < out->count; i++)
        leave(&out->at[i], remedy, why);
}

static kit_status work(kolm_session *session, fleet_registry *registry, const fleet_reap_options *o,
                       const store_home *home, const lease_list *list, fleet_reap *out, kolm_error_t *err) {
    fleet_registry *own = NULL;
    held h = {.at = calloc(list->count + 1, sizeof *h.at)};
    kit_status status = h.at ? KOLM_OK : kit_no_memory(err);
    if (status == KOLM_OK && out->count > 0 && o->airgap != SESSION_AIRGAP_OFF)
        leave_all(out, "run `kolm compute reap --yes` where the network is allowed", "--airgap excludes its backend");
    else if (status == KOLM_OK && out->count > 0) {
        if (!registry) status = fleet_registry_open(session, &own, err);
        if (status == KOLM_OK) status = ask_all(session, registry ? registry : own, o, home, out, &h, err);
    }
    /* Even on failure, settle what is gone and release the journals. */
    kolm_error_t why = KIT_ERROR_INIT;
    if (h.at && settle(home, &h, &why) != KOLM_OK)
        session_warn(session, "what was rented is gone, but stays listed in %s until this is resolved: %s%s%s",
                     store_place_name(STORE_LEASES), why.text, why.remedy[0] ? "; " : "", why.remedy);
    free(h.at);
    fleet_registry_free(own);
    return status;
}

kit_status fleet_reap_run(kolm_session *session, fleet_registry *registry, const fleet_reap_options *options,
                          fleet_reap *out, kolm_error_t *err) {
    store_home *home = NULL;
    lease_list list = {0};
    *out = (fleet_reap){0};
    KIT_TRY(session_home(session, &home, err));
    if (!lease_any(home)) return KOLM_OK;
    kit_status status = lease_list_read(home, &list, err);
    if (status == KOLM_OK) status = sort_out(&list, options->journal, out, err);
    if (status == KOLM_OK && !options->look) status = work(session, registry, options, home, &list, out, err);
    lease_list_free(&list);
    return status;
}

/* ---- What is said of it */

static void describe(const fleet_reaped *r, kit_buf *out) {
    char name[256], cost[32];
    name_of(&r->lease, name, sizeof name);
    kit_buf_fmt(out, "%s%s %s", out->length > 0 ? ", " : "", r->lease.backend, name);
    if (r->fate == FLEET_REAP_ENDED && r->lease.billed_micro_usd <= INT64_MAX)
        kit_buf_fmt(out, ", billed %s", session_usd(cost, sizeof cost, r->lease.billed_micro_usd));
    if (r->fate == FLEET_REAP_ENDED && r->why[0]) kit_buf_fmt(out, " (%s)", r->why);
}

void fleet_reap_tell(kolm_session *session, const fleet_reap *reap) {
    kit_buf ended = {0}, open = {0};
    const fleet_reaped *first = NULL;
    size_t left = fleet_reap_open(reap);
    for (size_t i = 0; i < reap->count; i++) {
        describe(&reap->at[i], reap->at[i].fate == FLEET_REAP_ENDED ? &ended : &open);
        if (reap->at[i].fate != FLEET_REAP_ENDED && !first) first = &reap->at[i];
    }
    if (ended.length > 0)
        session_warn(session, "ended what an earlier call had rented and left: %s", kit_buf_text(&ended));
    if (first)
        session_warn(session, "%zu lease%s that may still be billed: %s%s%s%s%s; `kolm compute reap` shows %s", left,
                     left == 1 ? "" : "s", kit_buf_text(&open), first->why[0] ? ": " : "", first->why,
                     first->remedy[0] ? "; " : "", first->remedy, left == 1 ? "it" : "them");
    kit_buf_free(&ended);
    kit_buf_free(&open);
}

void fleet_reap_start(kolm_session *session, session_airgap airgap) {
    const fleet_reap_options options = {.airgap = airgap};
    fleet_reap reap;
    kolm_error_t why = KIT_ERROR_INIT;
    if (fleet_reap_run(session, NULL, &options, &reap, &why) == KOLM_OK)
        fleet_reap_tell(session, &reap);
    else if (why.code != KOLM_E_CANCELLED)
        session_warn(session, "cannot look for what earlier calls may have left rented: %s%s%s", why.text,
                     why.remedy[0] ? "; " : "", why.remedy);
    fleet_reap_free(&reap);
}

/* ---- By hand */

kit_status fleet_reap_forget(kolm_session *session, const char *name, kolm_error_t *err) {
    store_home *home = NULL;
    lease_list list = {0};
    lease_journal *journal = NULL;
    const lease_entry *found = NULL;
    KIT_TRY(session_home(session, &home, err));
    KIT_TRY(lease_list_read(home, &list, err));
    for (size_t i = 0; i < list.count && !found; i++) {
        char shown[256];
        const lease_entry *e = &list.at[i];
        kit_copy(shown, sizeof shown, e->name);
        if (e->state == LEASE_DAMAGED) name_of(e, shown, sizeof shown);
        if (e->state != LEASE_GONE && strcmp(shown, name) == 0) found = e;
    }
    kit_status status = KOLM_OK;
    if (!found)
        status = kit_fail(err, KOLM_E_NOT_FOUND, "`kolm compute reap` lists what is open", "no open lease is called %s",
                          name);
    else if (found->owned)
        status = kit_fail(err, KOLM_E_FAILED_PRECONDITION, "wait for it, or end it",
                          "the call that rented %s is still running", name);
    if (status == KOLM_OK) status = lease_journal_adopt(home, found->journal, &journal, err);
    if (status == KOLM_OK)
        status = found->state == LEASE_DAMAGED ? lease_journal_forget(journal, found->line, err)
                                               : lease_journal_gone(journal, found->name, UINT64_MAX, err);
    kit_status ended = lease_journal_end(journal, NULL, status == KOLM_OK ? err : NULL);
    lease_list_free(&list);
    return status != KOLM_OK ? status : ended;
}
