/* SPDX-License-Identifier: Apache-2.0 */
/* One try: sets up a libcurl request with its callbacks. */
#include "internal.h"
#include "kolm/kit/process.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define ALIVE_IDLE_SECONDS 30 /* silence before the first keepalive probe */
#define ALIVE_EVERY_SECONDS 10
#define ALIVE_TIMES 6

/* Detects within a minute and a half that the peer has vanished silently, however long an answer may take. */
static void keep_alive(int fd) {
    const struct {
        int level, option, value;
    } options[] = {{SOL_SOCKET, SO_KEEPALIVE, 1},
                   {IPPROTO_TCP, TCP_KEEPIDLE, ALIVE_IDLE_SECONDS},
                   {IPPROTO_TCP, TCP_KEEPINTVL, ALIVE_EVERY_SECONDS},
                   {IPPROTO_TCP, TCP_KEEPCNT, ALIVE_TIMES}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        (void)setsockopt(fd, options[i].level, options[i].option, &options[i].value, sizeof options[i].value);
}

/* Opens the socket of a try, to allowed addresses only. */
static curl_socket_t open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address) {
    http_flight *f = user;
    (void)purpose;
    const struct sockaddr *to = &address->addr;
    bool allowed =
        (!f->http->private_only || http_address_is_private(to)) && (!f->place.plain || http_address_is_loopback(to));
    if (!allowed) {
        f->barred = true;
        return CURL_SOCKET_BAD;
    }
    f->socket = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (f->socket >= 0) keep_alive(f->socket);
    return f->socket;
}

void http_exchange_watch(http_flight *f) {
    curl_socket_t fd = CURL_SOCKET_BAD;
    int queued = 0;
    if (curl_easy_getinfo(f->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD) fd = f->socket;
    if (fd < 0 || ioctl(fd, SIOCOUTQ, &queued) != 0) return;
    if (queued != f->queued) f->active_ms = kit_now_ms();
    f->queued = queued;
}

/* Called once the connection is up, before the request is sent. libcurl calls it again if it resends a request by
 * itself, for example on a dead kept connection; that is refused, because retries are decided elsewhere. */
static int before_request(void *user, char *to_ip, char *from_ip, int to_port, int from_port) {
    http_flight *f = user;
    (void)to_ip, (void)from_ip, (void)to_port, (void)from_port;
    if (f->going_out) return CURL_PREREQFUNC_ABORT;
    f->going_out = true;
    return CURL_PREREQFUNC_OK;
}

static int on_progress(void *user, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up) {
    http_flight *f = user;
    (void)down_total, (void)up_total;
    if (down != f->down || up != f->up) f->active_ms = kit_now_ms();
    f->down = down;
    f->up = up;
    return 0;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *user) {
    http_flight *f = user;
    f->active_ms = kit_now_ms();
    if (http_tape_records(f->http)) http_tape_hear(f, bytes, size * count);
    if (f->refused != KOLM_OK || !http_sink_take(f, bytes, size * count)) return 0;
    return size * count;
}

/* "HTTP/1.1 200 OK": drops a preceding interim answer, whose lines still count. */
static void on_status_line(http_flight *f) {
    kit_buf_clear(&f->answer->headers);
    f->headers_done = false;
}

static bool on_headers_end(http_flight *f) {
    long status = 0;
    if (f->headers_done) return true; /* the end of trailers */
    if (curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK || (status >= 100 && status < 200))
        return true;
    f->headers_done = true;
    f->answer->status = (int)status;
    f->refused = kit_buf_ok(&f->answer->headers, f->err);
    return f->refused == KOLM_OK && http_sink_begin(f, status);
}

static size_t on_header(char *bytes, size_t size, size_t count, void *user) {
    http_flight *f = user;
    size_t length = size * count, text = length;
    f->active_ms = kit_now_ms();
    if (f->refused != KOLM_OK) return 0;
    f->header_bytes += length;
    if (++f->header_lines > HTTP_ANSWER_LINES_MAX || f->header_bytes > HTTP_ANSWER_HEADER_BYTES_MAX) {
        (void)http_refuse(f, KOLM_E_OUT_OF_RANGE,
                          "check the address of the service; this is not what it is expected to send",
                          "the answer has more than %d header lines or %d bytes of them", HTTP_ANSWER_LINES_MAX,
                          HTTP_ANSWER_HEADER_BYTES_MAX);
        return 0;
    }
    while (text > 0 && (bytes[text - 1] == '\n' || bytes[text - 1] == '\r'))
        text--;
    if (text > 5 && memcmp(bytes, "HTTP/", 5) == 0)
        on_status_line(f);
    else if (text == 0)
        return on_headers_end(f) ? length : 0;
    else
        http_headers_take(&f->answer->headers, bytes, text);
    return length;
}

#define SET(option, value)                                                                                             \
    do {                                                                                                               \
        if (curl_easy_setopt(f->easy, option, value) != CURLE_OK) return kit_no_memory(err);                           \
    } while (0)

static kit_status set_trust(http_flight *f, kolm_error_t *err) {
    const kit_http *http = f->http;
    const char *schemes = f->place.plain ? "http" : "https";
    bool direct = f->place.loopback || http->private_only;
    SET(CURLOPT_PROTOCOLS_STR, schemes);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    if (http->ca_file != NULL) {
        SET(CURLOPT_CAINFO, http->ca_file);
        SET(CURLOPT_CAPATH, NULL);
        SET(CURLOPT_PROXY_CAINFO, http->ca_file);
        SET(CURLOPT_PROXY_CAPATH, NULL);
    }
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, f);
    SET(CURLOPT_PROXY, direct || http->proxy == NULL ? "" : http->proxy);
    if (http->no_proxy != NULL) SET(CURLOPT_NOPROXY, http->no_proxy);
    SET(CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    return KOLM_OK;
}

static kit_status set_way(http_flight *f, kolm_error_t *err) {
    const kit_http_request *r = f->request;
    long version = !r->http2        ? CURL_HTTP_VERSION_1_1
                   : f->place.plain ? CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
                                    : CURL_HTTP_VERSION_2TLS;
    SET(CURLOPT_URL, f->place.url);
    SET(CURLOPT_HTTP_VERSION, version);
    SET(CURLOPT_NOSIGNAL, 1L);
    /* look() enforces the limit; libcurl divides its own among the addresses of a name. */
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(f->connect_ms + 2 * HTTP_SLICE_MS));
    SET(CURLOPT_USERAGENT, f->http->agent);
    SET(CURLOPT_ERRORBUFFER, f->words);
    SET(CURLOPT_PRIVATE, f);
    SET(CURLOPT_PREREQFUNCTION, before_request);
    SET(CURLOPT_PREREQDATA, f);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, f);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, f);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, f);
    /* libcurl 7.88 fails on a kept HTTP/2 connection without TLS */
    bool once = r->http2 && f->place.plain;
    SET(CURLOPT_FRESH_CONNECT, r->repeat == KIT_HTTP_CREATE || once ? 1L : 0L);
    SET(CURLOPT_FORBID_REUSE, once ? 1L : 0L);
    /* A file is requested unencoded: its digest and ranges refer to its own bytes. */
    if (!r->has_out_file && r->on_bytes == NULL) SET(CURLOPT_ACCEPT_ENCODING, "gzip");
    SET(CURLOPT_HTTPHEADER, f->list);
    return KOLM_OK;
}

static kit_status set_range(http_flight *f, kolm_error_t *err) {
    char text[32];
    if (f->range_from == 0) return KOLM_OK;
    kit_format(text, sizeof text, "%llu-", (unsigned long long)f->range_from);
    SET(CURLOPT_RANGE, text);
    return KOLM_OK;
}

void http_exchange_reset(http_flight *f) {
    f->words[0] = '\0';
    f->going_out = f->barred = f->headers_done = f->whole_already = f->enough = false;
    f->socket = -1;
    f->queued = 0;
    f->header_lines = 0;
    f->header_bytes = 0;
    f->up = f->down = 0;
    f->refused = KOLM_OK;
    f->answer->status = 0;
    f->answer->retry_after_ms = -1;
    f->answer->request_id[0] = '\0';
    kit_buf_clear(&f->answer->headers);
    kit_buf_clear(&f->answer->body);
    kit_buf_clear(&f->heard);
    f->heard_size = 0;
    http_sink_range(f);
}

kit_status http_exchange_begin(http_flight *f, kolm_error_t *err) {
    if (f->easy == NULL) f->easy = curl_easy_init();
    if (f->easy == NULL) return kit_no_memory(err);
    curl_easy_reset(f->easy);
    http_exchange_reset(f);
    KIT_TRY(http_headers_build(f, err));
    KIT_TRY(set_way(f, err));
    KIT_TRY(set_trust(f, err));
    KIT_TRY(http_source_attach(f, err));
    KIT_TRY(set_range(f, err));
    if (curl_multi_add_handle(f->http->multi, f->easy) != CURLM_OK) return kit_no_memory(err);
    f->try_ms = f->active_ms = kit_now_ms();
    return KOLM_OK;
}

void http_exchange_end(http_flight *f) {
    if (f->easy != NULL) (void)curl_multi_remove_handle(f->http->multi, f->easy);
    http_headers_free(f);
    http_source_detach(f);
}
