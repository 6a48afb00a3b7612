/* SPDX-License-Identifier: Apache-2.0 */
/* Writes answer lines: whole lines, from any thread, on a descriptor that the plugin does not know. */
#include "host/child/child.h"

#include "kolm/kit/text.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t line_lock = PTHREAD_MUTEX_INITIALIZER;
static int reply_fd = -1;
static bool said_all; /* the final record: later reports of the plugin's threads are dropped */

void child_reply_open(int fd) {
    reply_fd = child_fd_high(fd);
}

void child_reply_send(host_event event, const kit_buf *members) {
    kit_buf line = {0};
    kit_buf_fmt(&line, "{\"" HOST_KEY_EVENT "\":\"%s\"", host_event_name(event));
    if (members) kit_buf_add(&line, kit_buf_text(members), members->length);
    kit_buf_str(&line, "}\n");
    /* On error the line is dropped: the caller detects a missing "done". */
    if (kit_buf_ok(&line, NULL) == KOLM_OK && (!members || !members->failed)) {
        pthread_mutex_lock(&line_lock);
        kit_status ignored = said_all ? KOLM_OK : kit_write_all(reply_fd, line.data, line.length, NULL);
        (void)ignored;
        said_all = said_all || event == HOST_EVENT_DONE;
        pthread_mutex_unlock(&line_lock);
    }
    kit_buf_free(&line);
}

/* Peak memory of this process and the children it waited for, in bytes; 0 if /proc does not report it. ru_maxrss cannot
 * be used: it starts with the size of the parent process. */
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

_Noreturn void child_done(host_verdict verdict, const kolm_error_t *error, bool mute, const kit_buf *result) {
    kit_buf members = {0};
    child_services_flush();
    host_done done = {.verdict = (uint32_t)verdict, .peak_memory_bytes = peak_memory(), .mute = mute};
    if (error) {
        done.code = (uint32_t)error->code;
        done.text = error->text;
        done.remedy = error->remedy;
    }
    child_audit_end(&done);
    host_write_done(&members, &done);
    if (result) kit_buf_add(&members, kit_buf_text(result), result->length);
    child_reply_send(HOST_EVENT_DONE, &members);
    child_end_if_orphaned();
    /* Not exit: a destructor or atexit function of the plugin could hang, or change the reply. */
    _exit(0);
}
