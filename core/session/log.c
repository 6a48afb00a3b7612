/* SPDX-License-Identifier: Apache-2.0 */
/* Parses KOLM_LOG, and filters log lines. */
#include "session/log.h"

#include "kolm/backend.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

static const char *const levels[] = {"debug", "info", "warning", "error"}; /* by KOLM_LOG_* */
#define LEVELS (sizeof levels / sizeof *levels)

const char *session_log_level(uint32_t level) {
    return levels[level < LEVELS ? level : LEVELS - 1];
}

static bool level_of(const char *word, size_t length, uint32_t *out) {
    for (uint32_t i = 0; i < LEVELS; i++) {
        if (strlen(levels[i]) != length || strncmp(levels[i], word, length) != 0) continue;
        *out = i;
        return true;
    }
    return false;
}

static kit_status bad_level(const char *word, size_t length, kolm_error_t *err) {
    char text[64];
    kit_format(text, sizeof text, "%.*s", (int)(length < 60 ? length : 60), word);
    const char *near = kit_nearest(text, levels, LEVELS);
    const char *remedy = "write LEVEL or LEVEL,NAME=LEVEL with debug, info, warning or error";
    if (near)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "KOLM_LOG: '%s' is not a log level; did you mean '%s'?",
                        text, near);
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "KOLM_LOG: '%s' is not a log level", text);
}

/* LEVEL or NAME=LEVEL. */
static kit_status read_part(session_log *log, const char *part, size_t length, kolm_error_t *err) {
    const char *equals = memchr(part, '=', length);
    size_t name = equals ? (size_t)(equals - part) : 0;
    const char *word = equals ? equals + 1 : part;
    uint32_t level = 0;
    if (!level_of(word, length - (size_t)(word - part), &level))
        return bad_level(word, length - (size_t)(word - part), err);
    if (!equals) {
        log->from = level + 1;
        return KOLM_OK;
    }
    if (name == 0 || name >= sizeof log->named->name || log->named_count == SESSION_LOG_NAMED)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write LEVEL,NAME=LEVEL with the names of backends",
                        "KOLM_LOG: a name is missing, too long, or there are more than %d", SESSION_LOG_NAMED);
    kit_format(log->named[log->named_count].name, sizeof log->named->name, "%.*s", (int)name, part);
    log->named[log->named_count++].from = level;
    return KOLM_OK;
}

kit_status session_log_read(session_log *log, const char *setting, kolm_error_t *err) {
    const char *at = setting;
    if (!at || !*at) return KOLM_OK;
    while (true) {
        size_t length = strcspn(at, ",");
        KIT_TRY(read_part(log, at, length, err));
        if (at[length] == '\0') return KOLM_OK;
        at += length + 1;
    }
}

static bool is_shown(const session_log *log, const char *backend, uint32_t level) {
    uint32_t from = log->from > 0 ? log->from - 1 : KOLM_LOG_WARNING;
    for (size_t i = 0; i < log->named_count; i++)
        if (strcmp(log->named[i].name, backend) == 0) from = log->named[i].from;
    uint32_t asked = log->verbose == 0 ? KOLM_LOG_ERROR + 1 : log->verbose == 1 ? KOLM_LOG_INFO : KOLM_LOG_DEBUG;
    return level >= from || level >= asked;
}

/* False if this warning was already shown. */
static bool first_time(session_log *log, const char *backend, const char *text) {
    kit_buf line = {0};
    kit_buf_fmt(&line, "%s %s", backend, text);
    bool first = true;
    for (size_t i = 0; i < log->once_count && first; i++)
        first = strcmp(log->once[i], kit_buf_text(&line)) != 0;
    if (first && log->once_count < SESSION_LOG_ONCE && (log->once[log->once_count] = kit_buf_take(&line)) != NULL)
        log->once_count++;
    kit_buf_free(&line);
    return first;
}

bool session_log_shows(session_log *log, const char *backend, uint32_t level, const char *text) {
    if (level > KOLM_LOG_ERROR) level = KOLM_LOG_ERROR;
    return is_shown(log, backend, level) && (level != KOLM_LOG_WARNING || first_time(log, backend, text));
}

void session_log_free(session_log *log) {
    for (size_t i = 0; i < log->once_count; i++)
        free(log->once[i]);
    log->once_count = 0;
}
