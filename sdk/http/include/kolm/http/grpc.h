/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC over kolm/http/http.h: one call, its messages as bytes, and which statuses are retried. */
#ifndef KOLM_HTTP_GRPC_H
#define KOLM_HTTP_GRPC_H

#include "kolm/http/http.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-http. Trust, proxies, deadlines, secrets and the stop flag are those of http.h. Uses HTTP/2 only, over
 * TLS, or over plain loopback if kit_http_options allows it. The caller must encode and decode messages (protobuf-c,
 * nanopb, ...).
 *
 * A call succeeds if the status in the trailers is 0 and, unless it streams, exactly one message was received.
 * Everything else is a failure, even with HTTP status 200: no gRPC status, a partial frame, a message that is larger
 * than allowed or compressed (no compression was offered), a second message. An answer that is not gRPC (a web page, a
 * proxy) is FAILED_PRECONDITION, not NOT_FOUND: only the service's own status 5 means that something does not exist.
 *
 * Tries: kit_grpc_decide if a gRPC status was received, else kit_http_decide, with the pauses of kit_http_options and
 * the same key. A stream is not retried once its first message was delivered: the caller knows where to resume.
 */

/* The meaning of a gRPC status. Never NULL; 17 and above are like 2. */
typedef struct kit_grpc_status_fact {
    int32_t code;      /* KOLM_E_* */
    const char *words; /* "RESOURCE_EXHAUSTED" */
    const char *remedy;
    bool may_pass; /* it may succeed later */
    bool may_be;   /* a call that creates something may have done so */
} kit_grpc_status_fact;
kit_grpc_status_fact kit_grpc_status(int status);
/*                                                READ     CHANGE   KEYED    CREATE
 *   0 OK                                         stop     stop     stop     stop
 *   1 CANCELLED, 2 UNKNOWN, 4 DEADLINE_EXCEEDED,
 *   13 INTERNAL, 14 UNAVAILABLE, 15 DATA_LOSS,
 *   and no status at all (-1)                    again    again    again    unclear
 *   6 ALREADY_EXISTS                             stop     stop     unclear  unclear  (perhaps by an earlier try)
 *   any other                                    stop     stop     stop     stop     (refused without any effect) */
kit_http_next kit_grpc_decide(kit_http_repeat repeat, int status);

/* Zero-initialise it. */
typedef struct kit_grpc_call {
    const char *base;               /* "https://api.acme.example", without a trailing slash */
    const char *method;             /* "/acme.Service/Method" */
    const kit_http_header *headers; /* metadata */
    size_t header_count;            /* at most 60 */
    kit_http_repeat repeat;
    const char *key; /* as in kit_http_request */
    const char *key_header;
    const void *message; /* the request; may be NULL if length is 0 */
    size_t length;
    size_t message_max; /* of the answer; 0: 4 MiB */
    /* Called with each message of a stream as it arrives. Any result but KOLM_OK ends the call with that code. NULL:
     * the call has a single answer. */
    kit_status (*on_message)(void *user, const void *bytes, size_t length, kolm_error_t *err);
    void *user;
    /* Returns the milliseconds that a busy service asks to wait, from the decoded grpc-status-details-bin; -1: it does
     * not ask. If it asks, the call is retried whatever its status, within its deadline, except CREATE after a status
     * with may_be and a stream that has begun. NULL: not called. */
    int64_t (*asks_to_wait)(const void *details, size_t length);
    uint64_t deadline_ms; /* for all tries together; 0: 60 s */
    uint64_t idle_ms;     /* as in kit_http_request */
    uint32_t tries;       /* 0: as in the options */
} kit_grpc_call;

/* Zero-initialise it before its first use; kit_grpc_send clears it. */
typedef struct kit_grpc_answer {
    int status;             /* of gRPC; -1: none received */
    int http_status;        /* 0: none received */
    bool may_have_happened; /* KEYED and CREATE: as in kit_http_answer */
    int64_t date;           /* of the answer: seconds since 1970 by the service's clock; 0: unknown */
    kit_buf message;        /* of a call with a single answer */
    char said[400];         /* the service's message (grpc-message), plain text; "" if none */
} kit_grpc_answer;
void kit_grpc_answer_free(kit_grpc_answer *answer);

kit_status kit_grpc_send(kit_http *http, const kit_grpc_call *call, kit_grpc_answer *answer,
                         kolm_error_t *err) KIT_MUST_USE;

/* ---- The parts, for tests */

/* Splits a stream of bytes into messages. Zero-initialise it, set most, free held. */
typedef struct kit_grpc_frames {
    kit_buf held; /* the beginning of an incomplete frame */
    size_t most;  /* maximum bytes of a message */
    kit_status (*on_message)(void *user, const void *bytes, size_t length, kolm_error_t *err);
    void *user;
} kit_grpc_frames;
/* DATA_LOSS for a compressed frame, OUT_OF_RANGE for one that is too large; else what on_message returned. */
kit_status kit_grpc_frames_take(kit_grpc_frames *frames, const void *bytes, size_t length,
                                kolm_error_t *err) KIT_MUST_USE;
/* Percent-decodes grpc-message; anything but printable ASCII and valid UTF-8 becomes '?'. Always NUL terminated. */
void kit_grpc_words(const char *text, char *out, size_t capacity);
/* Parses a status: 0 to 99, without sign and blanks; -1 if text is not a status or NULL. */
int kit_grpc_status_of(const char *text);

#ifdef __cplusplus
}
#endif
#endif
