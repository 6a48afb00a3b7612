/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a program to its end, and stops it in time. */
#include "kolm/kit/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_MS 100       /* between looks at the clock and at whoever may stop it */
#define END_MS 10         /* the same when only its end is waited for */
#define CLOSE_MS 2000     /* from its end to the end of its pipes, which a child of it may hold */
#define PIECES_A_LOOK 16u /* so that one that never stops printing is stopped nevertheless */
#define FDS_MAX 16

typedef struct watch {
    const kit_child *child;
    pid_t pid;
    int tie;    /* our end of its standard input; -1: none */
    int fds[2]; /* our ends of its output and of its errors; -1: at the end */
    kit_child_stop stop;
    int64_t deadline_ms, kill_ms, close_ms;
    bool exited;
    int unread; /* the errno of a read that failed: what it said is not whole */
} watch;

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* ---- Start */

static kit_status start(watch *w, kolm_error_t *err) {
    const kit_child *c = w->child;
    kit_spawn_fd fds[FDS_MAX + 3];
    size_t count = 0;
    int theirs[3] = {-1, -1, -1}; /* of input, output, errors */
    char *const *argv, *const *envp;
    if (c->fd_count > FDS_MAX)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "%zu descriptors for a child are too many", c->fd_count);
    /* posix_spawn takes char *const[] and does not change what it points to. */
    memcpy(&argv, &c->argv, sizeof argv);
    memcpy(&envp, &c->envp, sizeof envp);
    kit_status status = c->tied ? kit_pipe(&theirs[0], &w->tie, err) : KOLM_OK;
    if (status == KOLM_OK && c->out != NULL) status = kit_pipe(&w->fds[0], &theirs[1], err);
    if (status == KOLM_OK && c->err != NULL && !c->joined) status = kit_pipe(&w->fds[1], &theirs[2], err);
    for (int i = 0; i < 3; i++)
        if (theirs[i] >= 0) fds[count++] = (kit_spawn_fd){theirs[i], i};
    if (c->joined && theirs[1] >= 0) fds[count++] = (kit_spawn_fd){theirs[1], 2};
    for (size_t i = 0; i < c->fd_count; i++)
        fds[count++] = c->fds[i];
    const kit_spawn_options options = {.path = c->path, .argv = argv, .envp = envp, .fds = fds, .fd_count = count};
    if (status == KOLM_OK) status = kit_spawn(&options, &w->pid, err);
    for (int i = 0; i < 3; i++)
        close_fd(&theirs[i]);
    for (int i = 0; i < 2; i++)
        if (w->fds[i] >= 0) (void)fcntl(w->fds[i], F_SETFL, O_NONBLOCK);
    return status;
}

/* ---- Time */

static void stop(watch *w, kit_child_stop why, int64_t now) {
    w->stop = why;
    w->kill_ms = now + w->child->grace_ms;
    kill(-w->pid, w->child->grace_ms > 0 ? SIGTERM : SIGKILL);
}

static void look(watch *w) {
    int64_t now = kit_now_ms();
    const kit_child *c = w->child;
    if (w->stop == KIT_CHILD_GOES_ON || w->stop == KIT_CHILD_LINGERS) {
        kit_child_stop why = c->stop != NULL ? c->stop(c->user, w->fds[0] < 0) : KIT_CHILD_GOES_ON;
        if (why == KIT_CHILD_GOES_ON && now >= w->deadline_ms) why = KIT_CHILD_DEADLINE;
        if (why > w->stop) stop(w, why, now);
    }
    if (w->stop != KIT_CHILD_GOES_ON && now >= w->kill_ms) {
        kill(-w->pid, SIGKILL);
        w->kill_ms = now + CLOSE_MS;
    }
    /* It stays a zombie until the end, so that its number, which is that of its group, names nobody else. */
    siginfo_t info = {0};
    if (!w->exited && waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == w->pid) {
        w->exited = true;
        w->close_ms = now + CLOSE_MS;
    }
}

/* ---- Output */

static void read_some(watch *w, int which) {
    char piece[8192];
    void (*take)(void *, const char *, size_t) = which == 0 ? w->child->out : w->child->err;
    for (unsigned i = 0; i < PIECES_A_LOOK && w->fds[which] >= 0; i++) {
        ssize_t n = read(w->fds[which], piece, sizeof piece);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n > 0) {
            take(w->child->user, piece, (size_t)n);
            continue;
        }
        if (n < 0) w->unread = errno;
        close_fd(&w->fds[which]);
    }
}

static bool is_over(const watch *w) {
    return w->exited && ((w->fds[0] < 0 && w->fds[1] < 0) || kit_now_ms() >= w->close_ms);
}

static void follow(watch *w, kit_child_end *out_end) {
    int how = 0;
    for (look(w); !is_over(w); look(w)) {
        struct pollfd fds[2] = {{.fd = w->fds[0], .events = POLLIN}, {.fd = w->fds[1], .events = POLLIN}};
        (void)poll(fds, 2, w->exited || (w->fds[0] < 0 && w->fds[1] < 0) ? END_MS : LOOK_MS);
        for (int i = 0; i < 2; i++)
            if (fds[i].revents != 0) read_some(w, i);
    }
    kill(-w->pid, SIGKILL); /* what it left behind in its group */
    for (int i = 0; i < 2; i++)
        read_some(w, i);
    while (waitpid(w->pid, &how, 0) < 0 && errno == EINTR)
        continue;
    out_end->stop = w->stop;
    out_end->exit_code = WIFEXITED(how) ? WEXITSTATUS(how) : -1;
    out_end->signal_number = WIFSIGNALED(how) ? WTERMSIG(how) : 0;
}

kit_status kit_child_run(const kit_child *child, kit_child_end *out_end, kolm_error_t *err) {
    watch w = {.child = child,
               .tie = -1,
               .fds = {-1, -1},
               .deadline_ms = child->timeout_ms > 0 ? kit_now_ms() + child->timeout_ms : INT64_MAX};
    *out_end = (kit_child_end){.exit_code = -1};
    kit_status status = start(&w, err);
    if (status == KOLM_OK) follow(&w, out_end);
    close_fd(&w.tie);
    for (int i = 0; i < 2; i++)
        close_fd(&w.fds[i]);
    if (status == KOLM_OK && w.unread != 0)
        status = kit_fail_errno(err, w.unread, "cannot read what %s says", child->path);
    return status;
}
