/* SPDX-License-Identifier: Apache-2.0 */
/* detect, cost, test and status. */
#include "queue_task.h"

#include "kolm/kit/backend.h"

#include <string.h>

#define HTTP_PAYMENT_REQUIRED 402

/* ---- detect */

/* With the network: checks that the provider accepts the token. Its message is the reason. */
static int32_t try_token(const kit_queue_backend *backend, const kolm_host_v1_t *host,
                         kolm_detect_result_t *out_result) {
    kolm_error_t why = KIT_ERROR_INIT;
    kit_queue_task task;
    char about[160] = "";
    kit_status status = queue_task_open(backend, host, NULL, &task, &why);
    if (status == KOLM_OK) status = backend->check(&task, about, sizeof about, &why);
    bool busy = status == KOLM_E_RESOURCE_EXHAUSTED && task.service.answered != HTTP_PAYMENT_REQUIRED;
    queue_task_close(&task);
    if (busy) { /* temporary, and unrelated to the token */
        kit_format(out_result->reason, sizeof out_result->reason, "%s is set; %s says to try again later: %s",
                   backend->site->variable, backend->site->title, why.text);
        return KOLM_OK;
    }
    switch (status) {
    case KOLM_OK:
        kit_format(out_result->reason, sizeof out_result->reason, "%s accepts the token in %s%s%s",
                   backend->site->title, backend->site->variable, about[0] != '\0' ? ": " : "", about);
        return KOLM_OK;
    case KOLM_E_UNAUTHENTICATED:
    case KOLM_E_PERMISSION_DENIED:
    case KOLM_E_RESOURCE_EXHAUSTED:
    case KOLM_E_INVALID_ARGUMENT:
        return kit_detected(out_result, KOLM_DETECT_BROKEN, why.text,
                            why.remedy[0] != '\0' ? why.remedy : "read what the provider says", "");
    case KOLM_E_CANCELLED:
        return status;
    default: /* a network failure is unrelated to the token */
        kit_format(out_result->reason, sizeof out_result->reason, "%s is set, but could not be checked: %s",
                   backend->site->variable, why.text);
        return KOLM_OK;
    }
}

int32_t kit_queue_detect(const kit_queue_backend *backend, const kolm_host_v1_t *host, const kolm_detect_args_t *args,
                         kolm_detect_result_t *out_result, kolm_error_t *err) {
    const kit_service_site *site = backend->site;
    KIT_TRY(kit_detect_token(host, site->variable, site->where, backend->runtime, out_result, err));
    if (out_result->state != KOLM_DETECT_AVAILABLE || !args->allow_network) return KOLM_OK;
    return try_token(backend, host, out_result);
}

/* ---- cost */

int32_t kit_queue_cost(const kit_queue_backend *backend, const kolm_host_v1_t *host, const kolm_cost_args_t *args,
                       kolm_cost_result_t *out_result, kolm_error_t *err) {
    (void)host, (void)err;
    return kit_estimate_unpriced(args, backend->tokens_per_second_3b, backend->billing, backend->basis, out_result);
}

/* ---- test */

typedef struct steps {
    const kolm_host_v1_t *host;
    uint32_t done;
    int64_t since;
    char untested[200]; /* the missing setting because of which a step was skipped; "": none */
} steps;

static void step(steps *s, const char *title, uint32_t outcome, const char *note) {
    int64_t now = queue_now();
    const kolm_test_step_t one = {.struct_size = (uint32_t)sizeof one,
                                  .outcome = outcome,
                                  .number = ++s->done,
                                  .total = 4,
                                  .duration_us = (uint64_t)(now - s->since) * 1000,
                                  .title = title,
                                  .note = note};
    s->since = now;
    s->host->test_step(s->host->user, &one);
}

static kit_status step_of(steps *s, const char *title, kit_status status, const char *note, const kolm_error_t *err) {
    step(s, title, status == KOLM_OK ? KOLM_STEP_OK : KOLM_STEP_FAILED, status == KOLM_OK ? note : err->text);
    return status;
}

static kit_status dry_run(steps *s, kit_queue_task *task, kolm_error_t *err) {
    const kit_queue_backend *b = task->backend;
    char note[256] = "";
    bool left = false;
    if (b->queue == NULL || b->queue->upload == NULL) {
        step(s, "dry run", KOLM_STEP_SKIPPED, "uploads nothing before a job, and a job costs money");
        step(s, "nothing left", KOLM_STEP_OK, "nothing was created");
        return KOLM_OK;
    }
    kit_status status = b->begin(task, err);
    if (status == KOLM_E_INVALID_ARGUMENT) {
        kit_format(note, sizeof note, "%.150s; %.90s", err->text, err->remedy);
        kit_copy(s->untested, sizeof s->untested, note);
        step(s, "dry run (upload, price, removal)", KOLM_STEP_SKIPPED, note);
        step(s, "nothing left", KOLM_STEP_OK, "nothing was created");
        *err = (kolm_error_t)KIT_ERROR_INIT;
        return KOLM_OK;
    }
    if (status == KOLM_OK) status = queue_rehearse(task, note, sizeof note, &left, err);
    status = step_of(s, "dry run (upload, price, removal)", status, note, err);
    if (left)
        step(s, "nothing left", KOLM_STEP_FAILED,
             "the uploaded rows may still exist; they are recorded, and will be removed the next time kolm starts");
    else
        step(s, "nothing left", KOLM_STEP_OK, "");
    if (left && status == KOLM_OK)
        status =
            kit_fail(err, KOLM_E_UNAVAILABLE, "run it again", "%s did not remove what was uploaded", b->site->title);
    return status;
}

int32_t kit_queue_test(const kit_queue_backend *backend, const kolm_host_v1_t *host, const kolm_test_args_t *args,
                       kolm_test_result_t *out_result, kolm_error_t *err) {
    kit_queue_task task;
    steps s = {.host = host, .since = queue_now()};
    char note[256] = "";
    if (!args->allow_network)
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, "run it without --airgap", "%s is a service on the network",
                        backend->site->title);
    kit_status status = queue_task_open(backend, host, NULL, &task, err);
    if (status == KOLM_OK) status = backend->check(&task, note, sizeof note, err);
    status = step_of(&s, "auth check", status, note, err);
    note[0] = '\0';
    if (status == KOLM_OK && backend->probe == NULL) {
        step(&s, "model", KOLM_STEP_SKIPPED, "nothing to check");
    } else if (status == KOLM_OK) {
        status = backend->probe(&task, note, sizeof note, err);
        bool unsaid = status == KOLM_E_INVALID_ARGUMENT;
        if (unsaid) {
            kit_format(note, sizeof note, "%.150s; %.90s", err->text, err->remedy);
            kit_copy(s.untested, sizeof s.untested, note);
            step(&s, "model", KOLM_STEP_SKIPPED, note);
            *err = (kolm_error_t)KIT_ERROR_INIT;
            status = KOLM_OK;
        } else {
            status = step_of(&s, "model", status, note, err);
        }
    }
    queue_task_close(&task);
    if (status == KOLM_OK) status = queue_task_open(backend, host, NULL, &task, err); /* like a job does */
    if (status == KOLM_OK) status = dry_run(&s, &task, err);
    queue_task_close(&task);
    out_result->passed = status == KOLM_OK;
    if (status == KOLM_OK && s.untested[0] != '\0')
        kit_format(out_result->summary, sizeof out_result->summary, "%s accepts the token; nothing else was tested: %s",
                   backend->site->name, s.untested);
    else if (status == KOLM_OK)
        kit_format(out_result->summary, sizeof out_result->summary, "%s is ready for kolm %s", backend->site->name,
                   backend->queue != NULL ? "compile" : "run");
    return status;
}

/* ---- status */

typedef struct telling {
    const kit_queue_task *task;
    uint64_t count;
} telling;

static void tell(void *user, const char *kind, const char *name, const char *handle, bool in_use, const char *note) {
    telling *t = user;
    const kolm_host_v1_t *host = t->task->host;
    char text[256];
    kit_format(text, sizeof text, "%.120s%s%.120s", handle, note[0] != '\0' ? ": " : "", note);
    const kolm_holding_t holding = {.struct_size = (uint32_t)sizeof holding,
                                    .state = in_use ? KOLM_HOLDING_IN_USE : KOLM_HOLDING_IDLE,
                                    .bytes = KOLM_UNKNOWN_COUNT,
                                    .age_seconds = KOLM_UNKNOWN_COUNT,
                                    .price_micro_usd_per_hour = strcmp(kind, "job") == 0 && in_use ? UINT64_MAX : 0,
                                    .place = t->task->backend->site->title,
                                    .kind = kind,
                                    .name = name,
                                    .note = text};
    t->count++;
    host->holding(host->user, &holding);
}

int32_t kit_queue_status(const kit_queue_backend *backend, const kolm_host_v1_t *host, const kolm_status_args_t *args,
                         kolm_status_result_t *out_result, kolm_error_t *err) {
    kit_queue_task task;
    telling t = {.task = &task};
    if (!args->allow_network || backend->list == NULL) return KOLM_OK;
    kit_status status = queue_task_open(backend, host, NULL, &task, err);
    if (status == KOLM_E_UNAUTHENTICATED && task.service.token == NULL)
        err->code = status = KOLM_E_NOT_FOUND; /* no token: not set up */
    if (status == KOLM_OK) status = backend->list(&task, tell, &t, err);
    if (status == KOLM_OK)
        kit_format(out_result->summary, sizeof out_result->summary, "%s: %llu of kolm's", backend->site->title,
                   (unsigned long long)t.count);
    queue_task_close(&task);
    return status;
}
