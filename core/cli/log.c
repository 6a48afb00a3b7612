/* SPDX-License-Identifier: Apache-2.0 */
/* Decides which lines of backends are shown, prints them, and keeps them for documents. */
#include "cli/log.h"

#include "kolm/kit/text.h"

#include "cli/output.h"
#include "host/host.h"

#include <stdlib.h>
#include <string.h>

#define NAMED_MAX 32
#define KEPT_MAX 200
#define ONCE_MAX 64 /* warnings that are remembered, so that they are shown once */

static const char *const levels[] = {"debug", "info", "warning", "error"}; /* by KOLM_LOG_* */
#define LEVELS (sizeof levels / sizeof *levels)

struct cli_log_state {
    uint32_t from; /* shown from this level on */
    struct {
        char name[40];
        uint32_t from;
    } named[NAMED_MAX];
    size_t named_count;
    uint32_t verbose; /* how often -v was given */
    char *once[ONCE_MAX];
    size_t once_count;
    cJSON *kept;
    host_events events;
};

static struct cli_log_state *state_of(cli_context *context) {
    if (!context->log_kept) {
        context->log_kept = calloc(1, sizeof *context->log_kept);
        if (context->log_kept) context->log_kept->from = KOLM_LOG_WARNING;
    }
    return context->log_kept;
}

/* ---- Which lines */

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
                        cli_safe(text), near);
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "KOLM_LOG: '%s' is not a log level", cli_safe(text));
}

/* LEVEL or NAME=LEVEL. */
static kit_status read_part(struct cli_log_state *state, const char *part, size_t length, kolm_error_t *err) {
    const char *equals = memchr(part, '=', length);
    size_t name = equals ? (size_t)(equals - part) : 0;
    const char *word = equals ? equals + 1 : part;
    uint32_t level = 0;
    if (!level_of(word, length - (size_t)(word - part), &level))
        return bad_level(word, length - (size_t)(word - part), err);
    if (!equals) {
        state->from = level;
        return KOLM_OK;
    }
    if (name == 0 || name >= sizeof state->named->name || state->named_count == NAMED_MAX)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write LEVEL,NAME=LEVEL with the names of backends",
                        "KOLM_LOG: a name is missing, too long, or there are more than %d", NAMED_MAX);
    kit_format(state->named[state->named_count].name, sizeof state->named->name, "%.*s", (int)name, part);
    state->named[state->named_count++].from = level;
    return KOLM_OK;
}

kit_status cli_log_setup(cli_context *context, kolm_error_t *err) {
    const char *at = secure_getenv("KOLM_LOG");
    struct cli_log_state *state = at && *at ? state_of(context) : NULL;
    if (!at || !*at) return KOLM_OK;
    if (!state) return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    while (true) {
        size_t length = strcspn(at, ",");
        KIT_TRY(read_part(state, at, length, err));
        if (at[length] == '\0') return KOLM_OK;
        at += length + 1;
    }
}

bool cli_log_option(cli_context *context, const char *word) {
    uint32_t times = strcmp(word, "-v") == 0 || strcmp(word, "--verbose") == 0 ? 1 : strcmp(word, "-vv") == 0 ? 2 : 0;
    struct cli_log_state *state = times ? state_of(context) : NULL;
    if (state) state->verbose += times;
    return times > 0;
}

static bool is_shown(const struct cli_log_state *state, const char *backend, uint32_t level) {
    uint32_t from = state->from;
    for (size_t i = 0; i < state->named_count; i++)
        if (strcmp(state->named[i].name, backend) == 0) from = state->named[i].from;
    uint32_t asked = state->verbose == 0 ? KOLM_LOG_ERROR + 1 : state->verbose == 1 ? KOLM_LOG_INFO : KOLM_LOG_DEBUG;
    return level >= from || level >= asked;
}

/* ---- Where */

/* False when this warning was shown before. */
static bool first_time(struct cli_log_state *state, const char *backend, const char *text) {
    kit_buf line = {0};
    kit_buf_fmt(&line, "%s %s", backend, text);
    bool first = true;
    for (size_t i = 0; i < state->once_count && first; i++)
        first = strcmp(state->once[i], kit_buf_text(&line)) != 0;
    if (first && state->once_count < ONCE_MAX && (state->once[state->once_count] = kit_buf_take(&line)) != NULL)
        state->once_count++;
    kit_buf_free(&line);
    return first;
}

static void keep(struct cli_log_state *state, const char *backend, uint32_t level, const char *text) {
    if (!state->kept) state->kept = cJSON_CreateArray();
    if (!state->kept || cJSON_GetArraySize(state->kept) >= KEPT_MAX) return;
    cJSON *line = cJSON_CreateObject();
    bool good = line && kit_json_put_string(line, "backend", backend) &&
                kit_json_put_string(line, "level", levels[level]) && kit_json_put_string(line, "text", text);
    (void)cli_append(state->kept, line, good);
}

void cli_log(cli_context *context, const char *backend, uint32_t level, const char *text) {
    struct cli_log_state *state = state_of(context);
    if (level > KOLM_LOG_ERROR) level = KOLM_LOG_ERROR;
    if (!state || !is_shown(state, backend, level)) return;
    if (level == KOLM_LOG_WARNING && !first_time(state, backend, text)) return;
    cli_note(context, levels[level], "%s: %s", cli_safe(backend), cli_safe(text));
    if (context->json) keep(state, backend, level, text);
}

static void on_log(void *user, const char *backend, uint32_t level, const char *text) {
    cli_log(user, backend, level, text);
}

const struct host_events *cli_log_events(cli_context *context) {
    struct cli_log_state *state = state_of(context);
    if (!state) return NULL;
    state->events = (host_events){.user = context, .log = on_log};
    return &state->events;
}

cJSON *cli_log_take(cli_context *context) {
    if (!context->log_kept) return NULL;
    cJSON *kept = context->log_kept->kept;
    context->log_kept->kept = NULL;
    return kept;
}

void cli_log_free(cli_context *context) {
    struct cli_log_state *state = context->log_kept;
    if (!state) return;
    for (size_t i = 0; i < state->once_count; i++)
        free(state->once[i]);
    cJSON_Delete(state->kept);
    free(state);
    context->log_kept = NULL;
}
