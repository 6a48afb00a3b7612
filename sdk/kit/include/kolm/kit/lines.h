/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of a file or a stream, one at a time, in constant memory. */
#ifndef KOLM_KIT_LINES_H
#define KOLM_KIT_LINES_H

#include "kolm/kit/status.h"
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A line reader; it holds one line at a time. */
typedef struct kit_lines kit_lines;
/* The caller must close fd. A line of more than max_line bytes before its LF is reported as OUT_OF_RANGE as soon as
 * that is known; the next call skips the rest of that line and returns the next one. */
kit_status kit_lines_open(int fd, size_t max_line, kit_lines **out, kolm_error_t *err) KIT_MUST_USE;
/* The reader returns CANCELLED if *flag is not zero before or after it waits for bytes. NULL: not checked. */
void kit_lines_stop_on(kit_lines *lines, const volatile sig_atomic_t *flag);
/* wait is called before each read that may block. It returns KOLM_OK once fd is readable; any other code is returned by
 * kit_lines_next, which keeps what was read so far and continues in the next call. NULL: just read. */
typedef kit_status (*kit_lines_wait_fn)(void *user, kolm_error_t *err);
void kit_lines_wait_with(kit_lines *lines, kit_lines_wait_fn wait, void *user);
/* Reads from `read` instead of fd, for example from an archive. It puts at most capacity (> 0) bytes into out, sets
 * their number (0: end of file), and may block. Any result but KOLM_OK is returned by kit_lines_next. */
typedef kit_status (*kit_lines_read_fn)(void *user, char *out, size_t capacity, size_t *out_got, kolm_error_t *err);
void kit_lines_read_with(kit_lines *lines, kit_lines_read_fn read, void *user);
/* The next line without its LF or CRLF, NUL terminated, valid until the next call. *out_line NULL at the end. A
 * trailing line without LF counts. A byte order mark at the start of the first line is dropped. */
kit_status kit_lines_next(kit_lines *lines, const char **out_line, size_t *out_length, kolm_error_t *err) KIT_MUST_USE;
/* True if the next call will not block: a whole line (or the end) is already buffered. */
bool kit_lines_ready(const kit_lines *lines);
uint64_t kit_lines_number(const kit_lines *lines); /* number of the last line returned, from 1 */
void kit_lines_close(kit_lines *lines);

#ifdef __cplusplus
}
#endif
#endif
