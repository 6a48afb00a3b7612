/* SPDX-License-Identifier: Apache-2.0 */
/* Starts children: posix_spawn with exactly the given descriptors and environment. */
#include "kolm/kit/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <time.h>
#include <unistd.h>

int64_t kit_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

kit_status kit_pipe(int *out_read, int *out_write, kolm_error_t *err) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return kit_fail_errno(err, errno, "cannot make a pipe");
    *out_read = ends[0];
    *out_write = ends[1];
    return KOLM_OK;
}

#define MOST_FDS 16

/* The child's numbers may overlap the parent's, so first duplicate each descriptor above all of them. */
static int add_fd_actions(posix_spawn_file_actions_t *actions, const kit_spawn_options *options, const int *moved) {
    int result = 0, highest = 2;
    int have[3] = {0, 0, 0};
    for (size_t i = 0; i < options->fd_count; i++) {
        int child = options->fds[i].child;
        if (child < 3) have[child] = 1;
        if (child > highest) highest = child;
    }
    for (int fd = 0; fd < 3 && result == 0; fd++)
        if (!have[fd])
            result = posix_spawn_file_actions_addopen(actions, fd, "/dev/null", fd == 0 ? O_RDONLY : O_WRONLY, 0);
    for (size_t i = 0; i < options->fd_count && result == 0; i++)
        result = posix_spawn_file_actions_adddup2(actions, moved[i], options->fds[i].child);
    for (int fd = 3; fd <= highest && result == 0; fd++) {
        int wanted = 0;
        for (size_t i = 0; i < options->fd_count; i++)
            wanted |= options->fds[i].child == fd;
        if (!wanted) result = posix_spawn_file_actions_addclose(actions, fd);
    }
#if defined(__GLIBC__) && (__GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 34))
    if (result == 0) result = posix_spawn_file_actions_addclosefrom_np(actions, highest + 1);
#endif
    return result;
}

static int set_attributes(posix_spawnattr_t *attributes, int new_session) {
    const short own = new_session ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP;
    sigset_t none, defaults;
    sigemptyset(&none);
    sigfillset(&defaults);
    sigdelset(&defaults, SIGKILL);
    sigdelset(&defaults, SIGSTOP);
    int result = posix_spawnattr_setflags(attributes, (short)(own | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
    if (result == 0) result = posix_spawnattr_setpgroup(attributes, 0);
    if (result == 0) result = posix_spawnattr_setsigmask(attributes, &none);
    if (result == 0) result = posix_spawnattr_setsigdefault(attributes, &defaults);
    return result;
}

static int spawn_with(const kit_spawn_options *options, const int *moved, pid_t *out_pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int result = posix_spawn_file_actions_init(&actions);
    if (result != 0) return result;
    result = posix_spawnattr_init(&attributes);
    if (result == 0) {
        result = add_fd_actions(&actions, options, moved);
        if (result == 0) result = set_attributes(&attributes, options->new_session);
        if (result == 0)
            result = posix_spawn(out_pid, options->path, &actions, &attributes, options->argv, options->envp);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return result;
}

kit_status kit_spawn(const kit_spawn_options *options, pid_t *out_pid, kolm_error_t *err) {
    if (options->fd_count > MOST_FDS)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "%zu descriptors for a child are too many",
                        options->fd_count);
    if (options->path[0] != '/')
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "%s is not an absolute path; a program is never searched for",
                        options->path);
    int moved[MOST_FDS] = {0};
    size_t count = 0;
    int result = 0, highest = 2;
    for (size_t i = 0; i < options->fd_count; i++)
        if (options->fds[i].child > highest) highest = options->fds[i].child;
    for (; count < options->fd_count && result == 0; count++) {
        moved[count] = fcntl(options->fds[count].parent, F_DUPFD_CLOEXEC, highest + 1);
        if (moved[count] < 0) {
            result = errno;
            break;
        }
    }
    if (result == 0) result = spawn_with(options, moved, out_pid);
    for (size_t i = 0; i < count; i++)
        close(moved[i]);
    if (result != 0) return kit_fail_errno(err, result, "cannot start %s", options->path);
    return KOLM_OK;
}
