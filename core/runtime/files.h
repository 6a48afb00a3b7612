/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a Python runtime: recorded when `kolm compute setup` makes it, checked before a backend uses it. */
#ifndef KOLM_RUNTIME_FILES_H
#define KOLM_RUNTIME_FILES_H

#include "session/session.h"

/*
 * HOME/runtimes/.NAME.files, written once the environment is complete:
 *
 *     kolm runtime files 1 STATE                    SHA-256 of the lines below, to compare them at once
 *     KIND SIZE MODIFIED CHANGED INODE WHAT PATH    one for each entry, sorted by path; KIND: f, d or l
 *
 * WHAT is the SHA-256 of a file, or of the target of a link; "-" for a directory. PATH is relative to the environment;
 * the interpreter that it was made from is another entry, with its absolute path, unless owned by root, who may replace
 * it. Checking costs one stat per entry; contents are compared only if times or inodes differ, so that a copy of the
 * whole environment is accepted, too. A Python of the user's own (config.json) is not checked.
 */

/* Writes the list. */
kit_status runtime_files_keep(const kolm_session *session, const char *root, const char *name,
                              kolm_error_t *err) KIT_MUST_USE;
/* DATA_LOSS if a file was added, removed or changed; OK if NAME has no environment made by kolm. Writes the list of an
 * environment from before these lists. */
kit_status runtime_files_same(const kolm_session *session, const char *root, const char *name,
                              kolm_error_t *err) KIT_MUST_USE;

/* The same for the runtime of backend `name`, before it runs `recipe`: "linear" uses no Python. */
kit_status runtime_check(kolm_session *session, const char *name, const char *recipe, session_reason *out_reason,
                         kolm_error_t *err) KIT_MUST_USE;
/* Removes the list of an environment that is about to be replaced. */
kit_status runtime_files_forget(const char *root, const char *name, kolm_error_t *err) KIT_MUST_USE;

#endif
