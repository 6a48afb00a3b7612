/* SPDX-License-Identifier: Apache-2.0 */
/* Measures how long a process was runnable but not running. */
#include "host/internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int64_t host_deadline_of(pid_t pid, int64_t started_ms, int64_t timeout_ms) {
    char path[64], text[128];
    int64_t waited_ms = 0;
    kit_format(path, sizeof path, "/proc/%ld/schedstat", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0) close(fd);
    if (n > 0) { /* "RUN WAITED TURNS", nanoseconds of the first thread: Documentation/scheduler/sched-stats.rst */
        char *at = text;
        text[n] = '\0';
        (void)strtoull(at, &at, 10);
        waited_ms = (int64_t)(strtoull(at, NULL, 10) / 1000000);
    }
    const int64_t most = (HOST_BUSY_TIMES - 1) * timeout_ms;
    return started_ms + timeout_ms + (waited_ms < most ? waited_ms : most);
}
