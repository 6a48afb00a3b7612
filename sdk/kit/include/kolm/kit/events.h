/* SPDX-License-Identifier: Apache-2.0 */
/* The events of the job protocol (job-protocol.md, "Events"): what a job prints while it runs, one JSON object per
 * line. */
#ifndef KOLM_KIT_EVENTS_H
#define KOLM_KIT_EVENTS_H

#include "kolm/kit/json.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 *     {"event":"log","level":"info","text":"..."}
 *     {"event":"progress","phase":"training","step":3,"total":10,"loss":0.41,"tokens_per_second":812.0}
 *     {"event":"metric","name":"...","value":1.5}
 *     {"event":"result", ...}
 *     {"event":"error","code":8,"text":"...","remedy":"..."}
 *
 * A reader and a writer for backends that run their work as a separate program: locally, on a remote machine or in a
 * provider's queue.
 */

#define KIT_EVENT_LINE_MAX (1u << 20) /* bytes of a line without its LF; a longer one is not an event */
#define KIT_EVENTS_STRANGE_SHOWN 5 /* number of non-event lines that are reported; the next one is reported as "more" */

typedef enum kit_event_kind {
    KIT_EVENT_NONE, /* not an event; also a blank line */
    KIT_EVENT_LOG,
    KIT_EVENT_PROGRESS,
    KIT_EVENT_METRIC,
    KIT_EVENT_RESULT,
    KIT_EVENT_ERROR,
} kit_event_kind;

/* ---- Reading */

/* What has been read of one job so far. Used by one thread at a time. */
typedef struct kit_events {
    const kolm_host_v1_t *host; /* receives log, progress and metric; borrowed */
    const char *who;            /* subject of a message, "the trainer"; borrowed */
    cJSON *result;              /* of the last result event, owned; NULL if there was none */
    kolm_error_t error;         /* of the first error event; code 0 if there was none */
    uint64_t strange;           /* lines that were neither events nor blank */
    bool restarts;   /* a queue may restart the job: an event after an error comes from the restarted job, and clears
                        the error */
    kit_buf partial; /* an incomplete line */
} kit_events;

void kit_events_begin(kit_events *events, const kolm_host_v1_t *host, const char *who);
/* Frees what it holds. No-op on a zeroed record. */
void kit_events_end(kit_events *events);

/*
 * Handles one line, without its LF, and returns its kind. A line is an event only if all of the following holds, so
 * what reaches the host conforms to backend.h:
 *   - strict JSON (kolm/kit/json.h) of at most KIT_EVENT_LINE_MAX bytes, an object, with a known name under "event";
 *   - log: a text; level is "debug", "info", "warning" or "error", info if missing;
 *   - progress: a non-empty phase, and a step that is a whole number; total, loss and tokens_per_second are unknown if
 *     missing or null, as are a total below step and a negative speed;
 *   - metric: a non-empty name, and a value;
 *   - result: any members. A member "result", if there is one, must be an object and is used instead of the event;
 *   - error: a non-empty text; code is KOLM_E_UNKNOWN if missing or not a code; remedy is "" if missing.
 * Unknown members are ignored. The first error counts, because later ones may be its consequences; of several results
 * the last one counts. Since libraries print messages, the first KIT_EVENTS_STRANGE_SHOWN lines that are neither events
 * nor blank are logged as warnings, escaped, truncated and prefixed with who.
 */
kit_event_kind kit_events_line(kit_events *events, const char *line, size_t length);
/* Handles all lines of text; the last may lack its LF. */
void kit_events_lines(kit_events *events, const char *text, size_t length);
/* The same for text that arrives in pieces of any length; call kit_events_last at the end. */
void kit_events_bytes(kit_events *events, const char *bytes, size_t length);
void kit_events_last(kit_events *events);
/* Handles the complete lines of a file from offset *at on, and advances *at past them; an incomplete last line is left
 * for the next call. A missing file counts as empty. */
kit_status kit_events_file(kit_events *events, const char *path, uint64_t *at, kolm_error_t *err) KIT_MUST_USE;
/* A string member of the result, "" if there is none; owned by events. */
const char *kit_events_result_text(const kit_events *events, const char *key);

/* ---- Writing: each appends one line with its LF to out. Texts may hold any bytes: control characters and invalid
 * UTF-8 are escaped as by kit_buf_escaped. Sets out->failed if out of memory. */

void kit_event_log(kit_buf *out, uint32_t level, const char *text); /* KOLM_LOG_*; any other value is written as an
                                                                       error */
/* An unknown total, loss or speed is null; counts are capped at 2^53 - 1. */
void kit_event_progress(kit_buf *out, const kolm_progress_t *progress);
void kit_event_metric(kit_buf *out, const char *name, double value); /* appends nothing if value is not finite */
/* backend is NULL for programs other than kolm. */
void kit_event_result(kit_buf *out, const char *backend, const char *device, const char *toolchain);
void kit_event_error(kit_buf *out, const kolm_error_t *error);

#ifdef __cplusplus
}
#endif
#endif
