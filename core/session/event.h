/* SPDX-License-Identifier: Apache-2.0 */
/* What happens while kolm works, as one event after another, for whoever shows it: a terminal, a document, a test. */
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

/* Texts are raw: they may hold whatever a plugin, a file or a person wrote, and are escaped by who prints them. */
typedef enum session_event_kind {
    SESSION_SAID,         /* a backend said a line: backend, level, text */
    SESSION_WARNING,      /* text */
    SESSION_NOTE,         /* a step of the work: label, text */
    SESSION_SERVING,      /* a model is kept warm and takes questions at the socket text */
    SESSION_PROGRESS,     /* label, progress */
    SESSION_PROGRESS_END, /* the last progress was the last */
    /* Questions, answered in *yes; who cannot ask leaves it false. */
    SESSION_CAN_ASK, /* is somebody there who can be asked? */
    SESSION_REPLACE, /* may the file `text`, which exists, be replaced? */
    SESSION_CONFIRM, /* text, a question: may it be done? */
    SESSION_GRANT,   /* may the backend `row`, which is `grantee`, have what its manifest asks for? */
    /* The course of a compile: what is known by then is in it (compile/compile.h). */
    SESSION_DATA_READ,
    SESSION_BACKEND_CHOSEN,
    SESSION_QUOTED,
    SESSION_TRAINED,
    SESSION_SCORED,
    SESSION_FAILED_GATE,
    SESSION_SHIPPED,
    SESSION_SETUP_PLAN, /* what the setup of a runtime is about to do: setup */
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

/* event: NULL hears nothing. Called by the thread that works; what the event points to lasts as long as the call. */
typedef struct session_sink {
    void (*event)(void *user, const session_event *event);
    void *user;
} session_sink;

#endif
