/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this room: a client, and a flight, which is one request with all its tries. */
#ifndef KOLM_HTTP_INTERNAL_H
#define KOLM_HTTP_INTERNAL_H

#include "kolm/http/http.h"
#include "kolm/kit/digest.h"

#include <curl/curl.h>

#define HTTP_HEADERS_MAX 64       /* of a request */
#define HTTP_ANSWER_LINES_MAX 256 /* header lines of an answer, including interim answers */
#define HTTP_ANSWER_HEADER_BYTES_MAX 65536
#define HTTP_ERROR_BODY_MAX 65536
#define HTTP_REDIRECTS_MAX 5
#define HTTP_TAPE_BODY_MAX (1u << 20)
#define HTTP_SLICE_MS 100 /* polling interval of the stop flag */

struct kit_http {
    const kolm_host_v1_t *host;
    int (*cancelled)(void *user);
    void *user;
    CURLM *multi;
    kit_http_tape *tape;
    char *ca_file, *proxy, *no_proxy, *agent; /* NULL: libcurl's default */
    bool plain_loopback, private_only;
    uint32_t tries;
    uint64_t first_wait_ms, wait_most_ms, random;
};

typedef enum http_stage {
    HTTP_RESOLVING,
    HTTP_CONNECTING,
    HTTP_NEGOTIATING,
    HTTP_SENDING,
    HTTP_WAITING,
    HTTP_RECEIVING,
} http_stage;

typedef enum http_state {
    FLIGHT_PAUSED, /* until due_ms */
    FLIGHT_RUNNING,
    FLIGHT_DONE,
} http_state;

typedef enum http_sink {
    SINK_MEMORY,
    SINK_FILE,
    SINK_CALL,
} http_sink;

/* A parsed URL. */
typedef struct http_place {
    char *url;    /* whole */
    char *origin; /* "https://host:443", always with the port */
    char *shown;  /* for display: without query and fragment */
    char *host;
    bool plain, loopback;
} http_place;

/* A part of a file, read by libcurl. */
typedef struct http_reader {
    int file;
    uint64_t begin, size, at;
} http_reader;

typedef struct http_flight {
    kit_http *http;
    const kit_http_request *request;
    kit_http_answer *answer;
    kolm_error_t *err;
    kit_status status;
    http_state state;
    http_place place;
    const kit_secret *secrets[HTTP_HEADERS_MAX];
    size_t secret_count;
    const char *method;

    CURL *easy;
    struct curl_slist *list;
    curl_mime *mime;
    char words[CURL_ERROR_SIZE]; /* libcurl's */

    int64_t deadline_ms, due_ms, try_ms, active_ms; /* on kit_now_ms; deadline_ms is INT64_MAX if there is none */
    uint64_t idle_ms, connect_ms;
    uint32_t tries, redirects;
    bool unclear; /* an earlier try may have created something */

    /* This try. */
    bool going_out; /* the request is being sent: from now on it may arrive */
    bool barred;    /* an address was refused */
    int socket;     /* the last one created; -1: none */
    int queued;     /* unacknowledged bytes in the socket's send queue, at the last check */
    bool headers_done;
    uint32_t header_lines;
    size_t header_bytes;
    curl_off_t up, down; /* bytes, at the last check */
    kit_status refused;  /* a callback's own verdict, with its error in *err */
    http_sink sink;
    uint64_t most;
    uint64_t range_from; /* 0: the whole body is requested */
    uint64_t total;      /* size of the file; UINT64_MAX: unknown */
    bool whole_already;  /* 416: the file is already complete */
    bool enough;         /* of an error's body was received */
    kit_buf heard;       /* the body, for the recording */
    uint64_t heard_size; /* size of the whole body */
    http_stage played;   /* where a replayed try failed */

    /* Of all tries. */
    bool delivered;       /* on_bytes was called */
    uint64_t good;        /* bytes at the beginning of out_file that belong to the body */
    kit_sha256 *digest;   /* of those */
    char etag[160];       /* strong, of the partial file; "" if unknown */
    http_reader *readers; /* of body_file and parts */
} http_flight;

/* secret.c */
void http_wipe(void *bytes, size_t length);
const char *http_secret_text(const kit_secret *secret);

/* failure.c */
/* Removes the request's secrets from a text in place. Failure texts are built without regard to secrets, and all pass
 * through here: the log in log_try, errors in land. */
void http_redact(const http_flight *f, char *text, size_t capacity);
/* Fills err for a network failure; code is libcurl's. */
kit_status http_fail_transfer(http_flight *f, CURLcode code);
/* The same for an expired limit: `what` ("the deadline of 60 s"). */
kit_status http_fail_time(http_flight *f, const char *what);
/* The same for a status other than 2xx. */
kit_status http_fail_status(http_flight *f);
/* Whether another try may help: not for certificate errors, barred addresses and invalid requests. */
bool http_may_pass(const http_flight *f, CURLcode code);
http_stage http_stage_of(const http_flight *f);
/* Fails in a callback: records the error as the result of this try. Always returns false. */
bool http_refuse(http_flight *f, int32_t code, const char *remedy, const char *format, ...) KIT_PRINTF(4, 5);

/* place.c */
kit_status http_place_parse(const kit_http *http, const char *url, http_place *out, kolm_error_t *err) KIT_MUST_USE;
/* Resolves `location` relative to place; the caller must free *out. */
kit_status http_place_follow(const http_place *place, const char *location, char **out, kolm_error_t *err) KIT_MUST_USE;
void http_place_free(http_place *place);
bool http_address_is_loopback(const struct sockaddr *address);
bool http_address_is_private(const struct sockaddr *address);

/* headers.c */
/* Stores one header line of an answer, without its line end; ignores invalid lines. */
void http_headers_take(kit_buf *headers, const char *line, size_t length);
const char *http_headers_find(const kit_buf *headers, const char *name);
kit_status http_headers_build(http_flight *f, kolm_error_t *err) KIT_MUST_USE;
void http_headers_free(http_flight *f);
/* Parses "bytes 5-9/10"; false if invalid. *out_total is UINT64_MAX for "*"; *out_first is UINT64_MAX for "bytes *"
 * + "/10". */
bool http_content_range(const char *text, uint64_t *out_first, uint64_t *out_total);

/* sink.c */
kit_status http_sink_open(http_flight *f, kolm_error_t *err) KIT_MUST_USE; /* before the first try */
void http_sink_range(http_flight *f);                                      /* before each try: range_from */
bool http_sink_begin(http_flight *f, long status);                         /* after the headers */
bool http_sink_take(http_flight *f, const char *bytes, size_t length);
kit_status http_sink_close(http_flight *f, kolm_error_t *err) KIT_MUST_USE; /* after a success: digest */

/* source.c */
kit_status http_source_attach(http_flight *f, kolm_error_t *err) KIT_MUST_USE;
void http_source_detach(http_flight *f);
bool http_has_body(const kit_http_request *request);

/* tape.c */
bool http_tape_records(const kit_http *http);
bool http_tape_replays(const kit_http *http);
void http_tape_hear(http_flight *f, const char *bytes, size_t length);
void http_tape_note(http_flight *f, CURLcode code);
/* Replays a try without network; returns what libcurl would. */
CURLcode http_tape_play(http_flight *f);

/* exchange.c */
void http_exchange_reset(http_flight *f);
/* A shrinking send queue counts as activity: the whole body may be in the kernel while a slow link drains it. */
void http_exchange_watch(http_flight *f);
kit_status http_exchange_begin(http_flight *f, kolm_error_t *err) KIT_MUST_USE;
void http_exchange_end(http_flight *f);

#endif
