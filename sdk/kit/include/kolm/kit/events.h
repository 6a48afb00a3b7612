/* SPDX-License-Identifier: Apache-2.0 */
/* The events of the job protocol (job-protocol.md, "Events"): what a job prints while it runs, a JSON object a line. */
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
 * One reader and one writer, for a backend that runs its work as a program of its own: here, on a box, in a queue.
 */

#define KIT_EVENT_LINE_MAX (1u << 20) /* bytes of a line without its LF; a longer one is not an event */
#define KIT_EVENTS_STRANGE_SHOWN                                                                                       \
    5 /* lines that are not events and are reported; the next one says that there are more */

typedef enum kit_event_kind {
    KIT_EVENT_NONE, /* not an event; also a blank line */
    KIT_EVENT_LOG,
    KIT_EVENT_PROGRESS,
    KIT_EVENT_METRIC,
    KIT_EVENT_RESULT,
    KIT_EVENT_ERROR,
} kit_event_kind;

/* ---- Reading */

/* What was read of one job so far. Used by one thread at a time. */
typedef struct kit_events {
    const kolm_host_v1_t *host; /* receives log, progress and metric; borrowed */
    const char *who;            /* subject of a message, "the trainer"; borrowed */
    cJSON *result;              /* of the last result event, owned; NULL if there was none */
    kolm_error_t error;         /* of the first error event; code 0 if there was none */
    uint64_t strange;           /* lines that were neither events nor blank */
    bool restarts;   /* a queue may start the job again: an event after an error is of the next start, and clears it */
    kit_buf partial; /* a line whose end has not come yet */
} kit_events;

void kit_events_begin(kit_events *events, const kolm_host_v1_t *host, const char *who);
/* Frees what it holds. No-op on a zeroed record. */
void kit_events_end(kit_events *events);

/*
 * Takes one line, without its LF, and returns what it was. A line is an event only if all of this holds; what reaches the host is
 * therefore what backend.h allows:
 *   - strict JSON (kolm/kit/json.h) of at most KIT_EVENT_LINE_MAX bytes, an object, with a known name under "event";
 *   - log: a text; level is "debug", "info", "warning" or "error", info if missing;
 *   - progress: a phase that is not empty, a step that is a whole number; total, loss and tokens_per_second may be missing or
 *     null and are unknown then, as are a total below step and a negative speed;
 *   - metric: a name that is not empty, and a value;
 *   - result: any members. A member "result", if there is one, must be an object and is what counts; otherwise the event itself;
 *   - error: a text that is not empty; KOLM_E_UNKNOWN if code is missing or is not a code; remedy is "" if missing.
 * Unknown members are ignored. Of several errors the first counts, as the others may be its consequence; of several results the
 * last.
 * Libraries like to print: the first KIT_EVENTS_STRANGE_SHOWN lines that are neither events nor blank are logged as warnings,
 * escaped and cut, with who in front.
 */
kit_event_kind kit_events_line(kit_events *events, const char *line, size_t length);
/* Takes the lines of text; the last may lack its LF. */
void kit_events_lines(kit_events *events, const char *text, size_t length);
/* The same of what comes in pieces that end anywhere; kit_events_last at the end. */
void kit_events_bytes(kit_events *events, const char *bytes, size_t length);
void kit_events_last(kit_events *events);
/* Takes the whole lines that a file has from *at on, and moves *at behind the last of them; a line that is still being written is
 * left for the next call. An absent file has none. */
kit_status kit_events_file(kit_events *events, const char *path, uint64_t *at, kolm_error_t *err) KIT_MUST_USE;
/* A text of the result, "" if it has none under that key; belongs to events. */
const char *kit_events_result_text(const kit_events *events, const char *key);

/* ---- Writing: each appends one line with its LF to out. Texts may hold any bytes: what is not fit for a terminal is escaped as by
 * kit_buf_escaped. Memory that runs out sets out->failed. */

void kit_event_log(kit_buf *out, uint32_t level, const char *text); /* KOLM_LOG_*; one beyond them is an error */
/* An unknown total, loss or speed is null; a count beyond 2^53 - 1 is that. */
void kit_event_progress(kit_buf *out, const kolm_progress_t *progress);
void kit_event_metric(kit_buf *out, const char *name, double value); /* appends nothing if value is not finite */
/* backend may be NULL: a program that is not kolm does not say it. */
void kit_event_result(kit_buf *out, const char *backend, const char *device, const char *toolchain);
void kit_event_error(kit_buf *out, const kolm_error_t *error);

#ifdef __cplusplus
}
#endif
#endif
