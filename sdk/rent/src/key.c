/* SPDX-License-Identifier: Apache-2.0 */
/* The key of a job at the provider: recorded before it is registered, like everything else, and ended after the
 * machines. */
#include "vm.h"

#include "kolm/kit/buf.h"
#include "kolm/kit/process.h"

#include <poll.h>
#include <string.h>

#define SLICE_MS 100

static const kit_rent_offer key_offer = {.what = "SSH key of a job"};

static kit_status add_key(vm_keyed *k, kolm_error_t *err) {
    bool may_exist = false;
    if (k->vm->key_add == NULL || k->handle[0] != '\0') return KOLM_OK;
    if (!k->asked) KIT_TRY(k->journal->intent(k->journal_user, k->name, &key_offer, err));
    k->asked = true;
    kit_status status = k->vm->key_add(&k->account, k->handle, &may_exist, err);
    if (status != KOLM_OK) k->handle[0] = '\0';
    if (status == KOLM_OK) status = k->journal->handle(k->journal_user, k->name, k->handle, err);
    return status;
}

/* Registers the key, which every machine of the job needs, then does what the provider itself prepares. */
static kit_status prepare(void *state, kolm_error_t *err) {
    vm_keyed *k = state;
    kit_status status = add_key(k, err);
    if (status == KOLM_OK) return k->vm->machine.prepare != NULL ? k->vm->machine.prepare(state, err) : KOLM_OK;
    if (status == KOLM_E_CANCELLED || status == KOLM_E_UNAUTHENTICATED || status == KOLM_E_PERMISSION_DENIED)
        return status;
    /* another offer would need the same key */
    err->code = KOLM_E_FAILED_PRECONDITION;
    return kit_fail_context(err, "%s did not accept the SSH key of this job", k->vm->site.title);
}

void vm_keyed_begin(vm_keyed *k, const kit_vm *vm, const kit_rent_journal *journal, void *journal_user) {
    k->vm = vm;
    k->journal = journal;
    k->journal_user = journal_user;
    k->provider = vm->machine;
    k->provider.prepare = prepare;
    kit_copy(k->account.key_name, sizeof k->account.key_name, k->name);
}

/* A key costs nothing, so the time of its end does not matter. */
static kit_status key_intent(void *user, const char *name, const kit_rent_offer *offer, kolm_error_t *err) {
    const vm_keyed *k = user;
    return k->journal->intent(k->journal_user, name, offer, err);
}

static kit_status key_handle(void *user, const char *name, const char *handle, kolm_error_t *err) {
    const vm_keyed *k = user;
    return k->journal->handle(k->journal_user, name, handle, err);
}

static kit_status key_gone(void *user, const char *name, uint64_t billed_micro_usd, kolm_error_t *err) {
    const vm_keyed *k = user;
    (void)billed_micro_usd;
    return k->journal->gone(k->journal_user, name, 0, err);
}

static const kit_rent_journal key_journal = {.intent = key_intent, .handle = key_handle, .gone = key_gone};

kit_status vm_key_end(vm_keyed *k, uint64_t poll_ms, int64_t now_ms, kit_rent_plan *plan, kit_rent *out_rent,
                      kolm_error_t *err) {
    /* a key with a handle has existed, so if it is not found now it is gone */
    uint64_t age = k->handle[0] != '\0' ? INT64_MAX / 4 : 0;
    *plan = (kit_rent_plan){.provider = &k->vm->machine,
                            .provider_state = &k->account,
                            .journal = &key_journal,
                            .journal_user = k,
                            .poll_ms = poll_ms};
    return kit_rent_reclaim(out_rent, plan, k->name, k->handle, age, now_ms, err);
}

void vm_drive_step(kit_rent *rent, int64_t until_ms) {
    int64_t at = rent->due_ms < until_ms ? rent->due_ms : until_ms;
    for (int64_t left; (left = at - kit_now_ms()) > 0;)
        (void)poll(NULL, 0, (int)(left < SLICE_MS ? left : SLICE_MS));
    if (kit_now_ms() >= rent->due_ms) kit_rent_step(rent, kit_now_ms(), false);
}

void vm_drive(kit_rent *rent, int64_t until_ms) {
    while (!kit_rent_ended(rent) && kit_now_ms() < until_ms)
        vm_drive_step(rent, until_ms);
}
