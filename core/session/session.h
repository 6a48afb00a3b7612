/* SPDX-License-Identifier: Apache-2.0 */
/* The context of a run of kolm: its home, its configuration, its stop flag, and the sink of its events. */
#ifndef KOLM_SESSION_SESSION_H
#define KOLM_SESSION_SESSION_H

#include "host/call.h"
#include "kolm/kit/json.h"
#include "session/event.h"
#include "session/reason.h"
#include "store/store.h"

#include <signal.h>
#include <stdbool.h>

/*
 * One per run, used by one thread unless a function says otherwise. Home and configuration are read on first use and
 * cached. Results are owned by the session. No room below the command prints: output for the user goes through
 * session_tell and the like to the sink.
 */
typedef struct kolm_session {
    const volatile sig_atomic_t *stop; /* non-zero: stop the current work; never NULL after session_init */
    session_sink sink;
    store_home *home_kept;
    cJSON *config_kept; /* the effective configuration */
    cJSON *config_own;  /* the user's file alone */
    char *config_path;  /* its name */
    cJSON *config_site; /* the machine's; NULL: there is none (site.h) */
    char *config_site_path;
    host_events log_events;
} kolm_session;

/* The mode of --airgap. Strict: the kernel denies the network to what runs, or nothing runs. Advisory: only backends
 * that need no network are considered, without enforcement. */
typedef enum session_airgap { SESSION_AIRGAP_OFF, SESSION_AIRGAP_ADVISORY, SESSION_AIRGAP_STRICT } session_airgap;

/* An optional value from the user. */
typedef struct session_number {
    bool set;
    uint64_t value;
} session_number;

/* A list of words from the user; owned by whoever filled it. */
typedef struct session_words {
    char **items;
    size_t count;
} session_words;

/* stop NULL: cannot be stopped. A zeroed sink ignores all events and answers every question with no. */
void session_init(kolm_session *session, const volatile sig_atomic_t *stop, session_sink sink);
void session_free(kolm_session *session);
/* True once the flag is set. */
bool session_stopped(const kolm_session *session);

/* KOLM_HOME, else $HOME/.kolm. Nothing is created. FAILED_PRECONDITION when neither is set or it is not
 * absolute. */
kit_status session_home(kolm_session *session, store_home **out_home, kolm_error_t *err) KIT_MUST_USE;
/* The user's config.json over the machine's (site.h), with the runtimes in HOME/runtimes added; an empty object if
 * there is neither, or no home. DATA_LOSS if a file is not a JSON object, or has an unknown key. */
kit_status session_config(kolm_session *session, const cJSON **out_config, kolm_error_t *err) KIT_MUST_USE;

/* Passes the event to the sink. */
void session_tell(const kolm_session *session, const session_event *event);
/* A warning; work continues. */
void session_warn(const kolm_session *session, const char *format, ...) KIT_PRINTF(2, 3);
/* A step of the work, as "[label] text"; not shown if only results are wanted. */
void session_note(const kolm_session *session, const char *label, const char *format, ...) KIT_PRINTF(3, 4);
/* A log line of a backend. level: KOLM_LOG_*. */
void session_said(const kolm_session *session, const char *backend, uint32_t level, const char *text);
void session_progress(const kolm_session *session, const char *label, const kolm_progress_t *progress);
/* The work that reported progress has ended, or pauses. */
void session_progress_end(const kolm_session *session);
/* Whether the sink can ask the user: avoids preparing a question for nothing. */
bool session_can_ask(const kolm_session *session);
/* Events of a call that only pass on the backend's log; valid as long as the session. */
const host_events *session_events(kolm_session *session);

/* Small formats into an array; each returns out. */
const char *session_usd(char *out, size_t capacity, uint64_t micro_usd);         /* "$1.20", "$0.0034"; "unpriced" */
const char *session_bytes(char *out, size_t capacity, uint64_t bytes);           /* "3.8 GB" (powers of 1000) */
const char *session_duration(char *out, size_t capacity, uint64_t milliseconds); /* "4.8s", "3m 20s", "2h 05m" */
/* Reads "90s", "30m", "24h", "7d" or "2w", at most a million of the unit, into seconds. */
bool session_span_parse(const char *text, int64_t *out_seconds);

#endif
