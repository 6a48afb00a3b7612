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

/* Streaming reader of JSON lines with constant memory: one line at a time. */
typedef struct kit_lines kit_lines;
/* fd is not closed by the reader. A line of more than max_line bytes before its LF is reported as OUT_OF_RANGE as soon as that is
 * known; the next call skips the rest of it and goes on behind. */
kit_status kit_lines_open(int fd, size_t max_line, kit_lines **out, kolm_error_t *err) KIT_MUST_USE;
/* Before and after each wait for bytes the reader ends with CANCELLED when *flag is not zero; with NULL it waits on. */
void kit_lines_stop_on(kit_lines *lines, const volatile sig_atomic_t *flag);
/* wait is called before each reading that may have to wait for bytes: it returns KOLM_OK when fd can be read, anything else to
 * end kit_lines_next with that code; what was read so far is kept, and the next call goes on. NULL: just read. */
typedef kit_status (*kit_lines_wait_fn)(void *user, kolm_error_t *err);
void kit_lines_wait_with(kit_lines *lines, kit_lines_wait_fn wait, void *user);
/* Bytes come from `read` instead of fd, such as those of an archive: it puts at most capacity (> 0) of them into out, says how many
 * (0: the end), and may wait. What it returns but KOLM_OK ends kit_lines_next with that code. */
typedef kit_status (*kit_lines_read_fn)(void *user, char *out, size_t capacity, size_t *out_got, kolm_error_t *err);
void kit_lines_read_with(kit_lines *lines, kit_lines_read_fn read, void *user);
/* The next line without its LF or CRLF, NUL terminated, valid until the next call. *out_line NULL at the end. A
 * trailing line without LF counts. A byte order mark at the start of the first line is dropped. */
kit_status kit_lines_next(kit_lines *lines, const char **out_line, size_t *out_length, kolm_error_t *err) KIT_MUST_USE;
/* True when the next call will not have to wait: a whole line (or the end) is buffered already. */
bool kit_lines_ready(const kit_lines *lines);
uint64_t kit_lines_number(const kit_lines *lines); /* number of the last line given, from 1 */
void kit_lines_close(kit_lines *lines);

#ifdef __cplusplus
}
#endif
#endif
