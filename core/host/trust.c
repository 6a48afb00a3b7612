/* SPDX-License-Identifier: Apache-2.0 */
/* Decides whether a path can be changed by nobody but root and the user, from the file up to the root directory. */
#include "host/internal.h"
#include "host/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OTHERS (S_IWGRP | S_IWOTH)

void host_identity_of(const struct stat *st, host_file_identity *out) {
    out->device = (uint64_t)st->st_dev;
    out->inode = (uint64_t)st->st_ino;
    out->size = (uint64_t)st->st_size;
#if defined(__APPLE__)
    out->modified_ns = (int64_t)st->st_mtimespec.tv_sec * 1000000000 + st->st_mtimespec.tv_nsec;
    out->changed_ns = (int64_t)st->st_ctimespec.tv_sec * 1000000000 + st->st_ctimespec.tv_nsec;
#else
    out->modified_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    out->changed_ns = (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec;
#endif
}

static kit_status refuse(kolm_error_t *err, const char *path, const char *why, const char *verb) {
    char remedy[512];
    kit_format(remedy, sizeof remedy, "%s '%s', or move the backend to a directory that only you can change", verb,
               path);
    return kit_fail(err, KOLM_E_PERMISSION_DENIED, remedy, "%s %s", path, why);
}

kit_status host_trust_stat(const struct stat *st, const char *path, bool above, kolm_error_t *err) {
    if (st->st_uid != 0 && st->st_uid != geteuid()) return refuse(err, path, "belongs to another user", "chown");
    if (!(st->st_mode & OTHERS)) return KOLM_OK;
    /* In a sticky directory of root's nobody can rename or remove what belongs to someone else. */
    if (above && (st->st_mode & S_ISVTX) && st->st_uid == 0) return KOLM_OK;
    return refuse(err, path, st->st_mode & S_IWOTH ? "can be changed by every user" : "can be changed by its group",
                  "chmod go-w");
}

/* Checks the directory at `path` (real, absolute; changed and put back) and every one above it. */
static kit_status check_upwards(char *path, bool above, kolm_error_t *err) {
    for (;;) {
        struct stat st;
        if (lstat(path, &st) != 0) return kit_fail_errno(err, errno, "cannot look at %s", path);
        if (!S_ISDIR(st.st_mode)) return refuse(err, path, "is not a directory", "replace");
        KIT_TRY(host_trust_stat(&st, path, above, err));
        if (strcmp(path, "/") == 0) return KOLM_OK;
        char *slash = strrchr(path, '/');
        if (slash == path) slash++;
        *slash = '\0';
        above = true;
    }
}

static kit_status check_parents(const char *real, kolm_error_t *err) {
    char path[PATH_MAX];
    if (!kit_copy(path, sizeof path, real)) return kit_fail_errno(err, ENAMETOOLONG, "%s", real);
    char *slash = strrchr(path, '/');
    if (slash == path) slash++;
    *slash = '\0';
    return check_upwards(path, false, err);
}

static kit_status resolve(const char *path, char **out_real, kolm_error_t *err) {
    if (path[0] != '/')
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give an absolute path", "%s is not an absolute path", path);
    *out_real = realpath(path, NULL);
    return *out_real ? KOLM_OK : kit_fail_errno(err, errno, "cannot find %s", path);
}

kit_status host_trust_directory(const char *path, char **out_real, kolm_error_t *err) {
    char *real = NULL;
    char copy[PATH_MAX];
    KIT_TRY(resolve(path, &real, err));
    kit_status status = kit_copy(copy, sizeof copy, real) ? KOLM_OK : kit_fail_errno(err, ENAMETOOLONG, "%s", real);
    if (status == KOLM_OK) status = check_upwards(copy, false, err);
    if (status == KOLM_OK && out_real)
        *out_real = real;
    else
        free(real);
    return status;
}

kit_status host_trust_file(const char *path, char **out_real, int *out_fd, host_file_identity *out_identity,
                           kolm_error_t *err) {
    char *real = NULL;
    struct stat st;
    KIT_TRY(resolve(path, &real, err));
    /* Not blocking: a pipe of that name must not hold anybody up. */
    int fd = open(real, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    kit_status status = fd >= 0 && fstat(fd, &st) == 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot open %s", real);
    if (status == KOLM_OK && !S_ISREG(st.st_mode)) status = refuse(err, real, "is not a regular file", "replace");
    if (status == KOLM_OK) status = host_trust_stat(&st, real, false, err);
    if (status == KOLM_OK) status = check_parents(real, err);
    if (status == KOLM_OK && out_identity) host_identity_of(&st, out_identity);
    if (status == KOLM_OK && out_fd)
        *out_fd = fd;
    else if (fd >= 0)
        close(fd);
    if (status == KOLM_OK && out_real)
        *out_real = real;
    else
        free(real);
    return status;
}
