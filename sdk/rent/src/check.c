/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a provider takes the token, by the cheapest request that it has. */
#include "vm.h"

#include "kolm/kit/backend.h"
#include "kolm/kit/buf.h"

#include <stdlib.h>

static kit_status count_offers(const kit_vm *vm, kit_rent_account *account, char *out_note, size_t capacity,
                               kolm_error_t *err) {
    kit_rent_offer *offers = calloc(KIT_RENT_OFFERS_MAX, sizeof *offers);
    size_t count = 0, cheapest = 0;
    if (offers == NULL) return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    kit_status status = vm->machine.offers(account, offers, KIT_RENT_OFFERS_MAX, &count, err);
    for (size_t i = 1; i < count; i++)
        if (offers[i].micro_usd_per_hour < offers[cheapest].micro_usd_per_hour) cheapest = i;
    if (status == KOLM_OK && count == 0) kit_copy(out_note, capacity, "no machine that fits is free now");
    if (status == KOLM_OK && count > 0)
        kit_format(out_note, capacity, "%zu offers now, from %.2f USD an hour (%s)", count,
                   (double)offers[cheapest].micro_usd_per_hour / 1e6, offers[cheapest].what);
    free(offers);
    return status;
}

kit_status vm_check(const kit_vm *vm, kit_rent_account *account, char *out_note, size_t capacity, kolm_error_t *err) {
    return vm->check != NULL ? vm->check(account, out_note, capacity, err)
                             : count_offers(vm, account, out_note, capacity, err);
}
