/* SPDX-License-Identifier: Apache-2.0 */
/* Copying files and directories, as far as the places need it. */
#ifndef KOLM_SLURM_COPY_H
#define KOLM_SLURM_COPY_H

#include "kolm/kit/file.h"

#define COPY_DEPTH 16

/* flags: O_CREAT and what is to be added for to. out_lines (NULL: not counted) is added to. */
kit_status copy_file(const char *from, const char *to, int flags, uint64_t *out_lines, kolm_error_t *err) KIT_MUST_USE;
/* Regular files and directories only, no deeper than depth: what came back from a node is distrusted. to may be there.
 */
kit_status copy_tree(const char *from, const char *to, int depth, kolm_error_t *err) KIT_MUST_USE;
/* NAME of one directory to another; a file that is not there is none. */
kit_status copy_named(const char *from, const char *to, const char *name, kolm_error_t *err) KIT_MUST_USE;

#endif
