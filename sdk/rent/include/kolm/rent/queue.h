/* SPDX-License-Identifier: Apache-2.0 */
/* A job in the queue of a provider as a machine of states: one step a call, over a table that a provider fills; nothing
 * is submitted off the record, nothing is submitted twice, and nothing that was uploaded stays. */
#ifndef KOLM_RENT_QUEUE_H
#define KOLM_RENT_QUEUE_H

#include "kolm/rent/rent.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-rent, beside rent.h, which is for machines: here the provider has the machine, and takes a job. It
 * brings a constant kit_queue_provider: how to upload, price, submit, look, cancel, fetch and remove. All that has to do
 * with order, money, time and repetition is here:
 *
 *   planned --> uploading --> uploaded --> priced --> intent --> submitted --> running --> done --> fetched --+
 *      |            |            |            |          |           |            |          |                |
 *      |            +------------+------------+----------+           +-----+------+          |                |
 *      |                         |                       |                 v                 |                v
 *      |                         |                       |            cancelling ------------+-----------> removing
 *      |                         +-----------------------+--------------------------------------------------> |
 *      v                                                                                                      v
 *     gone                                                                                              gone or lost
 *
 *   planned      nothing exists
 *   uploading    it is on record that files of this name may exist; they are sent, and the provider checks them
 *   uploaded     the files are accepted, and have a handle, which is on record
 *   priced       the provider's estimate is within the budget, and it did not say that the job may not be run
 *   intent       it is on record that a job of this name may exist; it is submitted once, and if that is unclear looked
 *                for by its name, where the provider knows names
 *   submitted    it has a handle, which is on record; it waits for its turn
 *   running      it works, and is billed
 *   done         it has ended well; its results are fetched
 *   fetched      they are here; the job is off the record
 *   cancelling   it was asked to end. A cancel is a request: it is looked at, and asked again, until it is final
 *   removing     what was uploaded is removed, again and again, until the provider says that it is not there
 *   gone         nothing of ours runs or is stored; off the record. The end
 *   lost         something of ours may run or be stored: that is unclear, or it could not be ended. It stays on record.
 *                The end of this machine, and work for the reaper
 *
 * Rules that hold by construction, whatever the functions of a provider return, and that a test drives through every
 * order of outcomes:
 *   - upload() and submit() are called only after journal->intent() said that it is durable, with the name that was
 *     recorded; submit() once for each name
 *   - an unclear submit is never repeated: with KIT_QUEUE_CAN_FIND it is looked for until the list is fresh and would
 *     show it; without, it is lost
 *   - a name is taken off the record only when the provider said that nothing was created, that the job is final, or
 *     that the files are not there
 *   - an unknown status is not final, and does not last for ever
 *   - after the first failure, a cancel, the deadline or the budget no job is submitted, and one that was submitted is
 *     cancelled
 *
 * Two records: NAME for the job, NAME-files (KIT_QUEUE_FILES) for what was uploaded.
 *
 * Steps, threads and clocks are as in rent.h: kit_queue_step does at most one call to the provider, writes the new
 * state and returns; `due_ms` says when to call it again. After kill -9 the record is enough: kit_queue_reclaim begins
 * with what the journal has.
 */

#define KIT_QUEUE_FILES "-files"

typedef enum kit_queue_state {
    KIT_QUEUE_PLANNED,
    KIT_QUEUE_UPLOADING,
    KIT_QUEUE_UPLOADED,
    KIT_QUEUE_PRICED,
    KIT_QUEUE_INTENT,
    KIT_QUEUE_SUBMITTED,
    KIT_QUEUE_RUNNING,
    KIT_QUEUE_DONE,
    KIT_QUEUE_FETCHED,
    KIT_QUEUE_CANCELLING,
    KIT_QUEUE_REMOVING,
    KIT_QUEUE_GONE,
    KIT_QUEUE_LOST,
} kit_queue_state;

typedef enum kit_queue_life {
    KIT_QUEUE_UNKNOWN, /* a word that the provider's documents do not have: not final */
    KIT_QUEUE_WAITING,
    KIT_QUEUE_WORKING,
    KIT_QUEUE_ENDING,    /* was asked to end, and has not ended */
    KIT_QUEUE_SUCCEEDED, /* final */
    KIT_QUEUE_FAILED,    /* final */
    KIT_QUEUE_CANCELLED, /* final */
} kit_queue_life;

typedef struct kit_queue_look {
    kit_queue_life life;
    char word[32];             /* the provider's own: "compressing" */
    char why[384];             /* of FAILED: what it says, "" if nothing */
    uint64_t billed_micro_usd; /* so far; UINT64_MAX if it does not say */
} kit_queue_look;

typedef struct kit_queue_price {
    bool known;         /* false: this provider cannot say */
    bool refused;       /* the provider says that the job may not be run */
    uint64_t micro_usd; /* if known */
    char why[256];      /* of refused, and of not known */
} kit_queue_price;

#define KIT_QUEUE_CAN_FIND (1u << 0) /* find() finds a job by the name that submit() was given */

/* Each function makes one request (kit_http_send with its tries) and returns its status. state is the provider's own. */
typedef struct kit_queue_provider {
    const char *name;
    uint32_t can;
    /* so long after it was created a job, or a file, that exists is seen by look(), find() and remove(); 0: 120 s */
    uint64_t settle_ms;
    /* Sends what the job needs, named `name`. OK and *out_done false: call again. files is "" at first; the handle that
     * is put there is recorded before the next call. A failure of UNAVAILABLE or DEADLINE_EXCEEDED is tried again once
     * there is a handle; any other ends it. NULL: nothing is uploaded. */
    kit_status (*upload)(void *state, const char *name, char files[KIT_RENT_HANDLE_BYTES], bool *out_done,
                         kolm_error_t *err);
    /* What the job will cost, as the provider says. NULL: it cannot be predicted. */
    kit_status (*price)(void *state, kit_queue_price *out, kolm_error_t *err);
    /* *out_may_exist is kit_http_answer.may_have_happened; false with a failure says that nothing was created. */
    kit_status (*submit)(void *state, const char *name, char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist,
                         kolm_error_t *err);
    /* The handle of the job of that name, all pages looked through; OK and "": there is none. NULL without
     * KIT_QUEUE_CAN_FIND. */
    kit_status (*find)(void *state, const char *name, char out_handle[KIT_RENT_HANDLE_BYTES], kolm_error_t *err);
    /* NOT_FOUND only if it is the provider's own answer that there is no such job. */
    kit_status (*look)(void *state, const char *handle, kit_queue_look *out, kolm_error_t *err);
    /* Passes on what the job has printed since the last call. What it returns has no consequence. NULL: no logs. */
    kit_status (*logs)(void *state, const char *handle, kolm_error_t *err);
    /* Asks it to end. What it returns is a hint only: look() decides. */
    kit_status (*cancel)(void *state, const char *handle, kolm_error_t *err);
    /* Of a job that succeeded. OK and *out_done false: call again. A failure of UNAVAILABLE or DEADLINE_EXCEEDED is
     * tried again, any other ends it. */
    kit_status (*fetch)(void *state, const char *handle, bool *out_done, kolm_error_t *err);
    /* Removes what upload() made under that name; files is "" if its handle is not known: then it is looked for by the
     * name. *out_done: the provider says that there is none. NULL exactly if upload is NULL. */
    kit_status (*remove)(void *state, const char *name, const char *files, bool *out_done, kolm_error_t *err);
} kit_queue_provider;

/* Zero-initialise it; read as long as the machine lives. */
typedef struct kit_queue_plan {
    const kit_queue_provider *provider;
    void *provider_state;
    const kit_rent_journal *journal; /* rent.h; the offer has what is submitted, and its price in micro_usd_once */
    void *journal_user;
    const char *name;          /* of the job: at most 40 bytes of a-z, 0-9 and '-' */
    const char *what;          /* for people: "LoRA of meta-llama/..." */
    uint64_t budget_micro_usd; /* 0: none. With one a job whose price the provider cannot say is not submitted */
    uint64_t deadline_ms;      /* from the first step; 0: none */
    uint64_t start_ms;         /* from submission until it works; 0: 2 h */
    uint64_t unknown_ms;       /* of an unknown status, or no answer at all; 0: 30 min */
    uint64_t give_up_ms;       /* of uploading, fetching, cancelling, removing, finding; 0: 30 min */
    uint64_t poll_ms;          /* between two looks; 0: 5 s. Four times that after a minute */
    uint64_t settle_ms;        /* in place of the provider's; 0: that */
} kit_queue_plan;

typedef struct kit_queue {
    kit_queue_state state;
    int64_t due_ms; /* call kit_queue_step no earlier, on the clock that it is given */
    char name[KIT_RENT_NAME_BYTES];
    char files_name[KIT_RENT_NAME_BYTES];
    char handle[KIT_RENT_HANDLE_BYTES]; /* of the job, "" while there is none */
    char files[KIT_RENT_HANDLE_BYTES];  /* of what was uploaded, "" while there is none */
    kit_queue_price price;
    kit_queue_look seen; /* the last look that succeeded */
    kolm_error_t error;  /* the first thing that went wrong with the job; code 0: so far nothing */
    kolm_error_t left;   /* code not 0, in lost: what may still be there, and what to do */
    kolm_error_t barred; /* code not 0: the last request was refused for its token, and nothing is known */
    bool fetched;        /* the results are here */
    bool may_be_billed;  /* a job exists, existed, or may exist */
    bool left_is_all;    /* error is left: nothing else went wrong */
    /* The rest is the machine's own. */
    const kit_queue_plan *plan;
    bool asked, reclaiming, files_open, final, removed, log_next;
    int64_t begun_ms, since_ms, asked_ms, known_ms, good_ms, sent_ms;
} kit_queue;

/* Fails with INVALID_ARGUMENT if the plan lacks something. Calls nothing. */
kit_status kit_queue_begin(kit_queue *queue, const kit_queue_plan *plan, int64_t now_ms,
                           kolm_error_t *err) KIT_MUST_USE;
/* With what a journal has: a name, which ends in KIT_QUEUE_FILES or does not, and its handle, or "" if the record ends
 * with the intent; age_ms: since the intent was written. A job is cancelled, files are removed. Of the plan provider,
 * journal and times count. */
kit_status kit_queue_reclaim(kit_queue *queue, const kit_queue_plan *plan, const char *name, const char *handle,
                             uint64_t age_ms, int64_t now_ms, kolm_error_t *err) KIT_MUST_USE;
/* now_ms: of any clock that does not go back. cancel: the user wants it to end. Does nothing in gone and lost. */
void kit_queue_step(kit_queue *queue, int64_t now_ms, bool cancel);
/* The machine is at its end. The job went well if queue->fetched; what is left is in queue->left. */
bool kit_queue_ended(const kit_queue *queue);
const char *kit_queue_state_name(kit_queue_state state);

#ifdef __cplusplus
}
#endif
#endif
