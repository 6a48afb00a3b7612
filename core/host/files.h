/* SPDX-License-Identifier: Apache-2.0 */
/* Files in addition to those that every call may use: "files" of a manifest, and "fence" of config.json. */
#ifndef KOLM_HOST_FILES_H
#define KOLM_HOST_FILES_H

/*
 * Both are objects of the same form, with one or both of the keys
 *
 *   read    an array of at most 16 places that may be read, and run
 *   write   an array of at most 16 places that may be read, run, changed, made and removed
 *
 * A place is a file, or a directory with all below it:
 *
 *   /path           absolute
 *   ~/path          below the home directory
 *   ${NAME}         the value of an environment variable, which may be followed by /path
 *   @KEY            the path that the setting KEY of the manifest has in config.json; nothing when it is not set
 *
 * and has no component `..`. A place that does not exist is skipped, except a place to write: before a call (any but
 * detect and cost) it is created, as a directory (0700) when it ends in /, as an empty file (0600) otherwise. Links are
 * followed when the call begins.
 *
 * Neither gives anything inside KOLM_HOME, nor a directory as a whole that KOLM_HOME lies in, nor / nor the home
 * directory itself.
 */

#include "kolm/kit/json.h"
#include <stdbool.h>

#define HOST_FILES_MAX 16

typedef struct host_files {
    char **read, **write;
    size_t read_count, write_count;
} host_files;

/* INVALID_ARGUMENT says what was expected. out is empty then. unread: unknown keys are left out, and appended to it as
 * ", files.KEY"; NULL: they are wrong. */
kit_status host_files_read(const cJSON *object, kit_buf *unread, host_files *out, kolm_error_t *err) KIT_MUST_USE;
void host_files_free(host_files *files);

/* Appends text with the home directory in place of ~ or ~user, and the values of ${VARIABLE}s: what cannot be replaced
 * stays as it is. True when nothing is left to replace, and it is an absolute path. */
bool host_path_expand(const char *text, kit_buf *out);

#endif
