/* SPDX-License-Identifier: Apache-2.0 */
/* Writes answer lines: whole lines, from any thread, on a descriptor that the plugin does not know. */
#include "host/child/child.h"

#include "kolm/kit/text.h"

#include <math.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t line_lock = PTHREAD_MUTEX_INITIALIZER;
static int reply_fd = -1;
static bool said_all; /* the last word: what threads of the plugin's still have to say comes too late */

void child_reply_open(int fd) {
    reply_fd = child_fd_high(fd);
}

void child_reply_send(const char *event, const kit_buf *members) {
    kit_buf line = {0};
    kit_buf_fmt(&line, "{\"event\":\"%s\"", event);
    if (members) kit_buf_add(&line, kit_buf_text(members), members->length);
    kit_buf_str(&line, "}\n");
    /* What cannot be said is left unsaid: without a "done" the caller knows enough. */
    if (kit_buf_ok(&line, NULL) == KOLM_OK && (!members || !members->failed)) {
        pthread_mutex_lock(&line_lock);
        kit_status ignored = said_all ? KOLM_OK : kit_write_all(reply_fd, line.data, line.length, NULL);
        (void)ignored;
        said_all = said_all || strcmp(event, "done") == 0;
        pthread_mutex_unlock(&line_lock);
    }
    kit_buf_free(&line);
}

static void put_key(kit_buf *members, const char *key) {
    kit_buf_fmt(members, ",\"%s\":", key);
}

void child_put_text(kit_buf *members, const char *key, const char *text) {
    kit_buf shown = {0};
    kit_buf_escaped(&shown, text, strlen(text));
    put_key(members, key);
    kit_json_string(members, kit_buf_text(&shown), shown.length);
    if (shown.failed) members->failed = true;
    kit_buf_free(&shown);
}

void child_put_cut(kit_buf *members, const char *key, const char *text, size_t most) {
    char cut[HOST_LOG_MAX + 1];
    kit_copy(cut, most + 1 < sizeof cut ? most + 1 : sizeof cut, text ? text : "");
    child_put_text(members, key, cut);
}

void child_put_u64(kit_buf *members, const char *key, uint64_t value) {
    put_key(members, key);
    kit_buf_fmt(members, "\"%llu\"", (unsigned long long)value);
}

void child_put_int(kit_buf *members, const char *key, int64_t value) {
    put_key(members, key);
    kit_buf_fmt(members, "%lld", (long long)value);
}

void child_put_double(kit_buf *members, const char *key, double value) {
    put_key(members, key);
    if (isfinite(value) && fabs(value) < 1e300)
        kit_buf_fmt(members, "%.17g", value);
    else
        kit_buf_str(members, "null");
}

void child_put_bool(kit_buf *members, const char *key, bool value) {
    put_key(members, key);
    kit_buf_str(members, value ? "true" : "false");
}

/* The most memory that this process and the children it waited for ever had, in bytes; 0 when /proc does not say. The
 * kernel's ru_maxrss will not do: it begins with the size of the process that started this one. */
static uint64_t peak_memory(void) {
    kit_buf text = {0};
    uint64_t kib = 0;
    if (kit_read_file("/proc/self/status", 65536, &text, NULL) == KOLM_OK) {
        const char *at = strstr(kit_buf_text(&text), "\nVmHWM:");
        for (at = at ? at + 7 : ""; *at == ' ' || *at == '\t'; at++) {
        }
        for (; *at >= '0' && *at <= '9'; at++)
            kib = kib * 10 + (uint64_t)(*at - '0');
    }
    kit_buf_free(&text);
    return kib * 1024;
}

_Noreturn void child_done(host_verdict verdict, const kolm_error_t *error, const kit_buf *result) {
    kit_buf members = {0};
    child_services_flush();
    child_put_int(&members, "verdict", (int64_t)verdict);
    if (error) {
        child_put_int(&members, "code", error->code);
        child_put_text(&members, "text", error->text);
        child_put_text(&members, "remedy", error->remedy);
    }
    child_put_u64(&members, "peak", peak_memory());
    child_audit_end(&members);
    if (result) kit_buf_add(&members, kit_buf_text(result), result->length);
    child_reply_send("done", &members);
    child_end_if_orphaned();
    /* Not exit: no destructor and no atexit function of a plugin may hang, or change what was said. */
    _exit(0);
}
