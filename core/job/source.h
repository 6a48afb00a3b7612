/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a file of rows: as they are, or unpacked from gzip or zstd. */
#ifndef KOLM_JOB_SOURCE_H
#define KOLM_JOB_SOURCE_H

/*
 * The format is determined by the first bytes, not by the name. gzip (RFC 1952, any number of members, zeros after the
 * last one) and zstd (RFC 8878, any number of frames, skippable ones too) are unpacked as they are read: 64 KiB of
 * input and the window of the format (32 KiB; what a zstd frame asks for, at most 128 MiB) are all that is held,
 * however much comes out. Other formats that rows come in (bzip2, xz, zip, workbooks, Parquet and the like) are
 * rejected, with a command to convert them. Anything else is passed on unchanged.
 *
 * Threads: one source, one thread.
 */

#include "kolm/kit/json.h"
#include "kolm/kit/lines.h"
#include <signal.h>

typedef struct job_bytes job_bytes;

/* Reads the first bytes. fd stays the caller's; path is for errors. INVALID_ARGUMENT: a format that is refused.
 * CANCELLED: *cancel (may be NULL) is looked at before and after each wait, also by job_bytes_read. */
kit_status job_bytes_open(int fd, const char *path, const volatile sig_atomic_t *cancel, job_bytes **out,
                          kolm_error_t *err) KIT_MUST_USE;
/* A kit_lines_read_fn. DATA_LOSS: packed data that are damaged or cut off. FAILED_PRECONDITION: a zstd window above 128
 * MiB. Both say so without the path. */
kit_status job_bytes_read(void *bytes, char *out, size_t capacity, size_t *out_got, kolm_error_t *err) KIT_MUST_USE;
void job_bytes_close(job_bytes *bytes);

#endif
