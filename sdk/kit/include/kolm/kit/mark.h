/* SPDX-License-Identifier: Apache-2.0 */
/* The identity of a file: distinguishes it from other files, and from itself before a change. */
#ifndef KOLM_KIT_MARK_H
#define KOLM_KIT_MARK_H

#include "kolm/kit/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* changed_ns is the ctime, which programs cannot set: every write, truncation, rename or removal advances it. Any
 * thread. */
typedef struct kit_file_mark {
    uint64_t device;
    uint64_t inode;
    uint64_t size;
    int64_t modified_ns;
    int64_t changed_ns;
} kit_file_mark;
struct stat;
void kit_file_mark_of(const struct stat *from, kit_file_mark *out);
kit_status kit_file_mark_fd(int fd, kit_file_mark *out, kolm_error_t *err) KIT_MUST_USE;
kit_status kit_file_mark_path(const char *path, kit_file_mark *out, kolm_error_t *err) KIT_MUST_USE; /* follows links */
bool kit_file_mark_same(const kit_file_mark *a, const kit_file_mark *b);
/* "DEVICE INODE SIZE MODIFIED CHANGED": equal text for equal marks. */
void kit_file_mark_put(const kit_file_mark *mark, kit_buf *out);
/* File times have a granularity of a few milliseconds: a second change within one tick is invisible. Waits until the
 * tick of this mark is over, so that no change after the file is read can go unnoticed. Takes a few milliseconds at
 * most, and only for a file that has just changed. */
void kit_file_mark_settle(const kit_file_mark *mark);
/* Returns true if a process has the file open or mapped for writing. Such a file can change and keep its mark, because
 * writing again to a page that is already dirty does not update the times. Also false if this cannot be determined: the
 * file belongs to another user, or its file system has no leases. fd: open for reading. */
bool kit_file_is_written(int fd);

#ifdef __cplusplus
}
#endif
#endif
