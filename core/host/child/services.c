/* SPDX-License-Identifier: Apache-2.0 */
/* The host services and the log of a plugin: checked, truncated and rate-limited. Its reports: reports.c. */
#include "host/child/child.h"

#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <pthread.h>
#include <string.h>

#define LOG_BURST 400      /* lines at once */
#define LOG_PER_SECOND 200 /* lines afterwards */
#define UNDECLARED_MAX 100 /* reports of settings that the manifest does not declare */

static const child_request *asked;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    int64_t tokens, refilled_ms;
    uint64_t dropped;
    uint32_t undeclared;
    bool withheld;
} state;

static void send_log(uint32_t level, const char *text) {
    child_reply_log(&(host_log){level, text});
}

/* Under the lock: reports the number of dropped lines. */
static void report_dropped(void) {
    char text[80];
    if (state.dropped == 0) return;
    kit_format(text, sizeof text, "%llu log lines came too fast and are not shown", (unsigned long long)state.dropped);
    state.dropped = 0;
    send_log(KOLM_LOG_WARNING, text);
}

/* Long texts are truncated, as the header says. */
static void check_log(uint32_t level, const char *text) {
    size_t length = text ? strnlen(text, HOST_LOG_MAX) : 0, valid = text ? kit_utf8_valid(text, length) : 0;
    if (!text)
        child_breach(HOST_BREACH_TEXT, "a log line", "give a text", "is NULL");
    else if (valid < length && !(length == HOST_LOG_MAX && valid + 4 > length))
        child_breach(HOST_BREACH_TEXT, "a log line", "use UTF-8", "is not UTF-8 (its byte %zu is 0x%02X)", valid + 1,
                     (unsigned)(unsigned char)text[valid]);
    if (level > KOLM_LOG_ERROR)
        child_breach(HOST_BREACH_RECORD, "the level of a log line", "use one of KOLM_LOG_*",
                     "is %u, and counts as ERROR", level);
}

static void service_log(void *user, uint32_t level, const char *text) {
    (void)user;
    check_log(level, text);
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
        report_dropped();
        send_log(level <= KOLM_LOG_ERROR ? level : KOLM_LOG_ERROR, text);
    } else {
        state.dropped++;
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
    int64_t now = kit_now_ms(), left = asked->deadline_ms - now;
    /* The caller extends it in the same way. */
    if (left <= 0 && asked->timeout_ms > 0)
        left = host_deadline_of(getpid(), asked->deadline_ms - asked->timeout_ms, asked->timeout_ms) - now;
    return left > 0 ? left : 0;
}

static int32_t give(const char *value, char *buffer, uint64_t capacity, uint64_t *out_length) {
    size_t length = strlen(value);
    if (out_length) *out_length = length;
    if (!buffer || capacity <= length) return KOLM_E_OUT_OF_RANGE;
    memcpy(buffer, value, length + 1);
    return KOLM_OK;
}

/* Whether it is set is not secret, so capacity 0 is allowed, which returns only that. */
static int32_t withhold(const char *name, uint64_t capacity, uint64_t *out_length) {
    if (out_length) *out_length = 0;
    if (capacity == 0) return KOLM_E_OUT_OF_RANGE;
    pthread_mutex_lock(&lock);
    if (!state.withheld) {
        state.withheld = true;
        child_reply_withheld(&(host_withheld){name});
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
    char about[100];
    kit_format(about, sizeof about, "the secret '%.64s'", name ? name : "");
    child_breach_mild(HOST_BREACH_RECORD, about, "list it under auth or secrets of the manifest",
                      "was requested, but the manifest does not list it");
    return KOLM_E_PERMISSION_DENIED;
}

/* Settings of kolm itself (runtime.python, network.private_only) are available to every backend. */
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
        state.undeclared++;
        child_reply_undeclared(&(host_undeclared){key});
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
    child_reports_begin(request);
    services.now = (kolm_host_v1_t){
        .struct_size =
            request->first_minor ? KOLM_HOST_SIZE_1_0 : (uint32_t)(sizeof services.now + request->later_bytes),
        .abi_major = KOLM_ABI_MAJOR,
        .abi_minor = request->first_minor ? 0
                     : request->minor     ? (uint16_t)request->minor
                                          : KOLM_ABI_MINOR,
        .features = KOLM_FEATURE_MODEL_SLICES | (request->network ? KOLM_FEATURE_NETWORK : 0),
        .log = service_log,
        .progress = child_report_progress,
        .metric = child_report_metric,
        .device = child_report_device,
        .test_step = child_report_test_step,
        .cancelled = service_cancelled,
        .time_left_ms = service_time_left,
        .secret = service_secret,
        .setting = service_setting,
        .scratch_dir = request->scratch,
        .holding = request->first_minor ? NULL : child_report_holding,
        .lease = request->first_minor ? NULL : child_lease,
    };
    return &services.now;
}

void child_services_flush(void) {
    if (!asked) return;
    child_reports_flush();
    /* A leftover thread of the plugin may hold the lock forever: the final record does not wait for it. */
    if (pthread_mutex_trylock(&lock) != 0) return;
    report_dropped();
    pthread_mutex_unlock(&lock);
}
