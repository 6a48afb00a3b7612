/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP for backends: sends one request and returns one answer, with one policy for retries, redirects, proxies and
 * limits. */
/* Sources: answer.c, client.c, headers.c and send.c. */
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
 * In libkolm-kit-http, over libcurl (7.85 is enough). The backend describes the request; timeouts, retries and trust
 * are handled here.
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
 * Threads. A kit_http and the requests sent through it belong to one thread at a time; different ones are independent.
 * libcurl is initialised once per process. No thread of libcurl is running when a function returns: libcurl resolves
 * names in a thread and waits for it, so a call may exceed its deadline by the time that the system's resolver takes to
 * give up (resolv.conf; usually 10 to 20 s).
 *
 * Network. If the host lacks KOLM_FEATURE_NETWORK, kit_http_open fails with PERMISSION_DENIED before libcurl is used or
 * a socket is created. With the setting network.private_only it connects to loopback and private addresses only, and
 * uses no proxy.
 *
 * Trust. https only, TLS 1.2 or later, certificate and name verified against the system's authorities, or those of
 * ca_file, or of SSL_CERT_FILE in the environment. http is accepted only for loopback addresses, and only with
 * allow_plain_loopback. A URL that contains a user or password is rejected. Redirects are followed for READ only, to
 * the same scheme, host and port only, at most five: the headers of a request, and so its secrets, go nowhere else.
 *
 * Proxies. HTTPS_PROXY or https_proxy, ALL_PROXY or all_proxy, and NO_PROXY or no_proxy from the environment; a backend
 * gets those that its manifest lists under requires. http_proxy is not read: it applies to plain http, which is for
 * loopback addresses only, and those never use a proxy.
 *
 * Tries. kit_http_decide is the table. At most `tries` in all, separated by kit_http_backoff or Retry-After, whichever
 * is longer. If the pause would exceed wait_most_ms or the deadline, the latest answer is the result. A KIT_HTTP_CREATE
 * is sent on a new connection, because the server may have closed a kept one meanwhile; libcurl's own resending on such
 * a connection is disabled for all kinds.
 *
 * Results. KOLM_OK: a 2xx status and the whole body. Anything else: the code, a text with the method, the address
 * (never the query, which may contain a signature), the status and the beginning of the body, and a remedy.
 * answer->status distinguishes a refusal (not 0) from a network failure (0). Codes of statuses are in retry.h; the
 * others are
 *   INVALID_ARGUMENT   the request cannot be sent as it is
 *   NOT_FOUND          the name does not resolve
 *   UNAVAILABLE        connection refused, unreachable, reset, or broken off
 *   DEADLINE_EXCEEDED  a timeout; the text says in which stage: resolving, connecting, negotiating TLS, sending,
 *                      waiting for the answer, receiving
 *   FAILED_PRECONDITION  an untrusted certificate (the text says which check failed), a redirect that is not followed,
 *                      a proxy that refuses
 *   PERMISSION_DENIED  no network for this call, or an address that it may not connect to
 *   OUT_OF_RANGE       headers or body are larger than allowed
 *   DATA_LOSS          the answer is not HTTP, not decompressible, or not the file that is being resumed
 *   CANCELLED          the user asked to stop
 *   UNKNOWN            KEYED or CREATE: it may have taken effect. answer->may_have_happened is true; look the resource
 *                      up by name before creating anything else. (It may be true with other codes too: always check it)
 */

typedef struct kit_http kit_http;

/* "NAME: value", with the secret appended to the value. value may be "" or NULL, secret may be NULL. */
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
    const void *bytes;        /* NULL: file is used */
    size_t length;
    int file;        /* a regular file, open for reading; read with pread: its file offset does not change */
    uint64_t offset; /* first byte */
    uint64_t size;   /* bytes from there */
} kit_http_part;

/* Zero-initialise it. It is only read, and must stay valid until the call returns. */
typedef struct kit_http_request {
    const char *method; /* NULL: GET, or POST with a body */
    const char *url;
    /* at most 64; not Host, Content-Length, Transfer-Encoding, Connection, Range, nor Accept-Encoding */
    const kit_http_header *headers;
    size_t header_count;
    kit_http_repeat repeat;
    const char *key;        /* KEYED: the idempotency key, the same for all tries; required */
    const char *key_header; /* NULL: Idempotency-Key */

    /* The body, in one of three forms: bytes in memory, a file, or parts. */
    const void *body;
    size_t body_length;
    const char *content_type; /* NULL: application/json for body, application/octet-stream for body_file */
    bool has_body_file;
    int body_file; /* a regular file; read with pread: several requests may share it */
    uint64_t body_offset;
    uint64_t body_size;
    const kit_http_part *parts;
    size_t part_count;

    /* Where the body of a 2xx goes: into answer->body unless one of these is set. The body of any other status always
     * goes there, truncated at 64 KiB. */
    bool has_out_file;
    /* a regular file, open for reading and writing; on success it contains exactly the body, on failure the part that
     * was received */
    int out_file;
    /* out_file contains the beginning of the body: only the rest is requested (Range and If-Range), in this call if
     * resume_etag is given, and in retries if the interrupted answer had a strong ETag. Without one the rest could
     * belong to another version, so the download starts over, as it does if the server sends the whole body. A rest
     * with a different ETag is DATA_LOSS */
    bool resume;
    const char *resume_etag; /* the strong ETag of the file's contents; NULL or a weak one (W/"..."): unknown */
    /* Called with each piece as it arrives; pieces are not kept. Once it has been called, the request is not retried.
     * Any result but KOLM_OK ends the request with that code. */
    kit_status (*on_bytes)(void *user, const char *bytes, size_t length, kolm_error_t *err);
    void *user;
    uint64_t body_max; /* bytes, after decompression; 0: 1 MiB in memory, no limit in a file or with on_bytes */

    /* for everything, including pauses; 0: 60 s, or none with out_file, body_file and on_bytes. The host's time left
     * applies in any case */
    uint64_t deadline_ms;
    uint64_t connect_ms; /* name lookup, connection and TLS; 0: 15 s, at most 10 min */
    uint64_t idle_ms;    /* longest time without any data in or out; 0: 60 s */
    uint32_t tries;      /* 0: as in the options */
    bool http2;          /* HTTP/2 over TLS if the server supports it; over plain loopback with prior knowledge */
} kit_http_request;

/* Zero-initialise it before its first use; kit_http_send clears it. Free it with kit_http_answer_free. */
typedef struct kit_http_answer {
    int status;             /* 0: none received */
    kit_http_fate fate;     /* of the last try */
    bool may_have_happened; /* KEYED and CREATE: something may exist that the result does not mention */
    uint32_t tries;         /* number of tries, not counting redirects */
    kit_buf body;
    bool body_cut; /* body of an error: it was truncated */
    /* bytes of the body, after decompression; with resume this includes those that were there before */
    uint64_t size;
    char sha256_hex[65];    /* of the whole body in out_file, "" without one */
    int64_t retry_after_ms; /* Retry-After of the last answer; -1: none */
    char request_id[128];   /* X-Request-Id or similar, "" if there is none: for the provider's support */
    kit_buf headers;        /* see kit_http_header_of */
} kit_http_answer;

void kit_http_answer_free(kit_http_answer *answer); /* leaves a zeroed record; no-op if NULL */
/* Returns the value of a header or trailer of the last answer (the last of several), ignoring case; NULL if there is
 * none. Valid until the answer is used again. */
const char *kit_http_header_of(const kit_http_answer *answer, const char *name);
/* The body as JSON, strictly (kolm/kit/json.h, depth 64). DATA_LOSS if it is not JSON, with the content type and the
 * beginning of the body in the text. The caller frees *out with cJSON_Delete. */
kit_status kit_http_json(const kit_http_answer *answer, cJSON **out, kolm_error_t *err) KIT_MUST_USE;

/* Zero-initialise it; 0 and NULL mean the defaults given. Used only during kit_http_open, except for host, cancelled
 * and user. */
typedef struct kit_http_options {
    /* for network permission, stop flag, time left, settings and the log (DEBUG, one line per try). NULL: the network
     * is allowed */
    const kolm_host_v1_t *host;
    int (*cancelled)(void *user); /* in addition to host->cancelled; NULL: never */
    void *user;
    const char *ca_file;       /* authorities in PEM, instead of the system's */
    bool allow_plain_loopback; /* accept http://127.0.0.1, http://[::1] and http://localhost */
    const char *proxy;         /* NULL: from the environment; "": none */
    const char *no_proxy;      /* NULL: from the environment */
    const char *user_agent;    /* NULL: kolm/VERSION */
    uint32_t tries;            /* 0: 4 */
    uint64_t first_wait_ms;    /* 0: 500 */
    uint64_t wait_most_ms;     /* 0: 60000; also for Retry-After */
    uint64_t seed;             /* of the jitter; 0: random */
    /* records the exchanges, or replaces the network; NULL: neither. It must outlive the kit_http */
    kit_http_tape *tape;
} kit_http_options;

kit_status kit_http_open(const kit_http_options *options, kit_http **out, kolm_error_t *err) KIT_MUST_USE;
/* Closes kept connections and frees http. No-op if NULL. */
void kit_http_close(kit_http *http);

/* Sends the request and waits for the answer, by the rules above. */
kit_status kit_http_send(kit_http *http, const kit_http_request *request, kit_http_answer *answer,
                         kolm_error_t *err) KIT_MUST_USE;

/* Sends several requests in parallel, each as kit_http_send does; returns once all have ended, with status and error
 * set in each. */
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
