/* SPDX-License-Identifier: Apache-2.0 */
/* What a slot leaves behind in its process: descriptors, threads, memory that grows. Only when that is asked. */
#include "host/child/child.h"

#include <dirent.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

static struct {
    const child_request *request; /* NULL: not asked */
    uint32_t descriptors, threads;
    uint64_t rounds, half; /* bytes in use when half of the rounds were done */
    uint64_t bytes_per_round;
} audit;

/* Entries of a directory of /proc/self, the one that reads it included; 0 where there is none. */
static uint32_t entries(const char *path) {
    DIR *dir = opendir(path);
    uint32_t n = 0;
    if (!dir) return 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

static uint64_t heap_in_use(void) {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 33))
    struct mallinfo2 info = mallinfo2();
    return (uint64_t)info.uordblks + (uint64_t)info.hblkhd;
#else
    return 0;
#endif
}

void child_audit_begin(const child_request *request) {
    if (!request->audited) return;
    audit.request = request;
    audit.descriptors = entries("/proc/self/fd");
    audit.threads = entries("/proc/self/task");
}

bool child_audit_round(const child_request *request) {
    if (audit.rounds == request->repeats / 2) audit.half = heap_in_use();
    if (audit.rounds < request->repeats) {
        audit.rounds++;
        return true;
    }
    uint64_t now = heap_in_use(), counted = request->repeats - request->repeats / 2;
    if (counted > 0 && now > audit.half) audit.bytes_per_round = (now - audit.half) / counted;
    return false;
}

void child_audit_end(kit_buf *members) {
    if (!audit.request) return;
    uint32_t descriptors = entries("/proc/self/fd"), threads = entries("/proc/self/task");
    child_put_int(members, "left_descriptors", descriptors > audit.descriptors ? descriptors - audit.descriptors : 0);
    child_put_int(members, "left_threads", threads > audit.threads ? threads - audit.threads : 0);
    child_put_u64(members, "bytes_per_round", audit.bytes_per_round);
}
