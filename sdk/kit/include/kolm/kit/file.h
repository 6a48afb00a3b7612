/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are either whole or absent: atomic writing, bounded reading, safe removal, digests. */
#ifndef KOLM_KIT_FILE_H
#define KOLM_KIT_FILE_H

#include "kolm/kit/buf.h"
#include <dirent.h>
#include <stdio.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KIT_SHA256_BYTES 32
#define KIT_SHA256_HEX 65 /* 64 digits and the NUL */

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
kit_status kit_write_file(const char *path, unsigned mode, const void *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;

/* SHA-256 by nettle, which uses the processor's SHA instructions. Only _new and reading a file can fail. */
typedef struct kit_sha256 kit_sha256;
kit_status kit_sha256_new(kit_sha256 **out, kolm_error_t *err) KIT_MUST_USE;
kit_status kit_sha256_update(kit_sha256 *state, const void *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;
kit_status kit_sha256_final(kit_sha256 *state, uint8_t out[KIT_SHA256_BYTES], kolm_error_t *err) KIT_MUST_USE; /* and starts anew */
void kit_sha256_free(kit_sha256 *state);
kit_status kit_sha256_bytes(const void *bytes, size_t length, char out_hex[KIT_SHA256_HEX], kolm_error_t *err) KIT_MUST_USE;
/* Of a regular file; anything else is INVALID_ARGUMENT. */
kit_status kit_sha256_file(const char *path, char out_hex[KIT_SHA256_HEX], uint64_t *out_size, kolm_error_t *err) KIT_MUST_USE;

/* ---- Marks: what tells a file from another one, and from itself after a change. Unlike the times that a program may set,
 * changed_ns is the kernel's: every write, truncation, rename or removal moves it on. Any thread. */
typedef struct kit_file_mark {
    uint64_t device, inode, size;
    int64_t modified_ns, changed_ns;
} kit_file_mark;
struct stat;
void kit_file_mark_of(const struct stat *from, kit_file_mark *out);
kit_status kit_file_mark_fd(int fd, kit_file_mark *out, kolm_error_t *err) KIT_MUST_USE;
kit_status kit_file_mark_path(const char *path, kit_file_mark *out, kolm_error_t *err) KIT_MUST_USE; /* follows links */
bool kit_file_mark_same(const kit_file_mark *a, const kit_file_mark *b);
/* "DEVICE INODE SIZE MODIFIED CHANGED": the same text for the same mark. */
void kit_file_mark_put(const kit_file_mark *mark, kit_buf *out);
/* The kernel's clock for files ticks every few milliseconds, and a second change within a tick leaves no trace. Waits until
 * the tick of this mark is over: what is read after that cannot be changed unseen. At most some milliseconds, and only
 * for a file that was changed just now. */
void kit_file_mark_settle(const kit_file_mark *mark);
/* Whether some program has the file open for writing, or mapped for it, which the descriptor (for reading) says nothing of: such a
 * file can change and keep its mark, since a page that was written to once can be written to again. False as well where that
 * cannot be known: the file is another user's, or lies in a file system without leases. */
bool kit_file_is_written(int fd);

/* ---- Owners. In a user namespace (a rootless container, `unshare -Ur`) the files of all users that it does not map, the
 * real root among them, show the same owner: the kernel does not tell them apart. Any thread. */
typedef enum kit_owner {
    KIT_OWNER_SELF, /* the user of this process, root too when it is root */
    KIT_OWNER_ROOT,
    KIT_OWNER_OTHER,
    KIT_OWNER_UNMAPPED, /* somebody outside of this namespace; also for the process itself when it is not mapped */
} kit_owner;
kit_owner kit_owner_of(uid_t uid);

#ifdef __cplusplus
}
#endif
#endif
