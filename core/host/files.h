/* SPDX-License-Identifier: Apache-2.0 */
/* Files in addition to those that every call may use: "files" of a manifest, and "fence" of config.json. */
#ifndef KOLM_HOST_FILES_H
#define KOLM_HOST_FILES_H

/*
 * Both are objects of the same form, with one or both of the keys
 *
 *   read    an array of at most 16 places that may be read and executed
 *   write   an array of at most 16 places that may be read, executed, modified, created and removed
 *
 * A place is a file, or a directory with everything below it:
 *
 *   /path           absolute
 *   ~/path          below the home directory
 *   ${NAME}         the value of an environment variable, which may be followed by /path
 *   @KEY            the path in config.json of the setting KEY of the manifest; nothing if it is not set
 *
 * and has no component `..`. A place that does not exist is skipped, except a place to write: before a call (other than
 * detect and cost) it is created, as a directory (0700) if it ends in /, else as an empty file (0600). Links are
 * resolved when the call begins.
 *
 * Neither gives access to anything inside KOLM_HOME, nor to a whole directory that contains KOLM_HOME, nor to / or the
 * whole home directory.
 */

#include "kolm/kit/json.h"
#include <stdbool.h>

#define HOST_FILES_MAX 16

typedef struct host_files {
    char **read, **write;
    size_t read_count, write_count;
} host_files;

/* INVALID_ARGUMENT says what was expected; out is then empty. unread: receives unknown keys, ", files.KEY"; NULL: an
 * unknown key is an error. */
kit_status host_files_read(const cJSON *object, kit_buf *unread, host_files *out, kolm_error_t *err) KIT_MUST_USE;
void host_files_free(host_files *files);

/* Appends text with ~, ~user and ${VARIABLE} expanded; what cannot be expanded is copied unchanged. True if everything
 * was expanded and the result is an absolute path. */
bool host_path_expand(const char *text, kit_buf *out);

#endif
