/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events. */
#include "kolm/http/sse.h"
#include "internal.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

struct kit_sse {
    size_t event_max;
    kit_sse_fn on_event;
    void *user;
    kit_buf line, data, type, id;
    int64_t retry_ms;
    bool started;  /* past the position of a byte order mark */
    bool after_cr; /* an LF now belongs to the previous line end */
    bool has_data; /* of the event being read */
    kit_status failed;
};

kit_status kit_sse_new(size_t event_max, kit_sse_fn on_event, void *user, kit_sse **out, kolm_error_t *err) {
    *out = calloc(1, sizeof **out);
    if (*out == NULL) return kit_no_memory(err);
    **out = (kit_sse){.event_max = event_max, .on_event = on_event, .user = user, .retry_ms = -1};
    return KOLM_OK;
}

void kit_sse_free(kit_sse *sse) {
    if (sse == NULL) return;
    kit_buf_free(&sse->line);
    kit_buf_free(&sse->data);
    kit_buf_free(&sse->type);
    kit_buf_free(&sse->id);
    free(sse);
}

static kit_status too_long(const kit_sse *sse, const char *what, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_OUT_OF_RANGE,
                    "check the address of the service; this is not what it is expected to send",
                    "%s of the event stream is longer than %zu bytes", what, sse->event_max);
}

/* A blank line: reports what was collected. */
static kit_status dispatch(kit_sse *sse, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    KIT_TRY(kit_buf_ok(&sse->data, err));
    KIT_TRY(kit_buf_ok(&sse->type, err));
    KIT_TRY(kit_buf_ok(&sse->id, err));
    if (sse->has_data) {
        kit_sse_event event = {.type = sse->type.length > 0 ? kit_buf_text(&sse->type) : "message",
                               .data = kit_buf_text(&sse->data),
                               .length = sse->data.length,
                               .last_id = kit_buf_text(&sse->id),
                               .retry_ms = sse->retry_ms};
        status = sse->on_event(sse->user, &event, err);
    }
    kit_buf_clear(&sse->data);
    kit_buf_clear(&sse->type);
    sse->has_data = false;
    return status;
}

static kit_status add_data(kit_sse *sse, const char *value, size_t length, kolm_error_t *err) {
    size_t joined = sse->data.length + (sse->has_data ? 1 : 0);
    if (joined > sse->event_max || length > sse->event_max - joined) return too_long(sse, "an event", err);
    if (sse->has_data) kit_buf_char(&sse->data, '\n');
    sse->has_data = true;
    kit_buf_add(&sse->data, value, length);
    return kit_buf_ok(&sse->data, err);
}

static bool is_field(const char *name, size_t length, const char *wanted) {
    return length == strlen(wanted) && memcmp(name, wanted, length) == 0;
}

static kit_status take_field(kit_sse *sse, const char *name, size_t name_length, const char *value, size_t length,
                             kolm_error_t *err) {
    uint64_t ms = 0;
    if (is_field(name, name_length, "data")) return add_data(sse, value, length, err);
    if (is_field(name, name_length, "event")) {
        kit_buf_clear(&sse->type);
        kit_buf_add(&sse->type, value, strnlen(value, length));
    } else if (is_field(name, name_length, "id") && memchr(value, '\0', length) == NULL) {
        kit_buf_clear(&sse->id);
        kit_buf_add(&sse->id, value, length);
    } else if (is_field(name, name_length, "retry") && length > 0 && strspn(value, "0123456789") == length &&
               kit_parse_u64(value, &ms)) {
        sse->retry_ms = ms < INT64_MAX ? (int64_t)ms : INT64_MAX;
    }
    return KOLM_OK;
}

static kit_status end_line(kit_sse *sse, kolm_error_t *err) {
    KIT_TRY(kit_buf_ok(&sse->line, err));
    const char *line = kit_buf_text(&sse->line);
    size_t length = sse->line.length;
    if (!sse->started && length >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
        line += 3;
        length -= 3;
    }
    sse->started = true;
    kit_status status = KOLM_OK;
    if (length == 0) {
        status = dispatch(sse, err);
    } else if (line[0] != ':') {
        const char *colon = memchr(line, ':', length), *end = line + length, *value = end;
        if (colon != NULL) value = colon + 1 < end && colon[1] == ' ' ? colon + 2 : colon + 1;
        status =
            take_field(sse, line, (size_t)((colon != NULL ? colon : end) - line), value, (size_t)(end - value), err);
    }
    kit_buf_clear(&sse->line);
    return status;
}

static kit_status feed(kit_sse *sse, const char *bytes, size_t length, kolm_error_t *err) {
    for (size_t at = 0; at < length;) {
        if (sse->after_cr && bytes[at] == '\n') at++;
        sse->after_cr = false;
        size_t n = at;
        while (n < length && bytes[n] != '\n' && bytes[n] != '\r')
            n++;
        if (n - at > sse->event_max || sse->line.length > sse->event_max - (n - at))
            return too_long(sse, "a line", err);
        kit_buf_add(&sse->line, bytes + at, n - at);
        if (n == length) break;
        sse->after_cr = bytes[n] == '\r';
        KIT_TRY(end_line(sse, err));
        at = n + 1;
    }
    return kit_buf_ok(&sse->line, err);
}

kit_status kit_sse_feed(kit_sse *sse, const char *bytes, size_t length, kolm_error_t *err) {
    if (sse->failed != KOLM_OK)
        return kit_fail(err, sse->failed, "connect again", "the event stream could not be read any further");
    return sse->failed = feed(sse, bytes, length, err);
}
