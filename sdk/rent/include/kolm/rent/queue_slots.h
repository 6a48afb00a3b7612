/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of a backend whose provider accepts jobs: detect, cost, train, infer, test, status and reclaim over one
 * constant table, so a provider needs only that table and a file that builds and parses its JSON. */
#ifndef KOLM_RENT_QUEUE_SLOTS_H
#define KOLM_RENT_QUEUE_SLOTS_H

#include "kolm/kit/digest.h"
#include "kolm/kit/job.h"
#include "kolm/rent/queue.h"
#include "kolm/rent/service.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-queue.
 *
 *     static const kit_queue_backend acme = {...};           the table
 *     KIT_QUEUE_SLOTS(acme)                                  detect, cost, train, infer, test, status, reclaim
 *     KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {KOLM_BACKEND_HEADER_INIT, ..., KIT_QUEUE_TABLE};
 *
 * A model that such a provider trains stays there (clouds.md, "A model that stays with its provider"). kolm keeps
 * model/hosted.json, which names it, and the adapter if the provider offers it for download; the model format is
 * "kolm-hosted".
 *
 * train    reads the job, checks every row, writes the file to upload, then steps kit_queue to its end. A job that
 *          succeeded is kept in checkpoint/ until the answers are written: if the compile fails before that, the next
 *          run fetches it instead of paying twice.
 * infer    one question after another through answer(), or all that are available through answers().
 * test     four steps: the token is accepted; the model or trainer is available; a few rows are uploaded, priced and
 *          removed, recorded like those of a job; nothing is left. No job is submitted.
 * status   lists kolm's resources at the provider. It removes nothing: recorded ones are reclaimed.
 * reclaim  kit_queue_reclaim for a recorded resource.
 *
 * Settings that every such backend has, for its manifest to declare (all optional):
 *   api               replaces the provider's address, for tests: https, or http to this machine
 *   budget_usd        the most that one job may cost; the lower of this and the command's budget
 *   max_hours         the longest that a job may take, default 24
 *   poll_seconds      mean polling interval in the first minute, default 5: less at first, then twice that; four times
 *                     after the minute
 *   settle_seconds    how long a new resource may be missing in the provider's lists
 *   patience_seconds  how long to retry ending a job and removing rows before the next start takes over, default 1800
 */

#define KIT_QUEUE_FORMAT "kolm-hosted"
#define KIT_QUEUE_TEXT 256u

struct kit_queue_backend;

/* The contents of hosted.json. */
typedef struct kit_queue_model {
    char model[KIT_QUEUE_TEXT];   /* the provider's name for the trained model */
    char version[KIT_QUEUE_TEXT]; /* "" if it has none */
    char job[KIT_RENT_HANDLE_BYTES];
    char base[KIT_QUEUE_TEXT];
    char file[64]; /* path of the adapter below model/, "" if the provider does not offer it for download */
    char sha256[KIT_SHA256_HEX];
    uint64_t size;
    uint64_t max_tokens; /* of an answer */
    char *system;        /* NULL: none */
} kit_queue_model;

/* One call of one slot. */
typedef struct kit_queue_task {
    const struct kit_queue_backend *backend;
    const kolm_host_v1_t *host;
    kit_service service;
    kit_job *job;       /* train and infer */
    const char *name;   /* train: of the job at the provider */
    const char *place;  /* kit_queue_ask: where the job is recorded to be; NULL: it is not recorded */
    bool had_files;     /* set by remove(): the provider had what has that handle, so its end counts with any token */
    int rows_fd;        /* train: what row() wrote, open for reading; else -1 */
    uint64_t rows;      /* of that file */
    uint64_t row_bytes; /* of that file */
    char rows_sha256[KIT_SHA256_HEX];
    uint64_t parameters; /* of the model, for the score */
    kit_queue_model model;
    cJSON *report; /* train: begin() adds the request */
    void *own;     /* own_bytes, zeroed */
} kit_queue_task;

/* Reports one resource at the provider to status. */
typedef void (*kit_queue_tell)(void *user, const char *kind, const char *name, const char *handle, bool in_use,
                               const char *note);

typedef struct kit_queue_backend {
    const kit_service_site *site;
    const kit_queue_provider *queue; /* its state is the kit_queue_task; NULL: it does not train */
    const char *recipe;              /* accepted by train */
    const char *runtime;             /* of detect */
    const char *basis;               /* of cost: what the bill depends on */
    uint32_t billing;                /* KOLM_BILLING_PER_TOKEN or _PER_CALL */
    uint32_t tokens_per_second_3b;   /* kit_estimate_unpriced */
    size_t own_bytes;
    uint64_t poll_ms; /* polling interval; 0: 5 s */
    /* One cheap call that needs the token. about: what it returned, for the user; may stay "". */
    kit_status (*check)(kit_queue_task *task, char *about, size_t capacity, kolm_error_t *err);
    /* train: reads the options and settings into own, task->model.base and task->report. */
    kit_status (*begin)(kit_queue_task *task, kolm_error_t *err);
    /* train: appends the line to upload for a row of train.jsonl, without its LF; INVALID_ARGUMENT if the provider
     * would reject it. */
    kit_status (*row)(kit_queue_task *task, const cJSON *row, kit_buf *out, kolm_error_t *err);
    /* infer: called before the first question; checks that this model can be used here. NULL: nothing to prepare. */
    kit_status (*open)(kit_queue_task *task, kolm_error_t *err);
    /* infer: appends the answer. *out_confidence is 0 if the provider does not report one. */
    kit_status (*answer)(kit_queue_task *task, const cJSON *question, kit_buf *out, double *out_confidence,
                         kolm_error_t *err);
    /* infer, instead of answer(): many questions at once. questions: an array of at most batch_rows, with at most
     * batch_bytes of text in all unless it has a single one. Appends one line per question, in order, in the format of
     * predictions.jsonl, each with its LF. A question does not wait for others to arrive. */
    kit_status (*answers)(kit_queue_task *task, const cJSON *questions, kit_buf *out, kolm_error_t *err);
    uint32_t batch_rows;
    uint64_t batch_bytes;
    /* test, step 2: checks that the model, or the trainer, is available; note: what was found. INVALID_ARGUMENT: the
     * settings do not name one, and the step is skipped. NULL: skipped. */
    kit_status (*probe)(kit_queue_task *task, char *note, size_t capacity, kolm_error_t *err);
    /* status: lists kolm's resources, by names that begin with "kolm-". NULL: nothing can be listed. */
    kit_status (*list)(kit_queue_task *task, kit_queue_tell tell, void *user, kolm_error_t *err);
    void (*close)(kit_queue_task *task); /* frees what own points to; NULL: nothing */
} kit_queue_backend;

int32_t kit_queue_detect(const kit_queue_backend *backend, const kolm_host_v1_t *host, const kolm_detect_args_t *args,
                         kolm_detect_result_t *out_result, kolm_error_t *err);
int32_t kit_queue_cost(const kit_queue_backend *backend, const kolm_host_v1_t *host, const kolm_cost_args_t *args,
                       kolm_cost_result_t *out_result, kolm_error_t *err);
int32_t kit_queue_train(const kit_queue_backend *backend, const kolm_host_v1_t *host, const kolm_train_args_t *args,
                        kolm_train_result_t *out_result, kolm_error_t *err);
int32_t kit_queue_infer(const kit_queue_backend *backend, const kolm_host_v1_t *host, const kolm_infer_args_t *args,
                        kolm_infer_result_t *out_result, kolm_error_t *err);
int32_t kit_queue_test(const kit_queue_backend *backend, const kolm_host_v1_t *host, const kolm_test_args_t *args,
                       kolm_test_result_t *out_result, kolm_error_t *err);
int32_t kit_queue_status(const kit_queue_backend *backend, const kolm_host_v1_t *host, const kolm_status_args_t *args,
                         kolm_status_result_t *out_result, kolm_error_t *err);
int32_t kit_queue_recall(const kit_queue_backend *backend, const kolm_host_v1_t *host, const kolm_reclaim_args_t *args,
                         kolm_reclaim_result_t *out_result, kolm_error_t *err); /* the slot reclaim */

/* The slots of a backend, static functions queue_detect to queue_recall, and the members of its table. */
#define KIT_QUEUE_SLOT(backend, slot, args_type, result_type)                                                          \
    static int32_t queue_##slot(const kolm_host_v1_t *host, const args_type *args, result_type *out_result,            \
                                kolm_error_t *out_error) {                                                             \
        return kit_queue_##slot(&(backend), host, args, out_result, out_error);                                        \
    }
#define KIT_QUEUE_ANSWERS(backend)                                                                                     \
    KIT_QUEUE_SLOT(backend, detect, kolm_detect_args_t, kolm_detect_result_t)                                          \
    KIT_QUEUE_SLOT(backend, cost, kolm_cost_args_t, kolm_cost_result_t)                                                \
    KIT_QUEUE_SLOT(backend, infer, kolm_infer_args_t, kolm_infer_result_t)                                             \
    KIT_QUEUE_SLOT(backend, test, kolm_test_args_t, kolm_test_result_t)
#define KIT_QUEUE_SLOTS(backend)                                                                                       \
    KIT_QUEUE_ANSWERS(backend)                                                                                         \
    KIT_QUEUE_SLOT(backend, train, kolm_train_args_t, kolm_train_result_t)                                             \
    KIT_QUEUE_SLOT(backend, status, kolm_status_args_t, kolm_status_result_t)                                          \
    KIT_QUEUE_SLOT(backend, recall, kolm_reclaim_args_t, kolm_reclaim_result_t)
#define KIT_QUEUE_ANSWERS_TABLE .detect = queue_detect, .cost = queue_cost, .infer = queue_infer, .test = queue_test
#define KIT_QUEUE_TABLE KIT_QUEUE_ANSWERS_TABLE, .train = queue_train, .status = queue_status, .reclaim = queue_recall

/* ---- For the functions of the table */

/* The text of a setting of the backend, "" if it is not set. INVALID_ARGUMENT if it does not fit. */
kit_status kit_queue_setting(const kit_queue_task *task, const char *key, char *out, size_t capacity,
                             kolm_error_t *err) KIT_MUST_USE;
/* The text of --set KEY, else fallback. INVALID_ARGUMENT if it does not fit. */
kit_status kit_queue_option(const kit_queue_task *task, const char *key, const char *fallback, char *out,
                            size_t capacity, kolm_error_t *err) KIT_MUST_USE;
/* The same for a whole number, and for a decimal in millionths. */
kit_status kit_queue_count(const kit_queue_task *task, const char *key, uint64_t fallback, uint64_t *out,
                           kolm_error_t *err) KIT_MUST_USE;
kit_status kit_queue_micro(const kit_queue_task *task, const char *key, uint64_t fallback, uint64_t *out,
                           kolm_error_t *err) KIT_MUST_USE;
/* Sets the number of parameters of a model: --set parameters_b, else the size in its name ("Llama-3.1-8B-Instruct":
 * 8e9); used for the K-score, as the amount that an answer reads. INVALID_ARGUMENT, with the option as remedy, if
 * neither is available. */
kit_status kit_queue_size(kit_queue_task *task, const char *model, kolm_error_t *err) KIT_MUST_USE;
/* Downloads url into model/FILE and fills task->model's file, sha256 and size. */
kit_status kit_queue_download(kit_queue_task *task, const char *url, const char *file, kolm_error_t *err) KIT_MUST_USE;
/* For answer(), if each answer is a job, too: submits it to a provider without upload, waits and fetches. Such a job
 * ends by itself within minutes, so it is not recorded unless task->place is set; all other rules of kit_queue hold: an
 * unclear submit is not repeated, and a job that is given up after most_ms is cancelled until it is final. */
kit_status kit_queue_ask(kit_queue_task *task, const kit_queue_provider *provider, uint64_t most_ms,
                         kolm_error_t *err) KIT_MUST_USE;
/* Builds the conversation of a row or question: {"role","content"} with the roles system, user and assistant, in the
 * order that chat services require; `system` (may be NULL) is prepended if there is no system message. INVALID_ARGUMENT
 * for other roles, tools, or any other order. The caller deletes *out. */
kit_status kit_queue_messages(const cJSON *row, const char *system, bool with_answer, cJSON **out,
                              kolm_error_t *err) KIT_MUST_USE;
/* Reports progress, phase "training"; total: UINT64_MAX if unknown. */
void kit_queue_progress(const kit_queue_task *task, uint64_t step, uint64_t total);
/* Logs one INFO line. Do not begin with the backend's name, which kolm adds to every line. */
void kit_queue_say(const kit_queue_task *task, const char *format, ...) KIT_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
#endif
