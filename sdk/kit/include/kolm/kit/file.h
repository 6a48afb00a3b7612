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
/* True for a name from an archive or a manifest that stays inside its directory: relative, no empty, "." or ".."
 * component, no backslash, no control character, at most 255 bytes. */
bool kit_path_is_safe(const char *relative);
/* mkdir -p with this mode for what is created. */
kit_status kit_mkdirs(const char *path, unsigned mode, kolm_error_t *err) KIT_MUST_USE;
/* Removes a tree without following symbolic links; a missing path is success. */
kit_status kit_remove_tree(const char *path, kolm_error_t *err) KIT_MUST_USE;

/* The next name in a directory, "." and ".." left out; *out_name is NULL at the end, and a listing that breaks off is an error
 * that names shown. The name is good until the next call. */
kit_status kit_directory_next(DIR *listing, const char *shown, const char **out_name, kolm_error_t *err) KIT_MUST_USE;

/* Whether something is there under this name, links followed. An error when that cannot be told: it is no word that nothing is. */
kit_status kit_path_exists(const char *path, bool *out_exists, kolm_error_t *err) KIT_MUST_USE;

/* Reads a regular file of at most max_bytes (OUT_OF_RANGE when larger). */
kit_status kit_read_file(const char *path, size_t max_bytes, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* Reads or writes exactly length bytes, through EINTR. DATA_LOSS on an early end. */
kit_status kit_read_exact(int fd, void *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;
kit_status kit_write_all(int fd, const void *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;

/* A file being written under a temporary name in the directory of path; nothing named path exists, or changes, until
 * commit. Death of the process leaves at most a dot-file that the next writer of path removes; it knows it by the lock
 * (flock on fd) that a living writer holds. Any number of threads and processes may write the same path: the last
 * commit wins. Do not duplicate fd into a child. A path that is a device, a pipe or a socket is refused with INVALID_ARGUMENT. */
typedef struct kit_atomic_file {
    int fd; /* -1 when closed */
    char *path;
    char *temporary;
} kit_atomic_file;
kit_status kit_atomic_open(const char *path, unsigned mode, kit_atomic_file *out, kolm_error_t *err) KIT_MUST_USE;
/* fsync, close, rename, fsync of the directory. With replace false it fails with ALREADY_EXISTS when path exists
 * (checked by the kernel: link, not stat). On failure the temporary file is gone. */
kit_status kit_atomic_commit(kit_atomic_file *file, bool replace, kolm_error_t *err) KIT_MUST_USE;
void kit_atomic_abort(kit_atomic_file *file); /* fine after commit */
/* Open, write all, commit. */
kit_status kit_write_file(const char *path, unsigned mode, const void *bytes, size_t length,
                          kolm_error_t *err) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
