/* SPDX-License-Identifier: Apache-2.0 */
/* Scratch on disk for data that is too large for memory: sorting, and a table of records by number. */
#ifndef KOLM_JOB_SCRATCH_H
#define KOLM_JOB_SCRATCH_H

/*
 * Files are created unnamed in the caller's directory, or unlinked at once if the file system cannot do that: nothing
 * is left of them however the process ends.
 * An error names the directory. One thread for each object.
 */

#include "kolm/kit/status.h"

#include <stdint.h>
#include <stdio.h>

/* An open file without a name. */
kit_status job_scratch_open(const char *directory, const char *what, int *out_fd, kolm_error_t *err) KIT_MUST_USE;
kit_status job_scratch_stream(const char *directory, const char *what, FILE **out, kolm_error_t *err) KIT_MUST_USE;

/* ---- Sorting: records of 64-bit words, ordered by their words from the first to the last */

/* An external merge sort (Knuth, The Art of Computer Programming 3, 5.4): runs of JOB_SORTER_BYTES are sorted in memory
 * and written, JOB_SORTER_FAN of them are merged at a time. Memory: JOB_SORTER_BYTES, as much again while a run is
 * sorted, and 16 bytes for each run. */
#define JOB_SORTER_BYTES (512u << 10)
#define JOB_SORTER_FAN 32u
#define JOB_SORTER_WORDS_MAX 6u

typedef struct job_sorter job_sorter;

/* words is at most JOB_SORTER_WORDS_MAX. directory must live as long as the sorter. */
kit_status job_sorter_new(const char *directory, size_t words, job_sorter **out, kolm_error_t *err) KIT_MUST_USE;
kit_status job_sorter_add(job_sorter *sorter, const uint64_t *record, kolm_error_t *err) KIT_MUST_USE;
/* Call after the last record: from now on they are returned in order. */
kit_status job_sorter_sort(job_sorter *sorter, kolm_error_t *err) KIT_MUST_USE;
/* The next record, valid until the next call; NULL at the end. */
kit_status job_sorter_next(job_sorter *sorter, const uint64_t **out_record, kolm_error_t *err) KIT_MUST_USE;
void job_sorter_free(job_sorter *sorter);

/* ---- A table: records of one size by number; unset ones are zeros */

/* Memory: JOB_TABLE_BYTES of cache. */
#define JOB_TABLE_BYTES (256u << 10)

typedef struct job_table job_table;

/* record_size is at most 512. */
kit_status job_table_new(const char *directory, size_t record_size, job_table **out, kolm_error_t *err) KIT_MUST_USE;
kit_status job_table_get(job_table *table, uint64_t number, void *out_record, kolm_error_t *err) KIT_MUST_USE;
kit_status job_table_put(job_table *table, uint64_t number, const void *record, kolm_error_t *err) KIT_MUST_USE;
void job_table_free(job_table *table);

#endif
