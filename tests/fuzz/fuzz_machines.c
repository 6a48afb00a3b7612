/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target of a provider of machines: how it interprets answers. The first byte selects the request, followed by the
 * answers. */
#include "http_double.h"
#include "kolm/rent/vm.h"

#include "kolm/kit/buf.h"

#include <string.h>

extern const kit_vm TABLE;

#define HANDLE "m-0123456789abcdef"

static void check_box(const kit_rent_box *box) {
    must(kit_rent_is_handle(box->handle) && box->handle[0] != '\0');
    must(memchr(box->name, '\0', sizeof box->name) != NULL && memchr(box->address, '\0', sizeof box->address) != NULL);
    must(box->address[0] != '-' && strpbrk(box->address, " \t\r\n/@%") == NULL);
}

static kit_status ask_where(kit_rent_account *a, kolm_error_t *err) {
    kit_vm_scope scope = {.id = ""};
    if (TABLE.scope == NULL) return KOLM_OK;
    kit_status status = TABLE.scope(a, &scope, err);
    must(memchr(scope.id, '\0', sizeof scope.id) != NULL && memchr(scope.name, '\0', sizeof scope.name) != NULL);
    /* a provider may report nothing, or only a number */
    must(status != KOLM_OK || scope.id[0] != '\0' || scope.name[0] == '\0');
    return status;
}

/* Reads from the connection to a machine without SSH until it ends. */
static kit_status ask_wire(kolm_error_t *err) {
    kit_rent_wire *wire = NULL;
    kit_ssh_job_end end = {.no_python = false};
    const kit_rent_box box = {.handle = HANDLE, .address = HANDLE};
    char bytes[256];
    size_t n = 0;
    if (TABLE.wire_new == NULL) return KOLM_OK;
    must(TABLE.wire_new(&http_double_host, &wire, err) == KOLM_OK);
    void *user = wire->wire.user;
    wire->point(user, &box);
    kit_status status = wire->wire.open(user, err);
    if (status == KOLM_OK) status = wire->wire.write_all(user, "x", 1, err);
    while (status == KOLM_OK && (status = wire->wire.read(user, bytes, sizeof bytes, 10000, &n, err)) == KOLM_OK &&
           n > 0)
        must(n <= sizeof bytes);
    wire->wire.end(user, &end);
    must(memchr(end.words, '\0', sizeof end.words) != NULL);
    wire->free(user);
    return status;
}

static kit_status ask(kit_rent_account *a, char what, kolm_error_t *err) {
    const kit_rent_provider *p = &TABLE.machine;
    static kit_rent_offer offers[4];
    static kit_rent_box boxes[4];
    const kit_rent_offer offer = {.id = "kind/place", .what = "1x", .micro_usd_per_hour = 1000000};
    char handle[KIT_RENT_HANDLE_BYTES] = "", note[200] = "";
    bool may_exist = false;
    size_t count = 0;
    kit_status status = KOLM_OK;
    switch (what % 8) {
    case 0:
        status = p->offers(a, offers, 4, &count, err);
        must(status != KOLM_OK || count <= 4);
        for (size_t i = 0; status == KOLM_OK && i < count; i++)
            must(offers[i].id[0] != '\0' && offers[i].micro_usd_per_hour != UINT64_MAX);
        break;
    case 1:
        status = p->look(a, HANDLE, &boxes[0], err);
        if (status == KOLM_OK) must(strcmp(boxes[0].handle, HANDLE) == 0);
        if (status == KOLM_OK) check_box(&boxes[0]);
        break;
    case 2:
        status = p->list(a, KIT_VM_PREFIX, boxes, 4, &count, err);
        for (size_t i = 0; status == KOLM_OK && i < count && i < 4; i++) {
            check_box(&boxes[i]);
            must(strncmp(boxes[i].name, KIT_VM_PREFIX, strlen(KIT_VM_PREFIX)) == 0);
        }
        break;
    case 3:
        status = p->create(a, &offer, "kolm-1", handle, &may_exist, err);
        must(kit_rent_is_handle(handle) && (status != KOLM_OK || may_exist));
        break;
    case 4:
        status = p->destroy(a, HANDLE, err);
        break;
    case 6:
        return ask_where(a, err);
    case 7:
        return ask_wire(err);
    default:
        if (TABLE.check != NULL) status = TABLE.check(a, note, sizeof note, err);
        if (status == KOLM_OK && TABLE.key_add != NULL) status = TABLE.key_add(a, handle, &may_exist, err);
        must(kit_rent_is_handle(handle));
    }
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kit_rent_account account = {.hurried = true};
    kolm_error_t err = KIT_ERROR_INIT;
    if (size == 0) return 0;
    fuzz_parts parts = {.at = (const char *)data + 1, .left = size - 1};
    http_double_answers(&parts);
#ifdef GRPC
    grpc_double_answers(&parts);
#endif
    must(kit_rent_account_open(&TABLE.site, &http_double_host, &account, &err) == KOLM_OK);
    kit_copy(account.key_name, sizeof account.key_name, "kolm-1");
    kit_copy(account.public_key, sizeof account.public_key, "ssh-ed25519 AAAA");
    kit_status status = ask(&account, (char)data[0], &err);
    must(status == KOLM_OK || (err.code == status && err.text[0] != '\0'));
    kit_rent_account_close(&account);
    return 0;
}
