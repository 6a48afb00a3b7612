/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a program until it exits, with a deadline. */
#include "kolm/kit/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_MS 100       /* polling interval of the clock and the stop callback */
#define END_MS 10         /* the same while only waiting for it to exit */
#define CLOSE_MS 2000     /* from its exit until its pipes close, which its children may hold open */
#define PIECES_A_LOOK 16u /* so that even a child that never stops printing can be stopped */
#define FDS_MAX 16

typedef struct watch {
    const kit_child *child;
    kit_child_life life;
    int tie;    /* our end of its standard input; -1: none */
    int fds[2]; /* our ends of its stdout and stderr; -1 at end of file */
    int64_t close_ms;
    int unread; /* the errno of a failed read: its output is incomplete */
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
    int theirs[3] = {-1, -1, -1}; /* stdin, stdout, stderr */
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
    pid_t pid = 0;
    if (status == KOLM_OK) status = kit_spawn(&options, &pid, err);
    w->life = kit_child_born(pid, c->timeout_ms, c->grace_ms);
    for (int i = 0; i < 3; i++)
        close_fd(&theirs[i]);
    for (int i = 0; i < 2; i++)
        if (w->fds[i] >= 0) (void)fcntl(w->fds[i], F_SETFL, O_NONBLOCK);
    return status;
}

/* ---- Time */

kit_child_life kit_child_born(pid_t pid, int64_t timeout_ms, int64_t grace_ms) {
    return (kit_child_life){.pid = pid,
                            .deadline_ms = timeout_ms > 0 ? kit_now_ms() + timeout_ms : INT64_MAX,
                            .grace_ms = grace_ms,
                            .kill_ms = INT64_MAX};
}

void kit_child_stop_now(kit_child_life *life, kit_child_stop why, int64_t now_ms) {
    if (why <= life->stop) return;
    life->stop = why;
    life->kill_ms = now_ms + life->grace_ms;
    kill(-life->pid, life->grace_ms > 0 ? SIGTERM : SIGKILL);
}

void kit_child_kill_late(kit_child_life *life, int64_t now_ms, int64_t again_ms) {
    if (now_ms < life->kill_ms) return;
    kit_child_kill(life);
    life->kill_ms = now_ms + again_ms;
}

bool kit_child_ended(kit_child_life *life, bool wait) {
    siginfo_t info = {0};
    int got;
    if (life->ended) return true;
    while ((got = waitid(P_PID, (id_t)life->pid, &info, WEXITED | WNOWAIT | (wait ? 0 : WNOHANG))) != 0 &&
           errno == EINTR)
        continue;
    if (got == 0 && info.si_pid == 0) return false;
    life->code = got == 0 ? info.si_code : CLD_EXITED; /* another thread reaped it: its output is still valid */
    life->status = got == 0 ? info.si_status : -1;
    return life->ended = true;
}

void kit_child_kill(const kit_child_life *life) {
    kill(-life->pid, SIGKILL);
}

void kit_child_bury(const kit_child_life *life) {
    while (waitpid(life->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

static void look(watch *w) {
    int64_t now = kit_now_ms();
    const kit_child *c = w->child;
    if (w->life.stop == KIT_CHILD_GOES_ON || w->life.stop == KIT_CHILD_LINGERS) {
        kit_child_stop why = c->stop != NULL ? c->stop(c->user, w->fds[0] < 0) : KIT_CHILD_GOES_ON;
        if (why == KIT_CHILD_GOES_ON && now >= w->life.deadline_ms) why = KIT_CHILD_DEADLINE;
        kit_child_stop_now(&w->life, why, now);
    }
    kit_child_kill_late(&w->life, now, CLOSE_MS);
    bool before = w->life.ended;
    if (kit_child_ended(&w->life, false) && !before) w->close_ms = now + CLOSE_MS;
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
    return w->life.ended && ((w->fds[0] < 0 && w->fds[1] < 0) || kit_now_ms() >= w->close_ms);
}

static void follow(watch *w, kit_child_end *out_end) {
    for (look(w); !is_over(w); look(w)) {
        struct pollfd fds[2] = {{.fd = w->fds[0], .events = POLLIN}, {.fd = w->fds[1], .events = POLLIN}};
        (void)poll(fds, 2, w->life.ended || (w->fds[0] < 0 && w->fds[1] < 0) ? END_MS : LOOK_MS);
        for (int i = 0; i < 2; i++)
            if (fds[i].revents != 0) read_some(w, i);
    }
    kit_child_kill(&w->life);
    for (int i = 0; i < 2; i++)
        read_some(w, i);
    kit_child_bury(&w->life);
    bool itself = w->life.code == CLD_EXITED;
    out_end->stop = w->life.stop;
    out_end->exit_code = itself ? w->life.status : -1;
    out_end->signal_number = itself ? 0 : w->life.status;
}

kit_status kit_child_run(const kit_child *child, kit_child_end *out_end, kolm_error_t *err) {
    watch w = {.child = child, .tie = -1, .fds = {-1, -1}};
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
