/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events: an incremental parser with an event size limit. */
#ifndef KOLM_HTTP_SSE_H
#define KOLM_HTTP_SSE_H

#include "kolm/kit/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Per https://html.spec.whatwg.org/multipage/server-sent-events.html: lines end in LF, CR or CRLF, a byte order mark at
 * the start is dropped, lines that begin with ':' and unknown fields are ignored, an event without data is not
 * reported, an incomplete event at the end of the stream is dropped. Bytes are passed on unchanged: the reader of the
 * data must handle invalid UTF-8. */
typedef struct kit_sse_event {
    const char *type; /* "message" if the event has none */
    const char *data; /* lines joined by LF; length bytes followed by a NUL */
    size_t length;
    /* the last id of the stream so far, "" if there was none: send it as Last-Event-ID when connecting again */
    const char *last_id;
    int64_t retry_ms; /* the reconnection delay that the server last asked for; -1 if it did not */
} kit_sse_event;

/* Called for each event; the texts are valid until it returns. Any result but KOLM_OK stops parsing and is returned by
 * kit_sse_feed. */
typedef kit_status (*kit_sse_fn)(void *user, const kit_sse_event *event, kolm_error_t *err);

/* The parser of one stream, for one thread at a time. */
typedef struct kit_sse kit_sse;
/* event_max: maximum number of bytes in the data of an event, and in a line. */
kit_status kit_sse_new(size_t event_max, kit_sse_fn on_event, void *user, kit_sse **out,
                       kolm_error_t *err) KIT_MUST_USE;
/* Parses the next bytes, in pieces of any size. OUT_OF_RANGE if a line or an event is longer than event_max,
 * RESOURCE_EXHAUSTED if out of memory; after a failure every further call fails with the same code. */
kit_status kit_sse_feed(kit_sse *sse, const char *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;
void kit_sse_free(kit_sse *sse); /* no-op if NULL */

#ifdef __cplusplus
}
#endif
#endif
