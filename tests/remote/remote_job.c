/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a job directory through the SSH job runner, with a child process for the connection: remote_job VERB DIR
 * ENGINE FAR... */
#include "kolm/kit/file.h"
#include "kolm/kit/process.h"
#include "kolm/kit/ssh_job.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static volatile sig_atomic_t stopping;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

/* ---- The connection: standard input and output of the child FAR..., and of more children, the lanes. */

#define LANES 2

typedef struct pipe_end {
    pid_t pid;
    int to, from;
} pipe_end;

typedef struct pipe_wire {
    char *const *argv;
    pipe_end ends[1 + LANES];
} pipe_wire;

static void close_end(pipe_end *end) {
    if (end->pid == 0) return;
    close(end->to);
    close(end->from);
    kill(end->pid, SIGKILL);
    while (waitpid(end->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    end->pid = 0;
}

static void close_pipes(void *user) {
    close_end(&((pipe_wire *)user)->ends[0]);
}

static void close_lane(void *user, size_t lane) {
    close_end(&((pipe_wire *)user)->ends[lane]);
}

static kit_status open_end(pipe_wire *w, size_t number, kolm_error_t *err) {
    pipe_end *end = &w->ends[number];
    int in = -1, out = -1;
    KIT_TRY(kit_pipe(&in, &end->to, err));
    KIT_TRY(kit_pipe(&end->from, &out, err));
    const kit_spawn_fd fds[] = {{in, 0}, {out, 1}, {2, 2}};
    const kit_spawn_options options = {.path = w->argv[0], .argv = w->argv, .envp = environ, .fds = fds, .fd_count = 3};
    kit_status status = kit_spawn(&options, &end->pid, err);
    close(in);
    close(out);
    return status;
}

static kit_status open_pipes(void *user, kolm_error_t *err) {
    return open_end(user, 0, err);
}

static kit_status start_lane(void *user, size_t lane, bool *out_started, kolm_error_t *err) {
    *out_started = true;
    return open_end(user, lane, err);
}

static kit_status cut(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_UNAVAILABLE, "", "cut");
}

static kit_status write_lane(void *user, size_t lane, const void *bytes, size_t length, kolm_error_t *err) {
    return kit_write_all(((pipe_wire *)user)->ends[lane].to, bytes, length, NULL) == KOLM_OK ? KOLM_OK : cut(err);
}

static kit_status write_pipe(void *user, const void *bytes, size_t length, kolm_error_t *err) {
    return write_lane(user, 0, bytes, length, err);
}

/* The two functions below wait, so that the lanes are ready before the upload ends, however slow the machine is. */
#define LANE_WAIT_MS 20000

static kit_status try_write_lane(void *user, size_t lane, const void *bytes, size_t length, size_t *out_n,
                                 kolm_error_t *err) {
    struct pollfd fd = {.fd = ((pipe_wire *)user)->ends[lane].to, .events = POLLOUT};
    *out_n = 0;
    if (poll(&fd, 1, LANE_WAIT_MS) <= 0) return KOLM_OK;
    /* A writable pipe takes PIPE_BUF bytes without blocking (pipe(7)). */
    ssize_t n = write(fd.fd, bytes, length < PIPE_BUF ? length : PIPE_BUF);
    if (n < 0) return cut(err);
    *out_n = (size_t)n;
    return KOLM_OK;
}

static kit_status try_read_lane(void *user, size_t lane, void *bytes, size_t capacity, size_t *out_n, bool *out_ended,
                                kolm_error_t *err) {
    struct pollfd fd = {.fd = ((pipe_wire *)user)->ends[lane].from, .events = POLLIN};
    *out_n = 0;
    *out_ended = false;
    if (poll(&fd, 1, LANE_WAIT_MS) <= 0) return KOLM_OK;
    ssize_t n = read(fd.fd, bytes, capacity);
    if (n < 0) return cut(err);
    *out_n = (size_t)n;
    *out_ended = n == 0;
    return KOLM_OK;
}

static kit_status read_pipe(void *user, void *bytes, size_t capacity, int64_t timeout_ms, size_t *out_n,
                            kolm_error_t *err) {
    struct pollfd fd = {.fd = ((pipe_wire *)user)->ends[0].from, .events = POLLIN};
    *out_n = 0;
    if (poll(&fd, 1, (int)timeout_ms) <= 0) return kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "", "nothing came");
    ssize_t n = read(fd.fd, bytes, capacity);
    if (n < 0) return cut(err);
    *out_n = (size_t)n;
    return KOLM_OK;
}

/* ---- The host */

static void say_log(void *user, uint32_t level, const char *text) {
    (void)user;
    printf("log %u %s\n", level, text);
    fflush(stdout);
}

static void say_progress(void *user, const kolm_progress_t *p) {
    (void)user;
    printf("progress %s %llu\n", p->phase, (unsigned long long)p->step);
    fflush(stdout);
}

static void say_metric(void *user, const char *name, double value) {
    (void)user;
    printf("metric %s %g\n", name, value);
}

static int32_t is_cancelled(void *user) {
    (void)user;
    return stopping != 0;
}

static int64_t time_left(void *user) {
    (void)user;
    return INT64_MAX;
}

static int finish(kit_status status, const kolm_error_t *err, const char *device, const char *more) {
    if (status == KOLM_OK)
        printf("ok %s; %s\n", device, more);
    else
        printf("error %d %s (%s)\n", status, err->text, err->remedy);
    return status == KOLM_OK ? 0 : 1;
}

/* If SSH_TARGET, SSH_KEY and SSH_KNOWN are set, the connection is real SSH: for measurements. */
static kit_status use_ssh(kit_ssh_job_settings *settings, kolm_error_t *err) {
    static const char *keys[1], *known[1];
    const char *target = getenv("SSH_TARGET");
    if (!target) return KOLM_OK;
    keys[0] = getenv("SSH_KEY");
    known[0] = getenv("SSH_KNOWN");
    settings->wire = NULL;
    settings->ssh = (kit_ssh_options){.config_path = "none",
                                      .known_hosts = known,
                                      .known_hosts_count = 1,
                                      .identity_files = keys,
                                      .identity_file_count = 1};
    return kit_ssh_target_parse(target, &settings->ssh.target, err);
}

static void set_signals(void) {
    struct sigaction act;
    memset(&act, 0, sizeof act);
    act.sa_handler = on_signal;
    (void)sigaction(SIGTERM, &act, NULL);
    act.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &act, NULL);
}

static kit_ssh_job_settings settings_from(const kit_ssh_job_wire *wire, const char *engine) {
    const char *patience = getenv("PATIENCE");
    uint64_t seconds = 20;
    if (patience) (void)kit_parse_u64(patience, &seconds);
    return (kit_ssh_job_settings){.wire = wire,
                                  .name = "box",
                                  .backend = "remote-ssh",
                                  .engine = engine,
                                  .python = getenv("FAR_PYTHON"),
                                  .trainer = getenv("TRAINER"),
                                  .setup = getenv("SETUP") != NULL,
                                  .wheels = getenv("WHEELS"),
                                  .kolm = getenv("FAR_KOLM"),
                                  .patience_seconds = seconds};
}

/* ---- The verbs; each returns the exit code */

static int train(kit_ssh_job_remote *remote, const char *dir) {
    kolm_error_t err = KIT_ERROR_INIT;
    const kolm_train_args_t args = {.struct_size = (uint32_t)sizeof args, .threads = 1, .job_dir = dir};
    kolm_train_result_t result = {.struct_size = (uint32_t)sizeof result};
    kit_status status = kit_ssh_job_train(remote, &args, &result, &err);
    return finish(status, &err, result.device, result.toolchain);
}

static int infer(kit_ssh_job_remote *remote, const char *dir) {
    kolm_error_t err = KIT_ERROR_INIT;
    char input[4096], output[4096], note[256];
    kit_format(input, sizeof input, "%s/eval.jsonl", dir);
    kit_format(output, sizeof output, "%s/predictions.jsonl", dir);
    const kolm_infer_args_t args = {
        .struct_size = (uint32_t)sizeof args, .threads = 1, .job_dir = dir, .input_path = input, .output_path = output};
    kolm_infer_result_t result = {.struct_size = (uint32_t)sizeof result};
    kit_status status = kit_ssh_job_infer(remote, &args, &result, &err);
    kit_format(note, sizeof note, "%llu answers", (unsigned long long)result.answers);
    return finish(status, &err, result.device, note);
}

static int rehearse(kit_ssh_job_remote *remote) {
    kolm_error_t err = KIT_ERROR_INIT;
    char note[256] = "", digest[KIT_SSH_JOB_DIGEST];
    kit_status status = kit_ssh_job_rehearse(remote, digest, note, sizeof note, &err);
    return finish(status, &err, "rehearsed", note);
}

static int do_verb(const char *verb, kit_ssh_job_remote *remote, const char *dir) {
    if (strcmp(verb, "train") == 0) return train(remote, dir);
    return strcmp(verb, "infer") == 0 ? infer(remote, dir) : rehearse(remote);
}

int main(int argc, char **argv) {
    kolm_error_t err = KIT_ERROR_INIT;
    char scratch[] = "/tmp/kolm-remote-job-XXXXXX";
    if (argc < 5 || !mkdtemp(scratch)) return 2;
    set_signals();
    const kolm_host_v1_t host = {.struct_size = (uint32_t)sizeof host,
                                 .log = say_log,
                                 .progress = say_progress,
                                 .metric = say_metric,
                                 .cancelled = is_cancelled,
                                 .time_left_ms = time_left,
                                 .scratch_dir = scratch};
    pipe_wire pipes = {.argv = argv + 4};
    const kit_ssh_job_wire wire = {.user = &pipes,
                                   .open = open_pipes,
                                   .write_all = write_pipe,
                                   .read = read_pipe,
                                   .close = close_pipes,
                                   .lanes = getenv("FAR_LANES") ? LANES : 0,
                                   .lane_start = start_lane,
                                   .lane_try_write = try_write_lane,
                                   .lane_try_read = try_read_lane,
                                   .lane_write_all = write_lane,
                                   .lane_close = close_lane};
    kit_ssh_job_settings settings = settings_from(&wire, argv[3]);
    kit_ssh_job_remote *remote = NULL;
    kit_status status = use_ssh(&settings, &err);
    if (status == KOLM_OK) status = kit_ssh_job_open(&host, &settings, &remote, &err);
    int exit_code = status == KOLM_OK ? do_verb(argv[1], remote, argv[2]) : finish(status, &err, "", "");
    kit_ssh_job_close(remote);
    kit_status ignored = kit_remove_tree(scratch, NULL);
    (void)ignored;
    return exit_code;
}
