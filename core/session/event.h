/* SPDX-License-Identifier: Apache-2.0 */
/* Events during kolm's work, for a consumer that shows them: a terminal, a document, a test. */
#ifndef KOLM_SESSION_EVENT_H
#define KOLM_SESSION_EVENT_H

#include "kolm/backend.h"

#include <stdbool.h>

struct compile;
struct compile_data_files;
struct fleet_grantee;
struct host_backend;
struct job_summary;
struct setup;

/* Texts are raw: they may contain anything from a plugin, a file or the user; the printer must escape them. */
typedef enum session_event_kind {
    SESSION_SAID,         /* a log line of a backend: backend, level, text */
    SESSION_WARNING,      /* text */
    SESSION_NOTE,         /* a step of the work: label, text */
    SESSION_SERVING,      /* a model is kept warm and accepts questions at the socket text */
    SESSION_PROGRESS,     /* label, progress */
    SESSION_PROGRESS_END, /* no more progress will follow */
    /* Questions, answered in *yes; leave it false if you cannot ask. */
    SESSION_CAN_ASK, /* can the user be asked? */
    SESSION_REPLACE, /* may the file `text`, which exists, be replaced? */
    SESSION_CONFIRM, /* text, a question: confirm the question */
    SESSION_GRANT,   /* may the backend `row`, which is `grantee`, have what its manifest asks for? */
    /* Steps of a compile, with what is known by then (compile/compile.h). */
    SESSION_DATA_READ,
    SESSION_BACKEND_CHOSEN,
    SESSION_QUOTED,
    SESSION_TRAINED,
    SESSION_SCORED,
    SESSION_FAILED_GATE,
    SESSION_SHIPPED,
    SESSION_SETUP_PLAN, /* what a runtime setup is about to do: setup */
    SESSION_ROWS_READ,  /* rows to measure a model on: files, summary */
} session_event_kind;

typedef struct session_event {
    session_event_kind kind;
    const char *backend, *label, *text;
    uint32_t level; /* KOLM_LOG_* */
    const kolm_progress_t *progress;
    const struct host_backend *row;
    const struct fleet_grantee *grantee;
    const struct compile *compile;
    const struct compile_data_files *files;
    const struct job_summary *summary;
    const struct setup *setup;
    bool *yes;
} session_event;

/* event: NULL ignores all events. Called on the working thread; what the event points to is valid during the call. */
typedef struct session_sink {
    void (*event)(void *user, const session_event *event);
    void *user;
} session_sink;

#endif
