/* SPDX-License-Identifier: Apache-2.0 */
/* Builds and parses the JSON of Together AI: files, fine-tunes, chat. As used by its Python client 3.1.1. */
#include "api.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Prefix of the id of a file that existed already, because the account had uploaded the same bytes: it is not ours. */
#define KEPT "kept:"
#define ADAPTER "adapter.tar.zst"

static together_job *own(kit_queue_task *task) {
    return task->own;
}

static kit_status malformed(const char *what, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_DATA_LOSS, "try again; if the error persists, update kolm",
                    "Together AI sent an unexpected answer: %s", what);
}

static bool is_text(const cJSON *object, const char *key, const char *wanted) {
    const char *text = NULL;
    return kit_json_get_string(object, key, &text) && strcmp(text, wanted) == 0;
}

/* ---- The request */

kit_status together_begin(kit_queue_task *task, kolm_error_t *err) {
    together_job *t = own(task);
    char system[4096];
    char model[KIT_QUEUE_TEXT];
    KIT_TRY(kit_queue_setting(task, "model", model, sizeof model, err));
    KIT_TRY(kit_queue_option(task, "model", model, task->model.base, sizeof task->model.base, err));
    if (!kit_service_is_path(task->model.base))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                        "name one of https://docs.together.ai/docs/fine-tuning/supported-models with --set "
                        "model=OWNER/NAME, or with the setting backends.together.model",
                        "'%s' does not name a model of Together AI", task->model.base);
    KIT_TRY(kit_queue_size(task, task->model.base, err));
    KIT_TRY(kit_queue_count(task, "rank", 16, &t->rank, err));
    KIT_TRY(kit_queue_count(task, "alpha", t->rank * 2, &t->alpha, err));
    KIT_TRY(kit_queue_micro(task, "dropout", 0, &t->dropout_micro, err));
    KIT_TRY(kit_queue_count(task, "epochs", 3, &t->epochs, err));
    KIT_TRY(kit_queue_count(task, "batch", 0, &t->batch, err));
    KIT_TRY(kit_queue_count(task, "max_length", 0, &t->max_length, err));
    KIT_TRY(kit_queue_micro(task, "learning_rate", 10, &t->learning_rate_micro, err));
    KIT_TRY(kit_queue_option(task, "system", "", system, sizeof system, err));
    KIT_TRY(kit_strdup(system[0] != '\0' ? system : NULL, &task->model.system, err));
    bool good = kit_json_put_string(task->report, "method", "lora") &&
                kit_json_put_u64(task->report, "rank", t->rank) && kit_json_put_u64(task->report, "alpha", t->alpha) &&
                kit_json_put_u64(task->report, "dropout_micro", t->dropout_micro) &&
                kit_json_put_u64(task->report, "epochs", t->epochs) &&
                kit_json_put_u64(task->report, "learning_rate_micro", t->learning_rate_micro);
    return good ? KOLM_OK : kit_no_memory(err);
}

kit_status together_row(kit_queue_task *task, const cJSON *row, kit_buf *out, kolm_error_t *err) {
    cJSON *line = cJSON_CreateObject(), *messages = NULL;
    kit_status status = kit_queue_messages(row, task->model.system, true, &messages, err);
    if (status == KOLM_OK && !kit_json_put(line, "messages", messages)) status = kit_no_memory(err);
    if (status == KOLM_OK) status = kit_json_line(line, out, err);
    while (out->length > 0 && out->data[out->length - 1] == '\n')
        out->data[--out->length] = '\0';
    cJSON_Delete(line);
    return status;
}

static bool put_training(cJSON *body, const together_job *t) {
    cJSON *type = cJSON_AddObjectToObject(body, "training_type"), *method = NULL;
    method = cJSON_AddObjectToObject(body, "training_method");
    return kit_json_put_string(type, "type", "Lora") && kit_json_put_u64(type, "lora_r", t->rank) &&
           kit_json_put_u64(type, "lora_alpha", t->alpha) &&
           kit_json_put(type, "lora_dropout", kit_json_micro(t->dropout_micro)) &&
           kit_json_put_string(type, "lora_trainable_modules", "all-linear") &&
           kit_json_put_string(method, "method", "sft") && kit_json_put_string(method, "train_on_inputs", "auto");
}

/* The fields that an estimate and a job have in common. */
static cJSON *job_body(kit_queue_task *task, const char *file) {
    const together_job *t = own(task);
    cJSON *body = cJSON_CreateObject();
    if (kit_json_put_string(body, "training_file", file) && kit_json_put_string(body, "validation_file", "") &&
        kit_json_put_string(body, "model", task->model.base) && kit_json_put_u64(body, "n_epochs", t->epochs) &&
        kit_json_put_u64(body, "n_evals", 0) && put_training(body, t))
        return body;
    cJSON_Delete(body);
    return NULL;
}

/* ---- Files */

static const char *file_id(const char *files) {
    return strncmp(files, KEPT, strlen(KEPT)) == 0 ? files + strlen(KEPT) : files;
}

/* Asks for the address to which the rows must be uploaded. */
static kit_status ask_for_upload(kit_queue_task *task, const char *name, char *files, bool *out_may_exist,
                                 kolm_error_t *err) {
    char file_name[80], *location = own(task)->upload_url;
    const char *texts[][2] = {
        {"purpose", "fine-tune"}, {"file_name", file_name}, {"file_type", "jsonl"}, {"checksum", task->rows_sha256}};
    kit_http_part parts[4] = {{0}};
    kit_service_reply reply = {0};
    kit_format(file_name, sizeof file_name, "%s.jsonl", name);
    for (size_t i = 0; i < 4; i++)
        parts[i] = (kit_http_part){.name = texts[i][0], .bytes = texts[i][1], .length = strlen(texts[i][1])};
    const kit_service_call call = {.path = "/v1/files", .repeat = KIT_HTTP_CREATE, .parts = parts, .part_count = 4};
    kit_status status = kit_service_ask(&task->service, &call, &reply, err);
    *out_may_exist = reply.may_exist || (reply.http.status >= 200 && reply.http.status < 400);
    const char *to = kit_http_header_of(&reply.http, "Location");
    const char *id = kit_http_header_of(&reply.http, "X-Together-File-Id");
    char there[KIT_RENT_HANDLE_BYTES];
    if (reply.http.status == 302 && to != NULL && id != NULL && kit_service_is_id(id) &&
        kit_copy(location, sizeof own(task)->upload_url, to)) {
        kit_copy(files, KIT_RENT_HANDLE_BYTES, id);
        status = KOLM_OK;
    } else if (reply.http.status == 409 && kit_service_text(reply.json, "file_id", there, sizeof there) &&
               kit_service_is_id(there)) {
        kit_queue_say(task, "the same rows are there already, as %s: they are used, and not removed", there);
        kit_format(files, KIT_RENT_HANDLE_BYTES, KEPT "%s", there);
        own(task)->checking = true;
        status = KOLM_OK;
    } else if (status == KOLM_OK || reply.http.status == 302) {
        status = malformed("it gave no address for the upload", err);
    }
    kit_service_reply_free(&reply);
    return status;
}

static kit_status send_rows(kit_queue_task *task, kolm_error_t *err) {
    kit_service_reply reply = {0};
    const kit_service_call call = {.method = "PUT",
                                   .path = own(task)->upload_url,
                                   .presigned = true,
                                   .repeat = KIT_HTTP_CHANGE,
                                   .has_body_file = true,
                                   .body_file = task->rows_fd,
                                   .body_size = task->row_bytes};
    kit_status status = kit_service_ask(&task->service, &call, &reply, err);
    /* the body of a storage service's answer is irrelevant */
    if (reply.http.status == 200 && reply.http.fate == KIT_HTTP_ANSWERED) status = KOLM_OK;
    if (status == KOLM_OK) own(task)->upload_url[0] = '\0';
    kit_service_reply_free(&reply);
    return status;
}

static kit_status ask_for_check(kit_queue_task *task, const char *files, kolm_error_t *err) {
    char path[KIT_RENT_HANDLE_BYTES + 64];
    kit_service_reply reply = {0};
    kit_format(path, sizeof path, "/v1/files/%s/preprocess", file_id(files));
    const kit_service_call call = {.method = "POST", .path = path, .repeat = KIT_HTTP_CHANGE};
    kit_status status = kit_service_ask(&task->service, &call, &reply, err);
    own(task)->checking = status == KOLM_OK;
    kit_service_reply_free(&reply);
    return status;
}

static kit_status look_at_rows(kit_queue_task *task, const char *files, bool *out_done, kolm_error_t *err) {
    char path[KIT_RENT_HANDLE_BYTES + 64], word[32] = "", why[384] = "";
    kit_service_reply reply = {0};
    bool processed = false;
    kit_format(path, sizeof path, "/v1/files/%s", file_id(files));
    kit_status status = kit_service_ask(&task->service, &(kit_service_call){.path = path}, &reply, err);
    if (status == KOLM_OK) {
        (void)kit_service_text(reply.json, "processing_status", word, sizeof word);
        (void)kit_json_get_bool(reply.json, "Processed", &processed); /* in older answers */
        *out_done = strcmp(word, "COMPLETED") == 0 || (word[0] == '\0' && processed);
        if (strcmp(word, "FAILED") == 0 || strcmp(word, "INVALID_FORMAT") == 0) {
            (void)kit_service_text(kit_json_get(reply.json, "validation_report"), "error", why, sizeof why);
            status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "change the rows, and run it again",
                              "Together AI refuses the rows (%s)%s%.300s", word, why[0] != '\0' ? ": " : "", why);
        }
    }
    kit_service_reply_free(&reply);
    return status;
}

static kit_status upload(void *state, const char *name, char files[KIT_RENT_HANDLE_BYTES], bool *out_done,
                         bool *out_may_exist, kolm_error_t *err) {
    kit_queue_task *task = state;
    if (files[0] == '\0') return ask_for_upload(task, name, files, out_may_exist, err);
    if (own(task)->upload_url[0] != '\0') return send_rows(task, err);
    if (!own(task)->checking) return ask_for_check(task, files, err);
    kit_status status = look_at_rows(task, files, out_done, err);
    if (status == KOLM_OK && *out_done) kit_copy(task->model.version, sizeof task->model.version, file_id(files));
    return status;
}

/* Deletes one; *out_gone if the provider reports that it no longer exists. */
static kit_status delete_file(kit_queue_task *task, const char *id, bool *out_gone, kolm_error_t *err) {
    char path[KIT_RENT_HANDLE_BYTES + 64];
    bool deleted = false;
    kit_service_reply reply = {0};
    kit_format(path, sizeof path, "/v1/files/%s", id);
    const kit_service_call call = {.method = "DELETE", .path = path, .repeat = KIT_HTTP_CHANGE};
    kit_status status = kit_service_ask(&task->service, &call, &reply, err);
    if (status == KOLM_OK) *out_gone = kit_json_get_bool(reply.json, "deleted", &deleted) && deleted;
    task->had_files = task->had_files || *out_gone;
    if (reply.http.status == 404 && cJSON_IsObject(kit_json_get(reply.json, "error"))) {
        *out_gone = true;
        status = KOLM_OK;
    }
    kit_service_reply_free(&reply);
    return status;
}

static kit_status take_away(void *state, const char *name, const char *files, bool *out_done, kolm_error_t *err) {
    kit_queue_task *task = state;
    char file_name[80];
    const cJSON *item = NULL;
    kit_service_reply reply = {0};
    if (strncmp(files, KEPT, strlen(KEPT)) == 0) {
        *out_done = task->had_files = true; /* the file is not ours, whichever account this is */
        return KOLM_OK;
    }
    if (files[0] != '\0') return delete_file(task, files, out_done, err);
    kit_format(file_name, sizeof file_name, "%s.jsonl", name);
    kit_status status = kit_service_ask(&task->service, &(kit_service_call){.path = "/v1/files"}, &reply, err);
    const cJSON *list = kit_json_get(reply.json, "data");
    if (status == KOLM_OK && !cJSON_IsArray(list)) status = malformed("a list of files without files", err);
    *out_done = status == KOLM_OK;
    cJSON_ArrayForEach(item, list) {
        const char *id = "";
        bool gone = false;
        if (status != KOLM_OK || !is_text(item, "filename", file_name)) continue;
        if (!kit_json_get_string(item, "id", &id) || !kit_service_is_id(id))
            status = malformed("a file without id", err);
        if (status == KOLM_OK) status = delete_file(task, id, &gone, err);
        *out_done = false; /* done only once it is no longer listed */
    }
    kit_service_reply_free(&reply);
    return status;
}

/* ---- Price and job */

static void read_price(const cJSON *json, kit_queue_price *out) {
    double dollars = -1;
    bool available = false, allowed = true;
    (void)kit_json_get_bool(json, "estimation_available", &available);
    if (kit_json_get_bool(json, "allowed_to_proceed", &allowed) && !allowed) {
        double limit = -1;
        out->refused = true;
        if (kit_json_get_number(json, "user_limit", &limit) && limit >= 0)
            kit_format(out->why, sizeof out->why, "its estimate is above the limit of the account, %.2f USD", limit);
    }
    out->known =
        available && kit_json_get_number(json, "estimated_total_price", &dollars) && dollars >= 0 && dollars < 1e9;
    if (out->known) {
        out->micro_usd = (uint64_t)ceil(dollars * 1e6);
        return;
    }
    char why[sizeof out->why];
    if (!kit_service_text(json, "unavailable_reason", why, sizeof why)) return;
    kit_copy(out->why, sizeof out->why, why);
    out->refused = out->refused || strcmp(why, "train_file_invalid") == 0 || strcmp(why, "eval_file_invalid") == 0;
}

static kit_status price(void *state, kit_queue_price *out, kolm_error_t *err) {
    kit_queue_task *task = state;
    kit_service_reply reply = {0};
    cJSON *body = job_body(task, task->model.version);
    if (body == NULL) return kit_no_memory(err);
    const kit_service_call call = {.path = "/v1/fine-tunes/estimate-price", .body = body}; /* it changes nothing */
    kit_status status = kit_service_ask(&task->service, &call, &reply, err);
    bool said = false;
    if (status == KOLM_OK && !kit_json_get_bool(reply.json, "estimation_available", &said))
        status = malformed("an estimate that does not say whether it is available", err);
    if (status == KOLM_OK) read_price(reply.json, out);
    kit_service_reply_free(&reply);
    cJSON_Delete(body);
    return status;
}

static bool put_rest(cJSON *body, const together_job *t, const char *suffix, uint64_t seed) {
    cJSON *scheduler = cJSON_AddObjectToObject(body, "lr_scheduler");
    cJSON *args = cJSON_AddObjectToObject(scheduler, "lr_scheduler_args");
    return kit_json_put_string(body, "suffix", suffix) &&
           kit_json_put(body, "learning_rate", kit_json_micro(t->learning_rate_micro)) &&
           kit_json_put_string(scheduler, "lr_scheduler_type", "cosine") &&
           kit_json_put(args, "min_lr_ratio", cJSON_CreateRaw("0.0")) &&
           kit_json_put(args, "num_cycles", cJSON_CreateRaw("0.5")) &&
           kit_json_put(body, "warmup_ratio", cJSON_CreateRaw("0.05")) &&
           kit_json_put(body, "max_grad_norm", cJSON_CreateRaw("1.0")) &&
           kit_json_put(body, "weight_decay", cJSON_CreateRaw("0.0")) && kit_json_put_u64(body, "n_checkpoints", 1) &&
           kit_json_put_bool(body, "packing", true) && kit_json_put_u64(body, "random_seed", seed % 2147483647u) &&
           (t->batch > 0 ? kit_json_put_u64(body, "batch_size", t->batch)
                         : kit_json_put_string(body, "batch_size", "max")) &&
           (t->max_length == 0 || kit_json_put_u64(body, "max_seq_length", t->max_length));
}

static kit_status submit(void *state, const char *name, char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist,
                         kolm_error_t *err) {
    kit_queue_task *task = state;
    kit_service_reply reply = {0};
    *out_may_exist = false;
    cJSON *body = job_body(task, task->model.version);
    if (body == NULL || !put_rest(body, own(task), name, task->job != NULL ? task->job->seed : 42)) {
        cJSON_Delete(body);
        return kit_no_memory(err);
    }
    const kit_service_call call = {.path = "/v1/fine-tunes", .body = body, .repeat = KIT_HTTP_CREATE};
    kit_status status = kit_service_create(&task->service, &call, "id", out_handle, out_may_exist, &reply, err);
    kit_service_reply_free(&reply);
    cJSON_Delete(body);
    return status;
}

/* The name of a job is the suffix of its model. */
static bool is_of_name(const cJSON *job, const char *name) {
    const char *output = NULL;
    return is_text(job, "suffix", name) ||
           (kit_json_get_string(job, "model_output_name", &output) && strstr(output, name) != NULL);
}

static kit_status find(void *state, const char *name, char out_handle[KIT_RENT_HANDLE_BYTES], kolm_error_t *err) {
    kit_queue_task *task = state;
    kit_service_reply reply = {0};
    const cJSON *item = NULL;
    kit_status status = kit_service_ask(&task->service, &(kit_service_call){.path = "/v1/fine-tunes"}, &reply, err);
    const cJSON *list = kit_json_get(reply.json, "data");
    if (status == KOLM_OK && !cJSON_IsArray(list)) status = malformed("a list of jobs without jobs", err);
    cJSON_ArrayForEach(item, list) {
        char id[KIT_RENT_HANDLE_BYTES];
        if (is_of_name(item, name) && kit_service_text(item, "id", id, sizeof id) && kit_service_is_id(id))
            kit_copy(out_handle, KIT_RENT_HANDLE_BYTES, id);
    }
    kit_service_reply_free(&reply);
    return status;
}

static kit_queue_life life_of(const char *word) {
    static const struct {
        const char *word;
        kit_queue_life life;
    } words[] = {{"pending", KIT_QUEUE_WAITING},     {"queued", KIT_QUEUE_WAITING},
                 {"running", KIT_QUEUE_WORKING},     {"compressing", KIT_QUEUE_WORKING},
                 {"uploading", KIT_QUEUE_WORKING},   {"cancel_requested", KIT_QUEUE_ENDING},
                 {"cancelled", KIT_QUEUE_CANCELLED}, {"error", KIT_QUEUE_FAILED},
                 {"user_error", KIT_QUEUE_FAILED},   {"completed", KIT_QUEUE_SUCCEEDED}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i].word, word) == 0) return words[i].life;
    return KIT_QUEUE_UNKNOWN;
}

static void read_job(kit_queue_task *task, const cJSON *job, kit_queue_look *out) {
    const cJSON *events = kit_json_get(job, "events");
    uint64_t nano = 0;
    (void)kit_service_text(job, "status", out->word, sizeof out->word);
    out->life = life_of(out->word);
    if (kit_json_get_u64(job, "total_price", &nano)) out->billed_micro_usd = (nano + 999) / 1000;
    (void)kit_service_text(cJSON_GetArrayItem(events, cJSON_GetArraySize(events) - 1), "message", out->why,
                           sizeof out->why);
    if (out->life == KIT_QUEUE_SUCCEEDED)
        (void)kit_service_text(job, "model_output_name", task->model.model, sizeof task->model.model);
}

static kit_status look(void *state, const char *handle, kit_queue_look *out, kolm_error_t *err) {
    kit_queue_task *task = state;
    char path[KIT_RENT_HANDLE_BYTES + 64];
    kit_service_reply reply = {0};
    kit_format(path, sizeof path, "/v1/fine-tunes/%s", handle);
    kit_status status = kit_service_ask(&task->service, &(kit_service_call){.path = path}, &reply, err);
    if (status == KOLM_OK && !is_text(reply.json, "id", handle))
        status = malformed("a job other than the requested one", err);
    if (status == KOLM_OK) read_job(task, reply.json, out);
    /* a 404 from a proxy or web page is not about the job */
    if (status == KOLM_E_NOT_FOUND && !cJSON_IsObject(kit_json_get(reply.json, "error"))) status = KOLM_E_UNAVAILABLE;
    kit_service_reply_free(&reply);
    return status;
}

static kit_status logs(void *state, const char *handle, kolm_error_t *err) {
    kit_queue_task *task = state;
    char path[KIT_RENT_HANDLE_BYTES + 64];
    kit_service_reply reply = {0};
    kit_format(path, sizeof path, "/v1/fine-tunes/%s/events", handle);
    kit_status status = kit_service_ask(&task->service, &(kit_service_call){.path = path}, &reply, err);
    const cJSON *list = kit_json_get(reply.json, "data"), *event = NULL;
    size_t at = 0;
    cJSON_ArrayForEach(event, list) {
        char message[384];
        if (at++ < own(task)->events_shown) continue;
        if (kit_service_text(event, "message", message, sizeof message)) kit_queue_say(task, "%s", message);
        own(task)->events_shown = at;
    }
    kit_service_reply_free(&reply);
    return status;
}

static kit_status cancel(void *state, const char *handle, kolm_error_t *err) {
    kit_queue_task *task = state;
    char path[KIT_RENT_HANDLE_BYTES + 64];
    kit_service_reply reply = {0};
    kit_format(path, sizeof path, "/v1/fine-tunes/%s/cancel", handle);
    const kit_service_call call = {.method = "POST", .path = path, .repeat = KIT_HTTP_CHANGE};
    kit_status status = kit_service_ask(&task->service, &call, &reply, err);
    kit_service_reply_free(&reply);
    return status;
}

/* Detects the type of an archive from its first bytes. */
static kit_status check_archive(kit_queue_task *task, kolm_error_t *err) {
    static const unsigned char zstd[] = {0x28, 0xb5, 0x2f, 0xfd}, gzip[] = {0x1f, 0x8b};
    unsigned char begin[4] = {0};
    char path[4096];
    if (!kit_format(path, sizeof path, "%s/model/%s", task->job->dir, task->model.file))
        return malformed("a path that is too long", err);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool read_it = fd >= 0 && read(fd, begin, sizeof begin) == (ssize_t)sizeof begin;
    if (fd >= 0) close(fd);
    if (read_it && (memcmp(begin, zstd, sizeof zstd) == 0 || memcmp(begin, gzip, sizeof gzip) == 0)) return KOLM_OK;
    return kit_fail(err, KOLM_E_DATA_LOSS, "download it from the page of the job",
                    "the adapter from Together AI is not an archive");
}

static kit_status fetch(void *state, const char *handle, bool *out_done, kolm_error_t *err) {
    kit_queue_task *task = state;
    char path[KIT_RENT_HANDLE_BYTES + 64];
    kit_copy(task->model.job, sizeof task->model.job, handle);
    if (task->model.model[0] == '\0') return malformed("a completed job without the name of its model", err);
    kit_format(path, sizeof path, "/v1/finetune/download?ft_id=%s&checkpoint=adapter", handle);
    KIT_TRY(kit_queue_download(task, path, ADAPTER, err));
    KIT_TRY(check_archive(task, err));
    task->model.version[0] = '\0';
    *out_done = true;
    return KOLM_OK;
}

const kit_queue_provider together_queue = {.name = "Together AI",
                                           .can = KIT_QUEUE_CAN_FIND,
                                           .settle_ms = 60000,
                                           .upload = upload,
                                           .price = price,
                                           .submit = submit,
                                           .find = find,
                                           .look = look,
                                           .logs = logs,
                                           .cancel = cancel,
                                           .fetch = fetch,
                                           .remove = take_away};

/* ---- The other slots */

kit_status together_check(kit_queue_task *task, char *about, size_t capacity, kolm_error_t *err) {
    kit_service_reply reply = {0};
    kit_status status = kit_service_ask(&task->service, &(kit_service_call){.path = "/v1/fine-tunes"}, &reply, err);
    const cJSON *list = kit_json_get(reply.json, "data");
    if (status == KOLM_OK && !cJSON_IsArray(list)) status = malformed("a list of jobs without jobs", err);
    if (status == KOLM_OK) kit_format(about, capacity, "%d fine-tuning jobs", cJSON_GetArraySize(list));
    kit_service_reply_free(&reply);
    return status;
}

kit_status together_probe(kit_queue_task *task, char *note, size_t capacity, kolm_error_t *err) {
    char path[KIT_QUEUE_TEXT + 64];
    uint64_t rank = 0, epochs = 0;
    kit_service_reply reply = {0};
    KIT_TRY(together_begin(task, err));
    kit_format(path, sizeof path, "/v1/fine-tunes/models/limits?model_name=%s", task->model.base);
    kit_status status = kit_service_ask(&task->service, &(kit_service_call){.path = path}, &reply, err);
    if (status == KOLM_OK && kit_json_get_u64(kit_json_get(reply.json, "lora_training"), "max_rank", &rank) &&
        kit_json_get_u64(reply.json, "max_num_epochs", &epochs))
        kit_format(note, capacity, "%s: LoRA up to rank %llu, %llu epochs", task->model.base, (unsigned long long)rank,
                   (unsigned long long)epochs);
    else if (status == KOLM_OK)
        status = malformed("the limits of a model without LoRA", err);
    kit_service_reply_free(&reply);
    return status;
}

static kit_status list_of(kit_queue_task *task, const char *path, const char *kind, const char *key,
                          kit_queue_tell tell, void *user, kolm_error_t *err) {
    kit_service_reply reply = {0};
    const cJSON *item = NULL;
    kit_status status = kit_service_ask(&task->service, &(kit_service_call){.path = path}, &reply, err);
    cJSON_ArrayForEach(item, kit_json_get(reply.json, "data")) {
        char name[96], id[KIT_RENT_HANDLE_BYTES], word[32];
        if (!kit_service_text(item, key, name, sizeof name) || strncmp(name, "kolm-", 5) != 0) continue;
        (void)kit_service_text(item, "id", id, sizeof id);
        (void)kit_service_text(item, "status", word, sizeof word);
        tell(user, kind, name, id, word[0] != '\0' && life_of(word) < KIT_QUEUE_SUCCEEDED, word);
    }
    kit_service_reply_free(&reply);
    return status;
}

kit_status together_list(kit_queue_task *task, kit_queue_tell tell, void *user, kolm_error_t *err) {
    KIT_TRY(list_of(task, "/v1/fine-tunes", "job", "suffix", tell, user, err));
    return list_of(task, "/v1/files", "files", "filename", tell, user, err);
}

/* ---- Answers */

/* The setting `endpoint` names a dedicated endpoint, started by the user, that serves the model. */
kit_status together_open(kit_queue_task *task, kolm_error_t *err) {
    char endpoint[KIT_QUEUE_TEXT];
    KIT_TRY(kit_queue_setting(task, "endpoint", endpoint, sizeof endpoint, err));
    if (endpoint[0] != '\0' && task->model.model[0] != '\0')
        kit_copy(task->model.model, sizeof task->model.model, endpoint);
    return KOLM_OK;
}

static cJSON *question_body(const kit_queue_task *task, cJSON *messages) {
    cJSON *body = cJSON_CreateObject();
    bool good = kit_json_put(body, "messages", messages) && kit_json_put_string(body, "model", task->model.model) &&
                kit_json_put_u64(body, "max_tokens", task->model.max_tokens) &&
                kit_json_put_u64(body, "temperature", 0) && kit_json_put_u64(body, "logprobs", 1);
    if (good) return body;
    cJSON_Delete(body);
    return NULL;
}

/* The probability of the whole answer; 0 if it is missing. */
static double confidence_of(const cJSON *choice) {
    const cJSON *item = NULL, *list = kit_json_get(kit_json_get(choice, "logprobs"), "token_logprobs");
    double sum = 0;
    if (cJSON_GetArraySize(list) == 0) return 0;
    cJSON_ArrayForEach(item, list) if (cJSON_IsNumber(item)) sum += item->valuedouble;
    return sum <= 0 ? exp(sum) : 0;
}

kit_status together_answer(kit_queue_task *task, const cJSON *question, kit_buf *out, double *out_confidence,
                           kolm_error_t *err) {
    cJSON *messages = NULL;
    const char *text = NULL;
    kit_service_reply reply = {0};
    KIT_TRY(kit_queue_messages(question, task->model.system, false, &messages, err));
    cJSON *body = question_body(task, messages);
    if (body == NULL) return kit_no_memory(err);
    /* a repeated request costs the tokens of one answer, and creates nothing */
    const kit_service_call call = {.path = "/v1/chat/completions", .body = body};
    kit_status status = kit_service_ask(&task->service, &call, &reply, err);
    const cJSON *choice = cJSON_GetArrayItem(kit_json_get(reply.json, "choices"), 0);
    if (status == KOLM_OK && !kit_json_get_string(kit_json_get(choice, "message"), "content", &text))
        status = malformed("an answer without text", err);
    if (status == KOLM_OK) {
        kit_buf_str(out, text);
        *out_confidence = confidence_of(choice);
    } else if (reply.http.status == 400 || reply.http.status == 404) {
        kit_copy(err->remedy, sizeof err->remedy,
                 "Together AI answers with a fine-tuned model only through an endpoint that you start "
                 "(https://api.together.ai/endpoints, billed by the minute until you stop it): start one, set "
                 "backends.together.endpoint to its name, and run the command again; the training is not paid twice");
    }
    kit_service_reply_free(&reply);
    cJSON_Delete(body);
    return status;
}
