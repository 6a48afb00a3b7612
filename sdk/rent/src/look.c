/* SPDX-License-Identifier: Apache-2.0 */
/* The slots that rent nothing: detect, cost, status and reclaim of a provider of machines. */
#include "vm.h"

#include "kolm/kit/backend.h"
#include "kolm/kit/process.h"

#include <stdlib.h>
#include <string.h>

#define RECLAIM_MS 20000
#define RECLAIM_POLL_MS 2000
#define FIRST_LOOK_MS 1000
#define LINEAR_ROWS_PER_SECOND 5000
#define LINEAR_SECONDS 60 /* connecting, sending the engine, ending the machine */
#define HOUR_MS 3600000u
#define HTTP_PAYMENT_REQUIRED 402

/* ---- detect */

/* Fills the result of detect: available, the provider's refusal, or that the token could not be checked. */
static int32_t tried(const kit_vm *vm, kit_status status, int answered, const char *note, const kolm_error_t *err,
                     kolm_detect_result_t *out_result) {
    char reason[256];
    if (status == KOLM_OK) {
        kit_format(reason, sizeof reason, "%s accepts the token%s%.180s", vm->site.title, note[0] != '\0' ? ": " : "",
                   note);
        return kit_detected(out_result, KOLM_DETECT_AVAILABLE, reason, "", vm->runtime);
    }
    bool refused = status == KOLM_E_UNAUTHENTICATED || status == KOLM_E_PERMISSION_DENIED ||
                   status == KOLM_E_FAILED_PRECONDITION || status == KOLM_E_INVALID_ARGUMENT ||
                   (status == KOLM_E_RESOURCE_EXHAUSTED && answered == HTTP_PAYMENT_REQUIRED);
    if (status == KOLM_E_RESOURCE_EXHAUSTED && !refused) {
        /* too many requests, or no capacity: temporary, and unrelated to the token */
        kit_format(reason, sizeof reason, "the token is set; %s says to try again later: %.170s", vm->site.title,
                   err->text);
        return kit_detected(out_result, KOLM_DETECT_AVAILABLE, reason, "", vm->runtime);
    }
    if (refused) return kit_detected(out_result, KOLM_DETECT_BROKEN, err->text, err->remedy, "");
    kit_format(reason, sizeof reason, "the token is set; %s could not be queried: %.170s", vm->site.title, err->text);
    return kit_detected(out_result, KOLM_DETECT_AVAILABLE, reason, "", vm->runtime);
}

/* Reports the provider's current price; one from a reference list is not reported. */
static void tell_price(const kolm_host_v1_t *host, const kit_rent_offer *cheapest) {
    if (cheapest->micro_usd_per_hour == 0 || cheapest->is_reference) return;
    host->metric(host->user, KOLM_METRIC_OFFER_HOURLY, (double)cheapest->micro_usd_per_hour / 1e6);
    host->metric(host->user, KOLM_METRIC_OFFER_ONCE, (double)cheapest->micro_usd_once / 1e6);
}

int32_t kit_vm_detect(const kit_vm *vm, const kolm_host_v1_t *host, const kolm_detect_args_t *args,
                      kolm_detect_result_t *out_result, kolm_error_t *out_error) {
    kit_rent_account account = {0};
    kit_rent_offer cheapest;
    vm_limits limits = {0};
    char note[200] = "";
    kolm_error_t err = KIT_ERROR_INIT;
    KIT_TRY(kit_detect_token(host, vm->site.token, vm->site.where, vm->runtime, out_result, out_error));
    if (args->allow_network != 1 || out_result->state != KOLM_DETECT_AVAILABLE) return KOLM_OK;
    kit_status status = vm_limits_read(vm, host, &limits, &err);
    account.wish = limits.wish;
    if (status == KOLM_OK) status = kit_rent_account_open(&vm->site, host, &account, &err);
    if (status == KOLM_OK) status = vm_check(vm, &account, note, sizeof note, &cheapest, &err);
    if (status == KOLM_OK) tell_price(host, &cheapest);
    kit_rent_account_close(&account);
    if (status == KOLM_E_CANCELLED) {
        *out_error = err;
        return status;
    }
    return tried(vm, status, account.answered, note, &err, out_result);
}

/* ---- cost */

static uint64_t bill_of(uint64_t duration_ms, uint64_t micro_usd_per_hour) {
    double cost = (double)duration_ms / HOUR_MS * (double)micro_usd_per_hour;
    return cost < 9e18 ? (uint64_t)cost : INT64_MAX;
}

int32_t kit_vm_cost(const kit_vm *vm, const kolm_host_v1_t *host, const kolm_cost_args_t *args,
                    kolm_cost_result_t *out_result, kolm_error_t *out_error) {
    const kit_vm_price *least = vm->prices;
    (void)host, (void)out_error;
    for (size_t i = 1; i < vm->price_count; i++)
        if (vm->prices[i].micro_usd_per_hour < least->micro_usd_per_hour) least = &vm->prices[i];
    if (strcmp(args->recipe, "linear") == 0) {
        uint64_t rows_ms = args->rows < INT64_MAX / 1000 ? args->rows * 1000 / LINEAR_ROWS_PER_SECOND : INT64_MAX / 4;
        out_result->billing = KOLM_BILLING_PER_HOUR;
        out_result->confidence = KOLM_CONFIDENCE_NONE;
        out_result->duration_ms = (args->cold_start_seconds + (uint64_t)LINEAR_SECONDS) * 1000 + rows_ms;
        out_result->cost_micro_usd = args->price_micro_usd_per_hour == UINT64_MAX
                                         ? UINT64_MAX
                                         : bill_of(out_result->duration_ms, args->price_micro_usd_per_hour);
    } else {
        KIT_TRY(kit_estimate_lora(args, vm->tokens_per_second_3b, out_result));
    }
    if (args->price_micro_usd_per_hour == UINT64_MAX || least == NULL)
        kit_format(out_result->basis, sizeof out_result->basis, "hours of one machine, start-up included");
    else
        kit_format(out_result->basis, sizeof out_result->basis,
                   "hours of one machine at %.4f USD, start-up included; reference prices of %s, of %s: from %.4f USD "
                   "(%s); the offer is taken live",
                   (double)args->price_micro_usd_per_hour / 1e6, vm->site.title, vm->priced_on,
                   (double)least->micro_usd_per_hour / 1e6, least->what);
    return KOLM_OK;
}

/* ---- Ending what is not recorded here */

static kit_status no_intent(void *user, const char *name, const kit_rent_offer *offer, kolm_error_t *err) {
    (void)user, (void)name, (void)offer;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "", "nothing is created here");
}

static kit_status no_handle(void *user, const char *name, const char *handle, kolm_error_t *err) {
    (void)user, (void)name, (void)handle, (void)err;
    return KOLM_OK;
}

static kit_status no_gone(void *user, const char *name, uint64_t billed, kolm_error_t *err) {
    (void)user, (void)name, (void)billed, (void)err;
    return KOLM_OK;
}

static const kit_rent_journal no_journal = {.intent = no_intent, .handle = no_handle, .gone = no_gone};

/* The plan for ending what another call recorded: core has the journal, and records GONE from the slot's result. */
static kit_rent_plan plan_of(const kit_vm *vm, kit_rent_account *account) {
    return (kit_rent_plan){
        .provider = &vm->machine, .provider_state = account, .journal = &no_journal, .poll_ms = RECLAIM_POLL_MS};
}

/* ---- status */

typedef struct round {
    const kit_vm *vm;
    const kolm_host_v1_t *host;
    const kolm_status_args_t *args;
    kit_rent_account account;
    vm_limits limits;
    kit_rent_box *boxes;
    size_t count, machines, keys;
} round;

static bool is_key(const kit_rent_box *box) {
    return strncmp(box->handle, KIT_VM_KEY, strlen(KIT_VM_KEY)) == 0;
}

/* A key is needed as long as a machine of its job exists. */
static bool is_needed(const round *r, const kit_rent_box *key) {
    size_t length = strlen(key->name);
    for (size_t i = 0; i < r->count; i++)
        if (!is_key(&r->boxes[i]) && r->boxes[i].life != KIT_RENT_ENDED &&
            strncmp(r->boxes[i].name, key->name, length) == 0)
            return true;
    return false;
}

/* True for what no job can need any more, because no job may take that long. */
static bool is_idle(const round *r, const kit_rent_box *box, uint64_t age) {
    if (is_key(box)) return !is_needed(r, box);
    return age != KOLM_UNKNOWN_COUNT && age > r->limits.seconds + 3600;
}

static void report(const round *r, const kit_rent_box *box, uint32_t state, uint64_t age, const char *note) {
    const kolm_holding_t holding = {.struct_size = (uint32_t)sizeof holding,
                                    .state = state,
                                    .bytes = KOLM_UNKNOWN_COUNT,
                                    .age_seconds = age,
                                    .price_micro_usd_per_hour = is_key(box) ? 0 : box->micro_usd_per_hour,
                                    .place = r->vm->place,
                                    .kind = is_key(box) ? "key" : "instance",
                                    .name = box->name,
                                    .note = note};
    r->host->holding(r->host->user, &holding);
}

static kit_status remove_it(round *r, const kit_rent_box *box, uint64_t age, kolm_error_t *err) {
    kit_rent_plan plan;
    kit_rent ended;
    int64_t until = kit_now_ms() + RECLAIM_MS * 3;
    plan = plan_of(r->vm, &r->account);
    KIT_TRY(kit_rent_reclaim(&ended, &plan, box->name, box->handle, INT64_MAX / 4, kit_now_ms(), err));
    vm_drive(&ended, until);
    bool gone = ended.state == KIT_RENT_GONE;
    report(r, box, gone ? KOLM_HOLDING_REMOVED : KOLM_HOLDING_IN_USE, age, gone ? "" : "it is being ended");
    return KOLM_OK;
}

static kit_status look_at(round *r, const kit_rent_box *box, kolm_error_t *err) {
    char note[300];
    uint64_t age = vm_name_age(box->name);
    static const char *const words[] = {"boots", "runs", "is ending", "has ended"};
    if (box->life == KIT_RENT_ENDED) return KOLM_OK;
    r->machines += !is_key(box);
    r->keys += is_key(box);
    bool idle = is_idle(r, box, age);
    if (idle && r->args->prune == 1 && age != KOLM_UNKNOWN_COUNT && age >= r->args->older_seconds)
        return remove_it(r, box, age, err);
    if (is_key(box))
        kit_format(note, sizeof note, "%s", idle ? "its job has no machine" : "of a job that has a machine");
    else
        kit_format(note, sizeof note, "%s, %s%s%.100s", box->handle, words[box->life],
                   box->address[0] != '\0' ? " at " : "", box->address);
    report(r, box, idle ? KOLM_HOLDING_IDLE : KOLM_HOLDING_IN_USE, age, note);
    return KOLM_OK;
}

static kit_status go_round(round *r, kolm_error_t *err) {
    KIT_TRY(vm_limits_read(r->vm, r->host, &r->limits, err));
    kit_status status = kit_rent_account_open(&r->vm->site, r->host, &r->account, err);
    if (status == KOLM_E_UNAUTHENTICATED) err->code = status = KOLM_E_NOT_FOUND; /* no token: not set up */
    if (status != KOLM_OK) return status;
    KIT_TRY(r->vm->machine.list(&r->account, KIT_VM_PREFIX, r->boxes, KIT_RENT_BOXES_MAX, &r->count, err));
    if (r->count > KIT_RENT_BOXES_MAX) r->count = KIT_RENT_BOXES_MAX;
    for (size_t i = 0; i < r->count; i++)
        KIT_TRY(look_at(r, &r->boxes[i], err));
    return KOLM_OK;
}

int32_t kit_vm_status(const kit_vm *vm, const kolm_host_v1_t *host, const kolm_status_args_t *args,
                      kolm_status_result_t *out_result, kolm_error_t *out_error) {
    round r = {.vm = vm, .host = host, .args = args};
    if (args->allow_network != 1)
        return kit_fail(out_error, KOLM_E_PERMISSION_DENIED, "allow the network", "%s is reached over the network",
                        vm->site.title);
    r.boxes = calloc(KIT_RENT_BOXES_MAX, sizeof *r.boxes);
    if (r.boxes == NULL) return kit_no_memory(out_error);
    kit_status status = go_round(&r, out_error);
    kit_rent_account_close(&r.account);
    free(r.boxes);
    if (status == KOLM_OK)
        kit_format(out_result->summary, sizeof out_result->summary, "%zu machine%s and %zu key%s of kolm", r.machines,
                   r.machines == 1 ? "" : "s", r.keys, r.keys == 1 ? "" : "s");
    return status;
}

/* ---- reclaim */

/* Returns early if the token is refused: it would be refused again, and the user should know at once. */
static void drive(kit_rent *rent, int64_t until_ms) {
    while (!kit_rent_ended(rent) && kit_now_ms() < until_ms &&
           (rent->barred.code == KOLM_OK || rent->due_ms <= kit_now_ms()))
        vm_drive_step(rent, until_ms);
}

/* What is not found where it was not rented may still run: another token, or another setting, finds it. Where requests
 * go is asked only now, as it may take the time in which a machine that is there is ended. */
static void doubt(const kit_vm *vm, kit_rent_account *account, const kolm_reclaim_args_t *args,
                  kolm_reclaim_result_t *out_result) {
    vm_place here = {.text = ""};
    kolm_error_t why = KIT_ERROR_INIT;
    if (kit_rent_place_is(args->place, "")) return; /* the record does not say where: any place will do */
    int64_t left = account->host->time_left_ms(account->host->user), gap = vm->scope != NULL ? vm->site.gap_ms : 0;
    /* with no time left to ask, the next start asks */
    bool unsure = left <= gap || vm_place_find(vm, account, &here, &why) != KOLM_OK;
    if (!unsure && kit_rent_place_is(args->place, here.which)) return;
    kit_rent_doubt(args->name, here.text, args->place, out_result);
    if (unsure)
        kit_format(out_result->summary, sizeof out_result->summary,
                   "not found; %s cannot say at the moment which account this token belongs to, so it stays listed",
                   vm->site.title);
}

int32_t kit_vm_reclaim(const kit_vm *vm, const kolm_host_v1_t *host, const kolm_reclaim_args_t *args,
                       kolm_reclaim_result_t *out_result, kolm_error_t *out_error) {
    kit_rent_account account = {0};
    kit_rent_plan plan;
    kit_rent ended;
    int64_t left = host->time_left_ms(host->user), most = left - left / 4 < RECLAIM_MS ? left - left / 4 : RECLAIM_MS;
    uint64_t age = args->age_seconds < INT64_MAX / 4000 ? args->age_seconds * 1000 : INT64_MAX / 4;
    uint64_t create_ms = vm->machine.create_ms > 0 ? vm->machine.create_ms : KIT_RENT_CREATE_MS;
    uint64_t early = create_ms + vm->machine.settle_ms;
    if (args->allow_network != 1)
        return kit_fail(out_error, KOLM_E_PERMISSION_DENIED, "allow the network", "%s is reached over the network",
                        vm->site.title);
    /* A key with a handle has existed, so if it is not found now it is gone. */
    if (strncmp(args->handle, KIT_VM_KEY, strlen(KIT_VM_KEY)) == 0) age = INT64_MAX / 4;
    /* Too early to conclude that it does not exist: check once; the next start checks again. */
    if (args->handle[0] == '\0' && age < early) most = most < FIRST_LOOK_MS ? most : FIRST_LOOK_MS;
    kit_status status = kit_rent_account_open(&vm->site, host, &account, out_error);
    if (status == KOLM_OK) {
        plan = plan_of(vm, &account);
        status = kit_rent_reclaim(&ended, &plan, args->name, args->handle, age, kit_now_ms(), out_error);
    }
    if (status == KOLM_OK) {
        drive(&ended, kit_now_ms() + most);
        kit_rent_reclaimed(&ended, out_result);
        if (out_result->outcome == KOLM_RECLAIM_GONE && !ended.seen) doubt(vm, &account, args, out_result);
        if (ended.state != KIT_RENT_GONE && ended.barred.code != KOLM_OK) *out_error = ended.barred;
        if (ended.state != KIT_RENT_GONE) status = ended.barred.code;
    }
    kit_rent_account_close(&account);
    return status;
}
