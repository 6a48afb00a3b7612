/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the slots of rented machines share; nobody else includes it. */
#ifndef KOLM_RENT_VM_PARTS_H
#define KOLM_RENT_VM_PARTS_H

#include "kolm/rent/journal.h"
#include "kolm/rent/ssh.h"
#include "kolm/rent/vm.h"

#define VM_NAME_BYTES 41u /* of a job: what a prefix of kolm/rent/rent.h may have */
#define VM_DEFAULT_HOURS 24u

/* ---- limits.c: what the user allows. */
typedef struct vm_limits {
    uint64_t budget_micro_usd; /* 0: none */
    uint64_t rate_micro_usd;   /* an hour; 0: any */
    uint64_t seconds;          /* a job may take */
    uint64_t poll_ms;          /* 0: the default */
    uint64_t quote_micro_usd;  /* of the job; 0: not known */
    bool keep_on;              /* the watchdog must not turn the machine off */
    uint16_t ssh_port;         /* 0: 22 */
    char ssh_user[64];
    kit_rent_wish wish;
} vm_limits;
kit_status vm_limits_read(const kit_vm *vm, const kolm_host_v1_t *host, vm_limits *out, kolm_error_t *err) KIT_MUST_USE;

/* ---- name.c */
/* kolm-DIGEST-TIME-RANDOM; digest is of at least eight hexadecimal digits. */
kit_status vm_name_make(const char *digest, char out[VM_NAME_BYTES], kolm_error_t *err) KIT_MUST_USE;
/* Seconds since the time in a name; KOLM_UNKNOWN_COUNT if it is not one of ours. */
uint64_t vm_name_age(const char *name);

/* ---- key.c: what a machine of a job needs besides itself. account is first: the functions of a provider get this
 * record as their state. */
typedef struct vm_keyed {
    kit_rent_account account;
    const kit_vm *vm;
    const kit_rent_journal *journal; /* of the key */
    void *journal_user;
    kit_rent_provider provider; /* the table's, but that prepare() sees to the key first */
    char name[VM_NAME_BYTES];   /* of the job, and of its key */
    char handle[KIT_RENT_HANDLE_BYTES];
    bool asked; /* something of that name may be registered, and is on record */
} vm_keyed;
/* account and name are there. */
void vm_keyed_begin(vm_keyed *k, const kit_vm *vm, const kit_rent_journal *journal, void *journal_user);
/* The machine that ends the key, if `asked`. plan must stay while it is used. */
kit_status vm_key_end(vm_keyed *k, uint64_t poll_ms, int64_t now_ms, kit_rent_plan *plan, kit_rent *out_rent,
                      kolm_error_t *err) KIT_MUST_USE;
/* Steps until it has ended, or until_ms (kit_now_ms) has come. */
void vm_drive(kit_rent *rent, int64_t until_ms);
/* One step, when it is due; none if until_ms comes before. */
void vm_drive_step(kit_rent *rent, int64_t until_ms);

/* ---- check.c: the table's check(), or that of offers(). out_cheapest (may be NULL): price 0 if there is none. */
kit_status vm_check(const kit_vm *vm, kit_rent_account *account, char *out_note, size_t capacity,
                    kit_rent_offer *out_cheapest, kolm_error_t *err) KIT_MUST_USE;
/* The offer with the lowest price an hour, price 0 if there is none; and how many there are. */
kit_status vm_cheapest(const kit_vm *vm, kit_rent_account *account, kit_rent_offer *out, size_t *out_count,
                       kolm_error_t *err) KIT_MUST_USE;

/* ---- place.c: what a record says about where a machine is */
typedef struct vm_place {
    char text[KIT_RENT_PLACE_BYTES]; /* for the record */
    char which[64];                  /* as in kit_rent_place */
} vm_place;
/* The table's place, and its scope; without one, which token it is. */
kit_status vm_place_find(const kit_vm *vm, kit_rent_account *account, vm_place *out, kolm_error_t *err) KIT_MUST_USE;

/* ---- rental.c: one machine from the offer to its end. */
typedef struct vm_work {
    const char *digest; /* of what is done, for its name */
    bool needs_gpu;
    const kolm_train_args_t *train; /* as in kit_rent_ssh_options */
    kolm_train_result_t *train_result;
    const kolm_infer_args_t *infer;
    kolm_infer_result_t *infer_result;
    uint64_t seconds_most; /* 0: as the settings say */
} vm_work;
typedef struct vm_bill {
    uint64_t micro_usd; /* all machines that were rented */
    char what[96];      /* the last of them */
    char name[VM_NAME_BYTES];
} vm_bill;
/* Rents, works, ends it. The error says what it cost. */
kit_status vm_rent(const kit_vm *vm, const kolm_host_v1_t *host, const vm_work *work, vm_bill *out_bill,
                   kolm_error_t *err) KIT_MUST_USE;
#endif
