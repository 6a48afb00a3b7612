/* SPDX-License-Identifier: Apache-2.0 */
/* Which log lines of backends are shown: by level, by name, and each warning once. */
#ifndef KOLM_SESSION_LOG_H
#define KOLM_SESSION_LOG_H

#include "kolm/kit/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define SESSION_LOG_NAMED 32 /* backends that KOLM_LOG may name */
#define SESSION_LOG_ONCE 64  /* warnings that are remembered */

/* Zero-initialised it shows warnings and errors. One thread. */
typedef struct session_log {
    uint32_t from; /* shown from this level on, plus 1; 0: from warnings on */
    struct {
        char name[40];
        uint32_t from;
    } named[SESSION_LOG_NAMED];
    size_t named_count;
    uint32_t verbose; /* how often -v was given: 1 shows info, 2 debug */
    char *once[SESSION_LOG_ONCE];
    size_t once_count;
} session_log;

/* LEVEL[,NAME=LEVEL...] with debug, info, warning, error, as in KOLM_LOG; NULL and "" set nothing. The more verbose of
 * this and `verbose` applies. INVALID_ARGUMENT quotes the word that is not a level. */
kit_status session_log_read(session_log *log, const char *setting, kolm_error_t *err) KIT_MUST_USE;
/* Whether a line is shown. level: KOLM_LOG_*, values above ERROR count as ERROR. A repeated warning of a backend is
 * shown once, because detect, cost and train may each report the same thing. */
bool session_log_shows(session_log *log, const char *backend, uint32_t level, const char *text);
/* "debug", "info", "warning", "error"; "error" for values above ERROR. */
const char *session_log_level(uint32_t level);
void session_log_free(session_log *log);

#endif
