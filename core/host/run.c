/* SPDX-License-Identifier: Apache-2.0 */
/* Starts kolm-host processes, reads their replies, enforces deadlines, and leaves no process behind. */
#include "host/fork_server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#define AT_ONCE 128  /* processes; four descriptors each */
#define YOUNG_MS 250 /* how long a process counts as starting, which is CPU-bound */
#define YOUNG_LEAST 24
#define CANCEL_LOOK_MS 100   /* the flag is checked at this interval; a signal usually ends the poll sooner */
#define EXIT_LOOK_MS 10      /* where the kernel has no pidfd */
#define LEAVE_MS 500         /* from the last record to the exit */
#define PRINTED_LIGHT 65536u /* bytes that detect and cost may print */
#define PRINTED_MOST (4u << 20)
#define SWEEPS 2000 /* looks for orphans, a millisecond apart */

/* ---- Start */
static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static int open_pidfd(pid_t pid) {
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0u);
#else
    (void)pid;
    return -1;
#endif
}

/* All processes that this room started and has not reaped yet, of any thread. Any other child of ours is an adopted
 * orphan that a plugin left. The lock is held while a process is started, so that it is not mistaken for one. */
static struct {
    pthread_mutex_t lock;
    pid_t *pids;
    size_t count, room;
} hosts = {.lock = PTHREAD_MUTEX_INITIALIZER};

static kit_status remember_more(kolm_error_t *err) {
    if (hosts.count < hosts.room) return KOLM_OK;
    pid_t *grown = realloc(hosts.pids, (hosts.room * 2 + 16) * sizeof *grown);
    if (!grown) return kit_no_memory(err);
    hosts.pids = grown;
    hosts.room = hosts.room * 2 + 16;
    return KOLM_OK;
}

static void forget(pid_t pid) {
    pthread_mutex_lock(&hosts.lock);
    for (size_t i = 0; i < hosts.count; i++)
        if (hosts.pids[i] == pid) {
            hosts.pids[i] = hosts.pids[--hosts.count];
            break;
        }
    if (hosts.count == 0) {
        free(hosts.pids);
        hosts.pids = NULL;
        hosts.room = 0;
    }
    pthread_mutex_unlock(&hosts.lock);
}

static kit_status spawn(const char *program, host_fork_server *server, host_run *run, const int theirs[3],
                        kolm_error_t *err) {
    char *argv[] = {(char[]){"kolm-host"}, run->backend->name, NULL};
    char **env = NULL;
    kit_spawn_fd fds[HOST_FORK_SERVER_FDS] = {
        {theirs[2], 1}, {theirs[2], 2}, {theirs[0], HOST_FD_REQUEST}, {theirs[1], HOST_FD_REPLY}};
    size_t count = 4;
    if (run->input_fd >= 0) fds[count++] = (kit_spawn_fd){run->input_fd, HOST_FD_INPUT};
    if (run->output_fd >= 0) fds[count++] = (kit_spawn_fd){run->output_fd, HOST_FD_OUTPUT};
    if (run->model_fd > 0) fds[count++] = (kit_spawn_fd){run->model_fd, HOST_FD_MODEL};
    if (run->plugin.fd >= 0) fds[count++] = (kit_spawn_fd){run->plugin.fd, HOST_FD_PLUGIN};
    if (run->lease_fd > 0) fds[count++] = (kit_spawn_fd){run->lease_fd, HOST_FD_LEASES};
    KIT_TRY(host_environment(run->backend->manifest, run->scratch, run->options->audit, &env, err));
    kit_spawn_options options = {
        .path = program, .argv = argv, .envp = env, .fds = fds, .fd_count = count, .new_session = 1};
    pthread_mutex_lock(&hosts.lock);
    kit_status status = remember_more(err);
    pid_t pid = status == KOLM_OK ? host_fork_server_start(server, run->backend->name, env, fds, count) : 0;
    if (status == KOLM_OK && pid == 0) status = kit_spawn(&options, &pid, err);
    if (status == KOLM_OK) hosts.pids[hosts.count++] = pid;
    run->life = kit_child_born(pid, run->timeout_ms, run->grace_ms);
    pthread_mutex_unlock(&hosts.lock);
    host_environment_free(env);
    return status;
}

/* Opens the plugin, once: an error is its verdict, without delaying the others. */
static kit_status take_plugin(host_run *run, kolm_error_t *err) {
    kolm_error_t *why = &run->result->error;
    if (run->plugin.row) return KOLM_OK;
    kit_status status = host_plugin_take(run->backend, !run->several, run->options->by_path, &run->plugin, why);
    if (status == KOLM_OK) {
        kit_copy(run->result->plugin_sha256, sizeof run->result->plugin_sha256, run->plugin.sha256);
        return host_run_ask_plugin(run, err); /* out of memory: the process would fail too */
    }
    if (err && status == KOLM_E_RESOURCE_EXHAUSTED) *err = *why;
    if (status == KOLM_E_RESOURCE_EXHAUSTED) return status;
    run->result->verdict = HOST_NOT_LOADED;
    run->result->own_fault = status == KOLM_E_UNKNOWN; /* a disk error, for example */
    run->ended = true;
    return KOLM_OK;
}

static kit_status start(const char *program, host_fork_server *server, host_run *run, kolm_error_t *err) {
    int theirs[3] = {-1, -1, -1};
    KIT_TRY(take_plugin(run, err));
    if (run->ended) return KOLM_OK;
    kit_status status = kit_pipe(&theirs[0], &run->request_fd, err);
    if (status == KOLM_OK) status = kit_pipe(&run->reply_fd, &theirs[1], err);
    if (status == KOLM_OK) status = kit_pipe(&run->log_fd, &theirs[2], err);
    if (status == KOLM_OK) status = spawn(program, server, run, theirs, err);
    for (int i = 0; i < 3; i++)
        close_fd(&theirs[i]);
    if (status != KOLM_OK) {
        close_fd(&run->request_fd);
        close_fd(&run->reply_fd);
        close_fd(&run->log_fd);
        return status;
    }
    run->started = true;
    run->started_ms = kit_now_ms();
    run->exit_fd = open_pidfd(run->life.pid);
    fcntl(run->request_fd, F_SETFL, O_NONBLOCK);
    fcntl(run->reply_fd, F_SETFL, O_NONBLOCK);
    fcntl(run->log_fd, F_SETFL, O_NONBLOCK);
    return KOLM_OK;
}

/* ---- Talk */
/* kolm itself failed. */
static void give_it_up(host_run *run, int reason) {
    if (run->own_errno == 0) run->own_errno = reason;
    run->garbled = true; /* killed at the next check */
}

static void send_request(host_run *run) {
    while (run->request_sent < run->request.length) {
        ssize_t n =
            write(run->request_fd, run->request.data + run->request_sent, run->request.length - run->request_sent);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0 && errno != EPIPE) give_it_up(run, errno);
        if (n <= 0) break; /* it has exited: its status will tell how */
        run->request_sent += (size_t)n;
    }
    explicit_bzero(run->request.data, run->request.length);
    run->request_sent = run->request.length;
}

static void stop(host_run *run, kit_child_stop why, int64_t now) {
    close_fd(&run->request_fd); /* kolm-host sees the closed pipe, whatever the plugin did to the signals */
    kit_child_stop_now(&run->life, why, now);
}

/* Passes on whole lines; keeps an incomplete last one. */
static void split_lines(host_run *run, kit_buf *text, bool reply) {
    size_t from = 0;
    for (;;) {
        char *end = from < text->length ? memchr(text->data + from, '\n', text->length - from) : NULL;
        if (!end) break;
        size_t length = (size_t)(end - text->data) - from;
        if (!reply)
            host_run_printed(run, text->data + from, length);
        else if (!run->garbled && !host_run_answer(run, text->data + from, length))
            run->garbled = true;
        from += length + 1;
    }
    if (from > 0) {
        memmove(text->data, text->data + from, text->length - from);
        text->length -= from;
        text->data[text->length] = '\0';
    }
    size_t most = reply ? HOST_LINE_MAX : HOST_LOG_MAX;
    if (text->length < most) return;
    if (reply)
        run->garbled = true;
    else
        host_run_printed(run, text->data, text->length);
    kit_buf_clear(text);
}

/* Reads what is available, within limits: a flood must not delay the others. */
static void receive(host_run *run, int *fd, kit_buf *text, bool reply, bool to_the_end) {
    char piece[16384];
    size_t most = host_call_is_light(run->slot) ? PRINTED_LIGHT : PRINTED_MOST;
    for (int round = 0; *fd >= 0 && (round < 4 || (to_the_end && round < 1024)); round++) {
        ssize_t n = read(*fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0 && reply) give_it_up(run, errno);
        if (n <= 0) {
            close_fd(fd);
            return;
        }
        if (!reply) {
            if (run->log_bytes >= most) continue; /* read and discarded, so that the writer does not block */
            run->log_bytes += (size_t)n;
        }
        kit_buf_add(text, piece, (size_t)n);
        if (text->failed)
            give_it_up(run, ENOMEM);
        else
            split_lines(run, text, reply);
    }
}

static void receive_all(host_run *run, bool to_the_end, int64_t now) {
    bool before = run->stage == HOST_STAGE_DONE;
    receive(run, &run->reply_fd, &run->reply, true, to_the_end);
    receive(run, &run->log_fd, &run->log, false, to_the_end);
    if (run->garbled && !run->ended) kit_child_kill(&run->life);
    if (run->stage == HOST_STAGE_DONE && !before) run->life.kill_ms = now + LEAVE_MS;
}

/* ---- Wait */
static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static bool cancelled(const host_run *run) {
    const host_call_options *o = run->options;
    return (o->cancel && *o->cancel != 0) || (o->cancel_too && *o->cancel_too != 0);
}

/* The second request to stop. */
static bool is_urgent(const host_run *run) {
    return run->life.stop == KIT_CHILD_CANCELLED && run->options->cancel && *run->options->cancel > 1;
}

static bool is_late(host_run *run, int64_t now) {
    bool light = host_call_is_light(run->slot);
    if (now < run->life.deadline_ms) return false;
    if (light) run->life.deadline_ms = host_deadline_of(run->life.pid, run->started_ms, run->timeout_ms);
    return now >= run->life.deadline_ms;
}

static bool goes_on(const host_run *run) {
    return run->life.stop == KIT_CHILD_GOES_ON && run->stage != HOST_STAGE_DONE;
}

/* Stops calls that are late or cancelled; returns the time of the next check. */
static int64_t watch_clock(host_run *run, int64_t now) {
    if (goes_on(run) && cancelled(run))
        stop(run, KIT_CHILD_CANCELLED, now);
    else if (goes_on(run) && is_late(run, now))
        stop(run, KIT_CHILD_DEADLINE, now);
    if (is_urgent(run)) run->life.kill_ms = now;
    kit_child_kill_late(&run->life, now, LEAVE_MS);
    int64_t next = earlier(run->life.kill_ms, goes_on(run) ? run->life.deadline_ms : INT64_MAX);
    if ((run->options->cancel || run->options->cancel_too) && run->life.stop == KIT_CHILD_GOES_ON)
        next = earlier(next, now + CANCEL_LOOK_MS);
    if (run->exit_fd < 0) next = earlier(next, now + EXIT_LOOK_MS);
    return next;
}

/* wake: latest time to return. */
static void listen_once(host_run **active, size_t count, struct pollfd *fds, int64_t now, int64_t wake) {
    int64_t next = wake;
    nfds_t used = 0, first[AT_ONCE + 1];
    for (size_t i = 0; i < count; i++) {
        host_run *run = active[i];
        next = earlier(next, watch_clock(run, now));
        first[i] = used;
        if (run->request_fd >= 0 && run->request_sent < run->request.length)
            fds[used++] = (struct pollfd){.fd = run->request_fd, .events = POLLOUT};
        if (run->reply_fd >= 0) fds[used++] = (struct pollfd){.fd = run->reply_fd, .events = POLLIN};
        if (run->log_fd >= 0) fds[used++] = (struct pollfd){.fd = run->log_fd, .events = POLLIN};
        if (run->exit_fd >= 0) fds[used++] = (struct pollfd){.fd = run->exit_fd, .events = POLLIN};
    }
    int64_t wait = next == INT64_MAX ? 60000 : next - now;
    first[count] = used;
    if (poll(fds, used, (int)(wait < 0 ? 0 : wait > 60000 ? 60000 : wait)) < 0)
        for (nfds_t i = 0; i < used; i++)
            fds[i].revents = POLLIN; /* unknown: check all */
    now = kit_now_ms();
    for (size_t i = 0; i < count; i++) {
        host_run *run = active[i];
        bool woken = run->exit_fd < 0; /* no pidfd: its exit cannot be polled */
        for (nfds_t j = first[i]; j < first[i + 1]; j++)
            woken = woken || fds[j].revents != 0;
        if (!woken) continue;
        if (run->request_fd >= 0 && run->request_sent < run->request.length) send_request(run);
        run->ended = kit_child_ended(&run->life, false); /* before the last reading: nothing can come after it */
        receive_all(run, run->ended, now);
    }
}

/* ---- End */
typedef enum orphans { ORPHANS_NONE, ORPHANS_SOME, ORPHANS_UNKNOWN } orphans;

/* True if every child that is not a host must be an orphan of a plugin. Decided once per process, before it starts the
 * first one; only then are orphans adopted. Otherwise only the session identifies processes of a plugin. */
static struct {
    pid_t process; /* the process this was decided for; 0: none */
    bool all;
} own_children;

static bool is_host(long pid) {
    for (size_t i = 0; i < hosts.count; i++)
        if ((long)hosts.pids[i] == pid) return true;
    return false;
}

/* Examines the thread's children (proc(5): /proc/PID/task/TID/children); end: kills and reaps the orphans among them.
 * Under the lock. */
static orphans orphans_of(const char *thread, bool end) {
    char path[64], text[4096], *next;
    kit_format(path, sizeof path, "/proc/self/task/%s/children", thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return ORPHANS_UNKNOWN;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n < 0) return ORPHANS_UNKNOWN;
    text[n] = '\0';
    if (n == sizeof text - 1) *strrchr(text, ' ') = '\0'; /* more than fit: the last number may be cut */
    orphans found = ORPHANS_NONE;
    char *at = text;
    for (long pid = strtol(at, &next, 10); next != at; pid = strtol(at = next, &next, 10)) {
        if (is_host(pid)) continue;
        found = ORPHANS_SOME;
        if (end) kill((pid_t)pid, SIGKILL);
        if (end) (void)waitpid((pid_t)pid, NULL, WNOHANG);
    }
    return found;
}

/* Under the lock. */
static orphans orphans_of_all(bool end) {
    DIR *dir = opendir("/proc/self/task");
    const struct dirent *entry;
    orphans found = dir ? ORPHANS_NONE : ORPHANS_UNKNOWN;
    while (found != ORPHANS_UNKNOWN && (entry = readdir(dir)) != NULL) {
        orphans here = entry->d_name[0] == '.' ? ORPHANS_NONE : orphans_of(entry->d_name, end);
        if (here != ORPHANS_NONE) found = here;
    }
    if (dir) closedir(dir);
    return found;
}

/* Whether ended processes left others behind: their orphans are our children now, whatever session they moved to. */
static orphans look_for_orphans(bool end) {
    pthread_mutex_lock(&hosts.lock);
    orphans found = own_children.all ? orphans_of_all(end) : ORPHANS_UNKNOWN;
    pthread_mutex_unlock(&hosts.lock);
    return found;
}

/* Orphans of processes started from now on become children of this process, not of init. But a program exec'd by a
 * shell has the children of that shell, and the init of a container, or an existing subreaper, has orphans of other
 * programs: these could not be distinguished from a plugin's. */
static void adopt(void) {
    pthread_mutex_lock(&hosts.lock);
    if (own_children.process != getpid()) {
        own_children.process = getpid();
        own_children.all = false;
#ifdef PR_SET_CHILD_SUBREAPER
        int already = 1;
        own_children.all = getpid() != 1 && prctl(PR_GET_CHILD_SUBREAPER, &already, 0, 0, 0) == 0 && !already &&
                           orphans_of_all(false) == ORPHANS_NONE && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0;
#endif
    }
    pthread_mutex_unlock(&hosts.lock);
}

/* Ends the orphans, and those that they leave in turn. */
static void end_orphans(const host_run *runs, size_t count) {
    for (int i = 0; i < SWEEPS; i++) {
        orphans found = look_for_orphans(true);
        if (found == ORPHANS_NONE || (found == ORPHANS_UNKNOWN && !host_run_sweep(runs, count, true))) return;
        if (i > 0) (void)poll(NULL, 0, 1); /* they are dying */
    }
}

static void close_all(host_run *run) {
    close_fd(&run->request_fd);
    close_fd(&run->reply_fd);
    close_fd(&run->log_fd);
    close_fd(&run->exit_fd);
}

/* After the reply, before the verdict: was the code that ran the code that was read? */
static void leave_plugin(host_run *run) {
    host_result *result = run->result;
    kolm_error_t why = KIT_ERROR_INIT;
    host_plugin_fate fate = HOST_PLUGIN_THERE;
    bool held = run->plugin.row != NULL;
    if (host_plugin_leave(&run->plugin, &fate, &why) != KOLM_OK) {
        result->verdict = HOST_FAILED;
        result->error = why;
    }
    if (!held || run->several) return;
    result->plugin_fate = fate;
    if (fate != HOST_PLUGIN_THERE) host_run_report_fate(run);
}

static void free_all(host_run *run) {
    close_all(run);
    host_plugin_fate unused;
    kit_status ignored = host_plugin_leave(&run->plugin, &unused, NULL); /* has its verdict, or none */
    (void)ignored;
    if (run->request.data) explicit_bzero(run->request.data, run->request.capacity);
    kit_buf_free(&run->request);
    kit_buf_free(&run->reply);
    kit_buf_free(&run->log);
}

static void reap(host_run *runs, size_t count) {
    bool any = false;
    if (count == 1 && runs->started && runs->ended && runs->options->audit) {
        orphans found = look_for_orphans(false);
        runs->result->left.processes =
            found == ORPHANS_SOME || (found == ORPHANS_UNKNOWN && host_run_sweep(runs, count, false));
    }
    for (size_t i = 0; i < count; i++) {
        if (!runs[i].started) continue;
        any = true;
        kit_child_kill(&runs[i].life);
        (void)kit_child_ended(&runs[i].life, true); /* its orphans become ours once it is a zombie */
    }
    if (any) end_orphans(runs, count);
    for (size_t i = 0; i < count; i++) {
        host_run *run = &runs[i];
        if (run->started) {
            kit_child_bury(&run->life);
            forget(run->life.pid);
            if (run->log.length > 0) host_run_printed(run, run->log.data, run->log.length);
        }
        free_all(run);
        cJSON_Delete(run->args);
        run->args = NULL;
        free(run->scratch);
        run->scratch = NULL;
    }
}

/* A run whose turn never came. */
static void give_up(host_run *run, kit_child_stop why) {
    run->ended = true;
    run->life.stop = why;
    host_run_conclude(run);
}

/* Limits the number that start at once, so that each one's time is spent on its own work; one that only waits, or
 * hangs, does not delay the others. *wake: when the next may start; INT64_MAX: now. */
static bool may_start(host_run *const *active, size_t running, long processors, int64_t now, int64_t *wake) {
    size_t most = processors > YOUNG_LEAST / 2 ? 2 * (size_t)processors : YOUNG_LEAST, young = 0;
    *wake = INT64_MAX;
    for (size_t i = 0; i < running; i++) {
        if (now - active[i]->started_ms >= YOUNG_MS) continue;
        young++;
        *wake = earlier(*wake, active[i]->started_ms + YOUNG_MS);
    }
    if (running < AT_ONCE && young < most) return true;
    if (running >= AT_ONCE) *wake = INT64_MAX;
    return false;
}

static kit_status run_all(const char *program, host_fork_server *server, host_run *runs, size_t count,
                          struct pollfd *fds, kolm_error_t *err) {
    host_run *active[AT_ONCE];
    size_t running = 0, next = 0;
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    kit_status status = KOLM_OK;
    for (;;) {
        int64_t now = kit_now_ms(), wake = INT64_MAX;
        for (; next < count; next++) {
            host_run *run = &runs[next];
            if (!run->prepared) continue;
            if (cancelled(run)) {
                give_up(run, KIT_CHILD_CANCELLED);
                continue;
            }
            if (!may_start(active, running, processors, now, &wake)) break;
            status = start(program, server, run, err);
            if (status != KOLM_OK) break;
            if (!run->ended) active[running++] = run;
        }
        /* Temporarily out of descriptors or processes: running ones will free some. */
        if (running == 0) return status;
        status = KOLM_OK;
        listen_once(active, running, fds, now, next < count ? wake : INT64_MAX);
        for (size_t i = 0; i < running;) {
            if (!active[i]->ended) {
                i++;
                continue;
            }
            active[i]->result->wall_ms = kit_now_ms() - active[i]->started_ms;
            host_run_conclude(active[i]);
            leave_plugin(active[i]);
            close_all(active[i]);
            active[i] = active[--running];
        }
    }
}

/* It is a host too, not an orphan. */
static void open_fork_server(host_fork_server *server, const char *program, const host_run *runs, size_t count) {
    pthread_mutex_lock(&hosts.lock);
    *server = HOST_FORK_SERVER_NONE;
    if (remember_more(NULL) == KOLM_OK) host_fork_server_open(server, program, runs, count);
    if (server->pid > 0) hosts.pids[hosts.count++] = server->pid;
    pthread_mutex_unlock(&hosts.lock);
}

kit_status host_run_all(const char *program, host_run *runs, size_t count, kolm_error_t *err) {
    struct pollfd *fds = calloc(4 * AT_ONCE, sizeof *fds);
    if (!fds) {
        reap(runs, count);
        return kit_no_memory(err);
    }
    /* A process that dies before it has read its request must not kill us: SIGPIPE is blocked, and consumed. */
    sigset_t pipe_signal, before, pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    adopt();
    host_fork_server server;
    open_fork_server(&server, program, runs, count);
    kit_status status = run_all(program, &server, runs, count, fds, err);
    host_fork_server_close(&server);
    reap(runs, count);
    pid_t pid = server.pid;
    host_fork_server_reap(&server);
    if (pid > 0) forget(pid);
    const struct timespec at_once = {0};
    if (!sigismember(&pending, SIGPIPE)) {
        while (sigtimedwait(&pipe_signal, NULL, &at_once) < 0 && errno == EINTR) {
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    free(fds);
    return status;
}
