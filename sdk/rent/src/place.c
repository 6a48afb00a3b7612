/* SPDX-License-Identifier: Apache-2.0 */
/* The place in a machine's record: the provider, and the account or part of it that token and settings select. */
#include "vm.h"

#include "kolm/kit/buf.h"

kit_status vm_place_find(const kit_vm *vm, kit_rent_account *account, vm_place *out, kolm_error_t *err) {
    kit_vm_scope scope = {.id = ""};
    char text[KIT_RENT_PLACE_BYTES];
    if (vm->scope != NULL) KIT_TRY(vm->scope(account, &scope, err));
    /* The provider does not say whose token it is: then the token alone tells accounts apart. */
    if (scope.id[0] == '\0' && kit_secret_mark(account->token, scope.id) != KOLM_OK) return kit_no_memory(err);
    kit_format(text, sizeof text, scope.name[0] != '\0' ? "%s, %s" : "%s", vm->place, scope.name);
    kit_copy(out->which, sizeof out->which, scope.id);
    kit_rent_place(text, scope.id, out->text);
    return KOLM_OK;
}
