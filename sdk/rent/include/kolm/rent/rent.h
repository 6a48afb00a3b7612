/* SPDX-License-Identifier: Apache-2.0 */
/* Renting a machine, as a state machine: one step per call, over a table that the provider fills. Nothing is created
 * without a record, and nothing is left running. */
#ifndef KOLM_RENT_RENT_H
#define KOLM_RENT_RENT_H

#include "kolm/kit/status.h"
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-rent. A provider supplies a constant kit_rent_provider: how to query offers, create, look, list,
 * destroy. Order, money, time and retries are handled here:
 *
 *   planned --> intent --> created --> ready --> armed --> running --> collected --> destroying --> gone
 *      ^           |          |          |         |          |                          ^   |
 *      |           |          +----------+---------+----------+--------------------------+   +--> lost
 *      +-----------+ (not created: the next offer)             (whatever goes wrong)
 *
 *   planned      an offer is chosen, the cheapest one left; what every box needs is prepared
 *   intent       a box of this name is recorded as possibly existing; it is created once, and if the outcome is
 *                unclear, looked up by name
 *   created      it has a handle, which is recorded; it boots
 *   ready        it runs, costs no more than the agreed price, and has an address
 *   armed        a watchdog on it will end it without us, as confirmed by reading it back
 *   running      the job runs
 *   collected    the results are here
 *   destroying   it is being ended; repeated until the provider reports that it is gone
 *   gone         nothing of ours is left; the record is closed. Final
 *   lost         it could not be ended, or it is unclear whether it exists. The record stays open. Final here; the
 *                reaper takes over
 *
 * Rules that hold by construction, whatever the functions of a provider return; a test checks them for every order of
 * outcomes:
 *   - create() is called only after journal->intent() confirmed a durable record of that name, and once per name
 *   - a record is closed only when create() reported that nothing was created, or the provider no longer has it
 *   - at most one box exists at a time
 *   - after the first failure, a cancel, the deadline or the budget, the next state is always destroying
 *
 * Steps. kit_rent_step does at most one call to the provider or to the work, writes the new state and returns;
 * `due_ms` says when to call it again. It never blocks, so one thread can run many. After kill -9 the record suffices:
 * kit_rent_reclaim starts from the journal.
 *
 * Not included: HTTP (kolm/http/http.h), SSH (kolm/kit/ssh.h), a provider's JSON. One kit_rent belongs to one thread at
 * a time.
 */

#define KIT_RENT_NAME_BYTES 64u
#define KIT_RENT_HANDLE_BYTES 128u
#define KIT_RENT_OFFERS_MAX 64u
#define KIT_RENT_BOXES_MAX 64u
#define KIT_RENT_CREATE_MS 300000u

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
    char id[KIT_RENT_HANDLE_BYTES]; /* what create() needs to identify it */
    char what[96];                  /* for people: "1x H100 80 GB, us-east" */
    uint64_t micro_usd_per_hour;    /* everything that is billed while it exists: machine, disk, address */
    uint64_t micro_usd_once;        /* start-up, minimum */
    /* The provider does not report its current price: this one is from a dated list of the backend. */
    bool is_reference;
} kit_rent_offer;

typedef enum kit_rent_life {
    KIT_RENT_BOOTING, /* also for a status that is not documented: not final */
    KIT_RENT_UP,      /* runs, and has an address */
    KIT_RENT_ENDING,
    KIT_RENT_ENDED, /* final, and not billed. For a stopped box that is still billed, report ENDING */
} kit_rent_life;

typedef struct kit_rent_box {
    char handle[KIT_RENT_HANDLE_BYTES];
    char name[KIT_RENT_NAME_BYTES];
    kit_rent_life life;
    uint64_t micro_usd_per_hour; /* as the provider reports it now; UINT64_MAX if it does not */
    char address[256];           /* HOST or HOST:PORT for SSH; "" until it has one */
    char host_key[64];           /* "SHA256:...", or "" */
    /* of ENDING and ENDED: the provider's reason; of BOOTING: why it will never become usable, so that it is ended;
     * or "" */
    char why[128];
} kit_rent_box;

#define KIT_RENT_CAN_NAME (1u << 0) /* create() gives the box our name, and list() finds it by that */

/* Each function makes one request (kit_http_send with its tries) and returns its status. state belongs to the
 * provider. */
typedef struct kit_rent_provider {
    const char *name;
    uint32_t can;
    /* time until a new box is visible to look() and list(); 0: 120 s */
    uint64_t settle_ms;
    /* the longest that create() takes, including pauses and retries; 0: KIT_RENT_CREATE_MS. Its end is not recorded:
     * after an intent without a handle, it may have been that much later */
    uint64_t create_ms;
    /* The offers that meet the requirements, in any order. */
    kit_status (*offers)(void *state, kit_rent_offer *out, size_t capacity, size_t *out_count, kolm_error_t *err);
    /* Creates what every box needs and is not billed, such as an image, before anything is recorded: called once, after
     * offers(). May take long; its time counts towards the deadline but not the budget. A failure ends the rental.
     * NULL: nothing to prepare. */
    kit_status (*prepare)(void *state, kolm_error_t *err);
    /* Creates a box of that name. *out_may_exist is kit_http_answer.may_have_happened; false with a failure means that
     * nothing was created. RESOURCE_EXHAUSTED, ABORTED, NOT_FOUND and UNAVAILABLE then mean that this offer is not
     * available, and the next one is tried; any other code ends the rental. */
    kit_status (*create)(void *state, const kit_rent_offer *offer, const char *name,
                         char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err);
    /* NOT_FOUND only if the provider itself answered that there is no such box. */
    kit_status (*look)(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err);
    /* All boxes whose name begins with prefix, all pages. NULL without KIT_RENT_CAN_NAME. */
    kit_status (*list)(void *state, const char *prefix, kit_rent_box *out, size_t capacity, size_t *out_count,
                       kolm_error_t *err);
    /* Deletes it permanently, with its disks. OK only if the provider has such a box. That it has ended is only a hint:
     * look() and list() decide. */
    kit_status (*destroy)(void *state, const char *handle, kolm_error_t *err);
} kit_rent_provider;

/* The work to do on the box. Each function returns soon; OK and *out_done false: call again. UNAVAILABLE and
 * DEADLINE_EXCEEDED are retried, any other failure ends the rental. */
typedef struct kit_rent_work {
    kit_status (*arm)(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err);
    kit_status (*run)(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err);
    kit_status (*collect)(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err);
} kit_rent_work;

/* The record, durable once a function returns OK. For kolm's own journal: kit_rent_host_journal
 * (kolm/rent/journal.h). */
typedef struct kit_rent_journal {
    kit_status (*intent)(void *user, const char *name, const kit_rent_offer *offer, kolm_error_t *err);
    kit_status (*handle)(void *user, const char *name, const char *handle, kolm_error_t *err);
    /* billed: the cost of a box of that name, time multiplied by price; 0: there was none; UINT64_MAX: unknown. During
     * reclaim kolm itself records the result of the slot, and a failure of this function is ignored */
    kit_status (*gone)(void *user, const char *name, uint64_t billed_micro_usd, kolm_error_t *err);
} kit_rent_journal;

/* Zero-initialise it; it must stay valid as long as the kit_rent. */
typedef struct kit_rent_plan {
    const kit_rent_provider *provider;
    void *provider_state;
    const kit_rent_work *work;
    void *work_user;
    const kit_rent_journal *journal;
    void *journal_user;
    const char *prefix;               /* of names: at most 40 bytes of a-z, 0-9 and '-'; "-1", "-2" are appended */
    uint64_t budget_micro_usd;        /* 0: none */
    uint64_t rate_micro_usd_per_hour; /* the highest price per hour; 0: any */
    uint64_t deadline_ms;             /* from the first step; 0: none */
    uint64_t boot_ms;                 /* from creation to an address; 0: 15 min */
    uint64_t give_up_ms;              /* for destroying a box, and for finding one whose creation is unclear; 0: 30
                                         min */
    uint64_t poll_ms;                 /* mean polling interval of the first minute, four times that later; 0: 5 s */
    uint32_t offers_most;             /* maximum number of offers to try; 0: 5 */
} kit_rent_plan;

typedef struct kit_rent {
    kit_rent_state state;
    int64_t due_ms;       /* do not call kit_rent_step earlier; on the clock passed to it */
    kit_rent_offer offer; /* chosen */
    char name[KIT_RENT_NAME_BYTES];
    kit_rent_box box;    /* as last seen; handle is "" while there is none */
    kolm_error_t error;  /* the first error; code 0: none so far */
    kolm_error_t barred; /* if code is not 0: the last request was refused because of its token, or the last list of a
                            reclaim because of a setting, so nothing is known */
    uint64_t spent_micro_usd; /* time multiplied by price up to now, over all offers */
    bool made; /* lost, although the results were collected: the box is gone, but that could not be recorded */
    bool seen; /* look() or list() has found the box, or destroy() was accepted: its end counts with any token */
    /* The rest is private. */
    const kit_rent_plan *plan;
    kit_rent_offer offers[KIT_RENT_OFFERS_MAX];
    size_t offer_count;
    uint32_t tried;
    bool prepared;
    bool asked;
    bool reclaiming;
    bool finished;
    bool seen_gone;
    bool creating;
    kit_status refusal; /* nothing was created, and why */
    int64_t begun_ms;
    int64_t since_ms;
    int64_t asked_ms;
    int64_t recorded_ms;
    int64_t billed_ms;
    int64_t polled_ms;
    int64_t good_ms;
    int64_t told_ms;
    int64_t struck_ms;
    uint64_t spent_before;
} kit_rent;

/* INVALID_ARGUMENT if the plan is incomplete. Makes no call to the provider. */
kit_status kit_rent_begin(kit_rent *rent, const kit_rent_plan *plan, int64_t now_ms, kolm_error_t *err) KIT_MUST_USE;
/* Starts from a journal record: a name, and its handle, or "" if only the intent was recorded; age_ms: since the last
 * of them was written. Finds the box and ends it. Only provider, journal and times of the plan are used. */
kit_status kit_rent_reclaim(kit_rent *rent, const kit_rent_plan *plan, const char *name, const char *handle,
                            uint64_t age_ms, int64_t now_ms, kolm_error_t *err) KIT_MUST_USE;
/* now_ms: of any monotonic clock. cancel: the user asked to stop. No-op in gone and lost. */
void kit_rent_step(kit_rent *rent, int64_t now_ms, bool cancel);
/* Whether the state is final; it succeeded if rent->error.code is 0 and the state is gone. */
bool kit_rent_ended(const kit_rent *rent);
/* Returns whether reclaim accepts a handle: letters, digits, '-', '_', '.', ':', the first not a dot; or "". Otherwise
 * a record could lead to another path at the provider. */
bool kit_rent_is_handle(const char *text);
const char *kit_rent_state_name(kit_rent_state state);

#ifdef __cplusplus
}
#endif
#endif
