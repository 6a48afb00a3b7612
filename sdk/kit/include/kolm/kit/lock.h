/* SPDX-License-Identifier: Apache-2.0 */
/* Locks that end with the process: flock(2) on an open file. */
#ifndef KOLM_KIT_LOCK_H
#define KOLM_KIT_LOCK_H

#include "kolm/kit/status.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A lock belongs to the open file: it is released when its last descriptor is closed, also by a process that is killed. A child
 * that inherits the descriptor holds the lock too. Threads of one process exclude each other only if each opens the file itself.
 * Locks work across process and pid namespaces, where process numbers would mean nothing.
 *
 * A lock file is not removed by whoever holds it, unless everybody who takes it asks kit_lock_names afterwards: otherwise two
 * processes would hold locks on two files of one name.
 */

/* Opens path for locking, and creates it (0600) if it is missing; a symbolic link is refused. The caller closes *out_fd. */
kit_status kit_lock_open(const char *path, int *out_fd, kolm_error_t *err) KIT_MUST_USE;

/* Takes the lock if it is free. UNAVAILABLE if another process holds it; UNIMPLEMENTED if the file system has no locks (some network
 * ones). shown names the file in an error. */
kit_status kit_lock_try(int fd, const char *shown, kolm_error_t *err) KIT_MUST_USE;
/* Waits for it as long as it takes. CANCELLED if a signal arrived meanwhile. */
kit_status kit_lock_hold(int fd, const char *shown, kolm_error_t *err) KIT_MUST_USE;
/* Waits for at most wait_ms, looking 50 times a second: UNAVAILABLE then. stop may be NULL; CANCELLED once it returns true, or if it
 * is NULL and a signal arrived. */
kit_status kit_lock_wait(int fd, const char *shown, int64_t wait_ms, bool (*stop)(void *user), void *user,
                         kolm_error_t *err) KIT_MUST_USE;

/* True if fd still has a name: a lock on a file that was removed meanwhile has no effect. */
bool kit_lock_is_linked(int fd);
/* True if fd is what path names now: the lock is the one that others would find. */
bool kit_lock_names(int fd, const char *path);

#ifdef __cplusplus
}
#endif
#endif
