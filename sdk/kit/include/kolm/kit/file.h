/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are either whole or absent: atomic writing, bounded reading, safe removal. */
#ifndef KOLM_KIT_FILE_H
#define KOLM_KIT_FILE_H

#include "kolm/kit/buf.h"
#include <dirent.h>
#include <stdio.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Joins with one slash; the caller frees *out. */
kit_status kit_path_join(const char *directory, const char *name, char **out, kolm_error_t *err) KIT_MUST_USE;
/* True if a name from an archive or a manifest stays inside its directory: relative, no empty, "." or ".." component,
 * no backslash, no control character, at most 255 bytes. */
bool kit_path_is_safe(const char *relative);
/* mkdir -p; directories that it creates get this mode. */
kit_status kit_mkdirs(const char *path, unsigned mode, kolm_error_t *err) KIT_MUST_USE;
/* Removes a tree without following symbolic links; a missing path is success. */
kit_status kit_remove_tree(const char *path, kolm_error_t *err) KIT_MUST_USE;

/* Reads the next name in a directory, except "." and ".."; *out_name is NULL at the end. If the listing fails, the
 * error names shown. The name is valid until the next call. */
kit_status kit_directory_next(DIR *listing, const char *shown, const char **out_name, kolm_error_t *err) KIT_MUST_USE;

/* Checks whether path exists, following links. An error means that this could not be determined, not that path does
 * not exist. */
kit_status kit_path_exists(const char *path, bool *out_exists, kolm_error_t *err) KIT_MUST_USE;

/* Reads a regular file of at most max_bytes (OUT_OF_RANGE if larger). */
kit_status kit_read_file(const char *path, size_t max_bytes, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* Reads or writes exactly length bytes, retrying after EINTR. DATA_LOSS if the file ends early. */
kit_status kit_read_exact(int fd, void *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;
kit_status kit_write_all(int fd, const void *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;

/* A file being written under a temporary name in the directory of path; path itself does not appear or change until
 * commit. A process that dies leaves at most a dot-file, which the next writer of path removes; a live writer holds a
 * lock (flock on fd) on its own. Any number of threads and processes may write the same path: the last commit wins. Do
 * not pass fd to a child. INVALID_ARGUMENT if path is a device, a pipe or a socket. */
typedef struct kit_atomic_file {
    int fd; /* -1 when closed */
    char *path;
    char *temporary;
} kit_atomic_file;
kit_status kit_atomic_open(const char *path, unsigned mode, kit_atomic_file *out, kolm_error_t *err) KIT_MUST_USE;
/* fsync, close, rename, fsync of the directory. If replace is false, fails with ALREADY_EXISTS if path exists (checked
 * by the kernel: link, not stat). On failure the temporary file is gone. */
kit_status kit_atomic_commit(kit_atomic_file *file, bool replace, kolm_error_t *err) KIT_MUST_USE;
void kit_atomic_abort(kit_atomic_file *file); /* no-op after commit */
/* Open, write all, commit. */
kit_status kit_write_file(const char *path, unsigned mode, const void *bytes, size_t length,
                          kolm_error_t *err) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
