/* SPDX-License-Identifier: Apache-2.0 */
/* The process that is forked for each call of a batch: host/fork_server.h. */
#include "host/fork_server.h"
#include "host/child/child.h"

#if defined(__linux__)
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HIGHEST 31 /* highest number that a call may need */

extern char **environ;

typedef struct order {
    host_fork_order text;
    int fds[HOST_FORK_SERVER_FDS];
    size_t count; /* received descriptors */
} order;

static void take_descriptors(const struct msghdr *message, order *out) {
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head;
         head = CMSG_NXTHDR((struct msghdr *)(uintptr_t)message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count && out->count < HOST_FORK_SERVER_FDS; i++)
            memcpy(&out->fds[out->count++], CMSG_DATA(head) + i * sizeof(int), sizeof(int));
    }
}

/* False if there are no more orders. */
static bool receive(int from, order *out) {
    union {
        char room[CMSG_SPACE(HOST_FORK_SERVER_FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec piece = {&out->text, sizeof out->text};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got;
    do
        got = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    const size_t head = offsetof(host_fork_order, texts);
    if (got < (ssize_t)head + 1 || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) return false;
    out->count = 0;
    take_descriptors(&message, out);
    const host_fork_order *text = &out->text;
    return text->length == (size_t)got - head && text->texts[text->length - 1] == '\0' && text->count == out->count;
}

/* Like fork(2), but the new process is a child of our parent, which waits for it. Also does what the C library's fork()
 * does: updates its cached thread id, and registers the list of robust mutexes. */
static pid_t copy(void) {
    int *number = NULL;
    void *robust = NULL;
    size_t length = 0;
    unsigned long flags = CLONE_PARENT | SIGCHLD;
#ifdef PR_GET_TID_ADDRESS
    if (prctl(PR_GET_TID_ADDRESS, &number, 0, 0, 0) == 0 && number) flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
#endif
    bool listed = syscall(SYS_get_robust_list, 0, &robust, &length) == 0 && robust;
#if defined(__s390x__)
    pid_t pid = (pid_t)syscall(SYS_clone, 0, flags, NULL, number, 0);
#elif defined(__x86_64__) || defined(__loongarch__)
    pid_t pid = (pid_t)syscall(SYS_clone, flags, 0, NULL, number, 0);
#else
    pid_t pid = (pid_t)syscall(SYS_clone, flags, 0, NULL, 0, number);
#endif
    if (pid == 0 && listed) (void)!syscall(SYS_set_robust_list, robust, length);
    return pid;
}

static void close_from(unsigned first, unsigned last) {
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, last, 0) == 0) return;
#endif
    for (unsigned fd = first; fd <= last && fd < 1024; fd++)
        close((int)fd);
}

/* In the copy: moves the descriptors to the requested numbers, and closes all others. */
static bool place_descriptors(const order *o) {
    int moved[HOST_FORK_SERVER_FDS], highest = 2;
    for (size_t i = 0; i < o->count; i++) {
        if (o->text.child[i] < 0 || o->text.child[i] > HIGHEST) return false;
        if (o->text.child[i] > highest) highest = o->text.child[i];
    }
    for (size_t i = 0; i < o->count; i++) {
        moved[i] = fcntl(o->fds[i], F_DUPFD_CLOEXEC, highest + 1);
        if (moved[i] < 0) return false;
    }
    close_from(3, (unsigned)highest);
    for (size_t i = 0; i < o->count; i++)
        if (dup2(moved[i], o->text.child[i]) < 0) return false;
    close_from((unsigned)highest + 1, ~0u);
    return true;
}

/* Sets the process name, for ps(1) and the like, and replaces the environment by that of this call. */
static bool take_texts(const order *o, char *shown) {
    static char *variables[1024];
    const char *at = o->text.texts, *end = at + o->text.length;
    size_t room = strlen(shown), count = 0;
    memset(shown, 0, room);
    memcpy(shown, at, strlen(at) < room ? strlen(at) : room);
    for (at += strlen(at) + 1; at < end && count + 1 < sizeof variables / sizeof *variables; at += strlen(at) + 1)
        variables[count++] = (char *)(uintptr_t)at;
    environ = variables;
    return at >= end;
}

void child_fork_server(char *shown) {
    static order now; /* a copy keeps only its own strings */
    int socket = HOST_FD_REQUEST, type = 0;
    socklen_t size = sizeof type;
    if (getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET) return;
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (receive(socket, &now)) {
        int32_t number = copy();
        if (number == 0) {
            if (setsid() < 0 || !place_descriptors(&now) || !take_texts(&now, shown)) _exit(127);
            return;
        }
        for (size_t i = 0; i < now.count; i++)
            close(now.fds[i]);
        explicit_bzero(&now.text, offsetof(host_fork_order, texts) + now.text.length);
        if (number < 0) number = 0;
        if (send(socket, &number, sizeof number, MSG_NOSIGNAL) != (ssize_t)sizeof number) break;
    }
    _exit(0);
}
#else
void child_fork_server(char *shown) {
    (void)shown;
}
#endif
