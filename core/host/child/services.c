/* SPDX-License-Identifier: Apache-2.0 */
/* What a plugin may ask of kolm: every report is checked, cut to size and rated before it goes out. */
#include "host/child/child.h"

#include "kolm/kit/process.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#define LOG_BURST 400      /* lines at once */
#define LOG_PER_SECOND 200 /* lines afterwards */
#define PROGRESS_EVERY_MS 50
#define METRICS_MAX 1000
#define UNDECLARED_MAX 100 /* reports of settings that the manifest does not declare */

static const child_request *asked;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    int64_t tokens, refilled_ms;
    uint64_t dropped;
    int64_t progress_ms;
    bool progress_waits;
    kolm_progress_t progress;
    char phase[64];
    uint32_t metrics, devices, holdings, undeclared;
    bool withheld;
} state;

static void put_cut(kit_buf *members, const char *key, const char *text, size_t most) {
    char cut[HOST_LOG_MAX + 1];
    kit_copy(cut, most + 1 < sizeof cut ? most + 1 : sizeof cut, text ? text : "");
    child_put_text(members, key, cut);
}

static void send_log(uint32_t level, const char *text) {
    kit_buf members = {0};
    child_put_int(&members, "level", level);
    put_cut(&members, "text", text, HOST_LOG_MAX);
    child_reply_send("log", &members);
    kit_buf_free(&members);
}

/* Under the lock: says how many lines were not shown. */
static void say_dropped(void) {
    char text[80];
    if (state.dropped == 0) return;
    kit_format(text, sizeof text, "%llu log lines came too fast and are not shown", (unsigned long long)state.dropped);
    state.dropped = 0;
    send_log(KOLM_LOG_WARNING, text);
}

static void service_log(void *user, uint32_t level, const char *text) {
    (void)user;
    if (!text) return;
    pthread_mutex_lock(&lock);
    int64_t now = kit_now_ms();
    int64_t gained = (now - state.refilled_ms) * LOG_PER_SECOND / 1000;
    if (gained > 0) {
        state.tokens = state.tokens + gained < LOG_BURST ? state.tokens + gained : LOG_BURST;
        state.refilled_ms = now;
    }
    if (state.tokens > 0) {
        state.tokens--;
        say_dropped();
        send_log(level <= KOLM_LOG_ERROR ? level : KOLM_LOG_ERROR, text);
    } else {
        state.dropped++;
    }
    pthread_mutex_unlock(&lock);
}

static void send_progress(void) {
    kit_buf members = {0};
    child_put_u64(&members, "step", state.progress.step);
    child_put_u64(&members, "total", state.progress.total);
    child_put_double(&members, "loss", state.progress.loss);
    child_put_double(&members, "tokens_per_second", state.progress.tokens_per_second);
    child_put_text(&members, "phase", state.phase);
    child_reply_send("progress", &members);
    kit_buf_free(&members);
    state.progress_waits = false;
}

static void service_progress(void *user, const kolm_progress_t *progress) {
    (void)user;
    if (!progress || !KOLM_HAS(kolm_progress_t, progress, phase)) return;
    pthread_mutex_lock(&lock);
    /* As much as the plugin's own header knew, and no more than ours does. */
    memcpy(&state.progress, progress,
           progress->struct_size < sizeof state.progress ? progress->struct_size : sizeof state.progress);
    kit_copy(state.phase, sizeof state.phase, progress->phase ? progress->phase : "");
    int64_t now = kit_now_ms();
    state.progress_waits = true; /* if it comes too soon, it goes out with the end, unless a later one replaces it */
    if (now - state.progress_ms >= PROGRESS_EVERY_MS) {
        state.progress_ms = now;
        send_progress();
    }
    pthread_mutex_unlock(&lock);
}

/* [a-z][a-z0-9_.]{0,63} */
static bool metric_name_ok(const char *name) {
    size_t n = 0;
    if (!name || name[0] < 'a' || name[0] > 'z') return false;
    for (; name[n]; n++) {
        char c = name[n];
        if (n >= 64 || !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.')) return false;
    }
    return true;
}

static void service_metric(void *user, const char *name, double value) {
    (void)user;
    if (!metric_name_ok(name) || !isfinite(value)) {
        service_log(NULL, KOLM_LOG_WARNING, "a metric was dropped: its name or value is not valid");
        return;
    }
    pthread_mutex_lock(&lock);
    if (state.metrics < METRICS_MAX) {
        kit_buf members = {0};
        state.metrics++;
        child_put_text(&members, "name", name);
        child_put_double(&members, "value", value);
        child_reply_send("metric", &members);
        kit_buf_free(&members);
    }
    pthread_mutex_unlock(&lock);
}

static void service_device(void *user, const kolm_device_t *device) {
    (void)user;
    if (!device || !KOLM_HAS(kolm_device_t, device, runtime) || strcmp(asked->slot, "detect") != 0) return;
    pthread_mutex_lock(&lock);
    if (state.devices < HOST_DEVICES_MAX) {
        kit_buf members = {0};
        state.devices++;
        child_put_int(&members, "memory_kind", device->memory_kind);
        child_put_u64(&members, "total", device->total_memory_bytes);
        child_put_u64(&members, "free", device->free_memory_bytes);
        child_put_int(&members, "index", device->index);
        child_put_int(&members, "units", device->units);
        put_cut(&members, "name", device->name, 127);
        put_cut(&members, "id", device->id, 63);
        put_cut(&members, "driver", device->driver, 127);
        put_cut(&members, "runtime", device->runtime, 127);
        child_reply_send("device", &members);
        kit_buf_free(&members);
    }
    pthread_mutex_unlock(&lock);
}

static void service_test_step(void *user, const kolm_test_step_t *step) {
    (void)user;
    if (!step || !KOLM_HAS(kolm_test_step_t, step, note) || strcmp(asked->slot, "test") != 0) return;
    pthread_mutex_lock(&lock);
    kit_buf members = {0};
    child_put_int(&members, "outcome", step->outcome);
    child_put_int(&members, "number", step->number);
    child_put_int(&members, "total", step->total);
    child_put_u64(&members, "duration_us", step->duration_us);
    put_cut(&members, "title", step->title, 127);
    put_cut(&members, "note", step->note, 1023);
    child_reply_send("step", &members);
    kit_buf_free(&members);
    pthread_mutex_unlock(&lock);
}

static void service_holding(void *user, const kolm_holding_t *holding) {
    (void)user;
    if (!holding || !KOLM_HAS(kolm_holding_t, holding, note) || strcmp(asked->slot, "status") != 0) return;
    pthread_mutex_lock(&lock);
    if (state.holdings < HOST_HOLDINGS_MAX) {
        kit_buf members = {0};
        state.holdings++;
        child_put_int(&members, "state", holding->state);
        child_put_u64(&members, "bytes", holding->bytes);
        child_put_u64(&members, "age", holding->age_seconds);
        child_put_u64(&members, "price", holding->price_micro_usd_per_hour);
        put_cut(&members, "place", holding->place, 255);
        put_cut(&members, "kind", holding->kind, 31);
        put_cut(&members, "name", holding->name, 127);
        put_cut(&members, "note", holding->note, 511);
        child_reply_send("holding", &members);
        kit_buf_free(&members);
    }
    pthread_mutex_unlock(&lock);
}

static int32_t service_cancelled(void *user) {
    (void)user;
    return child_cancelled() ? 1 : 0;
}

static int64_t service_time_left(void *user) {
    (void)user;
    if (asked->deadline_ms == INT64_MAX) return INT64_MAX;
    int64_t left = asked->deadline_ms - kit_now_ms();
    return left > 0 ? left : 0;
}

static int32_t give(const char *value, char *buffer, uint64_t capacity, uint64_t *out_length) {
    size_t length = strlen(value);
    if (out_length) *out_length = length;
    if (!buffer || capacity <= length) return KOLM_E_OUT_OF_RANGE;
    memcpy(buffer, value, length + 1);
    return KOLM_OK;
}

/* Whether it is set is no secret: asked for without a place for the value, that is all that it comes to. */
static int32_t withhold(const char *name, uint64_t capacity, uint64_t *out_length) {
    if (out_length) *out_length = 0;
    if (capacity == 0) return KOLM_E_OUT_OF_RANGE;
    pthread_mutex_lock(&lock);
    if (!state.withheld) {
        kit_buf members = {0};
        state.withheld = true;
        put_cut(&members, "name", name, 64);
        child_reply_send("withheld", &members);
        kit_buf_free(&members);
    }
    pthread_mutex_unlock(&lock);
    return KOLM_E_PERMISSION_DENIED;
}

static int32_t service_secret(void *user, const char *name, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user;
    for (size_t i = 0; name && i < asked->secret_count; i++) {
        if (strcmp(asked->secrets[i].name, name) != 0) continue;
        const char *value = asked->secrets[i].value;
        if (asked->secrets[i].withheld) return withhold(name, buffer ? capacity : 0, out_length);
        return value ? give(value, buffer, capacity, out_length) : KOLM_E_NOT_FOUND;
    }
    return KOLM_E_PERMISSION_DENIED;
}

/* Those of kolm itself (runtime.python, network.private_only) are every backend's. */
static bool is_declared(const char *key) {
    const cJSON *one;
    if (!asked->declared || strchr(key, '.')) return true;
    cJSON_ArrayForEach(one, asked->declared) {
        if (cJSON_IsString(one) && strcmp(one->valuestring, key) == 0) return true;
    }
    return false;
}

static void report_undeclared(const char *key) {
    pthread_mutex_lock(&lock);
    if (state.undeclared < UNDECLARED_MAX) {
        kit_buf members = {0};
        state.undeclared++;
        put_cut(&members, "key", key, 64);
        child_reply_send("undeclared", &members);
        kit_buf_free(&members);
    }
    pthread_mutex_unlock(&lock);
}

static int32_t service_setting(void *user, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user;
    const char *value;
    if (key && !is_declared(key)) {
        report_undeclared(key);
        return KOLM_E_NOT_FOUND;
    }
    if (!key || !kit_json_get_string(asked->settings, key, &value)) return KOLM_E_NOT_FOUND;
    return give(value, buffer, capacity, out_length);
}

const kolm_host_v1_t *child_services(const child_request *request) {
    static CHILD_WITH_LATER(kolm_host_v1_t) services;
    asked = request;
    state.tokens = LOG_BURST;
    state.refilled_ms = kit_now_ms();
    state.progress_ms = state.refilled_ms - PROGRESS_EVERY_MS;
    services.now = (kolm_host_v1_t){
        .struct_size =
            request->first_minor ? KOLM_HOST_SIZE_1_0 : (uint32_t)(sizeof services.now + request->later_bytes),
        .abi_major = KOLM_ABI_MAJOR,
        .abi_minor = request->first_minor ? 0 : request->minor ? (uint16_t)request->minor : KOLM_ABI_MINOR,
        .features = KOLM_FEATURE_MODEL_SLICES | (request->network ? KOLM_FEATURE_NETWORK : 0),
        .log = service_log,
        .progress = service_progress,
        .metric = service_metric,
        .device = service_device,
        .test_step = service_test_step,
        .cancelled = service_cancelled,
        .time_left_ms = service_time_left,
        .secret = service_secret,
        .setting = service_setting,
        .scratch_dir = request->scratch,
        .holding = request->first_minor ? NULL : service_holding,
    };
    return &services.now;
}

void child_services_flush(void) {
    if (!asked) return;
    /* A thread that the plugin forgot may hold the lock for ever: the last word does not wait for it. */
    if (pthread_mutex_trylock(&lock) != 0) return;
    if (state.progress_waits) send_progress();
    say_dropped();
    pthread_mutex_unlock(&lock);
}
