/* SPDX-License-Identifier: Apache-2.0 */
/* The files of rows that a command line names: opened in a fixed order, and what was read from them. */
#ifndef KOLM_COMPILE_FILES_H
#define KOLM_COMPILE_FILES_H

#include "job/dataset.h"
#include "session/session.h"

typedef struct compile_data_files {
    job_source *at;
    size_t count;
} compile_data_files;

/* True if "-" occurs more than once in both lists together: standard input can be read only once. */
bool compile_data_stdin_twice(const session_words *a, const session_words *b);

/* INVALID_ARGUMENT if one of them is a compiled model; option: "--data". */
kit_status compile_data_check(const session_words *paths, const char *option, kolm_error_t *err) KIT_MUST_USE;

/* Opens the files in bytewise order of their names, so that the order of the options has no effect. "-" is standard
 * input. Waits for a writer of a FIFO until the session is stopped (CANCELLED), with a warning after one second. On
 * failure nothing stays open. The paths are borrowed from the list. */
kit_status compile_data_open(kolm_session *session, const session_words *paths, compile_data_files *out,
                             kolm_error_t *err) KIT_MUST_USE;
void compile_data_close(compile_data_files *files);

/* "files": [{"path", "rows", "bad_rows", "repeated_headers"}], "bad_kinds": [{"what", "rows"}], "unused_keys": [{"key",
 * "rows"}], and where they were guessed "guessed_input" and "guessed_output". */
bool compile_data_put(cJSON *object, const compile_data_files *data, const compile_data_files *eval,
                      const job_summary *summary);

#endif
