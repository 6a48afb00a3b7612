/* SPDX-License-Identifier: Apache-2.0 */
/* Checks that a provider accepts the token, with its cheapest request. */
#include "vm.h"

#include "kolm/kit/backend.h"
#include "kolm/kit/buf.h"

#include <stdlib.h>

kit_status vm_cheapest(const kit_vm *vm, kit_rent_account *account, kit_rent_offer *out, size_t *out_count,
                       kolm_error_t *err) {
    kit_rent_offer *offers = calloc(KIT_RENT_OFFERS_MAX, sizeof *offers);
    *out = (kit_rent_offer){0};
    *out_count = 0;
    if (offers == NULL) return kit_no_memory(err);
    kit_status status = vm->machine.offers(account, offers, KIT_RENT_OFFERS_MAX, out_count, err);
    for (size_t i = 0; status == KOLM_OK && i < *out_count; i++)
        if (i == 0 || offers[i].micro_usd_per_hour < out->micro_usd_per_hour) *out = offers[i];
    free(offers);
    return status;
}

static void count_offers(const kit_rent_offer *cheapest, size_t count, char *out_note, size_t capacity) {
    if (count == 0)
        kit_copy(out_note, capacity, "no suitable machine is free now");
    else
        kit_format(out_note, capacity, "%zu offers now, from %.2f USD an hour (%s)", count,
                   (double)cheapest->micro_usd_per_hour / 1e6, cheapest->what);
}

kit_status vm_check(const kit_vm *vm, kit_rent_account *account, char *out_note, size_t capacity,
                    kit_rent_offer *out_cheapest, kolm_error_t *err) {
    kit_rent_offer cheapest = {0};
    kolm_error_t ignored = KIT_ERROR_INIT;
    size_t count = 0;
    if (vm->check != NULL) {
        KIT_TRY(vm->check(account, out_note, capacity, err));
        /* The token is good even if there is no price to report. */
        if (out_cheapest != NULL && vm_cheapest(vm, account, out_cheapest, &count, &ignored) != KOLM_OK)
            *out_cheapest = cheapest;
        return KOLM_OK;
    }
    KIT_TRY(vm_cheapest(vm, account, &cheapest, &count, err));
    count_offers(&cheapest, count, out_note, capacity);
    if (out_cheapest != NULL) *out_cheapest = cheapest;
    return KOLM_OK;
}
