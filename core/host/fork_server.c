/* SPDX-License-Identifier: Apache-2.0 */
/* A process that is started and linked once, and forked for each call of a batch. */
#include "host/fork_server.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_MS 2000 /* timeout for a copy, which takes a tenth of a millisecond */

/* Starting and linking is half of the cost of a detect. A fork of a process that has done only that is equivalent: it
 * is our child, in a session of its own, with the descriptors and variables of its own call, and its fence is set up
 * afterwards. The copies share only their address space layout. */
static bool is_worthwhile(const host_run *runs, size_t count) {
#if defined(__linux__) && KOLM_FP_SANITIZER == 0
    size_t wanted = 0;
    for (size_t i = 0; i < count; i++)
        wanted += runs[i].prepared && !runs[i].options->audit;
    return wanted == count && count >= HOST_FORK_SERVER_LEAST;
#else
    (void)runs;
    (void)count;
    return false;
#endif
}

void host_fork_server_open(host_fork_server *server, const char *program, const host_run *runs, size_t count) {
    static const host_manifest empty = {.name = NULL};
    char place[HOST_FORK_SERVER_NAME + 1]; /* each copy writes its own name there, for ps(1) */
    char *argv[] = {(char[]){"kolm-host"}, place, NULL};
    char **env = NULL;
    int ends[2];
    *server = HOST_FORK_SERVER_NONE;
    if (!is_worthwhile(runs, count)) return;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return;
    memset(place, '-', HOST_FORK_SERVER_NAME);
    place[HOST_FORK_SERVER_NAME] = '\0';
    const kit_spawn_fd fd = {ends[1], HOST_FD_REQUEST};
    kit_status status = host_environment(&empty, runs[0].place->path, NULL, &env, NULL);
    if (status == KOLM_OK) {
        const kit_spawn_options options = {
            .path = program, .argv = argv, .envp = env, .fds = &fd, .fd_count = 1, .new_session = 1};
        status = kit_spawn(&options, &server->pid, NULL);
        host_environment_free(env);
    }
    close(ends[1]);
    if (status == KOLM_OK)
        server->fd = ends[0];
    else
        close(ends[0]);
}

void host_fork_server_close(host_fork_server *server) {
    if (server->fd >= 0) close(server->fd);
    server->fd = -1;
    if (server->pid > 0) kill(server->pid, SIGKILL);
}

void host_fork_server_reap(host_fork_server *server) {
    host_fork_server_close(server);
    while (server->pid > 0 && waitpid(server->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    server->pid = 0;
}

static bool put_text(host_fork_order *order, const char *text) {
    size_t length = strlen(text) + 1;
    if (length > sizeof order->texts - order->length) return false;
    memcpy(order->texts + order->length, text, length);
    order->length += (uint32_t)length;
    return true;
}

static bool write_order(host_fork_order *order, const char *name, char *const *env, const kit_spawn_fd *fds,
                        size_t count) {
    bool good = count <= HOST_FORK_SERVER_FDS && put_text(order, name);
    for (size_t i = 0; good && i < count; i++)
        order->child[i] = fds[i].child;
    order->count = (uint32_t)count;
    for (; good && *env; env++)
        good = put_text(order, *env);
    return good;
}

static bool send_order(int to, const host_fork_order *order, const kit_spawn_fd *fds) {
    union {
        char room[CMSG_SPACE(HOST_FORK_SERVER_FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    memset(&control, 0, sizeof control);
    struct iovec piece = {(void *)(uintptr_t)order, offsetof(host_fork_order, texts) + order->length};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_SPACE(order->count * sizeof(int))};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(order->count * sizeof(int));
    for (size_t i = 0; i < order->count; i++)
        memcpy(CMSG_DATA(head) + i * sizeof(int), &fds[i].parent, sizeof(int));
    ssize_t sent;
    do
        sent = sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)piece.iov_len;
}

/* Returns the pid of the copy; 0: none. */
static pid_t receive_pid(int from) {
    struct pollfd fd = {.fd = from, .events = POLLIN};
    int32_t number = 0;
    int ready;
    do
        ready = poll(&fd, 1, ANSWER_MS);
    while (ready < 0 && errno == EINTR);
    if (ready <= 0 || recv(from, &number, sizeof number, MSG_DONTWAIT) != (ssize_t)sizeof number) return 0;
    return number > 0 ? number : 0;
}

pid_t host_fork_server_start(host_fork_server *server, const char *name, char *const *env, const kit_spawn_fd *fds,
                             size_t count) {
    if (server->fd < 0) return 0;
    host_fork_order *order = malloc(sizeof *order);
    if (!order) return 0;
    memset(order, 0, offsetof(host_fork_order, texts)); /* all bytes are initialised: nothing of kolm's memory leaks */
    pid_t pid = 0;
    bool fits = write_order(order, name, env, fds, count);
    if (fits) pid = send_order(server->fd, order, fds) ? receive_pid(server->fd) : 0;
    free(order);
    /* It may have forked nevertheless, which leaves an orphan; do not use it again. */
    if (fits && pid == 0) host_fork_server_close(server);
    return pid;
}
