/* SPDX-License-Identifier: Apache-2.0 */
/* Where a machine is, as its record says: the provider, and the part of it that the token and the settings lead to. */
#include "vm.h"

#include "kolm/kit/buf.h"

#include <string.h>

kit_status vm_place_find(const kit_vm *vm, kit_rent_account *account, char out[VM_PLACE_BYTES], kit_vm_scope *out_scope,
                         kolm_error_t *err) {
    *out_scope = (kit_vm_scope){.id = ""};
    kit_copy(out, VM_PLACE_BYTES, vm->place);
    if (vm->scope == NULL) return KOLM_OK;
    KIT_TRY(vm->scope(account, out_scope, err));
    kit_format(out, VM_PLACE_BYTES, "%s, %s (%s)", vm->place, out_scope->name, out_scope->id);
    return KOLM_OK;
}

/* By the id alone: a name may have been changed. */
bool vm_place_is_in(const kit_vm *vm, const char *place, const kit_vm_scope *scope) {
    char mark[sizeof scope->id + 4];
    if (vm->scope == NULL) return true;
    kit_format(mark, sizeof mark, " (%s)", scope->id);
    size_t length = strlen(place), n = strlen(mark);
    return length > n && strcmp(place + length - n, mark) == 0;
}
