/* SPDX-License-Identifier: Apache-2.0 */
/* Limits for this process, and its end when nobody waits for it any more. */
#include "host/child/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

#define HIGH_FD 200
#define LAST_RESORT_SECONDS 5 /* added to the grace: the caller, if it lives, is faster */

static int request_fd = -1;
static unsigned last_resort;
static volatile sig_atomic_t stop_wanted;

int child_fd_high(int fd) {
    int high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
    if (high < 0) return fd;
    close(fd);
    return high;
}

static void on_alarm(int number) {
    (void)number;
    kill(0, SIGKILL);
}

static void on_stop(int number) {
    (void)number;
    if (!stop_wanted) alarm(last_resort);
    stop_wanted = 1;
}

bool child_cancelled(void) {
    if (stop_wanted) return true;
    struct pollfd end = {.fd = request_fd, .events = POLLIN};
    /* Nothing is ever written after the request: readable means closed. An error means that the plugin closed it. */
    return poll(&end, 1, 0) > 0 && (end.revents & (POLLHUP | POLLIN)) != 0;
}

static kit_status limit(int resource, uint64_t value, const char *what, kolm_error_t *err) {
    struct rlimit now;
    if (value == 0) return KOLM_OK;
    if (getrlimit(resource, &now) != 0) return kit_fail_errno(err, errno, "cannot read the limit of %s", what);
    rlim_t wanted = (rlim_t)value;
    if (now.rlim_max != RLIM_INFINITY && now.rlim_max < wanted) wanted = now.rlim_max;
    now.rlim_cur = now.rlim_max = wanted;
    return setrlimit(resource, &now) == 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot limit %s", what);
}

static void handle(int number, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

kit_status child_fence(const child_request *request, int fd, kolm_error_t *err) {
    request_fd = child_fd_high(fd);
    last_resort = (unsigned)(request->grace_ms / 1000) + LAST_RESORT_SECONDS;
    handle(SIGPIPE, SIG_IGN); /* a backend whose caller died still has to give back what it rented */
    handle(SIGTERM, on_stop);
    handle(SIGALRM, on_alarm);
#if defined(__linux__)
    /* A signal of its own: plugins, and interpreters inside them, like to change what SIGTERM does. */
    handle(SIGRTMAX, on_stop);
    prctl(PR_SET_PDEATHSIG, SIGRTMAX);
    if (getppid() != (pid_t)request->parent) on_stop(SIGRTMAX);
    prctl(PR_SET_DUMPABLE, 0); /* execve has set it to 1 again: no ptrace, no core, no reading of memory by others */
#endif
    /* 1 and not 0: a core that goes to a pipe ignores 0. */
    KIT_TRY(limit(RLIMIT_CORE, 1, "core dumps", err));
    KIT_TRY(limit(RLIMIT_FSIZE, request->file_limit_bytes, "the size of files", err));
    KIT_TRY(limit(RLIMIT_CPU, request->cpu_limit_seconds, "processor time", err));
#if KOLM_FP_SANITIZER == 0 && defined(RLIMIT_DATA)
    /* Data and not address space: GPU runtimes reserve far more addresses than there is memory. A sanitizer's shadow
     * would count as data. */
    KIT_TRY(limit(RLIMIT_DATA, request->memory_limit_bytes, "memory", err));
#endif
    return KOLM_OK;
}
