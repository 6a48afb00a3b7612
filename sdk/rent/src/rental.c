/* SPDX-License-Identifier: Apache-2.0 */
/* One rental from the offer to its end: drives the state machine, and reports what happens to the user. */
#include "vm.h"

#include "kolm/kit/backend.h"
#include "kolm/kit/buf.h"
#include "kolm/kit/file.h"
#include "kolm/kit/process.h"

#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_MS 100
#define WATCHDOG_MORE_SECONDS 900 /* so that kolm ends it first, if it can */
#define LEAVE_MS 8000             /* after the user asked to stop: a slot has 10 s */
#define TIME_FOR_END_MS 120000    /* of the call's time, reserved for ending the machine */

typedef struct rental {
    vm_keyed keyed;
    const kit_vm *vm;
    const kolm_host_v1_t *host;
    vm_limits limits;
    char *key_path;
    char engine[4096], trainer[4096];
    vm_place place;
    kit_rent_host on_record, key_on_record;
    kit_rent_ssh *ssh;
    kit_rent_plan plan;
    kit_rent rent;
    int64_t stopping_ms; /* when the user asked to stop; 0: not */
} rental;

static void say(const rental *v, uint32_t level, const char *text) {
    v->host->log(v->host->user, level, text);
}

static void show_phase(const rental *v, const char *phase) {
    const kolm_progress_t progress = {.struct_size = (uint32_t)sizeof progress,
                                      .total = KOLM_UNKNOWN_COUNT,
                                      .loss = NAN,
                                      .tokens_per_second = NAN,
                                      .phase = phase};
    v->host->progress(v->host->user, &progress);
}

static void end_key(rental *v) {
    kit_rent_plan plan;
    kit_rent ended;
    kolm_error_t err = KIT_ERROR_INIT;
    char line[700];
    if (!v->keyed.asked) return;
    int64_t until = v->stopping_ms > 0 ? v->stopping_ms + LEAVE_MS : INT64_MAX;
    kit_status status = vm_key_end(&v->keyed, v->plan.poll_ms, kit_now_ms(), &plan, &ended, &err);
    if (status == KOLM_OK) vm_drive(&ended, until);
    if (status == KOLM_OK && ended.state == KIT_RENT_GONE) return;
    kit_format(line, sizeof line,
               "the key %s of this job may still be registered: %s; kolm checks again when it starts", v->keyed.name,
               status == KOLM_OK ? ended.error.text : err.text);
    say(v, KOLM_LOG_WARNING, line);
}

/* ---- Reports to the user */

static double dollars(uint64_t micro) {
    return (double)micro / 1e6;
}

static void tell(rental *v, kit_rent_state before) {
    const kit_rent *r = &v->rent;
    char line[700];
    line[0] = '\0';
    if (r->state == before) return;
    bool dated = r->offer.is_reference;
    if (r->state == KIT_RENT_INTENT)
        kit_format(line, sizeof line, "renting %s at %.4f USD an hour%s%s, number %u of %zu that fit by price, as %s",
                   r->offer.what, dollars(r->offer.micro_usd_per_hour), dated ? ", the reference price of " : "",
                   dated ? v->vm->priced_on : "", r->tried, r->offer_count, r->name);
    else if (r->state == KIT_RENT_PLANNED)
        kit_format(line, sizeof line, "%s is not available (%.300s)", r->offer.what, r->error.text);
    else if (r->state == KIT_RENT_CREATED)
        kit_format(line, sizeof line, "%s is rented (%s) and booting", r->name, r->box.handle);
    else if (r->state == KIT_RENT_READY)
        kit_format(
            line, sizeof line, "%s is up at %s, for %.4f USD an hour", r->name, r->box.address,
            dollars(r->box.micro_usd_per_hour != UINT64_MAX ? r->box.micro_usd_per_hour : r->offer.micro_usd_per_hour));
    else if (r->state == KIT_RENT_GONE && r->spent_micro_usd > 0)
        kit_format(line, sizeof line, "%s is gone from the account; it cost %.4f USD by the clock", r->name,
                   dollars(r->spent_micro_usd));
    if (line[0] != '\0') say(v, KOLM_LOG_INFO, line);
    static const char *const phases[] = {[KIT_RENT_INTENT] = "renting",
                                         [KIT_RENT_CREATED] = "booting",
                                         [KIT_RENT_READY] = "connecting",
                                         [KIT_RENT_DESTROYING] = "ending the machine"};
    if ((size_t)r->state < sizeof phases / sizeof *phases && phases[r->state] != NULL) show_phase(v, phases[r->state]);
}

/* ---- The loop */

/* Waits until the next step is due, the work has a result, or the user asks to stop. */
static void rest(rental *v, bool cancelled) {
    bool works = v->rent.state == KIT_RENT_READY || v->rent.state == KIT_RENT_RUNNING;
    for (int64_t left; (left = v->rent.due_ms - kit_now_ms()) > 0;) {
        int64_t slice = left < SLICE_MS ? left : SLICE_MS;
        if (works && kit_rent_ssh_wait(v->ssh, slice)) return;
        if (!works) (void)poll(NULL, 0, (int)slice);
        if (!cancelled && v->host->cancelled(v->host->user) != 0) return;
    }
}

/* The watchdog waits until the budget or the time is used up, and a while longer. */
static void set_watchdog(rental *v) {
    uint64_t seconds = v->plan.deadline_ms / 1000, price = v->rent.offer.micro_usd_per_hour;
    if (v->plan.budget_micro_usd > 0 && price > 0) {
        uint64_t paid = (uint64_t)((double)v->plan.budget_micro_usd / (double)price * 3600);
        seconds = paid < seconds ? paid : seconds;
    }
    kit_rent_ssh_watch(v->ssh, seconds + WATCHDOG_MORE_SECONDS);
    v->keyed.account.watch_seconds = seconds + WATCHDOG_MORE_SECONDS;
}

/* Reports preparation before anything is rented, which may take minutes, such as building an image. */
static void tell_prepared(const rental *v) {
    const kit_rent *r = &v->rent;
    if (r->state == KIT_RENT_PLANNED && r->offer_count > 0 && !r->prepared) show_phase(v, "preparing");
}

static void drive(rental *v) {
    kit_rent *r = &v->rent;
    while (!kit_rent_ended(r)) {
        kit_rent_state before = r->state;
        bool cancelled = v->host->cancelled(v->host->user) != 0;
        if (cancelled && v->stopping_ms == 0) v->stopping_ms = kit_now_ms();
        if (cancelled || r->state == KIT_RENT_DESTROYING) {
            kit_rent_account_insist(&v->keyed.account);
            kit_rent_ssh_stop(v->ssh);
        }
        tell_prepared(v);
        kit_rent_step(r, kit_now_ms(), cancelled);
        tell(v, before);
        if ((r->state == KIT_RENT_INTENT || r->state == KIT_RENT_READY) && before != r->state) set_watchdog(v);
        /* kolm will end this process soon: its next start ends what is recorded */
        if (v->stopping_ms > 0 && kit_now_ms() - v->stopping_ms > LEAVE_MS) return;
        if (r->state == before || r->state != KIT_RENT_DESTROYING) rest(v, cancelled);
    }
}

/* ---- Begin and end */

static kit_status open_rental(rental *v, const vm_work *work, kolm_error_t *err) {
    const kit_vm *vm = v->vm;
    if (!KOLM_HAS(kolm_host_v1_t, v->host, lease) || v->host->lease == NULL)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "install a newer kolm",
                        "this version of kolm cannot record leases, so %s rents nothing", vm->site.name);
    KIT_TRY(vm_limits_read(vm, v->host, &v->limits, err));
    v->keyed.account.wish = v->limits.wish;
    KIT_TRY(kit_rent_account_open(&vm->site, v->host, &v->keyed.account, err));
    KIT_TRY(vm_name_make(work->digest, v->keyed.name, err));
    vm_keyed_begin(&v->keyed, vm, &kit_rent_host_journal, &v->key_on_record);
    KIT_TRY(kit_path_join(v->host->scratch_dir, "key", &v->key_path, err));
    if (vm->wire_new == NULL) KIT_TRY(kit_ssh_key_make(v->key_path, v->keyed.name, v->keyed.account.public_key, err));
    (void)kit_ssh_job_engine(v->engine, sizeof v->engine);
    if (!kit_setting(v->host, "runtime.trainer", "", v->trainer, sizeof v->trainer)) v->trainer[0] = '\0';
    const kit_rent_ssh_options ssh = {.host = v->host,
                                      .name = vm->site.name,
                                      .wire_new = vm->wire_new,
                                      .user = v->limits.ssh_user,
                                      .port = v->limits.ssh_port,
                                      .key_path = v->key_path,
                                      .engine = v->engine,
                                      .trainer = v->trainer,
                                      .needs_gpu = work->needs_gpu && !vm->no_gpu,
                                      .power_off = !v->limits.keep_on && vm->wire_new == NULL,
                                      .train = work->train,
                                      .train_result = work->train_result,
                                      .infer = work->infer,
                                      .infer_result = work->infer_result};
    return kit_rent_ssh_open(&ssh, &v->ssh, err);
}

/* Milliseconds that the job may take: limited by the settings and by this call's time, less the time for ending the
 * machine. */
static uint64_t time_for(const rental *v, const vm_work *work) {
    uint64_t most = v->limits.seconds * 1000;
    int64_t left = v->host->time_left_ms(v->host->user);
    if (work->seconds_most > 0 && work->seconds_most * 1000 < most) most = work->seconds_most * 1000;
    if (left == INT64_MAX) return most;
    left = left > 2 * TIME_FOR_END_MS ? left - TIME_FOR_END_MS : left / 2;
    return (uint64_t)left < most ? (uint64_t)left + 1 : most;
}

static void make_plan(rental *v, const vm_work *work) {
    v->on_record = (kit_rent_host){.host = v->host, .kind = "instance", .place = v->place.text};
    v->key_on_record = (kit_rent_host){.host = v->host, .kind = "key", .place = v->place.text};
    v->plan = (kit_rent_plan){.provider = &v->keyed.provider,
                              .provider_state = &v->keyed,
                              .work = &kit_rent_ssh_work,
                              .work_user = v->ssh,
                              .journal = &kit_rent_host_journal,
                              .journal_user = &v->on_record,
                              .prefix = v->keyed.name,
                              .budget_micro_usd = v->limits.budget_micro_usd,
                              .rate_micro_usd_per_hour = v->limits.rate_micro_usd,
                              .deadline_ms = time_for(v, work),
                              .poll_ms = v->limits.poll_ms};
}

static void tell_cost(const rental *v, kolm_error_t *err) {
    uint64_t spent = v->rent.spent_micro_usd;
    char cost[96] = "nothing was rented", said[sizeof err->text];
    if (spent > 0) kit_format(cost, sizeof cost, "it cost %.4f USD by the clock", dollars(spent));
    kit_copy(said, sizeof said, err->text);
    kit_format(err->text, sizeof err->text, "%s: %.*s; %s", v->vm->site.title, 380, said, cost);
}

/* Reports what happened, and what it cost. */
static kit_status outcome(rental *v, kolm_error_t *err) {
    const kit_rent *r = &v->rent;
    if (r->error.code == KOLM_OK && r->state == KIT_RENT_GONE) return KOLM_OK;
    if (r->made) say(v, KOLM_LOG_WARNING, r->error.text);
    if (r->made) return KOLM_OK;
    *err = r->error;
    if (!kit_rent_ended(r))
        (void)kit_fail(err, KOLM_E_CANCELLED, "the next start of kolm checks again, or `kolm compute reap` now",
                       "stopped; %s is being ended at %s, which has not confirmed it yet", r->name, v->vm->site.title);
    tell_cost(v, err);
    return err->code;
}

/* Called before anything is rented: a record without a place is useless. */
static kit_status find_place(rental *v, kolm_error_t *err) {
    kit_status status = vm_place_find(v->vm, &v->keyed.account, &v->place, err);
    if (status != KOLM_OK) tell_cost(v, err);
    return status;
}

/* If the account cannot pay for a job, the provider ends it midway, and its cost is lost. */
static kit_status check_balance(rental *v, kolm_error_t *err) {
    uint64_t has = 0, quote = v->limits.quote_micro_usd;
    kolm_error_t ignored = KIT_ERROR_INIT;
    if (v->vm->balance == NULL || quote == 0 || v->vm->balance(&v->keyed.account, &has, &ignored) != KOLM_OK)
        return KOLM_OK; /* renting reports any problem */
    if (has >= quote) return KOLM_OK;
    (void)kit_fail(err, KOLM_E_FAILED_PRECONDITION, "add credit, choose another backend, or train on fewer rows",
                   "the account has %.4f USD, and this job is quoted at %.4f USD", dollars(has), dollars(quote));
    tell_cost(v, err);
    return KOLM_E_FAILED_PRECONDITION;
}

kit_status vm_rent(const kit_vm *vm, const kolm_host_v1_t *host, const vm_work *work, vm_bill *out_bill,
                   kolm_error_t *err) {
    rental *v = calloc(1, sizeof *v);
    *out_bill = (vm_bill){0};
    if (v == NULL) return kit_no_memory(err);
    v->vm = vm;
    v->host = host;
    kit_status status = open_rental(v, work, err);
    if (status == KOLM_OK) status = find_place(v, err);
    if (status == KOLM_OK) status = check_balance(v, err);
    if (status == KOLM_OK) {
        make_plan(v, work);
        status = kit_rent_begin(&v->rent, &v->plan, kit_now_ms(), err);
    }
    if (status == KOLM_OK) {
        show_phase(v, "looking for a machine");
        drive(v);
        status = outcome(v, err);
        kit_rent_account_insist(&v->keyed.account);
        end_key(v);
        out_bill->micro_usd = v->rent.spent_micro_usd;
        kit_copy(out_bill->what, sizeof out_bill->what, v->rent.offer.what);
        kit_copy(out_bill->name, sizeof out_bill->name, v->keyed.name);
    }
    kit_rent_ssh_close(v->ssh);
    kit_rent_account_close(&v->keyed.account);
    free(v->key_path);
    free(v);
    return status;
}
