/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC over kolm/http/http.h: one call, its messages as bytes, and what a status means for tries. */
#ifndef KOLM_HTTP_GRPC_H
#define KOLM_HTTP_GRPC_H

#include "kolm/http/http.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-http. Trust, proxies, deadlines, secrets and the stop flag are those of http.h; HTTP/2 alone is
 * spoken, over TLS, or over plain loopback where kit_http_options allows it. The caller must encode and decode messages
 * (protobuf-c, nanopb, ...).
 *
 * A call has succeeded when the status in the trailers is 0 and, unless it streams, exactly one message came.
 * Everything else is a failure, also when HTTP says 200: no status at all, half a frame, a message that is larger than
 * allowed, one that is compressed (nothing was offered), a second one. An answer that is not gRPC (a page, a proxy) is
 * FAILED_PRECONDITION, not NOT_FOUND: only the service's own status 5 says that something is not there.
 *
 * Tries: kit_grpc_decide where a status of gRPC came, kit_http_decide where none did, with the pauses of
 * kit_http_options, and the same key. A stream whose first message was handed on is not tried again: its caller knows
 * where to resume.
 */

/* What a status of gRPC means. Never NULL; 17 and more are as 2. */
typedef struct kit_grpc_status_fact {
    int32_t code;      /* KOLM_E_* */
    const char *words; /* "RESOURCE_EXHAUSTED" */
    const char *remedy;
    bool may_pass; /* it may succeed later */
    bool may_be;   /* a call that creates may have done so */
} kit_grpc_status_fact;
kit_grpc_status_fact kit_grpc_status(int status);
/*                                                READ     CHANGE   KEYED    CREATE
 *   0 OK                                         stop     stop     stop     stop
 *   1 CANCELLED, 2 UNKNOWN, 4 DEADLINE_EXCEEDED,
 *   13 INTERNAL, 14 UNAVAILABLE, 15 DATA_LOSS,
 *   and no status at all (-1)                    again    again    again    unclear
 *   6 ALREADY_EXISTS                             stop     stop     unclear  unclear  (perhaps by an earlier try)
 *   any other                                    stop     stop     stop     stop     (refused before it did anything) */
kit_http_next kit_grpc_decide(kit_http_repeat repeat, int status);

/* Zero-initialise it. */
typedef struct kit_grpc_call {
    const char *base;               /* "https://api.acme.example", no slash at its end */
    const char *method;             /* "/acme.Service/Method" */
    const kit_http_header *headers; /* metadata */
    size_t header_count;            /* at most 60 */
    kit_http_repeat repeat;
    const char *key; /* as in kit_http_request */
    const char *key_header;
    const void *message; /* the request; may be NULL if length is 0 */
    size_t length;
    size_t message_max; /* of an answer; 0: 4 MiB */
    /* Each message of a stream, as it comes. Anything but KOLM_OK ends the call with that code. NULL: the call has one
     * answer. */
    kit_status (*on_message)(void *user, const void *bytes, size_t length, kolm_error_t *err);
    void *user;
    /* What the service says about itself when it is busy: milliseconds to wait, from grpc-status-details-bin, decoded;
     * -1: nothing. Then the call is made again whatever its status is, within the time that it has; but CREATE not
     * after a status with may_be, and no stream that has begun. NULL: not asked. */
    int64_t (*asks_to_wait)(const void *details, size_t length);
    uint64_t deadline_ms; /* of all tries; 0: 60 s */
    uint64_t idle_ms;     /* as in kit_http_request */
    uint32_t tries;       /* 0: as the options say */
} kit_grpc_call;

/* Zero-initialise it before its first use; kit_grpc_send clears it. */
typedef struct kit_grpc_answer {
    int status;             /* of gRPC; -1: none came */
    int http_status;        /* 0: none came */
    bool may_have_happened; /* KEYED and CREATE: as in kit_http_answer */
    int64_t date;           /* of the answer: seconds since 1970 by the service's clock; 0: it does not say */
    kit_buf message;        /* of a call with one answer */
    char said[400];         /* the service's own words (grpc-message), plain text; "" if none */
} kit_grpc_answer;
void kit_grpc_answer_free(kit_grpc_answer *answer);

kit_status kit_grpc_send(kit_http *http, const kit_grpc_call *call, kit_grpc_answer *answer,
                         kolm_error_t *err) KIT_MUST_USE;

/* ---- The parts, for tests */

/* Cuts a stream of bytes into messages. Zero-initialise it, set most, free held. */
typedef struct kit_grpc_frames {
    kit_buf held; /* the beginning of a frame that is not whole yet */
    size_t most;  /* bytes of a message */
    kit_status (*on_message)(void *user, const void *bytes, size_t length, kolm_error_t *err);
    void *user;
} kit_grpc_frames;
/* DATA_LOSS for a frame that is compressed, OUT_OF_RANGE for one that is too large; else what on_message says. */
kit_status kit_grpc_frames_take(kit_grpc_frames *frames, const void *bytes, size_t length,
                                kolm_error_t *err) KIT_MUST_USE;
/* Percent-decodes grpc-message; what is not printable ASCII or whole UTF-8 becomes '?'. Always ends in NUL. */
void kit_grpc_words(const char *text, char *out, size_t capacity);
/* 0 to 99, without sign and blanks; -1 if text is not a status, or is NULL. */
int kit_grpc_status_of(const char *text);

#ifdef __cplusplus
}
#endif
#endif
