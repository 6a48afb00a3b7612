/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine of a rental. */
#include "kolm/rent/rent.h"
#include "kolm/kit/buf.h"

#include "pace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_MS 3600000u
#define PREFIX_MAX 40u
#define RECORD_MS 60000u /* how long to retry recording the end of a box */

bool kit_rent_ended(const kit_rent *rent) {
    return rent->state == KIT_RENT_GONE || rent->state == KIT_RENT_LOST;
}

const char *kit_rent_state_name(kit_rent_state state) {
    static const char *const names[] = {"planned", "intent",    "created",    "ready", "armed",
                                        "running", "collected", "destroying", "gone",  "lost"};
    return (size_t)state < sizeof names / sizeof names[0] ? names[state] : "?";
}

/* ---- Small steps. Each returns the new state. */

static uint64_t or_else(uint64_t value, uint64_t fallback) {
    return value > 0 ? value : fallback;
}

static kit_rent_state enter(kit_rent *r, kit_rent_state state, int64_t now) {
    r->since_ms = r->polled_ms = r->due_ms = now;
    return r->state = state;
}

/* Schedules the next step: often for a minute, then less often. */
static kit_rent_state later(kit_rent *r, int64_t now) {
    r->due_ms = now + (int64_t)rent_pace_pause(or_else(r->plan->poll_ms, 5000), (uint64_t)(now - r->since_ms));
    return r->state;
}

/* Only the first failure is reported. */
static void blame(kit_rent *r, const kolm_error_t *err) {
    if (r->error.code != KOLM_OK) return;
    r->error = *err;
    if (r->error.code == KOLM_OK) r->error.code = KOLM_E_INTERNAL;
}

static void clear_error(kit_rent *r) {
    r->error = (kolm_error_t)KIT_ERROR_INIT;
}

static bool passed(int64_t now, int64_t since, uint64_t limit) {
    return (uint64_t)(now - since) >= limit;
}

static uint64_t price_of(const kit_rent *r) {
    uint64_t price = r->offer.micro_usd_per_hour;
    return r->box.micro_usd_per_hour != UINT64_MAX && r->box.micro_usd_per_hour > price ? r->box.micro_usd_per_hour
                                                                                        : price;
}

/* Counts from the request to create, so never too little. */
static void count(kit_rent *r, int64_t now) {
    if (r->billed_ms < 0 || now <= r->billed_ms) return;
    double cost = (double)price_of(r) * (double)(now - r->billed_ms) / HOUR_MS;
    r->spent_micro_usd = r->spent_before + r->offer.micro_usd_once + (cost < 9e18 ? (uint64_t)cost : INT64_MAX);
}

static void stop_counting(kit_rent *r, int64_t now) {
    count(r, now);
    r->spent_before = r->spent_micro_usd;
    r->billed_ms = -1;
}

/* After a failure or at the end: from now on the box is only being ended. */
static kit_rent_state end_it(kit_rent *r, int64_t now) {
    r->asked = r->seen_gone = false;
    return enter(r, KIT_RENT_DESTROYING, now);
}

static kit_rent_state fail(kit_rent *r, int64_t now, const kolm_error_t *err) {
    blame(r, err);
    return end_it(r, now);
}

static bool may_pass(kit_status status) {
    return status == KOLM_E_UNAVAILABLE || status == KOLM_E_DEADLINE_EXCEEDED;
}

/* ---- Begin */

static kit_status check_plan(const kit_rent_plan *p, bool whole, kolm_error_t *err) {
    const kit_rent_provider *v = p->provider;
    size_t n = p->prefix != NULL ? strlen(p->prefix) : 0;
    bool good = v != NULL && v->look != NULL && v->destroy != NULL && p->journal != NULL &&
                ((v->can & KIT_RENT_CAN_NAME) == 0 || v->list != NULL);
    if (good && whole)
        good = v->offers != NULL && v->create != NULL && p->work != NULL && n > 0 && n <= PREFIX_MAX &&
               strspn(p->prefix, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
    if (good) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "report it to the author of this backend",
                    "the plan of a rental lacks a function or a name of a-z, 0-9 and '-'");
}

static void clear(kit_rent *r, const kit_rent_plan *plan, int64_t now) {
    memset(r, 0, sizeof *r);
    r->plan = plan;
    r->error.struct_size = (uint32_t)sizeof r->error;
    r->box.micro_usd_per_hour = UINT64_MAX;
    r->begun_ms = now;
    r->billed_ms = -1;
}

kit_status kit_rent_begin(kit_rent *rent, const kit_rent_plan *plan, int64_t now_ms, kolm_error_t *err) {
    KIT_TRY(check_plan(plan, true, err));
    clear(rent, plan, now_ms);
    (void)enter(rent, KIT_RENT_PLANNED, now_ms);
    return KOLM_OK;
}

bool kit_rent_is_handle(const char *text) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:";
    return text[0] != '.' && strspn(text, letters) == strlen(text);
}

static int64_t ago(int64_t now_ms, uint64_t age_ms) {
    return age_ms < (uint64_t)INT64_MAX / 2 ? now_ms - (int64_t)age_ms : now_ms;
}

/* Minimum age of the box of a record, if it exists. */
static uint64_t made_before(const kit_rent_provider *provider, const char *handle, uint64_t age_ms) {
    uint64_t create_ms = handle[0] != '\0' ? 0 : or_else(provider->create_ms, KIT_RENT_CREATE_MS);
    return age_ms > create_ms ? age_ms - create_ms : 0;
}

kit_status kit_rent_reclaim(kit_rent *rent, const kit_rent_plan *plan, const char *name, const char *handle,
                            uint64_t age_ms, int64_t now_ms, kolm_error_t *err) {
    KIT_TRY(check_plan(plan, false, err));
    clear(rent, plan, now_ms);
    rent->reclaiming = true;
    if (name[0] == '\0' || !kit_copy(rent->name, sizeof rent->name, name) ||
        !kit_copy(rent->box.handle, sizeof rent->box.handle, handle))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "check with the provider, and end it there",
                        "the record of a rental has no name, or one that is too long");
    if (!kit_rent_is_handle(handle))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "look for it with the provider by its name, and end it there",
                        "the record of %s has a handle that no provider gives, so it was changed", name);
    rent->recorded_ms = ago(now_ms, age_ms);
    rent->asked_ms = ago(now_ms, made_before(plan->provider, handle, age_ms));
    if (handle[0] != '\0')
        (void)end_it(rent, now_ms);
    else
        (void)enter(rent, KIT_RENT_INTENT, now_ms);
    rent->asked = handle[0] == '\0';
    return KOLM_OK;
}

/* ---- planned */

static int by_price(const void *a, const void *b) {
    const kit_rent_offer *x = a, *y = b;
    if (x->micro_usd_per_hour != y->micro_usd_per_hour) return x->micro_usd_per_hour < y->micro_usd_per_hour ? -1 : 1;
    return strcmp(x->id, y->id);
}

static kit_status fetch_offers(kit_rent *r, kolm_error_t *err) {
    const kit_rent_plan *p = r->plan;
    size_t kept = 0;
    KIT_TRY(p->provider->offers(p->provider_state, r->offers, KIT_RENT_OFFERS_MAX, &r->offer_count, err));
    if (r->offer_count > KIT_RENT_OFFERS_MAX) r->offer_count = KIT_RENT_OFFERS_MAX;
    for (size_t i = 0; i < r->offer_count; i++) {
        const kit_rent_offer *o = &r->offers[i];
        if (p->rate_micro_usd_per_hour > 0 && o->micro_usd_per_hour > p->rate_micro_usd_per_hour) continue;
        if (p->budget_micro_usd > 0 && o->micro_usd_once >= p->budget_micro_usd) continue;
        r->offers[kept++] = *o;
    }
    r->offer_count = kept;
    qsort(r->offers, kept, sizeof r->offers[0], by_price);
    return KOLM_OK;
}

static kit_rent_state end_without_box(kit_rent *r, int64_t now, const kolm_error_t *err) {
    r->error = *err;
    return enter(r, KIT_RENT_GONE, now);
}

/* True if the user cancelled, the deadline passed or the budget is used up. */
static bool is_over(const kit_rent *r, int64_t now, bool cancel, kolm_error_t *err) {
    const kit_rent_plan *p = r->plan;
    if (cancel)
        (void)kit_fail(err, KOLM_E_CANCELLED, "", "stopped on request");
    else if (p->deadline_ms > 0 && passed(now, r->begun_ms, p->deadline_ms))
        (void)kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "allow more time, or a faster machine",
                       "the time of %llu s has run out", (unsigned long long)(p->deadline_ms / 1000));
    else if (p->budget_micro_usd > 0 && r->spent_micro_usd >= p->budget_micro_usd)
        (void)kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "allow a larger budget, or a cheaper machine",
                       "the budget of %.2f USD is used up", (double)p->budget_micro_usd / 1e6);
    return err->code != KOLM_OK;
}

static kit_rent_state step_planned(kit_rent *r, int64_t now, bool cancel, kolm_error_t *err) {
    const kit_rent_plan *p = r->plan;
    if (is_over(r, now, cancel, err)) return end_without_box(r, now, err);
    if (r->offer_count == 0) {
        if (fetch_offers(r, err) != KOLM_OK) return end_without_box(r, now, err);
        if (r->offer_count > 0) return r->state; /* one call per step */
        (void)kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "allow a higher price, or another machine",
                       "%s has no suitable machine", p->provider->name);
        return end_without_box(r, now, err);
    }
    if (r->tried >= r->offer_count || r->tried >= or_else(p->offers_most, 5)) {
        (void)kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "try again later, or allow more machines",
                       "none of the %u offers of %s was available; the last: %.300s", r->tried, p->provider->name,
                       r->error.text);
        return end_without_box(r, now, err);
    }
    if (p->provider->prepare != NULL && !r->prepared) {
        r->prepared = true;
        return p->provider->prepare(p->provider_state, err) == KOLM_OK ? r->state : end_without_box(r, now, err);
    }
    r->offer = r->offers[r->tried++];
    kit_format(r->name, sizeof r->name, "%s-%u", p->prefix, r->tried);
    r->box = (kit_rent_box){.micro_usd_per_hour = UINT64_MAX};
    r->asked = false;
    r->refusal = KOLM_OK;
    r->struck_ms = 0;
    if (p->journal->intent(p->journal_user, r->name, &r->offer, err) != KOLM_OK) return end_without_box(r, now, err);
    clear_error(r);
    return enter(r, KIT_RENT_INTENT, now);
}

/* ---- The record, and unclear outcomes */

/* Replaces any earlier error: this is the one that costs money. */
static kit_rent_state give_up(kit_rent *r, int64_t now, const char *what) {
    (void)kit_fail(&r->error, KOLM_E_UNKNOWN,
                   "check with the provider, and end it there; kolm tries again each time it starts", "%s %s: %s",
                   r->plan->provider->name, r->name, what);
    return enter(r, KIT_RENT_LOST, now);
}

static bool out_of_patience(const kit_rent *r, int64_t now) {
    return passed(now, r->since_ms, or_else(r->plan->give_up_ms, 1800000));
}

static bool settled(const kit_rent *r, int64_t now) {
    return passed(now, r->asked_ms, or_else(r->plan->provider->settle_ms, 120000));
}

/* Closes the record, without which the box does not count as gone, except during reclaim, when kolm itself records the
 * result. Retries for a while, because a full disk may be temporary, but results that were collected must not wait. */
static bool strike(kit_rent *r, int64_t now, uint64_t billed, kolm_error_t *err) {
    if (r->reclaiming) billed = UINT64_MAX; /* its start is unknown */
    if (r->plan->journal->gone(r->plan->journal_user, r->name, billed, err) == KOLM_OK || r->reclaiming) return true;
    if (r->struck_ms == 0) r->struck_ms = now;
    if (!passed(now, r->struck_ms, RECORD_MS)) {
        (void)later(r, now);
        return false;
    }
    r->made = r->finished && r->error.code == KOLM_OK;
    stop_counting(r, now);
    (void)give_up(r, now, "it is gone, but this cannot be recorded");
    return false;
}

/* Returns the box with exactly our name that has not ended, or NULL; *out_fresh: the list is complete. The caller frees
 * *out_boxes. */
static const kit_rent_box *find_by_name(kit_rent *r, kit_rent_box **out_boxes, bool *out_fresh, kolm_error_t *err) {
    const kit_rent_plan *p = r->plan;
    size_t count = 0;
    *out_fresh = false;
    *out_boxes = calloc(KIT_RENT_BOXES_MAX, sizeof **out_boxes);
    if (*out_boxes == NULL ||
        p->provider->list(p->provider_state, r->name, *out_boxes, KIT_RENT_BOXES_MAX, &count, err) != KOLM_OK)
        return NULL;
    *out_fresh = count < KIT_RENT_BOXES_MAX;
    for (size_t i = 0; i < count && i < KIT_RENT_BOXES_MAX; i++) {
        const kit_rent_box *box = &(*out_boxes)[i];
        if (strcmp(box->name, r->name) != 0) continue;
        r->seen = true;
        if (box->life != KIT_RENT_ENDED && box->handle[0] != '\0') return box;
    }
    return NULL;
}

/* ---- intent */

static kit_rent_state has_handle(kit_rent *r, int64_t now, kolm_error_t *err) {
    if (r->plan->journal->handle(r->plan->journal_user, r->name, r->box.handle, err) != KOLM_OK)
        return fail(r, now, err);
    if (r->reclaiming) return end_it(r, now);
    return enter(r, KIT_RENT_CREATED, now);
}

/* Nothing was created, for the reason in r->refusal: tries another offer, or ends. */
static kit_rent_state not_created(kit_rent *r, int64_t now, kolm_error_t *err) {
    kit_status why = r->refusal;
    r->billed_ms = -1;
    r->spent_micro_usd = r->spent_before;
    if (!strike(r, now, 0, err)) return r->state;
    bool next = !r->reclaiming &&
                (why == KOLM_E_RESOURCE_EXHAUSTED || why == KOLM_E_ABORTED || why == KOLM_E_NOT_FOUND || may_pass(why));
    return enter(r, next ? KIT_RENT_PLANNED : KIT_RENT_GONE, now);
}

static kit_rent_state ask(kit_rent *r, int64_t now, kolm_error_t *err) {
    const kit_rent_plan *p = r->plan;
    bool may_exist = true;
    r->asked = true;
    r->creating = true;
    r->asked_ms = r->billed_ms = now;
    kit_status status = p->provider->create(p->provider_state, &r->offer, r->name, r->box.handle, &may_exist, err);
    if (status == KOLM_OK && r->box.handle[0] != '\0') return has_handle(r, now, err);
    r->box.handle[0] = '\0';
    if (status != KOLM_OK) r->error = *err;
    if (status == KOLM_OK || may_exist) return later(r, now);
    r->refusal = status;
    return not_created(r, now, err);
}

/* The box may exist, but has no handle. */
static kit_rent_state look_for_it(kit_rent *r, int64_t now, kolm_error_t *err) {
    kit_rent_box *boxes = NULL;
    bool fresh = false;
    if ((r->plan->provider->can & KIT_RENT_CAN_NAME) == 0)
        return give_up(r, now, "it may have been created, and cannot be found by name at this provider");
    const kit_rent_box *found = find_by_name(r, &boxes, &fresh, err);
    if (found != NULL) kit_copy(r->box.handle, sizeof r->box.handle, found->handle);
    free(boxes);
    if (r->box.handle[0] != '\0') {
        if (r->reclaiming) r->asked_ms = r->recorded_ms; /* it is visible, so it was created before */
        clear_error(r);
        return has_handle(r, now, err);
    }
    if (fresh && settled(r, now)) {
        r->refusal = KOLM_E_UNAVAILABLE;
        return not_created(r, now, err);
    }
    if (out_of_patience(r, now))
        return give_up(r, now, "it may have been created, and the provider does not report it");
    return later(r, now);
}

static kit_rent_state step_intent(kit_rent *r, int64_t now, bool cancel, kolm_error_t *err) {
    if (r->refusal != KOLM_OK) return not_created(r, now, err);
    if (r->asked) return look_for_it(r, now, err);
    if (!is_over(r, now, cancel, err)) return ask(r, now, err);
    blame(r, err);
    /* an exhausted budget is not a lack of capacity */
    r->refusal = err->code == KOLM_E_RESOURCE_EXHAUSTED ? KOLM_E_FAILED_PRECONDITION : err->code;
    /* nor is the deadline */
    if (may_pass(r->refusal)) r->refusal = KOLM_E_FAILED_PRECONDITION;
    return not_created(r, now, err);
}

/* ---- created, ready, armed, running */

static kit_rent_state step_created(kit_rent *r, int64_t now, kolm_error_t *err) {
    const kit_rent_plan *p = r->plan;
    kit_rent_box seen = {.micro_usd_per_hour = UINT64_MAX};
    kit_status status = p->provider->look(p->provider_state, r->box.handle, &seen, err);
    bool there = status == KOLM_OK;
    if (there) {
        kit_copy(seen.handle, sizeof seen.handle, r->box.handle);
        r->box = seen;
    }
    if (there && seen.micro_usd_per_hour != UINT64_MAX && seen.micro_usd_per_hour > r->offer.micro_usd_per_hour)
        (void)kit_fail(err, KOLM_E_FAILED_PRECONDITION, "request a new quote",
                       "the price has risen from %.4f to %.4f USD an hour since the quote",
                       (double)r->offer.micro_usd_per_hour / 1e6, (double)seen.micro_usd_per_hour / 1e6);
    else if (there && seen.life == KIT_RENT_UP && seen.address[0] != '\0')
        return enter(r, KIT_RENT_READY, now);
    else if (there && seen.life == KIT_RENT_BOOTING && seen.why[0] != '\0')
        (void)kit_fail(err, KOLM_E_FAILED_PRECONDITION, "correct that, and run it again",
                       "the machine cannot be used: %s", seen.why);
    else if ((there && seen.life >= KIT_RENT_ENDING) || (status == KOLM_E_NOT_FOUND && settled(r, now)))
        (void)kit_fail(err, KOLM_E_ABORTED, "run it again; another machine may do better",
                       "the machine ended while it booted%s%s", seen.why[0] != '\0' ? ": " : "", seen.why);
    else if (passed(now, r->since_ms, or_else(p->boot_ms, 900000)))
        (void)kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "run it again; another machine may do better",
                       "the machine had no address after %llu s",
                       (unsigned long long)(or_else(p->boot_ms, 900000) / 1000));
    else
        return later(r, now);
    return fail(r, now, err);
}

typedef kit_status (*work_fn)(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err);

/* True once the work is done. Temporary failures are retried for as long as booting may take. */
static bool do_work(kit_rent *r, work_fn work, int64_t now, kolm_error_t *err) {
    bool done = false;
    kit_status status = work(r->plan->work_user, &r->box, &done, err);
    if (status == KOLM_OK) r->good_ms = now;
    if (status == KOLM_OK && done) return true;
    if (status == KOLM_OK || (may_pass(status) && !passed(now, r->good_ms > r->since_ms ? r->good_ms : r->since_ms,
                                                          or_else(r->plan->boot_ms, 900000))))
        (void)later(r, now);
    else
        (void)fail(r, now, err);
    return false;
}

#define LOOK_EVERY_MS 60000

/* Checks once a minute whether the box still exists. True if that was this step's call. */
static bool looked(kit_rent *r, int64_t now, kolm_error_t *err) {
    kit_rent_box seen = {.micro_usd_per_hour = UINT64_MAX};
    if (!passed(now, r->polled_ms, LOOK_EVERY_MS)) return false;
    r->polled_ms = now;
    kit_status status = r->plan->provider->look(r->plan->provider_state, r->box.handle, &seen, err);
    if (status == KOLM_E_NOT_FOUND || (status == KOLM_OK && seen.life >= KIT_RENT_ENDING)) {
        (void)kit_fail(err, KOLM_E_ABORTED, "run it again; another machine may do better",
                       "the machine ended while it worked%s%s", seen.why[0] != '\0' ? ": " : "", seen.why);
        (void)fail(r, now, err);
    }
    return true;
}

static kit_rent_state step_running(kit_rent *r, int64_t now, kolm_error_t *err) {
    const kit_rent_work *w = r->plan->work;
    if (looked(r, now, err) || !do_work(r, r->finished ? w->collect : w->run, now, err)) return r->state;
    if (r->finished) return enter(r, KIT_RENT_COLLECTED, now);
    r->finished = true;
    return r->state;
}

/* ---- destroying */

#define ASK_AGAIN_MS 30000 /* repeat destroy() after this time if the provider still reports ENDING */

/* True if look() reports that the box is gone. NOT_FOUND counts only once the box would have been visible. */
static bool is_gone(kit_rent *r, int64_t now, bool *out_ending, kolm_error_t *err) {
    kit_rent_box seen = {.micro_usd_per_hour = UINT64_MAX};
    kit_status status = r->plan->provider->look(r->plan->provider_state, r->box.handle, &seen, err);
    *out_ending = status == KOLM_OK && seen.life == KIT_RENT_ENDING;
    if (status == KOLM_OK) r->seen = true;
    if (status == KOLM_OK) return seen.life == KIT_RENT_ENDED;
    return status == KOLM_E_NOT_FOUND && settled(r, now);
}

static kit_rent_state off_the_record(kit_rent *r, int64_t now, kolm_error_t *err) {
    if (!strike(r, now, r->spent_micro_usd - r->spent_before, err)) return r->state;
    stop_counting(r, now);
    return enter(r, KIT_RENT_GONE, now);
}

/* The handle is gone: checks whether a box of that name is left. */
static kit_rent_state look_again(kit_rent *r, int64_t now, kolm_error_t *err) {
    kit_rent_box *boxes = NULL;
    bool fresh = false;
    const kit_rent_box *found = find_by_name(r, &boxes, &fresh, err);
    if (found != NULL) {
        kit_copy(r->box.handle, sizeof r->box.handle, found->handle);
        /* the name is recorded in any case */
        (void)r->plan->journal->handle(r->plan->journal_user, r->name, r->box.handle, err);
        r->asked = r->seen_gone = false;
    }
    bool none = found == NULL && fresh;
    free(boxes);
    return none ? off_the_record(r, now, err) : later(r, now);
}

static kit_rent_state step_destroying(kit_rent *r, int64_t now, kolm_error_t *err) {
    const kit_rent_plan *p = r->plan;
    bool ending = false;
    if (out_of_patience(r, now)) return give_up(r, now, "it could not be ended, or the provider does not report it");
    if (!r->asked) {
        if (p->provider->destroy(p->provider_state, r->box.handle, err) == KOLM_OK) r->seen = true;
        r->asked = true;
        r->told_ms = now;
        return r->state;
    }
    if (r->seen_gone && (p->provider->can & KIT_RENT_CAN_NAME) != 0) return look_again(r, now, err);
    if (!r->seen_gone && !is_gone(r, now, &ending, err)) {
        if (!ending || passed(now, r->told_ms, ASK_AGAIN_MS)) r->asked = false; /* destroy again */
        return later(r, now);
    }
    if ((p->provider->can & KIT_RENT_CAN_NAME) == 0) return off_the_record(r, now, err);
    r->seen_gone = true;
    return r->state;
}

static kit_rent_state step(kit_rent *r, int64_t now, bool cancel, kolm_error_t *err) {
    bool working = r->state >= KIT_RENT_CREATED && r->state <= KIT_RENT_RUNNING;
    if (working && is_over(r, now, cancel, err)) return fail(r, now, err);
    switch (r->state) {
    case KIT_RENT_PLANNED:
        return step_planned(r, now, cancel, err);
    case KIT_RENT_INTENT:
        return step_intent(r, now, cancel, err);
    case KIT_RENT_CREATED:
        return step_created(r, now, err);
    case KIT_RENT_READY:
        return do_work(r, r->plan->work->arm, now, err) ? enter(r, KIT_RENT_ARMED, now) : r->state;
    case KIT_RENT_ARMED:
        return enter(r, KIT_RENT_RUNNING, now);
    case KIT_RENT_RUNNING:
        return step_running(r, now, err);
    case KIT_RENT_COLLECTED:
        return end_it(r, now);
    case KIT_RENT_DESTROYING:
        return step_destroying(r, now, err);
    case KIT_RENT_GONE:
    case KIT_RENT_LOST:
        break;
    }
    return r->state;
}

/* Asked again, it would be refused again: for its token, or, in a list, for a setting. What is done to one box may be
 * refused for its state, which passes. */
static bool is_barred(const kit_rent *r, kit_status status) {
    bool lists = r->reclaiming && (r->state == KIT_RENT_INTENT || r->seen_gone);
    return status == KOLM_E_UNAUTHENTICATED || status == KOLM_E_PERMISSION_DENIED ||
           (lists && status == KOLM_E_FAILED_PRECONDITION);
}

void kit_rent_step(kit_rent *rent, int64_t now_ms, bool cancel) {
    kolm_error_t err = KIT_ERROR_INIT;
    if (kit_rent_ended(rent)) return;
    /* create() may have taken minutes: the box may be newer than the call, and not visible yet, or booting */
    if (rent->creating) rent->asked_ms = rent->since_ms = now_ms;
    rent->creating = false;
    count(rent, now_ms);
    rent->due_ms = now_ms;
    (void)step(rent, now_ms, cancel, &err);
    if (is_barred(rent, err.code))
        rent->barred = err;
    else if (!kit_rent_ended(rent)) /* kept if it gave up while barred */
        rent->barred = (kolm_error_t)KIT_ERROR_INIT;
}
