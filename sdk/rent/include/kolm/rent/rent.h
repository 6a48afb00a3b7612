/* SPDX-License-Identifier: Apache-2.0 */
/* Renting a machine as a machine of states: one step a call, over a table that a provider fills; nothing is
 * created off the record, and nothing is left running. */
#ifndef KOLM_RENT_RENT_H
#define KOLM_RENT_RENT_H

#include "kolm/kit/status.h"
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-rent. A provider brings a constant kit_rent_provider: how to ask what there is, create, look,
 * list, destroy. All that has to do with order, money, time and repetition is here:
 *
 *   planned --> intent --> created --> ready --> armed --> running --> collected --> destroying --> gone
 *      ^           |          |          |         |          |                          ^   |
 *      |           |          +----------+---------+----------+--------------------------+   +--> lost
 *      +-----------+ (not created: the next offer)             (whatever goes wrong)
 *
 *   planned      an offer is chosen: the cheapest that is left
 *   intent       it is on record that something of this name may exist; it is created once, and if that is unclear
 *                looked for by its name
 *   created      it has a handle, which is on record; it boots
 *   ready        it runs at no more than the price that was agreed on, and has an address
 *   armed        a watchdog on it will end it without us; that was read back
 *   running      it works
 *   collected    what it made is here
 *   destroying   it is ended, again and again, until the provider says that it is not there
 *   gone         nothing of ours is left; off the record. The end
 *   lost         it could not be ended, or nobody knows whether it is there. It stays on record. The end of this
 *                machine, and work for the reaper
 *
 * Rules that hold by construction, whatever the functions of a provider return, and that a test drives through
 * every order of outcomes:
 *   - create() is called only after journal->intent() said that it is durable, with the name that was recorded, and
 *     once for each name
 *   - a name is taken off the record only when create() said that nothing was created, or the provider no longer has
 *     it
 *   - at most one box of a machine exists at a time
 *   - after the first failure, a cancel, the deadline or the budget, the way leads to destroying and nowhere else
 *
 * Steps. kit_rent_step does at most one call to the provider or to the work, writes the new state and returns;
 * `due_ms` says when to call it again. It never waits, so one thread can run many. After kill -9 the record is
 * enough: kit_rent_reclaim begins with what the journal has.
 *
 * Not here: HTTP (kolm/http/http.h), SSH (kolm/kit/ssh.h), the wording of a provider's JSON. One kit_rent belongs
 * to one thread at a time.
 */

#define KIT_RENT_NAME_BYTES 64u
#define KIT_RENT_HANDLE_BYTES 128u
#define KIT_RENT_OFFERS_MAX 64u
#define KIT_RENT_BOXES_MAX 64u

typedef enum kit_rent_state {
    KIT_RENT_PLANNED,
    KIT_RENT_INTENT,
    KIT_RENT_CREATED,
    KIT_RENT_READY,
    KIT_RENT_ARMED,
    KIT_RENT_RUNNING,
    KIT_RENT_COLLECTED,
    KIT_RENT_DESTROYING,
    KIT_RENT_GONE,
    KIT_RENT_LOST,
} kit_rent_state;

typedef struct kit_rent_offer {
    char id[KIT_RENT_HANDLE_BYTES]; /* what create() needs to know it again */
    char what[96];                  /* for people: "1x H100 80 GB, us-east" */
    uint64_t micro_usd_per_hour;    /* all that is billed while it exists: machine, disk, address */
    uint64_t micro_usd_once;        /* start-up, minimum */
} kit_rent_offer;

typedef enum kit_rent_life {
    KIT_RENT_BOOTING, /* also what a provider says that nobody knows: not final */
    KIT_RENT_UP,      /* runs, and has an address */
    KIT_RENT_ENDING,
    KIT_RENT_ENDED, /* final, and not billed. A stopped box that is still billed is not ended: report ENDING */
} kit_rent_life;

typedef struct kit_rent_box {
    char handle[KIT_RENT_HANDLE_BYTES];
    char name[KIT_RENT_NAME_BYTES];
    kit_rent_life life;
    uint64_t micro_usd_per_hour; /* as the provider says now; UINT64_MAX if it does not */
    char address[256];           /* HOST or HOST:PORT for SSH; "" while it has none */
    char host_key[64];           /* "SHA256:...", or "" */
} kit_rent_box;

#define KIT_RENT_CAN_NAME (1u << 0) /* create() gives the box our name, and list() finds it by that */

/* Each function makes one request (kit_http_send with its tries) and returns its status. state is the provider's
 * own. */
typedef struct kit_rent_provider {
    const char *name;
    uint32_t can;
    /* so long after create() was called a box that exists is seen by look() and list(); 0: 120 s */
    uint64_t settle_ms;
    /* Those that satisfy the wish, in any order. */
    kit_status (*offers)(void *state, kit_rent_offer *out, size_t capacity, size_t *out_count, kolm_error_t *err);
    /* Creates a box of that name. *out_may_exist is kit_http_answer.may_have_happened; false with a failure says
     * that nothing was created. RESOURCE_EXHAUSTED, ABORTED, NOT_FOUND and UNAVAILABLE then mean that this offer
     * is not to be had, and the next one is tried; anything else ends it. */
    kit_status (*create)(void *state, const kit_rent_offer *offer, const char *name,
                         char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err);
    /* NOT_FOUND only if it is the provider's own answer that there is no such box. */
    kit_status (*look)(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err);
    /* All boxes whose name begins with prefix, all pages. NULL without KIT_RENT_CAN_NAME. */
    kit_status (*list)(void *state, const char *prefix, kit_rent_box *out, size_t capacity, size_t *out_count,
                       kolm_error_t *err);
    /* Deletes, for good, with its disks. What it returns is a hint only: look() and list() decide. */
    kit_status (*destroy)(void *state, const char *handle, kolm_error_t *err);
} kit_rent_provider;

/* What is done with the box. Each returns soon; OK and *out_done false: not yet, call again. A failure of
 * UNAVAILABLE or DEADLINE_EXCEEDED is tried again, any other ends it. */
typedef struct kit_rent_work {
    kit_status (*arm)(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err);
    kit_status (*run)(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err);
    kit_status (*collect)(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err);
} kit_rent_work;

/* The record, durable when a function returns OK. In kolm's own: kit_rent_host_journal (kolm/rent/journal.h). */
typedef struct kit_rent_journal {
    kit_status (*intent)(void *user, const char *name, const kit_rent_offer *offer, kolm_error_t *err);
    kit_status (*handle)(void *user, const char *name, const char *handle, kolm_error_t *err);
    /* billed: what a box of that name cost, by the clock and the price; 0: there was none; UINT64_MAX: not known */
    kit_status (*gone)(void *user, const char *name, uint64_t billed_micro_usd, kolm_error_t *err);
} kit_rent_journal;

/* Zero-initialise it; read as long as the machine lives. */
typedef struct kit_rent_plan {
    const kit_rent_provider *provider;
    void *provider_state;
    const kit_rent_work *work;
    void *work_user;
    const kit_rent_journal *journal;
    void *journal_user;
    const char *prefix;        /* of names: at most 40 bytes of a-z, 0-9 and '-'; the machine appends "-1", "-2" */
    uint64_t budget_micro_usd; /* 0: none */
    uint64_t rate_micro_usd_per_hour; /* the most that an offer may cost an hour; 0: any */
    uint64_t deadline_ms;             /* from the first step; 0: none */
    uint64_t boot_ms;                 /* from creation to an address; 0: 15 min */
    uint64_t give_up_ms;              /* of destroying and of looking for an unclear box; 0: 30 min */
    uint64_t poll_ms;                 /* between two looks; 0: 5 s. Four times that after a minute */
    uint32_t offers_most;             /* offers that are tried; 0: 5 */
} kit_rent_plan;

typedef struct kit_rent {
    kit_rent_state state;
    int64_t due_ms;       /* call kit_rent_step no earlier, on the clock that it is given */
    kit_rent_offer offer; /* chosen */
    char name[KIT_RENT_NAME_BYTES];
    kit_rent_box box;         /* as last seen; handle "" while there is none */
    kolm_error_t error;       /* the first thing that went wrong; code 0 so far nothing */
    kolm_error_t barred;      /* code not 0: the last request was refused for its token, and nothing is known */
    uint64_t spent_micro_usd; /* by the clock and the price, up to now, all offers */
    /* The rest is the machine's own. */
    const kit_rent_plan *plan;
    kit_rent_offer offers[KIT_RENT_OFFERS_MAX];
    size_t offer_count;
    uint32_t tried;
    bool asked, reclaiming, finished, seen_gone;
    kit_status refusal; /* nothing was created, and why */
    int64_t begun_ms, since_ms, asked_ms, billed_ms, polled_ms, good_ms, told_ms;
    uint64_t spent_before;
} kit_rent;

/* Fails with INVALID_ARGUMENT if the plan lacks something. Calls nothing. */
kit_status kit_rent_begin(kit_rent *rent, const kit_rent_plan *plan, int64_t now_ms, kolm_error_t *err) KIT_MUST_USE;
/* With what a journal has: a name, and its handle, or "" if the record ends with the intent; age_ms: since the
 * intent was written. It is looked for and ended. Of the plan provider, journal and times count. */
kit_status kit_rent_reclaim(kit_rent *rent, const kit_rent_plan *plan, const char *name, const char *handle,
                            uint64_t age_ms, int64_t now_ms, kolm_error_t *err) KIT_MUST_USE;
/* now_ms: of any clock that does not go back. cancel: the user wants it to end. Does nothing in gone and lost. */
void kit_rent_step(kit_rent *rent, int64_t now_ms, bool cancel);
/* The machine is at its end; it succeeded if rent->error.code is 0 and the state is gone. */
bool kit_rent_ended(const kit_rent *rent);
/* A handle as reclaim accepts one, so that what a record says cannot become another path of the provider: letters, digits,
 * '-', '_', '.', ':', the first not a dot; "" is one. */
bool kit_rent_is_handle(const char *text);
const char *kit_rent_state_name(kit_rent_state state);

#ifdef __cplusplus
}
#endif
#endif
