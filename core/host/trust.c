/* SPDX-License-Identifier: Apache-2.0 */
/* Checks that only root and the user can change a path, from the file up to the root directory. */
#include "host/internal.h"
#include "host/scan.h"

#include "kolm/kit/file.h"
#include "kolm/kit/trust.h"

#include <dirent.h>
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

/* A remedy other than changing the path itself. */
static const char move_it[] = "move the backend to a directory that only you can change";

static kit_status refuse(kolm_error_t *err, const char *path, const char *why, const char *verb,
                         const char *otherwise) {
    char remedy[512];
    kit_format(remedy, sizeof remedy, "%s '%s', or %s", verb, path, otherwise);
    return kit_fail(err, KOLM_E_PERMISSION_DENIED, remedy, "%s %s", path, why);
}

/* ---- Owners that this user namespace does not map: scan.h explains why only these locations are trusted. */

/* Directories owned by root on every system whose programs and libraries can be trusted at all. */
static bool is_system_place(const char *path) {
    static const char *const exactly[] = {"/",        "/home", "/opt", "/srv",      "/mnt", "/media", "/var",
                                          "/var/lib", "/run",  "/etc", "/run/user", "/nix", "/gnu",   "/root"};
    static const char *const below[] = {"/usr", "/lib",  "/lib32",     "/lib64",
                                        "/bin", "/sbin", "/nix/store", "/gnu/store"};
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

/* Read-only, and not served by another machine or process. */
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

/* A user who can change this can change the running program, or its installation. */
static bool is_own_place(const char *path) {
    char program[PATH_MAX], tree[PATH_MAX];
    struct stat st;
    size_t length = strlen(path);
    if (!host_own_program(program)) return false;
    if (strncmp(program, path, length) == 0 && program[length] == '/') return true;
    if (!host_own_tree(tree) || lstat(program, &st) != 0 || kit_trust_owner(&st) != KIT_OWNER_UNMAPPED) return false;
    length = strlen(tree);
    return strncmp(path, tree, length) == 0 && path[length] == '/';
}

static kit_status trust_unmapped(const struct stat *st, const char *path, bool above, const char *otherwise,
                                 kolm_error_t *err) {
    char remedy[512];
    if (above && (st->st_mode & S_ISVTX) && is_sticky_place(path)) return KOLM_OK;
    if (!is_system_place(path) && !is_own_place(path) && !is_fixed_mount(path)) {
        kit_format(remedy, sizeof remedy,
                   "run kolm outside of the user namespace, keep it in a directory of your own below your home or "
                   "/tmp, mount the "
                   "place read-only, or %s",
                   otherwise);
        return kit_fail(
            err, KOLM_E_PERMISSION_DENIED, remedy,
            "%s belongs to a user that this user namespace does not map (shown as %lu): root or any other user", path,
            kit_trust_owner_number(st));
    }
    if (!(st->st_mode & OTHERS)) return KOLM_OK;
    kit_format(remedy, sizeof remedy, "%s, or mount the place read-only", otherwise);
    return kit_fail(err, KOLM_E_PERMISSION_DENIED, remedy, "%s can be changed by %s", path,
                    st->st_mode & S_IWOTH ? "every user" : "its group");
}

static kit_status trust_stat(const struct stat *st, const char *path, bool above, const char *otherwise,
                             kolm_error_t *err) {
    kit_owner owner = kit_trust_owner(st);
    if (owner == KIT_OWNER_OTHER) return refuse(err, path, "belongs to another user", "chown", otherwise);
    if (owner == KIT_OWNER_UNMAPPED) return trust_unmapped(st, path, above, otherwise, err);
    if (!(st->st_mode & OTHERS)) return KOLM_OK;
    /* In a sticky directory of root users cannot rename or remove each other's files. */
    if (above && kit_trust_is_sticky(st)) return KOLM_OK;
    return refuse(err, path, st->st_mode & S_IWOTH ? "can be changed by every user" : "can be changed by its group",
                  "chmod go-w", otherwise);
}

kit_status host_trust_stat(const struct stat *st, const char *path, bool above, kolm_error_t *err) {
    return trust_stat(st, path, above, move_it, err);
}

/* Checks the directory at `path` (real, absolute; modified temporarily) and every one above it. */
static kit_status check_upwards(char *path, bool above, const char *otherwise, kolm_error_t *err) {
    for (;;) {
        struct stat st;
        if (lstat(path, &st) != 0) return kit_fail_errno(err, errno, "cannot access %s", path);
        if (!S_ISDIR(st.st_mode)) return refuse(err, path, "is not a directory", "replace", otherwise);
        KIT_TRY(trust_stat(&st, path, above, otherwise, err));
        if (strcmp(path, "/") == 0) return KOLM_OK;
        char *slash = strrchr(path, '/');
        if (slash == path) slash++;
        *slash = '\0';
        above = true;
    }
}

static kit_status check_parents(const char *real, const char *otherwise, kolm_error_t *err) {
    char path[PATH_MAX];
    if (!kit_copy(path, sizeof path, real)) return kit_fail_errno(err, ENAMETOOLONG, "%s", real);
    char *slash = strrchr(path, '/');
    if (slash == path) slash++;
    *slash = '\0';
    return check_upwards(path, false, otherwise, err);
}

static kit_status resolve(const char *path, char **out_real, kolm_error_t *err) {
    if (path[0] != '/')
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give an absolute path", "%s is not an absolute path", path);
    *out_real = realpath(path, NULL);
    return *out_real ? KOLM_OK : kit_fail_errno(err, errno, "cannot find %s", path);
}

static kit_status trust_directory(const char *path, bool above, const char *otherwise, char **out_real,
                                  kolm_error_t *err) {
    char *real = NULL;
    char copy[PATH_MAX];
    KIT_TRY(resolve(path, &real, err));
    kit_status status = kit_copy(copy, sizeof copy, real) ? KOLM_OK : kit_fail_errno(err, ENAMETOOLONG, "%s", real);
    if (status == KOLM_OK) status = check_upwards(copy, above, otherwise, err);
    if (status == KOLM_OK && out_real)
        *out_real = real;
    else
        free(real);
    return status;
}

kit_status host_trust_directory(const char *path, char **out_real, kolm_error_t *err) {
    return trust_directory(path, false, move_it, out_real, err);
}

static kit_status trust_file(const char *path, const char *otherwise, char **out_real, int *out_fd,
                             host_file_identity *out_identity, kolm_error_t *err) {
    char *real = NULL;
    struct stat st;
    KIT_TRY(resolve(path, &real, err));
    /* Non-blocking: do not wait on a pipe of that name. */
    int fd = open(real, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    kit_status status = fd >= 0 && fstat(fd, &st) == 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot open %s", real);
    if (status == KOLM_OK && !S_ISREG(st.st_mode))
        status = refuse(err, real, "is not a regular file", "replace", otherwise);
    if (status == KOLM_OK) status = trust_stat(&st, real, false, otherwise, err);
    if (status == KOLM_OK) status = check_parents(real, otherwise, err);
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

kit_status host_trust_file(const char *path, char **out_real, int *out_fd, host_file_identity *out_identity,
                           kolm_error_t *err) {
    return trust_file(path, move_it, out_real, out_fd, out_identity, err);
}

kit_status host_trust_own(const char *path, char **out_real, kolm_error_t *err) {
    return trust_file(path, "install kolm again", out_real, NULL, NULL, err);
}

kit_status host_trust_kept(const char *path, const char *otherwise, kolm_error_t *err) {
    return trust_file(path, otherwise, NULL, NULL, NULL, err);
}

/* Returns the parent directory of path; "/" for one in the root. */
static bool holder(char out[PATH_MAX], const char *path) {
    if (!kit_copy(out, PATH_MAX, path)) return false;
    char *slash = strrchr(out, '/');
    slash[slash == out] = '\0';
    return true;
}

kit_status host_trust_home(const char *path, const char *otherwise, char **out_real, kolm_error_t *err) {
    char above[PATH_MAX];
    struct stat st;
    bool there = lstat(path, &st) == 0;
    if (there && (S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode)))
        return trust_directory(path, false, otherwise, out_real, err);
    if (!there && errno != ENOENT && errno != ENOTDIR) return kit_fail_errno(err, errno, "cannot access %s", path);
    /* Others must not be able to create it before us, or to remove it afterwards. */
    if (!kit_copy(above, sizeof above, path)) return kit_fail_errno(err, ENAMETOOLONG, "%s", path);
    do {
        char below[PATH_MAX];
        kit_copy(below, sizeof below, above);
        if (!holder(above, below)) return kit_fail_errno(err, ENAMETOOLONG, "%s", path);
    } while ((lstat(above, &st) != 0 ? errno == ENOENT || errno == ENOTDIR : S_ISREG(st.st_mode)) && above[1] != '\0');
    return trust_directory(above, true, otherwise, NULL, err);
}

/* ---- Interpreters */

/* A user who can change a link, or its directory, chooses what runs. */
static kit_status trust_links(const char *path, const char *otherwise, kolm_error_t *err) {
    char at[PATH_MAX], above[PATH_MAX], target[PATH_MAX];
    if (!kit_copy(at, sizeof at, path)) return kit_fail_errno(err, ENAMETOOLONG, "%s", path);
    for (int links = 0; links < 40; links++) {
        if (!holder(above, at)) return kit_fail_errno(err, ENAMETOOLONG, "%s", at);
        KIT_TRY(trust_directory(above, false, otherwise, NULL, err));
        ssize_t length = readlink(at, target, sizeof target - 1);
        if (length < 0) return KOLM_OK; /* not a link: trust_file checks the rest */
        target[length] = '\0';
        bool fits =
            target[0] == '/' ? kit_copy(at, sizeof at, target) : kit_format(at, sizeof at, "%s/%s", above, target);
        if (!fits) return kit_fail_errno(err, ENAMETOOLONG, "%s", path);
    }
    return kit_fail_errno(err, ELOOP, "%s", path);
}

/* The packages of a virtual environment: lib/pythonX.Y/site-packages. */
static kit_status trust_packages(const char *environment, const char *otherwise, kolm_error_t *err) {
    char path[PATH_MAX];
    if (!kit_format(path, sizeof path, "%s/lib", environment))
        return kit_fail_errno(err, ENAMETOOLONG, "%s", environment);
    DIR *listing = opendir(path);
    if (listing == NULL) return errno == ENOENT ? KOLM_OK : kit_fail_errno(err, errno, "cannot list %s", path);
    kit_status status = KOLM_OK;
    const struct dirent *entry;
    while (status == KOLM_OK && (entry = readdir(listing)) != NULL) {
        if (strncmp(entry->d_name, "python", 6) != 0) continue;
        if (!kit_format(path, sizeof path, "%s/lib/%s/site-packages", environment, entry->d_name)) continue;
        status = trust_directory(path, false, otherwise, NULL, err);
        if (status == KOLM_E_NOT_FOUND) status = KOLM_OK;
    }
    closedir(listing);
    return status;
}

/* pyvenv.cfg names the Python whose library is used: "home = /usr/bin". */
static kit_status trust_base(const char *settings, const char *otherwise, kolm_error_t *err) {
    kit_buf text = {0};
    char home[PATH_MAX] = "";
    kit_status status = kit_read_file(settings, 65536, &text, err);
    for (char *line = status == KOLM_OK ? text.data : NULL, *next; line != NULL && *line != '\0'; line = next) {
        next = line + strcspn(line, "\n");
        if (*next != '\0') *next++ = '\0';
        char *value = line + strspn(line, " \t");
        if (strncmp(value, "home", 4) != 0) continue;
        value += 4 + strspn(value + 4, " \t");
        if (*value != '=') continue;
        value += 1 + strspn(value + 1, " \t");
        value[strcspn(value, "\r")] = '\0';
        if (value[0] == '/') kit_copy(home, sizeof home, value);
    }
    kit_buf_free(&text);
    if (status == KOLM_OK && home[0] != '\0') status = trust_directory(home, false, otherwise, NULL, err);
    return status == KOLM_E_NOT_FOUND ? KOLM_OK : status;
}

kit_status host_trust_python(const char *path, const char *otherwise, kolm_error_t *err) {
    char environment[PATH_MAX], settings[PATH_MAX], *slash;
    struct stat st;
    if (path[0] != '/' || !kit_copy(environment, sizeof environment, path))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give an absolute path", "%s is not an absolute path", path);
    /* A missing one is reported by the caller that needs it. */
    if (stat(path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR ? KOLM_OK : kit_fail_errno(err, errno, "cannot access %s", path);
    KIT_TRY(trust_links(path, otherwise, err));
    KIT_TRY(trust_file(path, otherwise, NULL, NULL, NULL, err));
    for (int up = 0; up < 2 && (slash = strrchr(environment, '/')) != NULL && slash != environment; up++) {
        *slash = '\0'; /* beside the interpreter, or one above: as Python looks for it */
        if (!kit_format(settings, sizeof settings, "%s/pyvenv.cfg", environment))
            return kit_fail_errno(err, ENAMETOOLONG, "%s", path);
        if (lstat(settings, &st) != 0) {
            if (errno == ENOENT || errno == ENOTDIR) continue;
            return kit_fail_errno(err, errno, "cannot access %s", settings);
        }
        KIT_TRY(trust_file(settings, otherwise, NULL, NULL, NULL, err));
        KIT_TRY(trust_base(settings, otherwise, err));
        return trust_packages(environment, otherwise, err);
    }
    return KOLM_OK;
}
