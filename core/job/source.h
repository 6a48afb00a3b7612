/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a file of rows, decompressed if it is gzip or zstd. */
#ifndef KOLM_JOB_SOURCE_H
#define KOLM_JOB_SOURCE_H

/*
 * The format is determined by the first bytes, not by the name. gzip (RFC 1952, any number of members, trailing zeros)
 * and zstd (RFC 8878, any number of frames, including skippable ones) are decompressed as they are read. Memory is
 * limited to 64 KiB of input and the window of the format (32 KiB; for a zstd frame as it specifies, at most 128 MiB).
 * Other common formats (bzip2, xz, zip, workbooks, Parquet and the like) are rejected, with a command to convert them.
 * Anything else is passed on unchanged.
 *
 * Threads: one source, one thread.
 */

#include "kolm/kit/json.h"
#include "kolm/kit/lines.h"
#include <signal.h>

typedef struct job_bytes job_bytes;

/* Reads the first bytes. The caller keeps fd; path is for errors. INVALID_ARGUMENT: a format that is rejected.
 * CANCELLED: *cancel (may be NULL) is checked before and after each wait, also by job_bytes_read. */
kit_status job_bytes_open(int fd, const char *path, const volatile sig_atomic_t *cancel, job_bytes **out,
                          kolm_error_t *err) KIT_MUST_USE;
/* A kit_lines_read_fn. DATA_LOSS: compressed data that are damaged or truncated. FAILED_PRECONDITION: a zstd window
 * above 128 MiB. Their texts do not contain the path. */
kit_status job_bytes_read(void *bytes, char *out, size_t capacity, size_t *out_got, kolm_error_t *err) KIT_MUST_USE;
void job_bytes_close(job_bytes *bytes);

#endif
