/* SPDX-License-Identifier: Apache-2.0 */
/* Starts one of Slurm's programs and keeps what it prints. */
#include "slurm.h"

#include "kolm/kit/process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX 64
#define KEPT_MAX (1u << 20)
#define COMMAND_MS 60000

extern char **environ;

void slurm_output_free(slurm_output *output) {
    kit_buf_free(&output->out);
    kit_buf_free(&output->err);
    *output = (slurm_output){.exit_code = 127};
}

static bool has_programs(const char *dir) {
    char path[512];
    return kit_format(path, sizeof path, "%s/sbatch", dir) && access(path, X_OK) == 0;
}

const char *slurm_bin(const slurm_settings *settings) {
    static const char *const usual[] = {"/usr/bin", "/usr/local/bin", "/opt/slurm/bin", "/usr/local/slurm/bin"};
    if (settings->bin[0]) return has_programs(settings->bin) ? settings->bin : NULL;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (has_programs(usual[i])) return usual[i];
    return NULL;
}

/* False at the end of the stream. */
static bool take(int fd, kit_buf *out) {
    char chunk[4096];
    ssize_t n = read(fd, chunk, sizeof chunk);
    if (n < 0) return errno == EINTR || errno == EAGAIN;
    if (n > 0 && out->length + (size_t)n <= KEPT_MAX) kit_buf_add(out, chunk, (size_t)n);
    return n > 0;
}

/* Reads both streams until they end or time is up. */
static void listen(int out_fd, int err_fd, slurm_output *output, int64_t deadline) {
    struct pollfd fds[2] = {{.fd = out_fd, .events = POLLIN}, {.fd = err_fd, .events = POLLIN}};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        int64_t left = deadline - kit_now_ms();
        if (left <= 0 || (poll(fds, 2, (int)left) < 0 && errno != EINTR)) return;
        if (fds[0].fd >= 0 && fds[0].revents && !take(out_fd, &output->out)) fds[0].fd = -1;
        if (fds[1].fd >= 0 && fds[1].revents && !take(err_fd, &output->err)) fds[1].fd = -1;
    }
}

static int exit_code_of(pid_t pid, int64_t deadline) {
    int status = 0;
    if (kit_now_ms() >= deadline) kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return 127;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The environment of the program, which points into our own: without the variables that contradict a setting. */
static char **environment(const slurm_settings *settings) {
    size_t count = 0, kept = 0;
    while (environ[count])
        count++;
    char **env = calloc(count + 1, sizeof *env);
    for (size_t i = 0; env && i < count; i++)
        if (!slurm_overrides(settings, environ[i])) env[kept++] = environ[i];
    return env;
}

static kit_status start(const slurm_settings *settings, const char *path, const char *const *words, int out_fd,
                        int err_fd, pid_t *out_pid, kolm_error_t *err) {
    char **env = environment(settings);
    if (!env) return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs", "out of memory");
    const kit_spawn_fd fds[] = {{out_fd, 1}, {err_fd, 2}};
    const kit_spawn_options options = {
        .path = path, .argv = (char *const *)(void *)words, .envp = env, .fds = fds, .fd_count = 2};
    kit_status status = kit_spawn(&options, out_pid, err);
    free(env);
    return status;
}

kit_status slurm_command(const slurm_settings *settings, const char *program, const char *const *argv,
                         slurm_output *out_output, kolm_error_t *err) {
    const char *words[WORDS_MAX + 2] = {program};
    const char *bin = slurm_bin(settings);
    char path[600];
    int out_ends[2] = {-1, -1}, err_ends[2] = {-1, -1};
    pid_t pid = 0;
    size_t count = 0;
    *out_output = (slurm_output){.exit_code = 127};
    while (argv[count] && count < WORDS_MAX) {
        words[count + 1] = argv[count];
        count++;
    }
    if (argv[count]) return kit_fail(err, KOLM_E_INTERNAL, "report this", "a command line for %s is too long", program);
    if (!bin || !kit_format(path, sizeof path, "%s/%s", bin, program))
        return kit_fail(err, KOLM_E_NOT_FOUND,
                        "install Slurm's client commands, or set backends.slurm.bin in config.json",
                        "Slurm's %s was not found", program);
    kit_status status = kit_pipe(&out_ends[0], &out_ends[1], err);
    if (status == KOLM_OK) status = kit_pipe(&err_ends[0], &err_ends[1], err);
    if (status == KOLM_OK)
        status = start(settings, path, (const char *const *)words, out_ends[1], err_ends[1], &pid, err);
    if (out_ends[1] >= 0) close(out_ends[1]);
    if (err_ends[1] >= 0) close(err_ends[1]);
    if (status == KOLM_OK) {
        int64_t deadline = kit_now_ms() + COMMAND_MS;
        listen(out_ends[0], err_ends[0], out_output, deadline);
        out_output->exit_code = exit_code_of(pid, deadline);
    }
    if (out_ends[0] >= 0) close(out_ends[0]);
    if (err_ends[0] >= 0) close(err_ends[0]);
    return status;
}
