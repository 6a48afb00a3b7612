/* SPDX-License-Identifier: Apache-2.0 */
/* Builds and parses the JSON of fal: the queue of an endpoint, and the prices. As used by its Python client 1.0.3. */
#include "api.h"

#include "kolm/kit/backend.h"

#include <stdlib.h>
#include <string.h>

#define PLATFORM "https://api.fal.ai"
#define ANY_ENDPOINT "fal-ai/any-llm" /* its price is queried if the user names no endpoint */
#define ENDPOINTS_MAX (64u << 10)
#define ANSWER_MS 600000
#define START_SECONDS "300"

static fal_request *own(kit_queue_task *task) {
    return task->own;
}

static kit_status malformed(const char *what, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_DATA_LOSS, "try again; if the error persists, update kolm",
                    "fal sent an unexpected answer: %s", what);
}

/* ---- The endpoint of each model */

/* Reads the setting `endpoints`, an object with a member per task, which the caller must delete. *out is NULL if it is
 * not set. */
static kit_status read_endpoints(const kit_queue_task *task, cJSON **out, kolm_error_t *err) {
    char *text = malloc(ENDPOINTS_MAX);
    *out = NULL;
    if (text == NULL) return kit_no_memory(err);
    kit_status status = kit_queue_setting(task, "endpoints", text, ENDPOINTS_MAX, err);
    if (status == KOLM_OK && text[0] != '\0') status = kit_json_parse(text, strlen(text), out, err);
    free(text);
    return status;
}

/* "owner/app" or "owner/app/path/in/it". */
static bool is_endpoint(const char *text) {
    char head[KIT_QUEUE_TEXT];
    const char *slash = strchr(text, '/');
    const char *rest = slash != NULL ? strchr(slash + 1, '/') : NULL;
    kit_format(head, sizeof head, "%.*s", rest != NULL ? (int)(rest - text) : (int)strlen(text), text);
    return kit_service_is_path(head) && (rest == NULL || kit_service_is_id(rest + 1) || kit_service_is_path(rest + 1));
}

kit_status fal_open(kit_queue_task *task, kolm_error_t *err) {
    fal_request *r = own(task);
    cJSON *all = NULL;
    char endpoint[KIT_QUEUE_TEXT] = "";
    KIT_TRY(read_endpoints(task, &all, err));
    const cJSON *mine = kit_json_get(all, task->job->task);
    (void)kit_service_text(mine, "endpoint", endpoint, sizeof endpoint);
    if (!kit_service_text(mine, "input_field", r->input_field, sizeof r->input_field))
        kit_copy(r->input_field, sizeof r->input_field, "prompt");
    if (!kit_service_text(mine, "output_field", r->output_field, sizeof r->output_field))
        kit_copy(r->output_field, sizeof r->output_field, "output");
    cJSON_Delete(all);
    if (endpoint[0] == '\0')
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "serve the model on fal, and name its endpoint in config.json: {\"backends\": {\"fal\": "
                        "{\"endpoints\": {\"TASK\": {\"endpoint\": \"OWNER/APP\"}}}}}",
                        "no fal endpoint is configured for the model %s", task->job->task);
    if (!is_endpoint(endpoint))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write it as OWNER/APP or OWNER/APP/PATH",
                        "'%s' is not a fal endpoint", endpoint);
    kit_copy(task->model.model, sizeof task->model.model, endpoint);
    return KOLM_OK;
}

/* ---- The token, and a price */

kit_status fal_check(kit_queue_task *task, char *about, size_t capacity, kolm_error_t *err) {
    char url[1024], endpoint[KIT_QUEUE_TEXT] = ANY_ENDPOINT, unit[32] = "";
    double price = -1;
    cJSON *all = NULL;
    kit_service_reply reply = {0};
    KIT_TRY(read_endpoints(task, &all, err));
    if (all != NULL && all->child != NULL) (void)kit_service_text(all->child, "endpoint", endpoint, sizeof endpoint);
    cJSON_Delete(all);
    if (!is_endpoint(endpoint)) kit_copy(endpoint, sizeof endpoint, ANY_ENDPOINT);
    kit_format(url, sizeof url, "%s/v1/models/pricing?endpoint_id=%s",
               task->service.moved ? task->service.base : PLATFORM, endpoint);
    kit_status status = kit_service_ask(&task->service, &(kit_service_call){.path = url}, &reply, err);
    const cJSON *one = cJSON_GetArrayItem(kit_json_get(reply.json, "prices"), 0);
    if (status == KOLM_OK && !cJSON_IsArray(kit_json_get(reply.json, "prices"))) status = malformed("no prices", err);
    if (status == KOLM_OK && kit_json_get_number(one, "unit_price", &price) &&
        kit_service_text(one, "unit", unit, sizeof unit))
        kit_format(about, capacity, "%s costs %.6g USD by the %s", endpoint, price, unit);
    /* a 404 of fal's own: there is no price for the endpoint, but the token was accepted */
    if (status == KOLM_E_NOT_FOUND && cJSON_IsObject(kit_json_get(reply.json, "error"))) status = KOLM_OK;
    kit_service_reply_free(&reply);
    return status;
}

/* ---- One request in the queue */

/* Uses the address in the reply if it belongs to the provider, otherwise builds it from the id and OWNER/APP, without
 * the path. */
static void take_url(const kit_queue_task *task, const cJSON *reply, const char *key, const char *handle,
                     const char *end, char *out, size_t capacity) {
    const char *slash = strchr(task->model.model, '/'), *rest = strchr(slash + 1, '/');
    int app = rest != NULL ? (int)(rest - task->model.model) : (int)strlen(task->model.model);
    if (kit_service_text(reply, key, out, capacity) && kit_service_is_ours(&task->service, out)) return;
    kit_format(out, capacity, "%s/%.*s/requests/%s%s", task->service.base, app, task->model.model, handle, end);
}

static kit_status submit(void *state, const char *name, char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist,
                         kolm_error_t *err) {
    kit_queue_task *task = state;
    fal_request *r = own(task);
    char path[KIT_QUEUE_TEXT + 8];
    /* fal must neither start it after that time nor retry it: a request that kolm gave up must not run later. */
    static const kit_http_header headers[] = {{"X-Fal-Request-Timeout", START_SECONDS, NULL},
                                              {"X-Fal-No-Retry", "1", NULL}};
    kit_service_reply reply = {0};
    cJSON *body = cJSON_CreateObject();
    (void)name;
    *out_may_exist = false;
    if (!kit_json_put_string(body, r->input_field, r->question)) {
        cJSON_Delete(body);
        return kit_no_memory(err);
    }
    kit_format(path, sizeof path, "/%s", task->model.model);
    const kit_service_call call = {
        .path = path, .body = body, .repeat = KIT_HTTP_CREATE, .headers = headers, .header_count = 2};
    kit_status status = kit_service_create(&task->service, &call, "request_id", out_handle, out_may_exist, &reply, err);
    if (status == KOLM_OK) {
        take_url(task, reply.json, "status_url", out_handle, "/status", r->status_url, sizeof r->status_url);
        take_url(task, reply.json, "response_url", out_handle, "", r->response_url, sizeof r->response_url);
        take_url(task, reply.json, "cancel_url", out_handle, "/cancel", r->cancel_url, sizeof r->cancel_url);
    }
    kit_service_reply_free(&reply);
    cJSON_Delete(body);
    return status;
}

static void read_status(const cJSON *json, kit_queue_look *out) {
    char type[64] = "";
    (void)kit_service_text(json, "status", out->word, sizeof out->word);
    (void)kit_service_text(json, "error_type", type, sizeof type);
    bool wrong = kit_service_text(json, "error", out->why, sizeof out->why) || type[0] != '\0';
    if (strcmp(out->word, "IN_QUEUE") == 0)
        out->life = KIT_QUEUE_WAITING;
    else if (strcmp(out->word, "IN_PROGRESS") == 0)
        out->life = KIT_QUEUE_WORKING;
    else if (strcmp(out->word, "COMPLETED") == 0)
        out->life = strcmp(type, "client_cancelled") == 0 ? KIT_QUEUE_CANCELLED
                    : wrong                               ? KIT_QUEUE_FAILED
                                                          : KIT_QUEUE_SUCCEEDED;
    else
        out->life = KIT_QUEUE_UNKNOWN;
    if (out->why[0] == '\0') kit_copy(out->why, sizeof out->why, type);
}

static kit_status look(void *state, const char *handle, kit_queue_look *out, kolm_error_t *err) {
    kit_queue_task *task = state;
    char id[KIT_RENT_HANDLE_BYTES];
    kit_service_reply reply = {0};
    kit_status status =
        kit_service_ask(&task->service, &(kit_service_call){.path = own(task)->status_url}, &reply, err);
    if (status == KOLM_OK && kit_service_text(reply.json, "request_id", id, sizeof id) && strcmp(id, handle) != 0)
        status = malformed("a request other than the requested one", err);
    if (status == KOLM_OK) read_status(reply.json, out);
    const char *word = NULL;
    bool said = kit_json_get_string(reply.json, "status", &word) && strcmp(word, "NOT_FOUND") == 0;
    if (status == KOLM_E_NOT_FOUND && !said) status = KOLM_E_UNAVAILABLE; /* from a web page or a proxy */
    kit_service_reply_free(&reply);
    return status;
}

static kit_status cancel(void *state, const char *handle, kolm_error_t *err) {
    kit_queue_task *task = state;
    kit_service_reply reply = {0};
    (void)handle;
    const kit_service_call call = {.method = "PUT", .path = own(task)->cancel_url, .repeat = KIT_HTTP_CHANGE};
    kit_status status = kit_service_ask(&task->service, &call, &reply, err);
    kit_service_reply_free(&reply);
    return status;
}

static kit_status fetch(void *state, const char *handle, bool *out_done, kolm_error_t *err) {
    kit_queue_task *task = state;
    const char *text = NULL;
    kit_service_reply reply = {0};
    (void)handle;
    kit_status status =
        kit_service_ask(&task->service, &(kit_service_call){.path = own(task)->response_url}, &reply, err);
    if (status == KOLM_OK && !kit_json_get_string(reply.json, own(task)->output_field, &text))
        status = kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                          "name the field that has it as output_field of the endpoint in config.json",
                          "the answer of %s has no text under '%s'", task->model.model, own(task)->output_field);
    if (status == KOLM_OK) {
        kit_buf_str(own(task)->answer, text);
        *out_done = true;
    }
    kit_service_reply_free(&reply);
    return status;
}

static const kit_queue_provider fal_queue = {
    .name = "fal", .settle_ms = 5000, .submit = submit, .look = look, .cancel = cancel, .fetch = fetch};

kit_status fal_answer(kit_queue_task *task, const cJSON *question, kit_buf *out, double *out_confidence,
                      kolm_error_t *err) {
    cJSON *messages = NULL;
    const char *text = "";
    KIT_TRY(kit_queue_messages(question, NULL, false, &messages, err));
    (void)kit_json_get_string(cJSON_GetArrayItem(messages, cJSON_GetArraySize(messages) - 1), "content", &text);
    kit_status status = KOLM_OK;
    if (cJSON_GetArraySize(messages) != 1)
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "send it one question at a time",
                          "a question is a conversation of several messages, but a fal endpoint takes one text");
    own(task)->question = text;
    own(task)->answer = out;
    *out_confidence = 0;
    if (status == KOLM_OK) status = kit_queue_ask(task, &fal_queue, ANSWER_MS, err);
    cJSON_Delete(messages);
    return status;
}
