/* SPDX-License-Identifier: Apache-2.0 */
/* A program run to its end: its output is read, it is stopped in time, and nothing of it is left behind. */
#ifndef KOLM_KIT_CHILD_H
#define KOLM_KIT_CHILD_H

#include "kolm/kit/process.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum kit_child_stop {
    KIT_CHILD_GOES_ON,
    KIT_CHILD_LINGERS,   /* its work is done, and it does not end; may still become one of the others */
    KIT_CHILD_CANCELLED, /* the user wants it */
    KIT_CHILD_DEADLINE,
} kit_child_stop;

typedef struct kit_child {
    const char *path;                      /* absolute; never searched in PATH */
    const char *const *argv, *const *envp; /* NULL ended; exactly this environment */
    const kit_spawn_fd *fds;               /* descriptors from 3 on; the rest is closed in it */
    size_t fd_count;
    bool
        tied; /* its standard input is a pipe that nothing is written to and that ends when this process does; else /dev/null */
    bool joined; /* its standard error goes where its output goes, and err is not called */
    void *user;
    /* What it prints, as it comes, in pieces that end anywhere. NULL: /dev/null. */
    void (*out)(void *user, const char *bytes, size_t length);
    void (*err)(void *user, const char *bytes, size_t length);
    /* Asked ten times a second, until it says CANCELLED or DEADLINE. out_ended: no more will come of its output. NULL: never. */
    kit_child_stop (*stop)(void *user, bool out_ended);
    int64_t timeout_ms; /* DEADLINE then; 0: as long as it takes */
    int64_t grace_ms;   /* it is stopped with SIGTERM, and with SIGKILL so much later; 0: with SIGKILL */
} kit_child;

typedef struct kit_child_end {
    kit_child_stop stop; /* whether it was stopped, and why; it may have ended well nevertheless */
    int exit_code;       /* -1: it was ended by a signal */
    int signal_number;   /* 0: it ended by itself */
} kit_child_end;

/*
 * The life of a child that was started as the leader of its group: when it is stopped, when it is killed, when it has ended. For
 * a caller that has a loop of its own, over many at once; kit_child_run is that loop for one.
 */
typedef struct kit_child_life {
    pid_t pid;
    int64_t deadline_ms; /* on kit_now_ms; INT64_MAX: never */
    int64_t grace_ms;
    int64_t kill_ms; /* SIGKILL to its group then; INT64_MAX: never */
    kit_child_stop stop;
    bool ended; /* it stays a zombie until it is buried, and its number, that of its group, names no other process */
    int code, status; /* si_code and si_status of its end, waitid(2); EXITED with -1: another thread buried it */
} kit_child_life;
/* Whole numbers as in kit_child. */
kit_child_life kit_child_born(pid_t pid, int64_t timeout_ms, int64_t grace_ms);
/* Stops it: SIGTERM to its group and SIGKILL after grace_ms, or SIGKILL at once without grace. No-op when it was stopped for a
 * reason as good (the order of kit_child_stop). */
void kit_child_stop_now(kit_child_life *life, kit_child_stop why, int64_t now_ms);
/* SIGKILL when its time to end is up, and again every again_ms, should something have been started in between. */
void kit_child_kill_late(kit_child_life *life, int64_t now_ms, int64_t again_ms);
/* Whether it has ended. Waits for that with wait. */
bool kit_child_ended(kit_child_life *life, bool wait);
/* Kills what it left in its group. */
void kit_child_kill(const kit_child_life *life);
/* After kit_child_ended: its number may name another process from now on. */
void kit_child_bury(const kit_child_life *life);

/* Runs it as the leader of a process group. When it has ended, what it left in its group is killed, and descriptors of its output
 * that are held outside of it are waited for for two seconds at most. Its process number is not reused until this returns.
 * An error: it could not be started, or what it said could not be read (out_end says how it ended then). */
kit_status kit_child_run(const kit_child *child, kit_child_end *out_end, kolm_error_t *err) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
