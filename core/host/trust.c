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
#if defined(__linux__)
#include <sys/statfs.h>
#include <sys/statvfs.h>
#endif

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

/* ---- Owners that this user namespace does not map: scan.h says why these places, and no others, are believed. */

/* Directories that belong to root on every system whose programs and libraries can be trusted at all. */
static bool is_system_place(const char *path) {
    static const char *const exactly[] = {"/",        "/home", "/opt", "/srv",     "/mnt", "/media", "/var",
                                          "/var/lib", "/run",  "/etc", "/run/user", "/nix", "/gnu",   "/root"};
    static const char *const below[] = {"/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/gnu/store"};
    for (size_t i = 0; i < sizeof exactly / sizeof *exactly; i++)
        if (strcmp(path, exactly[i]) == 0) return true;
    for (size_t i = 0; i < sizeof below / sizeof *below; i++) {
        size_t length = strlen(below[i]);
        if (strncmp(path, below[i], length) == 0 && (path[length] == '/' || path[length] == '\0')) return true;
    }
    return false;
}

static bool is_sticky_place(const char *path) {
    return strcmp(path, "/tmp") == 0 || strcmp(path, "/var/tmp") == 0 || strcmp(path, "/dev/shm") == 0;
}

/* Read-only, and not by the word of another machine or process. */
static bool is_fixed_mount(const char *path) {
#if defined(__linux__)
    static const uint32_t changing[] = {0x6969, 0xff534d42, 0xfe534d42, 0x517b, 0x65735546, 0x01021997, 0x00c36400};
    struct statvfs flags;
    struct statfs kind;
    if (statvfs(path, &flags) != 0 || !(flags.f_flag & ST_RDONLY) || statfs(path, &kind) != 0) return false;
    for (size_t i = 0; i < sizeof changing / sizeof *changing; i++)
        if ((uint32_t)kind.f_type == changing[i]) return false; /* nfs, cifs, smb2, smb, fuse, 9p, ceph: magic.h */
    return true;
#else
    (void)path;
    return false;
#endif
}

/* Who can change this can change the program that runs, or what it was installed with. */
static bool is_own_place(const char *path) {
    char program[PATH_MAX], tree[PATH_MAX];
    struct stat st;
    size_t length = strlen(path);
    if (!host_own_program(program)) return false;
    if (strncmp(program, path, length) == 0 && program[length] == '/') return true;
    if (!host_own_tree(tree) || lstat(program, &st) != 0 || kit_owner_of(st.st_uid) != KIT_OWNER_UNMAPPED) return false;
    length = strlen(tree);
    return strncmp(path, tree, length) == 0 && path[length] == '/';
}

static kit_status trust_unmapped(const struct stat *st, const char *path, bool above, kolm_error_t *err) {
    if (above && (st->st_mode & S_ISVTX) && is_sticky_place(path)) return KOLM_OK;
    if (!is_system_place(path) && !is_own_place(path) && !is_fixed_mount(path))
        return kit_fail(err, KOLM_E_PERMISSION_DENIED,
                        "run kolm outside of the user namespace, keep the backend in a directory of your own below your home "
                        "or /tmp, or mount the place read-only",
                        "%s belongs to a user whom this user namespace does not map (shown as %lu): root or anybody", path,
                        (unsigned long)st->st_uid);
    if (!(st->st_mode & OTHERS)) return KOLM_OK;
    return kit_fail(err, KOLM_E_PERMISSION_DENIED,
                    "move the backend to a directory that only you can change, or mount the place read-only",
                    "%s can be changed by %s", path, st->st_mode & S_IWOTH ? "every user" : "its group");
}

kit_status host_trust_stat(const struct stat *st, const char *path, bool above, kolm_error_t *err) {
    kit_owner owner = kit_owner_of(st->st_uid);
    if (owner == KIT_OWNER_OTHER) return refuse(err, path, "belongs to another user", "chown");
    if (owner == KIT_OWNER_UNMAPPED) return trust_unmapped(st, path, above, err);
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
