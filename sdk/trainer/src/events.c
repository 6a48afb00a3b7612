/* SPDX-License-Identifier: Apache-2.0 */
/* What the trainer says, line by line: events for the host, one result, one error. */
#include "internal.h"

#include "kolm/kit/text.h"

#include <math.h>
#include <string.h>

#define STRANGE_SHOWN 5 /* lines that are no event */

static void say(const trainer_heard *heard, uint32_t level, const char *text) {
    heard->host->log(heard->host->user, level, text);
}

static bool forward_log(const trainer_heard *heard, const cJSON *event) {
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    const char *text, *level = "info";
    if (!kit_json_get_string(event, "text", &text)) return false;
    if (kit_json_get(event, "level") != NULL && !kit_json_get_string(event, "level", &level)) return false;
    for (uint32_t i = 0; i < 4; i++) {
        if (strcmp(level, levels[i]) != 0) continue;
        say(heard, i, text);
        return true;
    }
    return false;
}

/* A number that may be missing, or null. */
static bool maybe_number(const cJSON *event, const char *key, double *out) {
    const cJSON *item = kit_json_get(event, key);
    *out = (double)NAN;
    return item == NULL || cJSON_IsNull(item) || kit_json_get_number(event, key, out);
}

static bool forward_progress(const trainer_heard *heard, const cJSON *event) {
    kolm_progress_t p = {.struct_size = (uint32_t)sizeof p, .total = KOLM_UNKNOWN_COUNT};
    const cJSON *total = kit_json_get(event, "total");
    if (!kit_json_get_string(event, "phase", &p.phase) || !kit_json_get_u64(event, "step", &p.step) ||
        !maybe_number(event, "loss", &p.loss) || !maybe_number(event, "tokens_per_second", &p.tokens_per_second))
        return false;
    if (total != NULL && !cJSON_IsNull(total) && !kit_json_get_u64(event, "total", &p.total)) return false;
    heard->host->progress(heard->host->user, &p);
    return true;
}

static bool forward_metric(const trainer_heard *heard, const cJSON *event) {
    const char *name;
    double value;
    if (!kit_json_get_string(event, "name", &name) || !kit_json_get_number(event, "value", &value)) return false;
    heard->host->metric(heard->host->user, name, value);
    return true;
}

static bool take_result(trainer_heard *heard, cJSON *event) {
    const cJSON *inner = kit_json_get(event, "result");
    if (heard->result != NULL || (inner != NULL && !cJSON_IsObject(inner))) return false;
    heard->result = inner != NULL ? cJSON_DetachItemFromObjectCaseSensitive(event, "result") : cJSON_CreateObject();
    return heard->result != NULL;
}

static bool take_error(trainer_heard *heard, const cJSON *event) {
    const char *text, *remedy = "";
    uint64_t code = 0;
    if (!kit_json_get_u64(event, "code", &code) || code < 1 || code > KOLM_E_UNAUTHENTICATED ||
        !kit_json_get_string(event, "text", &text) || text[0] == '\0')
        return false;
    if (kit_json_get(event, "remedy") != NULL && !kit_json_get_string(event, "remedy", &remedy)) return false;
    if (heard->error.code == KOLM_OK) /* the first is the cause, what follows may be its consequence */
        (void)kit_fail(&heard->error, (int32_t)code, remedy, "%s", text);
    return true;
}

static bool take(trainer_heard *heard, const char *line, size_t length) {
    cJSON *event = NULL;
    const char *kind = "";
    bool good = kit_json_parse(line, length, &event, NULL) == KOLM_OK && cJSON_IsObject(event) &&
                kit_json_get_string(event, "event", &kind);
    if (good)
        good = strcmp(kind, "log") == 0        ? forward_log(heard, event)
               : strcmp(kind, "progress") == 0 ? forward_progress(heard, event)
               : strcmp(kind, "metric") == 0   ? forward_metric(heard, event)
               : strcmp(kind, "result") == 0   ? take_result(heard, event)
               : strcmp(kind, "error") == 0    ? take_error(heard, event)
                                               : false;
    cJSON_Delete(event);
    return good;
}

/* Libraries like to print. A few such lines are shown, so that nobody searches for what is wrong. */
static void report_strange(trainer_heard *heard, const char *line, size_t length) {
    char text[300];
    if (heard->strange++ >= STRANGE_SHOWN) return;
    kit_buf shown = {0};
    kit_buf_escaped(&shown, line, length < 200 ? length : 200);
    kit_format(text, sizeof text, "the trainer wrote a line that is no event: %s", kit_buf_text(&shown));
    kit_buf_free(&shown);
    say(heard, KOLM_LOG_WARNING, text);
}

void trainer_hear(trainer_heard *heard, const char *line, size_t length) {
    if (!take(heard, line, length)) report_strange(heard, line, length);
}
