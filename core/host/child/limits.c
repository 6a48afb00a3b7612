/* SPDX-License-Identifier: Apache-2.0 */
/* Resource limits of this process, and its termination when the caller has died. */
#include "host/child/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

#define HIGH_FD 200
#define LAST_RESORT_SECONDS 5 /* added to the grace period, so that a living caller acts first */

static int request_fd = -1;
static unsigned last_resort;
static volatile sig_atomic_t stop_wanted;
static pid_t parent; /* 0: unknown */

int child_fd_high(int fd) {
    int high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
    if (high < 0) return fd;
    close(fd);
    return high;
}

/* ---- The end of the session, from a signal handler: with nothing but system calls */
#if defined(__linux__)
/* The session of a process from proc(5); -1 if it has exited. */
static long session_of(const char *number) {
    char path[32] = "/proc/", text[512];
    size_t n = strlen(number);
    if (n > 12) return -1;
    memcpy(path + 6, number, n);
    memcpy(path + 6 + n, "/stat", 6);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0) close(fd);
    if (got <= 0) return -1;
    text[got] = '\0';
    char *at = strrchr(text, ')'); /* the name before it may hold anything */
    if (!at || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X') return -1;
    at += 3;
    for (int i = 0; i < 2; i++)
        strtol(at, &at, 10); /* parent, group */
    return strtol(at, NULL, 10);
}

/* Kills the other processes in this session, once; true if there were any. */
static bool kill_others(long own) {
    static char entries[8192];
    bool any = false;
    long got;
    int dir = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (dir >= 0 && (got = syscall(SYS_getdents64, dir, entries, sizeof entries)) > 0) {
        for (long at = 0; at < got;) {
            uint16_t length; /* struct linux_dirent64: inode, offset, length, type, name */
            memcpy(&length, entries + at + 16, sizeof length);
            const char *name = entries + at + 19;
            at += length;
            if (name[0] < '1' || name[0] > '9') continue;
            long pid = strtol(name, NULL, 10);
            if (pid == own || session_of(name) != own) continue;
            any = true;
            kill((pid_t)pid, SIGKILL);
        }
    }
    if (dir >= 0) close(dir);
    return any;
}
#endif

/* The caller is gone: kill the whole session, because children of the backend may have their own process groups. */
static void end_session(void) {
#if defined(__linux__)
    long own = (long)getpid();
    for (int i = 0; i < 100 && getsid(0) == (pid_t)own && kill_others(own); i++)
        (void)poll(NULL, 0, 1);
#endif
}

static void on_alarm(int number) {
    if (!stop_wanted) { /* not ours: the plugin set this alarm, so it takes its default effect */
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    end_session();
    kill(0, SIGKILL);
}

void child_end_if_orphaned(void) {
    if (parent != 0 && getppid() != parent) end_session();
}

void child_last_resort(void) {
    if (!stop_wanted) alarm(last_resort);
    stop_wanted = 1;
}

static void on_stop(int number) {
    (void)number;
    child_last_resort();
}

void child_is_worker(void) {
    parent = 0;
#if defined(__linux__)
    prctl(PR_SET_PDEATHSIG, SIGRTMAX);
    if (getppid() == 1) on_stop(SIGRTMAX); /* the parent has already exited */
#endif
}

bool child_cancelled(void) {
    if (stop_wanted) return true;
    struct pollfd end = {.fd = request_fd, .events = POLLIN};
    /* Nothing is ever written after the request: readable means closed. An error means that the plugin closed it. */
    return poll(&end, 1, 0) > 0 && (end.revents & (POLLHUP | POLLIN)) != 0;
}

void child_wait_cancelled(void) {
    struct pollfd end = {.fd = request_fd, .events = POLLIN};
    while (!child_cancelled() && (poll(&end, 1, -1) < 0 || !(end.revents & POLLNVAL))) {
    }
}

static kit_status limit(int resource, uint64_t value, const char *what, kolm_error_t *err) {
    struct rlimit now;
    if (value == 0) return KOLM_OK;
    if (getrlimit(resource, &now) != 0) return kit_fail_errno(err, errno, "cannot read the limit of %s", what);
    rlim_t wanted = (rlim_t)value;
    bool lower = now.rlim_max != RLIM_INFINITY && now.rlim_max <= wanted;
    if (lower) wanted = now.rlim_max;
    now.rlim_cur = now.rlim_max = wanted;
    /* One second more for SIGXCPU, which tells the reason: at the hard limit the kernel sends SIGKILL. */
    if (resource == RLIMIT_CPU && !lower) now.rlim_max = wanted + 1;
    return setrlimit(resource, &now) == 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot limit %s", what);
}

static void handle(int number, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

kit_status child_limit(const child_request *request, int fd, kolm_error_t *err) {
    request_fd = child_fd_high(fd);
    parent = (pid_t)request->parent;
    last_resort = (unsigned)(request->grace_ms / 1000) + LAST_RESORT_SECONDS;
    handle(SIGPIPE, SIG_IGN); /* a backend whose caller died must still end what it rented */
    handle(SIGTERM, on_stop);
    handle(SIGALRM, on_alarm);
#if defined(__linux__)
    /* A separate signal: plugins, and interpreters in them, often change the handler of SIGTERM. */
    handle(SIGRTMAX, on_stop);
    prctl(PR_SET_PDEATHSIG, SIGRTMAX);
    if (getppid() != (pid_t)request->parent) on_stop(SIGRTMAX);
    prctl(PR_SET_DUMPABLE, 0); /* no ptrace, core or access to memory by others; execve had reset it to 1 */
#endif
    /* 1, not 0: 0 does not prevent piping a core dump to a program. */
    KIT_TRY(limit(RLIMIT_CORE, 1, "core dumps", err));
    KIT_TRY(limit(RLIMIT_FSIZE, request->file_limit_bytes, "the size of files", err));
    KIT_TRY(limit(RLIMIT_CPU, request->cpu_limit_seconds, "processor time", err));
#if KOLM_FP_SANITIZER == 0 && defined(RLIMIT_DATA)
    /* RLIMIT_DATA, not RLIMIT_AS: GPU runtimes reserve far more address space than there is memory. A sanitizer's
     * shadow memory would count as data. */
    KIT_TRY(limit(RLIMIT_DATA, request->memory_limit_bytes, "memory", err));
#endif
    return KOLM_OK;
}
