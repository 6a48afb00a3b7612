/* SPDX-License-Identifier: Apache-2.0 */
/* Builds and parses the JSON of Replicate: files, trainings, predictions. As used by its Python client 1.0.7. */
#include "api.h"

#include <stdlib.h>
#include <string.h>

#define PAGES_MOST 100
#define ANSWER_MS 2100000 /* Replicate ends a prediction after 30 minutes */

static replicate_job *own(kit_queue_task *task) {
    return task->own;
}

static kit_status malformed(const char *what, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_DATA_LOSS, "try again; if the error persists, update kolm",
                    "Replicate sent an unexpected answer: %s", what);
}

/* ---- The request */

static kit_status read_input(kit_queue_task *task, kolm_error_t *err) {
    char text[8192];
    KIT_TRY(kit_queue_option(task, "input", "", text, sizeof text, err));
    if (text[0] == '\0') return KOLM_OK;
    kit_status status = kit_json_parse(text, strlen(text), &own(task)->input, err);
    if (status == KOLM_OK && !cJSON_IsObject(own(task)->input))
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write it as {\"num_train_epochs\": 3}", "it is not an object");
    return status == KOLM_OK ? status : kit_fail_context(err, "--set input");
}

static kit_status read_names(kit_queue_task *task, kolm_error_t *err) {
    replicate_job *r = own(task);
    char setting[KIT_QUEUE_TEXT];
    KIT_TRY(kit_queue_setting(task, "trainer", setting, sizeof setting, err));
    KIT_TRY(kit_queue_option(task, "trainer", setting, r->trainer, sizeof r->trainer, err));
    KIT_TRY(kit_queue_setting(task, "destination", setting, sizeof setting, err));
    KIT_TRY(kit_queue_option(task, "destination", setting, task->model.base, sizeof task->model.base, err));
    char *colon = strchr(r->trainer, ':');
    kit_copy(r->trainer_version, sizeof r->trainer_version, colon != NULL ? colon + 1 : "");
    if (colon != NULL) *colon = '\0';
    if (!kit_service_is_path(r->trainer) || !kit_service_is_id(r->trainer_version))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                        "pass --set trainer=OWNER/NAME:VERSION, or set backends.replicate.trainer",
                        "no version of a Replicate model to train is configured");
    if (!kit_service_is_path(task->model.base))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                        "make a private model at https://replicate.com/create, and pass --set destination=OWNER/NAME, "
                        "or set backends.replicate.destination",
                        "no model of yours on Replicate is configured for the result");
    return KOLM_OK;
}

/* The destination must exist, and must not be public. */
static kit_status check_destination(kit_queue_task *task, kolm_error_t *err) {
    char path[KIT_QUEUE_TEXT + 64], visibility[32];
    kit_service_reply reply = {0};
    kit_format(path, sizeof path, "/v1/models/%s", task->model.base);
    kit_status status = kit_service_ask(&task->service, &(kit_service_call){.path = path}, &reply, err);
    if (status == KOLM_E_NOT_FOUND)
        (void)kit_fail(err, status, "make it, private, at https://replicate.com/create",
                       "the destination %s is not on Replicate, or not yours", task->model.base);
    if (status == KOLM_OK && (!kit_service_text(reply.json, "visibility", visibility, sizeof visibility) ||
                              strcmp(visibility, "private") != 0))
        status = kit_fail(err, KOLM_E_FAILED_PRECONDITION, "make it private on its page, or use another",
                          "the destination %s is not private: what is trained on your rows would be public",
                          task->model.base);
    kit_service_reply_free(&reply);
    return status;
}

static kit_status check_trainer(kit_queue_task *task, kolm_error_t *err) {
    char path[2 * KIT_QUEUE_TEXT + 64];
    kit_service_reply reply = {0};
    kit_format(path, sizeof path, "/v1/models/%s/versions/%s", own(task)->trainer, own(task)->trainer_version);
    kit_status status = kit_service_ask(&task->service, &(kit_service_call){.path = path}, &reply, err);
    if (status == KOLM_E_NOT_FOUND)
        (void)kit_fail(err, status, "choose a version from the page of the model",
                       "Replicate has no version %.64s of %s", own(task)->trainer_version, own(task)->trainer);
    kit_service_reply_free(&reply);
    return status;
}

kit_status replicate_begin(kit_queue_task *task, kolm_error_t *err) {
    replicate_job *r = own(task);
    KIT_TRY(read_names(task, err));
    KIT_TRY(kit_queue_size(task, r->trainer, err));
    KIT_TRY(kit_queue_option(task, "data_field", "train_data", r->data_field, sizeof r->data_field, err));
    KIT_TRY(read_input(task, err));
    KIT_TRY(check_destination(task, err));
    KIT_TRY(check_trainer(task, err));
    bool good = kit_json_put_string(task->report, "trainer", r->trainer) &&
                kit_json_put_string(task->report, "trainer_version", r->trainer_version);
    return good ? KOLM_OK : kit_no_memory(err);
}

void replicate_close(kit_queue_task *task) {
    cJSON_Delete(own(task)->input);
}

/* Parses a question or a row, which must be a single text: a conversation of several messages is refused. */
static kit_status take_text(const cJSON *row, bool with_answer, cJSON **messages, kolm_error_t *err) {
    KIT_TRY(kit_queue_messages(row, NULL, with_answer, messages, err));
    if (cJSON_GetArraySize(*messages) == (with_answer ? 2 : 1)) return KOLM_OK;
    cJSON_Delete(*messages);
    *messages = NULL;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                    "leave such rows out, or train on a backend that accepts conversations",
                    "it is a conversation of several messages, but here a row is one question");
}

static const char *content_of(const cJSON *messages, int at) {
    const char *text = "";
    (void)kit_json_get_string(cJSON_GetArrayItem(messages, at), "content", &text);
    return text;
}

kit_status replicate_row(kit_queue_task *task, const cJSON *row, kit_buf *out, kolm_error_t *err) {
    cJSON *messages = NULL;
    (void)task;
    KIT_TRY(take_text(row, true, &messages, err));
    const char *question = content_of(messages, 0), *answer = content_of(messages, 1);
    kit_buf_str(out, "{\"prompt\":");
    kit_json_string(out, question, strlen(question));
    kit_buf_str(out, ",\"completion\":");
    kit_json_string(out, answer, strlen(answer));
    kit_buf_char(out, '}');
    cJSON_Delete(messages);
    return KOLM_OK;
}

/* ---- Files */

static kit_status upload(void *state, const char *name, char files[KIT_RENT_HANDLE_BYTES], bool *out_done,
                         bool *out_may_exist, kolm_error_t *err) {
    kit_queue_task *task = state;
    char file_name[80];
    kit_service_reply reply = {0};
    kit_format(file_name, sizeof file_name, "%s.jsonl", name);
    const kit_http_part parts[] = {{.name = "content",
                                    .filename = file_name,
                                    .content_type = "application/jsonl",
                                    .file = task->rows_fd,
                                    .size = task->row_bytes},
                                   {.name = "filename", .bytes = file_name, .length = strlen(file_name)},
                                   {.name = "type", .bytes = "application/jsonl", .length = 17}};
    const kit_service_call call = {.path = "/v1/files", .repeat = KIT_HTTP_CREATE, .parts = parts, .part_count = 3};
    kit_status status = kit_service_ask(&task->service, &call, &reply, err);
    *out_may_exist = status == KOLM_OK || reply.may_exist;
    if (status == KOLM_OK) {
        if (kit_service_text(reply.json, "id", files, KIT_RENT_HANDLE_BYTES) && !kit_service_is_id(files))
            files[0] = '\0';
        *out_done = files[0] != '\0' && kit_service_text(kit_json_get(reply.json, "urls"), "get", own(task)->data_url,
                                                         sizeof own(task)->data_url);
        if (!*out_done) status = malformed("an uploaded file without id or address", err);
    }
    kit_service_reply_free(&reply);
    return status;
}

static kit_status delete_file(kit_queue_task *task, const char *id, bool *out_gone, kolm_error_t *err) {
    char path[KIT_RENT_HANDLE_BYTES + 64];
    kit_service_reply reply = {0};
    kit_format(path, sizeof path, "/v1/files/%s", id);
    const kit_service_call call = {.method = "DELETE", .path = path, .repeat = KIT_HTTP_CHANGE};
    kit_status status = kit_service_ask(&task->service, &call, &reply, err);
    if (status == KOLM_OK) *out_gone = reply.http.status == 204;
    task->had_files = task->had_files || *out_gone;
    if (reply.http.status == 404 && kit_json_get(reply.json, "detail") != NULL) {
        *out_gone = true;
        status = KOLM_OK;
    }
    kit_service_reply_free(&reply);
    return status;
}

/* Calls item for each item of all pages of a list. The next page must be at the provider's own address. */
typedef kit_status (*item_fn)(kit_queue_task *task, void *user, const cJSON *item, kolm_error_t *err);
static kit_status each_item(kit_queue_task *task, const char *path, item_fn item, void *user, kolm_error_t *err) {
    char next[1024];
    kit_status status = KOLM_OK;
    kit_copy(next, sizeof next, path);
    for (int page = 0; status == KOLM_OK && next[0] != '\0'; page++) {
        kit_service_reply reply = {0};
        const cJSON *one = NULL;
        if (page == PAGES_MOST) return malformed("a list without an end", err);
        status = kit_service_ask(&task->service, &(kit_service_call){.path = next}, &reply, err);
        const cJSON *list = kit_json_get(reply.json, "results");
        if (status == KOLM_OK && !cJSON_IsArray(list)) status = malformed("a list without results", err);
        cJSON_ArrayForEach(one, list) if (status == KOLM_OK) status = item(task, user, one, err);
        if (status == KOLM_OK && kit_service_text(reply.json, "next", next, sizeof next) &&
            !kit_service_is_ours(&task->service, next))
            status = malformed("a list that continues at another address", err);
        kit_service_reply_free(&reply);
    }
    return status;
}

typedef struct search {
    char name[80];
    bool found;
} search;

static kit_status remove_item(kit_queue_task *task, void *user, const cJSON *item, kolm_error_t *err) {
    search *s = user;
    char id[KIT_RENT_HANDLE_BYTES], name[sizeof s->name];
    bool gone = false;
    if (!kit_service_text(item, "name", name, sizeof name) || strcmp(name, s->name) != 0) return KOLM_OK;
    s->found = true;
    if (!kit_service_text(item, "id", id, sizeof id) || !kit_service_is_id(id))
        return malformed("a file without id", err);
    return delete_file(task, id, &gone, err);
}

static kit_status take_away(void *state, const char *name, const char *files, bool *out_done, kolm_error_t *err) {
    search s = {.found = false};
    if (files[0] != '\0') return delete_file(state, files, out_done, err);
    kit_format(s.name, sizeof s.name, "%s.jsonl", name);
    KIT_TRY(each_item(state, "/v1/files", remove_item, &s, err));
    *out_done = !s.found; /* done only once it is no longer listed */
    return KOLM_OK;
}

/* ---- Trainings */

static cJSON *training_body(kit_queue_task *task) {
    replicate_job *r = own(task);
    cJSON *body = cJSON_CreateObject(), *input = r->input != NULL ? cJSON_Duplicate(r->input, 1) : cJSON_CreateObject();
    cJSON_DeleteItemFromObjectCaseSensitive(input, r->data_field);
    bool good = kit_json_put_string(body, "destination", task->model.base) &&
                kit_json_put_string(input, r->data_field, r->data_url);
    if (good && kit_json_put(body, "input", input)) return body;
    if (!good) cJSON_Delete(input);
    cJSON_Delete(body);
    return NULL;
}

static kit_status create(kit_queue_task *task, const char *path, const cJSON *body,
                         char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err) {
    kit_service_reply reply = {0};
    const kit_service_call call = {.path = path, .body = body, .repeat = KIT_HTTP_CREATE};
    kit_status status = kit_service_create(&task->service, &call, "id", out_handle, out_may_exist, &reply, err);
    kit_service_reply_free(&reply);
    return status;
}

static kit_status submit(void *state, const char *name, char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist,
                         kolm_error_t *err) {
    kit_queue_task *task = state;
    char path[2 * KIT_QUEUE_TEXT + 64];
    (void)name; /* Replicate's jobs have no names */
    *out_may_exist = false;
    cJSON *body = training_body(task);
    if (body == NULL) return kit_no_memory(err);
    kit_format(path, sizeof path, "/v1/models/%s/versions/%s/trainings", own(task)->trainer,
               own(task)->trainer_version);
    kit_status status = create(task, path, body, out_handle, out_may_exist, err);
    cJSON_Delete(body);
    return status;
}

static kit_queue_life life_of(const char *word) {
    static const struct {
        const char *word;
        kit_queue_life life;
    } words[] = {{"starting", KIT_QUEUE_WAITING}, {"processing", KIT_QUEUE_WORKING}, {"succeeded", KIT_QUEUE_SUCCEEDED},
                 {"failed", KIT_QUEUE_FAILED},    {"canceled", KIT_QUEUE_CANCELLED}, {"aborted", KIT_QUEUE_FAILED}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i].word, word) == 0) return words[i].life;
    return KIT_QUEUE_UNKNOWN;
}

/* Shows what is new: each answer contains the whole log. */
static void show_logs(kit_queue_task *task, const cJSON *json) {
    const char *text = NULL, *end = NULL;
    if (!kit_json_get_string(json, "logs", &text) || strlen(text) <= own(task)->logs_shown) return;
    for (text += own(task)->logs_shown; (end = strchr(text, '\n')) != NULL; text = end + 1) {
        kit_queue_say(task, "%.*s", (int)(end - text > 500 ? 500 : end - text), text);
        own(task)->logs_shown += (size_t)(end - text) + 1;
    }
}

static kit_status look_at(kit_queue_task *task, const char *kind, const char *handle, kit_queue_look *out,
                          kit_service_reply *reply, kolm_error_t *err) {
    char path[KIT_RENT_HANDLE_BYTES + 64], id[KIT_RENT_HANDLE_BYTES];
    kit_format(path, sizeof path, "/v1/%s/%s", kind, handle);
    kit_status status = kit_service_ask(&task->service, &(kit_service_call){.path = path}, reply, err);
    if (status == KOLM_OK && (!kit_service_text(reply->json, "id", id, sizeof id) || strcmp(id, handle) != 0))
        status = malformed("a job other than the requested one", err);
    if (status == KOLM_OK) {
        (void)kit_service_text(reply->json, "status", out->word, sizeof out->word);
        (void)kit_service_text(reply->json, "error", out->why, sizeof out->why);
        out->life = life_of(out->word);
    }
    /* a 404 from a proxy or web page is not about the job */
    if (status == KOLM_E_NOT_FOUND && kit_json_get(reply->json, "detail") == NULL) status = KOLM_E_UNAVAILABLE;
    return status;
}

static kit_status look(void *state, const char *handle, kit_queue_look *out, kolm_error_t *err) {
    kit_queue_task *task = state;
    kit_service_reply reply = {0};
    kit_status status = look_at(task, "trainings", handle, out, &reply, err);
    const cJSON *output = kit_json_get(reply.json, "output");
    if (status == KOLM_OK) show_logs(task, reply.json);
    if (status == KOLM_OK && out->life == KIT_QUEUE_SUCCEEDED) {
        (void)kit_service_text(output, "weights", own(task)->weights, sizeof own(task)->weights);
        (void)kit_service_text(output, "version", task->model.version, sizeof task->model.version);
    }
    kit_service_reply_free(&reply);
    return status;
}

static kit_status cancel_at(kit_queue_task *task, const char *kind, const char *handle, kolm_error_t *err) {
    char path[KIT_RENT_HANDLE_BYTES + 64];
    kit_service_reply reply = {0};
    kit_format(path, sizeof path, "/v1/%s/%s/cancel", kind, handle);
    const kit_service_call call = {.method = "POST", .path = path, .repeat = KIT_HTTP_CHANGE};
    kit_status status = kit_service_ask(&task->service, &call, &reply, err);
    kit_service_reply_free(&reply);
    return status;
}

static kit_status cancel(void *state, const char *handle, kolm_error_t *err) {
    return cancel_at(state, "trainings", handle, err);
}

/* Fetches the weights immediately, because Replicate removes outputs. */
static kit_status fetch(void *state, const char *handle, bool *out_done, kolm_error_t *err) {
    kit_queue_task *task = state;
    const char *version = strchr(task->model.version, ':');
    char short_version[KIT_QUEUE_TEXT];
    kit_copy(task->model.job, sizeof task->model.job, handle);
    kit_copy(short_version, sizeof short_version, version != NULL ? version + 1 : task->model.version);
    if (!kit_service_is_id(short_version)) return malformed("a training that succeeded without a version", err);
    kit_copy(task->model.version, sizeof task->model.version, short_version);
    kit_copy(task->model.model, sizeof task->model.model, task->model.base);
    if (own(task)->weights[0] != '\0')
        KIT_TRY(kit_queue_download(task, own(task)->weights, "weights.bin", err));
    else
        kit_queue_say(task, "the trainer offers no weights: the model is kept by its version alone");
    *out_done = true;
    return KOLM_OK;
}

const kit_queue_provider replicate_queue = {.name = "Replicate",
                                            .settle_ms = 60000,
                                            .upload = upload,
                                            .submit = submit,
                                            .look = look,
                                            .cancel = cancel,
                                            .fetch = fetch,
                                            .remove = take_away};

/* ---- The other slots */

kit_status replicate_check(kit_queue_task *task, char *about, size_t capacity, kolm_error_t *err) {
    char user[96];
    kit_service_reply reply = {0};
    kit_status status = kit_service_ask(&task->service, &(kit_service_call){.path = "/v1/account"}, &reply, err);
    if (status == KOLM_OK && !kit_service_text(reply.json, "username", user, sizeof user))
        status = malformed("an account without a name", err);
    if (status == KOLM_OK) kit_format(about, capacity, "account %s", user);
    kit_service_reply_free(&reply);
    return status;
}

kit_status replicate_probe(kit_queue_task *task, char *note, size_t capacity, kolm_error_t *err) {
    KIT_TRY(read_names(task, err));
    KIT_TRY(check_destination(task, err));
    KIT_TRY(check_trainer(task, err));
    kit_format(note, capacity, "%s trains into %s", own(task)->trainer, task->model.base);
    return KOLM_OK;
}

typedef struct telling {
    kit_queue_tell tell;
    void *user;
} telling;

static kit_status tell_file(kit_queue_task *task, void *user, const cJSON *item, kolm_error_t *err) {
    const telling *t = user;
    char id[KIT_RENT_HANDLE_BYTES], name[96], until[64];
    (void)task, (void)err;
    if (!kit_service_text(item, "name", name, sizeof name) || strncmp(name, "kolm-", 5) != 0) return KOLM_OK;
    (void)kit_service_text(item, "id", id, sizeof id);
    (void)kit_service_text(item, "expires_at", until, sizeof until);
    t->tell(t->user, "files", name, id, false, until);
    return KOLM_OK;
}

kit_status replicate_list(kit_queue_task *task, kit_queue_tell tell, void *user, kolm_error_t *err) {
    telling t = {tell, user};
    return each_item(task, "/v1/files", tell_file, &t, err);
}

/* ---- Answers */

kit_status replicate_open(kit_queue_task *task, kolm_error_t *err) {
    char setting[64];
    KIT_TRY(kit_queue_setting(task, "prompt_field", setting, sizeof setting, err));
    kit_copy(own(task)->prompt_field, sizeof own(task)->prompt_field, setting[0] != '\0' ? setting : "prompt");
    return KOLM_OK;
}

static kit_status predict(void *state, const char *name, char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist,
                          kolm_error_t *err) {
    kit_queue_task *task = state;
    cJSON *body = cJSON_CreateObject(), *input = cJSON_AddObjectToObject(body, "input");
    (void)name;
    *out_may_exist = false;
    bool good = kit_json_put_string(input, own(task)->prompt_field, own(task)->question) &&
                kit_json_put_string(body, "version", task->model.version);
    kit_status status =
        good ? create(task, "/v1/predictions", body, out_handle, out_may_exist, err) : kit_no_memory(err);
    cJSON_Delete(body);
    return status;
}

static kit_status look_prediction(void *state, const char *handle, kit_queue_look *out, kolm_error_t *err) {
    kit_service_reply reply = {0};
    kit_status status = look_at(state, "predictions", handle, out, &reply, err);
    kit_service_reply_free(&reply);
    return status;
}

static kit_status cancel_prediction(void *state, const char *handle, kolm_error_t *err) {
    return cancel_at(state, "predictions", handle, err);
}

/* The output is a text, or a list of its pieces. */
static kit_status fetch_prediction(void *state, const char *handle, bool *out_done, kolm_error_t *err) {
    kit_queue_task *task = state;
    kit_queue_look seen = {0};
    kit_service_reply reply = {0};
    const cJSON *piece = NULL;
    kit_status status = look_at(task, "predictions", handle, &seen, &reply, err);
    const cJSON *output = kit_json_get(reply.json, "output");
    if (status == KOLM_OK && !cJSON_IsString(output) && !cJSON_IsArray(output))
        status = malformed("a prediction whose output is not a text", err);
    if (status == KOLM_OK && cJSON_IsString(output)) kit_buf_str(own(task)->answer, output->valuestring);
    cJSON_ArrayForEach(piece, output) if (status == KOLM_OK && cJSON_IsString(piece))
        kit_buf_str(own(task)->answer, piece->valuestring);
    *out_done = status == KOLM_OK;
    kit_service_reply_free(&reply);
    return status;
}

static const kit_queue_provider predictions = {.name = "Replicate",
                                               .settle_ms = 5000,
                                               .submit = predict,
                                               .look = look_prediction,
                                               .cancel = cancel_prediction,
                                               .fetch = fetch_prediction};

kit_status replicate_answer(kit_queue_task *task, const cJSON *question, kit_buf *out, double *out_confidence,
                            kolm_error_t *err) {
    cJSON *messages = NULL;
    KIT_TRY(take_text(question, false, &messages, err));
    own(task)->question = content_of(messages, 0);
    own(task)->answer = out;
    *out_confidence = 0;
    kit_status status = kit_queue_ask(task, &predictions, ANSWER_MS, err);
    cJSON_Delete(messages);
    return status;
}
