/* SPDX-License-Identifier: Apache-2.0 */
/* Marks of files: what tells one from another, and from itself after a change. */
#ifndef KOLM_KIT_MARK_H
#define KOLM_KIT_MARK_H

#include "kolm/kit/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Unlike the times that a program may set,
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

#ifdef __cplusplus
}
#endif
#endif
