/* SPDX-License-Identifier: Apache-2.0 */
/* Error texts: network failures, certificate errors, timeouts, and error statuses. */
#include "internal.h"
#include "kolm/kit/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void http_redact(const http_flight *f, char *text, size_t capacity) {
    kit_buf clean = {0};
    if (f->secret_count == 0) return;
    kit_secret_redact(f->secrets, f->secret_count, text, strlen(text), &clean);
    kit_copy(text, capacity, clean.failed ? "(hidden: out of memory)" : kit_buf_text(&clean));
    kit_buf_free(&clean);
}

bool http_refuse(http_flight *f, int32_t code, const char *remedy, const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    f->refused = kit_fail(f->err, code, remedy, "%s %s: %s", f->method, f->place.shown, text);
    return false;
}

/* The proxy's status for CONNECT; 0: none. */
static long proxy_status_of(const http_flight *f) {
    long status = 0;
    if (f->easy != NULL) (void)curl_easy_getinfo(f->easy, CURLINFO_HTTP_CONNECTCODE, &status);
    return status;
}

http_stage http_stage_of(const http_flight *f) {
    curl_off_t named = 0;
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    if (f->easy == NULL) return f->played;
    if (f->headers_done) return HTTP_RECEIVING;
    if (f->going_out) {
        const kit_http_request *r = f->request;
        uint64_t size = r->has_body_file ? r->body_size : r->part_count > 0 ? 0 : r->body_length;
        return (uint64_t)f->up < size ? HTTP_SENDING : HTTP_WAITING;
    }
    (void)curl_easy_getinfo(f->easy, CURLINFO_NAMELOOKUP_TIME_T, &named);
    if (named == 0) return HTTP_RESOLVING;
    bool connected = f->socket >= 0 && getpeername(f->socket, (struct sockaddr *)(void *)&peer, &length) == 0;
    return connected ? HTTP_NEGOTIATING : HTTP_CONNECTING;
}

static const char *const stages[] = {
    [HTTP_RESOLVING] = "while its name was being resolved", [HTTP_CONNECTING] = "while connecting",
    [HTTP_NEGOTIATING] = "while TLS was being negotiated",  [HTTP_SENDING] = "while the request was being sent",
    [HTTP_WAITING] = "while waiting for the answer",        [HTTP_RECEIVING] = "in the middle of the answer",
};

/* OpenSSL's X509_V_ERR_*, which other TLS libraries of libcurl do not provide. */
typedef struct check_fact {
    long result;
    const char *words;
    const char *remedy;
} check_fact;
#define AUTHORITY                                                                                                      \
    "for an in-house service set the file of its certificate authority (ca_file or SSL_CERT_FILE); otherwise the "     \
    "connection may "                                                                                                  \
    "be "                                                                                                              \
    "intercepted"
static const check_fact checks[] = {
    {9, "is not valid yet", "check the clock of this machine"},
    {10, "has expired", "check the clock of this machine; otherwise the service must renew it"},
    {18, "is self-signed", AUTHORITY},
    {19, "comes from an authority that this machine does not trust", AUTHORITY},
    {20, "comes from an authority that this machine does not trust", AUTHORITY},
    {21, "comes from an authority that this machine does not trust", AUTHORITY},
    {23, "has been revoked", "do not use the service until it has a new one"},
    {26, "is not valid for servers", "the service needs another one"},
    {62, "is for another name",
     "check the address of the service; otherwise someone may be intercepting the connection"},
    {64, "is for another address",
     "check the address of the service; otherwise someone may be intercepting the connection"},
};

static bool numbers_of_openssl(void) {
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
    return info->ssl_version != NULL && strstr(info->ssl_version, "SSL/") != NULL; /* OpenSSL, LibreSSL, BoringSSL */
}

static kit_status fail_certificate(http_flight *f) {
    long result = 0;
    check_fact fact = {0, "cannot be verified", AUTHORITY};
    if (f->easy != NULL) (void)curl_easy_getinfo(f->easy, CURLINFO_SSL_VERIFYRESULT, &result);
    if (!numbers_of_openssl()) result = -1;
    /* the chain is valid, so the name is wrong, which libcurl itself checks */
    if (result == 0 || result == 1) result = 62;
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
        if (checks[i].result == result) fact = checks[i];
    return kit_fail(f->err, KOLM_E_FAILED_PRECONDITION, fact.remedy, "%s %s: the certificate of %s %s (%s)", f->method,
                    f->place.shown, f->place.host, fact.words, f->words);
}

typedef struct transfer_fact {
    CURLcode code;
    int32_t status;
    const char *words;
    const char *remedy;
} transfer_fact;

#define NETWORK "check the network of this machine, and the provider's status page"
#define ADDRESS "check the address of the service in the settings of this backend"
static const transfer_fact transfers[] = {
    {CURLE_COULDNT_RESOLVE_HOST, KOLM_E_NOT_FOUND, "the name of the host does not resolve",
     "check the network and the name server of this machine, and the address of the service"},
    {CURLE_COULDNT_RESOLVE_PROXY, KOLM_E_NOT_FOUND, "the name of the proxy does not resolve", "check HTTPS_PROXY"},
    {CURLE_COULDNT_CONNECT, KOLM_E_UNAVAILABLE, "the connection was refused, or the host is unreachable", NETWORK},
    {CURLE_SSL_CONNECT_ERROR, KOLM_E_UNAVAILABLE, "TLS could not be negotiated",
     "check that the port speaks TLS 1.2 or later, and that nothing in between closes the connection"},
    {CURLE_SSL_CACERT_BADFILE, KOLM_E_FAILED_PRECONDITION, "the file of certificate authorities cannot be read",
     "check ca_file, or SSL_CERT_FILE"},
    {CURLE_OPERATION_TIMEDOUT, KOLM_E_DEADLINE_EXCEEDED, "it timed out", NETWORK},
    {CURLE_GOT_NOTHING, KOLM_E_UNAVAILABLE, "the connection was closed without an answer", NETWORK},
    {CURLE_SEND_ERROR, KOLM_E_UNAVAILABLE, "the connection broke while the request was being sent", NETWORK},
    {CURLE_RECV_ERROR, KOLM_E_UNAVAILABLE, "the connection broke", NETWORK},
    {CURLE_PARTIAL_FILE, KOLM_E_UNAVAILABLE, "the answer ended too early", NETWORK},
    {CURLE_HTTP2, KOLM_E_UNAVAILABLE, "the HTTP/2 connection broke", NETWORK},
    {CURLE_HTTP2_STREAM, KOLM_E_UNAVAILABLE, "the server aborted the request", NETWORK},
    {CURLE_READ_ERROR, KOLM_E_DATA_LOSS, "the file being sent became shorter, or cannot be read",
     "do not change the file while it is sent"},
    {CURLE_ABORTED_BY_CALLBACK, KOLM_E_UNAVAILABLE, "the connection broke", NETWORK},
    {CURLE_UNSUPPORTED_PROTOCOL, KOLM_E_DATA_LOSS, "the answer is not HTTP", ADDRESS},
    {CURLE_WEIRD_SERVER_REPLY, KOLM_E_DATA_LOSS, "the answer is not HTTP", ADDRESS},
    {CURLE_BAD_CONTENT_ENCODING, KOLM_E_DATA_LOSS,
     "the body is compressed incorrectly, or with an encoding that was not requested", ADDRESS},
    {CURLE_OUT_OF_MEMORY, KOLM_E_RESOURCE_EXHAUSTED, "out of memory", "close other programs or raise the limit"},
};

/* libcurl's text may contain the proxy's address, and so a password: use it for certificates only. */
kit_status http_fail_transfer(http_flight *f, CURLcode code) {
    transfer_fact fact = {code, KOLM_E_UNAVAILABLE, curl_easy_strerror(code), NETWORK};
    long proxy_status = proxy_status_of(f);
    if (f->barred)
        return kit_fail(
            f->err, KOLM_E_PERMISSION_DENIED, "use an address of this machine or of a private network, or allow others",
            "%s %s: %s is on an address that this call may not connect to", f->method, f->place.shown, f->place.host);
    if (code == CURLE_PEER_FAILED_VERIFICATION) return fail_certificate(f);
    if (!f->going_out && proxy_status >= 300)
        return kit_fail(f->err, KOLM_E_FAILED_PRECONDITION,
                        proxy_status == 407 ? "put user and password of the proxy into HTTPS_PROXY"
                                            : "check HTTPS_PROXY and NO_PROXY",
                        "%s %s: the proxy refuses the connection with status %ld", f->method, f->place.shown,
                        proxy_status);
    for (size_t i = 0; i < sizeof transfers / sizeof transfers[0]; i++)
        if (transfers[i].code == code) fact = transfers[i];
    return kit_fail(f->err, fact.status, fact.remedy, "%s %s: %s, %s", f->method, f->place.shown, fact.words,
                    stages[http_stage_of(f)]);
}

kit_status http_fail_time(http_flight *f, const char *what) {
    return kit_fail(f->err, KOLM_E_DEADLINE_EXCEEDED, NETWORK, "%s %s: %s passed %s", f->method, f->place.shown, what,
                    stages[http_stage_of(f)]);
}

bool http_may_pass(const http_flight *f, CURLcode code) {
    long proxy_status = proxy_status_of(f);
    if (f->barred || (!f->going_out && proxy_status >= 400 && proxy_status < 500)) return false;
    return code != CURLE_PEER_FAILED_VERIFICATION && code != CURLE_SSL_CACERT_BADFILE && code != CURLE_READ_ERROR &&
           code != CURLE_OUT_OF_MEMORY;
}

/* ---- The server's message */

/* The message in the body of an error, in its usual places; NULL if there is none. */
static const char *sentence_in(const cJSON *json) {
    static const char *const names[] = {"detail", "message", "msg", "error", "title", "error_description"};
    const char *text = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (kit_json_get_string(json, names[i], &text) && text[0] != '\0') return text;
    const cJSON *error = kit_json_get(json, "error");
    for (size_t i = 0; cJSON_IsObject(error) && i < 3; i++)
        if (kit_json_get_string(error, names[i], &text) && text[0] != '\0') return text;
    const cJSON *first = cJSON_GetArrayItem(kit_json_get(json, "detail"), 0);
    if (cJSON_IsObject(first) && kit_json_get_string(first, "msg", &text)) return text;
    return NULL;
}

#define SAID_MAX 240u

/* The beginning of the body, for display: no secrets, one line, no control characters; "" for an HTML page. */
static void said(const http_flight *f, kit_buf *out) {
    const kit_buf *body = &f->answer->body;
    const char *text = kit_buf_text(body);
    cJSON *json = NULL;
    kit_buf clean = {0};
    size_t length = body->length;
    if (length > 0 && kit_json_parse(text, length, &json, NULL) == KOLM_OK) {
        const char *sentence = cJSON_IsObject(json) ? sentence_in(json) : NULL;
        if (sentence != NULL) text = sentence, length = strlen(sentence);
    }
    while (length > 0 && strchr(" \t\r\n", text[0]) != NULL && text[0] != '\0')
        text++, length--;
    if (length > 0 && text[0] != '<') {
        kit_secret_redact(f->secrets, f->secret_count, text, length < 4 * SAID_MAX ? length : 4 * SAID_MAX, &clean);
        for (size_t i = 0; i < clean.length; i++)
            if (strchr("\t\r\n", clean.data[i]) != NULL) clean.data[i] = ' ';
        kit_buf_str(out, ": ");
        kit_buf_escaped(out, kit_buf_text(&clean), clean.length < SAID_MAX ? clean.length : SAID_MAX);
        if (clean.length > SAID_MAX) kit_buf_str(out, "...");
    }
    kit_buf_free(&clean);
    cJSON_Delete(json);
}

/* Appends the target of a redirect, without its path if it is another origin: the path may itself be a secret. */
static void say_target(const http_flight *f, const char *location, kit_buf *out) {
    http_place to = {0};
    char *url = NULL;
    if (http_place_follow(&f->place, location, &url, NULL) == KOLM_OK &&
        http_place_parse(f->http, url, &to, NULL) == KOLM_OK) {
        bool ours = strcmp(to.origin, f->place.origin) == 0;
        const char *host = strstr(to.shown, "://") + 3;
        size_t most = ours ? strlen(to.shown) : (size_t)(host - to.shown) + strcspn(host, "/");
        kit_buf_fmt(out, " to %.*s, which is not followed", (int)(most < 200 ? most : 200), to.shown);
    }
    http_place_free(&to);
    free(url);
}

kit_status http_fail_status(http_flight *f) {
    const kit_http_answer *a = f->answer;
    kit_http_status_fact fact = kit_http_status(a->status);
    kit_buf words = {0};
    const char *location = a->status >= 300 && a->status < 400 ? kit_http_header_of(a, "location") : NULL;
    if (location != NULL)
        say_target(f, location, &words);
    else
        said(f, &words);
    kit_status status = kit_fail(f->err, fact.code, fact.remedy, "%s %s answered %d %s%s", f->method, f->place.shown,
                                 a->status, fact.words, kit_buf_text(&words));
    kit_buf_free(&words);
    return status;
}
