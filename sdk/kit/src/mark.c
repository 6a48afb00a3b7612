/* SPDX-License-Identifier: Apache-2.0 */
/* Marks of files: is this still the same file? */
#include "kolm/kit/mark.h"
#include "kolm/kit/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#define TICK_NS INT64_C(1000000)
#define TICKS_MOST 50 /* in ms: longer than a tick of any kernel; do not wait for a clock that was set back */

void kit_file_mark_of(const struct stat *from, kit_file_mark *out) {
#ifdef __APPLE__
    const struct timespec modified = from->st_mtimespec, changed = from->st_ctimespec;
#else
    const struct timespec modified = from->st_mtim, changed = from->st_ctim;
#endif
    *out = (kit_file_mark){.device = (uint64_t)from->st_dev,
                           .inode = (uint64_t)from->st_ino,
                           .size = (uint64_t)from->st_size,
                           .modified_ns = (int64_t)modified.tv_sec * 1000000000 + modified.tv_nsec,
                           .changed_ns = (int64_t)changed.tv_sec * 1000000000 + changed.tv_nsec};
}

kit_status kit_file_mark_fd(int fd, kit_file_mark *out, kolm_error_t *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return kit_fail_errno(err, errno, "cannot access it");
    kit_file_mark_of(&info, out);
    return KOLM_OK;
}

kit_status kit_file_mark_path(const char *path, kit_file_mark *out, kolm_error_t *err) {
    struct stat info;
    if (stat(path, &info) != 0) return kit_fail_errno(err, errno, "cannot access %s", path);
    kit_file_mark_of(&info, out);
    return KOLM_OK;
}

bool kit_file_mark_same(const kit_file_mark *a, const kit_file_mark *b) {
    return a->device == b->device && a->inode == b->inode && a->size == b->size && a->modified_ns == b->modified_ns &&
           a->changed_ns == b->changed_ns;
}

void kit_file_mark_put(const kit_file_mark *mark, kit_buf *out) {
    kit_buf_fmt(out, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64, mark->device, mark->inode, mark->size,
                mark->modified_ns, mark->changed_ns);
}

/* The kernel's clock for file times. */
static int64_t file_clock_ns(void) {
    struct timespec now;
#ifdef CLOCK_REALTIME_COARSE
    if (clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0) return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
#endif
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void kit_file_mark_settle(const kit_file_mark *mark) {
    const struct timespec tick = {.tv_nsec = TICK_NS};
    for (int i = 0; i < TICKS_MOST && file_clock_ns() <= mark->changed_ns; i++)
        (void)nanosleep(&tick, NULL);
}

bool kit_file_is_written(int fd) {
#if defined(F_SETLEASE) && defined(F_SETSIG)
    /* The kernel grants no read lease while the file is open for writing. A process that opens it meanwhile waits until
     * the lease is released; the notification, by default SIGIO, which would kill us, is replaced by an ignored
     * signal. */
    (void)fcntl(fd, F_SETSIG, SIGURG);
    if (fcntl(fd, F_SETLEASE, F_RDLCK) != 0) return errno == EAGAIN;
    (void)fcntl(fd, F_SETLEASE, F_UNLCK);
#else
    (void)fd;
#endif
    return false;
}
