/* SPDX-License-Identifier: Apache-2.0 */
/* Builds and parses the JSON of RunPod's serverless endpoints: each batch of questions is a job in the queue of one. */
#include "serverless.h"

#include "kolm/kit/backend.h"
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef RUNPOD_BATCH_ROWS /* a test uses 1, to send many requests */
#define RUNPOD_BATCH_ROWS 256u
#endif
#define BATCH_BYTES (4u << 20) /* RunPod accepts at most 10 MB */
#define CHUNK 65536u
#define SECONDS 540u         /* `kolm run` waits 600 s for an answer: a minute is left to cancel */
#define CANCEL_MS 3000       /* per attempt */
#define LEAST_SECONDS 10u    /* RunPod's minimum for a ttl */
#define TEST_SECONDS 300u    /* for a worker to start */
#define TTL_MORE_SECONDS 30u /* so that a job that kolm gives up still exists and can be cancelled */

const kit_service_site runpod_serverless_site = {
    .name = "runpod",
    .title = "RunPod",
    .variable = "KOLM_RUNPOD_TOKEN",
    .where = "https://console.runpod.io/user/settings",
    .money = "https://console.runpod.io/user/billing",
    .base = "https://api.runpod.ai/v2",
    .scheme = "Bearer ",
    .setting = "endpoint_api",
};

/* The private part of a task. */
typedef struct endpoint {
    char id[RUNPOD_ENDPOINT_BYTES];
    char model[KIT_SHA256_HEX];
    uint64_t seconds; /* time limit of a job, from its submission */
    const cJSON *questions;
    kit_buf *out;
    cJSON *output; /* of a successful job */
    bool open;     /* a job may be waiting or running */
    bool failed;   /* the status of the job is FAILED */
    bool told;     /* RunPod has accepted a cancel */
    bool unmoved;  /* and the next look showed no effect, which may take a moment */
    bool warned;   /* it was logged that a job is not cancelled yet */
    char place[KIT_RENT_PLACE_BYTES];
    uint32_t records;
} endpoint;

static kit_status malformed(const char *what, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_DATA_LOSS, "try again; if the error persists, update kolm here and on the endpoint",
                    "RunPod sent an unexpected answer: %s", what);
}

/* ---- The digest of the model */

static int by_name(const void *left, const void *right) {
    const kit_job_model_file *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

static kit_status add_file(const kit_job_model_file *file, char *chunk, kit_sha256 *sum, kit_buf *list,
                           kolm_error_t *err) {
    uint8_t bytes[KIT_SHA256_BYTES];
    kit_status status = KOLM_OK;
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", file->path);
    for (uint64_t done = 0; done < file->size && status == KOLM_OK;) {
        size_t want = file->size - done < CHUNK ? (size_t)(file->size - done) : CHUNK;
        ssize_t got = pread(fd, chunk, want, (off_t)(file->offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = kit_fail_errno(err, errno, "cannot read %s", file->path);
        if (got == 0)
            status = kit_fail(err, KOLM_E_DATA_LOSS, "", "%s ends in the middle of %s", file->path, file->name);
        if (got > 0) status = kit_sha256_update(sum, chunk, (size_t)got, err);
        done += got > 0 ? (uint64_t)got : 0;
    }
    close(fd);
    if (status == KOLM_OK) status = kit_sha256_final(sum, bytes, err);
    for (size_t i = 0; status == KOLM_OK && i < sizeof bytes; i++)
        kit_buf_fmt(list, "%02x", bytes[i]);
    kit_buf_fmt(list, "  %s\n", file->name);
    return status;
}

static kit_status digest_model(const kit_job *job, char out[KIT_SHA256_HEX], kolm_error_t *err) {
    const kit_job_model_file **files = calloc(job->model_file_count + 1, sizeof *files);
    char *chunk = malloc(CHUNK);
    kit_buf list = {0};
    kit_sha256 *sum = NULL;
    kit_status status = files != NULL && chunk != NULL ? kit_sha256_new(&sum, err) : kit_no_memory(err);
    for (size_t i = 0; files != NULL && i < job->model_file_count; i++)
        files[i] = &job->model_files[i];
    if (status == KOLM_OK) qsort(files, job->model_file_count, sizeof *files, by_name);
    for (size_t i = 0; i < job->model_file_count && status == KOLM_OK; i++)
        status = add_file(files[i], chunk, sum, &list, err);
    if (status == KOLM_OK) status = kit_buf_ok(&list, err);
    if (status == KOLM_OK) status = kit_sha256_bytes(kit_buf_text(&list), list.length, out, err);
    kit_sha256_free(sum);
    kit_buf_free(&list);
    free(chunk);
    free(files);
    return status;
}

/* ---- Settings */

/* out: "" if none is set. *out_good is false if it is set, but is not an id. */
static void read_id(const kolm_host_v1_t *host, char *out, size_t capacity, bool *out_good) {
    *out_good = kit_setting(host, "endpoint", "", out, capacity) && (out[0] == '\0' || kit_service_is_id(out));
}

static kit_status bad_id(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write the id that RunPod's console shows for the endpoint",
                    "backends.runpod.endpoint in config.json is not a valid endpoint id");
}

/* There is no estimate, so a budget cannot be enforced, as with every queue. */
static kit_status refuse_budget(const kolm_host_v1_t *host, kolm_error_t *err) {
    static const char *const keys[] = {"budget_usd", "job.budget_micro_usd"};
    char text[32];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!kit_setting(host, keys[i], "", text, sizeof text) || (text[0] != '\0' && strcmp(text, "0") != 0))
            return kit_fail(
                err, KOLM_E_FAILED_PRECONDITION,
                "leave out the budget, or remove backends.runpod.endpoint from config.json to answer on a rented pod",
                "there is a budget, and RunPod cannot say what an endpoint will cost");
    return KOLM_OK;
}

/* A job that may run for more than a few minutes is recorded, with everything needed to end it. */
static kit_status record_long(kit_queue_task *task, kolm_error_t *err) {
    endpoint *e = task->own;
    char text[KIT_RENT_PLACE_BYTES], which[KIT_SECRET_MARK_BYTES];
    if (e->seconds <= SECONDS) return KOLM_OK;
    kit_format(text, sizeof text, "RunPod, ttl %llu s, endpoint %s",
               (unsigned long long)(e->seconds + TTL_MORE_SECONDS), e->id);
    if (kit_secret_mark(task->service.token, which) != KOLM_OK) return kit_no_memory(err);
    kit_rent_place(text, which, e->place);
    task->place = e->place;
    return KOLM_OK;
}

static kit_status open_endpoint(kit_queue_task *task, kolm_error_t *err) {
    endpoint *e = task->own;
    char text[32];
    bool good = false;
    KIT_TRY(refuse_budget(task->host, err));
    read_id(task->host, e->id, sizeof e->id, &good);
    if (!good || e->id[0] == '\0') return bad_id(err);
    e->seconds = SECONDS;
    KIT_TRY(kit_queue_setting(task, "endpoint_seconds", text, sizeof text, err));
    if (text[0] != '\0' && (!kit_parse_u64(text, &e->seconds) || e->seconds < LEAST_SECONDS || e->seconds > 86400))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write a whole number from 10 to 86400",
                        "endpoint_seconds of backends.runpod in config.json cannot be used");
    int64_t left = task->host->time_left_ms(task->host->user);
    if (left != INT64_MAX && left / 1000 < (int64_t)e->seconds)
        e->seconds = left / 1000 > (int64_t)LEAST_SECONDS ? (uint64_t)left / 1000 : LEAST_SECONDS;
    kit_format(task->model.model, sizeof task->model.model, "endpoint %s", e->id);
    KIT_TRY(record_long(task, err));
    return digest_model(task->job, e->model, err);
}

static void close_endpoint(kit_queue_task *task) {
    cJSON_Delete(((endpoint *)task->own)->output);
}

/* ---- A job */

/* The questions, with numbers as ids, because the user's ids may not be unique. */
static cJSON *rows_of(const endpoint *e) {
    cJSON *rows = cJSON_CreateArray();
    const cJSON *question = NULL;
    unsigned number = 0;
    cJSON_ArrayForEach(question, e->questions) {
        char text[16];
        kit_format(text, sizeof text, "%u", number++);
        cJSON *row = cJSON_Duplicate(question, true), *id = cJSON_CreateString(text);
        if (id == NULL || !cJSON_ReplaceItemInObjectCaseSensitive(row, "id", id) || !cJSON_AddItemToArray(rows, row)) {
            cJSON_Delete(row);
            cJSON_Delete(rows);
            return NULL;
        }
    }
    return rows;
}

static cJSON *run_body(const endpoint *e) {
    cJSON *body = cJSON_CreateObject(), *input = cJSON_CreateObject(), *policy = cJSON_CreateObject();
    bool good = kit_json_put_u64(input, "format", 1) && kit_json_put_string(input, "model", e->model) &&
                kit_json_put(input, "rows", rows_of(e));
    good = kit_json_put_u64(policy, "executionTimeout", e->seconds * 1000) &&
           kit_json_put_u64(policy, "ttl", (e->seconds + TTL_MORE_SECONDS) * 1000) && good;
    good = kit_json_put(body, "input", input) && good;
    good = kit_json_put(body, "policy", policy) && good;
    if (good) return body;
    cJSON_Delete(body);
    return NULL;
}

static kit_status submit(void *state, const char *name, char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist,
                         kolm_error_t *err) {
    kit_queue_task *task = state;
    endpoint *e = task->own;
    char path[160];
    kit_service_reply reply = {0};
    cJSON *body = run_body(e);
    (void)name;
    *out_may_exist = false;
    if (body == NULL) return kit_no_memory(err);
    kit_format(path, sizeof path, "/%s/run", e->id);
    const kit_service_call call = {.path = path, .body = body, .repeat = KIT_HTTP_CREATE};
    kit_status status = kit_service_create(&task->service, &call, "id", out_handle, out_may_exist, &reply, err);
    e->open = *out_may_exist;
    if (status == KOLM_E_NOT_FOUND && runpod_serverless_has_none(&reply))
        status = kit_fail(err, status, "correct backends.runpod.endpoint in config.json, or remove it",
                          "RunPod has no serverless endpoint %s that this token may use (404)", e->id);
    kit_service_reply_free(&reply);
    cJSON_Delete(body);
    return status;
}

/* The worker's error message; an exception is JSON inside a string. */
static void read_error(const cJSON *json, char *out, size_t capacity) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    const char *text = "", *inner = NULL;
    cJSON *value = NULL;
    (void)kit_json_get_string(json, "error", &text);
    if (text[0] == '{' && kit_json_parse(text, strlen(text), &value, &ignored) == KOLM_OK &&
        kit_json_get_string(value, "error_message", &inner))
        text = inner;
    kit_copy(out, capacity, text);
    cJSON_Delete(value);
}

bool runpod_serverless_has_none(const kit_service_reply *reply) {
    const char *text = "";
    double status = 0;
    if (reply->http.status != 404) return false;
    if (kit_json_get_string(reply->json, "error", &text) && text[0] != '\0') return true;
    return kit_json_get_string(reply->json, "title", &text) && kit_json_get_string(reply->json, "detail", &text) &&
           kit_json_get_number(reply->json, "status", &status) && status == 404;
}

kit_queue_life runpod_serverless_life(const char *word) {
    static const struct {
        const char *word;
        kit_queue_life life;
    } words[] = {{"IN_QUEUE", KIT_QUEUE_WAITING},   {"IN_PROGRESS", KIT_QUEUE_WORKING},
                 {"RUNNING", KIT_QUEUE_WORKING},    {"COMPLETED", KIT_QUEUE_SUCCEEDED},
                 {"FAILED", KIT_QUEUE_FAILED},      {"TIMED_OUT", KIT_QUEUE_FAILED},
                 {"CANCELLED", KIT_QUEUE_CANCELLED}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(word, words[i].word) == 0) return words[i].life;
    return KIT_QUEUE_UNKNOWN;
}

/* Warns immediately, because a call that the user stopped must end within ten seconds, and its own error message is not
 * shown. */
static void warn_of_cancel(kit_queue_task *task, const char *handle) {
    endpoint *e = task->own;
    kit_buf line = {0};
    if (e->warned || task->host->cancelled(task->host->user) == 0) return;
    e->warned = true;
    kit_buf_fmt(&line,
                "the job %s is not cancelled yet; RunPod will end it at the latest %llu s after submission (its ttl)%s",
                handle, (unsigned long long)(e->seconds + TTL_MORE_SECONDS),
                task->place != NULL ? ", and the next command of kolm cancels it" : "");
    task->host->log(task->host->user, KOLM_LOG_WARNING, kit_buf_text(&line));
    kit_buf_free(&line);
}

static kit_status look(void *state, const char *handle, kit_queue_look *out, kolm_error_t *err) {
    kit_queue_task *task = state;
    endpoint *e = task->own;
    char path[KIT_RENT_HANDLE_BYTES + 160], id[KIT_RENT_HANDLE_BYTES] = "";
    kit_service_reply reply = {0};
    kit_format(path, sizeof path, "/%s/status/%s", e->id, handle);
    kit_status status = kit_service_ask(&task->service, &(kit_service_call){.path = path}, &reply, err);
    if (status == KOLM_OK && kit_service_text(reply.json, "id", id, sizeof id) && strcmp(id, handle) != 0)
        status = malformed("a job other than the requested one", err);
    if (status == KOLM_OK && !kit_service_text(reply.json, "status", out->word, sizeof out->word))
        status = malformed("a job without a status", err);
    if (status == KOLM_OK) {
        out->life = runpod_serverless_life(out->word);
        read_error(reply.json, out->why, sizeof out->why);
        e->open = out->life < KIT_QUEUE_SUCCEEDED;
        e->failed = strcmp(out->word, "FAILED") == 0;
        if (e->open && e->told && e->unmoved) warn_of_cancel(task, handle);
        e->unmoved = e->open && e->told;
        if (out->life == KIT_QUEUE_UNKNOWN) kit_queue_say(task, "the job %s is \"%s\"", handle, out->word);
    }
    if (status == KOLM_OK && out->life == KIT_QUEUE_SUCCEEDED) {
        cJSON_Delete(e->output);
        e->output = cJSON_DetachItemFromObjectCaseSensitive(reply.json, "output");
    }
    if (status == KOLM_E_NOT_FOUND && !runpod_serverless_has_none(&reply)) err->code = status = KOLM_E_UNAVAILABLE;
    if (status == KOLM_E_NOT_FOUND) e->open = false;
    kit_service_reply_free(&reply);
    return status;
}

static kit_status cancel(void *state, const char *handle, kolm_error_t *err) {
    kit_queue_task *task = state;
    char path[KIT_RENT_HANDLE_BYTES + 160];
    kit_service_reply reply = {0};
    kit_format(path, sizeof path, "/%s/cancel/%s", ((endpoint *)task->own)->id, handle);
    const kit_service_call call = {.method = "POST", .path = path, .repeat = KIT_HTTP_CHANGE, .deadline_ms = CANCEL_MS};
    kit_status status = kit_service_ask(&task->service, &call, &reply, err);
    if (status != KOLM_OK) warn_of_cancel(task, handle);
    ((endpoint *)task->own)->told = status == KOLM_OK;
    kit_service_reply_free(&reply);
    return status;
}

/* ---- The answers of a job */

#define OTHER_WORKER "deploy the kolm_worker.py of this version of kolm to the endpoint"

static kit_status wrong_answers(const endpoint *e, const char *what, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_DATA_LOSS, OTHER_WORKER, "the endpoint %s succeeded but sent no usable answers: %s",
                    e->id, what);
}

static kit_status check_model(const endpoint *e, kolm_error_t *err) {
    const char *model = "";
    if (!kit_json_get_string(e->output, "model", &model))
        return wrong_answers(e, "there is no model in its output", err);
    if (strcmp(model, e->model) == 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                    "put this model into the image of the endpoint, or remove backends.runpod.endpoint from "
                    "config.json to answer on a rented pod",
                    "the endpoint %s answers with the model %.64s, and the request is for %s", e->id, model, e->model);
}

/* Stores each answer in sorted at the index that is its id. */
static kit_status sort_answers(const endpoint *e, const cJSON *answers, size_t count, const cJSON **sorted,
                               kolm_error_t *err) {
    const cJSON *answer = NULL;
    cJSON_ArrayForEach(answer, answers) {
        const char *id = "";
        uint64_t number = 0;
        if (!kit_json_get_string(answer, "id", &id) || !kit_parse_u64(id, &number) || number >= count)
            return wrong_answers(e, "one belongs to no question", err);
        if (sorted[number] != NULL) return wrong_answers(e, "a question has two", err);
        sorted[number] = answer;
    }
    for (size_t i = 0; i < count; i++)
        if (sorted[i] == NULL) return wrong_answers(e, "a question has none", err);
    return KOLM_OK;
}

static void put_text(kit_buf *out, const char *text) {
    kit_json_string(out, text, strlen(text));
}

static kit_status add_answer(const endpoint *e, const cJSON *question, const cJSON *answer, kolm_error_t *err) {
    const char *id = "", *output = NULL, *best = NULL;
    double confidence = -1;
    (void)kit_json_get_string(question, "id", &id);
    if (!kit_json_get_string(answer, "output", &output) && !cJSON_IsNull(kit_json_get(answer, "output")))
        return wrong_answers(e, "one has neither a text nor null as its output", err);
    if (!kit_json_get_number(answer, "confidence", &confidence) || !(confidence >= 0 && confidence <= 1))
        return wrong_answers(e, "one has no confidence from 0 to 1", err);
    kit_buf_str(e->out, "{\"id\":");
    put_text(e->out, id);
    kit_buf_str(e->out, ",\"output\":");
    if (output != NULL)
        put_text(e->out, output);
    else
        kit_buf_str(e->out, "null");
    kit_buf_fmt(e->out, ",\"confidence\":%.6f", confidence);
    if (output == NULL && kit_json_get_string(answer, "best", &best)) {
        kit_buf_str(e->out, ",\"best\":");
        put_text(e->out, best);
    }
    kit_buf_str(e->out, "}\n");
    return KOLM_OK;
}

static kit_status fetch(void *state, const char *handle, bool *out_done, kolm_error_t *err) {
    const endpoint *e = ((kit_queue_task *)state)->own;
    const cJSON *answers = kit_json_get(e->output, "answers"), *question = NULL;
    size_t count = (size_t)cJSON_GetArraySize(e->questions), i = 0;
    (void)handle;
    KIT_TRY(check_model(e, err));
    if (!cJSON_IsArray(answers)) return wrong_answers(e, "there is no list of them", err);
    const cJSON **sorted = calloc(count + 1, sizeof *sorted);
    if (sorted == NULL) return kit_no_memory(err);
    kit_status status = sort_answers(e, answers, count, sorted, err);
    cJSON_ArrayForEach(question, e->questions) {
        if (status == KOLM_OK) status = add_answer(e, question, sorted[i++], err);
    }
    free(sorted);
    *out_done = status == KOLM_OK;
    return status;
}

static const kit_queue_provider queue = {
    .name = "RunPod", .settle_ms = 5000, .submit = submit, .look = look, .cancel = cancel, .fetch = fetch};

/* A job that could not be cancelled, or has no known id, ends when its ttl expires. */
static kit_status say_when_it_ends(const endpoint *e, kolm_error_t *err) {
    char text[sizeof err->text], remedy[sizeof err->remedy];
    kit_copy(text, sizeof text, err->text);
    kit_copy(remedy, sizeof remedy, err->remedy);
    return kit_fail(err, err->code, remedy,
                    "%s; if it exists, RunPod will end it at the latest %llu s after submission (its ttl)", text,
                    (unsigned long long)(e->seconds + TTL_MORE_SECONDS));
}

static kit_status answer(kit_queue_task *task, const cJSON *questions, kit_buf *out, kolm_error_t *err) {
    endpoint *e = task->own;
    if (task->place != NULL && ++e->records > KOLM_LEASES_MAX) {
        task->place = NULL;
        e->seconds = SECONDS; /* the host records no more names in this call, and an unrecorded job must end soon */
    }
    e->questions = questions;
    e->out = out;
    e->open = e->told = e->unmoved = false;
    kit_status status = kit_queue_ask(task, &queue, e->seconds * 1000, err);
    cJSON_Delete(e->output);
    e->output = NULL;
    return status != KOLM_OK && e->open ? say_when_it_ends(e, err) : status;
}

static const kit_queue_backend backend = {
    .site = &runpod_serverless_site,
    .own_bytes = sizeof(endpoint),
    .open = open_endpoint,
    .answers = answer,
    .batch_rows = RUNPOD_BATCH_ROWS,
    .batch_bytes = BATCH_BYTES,
    .close = close_endpoint,
};

/* ---- For the slots */

bool runpod_serverless_answers(const kolm_host_v1_t *host, const char *job_dir) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    char id[RUNPOD_ENDPOINT_BYTES], *result = NULL;
    if (kit_setting(host, "endpoint", "", id, sizeof id) && id[0] == '\0') return false;
    bool fresh = kit_path_join(job_dir, "result.json", &result, &ignored) == KOLM_OK && access(result, F_OK) == 0;
    free(result);
    if (fresh)
        host->log(host->user, KOLM_LOG_INFO, "the endpoint does not have the model that was just made: a pod answers");
    return !fresh;
}

int32_t runpod_serverless_infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args,
                                kolm_infer_result_t *out_result, kolm_error_t *err) {
    return kit_queue_infer(&backend, host, args, out_result, err);
}

/* ---- test: asks a worker which model it has */

static kit_status fetch_model(void *state, const char *handle, bool *out_done, kolm_error_t *err) {
    endpoint *e = ((kit_queue_task *)state)->own;
    (void)handle;
    if (!kit_service_text(e->output, "model", e->model, sizeof e->model))
        return kit_fail(err, KOLM_E_DATA_LOSS, OTHER_WORKER, "the endpoint %s did not report which model it has",
                        e->id);
    *out_done = true;
    return KOLM_OK;
}

static const kit_queue_provider asking = {
    .name = "RunPod", .settle_ms = 5000, .submit = submit, .look = look, .cancel = cancel, .fetch = fetch_model};

bool runpod_serverless_is_set(const kolm_host_v1_t *host) {
    char id[RUNPOD_ENDPOINT_BYTES];
    return !kit_setting(host, "endpoint", "", id, sizeof id) || id[0] != '\0';
}

static kit_status ask_which_model(kit_queue_task *task, kolm_error_t *err) {
    const endpoint *e = task->own;
    char text[sizeof err->text];
    kit_status status = kit_queue_ask(task, &asking, e->seconds * 1000, err);
    if (status == KOLM_OK) return status;
    if (e->open) return say_when_it_ends(e, err);
    if (!e->failed) return status;
    /* an older worker does not know requests without rows, and treats this one as meant for another model */
    kit_copy(text, sizeof text, err->text);
    return kit_fail(err, err->code, OTHER_WORKER, "%s", text);
}

/* Refused under a budget, like all answers from the endpoint, because its worker is billed, too. */
kit_status runpod_serverless_test(const kolm_host_v1_t *host, char *out_note, size_t capacity, kolm_error_t *err) {
    endpoint e = {.seconds = TEST_SECONDS};
    kit_queue_task task = {.backend = &backend, .host = host, .rows_fd = -1, .own = &e};
    bool good = false;
    read_id(host, e.id, sizeof e.id, &good);
    if (!good) return bad_id(err);
    KIT_TRY(refuse_budget(host, err));
    cJSON *nothing = cJSON_CreateArray();
    if (nothing == NULL) return kit_no_memory(err);
    e.questions = nothing;
    kit_status status = kit_service_open(&runpod_serverless_site, host, &task.service, err);
    if (status == KOLM_OK) status = ask_which_model(&task, err);
    if (status == KOLM_OK) kit_format(out_note, capacity, "a worker of %s has the model %.16s...", e.id, e.model);
    cJSON_Delete(e.output);
    cJSON_Delete(nothing);
    kit_service_close(&task.service);
    return status;
}

static kit_status ask_health(const kolm_host_v1_t *host, const char *id, char *out, size_t capacity,
                             kolm_error_t *err) {
    kit_service service;
    kit_service_reply reply = {0};
    char path[160];
    uint64_t idle = 0, running = 0;
    kit_format(path, sizeof path, "/%s/health", id);
    kit_status status = kit_service_open(&runpod_serverless_site, host, &service, err);
    if (status == KOLM_OK)
        status = kit_service_ask(&service, &(kit_service_call){.path = path, .deadline_ms = 10000}, &reply, err);
    const cJSON *workers = kit_json_get(reply.json, "workers");
    (void)kit_json_get_u64(workers, "idle", &idle);
    (void)kit_json_get_u64(workers, "running", &running);
    kit_format(out, capacity, ", %llu workers are up", (unsigned long long)(idle + running));
    kit_service_reply_free(&reply);
    kit_service_close(&service);
    return status;
}

void runpod_serverless_detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args,
                              kolm_detect_result_t *result) {
    kolm_error_t err = KIT_ERROR_INIT;
    char id[RUNPOD_ENDPOINT_BYTES], before[sizeof result->reason], more[160] = "";
    bool good = false;
    read_id(host, id, sizeof id, &good);
    if (good && id[0] == '\0') return;
    kit_status status =
        good ? KOLM_OK : kit_fail(&err, KOLM_E_INVALID_ARGUMENT, "", "the setting endpoint is not an id");
    if (status == KOLM_OK && args->allow_network == 1) status = ask_health(host, id, more, sizeof more, &err);
    if (status != KOLM_OK) kit_format(more, sizeof more, " cannot be used: %.140s", err.text);
    kit_copy(before, sizeof before, result->reason);
    kit_format(result->reason, sizeof result->reason, "%.90s; answers by endpoint %.30s, billed by the second%s%s",
               before, good ? id : "?", status != KOLM_OK ? ", which" : "", more);
}
