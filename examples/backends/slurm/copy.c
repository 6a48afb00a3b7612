/* SPDX-License-Identifier: Apache-2.0 */
/* Copies files and directories. */
#include "copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (1u << 16)

static kit_status copy_bytes(int from, int to, const char *path, uint64_t *out_lines, kolm_error_t *err) {
    char *chunk = malloc(CHUNK);
    if (!chunk) return kit_no_memory(err);
    kit_status status = KOLM_OK;
    for (;;) {
        ssize_t n = read(from, chunk, CHUNK);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = kit_fail_errno(err, errno, "cannot read %s", path);
        if (n <= 0) break;
        for (ssize_t i = 0; out_lines && i < n; i++)
            *out_lines += chunk[i] == '\n';
        status = kit_write_all(to, chunk, (size_t)n, err);
        if (status != KOLM_OK) break;
    }
    free(chunk);
    return status;
}

kit_status copy_file(const char *from, const char *to, int flags, uint64_t *out_lines, kolm_error_t *err) {
    int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
    if (in < 0) return kit_fail_errno(err, errno, "cannot open %s", from);
    kit_status status = KOLM_OK;
    if ((out = open(to, O_WRONLY | O_CLOEXEC | flags, 0600)) < 0)
        status = kit_fail_errno(err, errno, "cannot write %s", to);
    if (status == KOLM_OK) status = copy_bytes(in, out, from, out_lines, err);
    if (out >= 0 && close(out) != 0 && status == KOLM_OK) status = kit_fail_errno(err, errno, "cannot write %s", to);
    close(in);
    return status;
}

kit_status copy_tree(const char *from, const char *to, int depth, kolm_error_t *err) {
    if (mkdir(to, 0700) != 0 && errno != EEXIST) return kit_fail_errno(err, errno, "cannot make %s", to);
    DIR *dir = opendir(from);
    kit_status status = dir ? KOLM_OK : kit_fail_errno(err, errno, "cannot read %s", from);
    for (const struct dirent *entry; status == KOLM_OK && (entry = readdir(dir)) != NULL;) {
        struct stat info;
        char *source = NULL, *target = NULL;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        status = kit_path_join(from, entry->d_name, &source, err);
        if (status == KOLM_OK) status = kit_path_join(to, entry->d_name, &target, err);
        if (status == KOLM_OK && lstat(source, &info) != 0)
            status = kit_fail_errno(err, errno, "cannot access %s", source);
        if (status == KOLM_OK && S_ISREG(info.st_mode))
            status = copy_file(source, target, O_CREAT | O_EXCL | O_NOFOLLOW, NULL, err);
        else if (status == KOLM_OK && S_ISDIR(info.st_mode) && depth > 0)
            status = copy_tree(source, target, depth - 1, err);
        else if (status == KOLM_OK)
            status = kit_fail(err, KOLM_E_DATA_LOSS, "check what the trainer wrote",
                              "%s is neither a file nor a directory", source);
        free(source);
        free(target);
    }
    if (dir) closedir(dir);
    return status;
}

kit_status copy_named(const char *from, const char *to, const char *name, kolm_error_t *err) {
    char *source = NULL, *target = NULL;
    kit_status status = kit_path_join(from, name, &source, err);
    if (status == KOLM_OK) status = kit_path_join(to, name, &target, err);
    if (status == KOLM_OK && access(source, F_OK) == 0)
        status = copy_file(source, target, O_CREAT | O_TRUNC | O_NOFOLLOW, NULL, err);
    free(source);
    free(target);
    return status;
}
