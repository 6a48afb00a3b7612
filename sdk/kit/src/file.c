/* SPDX-License-Identifier: Apache-2.0 */
/* Paths, bounded reading, atomic writing and safe removal. */
#include "kolm/kit/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
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
            if (n == 0 || (n == 1 && component[0] == '.') || (n == 2 && component[0] == '.' && component[1] == '.')) return false;
            component = p + 1;
            if (c == '\0') return true;
        } else if (c < 0x20 || c == 0x7F || c == '\\') {
            return false;
        }
    }
}

kit_status kit_mkdirs(const char *path, unsigned mode, kolm_error_t *err) {
    char *copy = NULL;
    KIT_TRY(kit_strdup(path, &copy, err));
    kit_status status = KOLM_OK;
    for (char *p = copy + 1; status == KOLM_OK; p++) {
        if (*p != '/' && *p != '\0') continue;
        char kept = *p;
        *p = '\0';
        struct stat info;
        if (mkdir(copy, (mode_t)mode) != 0 && (errno != EEXIST || stat(copy, &info) != 0 || !S_ISDIR(info.st_mode)))
            status = errno == EEXIST ? kit_fail_errno(err, ENOTDIR, "cannot create the directory %s", path)
                                     : kit_fail_errno(err, errno, "cannot create the directory %s", copy);
        *p = kept;
        if (kept == '\0') break;
    }
    free(copy);
    return status;
}

/* Empties the directory open at fd (which it closes). Symbolic links are removed, never followed. */
static kit_status empty_directory(int fd, const char *shown, int depth, kolm_error_t *err) {
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        int saved = errno;
        close(fd);
        return kit_fail_errno(err, saved, "cannot list %s", shown);
    }
    kit_status status = KOLM_OK;
    for (struct dirent *entry = readdir(directory); entry != NULL && status == KOLM_OK; entry = readdir(directory)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (unlinkat(fd, entry->d_name, 0) == 0 || errno == ENOENT) continue;
        int inner = depth > 0 ? openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
        if (inner < 0) {
            status = kit_fail_errno(err, errno, "cannot remove %s in %s", entry->d_name, shown);
            break;
        }
        status = empty_directory(inner, shown, depth - 1, err);
        if (status == KOLM_OK && unlinkat(fd, entry->d_name, AT_REMOVEDIR) != 0 && errno != ENOENT)
            status = kit_fail_errno(err, errno, "cannot remove %s in %s", entry->d_name, shown);
    }
    closedir(directory);
    return status;
}

kit_status kit_remove_tree(const char *path, kolm_error_t *err) {
    if (unlink(path) == 0 || errno == ENOENT) return KOLM_OK;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot remove %s", path);
    KIT_TRY(empty_directory(fd, path, 256, err));
    if (rmdir(path) != 0 && errno != ENOENT) return kit_fail_errno(err, errno, "cannot remove %s", path);
    return KOLM_OK;
}

kit_status kit_read_file(const char *path, size_t max_bytes, kit_buf *out, kolm_error_t *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    kit_status status = KOLM_OK;
    struct stat info;
    size_t total = 0;
    if (fstat(fd, &info) != 0) status = kit_fail_errno(err, errno, "cannot look at %s", path);
    else if (S_ISDIR(info.st_mode)) status = kit_fail_errno(err, EISDIR, "cannot read %s", path);
    else if (!S_ISREG(info.st_mode)) status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name a regular file", "%s is not a regular file", path);
    while (status == KOLM_OK) {
        char chunk[16384];
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = kit_fail_errno(err, errno, "cannot read %s", path);
        if (got <= 0) break;
        total += (size_t)got;
        if (total > max_bytes) status = kit_fail(err, KOLM_E_OUT_OF_RANGE, "", "%s is larger than %zu bytes", path, max_bytes);
        else kit_buf_add(out, chunk, (size_t)got);
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

/* "DIR/" and "NAME" of path; the directory is "." when there is none. */
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

/* Removes ".NAME.kolm-PID" files whose process is gone: what a killed writer of the same path left. */
static void remove_leftovers(const char *directory, const char *name) {
    DIR *listing = opendir(directory);
    if (listing == NULL) return;
    size_t length = strlen(name);
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        const char *p = entry->d_name;
        uint64_t pid = 0;
        if (p[0] != '.' || strncmp(p + 1, name, length) != 0 || strncmp(p + 1 + length, ".kolm-", 6) != 0) continue;
        if (!kit_parse_u64(p + 1 + length + 6, &pid) || pid == 0 || pid > INT32_MAX) continue;
        if (kill((pid_t)pid, 0) != 0 && errno == ESRCH) unlinkat(dirfd(listing), p, 0);
    }
    closedir(listing);
}

kit_status kit_atomic_open(const char *path, unsigned mode, kit_atomic_file *out, kolm_error_t *err) {
    *out = (kit_atomic_file){.fd = -1};
    char *directory = NULL;
    const char *name = NULL;
    kit_buf temporary = {0};
    KIT_TRY(split(path, &directory, &name, err));
    remove_leftovers(directory, name);
    kit_buf_fmt(&temporary, "%s/.%s.kolm-%ld", directory, name, (long)getpid());
    kit_status status = kit_buf_ok(&temporary, err);
    if (status == KOLM_OK) status = kit_strdup(path, &out->path, err);
    if (status == KOLM_OK) {
        out->temporary = kit_buf_take(&temporary);
        unlink(out->temporary); /* a namesake of this process, dead long ago */
        out->fd = open(out->temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode_t)mode);
        if (out->fd < 0) status = kit_fail_errno(err, errno, "cannot write in %s", directory);
    }
    if (status != KOLM_OK) {
        free(out->temporary);
        free(out->path);
        *out = (kit_atomic_file){.fd = -1};
    }
    kit_buf_free(&temporary);
    free(directory);
    return status;
}

void kit_atomic_abort(kit_atomic_file *file) {
    if (file == NULL) return;
    if (file->fd >= 0) close(file->fd);
    if (file->temporary != NULL) unlink(file->temporary);
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
    /* Some file systems refuse fsync on a directory with EINVAL: there is nothing more to be done there. */
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL)) status = kit_fail_errno(err, errno, "cannot make %s durable", directory);
    if (fd >= 0) close(fd);
    free(directory);
    return status;
}

kit_status kit_atomic_commit(kit_atomic_file *file, bool replace, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    int fd = file->fd;
    file->fd = -1;
    if (fsync(fd) != 0) status = kit_fail_errno(err, errno, "cannot write %s", file->path);
    if (close(fd) != 0 && status == KOLM_OK) status = kit_fail_errno(err, errno, "cannot write %s", file->path);
    if (status == KOLM_OK && replace && rename(file->temporary, file->path) != 0) status = kit_fail_errno(err, errno, "cannot put %s in place", file->path);
    if (status == KOLM_OK && !replace && link(file->temporary, file->path) != 0) {
        /* A file system without hard links (FAT, some FUSE) can still refuse to overwrite. */
        if (errno != EPERM && errno != EOPNOTSUPP) status = kit_fail_errno(err, errno, "cannot put %s in place", file->path);
        else if (renameat2(AT_FDCWD, file->temporary, AT_FDCWD, file->path, RENAME_NOREPLACE) != 0) status = kit_fail_errno(err, errno, "cannot put %s in place", file->path);
    }
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
