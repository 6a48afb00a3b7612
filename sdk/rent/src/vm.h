/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the slots of rented machines. */
#ifndef KOLM_RENT_VM_PARTS_H
#define KOLM_RENT_VM_PARTS_H

#include "kolm/rent/journal.h"
#include "kolm/rent/ssh.h"
#include "kolm/rent/vm.h"

#define VM_NAME_BYTES 41u /* of a job: the limit of a prefix in kolm/rent/rent.h */
#define VM_DEFAULT_HOURS 24u

/* ---- limits.c: the user's limits. */
typedef struct vm_limits {
    uint64_t budget_micro_usd; /* 0: none */
    uint64_t rate_micro_usd;   /* per hour; 0: any */
    uint64_t seconds;          /* maximum for a job */
    uint64_t poll_ms;          /* 0: the default */
    uint64_t quote_micro_usd;  /* of the job; 0: unknown */
    bool keep_on;              /* the watchdog must not turn the machine off */
    uint16_t ssh_port;         /* 0: 22 */
    char ssh_user[64];
    kit_rent_wish wish;
} vm_limits;
kit_status vm_limits_read(const kit_vm *vm, const kolm_host_v1_t *host, vm_limits *out, kolm_error_t *err) KIT_MUST_USE;

/* ---- name.c */
/* kolm-DIGEST-TIME-RANDOM; digest must have at least eight hexadecimal digits. */
kit_status vm_name_make(const char *digest, char out[VM_NAME_BYTES], kolm_error_t *err) KIT_MUST_USE;
/* Seconds since the time in a name; KOLM_UNKNOWN_COUNT for any other name. */
uint64_t vm_name_age(const char *name);

/* ---- key.c: what a job needs besides its machine. account is first, because the functions of a provider get this
 * record as their state. */
typedef struct vm_keyed {
    kit_rent_account account;
    const kit_vm *vm;
    const kit_rent_journal *journal; /* of the key */
    void *journal_user;
    kit_rent_provider provider; /* the table's, but prepare() registers the key first */
    char name[VM_NAME_BYTES];   /* of the job and its key */
    char handle[KIT_RENT_HANDLE_BYTES];
    bool asked; /* a key of that name may be registered, and is recorded */
} vm_keyed;
/* account and name must be set. */
void vm_keyed_begin(vm_keyed *k, const kit_vm *vm, const kit_rent_journal *journal, void *journal_user);
/* Begins the state machine that ends the key, if `asked`. plan must stay valid as long as it is used. */
kit_status vm_key_end(vm_keyed *k, uint64_t poll_ms, int64_t now_ms, kit_rent_plan *plan, kit_rent *out_rent,
                      kolm_error_t *err) KIT_MUST_USE;
/* Steps until it has ended, or until_ms (on kit_now_ms). */
void vm_drive(kit_rent *rent, int64_t until_ms);
/* Waits until a step is due and makes it; no step if until_ms is earlier. */
void vm_drive_step(kit_rent *rent, int64_t until_ms);

/* ---- check.c: calls the table's check(), or else offers(). out_cheapest (may be NULL): price 0 if there is none. */
kit_status vm_check(const kit_vm *vm, kit_rent_account *account, char *out_note, size_t capacity,
                    kit_rent_offer *out_cheapest, kolm_error_t *err) KIT_MUST_USE;
/* The offer with the lowest price per hour, price 0 if there is none; and the number of offers. */
kit_status vm_cheapest(const kit_vm *vm, kit_rent_account *account, kit_rent_offer *out, size_t *out_count,
                       kolm_error_t *err) KIT_MUST_USE;

/* ---- place.c: where a machine is, for its record */
typedef struct vm_place {
    char text[KIT_RENT_PLACE_BYTES]; /* for the record */
    char which[64];                  /* as in kit_rent_place */
} vm_place;
/* The table's place and scope; without a scope, the token's mark. */
kit_status vm_place_find(const kit_vm *vm, kit_rent_account *account, vm_place *out, kolm_error_t *err) KIT_MUST_USE;

/* ---- rental.c: one machine from the offer to its end. */
typedef struct vm_work {
    const char *digest; /* of the job, for its name */
    bool needs_gpu;
    const kolm_train_args_t *train; /* as in kit_rent_ssh_options */
    kolm_train_result_t *train_result;
    const kolm_infer_args_t *infer;
    kolm_infer_result_t *infer_result;
    uint64_t seconds_most; /* 0: as in the settings */
} vm_work;
typedef struct vm_bill {
    uint64_t micro_usd; /* for all machines that were rented */
    char what[96];      /* the last of them */
    char name[VM_NAME_BYTES];
} vm_bill;
/* Rents a machine, does the work and ends the machine. The error says what it cost. */
kit_status vm_rent(const kit_vm *vm, const kolm_host_v1_t *host, const vm_work *work, vm_bill *out_bill,
                   kolm_error_t *err) KIT_MUST_USE;
#endif
