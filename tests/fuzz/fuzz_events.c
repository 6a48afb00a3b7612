/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: for any lines that a job prints, the texts and numbers that are passed on are in range, the first error
 * and the last result are used, only the first few lines that are not events are reported, and what is passed on stays
 * the same after writing and reading it again. */
#include "fuzz.h"

#include "kolm/kit/events.h"
#include "kolm/kit/text.h"

#include <math.h>
#include <string.h>

static size_t logs;
static kit_buf again; /* the events that were passed on, as text */

static bool whole(const char *text) {
    return text != NULL && kit_utf8_valid(text, strlen(text)) == strlen(text);
}

static void on_log(void *user, uint32_t level, const char *text) {
    (void)user;
    logs++;
    must(level <= KOLM_LOG_ERROR && whole(text));
    kit_event_log(&again, level, text);
}

static void on_progress(void *user, const kolm_progress_t *progress) {
    (void)user;
    must(progress->struct_size == sizeof *progress && progress->reserved == 0 && whole(progress->phase) &&
         progress->phase[0] != '\0');
    must(progress->step <= (uint64_t)INT64_MAX && progress->step <= progress->total);
    must(!isinf(progress->loss) && !isinf(progress->tokens_per_second) && !(progress->tokens_per_second < 0));
    kit_event_progress(&again, progress);
}

static void on_metric(void *user, const char *name, double value) {
    (void)user;
    must(whole(name) && name[0] != '\0' && isfinite(value));
    kit_event_metric(&again, name, value);
}

static const kolm_host_v1_t host = {.log = on_log, .progress = on_progress, .metric = on_metric};

/* Writing escapes texts, so that a line of the maximum length may become too long; it is then not an event. */
static void read_again(void) {
    kit_buf lines = again;
    kit_events events;
    again = (kit_buf){0};
    must(!lines.failed);
    kit_events_begin(&events, &host, "it");
    kit_events_lines(&events, kit_buf_text(&lines), lines.length);
    if (events.strange == 0)
        must(lines.length == again.length && memcmp(kit_buf_text(&lines), kit_buf_text(&again), lines.length) == 0);
    kit_events_end(&events);
    kit_buf_free(&lines);
    kit_buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kit_events events;
    const char *text = (const char *)data;
    size_t lines = 0;
    logs = 0;
    kit_events_begin(&events, &host, "the trainer");
    while (size > 0) {
        const char *lf = memchr(text, '\n', size);
        size_t length = lf != NULL ? (size_t)(lf - text) : size, step = length + (lf != NULL ? 1 : 0);
        const bool result = events.result != NULL;
        const kolm_error_t error = events.error;
        kit_event_kind kind = kit_events_line(&events, text, length);
        lines++;
        must(kind <= KIT_EVENT_ERROR && (events.result != NULL) == (result || kind == KIT_EVENT_RESULT));
        must(error.code == KOLM_OK || memcmp(&error, &events.error, sizeof error) == 0);
        must(events.result == NULL || cJSON_IsObject(events.result));
        must(whole(kit_events_result_text(&events, "device")));
        text += step;
        size -= step;
    }
    must(events.strange <= lines && logs <= lines);
    must(events.error.code == KOLM_OK || (events.error.code <= KOLM_E_UNAUTHENTICATED && events.error.text[0] != '\0'));
    must(whole(events.error.text) && whole(events.error.remedy));
    kit_events_end(&events);
    read_again();
    return 0;
}
