/* SPDX-License-Identifier: Apache-2.0 */
/* A job in a provider's queue, as a state machine: one step per call, over a table that the provider fills. Nothing is
 * submitted without a record or twice, and no uploaded file is left behind. */
#ifndef KOLM_RENT_QUEUE_H
#define KOLM_RENT_QUEUE_H

#include "kolm/rent/rent.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-rent, next to rent.h, which is for machines: here the provider owns the machine and accepts jobs. It
 * supplies a constant kit_queue_provider: how to upload, price, submit, look, cancel, fetch and remove. Order, money,
 * time and retries are handled here:
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
 *   uploading    files of this name are recorded as possibly existing; they are sent, and the provider checks them
 *   uploaded     the files are accepted, and have a handle, which is recorded
 *   priced       the provider's estimate is within the budget, and it has not rejected the job
 *   intent       a job of this name is recorded as possibly existing; it is submitted once, and if the outcome is
 *                unclear, looked up by name, if the provider supports names
 *   submitted    it has a handle, which is recorded; it is waiting in the queue
 *   running      it runs, and is billed
 *   done         it has succeeded; its results are being fetched
 *   fetched      the results are here; the record of the job is closed
 *   cancelling   a cancel was requested. That is only a request: it is polled and repeated until the job is final
 *   removing     the uploads are being removed; repeated until the provider reports that they are gone
 *   gone         nothing of ours runs or is stored; the record is closed. Final
 *   lost         something of ours may run or be stored: that is unclear, or it could not be ended. The record stays
 *                open. Final here; the reaper takes over
 *
 * Rules that hold by construction, whatever the functions of a provider return; a test checks them for every order of
 * outcomes:
 *   - upload() and submit() are called only after journal->intent() confirmed a durable record of that name; submit()
 *     once per name
 *   - an unclear submit is never repeated: with KIT_QUEUE_CAN_FIND the job is looked up until the list is fresh and
 *     would show it; without, it is lost
 *   - a record is closed only when the provider reports that nothing was created, that the job is final, or that the
 *     files do not exist
 *   - an unknown status is not final, and tolerated only for a limited time
 *   - after the first failure, a cancel, the deadline or the budget no job is submitted, and one that was submitted is
 *     cancelled
 *
 * Two records: NAME for the job, NAME-files (KIT_QUEUE_FILES) for what was uploaded.
 *
 * Steps, threads and clocks are as in rent.h: kit_queue_step does at most one call to the provider, writes the new
 * state and returns; `due_ms` says when to call it again. After kill -9 the record suffices: kit_queue_reclaim starts
 * from the journal.
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
    KIT_QUEUE_UNKNOWN, /* a status that the provider's documentation does not list: not final */
    KIT_QUEUE_WAITING,
    KIT_QUEUE_WORKING,
    KIT_QUEUE_ENDING,    /* cancel requested, but not ended yet */
    KIT_QUEUE_SUCCEEDED, /* final */
    KIT_QUEUE_FAILED,    /* final */
    KIT_QUEUE_CANCELLED, /* final */
} kit_queue_life;

typedef struct kit_queue_look {
    kit_queue_life life;
    char word[32];             /* the provider's own: "compressing" */
    char why[384];             /* of FAILED: the provider's message, "" if none */
    uint64_t billed_micro_usd; /* so far; UINT64_MAX if not reported */
} kit_queue_look;

typedef struct kit_queue_price {
    bool known;         /* false: this provider does not price jobs */
    bool refused;       /* the provider rejects the job */
    uint64_t micro_usd; /* if known */
    char why[256];      /* of refused, and of not known */
} kit_queue_price;

#define KIT_QUEUE_CAN_FIND (1u << 0) /* find() finds a job by the name that submit() was given */

/* Each function makes one request (kit_http_send with its tries) and returns its status. state belongs to the
 * provider. */
typedef struct kit_queue_provider {
    const char *name;
    uint32_t can;
    /* time until a newly created job or file is visible to look(), find() and remove(); 0: 120 s */
    uint64_t settle_ms;
    /* the longest that submit() takes, as create_ms in rent.h; 0: KIT_RENT_CREATE_MS */
    uint64_t submit_ms;
    /* Uploads what the job needs under `name`. OK and *out_done false: call again. files is "" at first; a handle
     * stored there is recorded before the next call. UNAVAILABLE and DEADLINE_EXCEEDED are retried once there is a
     * handle; any other failure ends it. *out_may_exist as for submit, while files is "". NULL: nothing is uploaded. */
    kit_status (*upload)(void *state, const char *name, char files[KIT_RENT_HANDLE_BYTES], bool *out_done,
                         bool *out_may_exist, kolm_error_t *err);
    /* What the job will cost, according to the provider. NULL: it cannot be predicted. */
    kit_status (*price)(void *state, kit_queue_price *out, kolm_error_t *err);
    /* *out_may_exist is kit_http_answer.may_have_happened; false with a failure means that nothing was created. */
    kit_status (*submit)(void *state, const char *name, char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist,
                         kolm_error_t *err);
    /* Finds the handle of the job of that name, on all pages; OK and "": there is none. NULL without
     * KIT_QUEUE_CAN_FIND. */
    kit_status (*find)(void *state, const char *name, char out_handle[KIT_RENT_HANDLE_BYTES], kolm_error_t *err);
    /* NOT_FOUND only if the provider itself answered that there is no such job. */
    kit_status (*look)(void *state, const char *handle, kit_queue_look *out, kolm_error_t *err);
    /* Passes on what the job has printed since the last call. The result is ignored. NULL: no logs. */
    kit_status (*logs)(void *state, const char *handle, kolm_error_t *err);
    /* Requests a cancel. The result is only a hint: look() decides. */
    kit_status (*cancel)(void *state, const char *handle, kolm_error_t *err);
    /* Fetches the results of a job that succeeded. OK and *out_done false: call again. UNAVAILABLE and
     * DEADLINE_EXCEEDED are retried, any other failure ends it. */
    kit_status (*fetch)(void *state, const char *handle, bool *out_done, kolm_error_t *err);
    /* Removes what upload() made under that name; files is "" if the handle is not known: look for the name then, and
     * if something has it, it is found, and not done yet. *out_done: the provider reports that it does not exist. NULL if
     * and only if upload is NULL. */
    kit_status (*remove)(void *state, const char *name, const char *files, bool *out_done, kolm_error_t *err);
} kit_queue_provider;

/* Zero-initialise it; it must stay valid as long as the kit_queue. */
typedef struct kit_queue_plan {
    const kit_queue_provider *provider;
    void *provider_state;
    const kit_rent_journal *journal; /* rent.h; the offer describes the job, with its price in micro_usd_once */
    void *journal_user;
    const char *name;          /* of the job: at most 40 bytes of a-z, 0-9 and '-' */
    const char *what;          /* for people: "LoRA of meta-llama/..." */
    uint64_t budget_micro_usd; /* 0: none. With a budget, a job that the provider cannot price is not submitted */
    uint64_t deadline_ms;      /* from the first step; 0: none */
    uint64_t start_ms;         /* from submission until it runs; 0: 2 h */
    uint64_t unknown_ms;       /* longest time with an unknown status or without an answer; 0: 30 min */
    uint64_t give_up_ms;       /* for uploading and fetching, not counting calls that succeed, and for cancelling,
                                  removing, finding; 0: 30 min */
    uint64_t poll_ms;          /* mean polling interval of the first minute, four times that later; 0: 5 s */
    uint64_t settle_ms;        /* overrides the provider's; 0: no override */
} kit_queue_plan;

typedef struct kit_queue {
    kit_queue_state state;
    int64_t due_ms; /* do not call kit_queue_step earlier; on the clock passed to it */
    char name[KIT_RENT_NAME_BYTES];
    char files_name[KIT_RENT_NAME_BYTES];
    char handle[KIT_RENT_HANDLE_BYTES]; /* of the job; "" until it has one */
    char files[KIT_RENT_HANDLE_BYTES];  /* of the uploads; "" until they have one */
    kit_queue_price price;
    kit_queue_look seen; /* the result of the last look() that succeeded */
    kolm_error_t error;  /* the first error of the job; code 0: none so far */
    kolm_error_t left;   /* if code is not 0 (in lost): what may still exist, and what to do */
    kolm_error_t barred; /* if code is not 0: the last request was refused because of its token, so nothing is known */
    bool fetched;        /* the results are here */
    bool may_be_billed;  /* a job exists, existed, or may exist */
    bool found;          /* the provider has shown the job, or files of that name: their end counts with any token */
    bool left_is_all;    /* error is a copy of left: there was no other error */
    /* The rest is private. */
    const kit_queue_plan *plan;
    bool asked;
    bool reclaiming;
    bool files_open;
    bool final;
    bool removed;
    bool log_next;
    bool uploading;
    bool submitting;
    bool did_part;
    int64_t begun_ms;
    int64_t since_ms;
    int64_t asked_ms;
    int64_t known_ms;
    int64_t good_ms;
    int64_t sent_ms;
} kit_queue;

/* INVALID_ARGUMENT if the plan is incomplete. Makes no call to the provider. */
kit_status kit_queue_begin(kit_queue *queue, const kit_queue_plan *plan, int64_t now_ms,
                           kolm_error_t *err) KIT_MUST_USE;
/* Starts from a journal record: a name, with or without the suffix KIT_QUEUE_FILES, and its handle, or "" if only the
 * intent was recorded; age_ms: since the intent was written. Cancels a job, removes files. Only provider, journal and
 * times of the plan are used. */
kit_status kit_queue_reclaim(kit_queue *queue, const kit_queue_plan *plan, const char *name, const char *handle,
                             uint64_t age_ms, int64_t now_ms, kolm_error_t *err) KIT_MUST_USE;
/* now_ms: of any monotonic clock. cancel: the user asked to stop. No-op in gone and lost. */
void kit_queue_step(kit_queue *queue, int64_t now_ms, bool cancel);
/* Whether the state is final. The job succeeded if queue->fetched; queue->left tells what may remain. */
bool kit_queue_ended(const kit_queue *queue);
const char *kit_queue_state_name(kit_queue_state state);

#ifdef __cplusplus
}
#endif
#endif
