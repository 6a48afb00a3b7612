/* SPDX-License-Identifier: Apache-2.0 */
/* Reports of a plugin on its work: each is checked, truncated and rate-limited before it is sent. */
#include "host/child/child.h"

#include "kolm/kit/process.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_EVERY_MS 50 /* progress, and each metric */
#define METRIC_NAME_MAX 64
#define IDS_MAX KOLM_DEVICES_MAX

/* The last value of one name. */
typedef struct metric {
    char name[METRIC_NAME_MAX + 1];
    bool waits; /* not sent yet */
    double value;
    int64_t told_ms;
} metric;

static const child_request *asked;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    bool again; /* a repeated call: reports are checked but not sent */
    int64_t progress_ms;
    bool progress_waits;
    kolm_progress_t progress;
    char phase[KOLM_PHASE_BYTES_MAX + 1];
    metric *metrics; /* KOLM_METRICS_MAX entries, allocated with the first */
    uint32_t metric_count, devices, holdings, steps;
    char ids[IDS_MAX][KOLM_DEVICE_ID_BYTES_MAX + 1];
    uint32_t announced, failed; /* of a test: total of its first step; number of the first that failed */
    char failed_title[KOLM_STEP_TITLE_BYTES_MAX + 1];
} state;

void child_reports_begin(const child_request *request) {
    asked = request;
    state.progress_ms = kit_now_ms() - SHOWN_EVERY_MS;
}

void child_reports_again(bool counts) {
    pthread_mutex_lock(&lock);
    state.again = !counts;
    state.devices = 0;
    pthread_mutex_unlock(&lock);
}

/* True if the report may be read: its size is at least that of ABI 1.0 and plausible, and it is allowed in this slot.
 * slot: NULL for any. */
static bool may_take(const char *about, const char *slot, const void *record, size_t least) {
    uint32_t size = 0;
    if (slot && strcmp(asked->slot, slot) != 0)
        child_breach(HOST_BREACH_RECORD, about, "call it in no other slot", "was reported, and only %s may do that",
                     slot);
    else if (!record)
        child_breach(HOST_BREACH_RECORD, about, "give a record", "was reported, and is NULL");
    else if (memcpy(&size, record, sizeof size), size < least)
        child_breach(HOST_BREACH_RECORD, about, "set its struct_size to sizeof of the record",
                     "was dropped: its struct_size is %u, and it has %zu bytes", size, least);
    else
        return true;
    return false;
}

#define MAY_TAKE(about, slot, type, record, last)                                                                      \
    may_take(about, slot, record, offsetof(type, last) + sizeof((record)->last))

/* True if the plugin reports more than the host accepts. */
static bool is_full(const char *about, uint32_t count, uint32_t most) {
    if (count < most) return false;
    child_breach(HOST_BREACH_RECORD, about, "report no more than that", "was dropped: kolm accepts %u of them", most);
    return true;
}

/* ---- Progress */

static void send_progress(void) {
    kolm_progress_t shown = state.progress;
    shown.phase = state.phase;
    child_reply_progress(&shown);
    state.progress_waits = false;
}

static void check_progress(kolm_progress_t *p) {
    if (p->step > INT64_MAX)
        child_breach(HOST_BREACH_REPORT, "the step of progress", "count the steps that are done",
                     "is %llu, which is more than INT64_MAX", (unsigned long long)p->step);
    else if (p->total > INT64_MAX && p->total != KOLM_UNKNOWN_COUNT)
        child_breach(HOST_BREACH_REPORT, "the total of progress", "use KOLM_UNKNOWN_COUNT if it is not known",
                     "is %llu, which is more than INT64_MAX", (unsigned long long)p->total);
    else if (p->step > p->total)
        child_breach(HOST_BREACH_REPORT, "progress", "use KOLM_UNKNOWN_COUNT for an unknown total",
                     "is at step %llu of %llu", (unsigned long long)p->step, (unsigned long long)p->total);
    if (p->reserved != 0) child_check_reserved("the field reserved of progress", p->reserved);
    if (isinf(p->loss))
        child_breach(HOST_BREACH_REPORT, "the loss of progress", "use NaN if there is none", "is infinite");
    if (isinf(p->tokens_per_second))
        child_breach(HOST_BREACH_REPORT, "tokens_per_second of progress", "use NaN if there is none", "is infinite");
    if (p->tokens_per_second < 0)
        child_breach(HOST_BREACH_REPORT, "tokens_per_second of progress", "use NaN if there is none",
                     "is negative (%g)", p->tokens_per_second);
    child_check_text("the phase of progress", p->phase, KOLM_PHASE_BYTES_MAX, 0);
    if (p->step > p->total || p->step > INT64_MAX) p->step = p->total > INT64_MAX ? 0 : p->total;
    if (p->total > INT64_MAX) p->total = KOLM_UNKNOWN_COUNT;
    if (p->tokens_per_second < 0) p->tokens_per_second = NAN;
}

void child_report_progress(void *user, const kolm_progress_t *progress) {
    (void)user;
    kolm_progress_t copy = {0};
    if (!MAY_TAKE("progress", NULL, kolm_progress_t, progress, phase)) return;
    /* Copy what both the plugin's header and ours have. */
    memcpy(&copy, progress, progress->struct_size < sizeof copy ? progress->struct_size : sizeof copy);
    check_progress(&copy);
    pthread_mutex_lock(&lock);
    if (copy.phase && copy.step < state.progress.step && strncmp(state.phase, copy.phase, KOLM_PHASE_BYTES_MAX) == 0)
        child_breach_mild(HOST_BREACH_REPORT, "progress", "keep counting, or start another phase",
                          "went back from step %llu to %llu in one phase", (unsigned long long)state.progress.step,
                          (unsigned long long)copy.step);
    state.progress = copy;
    kit_copy(state.phase, sizeof state.phase, copy.phase ? copy.phase : "");
    int64_t now = kit_now_ms();
    state.progress_waits = true; /* if it comes too soon, it is sent at the end, unless a later one replaces it */
    if (now - state.progress_ms >= SHOWN_EVERY_MS) {
        state.progress_ms = now;
        send_progress();
    }
    pthread_mutex_unlock(&lock);
    if (asked->halt_at_progress) child_wait_cancelled();
}

/* ---- Metrics */

/* [a-z][a-z0-9_.]{0,63} */
static bool metric_name_ok(const char *name) {
    size_t n = 0;
    if (name[0] < 'a' || name[0] > 'z') return false;
    for (; name[n]; n++) {
        char c = name[n];
        if (n >= METRIC_NAME_MAX || !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.'))
            return false;
    }
    return true;
}

static bool metric_ok(const char *name, double value) {
    char about[160], shown[METRIC_NAME_MAX + 1];
    if (!name) {
        child_breach(HOST_BREACH_REPORT, "a metric", "name it", "was dropped: its name is NULL");
        return false;
    }
    kit_copy(shown, sizeof shown, name);
    kit_format(about, sizeof about, "the metric '%s'", shown);
    if (!metric_name_ok(name))
        child_breach(HOST_BREACH_REPORT, about, "name it [a-z][a-z0-9_.]{0,63}",
                     "was dropped: not a valid metric name");
    else if (!isfinite(value))
        child_breach(HOST_BREACH_REPORT, about, "report finite numbers", "was dropped: its value is %s",
                     isnan(value) ? "not a number" : "infinite");
    else
        return true;
    return false;
}

static void send_metric(metric *m, int64_t now) {
    child_reply_metric(&(host_metric){m->name, m->value});
    m->waits = false;
    m->told_ms = now;
}

/* Under the lock. NULL: no room for another. */
static metric *metric_of(const char *name) {
    for (uint32_t i = 0; i < state.metric_count; i++)
        if (strcmp(state.metrics[i].name, name) == 0) return &state.metrics[i];
    if (!state.metrics) state.metrics = calloc(KOLM_METRICS_MAX, sizeof *state.metrics);
    if (!state.metrics || state.metric_count == KOLM_METRICS_MAX) return NULL;
    metric *m = &state.metrics[state.metric_count++];
    kit_copy(m->name, sizeof m->name, name);
    m->told_ms = kit_now_ms() - SHOWN_EVERY_MS;
    return m;
}

void child_report_metric(void *user, const char *name, double value) {
    (void)user;
    if (!metric_ok(name, value)) return;
    pthread_mutex_lock(&lock);
    metric *m = metric_of(name);
    bool full = !m && state.metric_count == KOLM_METRICS_MAX;
    if (m) {
        int64_t now = kit_now_ms();
        m->value = value;
        m->waits = true;
        if (now - m->told_ms >= SHOWN_EVERY_MS) send_metric(m, now);
    }
    pthread_mutex_unlock(&lock);
    if (full) (void)is_full("a metric of another name", KOLM_METRICS_MAX, KOLM_METRICS_MAX);
}

/* ---- Devices */

/* Under the lock: whether another device was reported with this id. */
static bool is_taken(const char *id) {
    for (uint32_t i = 0; i < state.devices && i < IDS_MAX; i++)
        if (state.ids[i][0] && strncmp(state.ids[i], id, KOLM_DEVICE_ID_BYTES_MAX) == 0) return true;
    return false;
}

static void check_device(kolm_device_t *d, bool taken, uint32_t place) {
    child_check_text("the name of a device", d->name, KOLM_DEVICE_TEXT_BYTES_MAX, 0);
    child_check_text("the id of a device", d->id, KOLM_DEVICE_ID_BYTES_MAX, CHILD_MAY_BE_EMPTY);
    child_check_text("the driver of a device", d->driver, KOLM_DEVICE_TEXT_BYTES_MAX, CHILD_MAY_BE_EMPTY);
    child_check_text("the runtime of a device", d->runtime, KOLM_DEVICE_TEXT_BYTES_MAX, CHILD_MAY_BE_EMPTY);
    d->total_memory_bytes = child_check_u64("total_memory_bytes of a device", d->total_memory_bytes);
    d->free_memory_bytes = child_check_u64("free_memory_bytes of a device", d->free_memory_bytes);
    if (taken)
        child_breach(HOST_BREACH_RECORD, "the id of a device", "use a different one for each", "is already in use");
    if (d->index != place)
        child_breach(HOST_BREACH_RECORD, "the index of a device", "count them from 0 as they are reported",
                     "is %u, and it is number %u", d->index, place);
    if (d->memory_kind > KOLM_MEMORY_SHARED) {
        child_breach(HOST_BREACH_RECORD, "memory_kind of a device", "use one of KOLM_MEMORY_*",
                     "is %u, and counts as NONE", d->memory_kind);
        d->memory_kind = KOLM_MEMORY_NONE;
    }
    if (d->total_memory_bytes != KOLM_MEMORY_UNKNOWN && d->free_memory_bytes != KOLM_MEMORY_UNKNOWN &&
        d->free_memory_bytes > d->total_memory_bytes) {
        child_breach(HOST_BREACH_RECORD, "a device",
                     "count in free_memory_bytes only memory that total_memory_bytes includes",
                     "has %llu bytes free of %llu", (unsigned long long)d->free_memory_bytes,
                     (unsigned long long)d->total_memory_bytes);
        d->free_memory_bytes = d->total_memory_bytes;
    }
}

void child_report_device(void *user, const kolm_device_t *device) {
    (void)user;
    if (!MAY_TAKE("a device", HOST_CALL_DETECT, kolm_device_t, device, runtime)) return;
    kolm_device_t copy = {0};
    memcpy(&copy, device, device->struct_size < sizeof copy ? device->struct_size : sizeof copy);
    pthread_mutex_lock(&lock);
    if (!is_full("a device", state.devices, KOLM_DEVICES_MAX)) {
        bool taken = copy.id && is_taken(copy.id);
        if (copy.id) kit_copy(state.ids[state.devices], sizeof *state.ids, copy.id);
        check_device(&copy, taken, state.devices++);
        if (!state.again) child_reply_device(&copy);
    }
    pthread_mutex_unlock(&lock);
}

/* ---- Steps of a test */

/* Under the lock. */
static void check_step(kolm_test_step_t *step) {
    child_check_text("the title of a step", step->title, KOLM_STEP_TITLE_BYTES_MAX, 0);
    child_check_text("the note of a step", step->note, KOLM_STEP_NOTE_BYTES_MAX, CHILD_MAY_BE_EMPTY);
    if (child_check_u64("duration_us of a step", step->duration_us) == UINT64_MAX) step->duration_us = 0;
    if (step->number != state.steps)
        child_breach(HOST_BREACH_REPORT, "the number of a step", "count them from 1 as they end",
                     "is %u, and it is number %u", step->number, state.steps);
    if (state.steps == 1) state.announced = step->total;
    if (step->total != state.announced || step->total < state.steps)
        child_breach(HOST_BREACH_REPORT, "the total of a step", "report the same in each, and no fewer than there are",
                     "is %u at step %u, and was %u", step->total, state.steps, state.announced);
    if (step->outcome > KOLM_STEP_SKIPPED) {
        child_breach(HOST_BREACH_REPORT, "the outcome of a step", "use one of KOLM_STEP_*",
                     "is %u, and counts as FAILED", step->outcome);
        step->outcome = KOLM_STEP_FAILED;
    }
    if (step->outcome == KOLM_STEP_FAILED && state.failed == 0) {
        state.failed = state.steps;
        kit_copy(state.failed_title, sizeof state.failed_title, step->title ? step->title : "");
    }
}

void child_report_test_step(void *user, const kolm_test_step_t *step) {
    (void)user;
    if (!MAY_TAKE("a step", HOST_CALL_TEST, kolm_test_step_t, step, note)) return;
    kolm_test_step_t copy = {0};
    memcpy(&copy, step, step->struct_size < sizeof copy ? step->struct_size : sizeof copy);
    pthread_mutex_lock(&lock);
    if (!is_full("a step", state.steps, KOLM_TEST_STEPS_MAX)) {
        state.steps++;
        check_step(&copy);
        child_reply_step(&copy);
    }
    pthread_mutex_unlock(&lock);
}

bool child_tested_passed(bool says_so, kolm_error_t *why) {
    static const char remedy[] = "do not rely on it; report this to the author of the backend";
    if (!says_so && state.steps == 0)
        child_breach(HOST_BREACH_REPORT, "it ended", "report each step through host->test_step", "without a step");
    if (!says_so) return true;
    if (state.steps == 0)
        (void)kit_fail(why, KOLM_E_INTERNAL, remedy, "test reports success, but reported no step: nothing was proved");
    else if (state.failed > 0)
        (void)kit_fail(why, KOLM_E_INTERNAL, remedy, "test reports success, but its step %u (%.64s) failed",
                       state.failed, state.failed_title);
    else if (state.steps < state.announced)
        (void)kit_fail(why, KOLM_E_INTERNAL, remedy, "test reports success, but reported only %u of %u steps",
                       state.steps, state.announced);
    else
        return true;
    return false;
}

/* ---- What is kept elsewhere */

static void check_holding(kolm_holding_t *h) {
    kolm_status_args_t args;
    (void)host_read_status_args(asked->args, &args);
    child_check_text("the place of a holding", h->place, KOLM_HOLDING_PLACE_BYTES_MAX, 0);
    child_check_text("the kind of a holding", h->kind, KOLM_HOLDING_KIND_BYTES_MAX, 0);
    child_check_text("the name of a holding", h->name, KOLM_HOLDING_NAME_BYTES_MAX, 0);
    child_check_text("the note of a holding", h->note, KOLM_HOLDING_NOTE_BYTES_MAX, CHILD_MAY_BE_EMPTY);
    h->bytes = child_check_u64("bytes of a holding", h->bytes);
    h->age_seconds = child_check_u64("age_seconds of a holding", h->age_seconds);
    h->price_micro_usd_per_hour = child_check_u64("price_micro_usd_per_hour of a holding", h->price_micro_usd_per_hour);
    if (h->state > KOLM_HOLDING_REMOVED)
        child_breach(HOST_BREACH_RECORD, "the state of a holding", "use one of KOLM_HOLDING_*",
                     "is %u, and counts as unknown", h->state);
    else if (h->state == KOLM_HOLDING_REMOVED && args.prune == 0)
        child_breach(HOST_BREACH_RECORD, "a holding", "remove nothing unless prune is 1",
                     "was removed, although prune is 0");
}

void child_report_holding(void *user, const kolm_holding_t *holding) {
    (void)user;
    if (!MAY_TAKE("a holding", HOST_CALL_STATUS, kolm_holding_t, holding, note)) return;
    kolm_holding_t copy = {0};
    memcpy(&copy, holding, holding->struct_size < sizeof copy ? holding->struct_size : sizeof copy);
    pthread_mutex_lock(&lock);
    if (!is_full("a holding", state.holdings, KOLM_HOLDINGS_MAX)) {
        state.holdings++;
        check_holding(&copy);
        child_reply_holding(&copy);
    }
    pthread_mutex_unlock(&lock);
}

void child_reports_flush(void) {
    if (pthread_mutex_trylock(&lock) != 0) return;
    int64_t now = kit_now_ms();
    if (state.progress_waits) send_progress();
    for (uint32_t i = 0; i < state.metric_count; i++)
        if (state.metrics[i].waits) send_metric(&state.metrics[i], now);
    pthread_mutex_unlock(&lock);
}
