/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes without a shell: posix_spawn with a process group of their own, explicit descriptors and an explicit
 * environment. */
#ifndef KOLM_KIT_PROCESS_H
#define KOLM_KIT_PROCESS_H

#include "kolm/kit/status.h"
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kit_spawn_fd {
    int parent; /* a descriptor of this process */
    int child;  /* the number it gets in the child */
} kit_spawn_fd;

typedef struct kit_spawn_options {
    const char *path; /* absolute; never searched in PATH */
    char *const *argv;
    char *const *envp;       /* exactly this environment */
    const kit_spawn_fd *fds; /* all others are closed in the child; 0, 1 and 2 are /dev/null unless listed here */
    size_t fd_count;
    int new_session; /* 1: leader of a new session, without a controlling terminal; 0: of a new process group */
} kit_spawn_options;

/* Starts the child as leader of a new process group, or of a new session, which implies a new group. */
kit_status kit_spawn(const kit_spawn_options *options, pid_t *out_pid, kolm_error_t *err) KIT_MUST_USE;
/* Monotonic milliseconds. */
int64_t kit_now_ms(void);
/* A pipe with both ends close-on-exec. */
kit_status kit_pipe(int *out_read, int *out_write, kolm_error_t *err) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
