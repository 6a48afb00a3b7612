/* SPDX-License-Identifier: Apache-2.0 */
/* Files without a name, and tables of fixed records in them behind a small cache. */
#include "job/scratch.h"

#include "kolm/kit/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_BYTES 1024u
#define SLOTS (JOB_TABLE_BYTES / BLOCK_BYTES)

static kit_status no_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                    "out of memory while preparing data");
}

kit_status job_scratch_open(const char *directory, const char *what, int *out_fd, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(directory, what, &path, err));
    kit_status status = KOLM_OK;
#ifdef O_TMPFILE
    *out_fd = open(directory, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
#else
    *out_fd = -1;
#endif
    /* Not every file system supports O_TMPFILE. */
    if (*out_fd < 0 && (*out_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)) >= 0)
        unlink(path);
    if (*out_fd < 0) status = kit_fail_errno(err, errno, "cannot create %s", path);
    free(path);
    return status;
}

kit_status job_scratch_stream(const char *directory, const char *what, FILE **out, kolm_error_t *err) {
    int fd = -1;
    KIT_TRY(job_scratch_open(directory, what, &fd, err));
    *out = fdopen(fd, "w+b");
    if (*out != NULL) return KOLM_OK;
    close(fd);
    return no_memory(err);
}

/* ---- Tables */

typedef struct slot {
    uint64_t block_and_1; /* 0: empty */
    bool dirty;
} slot;

struct job_table {
    const char *directory;
    int fd;
    size_t record_size, per_block, block_bytes;
    uint8_t *cache;
    slot slots[SLOTS];
};

kit_status job_table_new(const char *directory, size_t record_size, job_table **out, kolm_error_t *err) {
    job_table *table = calloc(1, sizeof *table);
    if (table == NULL) return no_memory(err);
    table->directory = directory;
    table->record_size = record_size;
    table->per_block = BLOCK_BYTES / record_size;
    table->block_bytes = table->per_block * record_size;
    table->fd = -1;
    table->cache = malloc(SLOTS * table->block_bytes);
    kit_status status = table->cache != NULL ? KOLM_OK : no_memory(err);
    if (status == KOLM_OK) status = job_scratch_open(directory, "table", &table->fd, err);
    if (status == KOLM_OK)
        *out = table;
    else
        job_table_free(table);
    return status;
}

static kit_status write_block(job_table *table, size_t at, kolm_error_t *err) {
    slot *s = &table->slots[at];
    const uint8_t *bytes = table->cache + at * table->block_bytes;
    off_t offset = (off_t)((s->block_and_1 - 1) * table->block_bytes);
    for (size_t done = 0; done < table->block_bytes;) {
        ssize_t wrote = pwrite(table->fd, bytes + done, table->block_bytes - done, offset + (off_t)done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0)
            return kit_fail_errno(err, wrote < 0 ? errno : EIO, "cannot write the table in %s", table->directory);
        done += (size_t)wrote;
    }
    s->dirty = false;
    return KOLM_OK;
}

static kit_status read_block(job_table *table, size_t at, uint64_t block, kolm_error_t *err) {
    uint8_t *bytes = table->cache + at * table->block_bytes;
    size_t done = 0;
    while (done < table->block_bytes) {
        ssize_t got =
            pread(table->fd, bytes + done, table->block_bytes - done, (off_t)(block * table->block_bytes + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return kit_fail_errno(err, errno, "cannot read the table in %s", table->directory);
        if (got == 0) break; /* after the end: zeros */
        done += (size_t)got;
    }
    memset(bytes + done, 0, table->block_bytes - done);
    table->slots[at] = (slot){.block_and_1 = block + 1};
    return KOLM_OK;
}

/* The record in the cache, which then holds its block. */
static kit_status find_record(job_table *table, uint64_t number, slot **out_slot, uint8_t **out, kolm_error_t *err) {
    uint64_t block = number / table->per_block;
    size_t at = (size_t)(block % SLOTS);
    slot *s = &table->slots[at];
    if (s->block_and_1 != block + 1) {
        if (s->dirty) KIT_TRY(write_block(table, at, err));
        KIT_TRY(read_block(table, at, block, err));
    }
    *out_slot = s;
    *out = table->cache + at * table->block_bytes + (number % table->per_block) * table->record_size;
    return KOLM_OK;
}

kit_status job_table_get(job_table *table, uint64_t number, void *out_record, kolm_error_t *err) {
    slot *s = NULL;
    uint8_t *record = NULL;
    KIT_TRY(find_record(table, number, &s, &record, err));
    memcpy(out_record, record, table->record_size);
    return KOLM_OK;
}

kit_status job_table_put(job_table *table, uint64_t number, const void *record, kolm_error_t *err) {
    slot *s = NULL;
    uint8_t *place = NULL;
    KIT_TRY(find_record(table, number, &s, &place, err));
    memcpy(place, record, table->record_size);
    s->dirty = true;
    return KOLM_OK;
}

void job_table_free(job_table *table) {
    if (table == NULL) return;
    if (table->fd >= 0) close(table->fd);
    free(table->cache);
    free(table);
}
