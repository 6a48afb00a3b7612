/* SPDX-License-Identifier: Apache-2.0 */
/* Paths, bounded reading, atomic writing and safe removal. */
#include "kolm/kit/file.h"
#include "kolm/kit/lock.h"
#include "kolm/kit/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

kit_status kit_path_join(const char *directory, const char *name, char **out, kolm_error_t *err) {
    kit_buf path = {0};
    size_t length = strlen(directory);
    kit_buf_str(&path, directory);
    if (length > 0 && directory[length - 1] != '/') kit_buf_char(&path, '/');
    kit_buf_str(&path, name);
    kit_status status = kit_buf_ok(&path, err);
    *out = kit_buf_take(&path);
    return status;
}

bool kit_path_is_safe(const char *relative) {
    size_t length = strlen(relative);
    if (length == 0 || length > 255 || kit_utf8_valid(relative, length) != length) return false;
    const char *component = relative;
    for (const char *p = relative;; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '/' || c == '\0') {
            size_t n = (size_t)(p - component);
            if (n == 0 || (n == 1 && component[0] == '.') || (n == 2 && component[0] == '.' && component[1] == '.'))
                return false;
            component = p + 1;
            if (c == '\0') return true;
        } else if (c < 0x20 || c == 0x7F || c == '\\' || (c == 0xC2 && (unsigned char)p[1] < 0xA0)) {
            return false; /* C2 80 to C2 9F are the C1 controls */
        }
    }
}

kit_status kit_mkdirs(const char *path, unsigned mode, kolm_error_t *err) {
    if (*path == '\0') return kit_fail_errno(err, ENOENT, "cannot create a directory without a name");
    char *copy = NULL;
    KIT_TRY(kit_strdup(path, &copy, err));
    kit_status status = KOLM_OK;
    for (char *p = copy + 1; status == KOLM_OK; p++) {
        if (*p != '/' && *p != '\0') continue;
        char kept = *p;
        *p = '\0';
        struct stat info;
        if (mkdir(copy, (mode_t)mode) != 0) {
            /* Some file systems return EROFS or EACCES for an existing directory: check with stat. */
            int saved = errno;
            if (stat(copy, &info) != 0)
                status = kit_fail_errno(err, saved, "cannot create the directory %s", copy);
            else if (!S_ISDIR(info.st_mode))
                status = kit_fail_errno(err, ENOTDIR, "cannot create the directory %s, because %s is in its way", path,
                                        copy);
        }
        *p = kept;
        if (kept == '\0') break;
    }
    free(copy);
    return status;
}

kit_status kit_directory_next(DIR *listing, const char *shown, const char **out_name, kolm_error_t *err) {
    const struct dirent *entry;
    do {
        errno = 0;
        entry = readdir(listing);
    } while (entry != NULL && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
    *out_name = entry != NULL ? entry->d_name : NULL;
    return entry != NULL || errno == 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot list %s", shown);
}

/* Opens a directory to empty it, restoring the owner's permissions if necessary. */
static int open_to_empty(int fd, const char *name) {
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    struct stat info;
    int inner = openat(fd, name, flags);
#ifdef O_PATH
    int place = inner < 0 && errno == EACCES ? openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (place >= 0) {
        char path[40];
        kit_format(path, sizeof path, "/proc/self/fd/%d", place); /* fchmod rejects an O_PATH descriptor */
        inner = chmod(path, 0700) == 0 ? openat(fd, name, flags) : -1;
        int why = errno;
        close(place);
        errno = why;
    }
#endif
    if (inner >= 0 && fstat(inner, &info) == 0 && (info.st_mode & 0700) != 0700) (void)!fchmod(inner, 0700);
    return inner;
}

#define REMOVE_DEPTH 256 /* nested directories, each with an open descriptor; anything deeper is moved up first */
#define REMOVE_NAMES 1000

typedef struct removal {
    const char *shown;
    int top; /* the directory to remove */
    bool moved;
} removal;

static bool move_up(removal *r, int fd, const char *name) {
    char up[32];
    int inner = open_to_empty(fd, name); /* moving a directory writes its ".." */
    if (inner >= 0) close(inner);
    for (unsigned i = 0; i < REMOVE_NAMES; i++) {
        kit_format(up, sizeof up, ".kolm-deep-%u", i);
        if (renameat(fd, name, r->top, up) == 0) return r->moved = true;
        if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR) break;
    }
    return false;
}

/* Empties the directory open at fd (which it closes). Symbolic links are removed, never followed. */
static kit_status empty_directory(removal *r, int fd, int depth, kolm_error_t *err) {
    const char *shown = r->shown;
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        int saved = errno;
        close(fd);
        return kit_fail_errno(err, saved, "cannot list %s", shown);
    }
    kit_status status = KOLM_OK;
    for (struct dirent *entry = readdir(directory); entry != NULL && status == KOLM_OK; entry = readdir(directory)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        /* Works for any type; an empty directory need not be opened. */
        const int likely = entry->d_type == DT_DIR ? AT_REMOVEDIR : 0;
        if (unlinkat(fd, entry->d_name, likely) == 0 || errno == ENOENT) continue;
        if (likely != 0 && errno == ENOTDIR && unlinkat(fd, entry->d_name, 0) == 0) continue;
        if (depth == 0 && move_up(r, fd, entry->d_name)) continue;
        if (depth == 0) {
            status = kit_fail(err, KOLM_E_OUT_OF_RANGE, "remove it by hand",
                              "cannot remove %s: its directories are nested too deep", shown);
            break;
        }
        int inner = open_to_empty(fd, entry->d_name);
        if (inner < 0) {
            status = kit_fail_errno(err, errno, "cannot remove %s in %s", entry->d_name, shown);
            break;
        }
        status = empty_directory(r, inner, depth - 1, err);
        if (status == KOLM_OK && unlinkat(fd, entry->d_name, AT_REMOVEDIR) != 0 && errno != ENOENT)
            status = kit_fail_errno(err, errno, "cannot remove %s in %s", entry->d_name, shown);
    }
    closedir(directory);
    return status;
}

static kit_status remove_named(const char *path, kolm_error_t *err) {
    removal r = {.shown = path, .moved = true};
    if (unlink(path) == 0 || errno == ENOENT) return KOLM_OK;
    while (r.moved) {
        int fd = open_to_empty(AT_FDCWD, path);
        if (fd < 0) return kit_fail_errno(err, errno, "cannot remove %s", path);
        r.top = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        r.moved = false;
        kit_status status = empty_directory(&r, fd, REMOVE_DEPTH, err);
        if (r.top >= 0) close(r.top);
        if (status != KOLM_OK) return status;
    }
    if (rmdir(path) != 0 && errno != ENOENT) return kit_fail_errno(err, errno, "cannot remove %s", path);
    return KOLM_OK;
}

kit_status kit_remove_tree(const char *path, kolm_error_t *err) {
    /* "link/" would make the kernel follow the link, so strip trailing slashes. */
    char *bare = NULL;
    KIT_TRY(kit_strdup(path, &bare, err));
    for (size_t n = strlen(bare); n > 1 && bare[n - 1] == '/'; n--)
        bare[n - 1] = '\0';
    kit_status status = remove_named(bare, err);
    free(bare);
    return status;
}

kit_status kit_path_exists(const char *path, bool *out_exists, kolm_error_t *err) {
    *out_exists = access(path, F_OK) == 0;
    if (*out_exists || errno == ENOENT || errno == ENOTDIR) return KOLM_OK;
    return kit_fail_errno(err, errno, "cannot access %s", path);
}

kit_status kit_read_file(const char *path, size_t max_bytes, kit_buf *out, kolm_error_t *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    kit_status status = KOLM_OK;
    struct stat info;
    size_t total = 0;
    if (fstat(fd, &info) != 0)
        status = kit_fail_errno(err, errno, "cannot access %s", path);
    else if (S_ISDIR(info.st_mode))
        status = kit_fail_errno(err, EISDIR, "cannot read %s", path);
    else if (!S_ISREG(info.st_mode))
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name a regular file", "%s is not a regular file", path);
    while (status == KOLM_OK) {
        char chunk[16384];
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = kit_fail_errno(err, errno, "cannot read %s", path);
        if (got <= 0) break;
        total += (size_t)got;
        if (total > max_bytes)
            status = kit_fail(err, KOLM_E_OUT_OF_RANGE, "", "%s is larger than %zu bytes", path, max_bytes);
        else
            kit_buf_add(out, chunk, (size_t)got);
    }
    close(fd);
    return status == KOLM_OK ? kit_buf_ok(out, err) : status;
}

kit_status kit_read_exact(int fd, void *bytes, size_t length, kolm_error_t *err) {
    char *p = bytes;
    while (length > 0) {
        ssize_t got = read(fd, p, length);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return kit_fail_errno(err, errno, "reading failed");
        if (got == 0) return kit_fail(err, KOLM_E_DATA_LOSS, "", "the data ended %zu bytes early", length);
        p += got;
        length -= (size_t)got;
    }
    return KOLM_OK;
}

kit_status kit_write_all(int fd, const void *bytes, size_t length, kolm_error_t *err) {
    const char *p = bytes;
    while (length > 0) {
        ssize_t put = write(fd, p, length);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return kit_fail_errno(err, errno, "writing failed");
        p += put;
        length -= (size_t)put;
    }
    return KOLM_OK;
}

/* Splits path into directory and name; the directory is "." if there is none. */
static kit_status split(const char *path, char **out_directory, const char **out_name, kolm_error_t *err) {
    const char *slash = strrchr(path, '/');
    *out_name = slash == NULL ? path : slash + 1;
    if (slash == NULL) return kit_strdup(".", out_directory, err);
    kit_buf directory = {0};
    kit_buf_add(&directory, path, slash == path ? 1 : (size_t)(slash - path));
    kit_status status = kit_buf_ok(&directory, err);
    *out_directory = kit_buf_take(&directory);
    return status;
}

/* A temporary file is ".NAME.kolm-" and 16 hexadecimal digits; NAME is truncated so that the result fits any file
 * system. */
#define NAME_KEPT 200
#define MARK ".kolm-"
#define RANDOM_DIGITS 16

/* Removes the temporary files of name whose writer is dead. A live writer holds a lock on its file, which works across
 * processes and pid namespaces, where process ids would be meaningless. */
static void remove_leftovers(const char *directory, const char *prefix) {
    DIR *listing = opendir(directory);
    if (listing == NULL) return;
    size_t length = strlen(prefix);
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        const char *name = entry->d_name;
        if (strncmp(name, prefix, length) != 0 || strlen(name) != length + RANDOM_DIGITS) continue;
        if (strspn(name + length, "0123456789abcdef") != RANDOM_DIGITS) continue;
        int fd = openat(dirfd(listing), name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) continue;
        if (kit_lock_try(fd, name, NULL) == KOLM_OK) unlinkat(dirfd(listing), name, 0);
        close(fd);
    }
    closedir(listing);
}

/* True if fd is locked and still has its name: another writer may have removed it as a leftover before the lock. */
static bool is_ours(int fd) {
    return kit_lock_try(fd, "", NULL) != KOLM_E_UNAVAILABLE && kit_lock_is_linked(fd);
}

/* Creates DIRECTORY/PREFIX<random>, locked. */
static kit_status create_temporary(const char *directory, const char *prefix, unsigned mode, kit_atomic_file *out,
                                   kolm_error_t *err) {
    for (int attempt = 0; attempt < 100; attempt++) {
        uint8_t random[RANDOM_DIGITS / 2];
        char digits[RANDOM_DIGITS + 1];
        if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
            return kit_fail_errno(err, errno, "cannot get random bytes");
        kit_hex(random, sizeof random, digits);
        kit_buf path = {0};
        kit_buf_fmt(&path, "%s/%s%s", directory, prefix, digits);
        KIT_TRY(kit_buf_ok(&path, err));
        out->temporary = kit_buf_take(&path);
        out->fd = open(out->temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode_t)mode);
        if (out->fd >= 0 && is_ours(out->fd)) return KOLM_OK;
        int saved = out->fd >= 0 ? EEXIST : errno;
        if (out->fd >= 0) {
            unlink(out->temporary);
            close(out->fd);
        }
        out->fd = -1;
        free(out->temporary);
        out->temporary = NULL;
        if (saved != EEXIST) return kit_fail_errno(err, saved, "cannot write in %s", directory);
    }
    return kit_fail_errno(err, EEXIST, "cannot make a temporary file in %s", directory);
}

/* Renaming a file over /dev/null would break the whole machine. */
static kit_status refuse_device(const char *path, kolm_error_t *err) {
    struct stat info;
    if (stat(path, &info) != 0 || S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name a file to create or replace",
                    "%s is a device, a pipe or a socket, and is not replaced", path);
}

kit_status kit_atomic_open(const char *path, unsigned mode, kit_atomic_file *out, kolm_error_t *err) {
    *out = (kit_atomic_file){.fd = -1};
    char *directory = NULL;
    const char *name = NULL;
    char kept[NAME_KEPT + 1], prefix[NAME_KEPT + 16];
    KIT_TRY(split(path, &directory, &name, err));
    kit_status status =
        *name != '\0' ? KOLM_OK
                      : kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name a file", "\"%s\" is not the name of a file", path);
    if (status == KOLM_OK) status = refuse_device(path, err);
    if (status == KOLM_OK) {
        kit_copy(kept, sizeof kept, name);
        kit_format(prefix, sizeof prefix, ".%s" MARK, kept);
        remove_leftovers(directory, prefix);
        status = kit_strdup(path, &out->path, err);
    }
    if (status == KOLM_OK) status = create_temporary(directory, prefix, mode, out, err);
    if (status != KOLM_OK) kit_atomic_abort(out);
    free(directory);
    return status;
}

void kit_atomic_abort(kit_atomic_file *file) {
    if (file == NULL) return;
    /* In this order: closing unlocks the file, and another writer may then remove it. */
    if (file->temporary != NULL) unlink(file->temporary);
    if (file->fd >= 0) close(file->fd);
    free(file->temporary);
    free(file->path);
    *file = (kit_atomic_file){.fd = -1};
}

static kit_status sync_directory(const char *path, kolm_error_t *err) {
    char *directory = NULL;
    const char *name = NULL;
    KIT_TRY(split(path, &directory, &name, err));
    kit_status status = KOLM_OK;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Some file systems fail fsync on a directory with EINVAL: nothing more can be done there. */
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
        status = kit_fail_errno(err, errno, "cannot make %s durable", directory);
    if (fd >= 0) close(fd);
    free(directory);
    return status;
}

/* Gives the temporary file its final name; EEXIST if that exists already. */
static int place_new(const kit_atomic_file *file) {
    if (link(file->temporary, file->path) == 0) return 0;
    /* A file system without hard links (FAT, some FUSE) can still refuse to overwrite. */
    if (errno != EPERM && errno != EOPNOTSUPP) return -1;
    return renameat2(AT_FDCWD, file->temporary, AT_FDCWD, file->path, RENAME_NOREPLACE);
}

kit_status kit_atomic_commit(kit_atomic_file *file, bool replace, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    if (fsync(file->fd) != 0) status = kit_fail_errno(err, errno, "cannot write %s", file->path);
    if (status == KOLM_OK && (replace ? rename(file->temporary, file->path) : place_new(file)) != 0)
        status = kit_fail_errno(err, errno, "cannot put %s in place", file->path);
    if (status == KOLM_OK) status = sync_directory(file->path, err);
    kit_atomic_abort(file);
    return status;
}

kit_status kit_write_file(const char *path, unsigned mode, const void *bytes, size_t length, kolm_error_t *err) {
    kit_atomic_file file;
    KIT_TRY(kit_atomic_open(path, mode, &file, err));
    kit_status status = kit_write_all(file.fd, bytes, length, err);
    if (status != KOLM_OK) {
        kit_fail_context(err, "%s", path);
        kit_atomic_abort(&file);
        return status;
    }
    return kit_atomic_commit(&file, true, err);
}
