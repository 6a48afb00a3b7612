/* SPDX-License-Identifier: Apache-2.0 */
/* Copies files and directories, for places. */
#ifndef KOLM_SLURM_COPY_H
#define KOLM_SLURM_COPY_H

#include "kolm/kit/file.h"

#define COPY_DEPTH 16

/* flags: added to O_WRONLY | O_CLOEXEC to open `to`. Adds the number of line ends to *out_lines, if not NULL. */
kit_status copy_file(const char *from, const char *to, int flags, uint64_t *out_lines, kolm_error_t *err) KIT_MUST_USE;
/* Copies only regular files and directories, at most depth levels below from, because files of a node are not trusted;
 * DATA_LOSS for anything else. `to` may exist. */
kit_status copy_tree(const char *from, const char *to, int depth, kolm_error_t *err) KIT_MUST_USE;
/* Copies the file called name from one directory to another; no-op if it does not exist. */
kit_status copy_named(const char *from, const char *to, const char *name, kolm_error_t *err) KIT_MUST_USE;

#endif
