/* SPDX-License-Identifier: Apache-2.0 */
/* The events of the job protocol: the one reader and the one writer. */
#include "kolm/kit/events.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#define SHOWN_BYTES 200 /* of a line that is not an event */
#define KIND "event"

static const char *const levels[] = {"debug", "info", "warning", "error"};
#define LEVELS (sizeof levels / sizeof *levels)

/* ---- Reading */

void kit_events_begin(kit_events *events, const kolm_host_v1_t *host, const char *who) {
    *events = (kit_events){.host = host, .who = who, .error = KIT_ERROR_INIT};
}

void kit_events_end(kit_events *events) {
    cJSON_Delete(events->result);
    events->result = NULL;
    kit_buf_free(&events->partial);
}

static bool is_absent(const cJSON *event, const char *key) {
    const cJSON *item = kit_json_get(event, key);
    return item == NULL || cJSON_IsNull(item);
}

/* An optional text. */
static bool optional_text(const cJSON *event, const char *key, const char *otherwise, const char **out) {
    *out = otherwise;
    return kit_json_get(event, key) == NULL || kit_json_get_string(event, key, out);
}

/* An optional number, possibly null. */
static bool optional_number(const cJSON *event, const char *key, double *out) {
    *out = (double)NAN;
    return is_absent(event, key) || kit_json_get_number(event, key, out);
}

static bool optional_count(const cJSON *event, const char *key, uint64_t *out) {
    *out = KOLM_UNKNOWN_COUNT;
    return is_absent(event, key) || kit_json_get_u64(event, key, out);
}

static bool required_text(const cJSON *event, const char *key, const char **out) {
    return kit_json_get_string(event, key, out) && (*out)[0] != '\0';
}

static bool take_log(kit_events *events, cJSON *event) {
    const char *text, *level;
    if (!kit_json_get_string(event, "text", &text) || !optional_text(event, "level", "info", &level)) return false;
    for (uint32_t i = 0; i < LEVELS; i++) {
        if (strcmp(level, levels[i]) != 0) continue;
        events->host->log(events->host->user, i, text);
        return true;
    }
    return false;
}

static bool take_progress(kit_events *events, cJSON *event) {
    kolm_progress_t p = {.struct_size = (uint32_t)sizeof p};
    if (!required_text(event, "phase", &p.phase) || !kit_json_get_u64(event, "step", &p.step) ||
        !optional_count(event, "total", &p.total) || !optional_number(event, "loss", &p.loss) ||
        !optional_number(event, "tokens_per_second", &p.tokens_per_second))
        return false;
    if (p.total < p.step) p.total = KOLM_UNKNOWN_COUNT;
    if (p.tokens_per_second < 0) p.tokens_per_second = (double)NAN;
    events->host->progress(events->host->user, &p);
    return true;
}

static bool take_metric(kit_events *events, cJSON *event) {
    const char *name;
    double value;
    if (!required_text(event, "name", &name) || !kit_json_get_number(event, "value", &value)) return false;
    events->host->metric(events->host->user, name, value);
    return true;
}

static bool take_result(kit_events *events, cJSON *event) {
    const cJSON *inner = kit_json_get(event, "result");
    if (inner != NULL && !cJSON_IsObject(inner)) return false;
    cJSON *result = cJSON_Duplicate(inner != NULL ? inner : event, true);
    if (result == NULL) return false;
    cJSON_Delete(events->result);
    events->result = result;
    return true;
}

static bool take_error(kit_events *events, cJSON *event) {
    const char *text, *remedy;
    uint64_t code;
    if (!required_text(event, "text", &text) || !optional_text(event, "remedy", "", &remedy)) return false;
    if (!kit_json_get_u64(event, "code", &code) || code < 1 || code > KOLM_E_UNAUTHENTICATED) code = KOLM_E_UNKNOWN;
    if (events->error.code == KOLM_OK) (void)kit_fail(&events->error, (int32_t)code, remedy, "%s", text);
    return true;
}

static const struct {
    const char *name;
    bool (*take)(kit_events *events, cJSON *event);
} kinds[] = {
    [KIT_EVENT_LOG] = {"log", take_log},          [KIT_EVENT_PROGRESS] = {"progress", take_progress},
    [KIT_EVENT_METRIC] = {"metric", take_metric}, [KIT_EVENT_RESULT] = {"result", take_result},
    [KIT_EVENT_ERROR] = {"error", take_error},
};

static kit_event_kind take(kit_events *events, const char *line, size_t length) {
    cJSON *event = NULL;
    const char *name = "";
    kit_event_kind kind = KIT_EVENT_NONE;
    if (length <= KIT_EVENT_LINE_MAX && kit_json_parse(line, length, &event, NULL) == KOLM_OK &&
        cJSON_IsObject(event) && kit_json_get_string(event, KIND, &name))
        for (unsigned i = KIT_EVENT_LOG; i < sizeof kinds / sizeof *kinds; i++)
            if (strcmp(name, kinds[i].name) == 0 && kinds[i].take(events, event)) kind = (kit_event_kind)i;
    cJSON_Delete(event);
    return kind;
}

static void report_strange(kit_events *events, const char *line, size_t length) {
    kit_buf text = {0};
    if (events->strange++ > KIT_EVENTS_STRANGE_SHOWN) return;
    if (events->strange > KIT_EVENTS_STRANGE_SHOWN) {
        kit_buf_fmt(&text, "%s printed more lines that are not events: they are not shown", events->who);
    } else {
        kit_buf_fmt(&text, "%s printed a line that is not an event%s: ", events->who,
                    length > KIT_EVENT_LINE_MAX ? ", because it has more than 1 MiB" : "");
        kit_buf_escaped(&text, line, length < SHOWN_BYTES ? length : SHOWN_BYTES);
    }
    if (kit_buf_ok(&text, NULL) == KOLM_OK)
        events->host->log(events->host->user, KOLM_LOG_WARNING, kit_buf_text(&text));
    kit_buf_free(&text);
}

kit_event_kind kit_events_line(kit_events *events, const char *line, size_t length) {
    size_t blank = 0;
    kit_event_kind kind = take(events, line, length);
    while (blank < length && strchr(" \t\r", line[blank]) != NULL && line[blank] != '\0')
        blank++;
    if (events->restarts && kind != KIT_EVENT_NONE && kind != KIT_EVENT_ERROR) events->error.code = KOLM_OK;
    if (kind == KIT_EVENT_NONE && blank < length) report_strange(events, line, length);
    return kind;
}

void kit_events_lines(kit_events *events, const char *text, size_t length) {
    for (size_t at = 0; at < length;) {
        const char *end = memchr(text + at, '\n', length - at);
        size_t n = end != NULL ? (size_t)(end - text) - at : length - at;
        (void)kit_events_line(events, text + at, n);
        at += n + 1;
    }
}

/* Keeps the bytes before an LF and advances bytes past it; false if there is no LF. A line that is too long is kept up
 * to one byte over the limit, which marks it as too long. */
static bool take_until_lf(kit_buf *line, const char **bytes, size_t *length) {
    const char *lf = memchr(*bytes, '\n', *length);
    size_t n = lf != NULL ? (size_t)(lf - *bytes) : *length, room = KIT_EVENT_LINE_MAX + 1 - line->length;
    kit_buf_add(line, *bytes, n < room ? n : room);
    n += lf != NULL;
    *bytes += n;
    *length -= n;
    return lf != NULL;
}

void kit_events_last(kit_events *events) {
    (void)kit_events_line(events, kit_buf_text(&events->partial), events->partial.length);
    kit_buf_free(&events->partial);
}

void kit_events_bytes(kit_events *events, const char *bytes, size_t length) {
    while (length > 0) {
        if (!take_until_lf(&events->partial, &bytes, &length)) return;
        (void)kit_events_line(events, kit_buf_text(&events->partial), events->partial.length);
        if (events->partial.failed) kit_buf_free(&events->partial);
        kit_buf_clear(&events->partial);
    }
}

kit_status kit_events_file(kit_events *events, const char *path, uint64_t *at, kolm_error_t *err) {
    kit_buf line = {0};
    char piece[8192];
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return errno == ENOENT ? KOLM_OK : kit_fail_errno(err, errno, "cannot read %s", path);
    for (uint64_t from = *at; !line.failed && (n = pread(fd, piece, sizeof piece, (off_t)from)) > 0;
         from += (uint64_t)n) {
        const char *bytes = piece;
        size_t left = (size_t)n;
        while (left > 0 && take_until_lf(&line, &bytes, &left) && !line.failed) {
            (void)kit_events_line(events, kit_buf_text(&line), line.length);
            kit_buf_clear(&line);
            *at = from + (uint64_t)(bytes - piece);
        }
    }
    kit_status status = line.failed ? kit_buf_ok(&line, err)
                        : n < 0     ? kit_fail_errno(err, errno, "cannot read %s", path)
                                    : KOLM_OK;
    kit_buf_free(&line);
    close(fd);
    return status;
}

const char *kit_events_result_text(const kit_events *events, const char *key) {
    const char *text = "";
    return kit_json_get_string(events->result, key, &text) ? text : "";
}

/* ---- Writing */

static cJSON *new_event(kit_event_kind kind) {
    cJSON *event = cJSON_CreateObject();
    (void)kit_json_put_string(event, KIND, kinds[kind].name);
    return event;
}

static bool put_text(cJSON *event, const char *key, const char *text) {
    kit_buf shown = {0};
    kit_buf_escaped(&shown, text, strlen(text));
    bool good = kit_buf_ok(&shown, NULL) == KOLM_OK && kit_json_put_string(event, key, kit_buf_text(&shown));
    kit_buf_free(&shown);
    return good;
}

static bool put_count(cJSON *event, const char *key, uint64_t value) {
    const uint64_t most = (uint64_t)KIT_JSON_MAX_INTEGER;
    if (value == KOLM_UNKNOWN_COUNT) return kit_json_put_null(event, key);
    return kit_json_put_u64(event, key, value < most ? value : most);
}

static bool put_number(cJSON *event, const char *key, double value) {
    return isfinite(value) ? kit_json_put_number(event, key, value) : kit_json_put_null(event, key);
}

/* Takes ownership of event. Never appends a partial line. */
static void append(kit_buf *out, cJSON *event, bool good) {
    kit_buf line = {0};
    if (good && kit_json_get(event, KIND) != NULL && kit_json_line(event, &line, NULL) == KOLM_OK) {
        kit_buf_char(&line, '\n');
        kit_buf_add(out, kit_buf_text(&line), line.length);
    } else {
        out->failed = true;
    }
    out->failed = out->failed || line.failed;
    kit_buf_free(&line);
    cJSON_Delete(event);
}

void kit_event_log(kit_buf *out, uint32_t level, const char *text) {
    cJSON *event = new_event(KIT_EVENT_LOG);
    append(out, event,
           kit_json_put_string(event, "level", levels[level < LEVELS ? level : LEVELS - 1]) &&
               put_text(event, "text", text));
}

void kit_event_progress(kit_buf *out, const kolm_progress_t *p) {
    cJSON *event = new_event(KIT_EVENT_PROGRESS);
    append(out, event,
           put_text(event, "phase", p->phase) && put_count(event, "step", p->step) &&
               put_count(event, "total", p->total) && put_number(event, "loss", p->loss) &&
               put_number(event, "tokens_per_second", p->tokens_per_second));
}

void kit_event_metric(kit_buf *out, const char *name, double value) {
    if (!isfinite(value)) return;
    cJSON *event = new_event(KIT_EVENT_METRIC);
    append(out, event, put_text(event, "name", name) && kit_json_put_number(event, "value", value));
}

void kit_event_result(kit_buf *out, const char *backend, const char *device, const char *toolchain) {
    cJSON *event = new_event(KIT_EVENT_RESULT);
    append(out, event,
           (backend == NULL || put_text(event, "backend", backend)) && put_text(event, "device", device) &&
               put_text(event, "toolchain", toolchain));
}

void kit_event_error(kit_buf *out, const kolm_error_t *error) {
    cJSON *event = new_event(KIT_EVENT_ERROR);
    uint64_t code = error->code > 0 ? (uint64_t)error->code : KOLM_E_UNKNOWN;
    append(out, event,
           kit_json_put_u64(event, "code", code) && put_text(event, "text", error->text) &&
               put_text(event, "remedy", error->remedy));
}
