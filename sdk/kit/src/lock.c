/* SPDX-License-Identifier: Apache-2.0 */
/* Locks that are released when the process ends; the only place that calls flock. */
#include "kolm/kit/lock.h"
#include "kolm/kit/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MS 20

kit_status kit_lock_open(const char *path, int *out_fd, kolm_error_t *err) {
    *out_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return *out_fd >= 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot open the lock file %s", path);
}

static kit_status refused(const char *shown, kolm_error_t *err) {
    if (errno == EWOULDBLOCK)
        return kit_fail(err, KOLM_E_UNAVAILABLE, "wait for the other process to end, then try again",
                        "%s is locked by another process", shown);
    if (errno == ENOLCK || errno == ENOSYS || errno == EOPNOTSUPP)
        return kit_fail(err, KOLM_E_UNIMPLEMENTED, "use a file system with locks", "the file system of %s has no locks",
                        shown);
    return kit_fail_errno(err, errno, "cannot lock %s", shown);
}

kit_status kit_lock_try(int fd, const char *shown, kolm_error_t *err) {
    return flock(fd, LOCK_EX | LOCK_NB) == 0 ? KOLM_OK : refused(shown, err);
}

kit_status kit_lock_hold(int fd, const char *shown, kolm_error_t *err) {
    return flock(fd, LOCK_EX) == 0 ? KOLM_OK : refused(shown, err);
}

kit_status kit_lock_wait(int fd, const char *shown, int64_t wait_ms, bool (*stop)(void *user), void *user,
                         kolm_error_t *err) {
    int64_t end = kit_now_ms() + wait_ms;
    for (;;) {
        kit_status status = kit_lock_try(fd, shown, err);
        if (status != KOLM_E_UNAVAILABLE && status != KOLM_E_CANCELLED) return status;
        if (stop != NULL && stop(user)) return kit_fail(err, KOLM_E_CANCELLED, "", "interrupted");
        if (kit_now_ms() >= end) return status;
        /* flock has no timeout; polling is simpler than a timer and a signal. */
        if (poll(NULL, 0, LOOK_MS) < 0 && errno == EINTR && stop == NULL)
            return kit_fail_errno(err, errno, "cannot lock %s", shown);
    }
}

bool kit_lock_is_linked(int fd) {
    struct stat info;
    return fstat(fd, &info) == 0 && info.st_nlink > 0;
}

bool kit_lock_names(int fd, const char *path) {
    struct stat held, named;
    return fstat(fd, &held) == 0 && lstat(path, &named) == 0 && held.st_dev == named.st_dev &&
           held.st_ino == named.st_ino;
}
