/* SPDX-License-Identifier: Apache-2.0 */
/* External sorting: sorted runs in a file, merged by a heap. */
#include "job/scratch.h"

#include "kolm/kit/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLICE_BYTES (JOB_SORTER_BYTES / JOB_SORTER_FAN)

typedef struct run {
    uint64_t offset, records; /* offset in records */
} run;

/* A run that is being merged, with its slice of the buffer. */
typedef struct source {
    uint64_t *slice, *at;
    size_t left; /* records of the slice from at on */
    run unread;
} source;

struct job_sorter {
    const char *directory;
    int fd; /* -1: nothing was written */
    size_t words, capacity, count;
    uint64_t *buffer;
    uint64_t end; /* of the file, in records */
    run *runs;
    size_t run_count, run_capacity;
    /* Merging. */
    source sources[JOB_SORTER_FAN];
    uint8_t heap[JOB_SORTER_FAN];
    size_t live;
    bool given;  /* the record on top of the heap was returned */
    size_t next; /* in memory: the next record of buffer */
};

static kit_status no_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                    "out of memory while preparing data");
}

static int compare(const uint64_t *a, const uint64_t *b, size_t words) {
    for (size_t i = 0; i < words; i++)
        if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
    return 0;
}

/* One for each number of words, which qsort cannot pass. */
#define COMPARE_OF(n)                                                                                                  \
    static int compare_##n(const void *a, const void *b) {                                                             \
        return compare(a, b, n);                                                                                       \
    }
COMPARE_OF(1)
COMPARE_OF(2)
COMPARE_OF(3)
COMPARE_OF(4)
COMPARE_OF(5)
COMPARE_OF(6)

static void sort_buffer(job_sorter *s) {
    static int (*const by[])(const void *, const void *) = {compare_1, compare_2, compare_3,
                                                            compare_4, compare_5, compare_6};
    if (s->count > 0) qsort(s->buffer, s->count, s->words * sizeof(uint64_t), by[s->words - 1]);
}

kit_status job_sorter_new(const char *directory, size_t words, job_sorter **out, kolm_error_t *err) {
    job_sorter *s = calloc(1, sizeof *s);
    if (s == NULL) return no_memory(err);
    s->directory = directory;
    s->fd = -1;
    s->words = words;
    s->buffer = malloc(JOB_SORTER_BYTES);
    s->capacity = JOB_SORTER_BYTES / (words * sizeof(uint64_t));
    if (s->buffer == NULL) {
        job_sorter_free(s);
        return no_memory(err);
    }
    *out = s;
    return KOLM_OK;
}

static kit_status append(job_sorter *s, const uint64_t *records, size_t count, kolm_error_t *err) {
    size_t bytes = count * s->words * sizeof(uint64_t);
    const uint8_t *from = (const uint8_t *)records;
    off_t offset = (off_t)(s->end * s->words * sizeof(uint64_t));
    for (size_t done = 0; done < bytes;) {
        ssize_t wrote = pwrite(s->fd, from + done, bytes - done, offset + (off_t)done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0)
            return kit_fail_errno(err, wrote < 0 ? errno : EIO, "cannot write the index in %s", s->directory);
        done += (size_t)wrote;
    }
    s->end += count;
    return KOLM_OK;
}

static kit_status note_run(job_sorter *s, uint64_t offset, kolm_error_t *err) {
    if (s->run_count == s->run_capacity) {
        size_t capacity = s->run_capacity == 0 ? 64 : s->run_capacity * 2;
        run *grown = realloc(s->runs, capacity * sizeof *grown);
        if (grown == NULL) return no_memory(err);
        s->runs = grown;
        s->run_capacity = capacity;
    }
    s->runs[s->run_count++] = (run){.offset = offset, .records = s->end - offset};
    return KOLM_OK;
}

static kit_status spill(job_sorter *s, kolm_error_t *err) {
    if (s->fd < 0) KIT_TRY(job_scratch_open(s->directory, "sorter", &s->fd, err));
    sort_buffer(s);
    uint64_t offset = s->end;
    KIT_TRY(append(s, s->buffer, s->count, err));
    s->count = 0;
    return note_run(s, offset, err);
}

kit_status job_sorter_add(job_sorter *s, const uint64_t *record, kolm_error_t *err) {
    if (s->count == s->capacity) KIT_TRY(spill(s, err));
    memcpy(s->buffer + s->count++ * s->words, record, s->words * sizeof(uint64_t));
    return KOLM_OK;
}

/* ---- Merging */

static kit_status refill(job_sorter *s, source *from, kolm_error_t *err) {
    size_t most = SLICE_BYTES / (s->words * sizeof(uint64_t));
    size_t count = from->unread.records < most ? (size_t)from->unread.records : most;
    size_t bytes = count * s->words * sizeof(uint64_t);
    off_t offset = (off_t)(from->unread.offset * s->words * sizeof(uint64_t));
    for (size_t done = 0; done < bytes;) {
        ssize_t got = pread(s->fd, (uint8_t *)from->slice + done, bytes - done, offset + (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return kit_fail_errno(err, got < 0 ? errno : EIO, "cannot read the index in %s", s->directory);
        done += (size_t)got;
    }
    from->unread.offset += count;
    from->unread.records -= count;
    from->at = from->slice;
    from->left = count;
    return KOLM_OK;
}

static bool before(const job_sorter *s, uint8_t a, uint8_t b) {
    return compare(s->sources[a].at, s->sources[b].at, s->words) < 0;
}

static void sift_down(job_sorter *s, size_t at) {
    for (;;) {
        size_t least = at, left = 2 * at + 1;
        if (left < s->live && before(s, s->heap[left], s->heap[least])) least = left;
        if (left + 1 < s->live && before(s, s->heap[left + 1], s->heap[least])) least = left + 1;
        if (least == at) return;
        uint8_t moved = s->heap[at];
        s->heap[at] = s->heap[least];
        s->heap[least] = moved;
        at = least;
    }
}

static kit_status merge_begin(job_sorter *s, size_t runs, kolm_error_t *err) {
    s->live = runs;
    s->given = false;
    for (size_t i = 0; i < runs; i++) {
        s->sources[i] = (source){.slice = s->buffer + i * (SLICE_BYTES / sizeof(uint64_t)), .unread = s->runs[i]};
        s->heap[i] = (uint8_t)i;
        KIT_TRY(refill(s, &s->sources[i], err));
    }
    for (size_t i = runs / 2; i-- > 0;)
        sift_down(s, i);
    return KOLM_OK;
}

static kit_status merge_next(job_sorter *s, const uint64_t **out, kolm_error_t *err) {
    if (s->given && s->live > 0) {
        source *top = &s->sources[s->heap[0]];
        top->at += s->words;
        if (--top->left == 0 && top->unread.records > 0) KIT_TRY(refill(s, top, err));
        if (top->left == 0) s->heap[0] = s->heap[--s->live];
        sift_down(s, 0);
    }
    s->given = true;
    *out = s->live > 0 ? s->sources[s->heap[0]].at : NULL;
    return KOLM_OK;
}

/* Merges the first runs into one, which is appended after the others. */
static kit_status merge_some(job_sorter *s, uint64_t *slice, kolm_error_t *err) {
    size_t most = SLICE_BYTES / (s->words * sizeof(uint64_t)), count = 0;
    uint64_t offset = s->end;
    KIT_TRY(merge_begin(s, JOB_SORTER_FAN, err));
    for (const uint64_t *record = NULL;;) {
        KIT_TRY(merge_next(s, &record, err));
        if (record == NULL || count == most) {
            KIT_TRY(append(s, slice, count, err));
            count = 0;
        }
        if (record == NULL) break;
        memcpy(slice + count++ * s->words, record, s->words * sizeof(uint64_t));
    }
    s->run_count -= JOB_SORTER_FAN;
    memmove(s->runs, s->runs + JOB_SORTER_FAN, s->run_count * sizeof *s->runs);
    return note_run(s, offset, err);
}

kit_status job_sorter_sort(job_sorter *s, kolm_error_t *err) {
    if (s->run_count == 0) {
        sort_buffer(s);
        return KOLM_OK;
    }
    if (s->count > 0) KIT_TRY(spill(s, err));
    uint64_t *slice = s->run_count > JOB_SORTER_FAN ? malloc(SLICE_BYTES) : NULL;
    kit_status status = s->run_count > JOB_SORTER_FAN && slice == NULL ? no_memory(err) : KOLM_OK;
    while (status == KOLM_OK && s->run_count > JOB_SORTER_FAN)
        status = merge_some(s, slice, err);
    free(slice);
    return status == KOLM_OK ? merge_begin(s, s->run_count, err) : status;
}

kit_status job_sorter_next(job_sorter *s, const uint64_t **out_record, kolm_error_t *err) {
    if (s->fd >= 0) return merge_next(s, out_record, err);
    *out_record = s->next < s->count ? s->buffer + s->next++ * s->words : NULL;
    return KOLM_OK;
}

void job_sorter_free(job_sorter *s) {
    if (s == NULL) return;
    if (s->fd >= 0) close(s->fd);
    free(s->buffer);
    free(s->runs);
    free(s);
}
