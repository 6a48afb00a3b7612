/* SPDX-License-Identifier: Apache-2.0 */
/* train, the rehearsal of test, and reclaim: the state machine, driven by the clock. */
#include "queue_task.h"

#include "kolm/kit/backend.h"
#include "kolm/rent/journal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STOP_MS 8000 /* a call that was asked to stop has ten seconds */
#define CHECKPOINT "checkpoint/job.json"

/* ---- Driving */

static void say_state(const kit_queue_task *task, const kit_queue *q) {
    if (q->state == KIT_QUEUE_PRICED && q->price.known)
        kit_queue_say(task, "%s estimates %.4f USD", task->backend->site->title, (double)q->price.micro_usd / 1e6);
    else if (q->state == KIT_QUEUE_SUBMITTED)
        kit_queue_say(task, "submitted as %s", q->handle);
    else
        kit_queue_say(task, "%s", kit_queue_state_name(q->state));
}

/* Runs to the end; stop_at: to that state, and then back. False if there was no time to finish: then open records stay
 * for the reaper. */
static bool drive(kit_queue_task *task, kit_queue *q, kit_queue_state stop_at, uint64_t most_ms, bool quiet) {
    kit_queue_state shown = q->state;
    int64_t begun = queue_now(), stopped = -1;
    bool back = false;
    while (!kit_queue_ended(q)) {
        if (stopped < 0 && queue_task_stopped(task)) stopped = queue_now();
        back = back || stopped >= 0 || q->state == stop_at;
        task->service.deaf = back || q->state >= KIT_QUEUE_CANCELLING; /* ending must not be stopped */
        kit_queue_step(q, queue_now(), back);
        if (!quiet && q->state != shown && q->state < KIT_QUEUE_CANCELLING) say_state(task, q);
        shown = q->state;
        int64_t now = queue_now();
        /* If the token is refused, it would be refused again: the user should know at once. */
        if (q->reclaiming && q->barred.code != KOLM_OK && q->due_ms > now) return false;
        if ((stopped >= 0 && now - stopped > STOP_MS) || (most_ms > 0 && (uint64_t)(now - begun) > most_ms))
            return false;
        queue_wait(task, q->due_ms, stopped < 0);
    }
    return true;
}

/* Appends the cost to the error. */
static kit_status say_cost(const kit_queue *q, kolm_error_t *err) {
    char text[sizeof err->text];
    kit_copy(text, sizeof text, err->text);
    if (!q->may_be_billed)
        kit_format(err->text, sizeof err->text, "%.440s (no job was submitted)", text);
    else if (q->seen.billed_micro_usd != UINT64_MAX)
        kit_format(err->text, sizeof err->text, "%.440s (billed: %.4f USD)", text,
                   (double)q->seen.billed_micro_usd / 1e6);
    else
        kit_format(err->text, sizeof err->text, "%.440s (its cost is unknown)", text);
    return err->code;
}

/* Only the user can find out: the provider does not support names, and returned no id. */
static bool is_unknowable(const kit_queue *q) {
    return q->left.code != KOLM_OK && (q->may_be_billed || q->reclaiming) && q->name[0] != '\0' &&
           q->handle[0] == '\0' && (q->plan->provider->can & KIT_QUEUE_CAN_FIND) == 0;
}

static void ask_the_user(const kit_queue *q, const char *title, bool recorded, char *remedy, size_t capacity) {
    if (!recorded)
        kit_format(remedy, capacity, "check with %s whether it exists, and end it, before you run the command again",
                   title);
    else if (is_unknowable(q))
        kit_format(remedy, capacity,
                   "check with %s whether it exists, end it, and then run `kolm compute reap --forget %s`", title,
                   q->name);
    else
        kit_format(remedy, capacity, "check with %s whether it exists, and end it; kolm also tries whenever it starts",
                   title);
}

/* Writes one sentence: what went wrong, what may be left, what it cost; recorded: kolm will end what is left. */
static kit_status verdict(const kit_queue_task *task, const kit_queue *q, bool ended, bool recorded,
                          kolm_error_t *err) {
    const char *title = task->backend->site->title;
    bool left = q->left.code != KOLM_OK;
    if (q->fetched && left) {
        kit_buf line = {0};
        kit_buf_fmt(&line, "%s; %s", q->left.text, q->left.remedy);
        task->host->log(task->host->user, KOLM_LOG_WARNING, kit_buf_text(&line));
        kit_buf_free(&line);
    }
    if (q->fetched) return KOLM_OK;
    if (q->error.code != KOLM_OK) *err = q->error;
    if (!ended) {
        (void)kit_fail(err, KOLM_E_CANCELLED,
                       recorded ? "run any `kolm compute` command: it ends what is left"
                                : "check with the provider whether it is still running, and end it there",
                       "stopped while %s was being ended at %s", q->name, title);
    } else if (left) {
        char remedy[256];
        ask_the_user(q, title, recorded, remedy, sizeof remedy);
        if (q->left_is_all)
            (void)kit_fail(err, q->left.code, remedy, "%s", q->left.text);
        else
            (void)kit_fail(err, q->error.code, remedy, "%.190s (%.240s)", q->left.text, q->error.text);
    }
    return say_cost(q, err);
}

/* ---- A job that succeeded and whose results were not used yet */

static kit_status checkpoint_write(const kit_queue_task *task, const kit_queue *q, kolm_error_t *err) {
    char *folder = NULL, *path = NULL;
    kit_buf text = {0};
    kit_buf_fmt(&text, "{\"format\":1,\"provider\":\"%s\",\"name\":\"%s\",\"handle\":\"%s\"}\n",
                task->backend->site->name, q->name, q->handle);
    kit_status status = kit_path_join(task->job->dir, "checkpoint", &folder, err);
    if (status == KOLM_OK) status = kit_mkdirs(folder, 0700, err);
    if (status == KOLM_OK) status = kit_path_join(task->job->dir, CHECKPOINT, &path, err);
    if (status == KOLM_OK) status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, text.data, text.length, err);
    kit_buf_free(&text);
    free(path);
    free(folder);
    return status;
}

/* If an earlier run of the same work left a finished job, fetches its results again and returns true. */
static bool fetch_again(kit_queue_task *task, kit_queue_look *out_seen) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    const kit_queue_provider *v = task->backend->queue;
    char *path = NULL;
    cJSON *value = NULL;
    char handle[KIT_RENT_HANDLE_BYTES] = "", provider[64] = "";
    bool done = false;
    if (kit_path_join(task->job->dir, CHECKPOINT, &path, &ignored) != KOLM_OK) return false;
    bool found = kit_json_read(path, 65536, &value, &ignored) == KOLM_OK &&
                 kit_service_text(value, "provider", provider, sizeof provider) &&
                 strcmp(provider, task->backend->site->name) == 0 &&
                 kit_service_text(value, "handle", handle, sizeof handle) && kit_service_is_id(handle);
    if (found && v->look(task, handle, out_seen, &ignored) == KOLM_OK && out_seen->life == KIT_QUEUE_SUCCEEDED) {
        kit_queue_say(task,
                      "the job %s of an earlier run succeeded: its results are downloaded, and nothing is paid again",
                      handle);
        for (int tries = 0; tries < 20 && !done && !queue_task_stopped(task); tries++)
            if (v->fetch(task, handle, &done, &ignored) != KOLM_OK) break;
    }
    cJSON_Delete(value);
    free(path);
    return done;
}

/* ---- train */

typedef struct place {
    char text[KIT_RENT_PLACE_BYTES]; /* for the record */
    char which[KIT_SECRET_MARK_BYTES];
} place;

/* Another token may be of another account, which knows nothing of the job. */
static kit_status place_of(const kit_queue_task *task, place *out, kolm_error_t *err) {
    if (kit_secret_mark(task->service.token, out->which) != KOLM_OK) return kit_no_memory(err);
    kit_rent_place(task->backend->site->title, out->which, out->text);
    return KOLM_OK;
}

static kit_status run_job(kit_queue_task *task, uint64_t *out_billed, kolm_error_t *err) {
    char name[KIT_RENT_PREFIX_BYTES], what[96];
    place here;
    kit_rent_host record = {.host = task->host, .kind = "job", .place = here.text};
    kit_queue_plan plan;
    kit_queue q;
    KIT_TRY(place_of(task, &here, err));
    KIT_TRY(queue_plan_of(task, &plan, err));
    KIT_TRY(kit_rent_make_prefix("kolm", name, err));
    kit_format(what, sizeof what, "training of %s", task->model.base);
    plan.journal = &kit_rent_host_journal;
    plan.journal_user = &record;
    plan.name = task->name = name;
    plan.what = what;
    KIT_TRY(kit_queue_begin(&q, &plan, queue_now(), err));
    bool ended = drive(task, &q, KIT_QUEUE_LOST, 0, false);
    *out_billed = q.seen.billed_micro_usd;
    KIT_TRY(verdict(task, &q, ended, true, err));
    return checkpoint_write(task, &q, err);
}

static kit_status prepare(kit_queue_task *task, kolm_error_t *err) {
    if (strcmp(task->job->recipe, task->backend->recipe) != 0)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name the recipe with --recipe",
                        "%s trains with the recipe %s, not %s", task->backend->site->name, task->backend->recipe,
                        task->job->recipe);
    KIT_TRY(task->backend->begin(task, err));
    return queue_rows_write(task, err);
}

static kit_status train(kit_queue_task *task, kolm_train_result_t *out_result, kolm_error_t *err) {
    kit_queue_look seen = {.billed_micro_usd = UINT64_MAX};
    char *model = NULL, *path = NULL;
    KIT_TRY(prepare(task, err));
    if (fetch_again(task, &seen))
        out_result->billed_micro_usd = 0;
    else
        KIT_TRY(run_job(task, &out_result->billed_micro_usd, err));
    kit_status status = kit_path_join(task->job->dir, "model", &model, err);
    if (status == KOLM_OK) status = kit_mkdirs(model, 0700, err);
    if (status == KOLM_OK) status = kit_path_join(model, "hosted.json", &path, err);
    if (status == KOLM_OK) status = queue_model_write(task, path, err);
    if (status == KOLM_OK) status = queue_result_write(task, out_result->toolchain, sizeof out_result->toolchain, err);
    kit_format(out_result->device, sizeof out_result->device, "%s: %s", task->backend->site->title, task->model.base);
    free(path);
    free(model);
    return status;
}

int32_t kit_queue_train(const kit_queue_backend *backend, const kolm_host_v1_t *host, const kolm_train_args_t *args,
                        kolm_train_result_t *out_result, kolm_error_t *err) {
    kit_queue_task task;
    out_result->billed_micro_usd = UINT64_MAX;
    kit_status status = queue_task_open(backend, host, args->job_dir, &task, err);
    if (status == KOLM_OK) status = train(&task, out_result, err);
    queue_task_close(&task);
    return status;
}

/* ---- One answer through a queue: most such jobs end by themselves within minutes, and are not recorded */

static kit_status no_intent(void *user, const char *name, const kit_rent_offer *offer, kolm_error_t *err) {
    (void)user, (void)name, (void)offer, (void)err;
    return KOLM_OK;
}

static kit_status no_handle(void *user, const char *name, const char *handle, kolm_error_t *err) {
    (void)user, (void)name, (void)handle, (void)err;
    return KOLM_OK;
}

static kit_status no_gone(void *user, const char *name, uint64_t billed_micro_usd, kolm_error_t *err) {
    (void)user, (void)name, (void)billed_micro_usd, (void)err;
    return KOLM_OK;
}

kit_status kit_queue_ask(kit_queue_task *task, const kit_queue_provider *provider, uint64_t most_ms,
                         kolm_error_t *err) {
    static const kit_rent_journal none = {.intent = no_intent, .handle = no_handle, .gone = no_gone};
    kit_rent_host record = {.host = task->host, .kind = "job", .place = task->place};
    char name[KIT_RENT_PREFIX_BYTES] = "answer";
    uint64_t poll_ms = 1000;
    kit_queue q;
    KIT_TRY(queue_poll_of(task, 1000, &poll_ms, err));
    if (task->place != NULL) KIT_TRY(kit_rent_make_prefix("kolm", name, err));
    const kit_queue_plan plan = {.provider = provider,
                                 .provider_state = task,
                                 .journal = task->place != NULL ? &kit_rent_host_journal : &none,
                                 .journal_user = &record,
                                 .name = name,
                                 .what = "answers",
                                 .deadline_ms = most_ms,
                                 .give_up_ms = 60000,
                                 .poll_ms = poll_ms};
    KIT_TRY(kit_queue_begin(&q, &plan, queue_now(), err));
    bool ended = drive(task, &q, KIT_QUEUE_LOST, 0, true);
    return verdict(task, &q, ended, task->place != NULL && q.handle[0] != '\0', err);
}

/* ---- test: up to the price, and back */

static kit_status sample(kit_queue_task *task, kolm_error_t *err) {
    static const char *const rows[][2] = {{"My parcel is late.", "shipping"}, {"I was charged twice.", "billing"}};
    char *path = NULL;
    kit_buf text = {0};
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < 24 && status == KOLM_OK; i++) {
        cJSON *row = cJSON_CreateObject();
        if (!kit_json_put_string(row, "input", rows[i % 2][0]) || !kit_json_put_string(row, "output", rows[i % 2][1]))
            status = kit_no_memory(err);
        if (status == KOLM_OK) status = task->backend->row(task, row, &text, err);
        kit_buf_char(&text, '\n');
        cJSON_Delete(row);
        task->rows++;
    }
    task->row_bytes = text.length;
    if (status == KOLM_OK) status = kit_path_join(task->host->scratch_dir, "sample.jsonl", &path, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, text.data, text.length, err);
    if (status == KOLM_OK) status = kit_sha256_bytes(text.data, text.length, task->rows_sha256, err);
    if (status == KOLM_OK) status = queue_rows_open(task, path, err);
    kit_buf_free(&text);
    free(path);
    return status;
}

kit_status queue_rehearse(kit_queue_task *task, char *note, size_t capacity, bool *out_left, kolm_error_t *err) {
    char name[KIT_RENT_PREFIX_BYTES];
    place here;
    kit_rent_host record = {.host = task->host, .kind = "job", .place = here.text};
    kit_queue_plan plan;
    kit_queue q;
    *out_left = false;
    KIT_TRY(place_of(task, &here, err));
    KIT_TRY(sample(task, err));
    KIT_TRY(queue_plan_of(task, &plan, err));
    KIT_TRY(kit_rent_make_prefix("kolm", name, err));
    plan.journal = &kit_rent_host_journal;
    plan.journal_user = &record;
    plan.name = task->name = name;
    plan.what = "rehearsal";
    plan.give_up_ms = 25000;
    KIT_TRY(kit_queue_begin(&q, &plan, queue_now(), err));
    bool ended = drive(task, &q, KIT_QUEUE_PRICED, 0, true);
    *out_left = !ended || q.state == KIT_QUEUE_LOST;
    if (q.price.known)
        kit_format(note, capacity, "%u rows are estimated at %.4f USD; nothing was submitted", (unsigned)task->rows,
                   (double)q.price.micro_usd / 1e6);
    if (q.error.code == KOLM_E_CANCELLED && !queue_task_stopped(task)) return KOLM_OK; /* turned back as planned */
    *err = q.error;
    return q.error.code;
}

/* ---- reclaim */

/* What is found by its name is recorded with its handle; that it is gone is what the slot answers, and may be doubted. */
static kit_status keep_handle(void *user, const char *name, const char *handle, kolm_error_t *err) {
    return kit_rent_host_journal.handle(user, name, handle, err);
}

static const kit_rent_journal recalling = {.intent = no_intent, .handle = keep_handle, .gone = no_gone};

int32_t kit_queue_recall(const kit_queue_backend *backend, const kolm_host_v1_t *host, const kolm_reclaim_args_t *args,
                         kolm_reclaim_result_t *out_result, kolm_error_t *err) {
    kit_queue_task task;
    kit_queue_plan plan;
    kit_queue q;
    place here;
    kit_rent_host record = {.host = host, .kind = "job", .place = backend->site->title};
    int64_t left = host->time_left_ms(host->user);
    out_result->outcome = KOLM_RECLAIM_UNKNOWN;
    out_result->billed_micro_usd = UINT64_MAX;
    kit_status status = queue_task_open(backend, host, NULL, &task, err);
    if (status == KOLM_OK) status = place_of(&task, &here, err);
    if (status == KOLM_OK) status = queue_plan_of(&task, &plan, err);
    if (status == KOLM_OK) {
        plan.journal = &recalling;
        plan.journal_user = &record;
        if (plan.poll_ms == 0 || plan.poll_ms > 1000) plan.poll_ms = 1000;
        status = kit_queue_reclaim(&q, &plan, args->name, args->handle, args->age_seconds * 1000, queue_now(), err);
    }
    if (status == KOLM_OK) {
        bool ended = drive(&task, &q, KIT_QUEUE_LOST,
                           left < 5000    ? 1
                           : left < 12000 ? (uint64_t)left - 4000
                                          : 8000,
                           true);
        bool found = q.found || task.had_files, elsewhere = !kit_rent_place_is(args->place, here.which);
        if (ended && q.state == KIT_QUEUE_GONE)
            out_result->outcome = KOLM_RECLAIM_GONE;
        else if (q.state == KIT_QUEUE_CANCELLING || q.state == KIT_QUEUE_REMOVING || q.handle[0] != '\0' ||
                 q.files[0] != '\0')
            out_result->outcome = KOLM_RECLAIM_RUNNING;
        out_result->billed_micro_usd = q.seen.billed_micro_usd;
        if (q.state == KIT_QUEUE_GONE && q.name[0] == '\0') out_result->billed_micro_usd = 0; /* files */
        kit_copy(out_result->summary, sizeof out_result->summary,
                 q.left.code != KOLM_OK ? q.left.text : kit_queue_state_name(q.state));
        if (out_result->outcome == KOLM_RECLAIM_GONE && elsewhere && !found)
            kit_rent_doubt(args->name, here.text, args->place, out_result);
        if (q.state != KIT_QUEUE_GONE && q.barred.code != KOLM_OK) *err = q.barred;
        if (q.state != KIT_QUEUE_GONE) status = q.barred.code;
        if (status == KOLM_OK && ended && is_unknowable(&q)) {
            char remedy[256];
            ask_the_user(&q, backend->site->title, true, remedy, sizeof remedy);
            status = kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "%s", q.left.text);
        }
    }
    queue_task_close(&task);
    return status;
}
