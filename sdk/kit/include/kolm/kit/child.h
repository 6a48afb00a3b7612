/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a program until it exits: reads its output, enforces a time limit, and leaves no process behind. */
#ifndef KOLM_KIT_CHILD_H
#define KOLM_KIT_CHILD_H

#include "kolm/kit/process.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum kit_child_stop {
    KIT_CHILD_GOES_ON,
    KIT_CHILD_LINGERS,   /* its work is done, but it does not exit; may still become one of the others */
    KIT_CHILD_CANCELLED, /* requested by the user */
    KIT_CHILD_DEADLINE,
} kit_child_stop;

typedef struct kit_child {
    const char *path;                      /* absolute; never searched in PATH */
    const char *const *argv, *const *envp; /* NULL ended; exactly this environment */
    const kit_spawn_fd *fds;               /* descriptors from 3 on; all others are closed in the child */
    size_t fd_count;
    bool tied;   /* standard input is an empty pipe that closes when this process exits; else /dev/null */
    bool joined; /* standard error goes to the same place as standard output, and err is not called */
    void *user;
    /* Called with output as it arrives, in pieces of any length. NULL: /dev/null. */
    void (*out)(void *user, const char *bytes, size_t length);
    void (*err)(void *user, const char *bytes, size_t length);
    /* Called ten times a second, until it returns CANCELLED or DEADLINE. out_ended: the child has closed its output.
     * NULL: not called. */
    kit_child_stop (*stop)(void *user, bool out_ended);
    int64_t timeout_ms; /* DEADLINE after this; 0: no limit */
    int64_t grace_ms;   /* time from SIGTERM to SIGKILL when the child is stopped; 0: SIGKILL at once */
} kit_child;

typedef struct kit_child_end {
    kit_child_stop stop; /* whether it was stopped, and why; it may have succeeded nevertheless */
    int exit_code;       /* -1 if killed by a signal */
    int signal_number;   /* 0 if not killed by a signal */
} kit_child_end;

/*
 * The state of a child that was started as the leader of its process group: when to stop it, when to kill it, whether
 * it has exited. For callers with an event loop over several children; kit_child_run is that loop for one.
 */
typedef struct kit_child_life {
    pid_t pid;
    int64_t deadline_ms; /* on kit_now_ms; INT64_MAX: never */
    int64_t grace_ms;
    int64_t kill_ms; /* SIGKILL to its group then; INT64_MAX: never */
    kit_child_stop stop;
    bool ended; /* it stays a zombie until it is buried, so that its pid and process group are not reused */
    int code;   /* si_code, waitid(2) */
    int status; /* si_status; EXITED with -1: another thread reaped it */
} kit_child_life;
/* The times are as in kit_child. */
kit_child_life kit_child_born(pid_t pid, int64_t timeout_ms, int64_t grace_ms);
/* Stops it: SIGTERM to its group and SIGKILL after grace_ms, or SIGKILL at once without grace. No-op if it was already
 * stopped for a reason of the same or higher rank (the order of kit_child_stop). */
void kit_child_stop_now(kit_child_life *life, kit_child_stop why, int64_t now_ms);
/* Sends SIGKILL once the grace period is over, and again every again_ms, in case the child has started another process
 * meanwhile. */
void kit_child_kill_late(kit_child_life *life, int64_t now_ms, int64_t again_ms);
/* Returns whether the child has exited. If wait is true, blocks until it has. */
bool kit_child_ended(kit_child_life *life, bool wait);
/* Kills what is left of its process group. */
void kit_child_kill(const kit_child_life *life);
/* Reaps the child after kit_child_ended returned true: its pid may be reused from now on. */
void kit_child_bury(const kit_child_life *life);

/* Runs the child as the leader of a process group. After it exits, kills the rest of the group; if another process
 * still holds the output open, waits for that, two seconds at most. The pid is not reused before this returns. Fails if
 * the child could not be started or its output could not be read (out_end is filled in the latter case). */
kit_status kit_child_run(const kit_child *child, kit_child_end *out_end, kolm_error_t *err) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
