/* SPDX-License-Identifier: Apache-2.0 */
/* Locks that are released when the process ends: flock(2) on an open file. */
#ifndef KOLM_KIT_LOCK_H
#define KOLM_KIT_LOCK_H

#include "kolm/kit/status.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A lock belongs to the open file: it is released when its last descriptor is closed, even if the process is killed. A
 * child that inherits the descriptor holds the lock too. Threads of one process exclude each other only if each opens
 * the file itself. Locks work across processes and pid namespaces, where process ids would be meaningless.
 *
 * The holder must not remove a lock file, unless all users call kit_lock_names after taking the lock: otherwise two
 * processes could hold locks on two files of the same name.
 */

/* Opens path for locking, and creates it (0600) if it is missing; a symbolic link is refused. The caller closes
 * *out_fd. */
kit_status kit_lock_open(const char *path, int *out_fd, kolm_error_t *err) KIT_MUST_USE;

/* Takes the lock if it is free. UNAVAILABLE if another process holds it; UNIMPLEMENTED if the file system has no locks
 * (some network ones). shown names the file in an error. */
kit_status kit_lock_try(int fd, const char *shown, kolm_error_t *err) KIT_MUST_USE;
/* Waits without a time limit. CANCELLED if interrupted by a signal. */
kit_status kit_lock_hold(int fd, const char *shown, kolm_error_t *err) KIT_MUST_USE;
/* Waits for at most wait_ms, trying 50 times a second; then UNAVAILABLE. stop may be NULL. CANCELLED once stop returns
 * true or, without stop, if interrupted by a signal. */
kit_status kit_lock_wait(int fd, const char *shown, int64_t wait_ms, bool (*stop)(void *user), void *user,
                         kolm_error_t *err) KIT_MUST_USE;

/* True if the file still has a name: a lock on a removed file has no effect. */
bool kit_lock_is_linked(int fd);
/* True if path still names the file of fd, so that others will find this lock. */
bool kit_lock_names(int fd, const char *path);

#ifdef __cplusplus
}
#endif
#endif
