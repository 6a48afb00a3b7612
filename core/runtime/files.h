/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a Python runtime: recorded when `kolm compute setup` made it, checked before a backend uses it. */
#ifndef KOLM_RUNTIME_FILES_H
#define KOLM_RUNTIME_FILES_H

#include "session/session.h"

/*
 * HOME/runtimes/.NAME.files, written when the environment is complete:
 *
 *     kolm runtime files 1 STATE                    SHA-256 of the lines below, for one comparison of all
 *     KIND SIZE MODIFIED CHANGED INODE WHAT PATH    one for each entry, by path; KIND: f, d or l
 *
 * WHAT is the SHA-256 of a file, or of where a link leads; "-" of a directory. PATH is below the environment; the
 * interpreter that it was made from is one more entry, by its absolute path, unless root owns it, who may replace it.
 * Checking costs one stat per entry; contents are compared only where times or inodes differ, so that a copy of the
 * whole environment is accepted too. A Python of the user's own (config.json) is not checked.
 */

/* Writes it. */
kit_status runtime_files_keep(const kolm_session *session, const char *root, const char *name,
                              kolm_error_t *err) KIT_MUST_USE;
/* DATA_LOSS when a file was added, removed or changed; OK where NAME has no environment made by kolm.
 * An environment older than these lists gets its list now. */
kit_status runtime_files_same(const kolm_session *session, const char *root, const char *name,
                              kolm_error_t *err) KIT_MUST_USE;

/* The same for the runtime that backend `name` is given, before it runs `recipe`: "linear" uses no Python. */
kit_status runtime_check(kolm_session *session, const char *name, const char *recipe, session_reason *out_reason,
                         kolm_error_t *err) KIT_MUST_USE;
/* Removes the list of an environment that is about to be replaced. */
kit_status runtime_files_forget(const char *root, const char *name, kolm_error_t *err) KIT_MUST_USE;

#endif
