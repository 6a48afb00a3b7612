/* SPDX-License-Identifier: Apache-2.0 */
/* Sends requests to a provider's API. */
#include "kolm/rent/service.h"
#include "kolm/kit/backend.h"

#include <string.h>
#include <strings.h>

#define HEADERS_MAX 8u
#define BODY_MAX (16u << 20)

/* ---- Addresses */

/* Length of "scheme://host:port". */
static size_t origin_length(const char *url) {
    const char *host = strstr(url, "://");
    return host != NULL ? (size_t)(host + 3 - url) + strcspn(host + 3, "/?#") : 0;
}

static bool is_host(const char *url, size_t origin, const char *wanted) {
    const char *host = url + strlen("https://");
    size_t length = origin - strlen("https://"), n = strlen(wanted);
    if (wanted[0] == '.') return length > n && strncasecmp(host + length - n, wanted, n) == 0;
    return length == n && strncasecmp(host, wanted, n) == 0;
}

/* True for bytes that a valid URL cannot contain. */
static bool has_odd_bytes(const char *url) {
    for (; *url != '\0'; url++)
        if (*url <= ' ' || *url > '~') return true;
    return false;
}

bool kit_service_is_ours(const kit_service *service, const char *url) {
    size_t base = origin_length(service->base), origin = origin_length(url);
    if (origin == 0 || has_odd_bytes(url) || memchr(url, '@', origin) != NULL) return false;
    if (origin == base && strncasecmp(url, service->base, base) == 0) return true;
    if (service->moved || strncasecmp(url, "https://", 8) != 0) return false;
    for (size_t i = 0; i < sizeof service->site->hosts / sizeof *service->site->hosts; i++)
        if (service->site->hosts[i] != NULL && is_host(url, origin, service->site->hosts[i])) return true;
    return false;
}

static bool is_id(const char *text, size_t length) {
    return length > 0 && length <= 120 && text[0] != '.' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") >= length;
}

bool kit_service_is_id(const char *text) {
    return is_id(text, strlen(text));
}

bool kit_service_is_path(const char *text) {
    const char *slash = strchr(text, '/');
    return slash != NULL && is_id(text, (size_t)(slash - text)) && kit_service_is_id(slash + 1);
}

bool kit_service_text(const cJSON *object, const char *key, char *out, size_t capacity) {
    const char *text = "";
    out[0] = '\0';
    return kit_json_get_string(object, key, &text) && kit_copy(out, capacity, text) && text[0] != '\0';
}

/* ---- Open */

static kit_status check_halves(const kit_service_site *site, const kit_secret *token, kolm_error_t *err) {
    kit_secret *left = NULL, *right = NULL;
    if (site->halves == 0) return KOLM_OK;
    kit_status status = kit_secret_split(token, site->variable, site->halves, &left, &right, err);
    kit_secret_free(left);
    kit_secret_free(right);
    if (status == KOLM_OK) return status;
    return kit_fail(err, KOLM_E_UNAUTHENTICATED, "copy the whole key, as ID:SECRET, from its page",
                    "%s holds half of a key: the id and the secret of %s are joined by '%c' (%s)", site->variable,
                    site->title, site->halves, site->where);
}

/* ---- Stopping: the host decides, until the service is deaf. */

static int32_t never(void *user) {
    (void)user;
    return 0;
}

static int wants_stop(void *user) {
    const kit_service *service = user;
    return !service->deaf && service->host->cancelled(service->host->user) != 0;
}

static void prick_ears(kit_service *service) {
    size_t size = service->host->struct_size < sizeof service->ears ? service->host->struct_size : sizeof service->ears;
    memcpy(&service->ears, service->host, size);
    service->ears.struct_size = (uint32_t)size;
    service->ears.cancelled = never;
}

kit_status kit_service_open(const kit_service_site *site, const kolm_host_v1_t *host, kit_service *out,
                            kolm_error_t *err) {
    const char *key = site->setting != NULL ? site->setting : "api";
    char api[sizeof out->base];
    *out = (kit_service){.site = site, .host = host};
    bool fits = kit_setting(host, key, "", api, sizeof api);
    out->moved = api[0] != '\0';
    kit_copy(out->base, sizeof out->base, out->moved ? api : site->base);
    size_t length = strlen(out->base);
    if (length > 0 && out->base[length - 1] == '/') out->base[length - 1] = '\0';
    if (!fits || origin_length(out->base) == 0 || strpbrk(out->base, "?#@ ") != NULL)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write it as https://HOST[:PORT][/PATH]",
                        "the setting backends.%s.%s is not an address", site->name, key);
    KIT_TRY(kit_secret_read(host, site->variable, &out->token, err));
    KIT_TRY(check_halves(site, out->token, err));
    prick_ears(out);
    return kit_http_open(
        &(kit_http_options){.host = &out->ears,
                            .cancelled = wants_stop,
                            .user = out,
                            .allow_plain_loopback = out->moved && strncasecmp(out->base, "http://", 7) == 0},
        &out->http, err);
}

void kit_service_close(kit_service *service) {
    kit_http_close(service->http);
    kit_secret_free(service->token);
    *service = (kit_service){0};
}

/* ---- What went wrong */

static const char *word_of(const cJSON *body) {
    static const char *const keys[] = {"message", "detail", "error", "title"};
    const char *text = NULL;
    const cJSON *inner = kit_json_get(body, "error");
    if (cJSON_IsObject(inner) && kit_json_get_string(inner, "message", &text)) return text;
    inner = cJSON_GetArrayItem(kit_json_get(body, "detail"), 0); /* a list of what is wrong with the input */
    if (cJSON_IsObject(inner) && kit_json_get_string(inner, "msg", &text)) return text;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (kit_json_get_string(body, keys[i], &text) && text[0] != '\0') return text;
    return "";
}

void kit_service_words(const kit_service *service, const cJSON *body, char *out, size_t capacity) {
    const kit_secret *secrets[] = {service->token};
    const char *text = word_of(body);
    kit_buf shown = {0};
    kit_secret_redact(secrets, service->token != NULL, text, strlen(text), &shown);
    kit_copy(out, capacity, kit_buf_text(&shown));
    for (char *p = out; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f) *p = ' ';
    kit_buf_free(&shown);
}

/* Explains a refusal: the provider's message, and where to fix the problem. */
static kit_status explain(const kit_service *service, const kit_service_reply *reply, kit_status status,
                          kolm_error_t *err) {
    const kit_service_site *site = service->site;
    char words[200], remedy[256];
    kit_service_words(service, reply->json, words, sizeof words);
    const char *colon = words[0] != '\0' ? ": " : "";
    switch (reply->http.status) {
    case 401:
        kit_format(remedy, sizeof remedy, "copy the token again from %s, or make a new one there if it has expired",
                   site->where);
        return kit_fail(err, KOLM_E_UNAUTHENTICATED, remedy, "%s does not accept the token in %s (401)%s%s",
                        site->title, site->variable, colon, words);
    case 402:
        kit_format(remedy, sizeof remedy, "add credit or a means of payment: %s", site->money);
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, remedy, "%s requires payment first (402)%s%s", site->title,
                        colon, words);
    case 403:
        kit_format(remedy, sizeof remedy, "make a token that is authorized for this: %s", site->where);
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, remedy,
                        "%s accepts the token in %s, but does not authorize it for this (403)%s%s", site->title,
                        site->variable, colon, words);
    default:
        return status;
    }
}

/* ---- Requests */

void kit_service_reply_free(kit_service_reply *reply) {
    cJSON_Delete(reply->json);
    kit_http_answer_free(&reply->http);
    *reply = (kit_service_reply){0};
}

static kit_status send(kit_service *service, const kit_service_call *call, const kit_buf *url, const kit_buf *body,
                       kit_service_reply *reply, kolm_error_t *err) {
    kit_http_header headers[HEADERS_MAX + 1];
    size_t count = 0;
    if (call->header_count > HEADERS_MAX)
        return kit_fail(err, KOLM_E_INTERNAL, "report it to the author of this backend", "too many headers");
    if (!call->presigned && kit_service_is_ours(service, kit_buf_text(url)))
        headers[count++] = (kit_http_header){"Authorization", service->site->scheme, service->token};
    for (size_t i = 0; i < call->header_count; i++)
        headers[count++] = call->headers[i];
    const kit_http_request request = {.method = call->method,
                                      .url = kit_buf_text(url),
                                      .headers = headers,
                                      .header_count = count,
                                      .repeat = call->repeat,
                                      .body = body->length > 0 ? body->data : NULL,
                                      .body_length = body->length,
                                      .content_type = call->content_type,
                                      .has_body_file = call->has_body_file,
                                      .body_file = call->body_file,
                                      .body_size = call->body_size,
                                      .parts = call->parts,
                                      .part_count = call->part_count,
                                      .has_out_file = call->has_out_file,
                                      .out_file = call->out_file,
                                      .body_max = call->body_max > 0   ? call->body_max
                                                  : call->has_out_file ? 0
                                                                       : BODY_MAX,
                                      .deadline_ms = call->deadline_ms};
    return kit_http_send(service->http, &request, &reply->http, err);
}

static kit_status read_body(const kit_service_call *call, kit_service_reply *reply, kit_status status,
                            kolm_error_t *err) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    bool creates = call->repeat == KIT_HTTP_CREATE || call->repeat == KIT_HTTP_KEYED;
    if (reply->http.body.length == 0 || (status == KOLM_OK && call->has_out_file)) return status;
    kit_status read = kit_http_json(&reply->http, &reply->json, status == KOLM_OK ? err : &ignored);
    if (status != KOLM_OK || read == KOLM_OK) return status;
    reply->may_exist = creates;
    return read;
}

kit_status kit_service_ask(kit_service *service, const kit_service_call *call, kit_service_reply *reply,
                           kolm_error_t *err) {
    kit_buf url = {0}, body = {0};
    kit_service_reply_free(reply);
    if (call->path[0] == '/') kit_buf_str(&url, service->base);
    kit_buf_str(&url, call->path);
    kit_status status = kit_buf_ok(&url, err);
    if (status == KOLM_OK && call->body != NULL) status = kit_json_line(call->body, &body, err);
    while (status == KOLM_OK && body.length > 0 && body.data[body.length - 1] == '\n')
        body.data[--body.length] = '\0';
    if (status == KOLM_OK) {
        bool deaf = service->deaf;
        service->deaf = deaf || call->repeat == KIT_HTTP_CREATE || call->repeat == KIT_HTTP_KEYED;
        status = send(service, call, &url, &body, reply, err);
        service->answered = reply->http.status;
        service->deaf = deaf;
        reply->may_exist = status != KOLM_OK && reply->http.may_have_happened;
        /* without an answer, it is the host name that was not found, not a resource of the provider */
        if (status == KOLM_E_NOT_FOUND && reply->http.status == 0) err->code = status = KOLM_E_UNAVAILABLE;
        status = read_body(call, reply, status, err);
        if (status != KOLM_OK) status = explain(service, reply, status, err);
    }
    kit_buf_free(&url);
    kit_buf_free(&body);
    return status;
}

kit_status kit_service_create(kit_service *service, const kit_service_call *call, const char *key,
                              char out_id[KIT_SERVICE_ID_BYTES], bool *out_may_exist, kit_service_reply *reply,
                              kolm_error_t *err) {
    out_id[0] = '\0';
    kit_status status = kit_service_ask(service, call, reply, err);
    *out_may_exist = status == KOLM_OK || reply->may_exist;
    if (status != KOLM_OK ||
        (kit_service_text(reply->json, key, out_id, KIT_SERVICE_ID_BYTES) && kit_service_is_id(out_id)))
        return status;
    out_id[0] = '\0';
    return kit_fail(err, KOLM_E_DATA_LOSS, "try again; if the error persists, update kolm",
                    "%s sent an unexpected answer: a job without an id", service->site->title);
}
