/* SPDX-License-Identifier: Apache-2.0 */
/* Detects what a slot leaves behind in its process: threads and processes; on request, descriptors and heap growth. */
#include "host/child/child.h"

#include <dirent.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

static struct {
    const child_request *request; /* NULL: not requested */
    uint32_t descriptors, threads;
    uint32_t before;       /* threads before the slot was called */
    uint64_t rounds, half; /* half: bytes in use after half of the rounds */
    uint64_t bytes_per_round;
} audit;

/* Number of entries in a directory of /proc/self, including the descriptor that reads it; 0 if there is none. */
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

/* Each thread is a subdirectory, so the link count has their number; 0 if unavailable. */
static uint32_t threads_now(void) {
    struct stat st;
    return stat("/proc/self/task", &st) == 0 && st.st_nlink > 2 ? (uint32_t)st.st_nlink - 2 : 0;
}

/* True while a child lives; reaps and counts those that have exited. */
static bool has_children(uint32_t *buried) {
    pid_t ended;
    while ((ended = waitpid(-1, NULL, WNOHANG)) > 0)
        ++*buried;
    return ended == 0;
}

/* Joined threads and killed processes take a moment to disappear. */
#define THREADS_GO_MS 10
#define PROCESSES_GO_MS 50

void child_audit_left(void) {
    uint32_t buried = 0;
    for (int i = 0; i < THREADS_GO_MS && threads_now() > audit.before; i++)
        (void)poll(NULL, 0, 1);
    for (int i = 0; i < PROCESSES_GO_MS && has_children(&buried); i++)
        (void)poll(NULL, 0, 1);
    uint32_t threads = threads_now();
    if (threads > audit.before && audit.before > 0)
        child_breach_mild(HOST_BREACH_LEFT, "it returned", "join every thread before the slot returns",
                          threads - audit.before == 1 ? "and %u of its threads still runs"
                                                      : "and %u of its threads still run",
                          threads - audit.before);
    uint32_t open = audit.request ? entries("/proc/self/fd") : 0;
    if (open > audit.descriptors)
        child_breach_mild(HOST_BREACH_LEFT, "it returned", "close everything that the slot opens",
                          open - audit.descriptors == 1 ? "and %u descriptor that it opened is still open"
                                                        : "and %u descriptors that it opened are still open",
                          open - audit.descriptors);
    if (has_children(&buried))
        child_breach(HOST_BREACH_LEFT, "it returned", "end every process that the slot starts, and wait for it",
                     "and a process that it started still runs, which is ended now");
    else if (buried > 0)
        child_breach_mild(HOST_BREACH_LEFT, "it returned", "wait for every process that the slot starts",
                          buried == 1 ? "and a process that it started had ended, and was not waited for"
                                      : "and %u processes that it started had ended, and were not waited for",
                          buried);
}

void child_audit_begin(const child_request *request) {
#if defined(__linux__)
    /* Become the parent of orphans, so that they are recognised as the plugin's. */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
#endif
    audit.before = threads_now();
    if (!request->audited) return;
    audit.request = request;
    audit.descriptors = entries("/proc/self/fd");
    audit.threads = entries("/proc/self/task");
}

bool child_audit_round(const child_request *request) {
    if (audit.rounds == request->repeats / 2) audit.half = heap_in_use();
    if (request->repeats > 0) child_reports_again(audit.rounds == request->repeats);
    if (audit.rounds < request->repeats) {
        audit.rounds++;
        return true;
    }
    uint64_t now = heap_in_use(), counted = request->repeats - request->repeats / 2;
    if (counted > 0 && now > audit.half) audit.bytes_per_round = (now - audit.half) / counted;
    return false;
}

void child_audit_end(host_done *done) {
    if (!audit.request) return;
    uint32_t descriptors = entries("/proc/self/fd"), threads = entries("/proc/self/task");
    done->left_descriptors = descriptors > audit.descriptors ? descriptors - audit.descriptors : 0;
    done->left_threads = threads > audit.threads ? threads - audit.threads : 0;
    done->bytes_per_round = audit.bytes_per_round;
}
