/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a Python runtime, from when `kolm compute setup` made it to when a backend uses it. */
#ifndef KOLM_RUNTIME_FILES_H
#define KOLM_RUNTIME_FILES_H

#include "session/session.h"

/*
 * HOME/runtimes/.NAME.files, written when the environment is whole:
 *
 *     kolm runtime files 1 STATE                    SHA-256 of the lines below, for one comparison of all
 *     KIND SIZE MODIFIED CHANGED INODE WHAT PATH    one for each entry, by path; KIND: f, d or l
 *
 * WHAT is the SHA-256 of a file, or of where a link leads; "-" of a directory. PATH is below the environment; the interpreter that
 * it was made from is one more entry, by its whole path, unless it is root's, who may replace it. Who only reads the times (an hour's
 * training, one answer) pays for a look at each entry; where those differ, contents are compared, so that a copy of the whole
 * is as good. A Python of the user's own (config.json) is not looked at.
 */

/* Writes it. */
kit_status runtime_files_keep(const kolm_session *session, const char *root, const char *name,
                              kolm_error_t *err) KIT_MUST_USE;
/* DATA_LOSS when another file is there, a file is missing, or has other contents; OK where NAME has no environment of kolm's.
 * One that was made before there were such lists gets its list now. */
kit_status runtime_files_same(const kolm_session *session, const char *root, const char *name,
                              kolm_error_t *err) KIT_MUST_USE;

/* The same for the runtime that backend `name` is told of, before it works by `recipe`: "linear" is without Python. */
kit_status runtime_check(kolm_session *session, const char *name, const char *recipe, session_reason *out_reason,
                         kolm_error_t *err) KIT_MUST_USE;
/* A list that is about another environment than the one that will be there. */
kit_status runtime_files_forget(const char *root, const char *name, kolm_error_t *err) KIT_MUST_USE;

#endif
