/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP for backends: one request record in, one answer record out, and the policy of tries, redirects, proxies and
 * bounds between them. */
#ifndef KOLM_HTTP_HTTP_H
#define KOLM_HTTP_HTTP_H

#include "kolm/http/retry.h"
#include "kolm/http/secret.h"
#include "kolm/http/tape.h"
#include "kolm/kit/json.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-http, over libcurl (7.85 is enough). A backend says what it wants; everything that has to do with
 * time, repetition and trust is here, once.
 *
 *     kit_http *http = NULL;
 *     kit_secret *token = NULL;
 *     KIT_TRY(kit_secret_read(host, "KOLM_ACME_TOKEN", &token, err));
 *     KIT_TRY(kit_http_open(&(kit_http_options){.host = host}, &http, err));
 *     const kit_http_header headers[] = {{"Authorization", "Bearer ", token}};
 *     kit_http_answer answer = {0};
 *     const kit_http_request request = {.url = "https://api.acme.example/v1/offers", .headers = headers,
 *                                       .header_count = 1};
 *     status = kit_http_send(http, &request, &answer, err);
 *     if (status == KOLM_OK) status = kit_http_json(&answer, &json, err);
 *
 * Threads. A kit_http, with what is sent through it, belongs to one thread at a time; different ones are
 * independent. libcurl is initialised once in the process. When a function returns no thread of libcurl runs any
 * more: it resolves names in one, and waits for it. So a call may last longer than its deadline by what the
 * system's resolver takes to give up (resolv.conf; mostly 10 to 20 s).
 *
 * Network. Without KOLM_FEATURE_NETWORK of the host kit_http_open fails with PERMISSION_DENIED before libcurl is
 * touched, and no socket is made. With the setting network.private_only only loopback and private addresses are
 * connected to, and no proxy is used.
 *
 * Trust. https only, TLS 1.2 or later, certificate and name verified against the system's authorities, or those of
 * ca_file, or of SSL_CERT_FILE in the environment. http is accepted for loopback addresses only, and if
 * allow_plain_loopback says so. A URL with a user or password in it is refused. A redirect is followed for READ
 * only, to the same scheme, host and port only, five at most: the headers of a request, and so its secrets, never
 * go anywhere else.
 *
 * Proxies. HTTPS_PROXY or https_proxy, ALL_PROXY or all_proxy, and NO_PROXY or no_proxy of the environment; a
 * backend gets those that its manifest names under requires. http_proxy is not read: it is for plain http, which
 * goes to loopback addresses only, and those are never sent through a proxy.
 *
 * Tries. kit_http_decide is the table. Up to `tries` in all, with kit_http_backoff between them, or what
 * Retry-After asks for. If that is more than wait_most_ms, or the deadline would pass, the answer at hand is the
 * result. A KIT_HTTP_CREATE is sent on a connection of its own, so that it is not lost on a kept one that the
 * server has closed meanwhile; and that libcurl itself sends a request again, as it does on such a connection, is
 * prevented for all kinds.
 *
 * Results. KOLM_OK: a status of 2xx, and the whole body. Anything else: the code, a text that names method,
 * address (never the query, which may hold a signature), status and the beginning of what the server said, and a
 * remedy. answer->status tells a refusal (not 0) from a failure of the network (0). Codes of statuses are in
 * retry.h; the others are
 *   INVALID_ARGUMENT   the request cannot be sent as it is
 *   NOT_FOUND          the name does not resolve
 *   UNAVAILABLE        refused, unreachable, reset, cut off in the middle
 *   DEADLINE_EXCEEDED  a timeout; the text says in which stage: resolving, connecting, negotiating TLS, sending,
 *                      waiting for the answer, receiving
 *   FAILED_PRECONDITION a certificate that is not trusted (which check), a redirect that is not followed, a proxy
 *                       that refuses
 *   PERMISSION_DENIED  no network for this call, or an address that it may not connect to
 *   OUT_OF_RANGE       headers or body are larger than allowed
 *   DATA_LOSS          what came is not HTTP, is compressed wrongly, or is not the file that was begun
 *   CANCELLED          the user asked to stop
 *   UNKNOWN            KEYED or CREATE: it may have happened. answer->may_have_happened is true; look for it by its
 *                      name before anything else is created. (It is true with other codes too: always look at it.)
 */

typedef struct kit_http kit_http;

/* "NAME: value", the secret appended to the value. value may be "" or NULL, secret NULL. */
typedef struct kit_http_header {
    const char *name;
    const char *value;
    const kit_secret *secret;
} kit_http_header;

/* A part of a multipart/form-data body: bytes in memory, or a file. */
typedef struct kit_http_part {
    const char *name;
    const char *filename;     /* NULL: not a file */
    const char *content_type; /* NULL: none is sent */
    const void *bytes;        /* NULL: file counts */
    size_t length;
    int file;        /* a regular file, open for reading; read with pread, so that its own offset stays */
    uint64_t offset; /* first byte */
    uint64_t size;   /* bytes from there */
} kit_http_part;

/* Zero-initialise it. Everything is only read, and must stay until the call returns. */
typedef struct kit_http_request {
    const char *method; /* NULL: GET, or POST with a body */
    const char *url;
    /* at most 64; not Host, Content-Length, Transfer-Encoding, Connection, Range, nor Accept-Encoding */
    const kit_http_header *headers;
    size_t header_count;
    kit_http_repeat repeat;
    const char *key;        /* KEYED: the idempotency key, the same for all tries; required */
    const char *key_header; /* NULL: Idempotency-Key */

    /* The body, one of them: bytes in memory, a file, or parts. */
    const void *body;
    size_t body_length;
    const char *content_type; /* NULL: application/json for body, application/octet-stream for body_file */
    bool has_body_file;
    int body_file; /* a regular file; read with pread, so that several requests may share it */
    uint64_t body_offset, body_size;
    const kit_http_part *parts;
    size_t part_count;

    /* Where the body of a 2xx goes: into answer->body unless one of these is set. That of another status always
     * goes there, cut at 64 KiB. */
    bool has_out_file;
    /* a regular file, open for reading and writing; it has the body and nothing else after a success, and up to
     * where it came after a failure */
    int out_file;
    /* what out_file holds is the beginning of the body: only the rest is asked for (Range and If-Range), in this call
     * if resume_etag is given, and in tries after a break if the answer that broke off had a strong ETag. Without one
     * the rest could be that of another version: the file is begun again, as it is when the server sends all of it.
     * A rest that does not come with the same ETag is DATA_LOSS */
    bool resume;
    const char *resume_etag; /* the strong ETag of what the file holds; NULL or a weak one (W/"..."): not known */
    /* Each piece as it comes, not kept. Once called, the request is not tried again. Anything but KOLM_OK ends the
     * request with that code. */
    kit_status (*on_bytes)(void *user, const char *bytes, size_t length, kolm_error_t *err);
    void *user;
    uint64_t body_max; /* bytes, after decompression; 0: 1 MiB in memory, no limit in a file or with on_bytes */

    /* for everything, pauses included; 0: 60 s, or none with out_file, body_file and on_bytes. The host's time
     * left counts in any case */
    uint64_t deadline_ms;
    uint64_t connect_ms; /* name, connection and TLS; 0: 15 s, at most 10 min */
    uint64_t idle_ms;    /* nothing goes in or out; 0: 60 s */
    uint32_t tries;      /* 0: as the options say */
    bool http2;          /* HTTP/2 over TLS if the server has it; over plain loopback without asking */
} kit_http_request;

/* Zero-initialise it before its first use; kit_http_send clears it. Free it with kit_http_answer_free. */
typedef struct kit_http_answer {
    int status;             /* 0: none came */
    kit_http_fate fate;     /* of the last try */
    bool may_have_happened; /* KEYED and CREATE: something may exist that the result does not tell of */
    uint32_t tries;         /* sent, redirects not counted */
    kit_buf body;
    bool body_cut; /* body of an error: there was more */
    /* bytes of the body, after decompression; with resume those that were there before count too */
    uint64_t size;
    char sha256_hex[65];    /* of the whole body in out_file, "" without one */
    int64_t retry_after_ms; /* what the last answer asked for; -1: nothing */
    char request_id[128];   /* X-Request-Id or a relative of it, "" if there is none: for the provider's support */
    kit_buf headers;        /* see kit_http_header_of */
} kit_http_answer;

void kit_http_answer_free(kit_http_answer *answer); /* leaves a zeroed record; no-op if NULL */
/* The value of a header of the last answer, of its trailers too (the last one of several), compared without case;
 * NULL if there is none. Valid until the answer is used again. */
const char *kit_http_header_of(const kit_http_answer *answer, const char *name);
/* The body as JSON, strictly (kolm/kit/json.h, depth 64). DATA_LOSS if it is something else, with the content type
 * and the beginning of it in the text. The caller frees *out with cJSON_Delete. */
kit_status kit_http_json(const kit_http_answer *answer, cJSON **out, kolm_error_t *err) KIT_MUST_USE;

/* Zero-initialise it; 0 and NULL are the defaults named. Read only during kit_http_open, except for host,
 * cancelled and user. */
typedef struct kit_http_options {
    /* gives network, stop flag, time left, settings and the log (DEBUG, a line a try). NULL: network allowed */
    const kolm_host_v1_t *host;
    int (*cancelled)(void *user); /* besides host->cancelled; NULL: never */
    void *user;
    const char *ca_file;       /* authorities in PEM, instead of the system's */
    bool allow_plain_loopback; /* accept http://127.0.0.1, http://[::1] and http://localhost */
    const char *proxy;         /* NULL: from the environment; "": none */
    const char *no_proxy;      /* NULL: from the environment */
    const char *user_agent;    /* NULL: kolm/VERSION */
    uint32_t tries;            /* 0: 4 */
    uint64_t first_wait_ms;    /* 0: 500 */
    uint64_t wait_most_ms;     /* 0: 60000; Retry-After too */
    uint64_t seed;             /* of the jitter; 0: random */
    /* records what is sent, or stands for the network; NULL: neither. It must outlive the kit_http */
    kit_http_tape *tape;
} kit_http_options;

kit_status kit_http_open(const kit_http_options *options, kit_http **out, kolm_error_t *err) KIT_MUST_USE;
/* Closes kept connections and frees. No-op if NULL. */
void kit_http_close(kit_http *http);

/* Sends, and waits for the answer. The rules are at the top. */
kit_status kit_http_send(kit_http *http, const kit_http_request *request, kit_http_answer *answer,
                         kolm_error_t *err) KIT_MUST_USE;

/* Several at once, each as kit_http_send does it; returns when all have ended. status and error of each are
 * filled. */
typedef struct kit_http_call {
    const kit_http_request *request;
    kit_http_answer *answer;
    kit_status status;
    kolm_error_t error; /* KIT_ERROR_INIT */
} kit_http_call;
void kit_http_send_all(kit_http *http, kit_http_call *calls, size_t count);

#ifdef __cplusplus
}
#endif
#endif
