/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine of a job in a provider's queue. */
#include "kolm/rent/queue.h"

#include "pace.h"

#include "kolm/kit/buf.h"

#include <string.h>

#define NAME_MAX_BYTES 40u
#define RECORD_MS 60000u /* how long to retry recording an end */

bool kit_queue_ended(const kit_queue *queue) {
    return queue->state == KIT_QUEUE_GONE || queue->state == KIT_QUEUE_LOST;
}

const char *kit_queue_state_name(kit_queue_state state) {
    static const char *const names[] = {"planned",   "uploading", "uploaded", "priced",  "intent",
                                        "submitted", "running",   "done",     "fetched", "cancelling",
                                        "removing",  "gone",      "lost"};
    return (size_t)state < sizeof names / sizeof names[0] ? names[state] : "?";
}

/* ---- Small steps. Each returns the new state. */

static uint64_t or_else(uint64_t value, uint64_t fallback) {
    return value > 0 ? value : fallback;
}

static bool passed(int64_t now, int64_t since, uint64_t limit) {
    return (uint64_t)(now - since) >= limit;
}

static kit_queue_state enter(kit_queue *q, kit_queue_state state, int64_t now) {
    q->since_ms = q->good_ms = q->due_ms = now;
    q->asked = false;
    return q->state = state;
}

/* Schedules the next step: often for a minute, then less often. */
static kit_queue_state later(kit_queue *q, int64_t now) {
    q->due_ms = now + (int64_t)rent_pace_pause(or_else(q->plan->poll_ms, 5000), (uint64_t)(now - q->since_ms));
    return q->state;
}

/* Only the first failure is reported. */
static void blame(kit_queue *q, const kolm_error_t *err) {
    if (q->error.code != KOLM_OK) return;
    q->error = *err;
    if (q->error.code == KOLM_OK) q->error.code = KOLM_E_INTERNAL;
}

static bool may_pass(kit_status status) {
    return status == KOLM_E_UNAVAILABLE || status == KOLM_E_DEADLINE_EXCEEDED;
}

static void remember(kit_queue *q, const kit_queue_look *seen) {
    q->seen = *seen;
    q->found = true;
}

/* Since the last call that brought something, or since the state began; without the time of calls that did a part. */
static bool out_of_patience(const kit_queue *q, int64_t now) {
    return passed(now, q->good_ms, or_else(q->plan->give_up_ms, 1800000));
}

static bool settled(const kit_queue *q, int64_t now, int64_t since) {
    return passed(now, since, or_else(q->plan->settle_ms, or_else(q->plan->provider->settle_ms, 120000)));
}

/* True if the user cancelled or the deadline passed. */
static bool is_over(const kit_queue *q, int64_t now, bool cancel, kolm_error_t *err) {
    uint64_t deadline = q->plan->deadline_ms;
    if (cancel)
        (void)kit_fail(err, KOLM_E_CANCELLED, "", "stopped on request");
    else if (deadline > 0 && passed(now, q->begun_ms, deadline))
        (void)kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "allow more time", "the time of %llu s has run out",
                       (unsigned long long)(deadline / 1000));
    return cancel || err->code != KOLM_OK;
}

/* ---- Begin */

static kit_status check_plan(const kit_queue_plan *p, bool whole, kolm_error_t *err) {
    const kit_queue_provider *v = p->provider;
    size_t n = p->name != NULL ? strlen(p->name) : 0;
    bool good = v != NULL && v->look != NULL && v->cancel != NULL && p->journal != NULL &&
                (v->upload == NULL) == (v->remove == NULL) && ((v->can & KIT_QUEUE_CAN_FIND) == 0 || v->find != NULL);
    if (good && whole)
        good = v->submit != NULL && v->fetch != NULL && n > 0 && n <= NAME_MAX_BYTES &&
               strspn(p->name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
    if (good) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "report it to the author of this backend",
                    "the plan of a queued job lacks a function or a name of a-z, 0-9 and '-'");
}

static void clear(kit_queue *q, const kit_queue_plan *plan, int64_t now) {
    memset(q, 0, sizeof *q);
    q->plan = plan;
    q->error.struct_size = q->left.struct_size = (uint32_t)sizeof q->error;
    q->seen.billed_micro_usd = UINT64_MAX;
    q->begun_ms = q->known_ms = now;
    q->sent_ms = -1;
}

kit_status kit_queue_begin(kit_queue *queue, const kit_queue_plan *plan, int64_t now_ms, kolm_error_t *err) {
    KIT_TRY(check_plan(plan, true, err));
    clear(queue, plan, now_ms);
    kit_copy(queue->name, sizeof queue->name, plan->name);
    kit_format(queue->files_name, sizeof queue->files_name, "%s" KIT_QUEUE_FILES, plan->name);
    (void)enter(queue, KIT_QUEUE_PLANNED, now_ms);
    return KOLM_OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a > b && strcmp(text + a - b, end) == 0;
}

kit_status kit_queue_reclaim(kit_queue *queue, const kit_queue_plan *plan, const char *name, const char *handle,
                             uint64_t age_ms, int64_t now_ms, kolm_error_t *err) {
    KIT_TRY(check_plan(plan, false, err));
    clear(queue, plan, now_ms);
    bool files = ends_with(name, KIT_QUEUE_FILES);
    queue->reclaiming = true;
    if (name[0] == '\0' || !kit_copy(files ? queue->files_name : queue->name, sizeof queue->name, name) ||
        !kit_copy(files ? queue->files : queue->handle, sizeof queue->handle, handle))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "check with the provider, and end it there",
                        "the record of a job has no name, or one that is too long");
    if (!kit_rent_is_handle(handle))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "look for it with the provider by its name, and end it there",
                        "the record of %s has a handle that no provider gives, so it was changed", name);
    if (files && plan->provider->remove == NULL)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "check with the provider, and remove it there",
                        "%s uploads nothing, but %s is recorded", plan->provider->name, name);
    /* if only the intent was recorded, the end of the call is unknown */
    uint64_t submit_ms = handle[0] != '\0' ? 0 : or_else(plan->provider->submit_ms, KIT_RENT_CREATE_MS);
    age_ms = age_ms > submit_ms ? age_ms - submit_ms : 0;
    int64_t then = age_ms < (uint64_t)INT64_MAX / 2 ? now_ms - (int64_t)age_ms : now_ms;
    queue->files_open = files;
    queue->may_be_billed = !files && handle[0] != '\0';
    queue->asked_ms = then;
    queue->sent_ms = then > 0 ? then : 0; /* two clocks, one of which runs during suspend; below 0 nothing was sent */
    (void)enter(queue,
                files               ? KIT_QUEUE_REMOVING
                : handle[0] != '\0' ? KIT_QUEUE_CANCELLING
                                    : KIT_QUEUE_INTENT,
                now_ms);
    queue->asked = queue->state == KIT_QUEUE_INTENT;
    return KOLM_OK;
}

/* ---- Closing the two records */

static kit_queue_state end(kit_queue *q, int64_t now) {
    return enter(q, q->left.code != KOLM_OK ? KIT_QUEUE_LOST : KIT_QUEUE_GONE, now);
}

static kit_queue_state to_files(kit_queue *q, int64_t now) {
    if (!q->files_open) return end(q, now);
    return enter(q, KIT_QUEUE_REMOVING, now);
}

static kit_queue_state fail(kit_queue *q, int64_t now, const kolm_error_t *err) {
    blame(q, err);
    return to_files(q, now);
}

static void leave(kit_queue *q, const char *name, const char *what) {
    if (q->left.code != KOLM_OK) return; /* the job matters more than its files */
    (void)kit_fail(&q->left, KOLM_E_UNKNOWN,
                   "check with the provider, and end it there; kolm tries again each time it starts", "%s %s: %s",
                   q->plan->provider->name, name, what);
}

/* It is unknown whether the job exists: its record stays open. */
static kit_queue_state lose(kit_queue *q, int64_t now, const char *what) {
    leave(q, q->name, what);
    q->left_is_all = q->error.code == KOLM_OK;
    if (q->left_is_all) q->error = q->left;
    return to_files(q, now);
}

/* During reclaim kolm itself records the result. */
static bool off_the_record(const kit_queue *q, const char *name, uint64_t billed, kolm_error_t *err) {
    return q->plan->journal->gone(q->plan->journal_user, name, billed, err) == KOLM_OK || q->reclaiming;
}

/* The job is final, or was never created: closes its record. */
static kit_queue_state close_job(kit_queue *q, int64_t now, kolm_error_t *err) {
    uint64_t billed = q->may_be_billed ? q->seen.billed_micro_usd : 0;
    if (!q->final) q->good_ms = now;
    q->final = true;
    if (off_the_record(q, q->name, billed, err)) return to_files(q, now);
    if (passed(now, q->good_ms, RECORD_MS)) {
        leave(q, q->name, "it has ended, but this cannot be recorded");
        return to_files(q, now);
    }
    return later(q, now);
}

static kit_queue_state cancel_it(kit_queue *q, int64_t now, const kolm_error_t *err) {
    blame(q, err);
    return enter(q, KIT_QUEUE_CANCELLING, now);
}

/* ---- planned to priced */

static kit_queue_state step_planned(kit_queue *q, int64_t now, kolm_error_t *err) {
    const kit_queue_plan *p = q->plan;
    const kit_rent_offer offer = {0};
    if (p->provider->upload == NULL) return enter(q, KIT_QUEUE_UPLOADED, now);
    if (p->journal->intent(p->journal_user, q->files_name, &offer, err) != KOLM_OK) return fail(q, now, err);
    q->files_open = true;
    return enter(q, KIT_QUEUE_UPLOADING, now);
}

static kit_queue_state step_uploading(kit_queue *q, int64_t now, kolm_error_t *err) {
    const kit_queue_plan *p = q->plan;
    bool done = false, may_exist = true, had = q->files[0] != '\0';
    kit_status status = p->provider->upload(p->provider_state, q->files_name, q->files, &done, &may_exist, err);
    bool got = !had && q->files[0] != '\0';
    q->uploading = !had && (status == KOLM_OK || got || may_exist);
    if (q->uploading) q->sent_ms = now; /* else there is nothing to look for */
    if (got && p->journal->handle(p->journal_user, q->files_name, q->files, err) != KOLM_OK) return fail(q, now, err);
    if (status == KOLM_OK && done) return enter(q, KIT_QUEUE_UPLOADED, now);
    if (status != KOLM_OK && !(may_pass(status) && q->files[0] != '\0')) return fail(q, now, err);
    q->did_part = status == KOLM_OK;
    if (got) return q->state; /* the next call may come at once */
    if (!out_of_patience(q, now)) return later(q, now);
    if (status == KOLM_OK)
        (void)kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "run it again later",
                       "%s did not accept the uploaded rows in time", p->provider->name);
    return fail(q, now, err);
}

static kit_status judge_price(const kit_queue *q, kolm_error_t *err) {
    const kit_queue_plan *p = q->plan;
    const kit_queue_price *price = &q->price;
    if (price->refused)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "raise the limit of the account there, or train on fewer rows",
                        "%s does not allow this job: %s", p->provider->name,
                        price->why[0] != '\0' ? price->why : "it gives no reason");
    if (p->budget_micro_usd == 0) return KOLM_OK;
    if (!price->known)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "leave out the budget, or choose another backend",
                        "there is a budget of %.2f USD, and %s cannot say what the job will cost%s%s",
                        (double)p->budget_micro_usd / 1e6, p->provider->name, price->why[0] != '\0' ? ": " : "",
                        price->why);
    if (price->micro_usd > p->budget_micro_usd)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "allow a larger budget, or train on fewer rows",
                        "%s estimates %.4f USD, which is more than the budget of %.4f USD", p->provider->name,
                        (double)price->micro_usd / 1e6, (double)p->budget_micro_usd / 1e6);
    return KOLM_OK;
}

static kit_queue_state step_uploaded(kit_queue *q, int64_t now, kolm_error_t *err) {
    const kit_queue_provider *v = q->plan->provider;
    q->price = (kit_queue_price){0};
    kit_status status = v->price != NULL ? v->price(q->plan->provider_state, &q->price, err) : KOLM_OK;
    if (may_pass(status) && !out_of_patience(q, now)) return later(q, now);
    if (status == KOLM_OK) status = judge_price(q, err);
    return status == KOLM_OK ? enter(q, KIT_QUEUE_PRICED, now) : fail(q, now, err);
}

static kit_queue_state step_priced(kit_queue *q, int64_t now, kolm_error_t *err) {
    const kit_queue_plan *p = q->plan;
    kit_rent_offer offer = {.micro_usd_once = q->price.known ? q->price.micro_usd : 0};
    kit_copy(offer.what, sizeof offer.what, p->what != NULL ? p->what : "");
    if (p->journal->intent(p->journal_user, q->name, &offer, err) != KOLM_OK) return fail(q, now, err);
    return enter(q, KIT_QUEUE_INTENT, now);
}

/* ---- intent */

static kit_queue_state has_handle(kit_queue *q, int64_t now, kolm_error_t *err) {
    q->may_be_billed = true;
    q->known_ms = now;
    if (q->plan->journal->handle(q->plan->journal_user, q->name, q->handle, err) != KOLM_OK)
        return cancel_it(q, now, err);
    if (q->reclaiming) return enter(q, KIT_QUEUE_CANCELLING, now);
    return enter(q, KIT_QUEUE_SUBMITTED, now);
}

static kit_queue_state submit(kit_queue *q, int64_t now, kolm_error_t *err) {
    const kit_queue_plan *p = q->plan;
    bool may_exist = true;
    q->asked = q->submitting = true;
    q->asked_ms = now;
    kit_status status = p->provider->submit(p->provider_state, q->name, q->handle, &may_exist, err);
    if (status == KOLM_OK && q->handle[0] != '\0') return has_handle(q, now, err);
    q->handle[0] = '\0';
    if (status == KOLM_OK)
        (void)kit_fail(err, KOLM_E_DATA_LOSS, "check with the provider", "%s accepted the job but returned no id",
                       p->provider->name);
    blame(q, err);
    if (status != KOLM_OK && !may_exist) return close_job(q, now, err);
    q->may_be_billed = true;
    return later(q, now);
}

/* The job may exist, but has no handle. */
static kit_queue_state look_for_it(kit_queue *q, int64_t now, kolm_error_t *err) {
    const kit_queue_plan *p = q->plan;
    if ((p->provider->can & KIT_QUEUE_CAN_FIND) == 0)
        return lose(
            q, now,
            "it may have been submitted, and cannot be found by name at this provider; it is not submitted again");
    q->handle[0] = '\0';
    kit_status status = p->provider->find(p->provider_state, q->name, q->handle, err);
    if (status == KOLM_OK && q->handle[0] != '\0') {
        q->error = (kolm_error_t)KIT_ERROR_INIT;
        q->found = true;
        return has_handle(q, now, err);
    }
    q->handle[0] = '\0';
    if (status == KOLM_OK && settled(q, now, q->asked_ms)) {
        q->may_be_billed = false;
        return close_job(q, now, err);
    }
    if (out_of_patience(q, now)) return lose(q, now, "it may have been submitted, and the provider does not report it");
    return later(q, now);
}

static kit_queue_state step_intent(kit_queue *q, int64_t now, bool cancel, kolm_error_t *err) {
    if (q->final) return close_job(q, now, err);
    if (q->asked) return look_for_it(q, now, err);
    if (!is_over(q, now, cancel, err)) return submit(q, now, err);
    blame(q, err);
    return close_job(q, now, err);
}

/* ---- submitted, running, done */

/* The job has failed or was cancelled at the provider. */
static kit_queue_state ended_badly(kit_queue *q, int64_t now, kolm_error_t *err) {
    blame(q, err);
    (void)enter(q, KIT_QUEUE_CANCELLING, now);
    return close_job(q, now, err);
}

/* True if the last look leaves something to wait for; false, with err filled, if the job must be cancelled. */
static bool goes_on(const kit_queue *q, int64_t now, kit_status status, kolm_error_t *err) {
    const kit_queue_plan *p = q->plan;
    uint64_t start = or_else(p->start_ms, 7200000), unknown = or_else(p->unknown_ms, 1800000);
    uint64_t billed = q->seen.billed_micro_usd;
    if (passed(now, q->known_ms, unknown)) {
        if (status == KOLM_OK)
            (void)kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "update kolm, and run it again",
                           "%s has reported the state \"%s\" of the job, which kolm does not know, for %llu s",
                           p->provider->name, q->seen.word, (unsigned long long)(unknown / 1000));
        return false;
    }
    if (status != KOLM_OK) return true;
    if (p->budget_micro_usd > 0 && billed != UINT64_MAX && billed > p->budget_micro_usd) {
        (void)kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "allow a larger budget, or train on fewer rows",
                       "%s has billed %.4f USD, which is more than the budget of %.4f USD", p->provider->name,
                       (double)billed / 1e6, (double)p->budget_micro_usd / 1e6);
        return false;
    }
    if (q->state == KIT_QUEUE_SUBMITTED && q->seen.life == KIT_QUEUE_WAITING && passed(now, q->since_ms, start)) {
        (void)kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "run it again later, or choose another backend",
                       "%s did not start the job within %llu s", p->provider->name, (unsigned long long)(start / 1000));
        return false;
    }
    return true;
}

static kit_queue_state look_at(kit_queue *q, int64_t now, kolm_error_t *err) {
    const kit_queue_plan *p = q->plan;
    kit_queue_look seen = {.billed_micro_usd = UINT64_MAX};
    kit_status status = p->provider->look(p->provider_state, q->handle, &seen, err);
    if (status == KOLM_OK) remember(q, &seen);
    if (status == KOLM_OK && seen.life != KIT_QUEUE_UNKNOWN) q->known_ms = now;
    if (status == KOLM_OK && seen.life == KIT_QUEUE_SUCCEEDED) return enter(q, KIT_QUEUE_DONE, now);
    if (status == KOLM_OK && seen.life == KIT_QUEUE_FAILED) {
        (void)kit_fail(err, KOLM_E_ABORTED, "read what it says, and change the rows or the options",
                       "%s says that the job failed (%s)%s%s", p->provider->name, seen.word,
                       seen.why[0] != '\0' ? ": " : "", seen.why);
        return ended_badly(q, now, err);
    }
    if ((status == KOLM_OK && seen.life == KIT_QUEUE_CANCELLED) ||
        (status == KOLM_E_NOT_FOUND && settled(q, now, q->asked_ms))) {
        (void)kit_fail(err, KOLM_E_ABORTED, "run it again",
                       status == KOLM_OK ? "the job was cancelled at %s, and not by this kolm"
                                         : "%s no longer has the job",
                       p->provider->name);
        return ended_badly(q, now, err);
    }
    if (!goes_on(q, now, status, err)) return cancel_it(q, now, err);
    if (status == KOLM_OK && q->state == KIT_QUEUE_SUBMITTED && seen.life == KIT_QUEUE_WORKING)
        (void)enter(q, KIT_QUEUE_RUNNING, now);
    q->log_next = p->provider->logs != NULL && status == KOLM_OK;
    return q->log_next ? q->state : later(q, now);
}

static kit_queue_state step_watching(kit_queue *q, int64_t now, bool cancel, kolm_error_t *err) {
    if (is_over(q, now, cancel, err)) return cancel_it(q, now, err);
    if (!q->log_next) return look_at(q, now, err);
    q->log_next = false;
    (void)q->plan->provider->logs(q->plan->provider_state, q->handle, err);
    return later(q, now);
}

static kit_queue_state step_done(kit_queue *q, int64_t now, bool cancel, kolm_error_t *err) {
    bool done = false;
    if (cancel) {
        (void)kit_fail(err, KOLM_E_CANCELLED, "", "stopped on request");
        return ended_badly(q, now, err);
    }
    kit_status status = q->plan->provider->fetch(q->plan->provider_state, q->handle, &done, err);
    if (status == KOLM_OK && done) {
        q->fetched = true;
        return enter(q, KIT_QUEUE_FETCHED, now);
    }
    if (out_of_patience(q, now) && status == KOLM_OK)
        (void)kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "download it from the provider",
                       "%s did not return the results of %s", q->plan->provider->name, q->handle);
    if (out_of_patience(q, now) || !(status == KOLM_OK || may_pass(status))) return ended_badly(q, now, err);
    q->did_part = status == KOLM_OK;
    return later(q, now);
}

/* ---- cancelling, removing */

static kit_queue_state step_cancelling(kit_queue *q, int64_t now, kolm_error_t *err) {
    const kit_queue_plan *p = q->plan;
    kit_queue_look seen = {.billed_micro_usd = UINT64_MAX};
    if (q->final) return close_job(q, now, err);
    if (out_of_patience(q, now)) return lose(q, now, "it could not be cancelled, or the provider does not report it");
    if (!q->asked) {
        (void)p->provider->cancel(p->provider_state, q->handle, err);
        q->asked = true;
        return q->state;
    }
    kit_status status = p->provider->look(p->provider_state, q->handle, &seen, err);
    if (status == KOLM_OK) remember(q, &seen);
    if ((status == KOLM_OK && seen.life >= KIT_QUEUE_SUCCEEDED) ||
        (status == KOLM_E_NOT_FOUND && settled(q, now, q->asked_ms)))
        return close_job(q, now, err);
    /* cancel again unless it is already ending */
    q->asked = status != KOLM_OK || seen.life == KIT_QUEUE_ENDING;
    return later(q, now);
}

static kit_queue_state step_removing(kit_queue *q, int64_t now, kolm_error_t *err) {
    const kit_queue_plan *p = q->plan;
    bool done = q->removed || q->sent_ms < 0;
    if (!done) {
        kit_status status = p->provider->remove(p->provider_state, q->files_name, q->files, &done, err);
        q->found = q->found || (status == KOLM_OK && !done && q->files[0] == '\0');
        /* a file whose handle nobody knows may be there and not be listed yet */
        done = done && status == KOLM_OK && (q->files[0] != '\0' || settled(q, now, q->sent_ms));
        if (done) q->good_ms = now;
        q->removed = done;
    }
    if (done && off_the_record(q, q->files_name, 0, err)) {
        q->files_open = false;
        return end(q, now);
    }
    if (done ? !passed(now, q->good_ms, RECORD_MS) : !out_of_patience(q, now)) return later(q, now);
    leave(q, q->files_name,
          done ? "they were removed, but this cannot be recorded" : "the uploaded rows could not be removed");
    return end(q, now);
}

static kit_queue_state step(kit_queue *q, int64_t now, bool cancel, kolm_error_t *err) {
    if (q->state <= KIT_QUEUE_PRICED && is_over(q, now, cancel, err)) return fail(q, now, err);
    switch (q->state) {
    case KIT_QUEUE_PLANNED:
        return step_planned(q, now, err);
    case KIT_QUEUE_UPLOADING:
        return step_uploading(q, now, err);
    case KIT_QUEUE_UPLOADED:
        return step_uploaded(q, now, err);
    case KIT_QUEUE_PRICED:
        return step_priced(q, now, err);
    case KIT_QUEUE_INTENT:
        return step_intent(q, now, cancel, err);
    case KIT_QUEUE_SUBMITTED:
    case KIT_QUEUE_RUNNING:
        return step_watching(q, now, cancel, err);
    case KIT_QUEUE_DONE:
        return step_done(q, now, cancel, err);
    case KIT_QUEUE_FETCHED:
        return close_job(q, now, err);
    case KIT_QUEUE_CANCELLING:
        return step_cancelling(q, now, err);
    case KIT_QUEUE_REMOVING:
        return step_removing(q, now, err);
    case KIT_QUEUE_GONE:
    case KIT_QUEUE_LOST:
        break;
    }
    return q->state;
}

void kit_queue_step(kit_queue *queue, int64_t now_ms, bool cancel) {
    kolm_error_t err = KIT_ERROR_INIT;
    if (kit_queue_ended(queue)) return;
    /* these calls may have taken minutes: what they created may be newer than their start, and not visible yet */
    if (queue->uploading) queue->sent_ms = now_ms;
    if (queue->submitting) queue->asked_ms = now_ms;
    /* to send much takes long, and is not waiting */
    if (queue->did_part && now_ms > queue->due_ms) queue->good_ms += now_ms - queue->due_ms;
    queue->uploading = queue->submitting = queue->did_part = false;
    queue->due_ms = now_ms;
    (void)step(queue, now_ms, cancel, &err);
    if (err.code == KOLM_E_UNAUTHENTICATED || err.code == KOLM_E_PERMISSION_DENIED)
        queue->barred = err;
    else if (!kit_queue_ended(queue)) /* kept if it gave up while barred */
        queue->barred = (kolm_error_t)KIT_ERROR_INIT;
}
