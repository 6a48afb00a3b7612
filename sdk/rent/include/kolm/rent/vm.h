/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of a backend that rents machines and works on them over SSH, over one constant table: a provider needs only
 * that table and a file that builds and parses its JSON. */
#ifndef KOLM_RENT_VM_H
#define KOLM_RENT_VM_H

#include "kolm/rent/account.h"
#include "kolm/rent/ssh.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-vm (kolm-kit-vm-1). A backend is
 *
 *     static const kit_vm acme = {...};                      the table
 *     KIT_VM_SLOTS(acme)                                     detect, cost, train, infer, test, status, reclaim
 *     KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {KOLM_BACKEND_HEADER_INIT, ..., KIT_VM_TABLE};
 *
 * The backend lambda in kolm's sources is one; the backend author's guide, "A provider of machines", walks through it.
 *
 * What a slot does
 *   detect   checks without network that the token is set and plausible; with network (--refresh) one cheap request
 *            checks that the provider accepts it. If the provider cannot be reached, the backend stays available, and
 *            the reason says that the token was not checked
 *   cost     from its arguments alone, as the ABI requires: machine hours, start-up included, at the price in force,
 *            which is the manifest's or the user's; basis names the dated list of reference prices. The actual price
 *            never exceeds the agreed one: the offer is queried live, and its price checked again on the machine
 *   train    rents a machine, runs the job, fetches the results, ends the machine. out_result->billed_micro_usd is time
 *   infer    multiplied by price, from the request that rents to the end of all machines that were tried. The
 *            provider's bill is authoritative
 *   test     four steps: the token, an offer, a rented machine with two small trainings, and that nothing is left; and
 *            the table's own. It costs minutes of the cheapest machine, and what the table's own step starts
 *   status   machines and keys whose name begins with "kolm-": price and age. prune removes keys that no machine needs,
 *            and machines older than any job may run; nothing of a job that may still run
 *   reclaim  ends the resource of a record, and reports the outcome: unknown if it is not found, and the account is not
 *            the one in the record's place
 *
 * Nothing is rented without a record: without host->lease (ABI 1.2) train, infer and test refuse.
 *
 * Names. A job is called kolm-DIGEST-TIME-RANDOM, eight hexadecimal digits each (of the job's digest, of the seconds
 * since 1970); "-1", "-2" are appended for its machines. So the provider's page and status show what it is and how old.
 * The key of a job has the job's name without a number, and its own record.
 *
 * Settings that every such backend has, for its manifest to declare (all optional):
 *   api                 replaces the provider's address, for tests: https, or http to this machine
 *   budget_usd          the most that one job may cost; the lowest of this, the command's budget and
 *                       KOLM_COMPUTE_BUDGET_USD
 *   max_price_usd       the highest price of a machine per hour
 *   max_hours           the longest that a job may take, default 24; then it is ended, here and by the watchdog there
 *   min_vram_gb         minimum memory of one GPU, decimal gigabytes
 *   disk_gb             minimum disk
 *   power_off           false: the watchdog ends the work but leaves the machine on
 *   ssh_user, ssh_port  if an image has another account or port than the provider's default
 *   poll_seconds        mean polling interval in the first minute in which a machine starts or ends, default 5: less at
 *                       first, then twice that; four times after the minute
 */

/* A reference price on a given day, for display. */
typedef struct kit_vm_price {
    const char *what; /* "1x A100 (40 GB SXM4)" */
    uint64_t micro_usd_per_hour;
} kit_vm_price;

/* The account, or the part of one, that the machines are in. */
typedef struct kit_vm_scope {
    char id[64];   /* assigned by the provider, unique among all accounts; "": unknown */
    char name[64]; /* for people; "" if the id is enough */
} kit_vm_scope;

typedef struct kit_vm {
    kit_rent_provider machine; /* its functions get a kit_rent_account; list() includes keys, see below */
    kit_rent_site site;
    const char *user;              /* the account on the machines: "ubuntu"; NULL with wire_new */
    const char *runtime;           /* for detect: "on-demand SSH" */
    const char *place;             /* for records and status, before the region: "Lambda" */
    uint32_t tokens_per_second_3b; /* as in kit_estimate_lora */
    bool off_ends_bill;            /* a machine that turns itself off is no longer billed */
    bool no_gpu;                   /* its machines may have no GPU */
    const kit_vm_price *prices;    /* reference */
    size_t price_count;
    const char *priced_on; /* "2026-11-29" */
    /* The link to a machine without SSH: as in kit_rent_ssh_options. Then no key is made, and the provider must end a
     * machine by itself after account->watch_seconds, which look() reads back before it reports UP. NULL: SSH. */
    kit_status (*wire_new)(const kolm_host_v1_t *host, kit_rent_wire **out, kolm_error_t *err);
    /* The cheapest request that needs a token. out_note: a line about the account, or "". NULL: offers(), and the note
     * is their number. */
    kit_status (*check)(kit_rent_account *account, char *out_note, size_t capacity, kolm_error_t *err);
    /* The balance of the account that pays for the machine, in millionths of a dollar. A job quoted at more is refused
     * before anything is rented. NULL: the provider does not report it. */
    kit_status (*balance)(kit_rent_account *account, uint64_t *out_micro_usd, kolm_error_t *err);
    /* Registers account->public_key as account->key_name, once. NULL: create() passes it along. Keys are listed, looked
     * up and destroyed by the functions for machines, with a handle that begins with KIT_VM_KEY, and cost nothing. */
    kit_status (*key_add)(kit_rent_account *account, char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist,
                          kolm_error_t *err);
    /* The account; or, if settings select a part of the account in which machines of other parts are not found, the
     * part that requests go to now. It is recorded as part of the place, and only in the same place does reclaim treat
     * a missing machine as gone. NULL, or an id of "": the provider does not report it; then the token is identified in
     * the record instead, and with another token, even of the same account, reclaim treats nothing as gone that it has
     * not seen. */
    kit_status (*scope)(kit_rent_account *account, kit_vm_scope *out, kolm_error_t *err);
    /* test: an additional last step, for what the provider offers besides machines. also_set: whether the user has set
     * that up; if not, there is no such step. note: what was found. NULL: nothing else. */
    const char *also_title;
    bool (*also_set)(const kolm_host_v1_t *host);
    kit_status (*also)(const kolm_host_v1_t *host, char *out_note, size_t capacity, kolm_error_t *err);
} kit_vm;

#define KIT_VM_KEY "key:"
#define KIT_VM_PREFIX "kolm-"

int32_t kit_vm_detect(const kit_vm *vm, const kolm_host_v1_t *host, const kolm_detect_args_t *args,
                      kolm_detect_result_t *out_result, kolm_error_t *out_error);
int32_t kit_vm_cost(const kit_vm *vm, const kolm_host_v1_t *host, const kolm_cost_args_t *args,
                    kolm_cost_result_t *out_result, kolm_error_t *out_error);
int32_t kit_vm_train(const kit_vm *vm, const kolm_host_v1_t *host, const kolm_train_args_t *args,
                     kolm_train_result_t *out_result, kolm_error_t *out_error);
int32_t kit_vm_infer(const kit_vm *vm, const kolm_host_v1_t *host, const kolm_infer_args_t *args,
                     kolm_infer_result_t *out_result, kolm_error_t *out_error);
int32_t kit_vm_test(const kit_vm *vm, const kolm_host_v1_t *host, const kolm_test_args_t *args,
                    kolm_test_result_t *out_result, kolm_error_t *out_error);
int32_t kit_vm_status(const kit_vm *vm, const kolm_host_v1_t *host, const kolm_status_args_t *args,
                      kolm_status_result_t *out_result, kolm_error_t *out_error);
int32_t kit_vm_reclaim(const kit_vm *vm, const kolm_host_v1_t *host, const kolm_reclaim_args_t *args,
                       kolm_reclaim_result_t *out_result, kolm_error_t *out_error);

/* The slots of a backend, static functions vm_detect to vm_reclaim, and the members of its table. */
#define KIT_VM_SLOT(vm, slot, args_type, result_type)                                                                  \
    static int32_t vm_##slot(const kolm_host_v1_t *host, const args_type *args, result_type *out_result,               \
                             kolm_error_t *out_error) {                                                                \
        return kit_vm_##slot(&(vm), host, args, out_result, out_error);                                                \
    }
#define KIT_VM_SLOTS(vm)                                                                                               \
    KIT_VM_SLOT(vm, detect, kolm_detect_args_t, kolm_detect_result_t)                                                  \
    KIT_VM_SLOT(vm, cost, kolm_cost_args_t, kolm_cost_result_t)                                                        \
    KIT_VM_SLOT(vm, train, kolm_train_args_t, kolm_train_result_t)                                                     \
    KIT_VM_SLOT(vm, infer, kolm_infer_args_t, kolm_infer_result_t)                                                     \
    KIT_VM_SLOT(vm, test, kolm_test_args_t, kolm_test_result_t)                                                        \
    KIT_VM_SLOT(vm, status, kolm_status_args_t, kolm_status_result_t)                                                  \
    KIT_VM_SLOT(vm, reclaim, kolm_reclaim_args_t, kolm_reclaim_result_t)
#define KIT_VM_TABLE                                                                                                   \
    .detect = vm_detect, .cost = vm_cost, .train = vm_train, .infer = vm_infer, .test = vm_test, .status = vm_status,  \
    .reclaim = vm_reclaim

#ifdef __cplusplus
}
#endif
#endif
