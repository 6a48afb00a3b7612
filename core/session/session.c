/* SPDX-License-Identifier: Apache-2.0 */
/* Passes events to the sink, and checks the stop flag. */
#include "session/session.h"

#include "session/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void session_init(kolm_session *session, const volatile sig_atomic_t *stop, session_sink sink) {
    static const volatile sig_atomic_t never = 0;
    memset(session, 0, sizeof *session);
    session->stop = stop ? stop : &never;
    session->sink = sink;
}

void session_free(kolm_session *session) {
    if (!session) return;
    store_home_free(session->home_kept);
    session_forget_config(session);
    session->home_kept = NULL;
}

bool session_stopped(const kolm_session *session) {
    return *session->stop != 0;
}

void session_tell(const kolm_session *session, const session_event *event) {
    if (session->sink.event) session->sink.event(session->sink.user, event);
}

static void tell_text(const kolm_session *session, session_event event, const char *format, va_list arguments)
    KIT_PRINTF(3, 0);
static void tell_text(const kolm_session *session, session_event event, const char *format, va_list arguments) {
    char brief[256];
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(brief, sizeof brief, format, arguments);
    char *whole = length >= (int)sizeof brief ? malloc((size_t)length + 1) : NULL;
    if (whole) vsnprintf(whole, (size_t)length + 1, format, again);
    va_end(again);
    event.text = whole ? whole : brief; /* out of memory: show the beginning */
    session_tell(session, &event);
    free(whole);
}

void session_warn(const kolm_session *session, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    tell_text(session, (session_event){.kind = SESSION_WARNING}, format, arguments);
    va_end(arguments);
}

void session_note(const kolm_session *session, const char *label, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    tell_text(session, (session_event){.kind = SESSION_NOTE, .label = label}, format, arguments);
    va_end(arguments);
}

void session_said(const kolm_session *session, const char *backend, uint32_t level, const char *text) {
    session_tell(session, &(session_event){.kind = SESSION_SAID, .backend = backend, .level = level, .text = text});
}

void session_progress(const kolm_session *session, const char *label, const kolm_progress_t *progress) {
    session_tell(session, &(session_event){.kind = SESSION_PROGRESS, .label = label, .progress = progress});
}

void session_progress_end(const kolm_session *session) {
    session_tell(session, &(session_event){.kind = SESSION_PROGRESS_END});
}

bool session_can_ask(const kolm_session *session) {
    bool yes = false;
    session_tell(session, &(session_event){.kind = SESSION_CAN_ASK, .yes = &yes});
    return yes;
}

static void on_log(void *user, const char *backend, uint32_t level, const char *text) {
    session_said(user, backend, level, text);
}

const host_events *session_events(kolm_session *session) {
    session->log_events = (host_events){.user = session, .log = on_log};
    return &session->log_events;
}
