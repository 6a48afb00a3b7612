/* SPDX-License-Identifier: Apache-2.0 */
/* A gRPC call: one HTTP/2 request per try, and its result. */
#include "kolm/http/grpc.h"

#include "internal.h"
#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MESSAGE_MAX (4u << 20)
#define DEADLINE_MS 60000u
#define OWN_HEADERS 2

typedef struct one_call {
    kit_http *http;
    const kit_grpc_call *call;
    kit_grpc_answer *answer;
    kit_http_header headers[HTTP_HEADERS_MAX];
    kit_buf frame;
    char *url;
    int64_t deadline_ms;
    kit_http_answer heard; /* of the last try */
    uint32_t messages;     /* of the last try */
    bool delivered;        /* to on_message, in any try */
    int64_t wait_ms;       /* requested by the service; -1: none */
} one_call;

void kit_grpc_answer_free(kit_grpc_answer *answer) {
    if (answer == NULL) return;
    kit_buf_free(&answer->message);
    *answer = (kit_grpc_answer){.status = -1};
}

static kit_status on_message(void *user, const void *bytes, size_t length, kolm_error_t *err) {
    one_call *c = user;
    c->messages++;
    if (c->call->on_message != NULL) {
        c->delivered = true;
        return c->call->on_message(c->call->user, bytes, length, err);
    }
    if (c->messages > 1)
        return kit_fail(err, KOLM_E_DATA_LOSS, "report it to the author of this backend",
                        "the answer has more than one message");
    kit_buf_clear(&c->answer->message);
    kit_buf_add(&c->answer->message, bytes, length);
    return kit_buf_ok(&c->answer->message, err);
}

static bool speaks_grpc(const kit_http_answer *heard) {
    const char *type = kit_http_header_of(heard, "content-type");
    return type != NULL && strncasecmp(type, "application/grpc", 16) == 0 && strchr("+; ", type[16]) != NULL;
}

typedef struct body_sink {
    kit_grpc_frames frames;
    const kit_http_answer *heard;
    kolm_error_t refused; /* code not 0: why the answer was not read to its end */
} body_sink;

static kit_status on_bytes(void *user, const char *bytes, size_t length, kolm_error_t *err) {
    body_sink *s = user;
    if (!speaks_grpc(s->heard)) return KOLM_OK; /* reported at the end */
    kit_status status = kit_grpc_frames_take(&s->frames, bytes, length, err);
    if (status != KOLM_OK && err != NULL) s->refused = *err;
    return status;
}

/* ---- One try */

static void read_words(one_call *c) {
    const char *words = kit_http_header_of(&c->heard, "grpc-message");
    const kit_secret *secrets[HTTP_HEADERS_MAX];
    char plain[sizeof c->answer->said];
    kit_buf clean = {0};
    size_t count = 0;
    c->answer->said[0] = '\0';
    if (words == NULL) return;
    kit_grpc_words(words, plain, sizeof plain);
    for (size_t i = 0; i < c->call->header_count; i++)
        if (c->call->headers[i].secret != NULL) secrets[count++] = c->call->headers[i].secret;
    kit_secret_redact(secrets, count, plain, strlen(plain), &clean);
    kit_copy(c->answer->said, sizeof c->answer->said, clean.failed ? "" : kit_buf_text(&clean));
    kit_buf_free(&clean);
}

static int64_t wish_to_wait(const one_call *c) {
    const char *text = kit_http_header_of(&c->heard, "grpc-status-details-bin");
    char padded[4096];
    kit_buf details = {0};
    int64_t wait = -1;
    if (c->call->asks_to_wait == NULL || text == NULL || strlen(text) + 4 > sizeof padded) return -1;
    kit_copy(padded, sizeof padded, text); /* padding may be missing */
    for (size_t n = strlen(padded); n % 4 != 0; n++)
        padded[n] = '=', padded[n + 1] = '\0';
    if (kit_base64_decode(&details, padded, strlen(padded), NULL) == KOLM_OK)
        wait = c->call->asks_to_wait(details.data, details.length);
    kit_buf_free(&details);
    return wait;
}

/* The error for an answer without a gRPC status, from the HTTP status. */
static kit_status not_grpc(const one_call *c, kit_status status, kolm_error_t *err) {
    if (c->heard.status == 0 && status == KOLM_E_NOT_FOUND) { /* of the host name, not of anything at the service */
        if (err != NULL) err->code = KOLM_E_UNAVAILABLE;
        return KOLM_E_UNAVAILABLE;
    }
    if (c->heard.status == 0 || status == KOLM_E_CANCELLED) return status;
    bool well = c->heard.status >= 200 && c->heard.status < 300;
    if (well && status != KOLM_OK) return status; /* it broke off */
    if (well || c->heard.status == 404 || c->heard.status == 405 || c->heard.status == 410 || c->heard.status == 415)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "check the address of the service in the settings of this backend",
                        "%s answered %d and does not speak gRPC", c->call->base, c->heard.status);
    return status;
}

static kit_status judge(one_call *c, kit_status status, bool half, kolm_error_t *err) {
    kit_grpc_answer *a = c->answer;
    bool grpc = c->heard.status == 200 && speaks_grpc(&c->heard);
    a->http_status = c->heard.status;
    if (!grpc) return not_grpc(c, status, err);
    if (status != KOLM_OK) return status; /* broken off, or invalid frames */
    a->status = kit_grpc_status_of(kit_http_header_of(&c->heard, "grpc-status"));
    read_words(c);
    if (a->status > 0) {
        kit_grpc_status_fact fact = kit_grpc_status(a->status);
        c->wait_ms = wish_to_wait(c);
        return kit_fail(err, fact.code, fact.remedy, "%s answered %s%s%.300s", c->call->method, fact.words,
                        a->said[0] != '\0' ? ": " : "", a->said);
    }
    if (a->status == 0 && !half && (c->call->on_message != NULL || c->messages == 1)) return KOLM_OK;
    const char *what = a->status < 0 ? "without a status" : half ? "in the middle of a message" : "without a message";
    a->status = -1;
    return kit_fail(err, KOLM_E_DATA_LOSS, kit_grpc_status(-1).remedy, "the answer to %s ended %s", c->call->method,
                    what);
}

static kit_status one_try(one_call *c, kolm_error_t *err) {
    const kit_grpc_call *call = c->call;
    int64_t left = c->deadline_ms - kit_now_ms();
    body_sink sink = {.frames = {.most = call->message_max > 0 ? call->message_max : MESSAGE_MAX,
                                 .on_message = on_message,
                                 .user = c},
                      .heard = &c->heard};
    const kit_http_request request = {.method = "POST",
                                      .url = c->url,
                                      .headers = c->headers,
                                      .header_count = call->header_count + OWN_HEADERS,
                                      .repeat = call->repeat,
                                      .key = call->key,
                                      .key_header = call->key_header,
                                      .body = c->frame.data,
                                      .body_length = c->frame.length,
                                      .content_type = "application/grpc",
                                      .on_bytes = on_bytes,
                                      .user = &sink,
                                      .body_max = call->on_message != NULL ? 0 : sink.frames.most + 64,
                                      .deadline_ms = left > 0 ? (uint64_t)left : 1,
                                      .idle_ms = call->idle_ms,
                                      .tries = 1,
                                      .http2 = true};
    c->messages = 0;
    c->wait_ms = -1;
    c->answer->status = -1;
    kit_buf_clear(&c->answer->message);
    kit_status status = kit_http_send(c->http, &request, &c->heard, err);
    if (status != KOLM_OK && sink.refused.code != KOLM_OK) { /* this error, for any kind of call */
        status = sink.refused.code;
        if (err != NULL) *err = sink.refused;
    }
    status = judge(c, status, sink.frames.held.length > 0, err);
    kit_buf_free(&sink.frames.held);
    return status;
}

/* ---- All tries */

static bool stopped(const kit_http *http) {
    if (http->host != NULL && http->host->cancelled(http->host->user) != 0) return true;
    return http->cancelled != NULL && http->cancelled(http->user) != 0;
}

static kit_status rest(const one_call *c, uint64_t ms, kolm_error_t *err) {
    int64_t until = kit_now_ms() + (int64_t)ms;
    for (int64_t left; (left = until - kit_now_ms()) > 0;) {
        if (stopped(c->http)) return kit_fail(err, KOLM_E_CANCELLED, "", "%s: stopped on request", c->call->method);
        (void)poll(NULL, 0, (int)(left < HTTP_SLICE_MS ? left : HTTP_SLICE_MS));
    }
    return KOLM_OK;
}

/* True if the gRPC status decides about a retry, false if the HTTP outcome does. */
static bool heard_grpc(const one_call *c) {
    return c->answer->http_status == 200 && c->heard.fate == KIT_HTTP_ANSWERED;
}

static kit_http_next decide(const one_call *c, kit_status status) {
    if (status == KOLM_E_CANCELLED || status == KOLM_E_OUT_OF_RANGE || c->delivered) return KIT_HTTP_STOP;
    if (status == KOLM_E_FAILED_PRECONDITION && c->answer->status < 0) return KIT_HTTP_STOP;
    if (heard_grpc(c)) return kit_grpc_decide(c->call->repeat, c->answer->status);
    return kit_http_decide(c->call->repeat, c->heard.fate, c->heard.status);
}

static bool may_be(const one_call *c) {
    if (c->call->repeat < KIT_HTTP_KEYED) return false;
    if (c->answer->status == 0) return false;
    if (heard_grpc(c)) return !speaks_grpc(&c->heard) || kit_grpc_status(c->answer->status).may_be;
    return kit_http_may_have_happened(c->heard.fate, c->heard.status);
}

static kit_status all_tries(one_call *c, kolm_error_t *err) {
    kit_http *http = c->http;
    uint32_t most = c->call->tries > 0 ? c->call->tries : http->tries;
    bool unclear = false;
    for (uint32_t tried = 1;; tried++) {
        kit_status status = one_try(c, err);
        if (status == KOLM_OK) return status;
        bool throttled = c->wait_ms >= 0 && status != KOLM_E_CANCELLED;
        unclear = unclear || may_be(c);
        c->answer->may_have_happened = unclear;
        uint64_t pause = kit_http_backoff(tried, http->first_wait_ms, http->wait_most_ms, &http->random);
        int64_t asked = throttled ? c->wait_ms : c->heard.retry_after_ms;
        if (asked > 0 && (uint64_t)asked > pause) pause = (uint64_t)asked;
        /* without a key, a call that may have created something is not repeated, even if the service asks for it */
        bool asks = throttled && !c->delivered && !(unclear && c->call->repeat == KIT_HTTP_CREATE);
        bool again = asks || (decide(c, status) == KIT_HTTP_AGAIN && tried < most);
        if (!again || pause > http->wait_most_ms || kit_now_ms() + (int64_t)pause >= c->deadline_ms) return status;
        KIT_TRY(rest(c, pause, err));
    }
}

static kit_status build(one_call *c, kolm_error_t *err) {
    const kit_grpc_call *call = c->call;
    kit_buf url = {0};
    uint8_t prefix[5] = {0, (uint8_t)(call->length >> 24), (uint8_t)(call->length >> 16), (uint8_t)(call->length >> 8),
                         (uint8_t)call->length};
    if (call->header_count + OWN_HEADERS > HTTP_HEADERS_MAX || call->length > INT32_MAX)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "report it to the author of this backend",
                        "the call has too much metadata, or too long a message");
    c->headers[0] = (kit_http_header){"TE", "trailers", NULL};
    c->headers[1] = (kit_http_header){"Accept", "application/grpc", NULL};
    for (size_t i = 0; i < call->header_count; i++)
        c->headers[i + OWN_HEADERS] = call->headers[i];
    kit_buf_add(&c->frame, prefix, sizeof prefix);
    kit_buf_add(&c->frame, call->message, call->length);
    KIT_TRY(kit_buf_ok(&c->frame, err));
    kit_buf_fmt(&url, "%s%s", call->base, call->method);
    c->url = kit_buf_take(&url);
    if (c->url == NULL) return kit_no_memory(err);
    uint64_t given = call->deadline_ms > 0 ? call->deadline_ms : DEADLINE_MS;
    c->deadline_ms = kit_now_ms() + (int64_t)(given < INT32_MAX ? given : INT32_MAX);
    return KOLM_OK;
}

kit_status kit_grpc_send(kit_http *http, const kit_grpc_call *call, kit_grpc_answer *answer, kolm_error_t *err) {
    one_call c = {.http = http, .call = call, .answer = answer};
    kit_grpc_answer_free(answer);
    kit_status status = build(&c, err);
    if (status == KOLM_OK) status = all_tries(&c, err);
    if (status == KOLM_OK) answer->may_have_happened = false;
    const char *date = kit_http_header_of(&c.heard, "date");
    if (date == NULL || !kit_http_date(date, &answer->date)) answer->date = 0;
    if (status == KOLM_OK && err != NULL) *err = (kolm_error_t){.struct_size = err->struct_size};
    kit_http_answer_free(&c.heard);
    kit_buf_free(&c.frame);
    free(c.url);
    return status;
}
