/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of a table: some are read twice, because a quote is stray, or to find out whether it is. */
#include "job/rows_table.h"

#include "kolm/kit/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOO_LONG UINT32_MAX /* marks a line that was too long in the spool */

static kit_status spool_failed(const job_reader *reader, const char *verb, kolm_error_t *err) {
    return kit_fail_errno(err, errno != 0 ? errno : EIO, "cannot %s the lines of %s put aside", verb,
                          reader->options.path);
}

/* ---- Held lines */

static kit_status take_held(job_reader *reader, const char **out_line, size_t *out_length) {
    rows_table *table = reader->table;
    char *line = table->held.data + table->held_at;
    char *end = memchr(line, '\n', table->held.length - table->held_at);
    *end = '\0';
    *out_line = line;
    *out_length = (size_t)(end - line);
    table->held_at += *out_length + 1;
    reader->number = table->held_line++;
    return KOLM_OK;
}

kit_status table_hold(job_reader *reader, size_t offset, unsigned long long number, kolm_error_t *err) {
    rows_table *table = reader->table;
    if (offset >= table->record.length) return KOLM_OK;
    size_t length = table->record.length - offset;
    if (table->held_at == table->held.length) {
        kit_buf_clear(&table->held);
        table->held_at = 0;
        kit_buf_add(&table->held, table->record.data + offset, length);
        kit_buf_char(&table->held, '\n');
        table->held_line = number;
        return kit_buf_ok(&table->held, err);
    }
    /* They are already in the buffer, in front of the remaining ones. */
    table->held_at -= length + 1;
    memcpy(table->held.data + table->held_at, table->record.data + offset, length);
    table->held.data[table->held_at + length] = '\n';
    table->held_line = number;
    return KOLM_OK;
}

/* ---- The spool */

static kit_status put_spool(job_reader *reader, const char *line, size_t length, kolm_error_t *err) {
    uint32_t header = line != NULL ? (uint32_t)length : TOO_LONG;
    FILE *spool = reader->table->spool;
    errno = 0;
    if (fwrite(&header, sizeof header, 1, spool) != 1 || (line != NULL && fwrite(line, 1, length, spool) != length))
        return spool_failed(reader, "write", err);
    return KOLM_OK;
}

/* A file without a name, so that nothing is left behind. */
static kit_status open_spool(job_reader *reader, kolm_error_t *err) {
    const char *directory = reader->options.scratch;
    errno = 0;
    if (directory == NULL) {
        reader->table->spool = tmpfile();
        return reader->table->spool != NULL ? KOLM_OK : spool_failed(reader, "write", err);
    }
    char *path = NULL;
    KIT_TRY(kit_path_join(directory, "spool-table", &path, err));
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    kit_status status = fd >= 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot create %s", path);
    if (fd >= 0) unlink(path);
    free(path);
    if (fd >= 0 && (reader->table->spool = fdopen(fd, "w+b")) == NULL) {
        close(fd);
        status = rows_no_memory(err);
    }
    return status;
}

kit_status table_tee(job_reader *reader, const char *line, size_t length, kolm_error_t *err) {
    KIT_TRY(open_spool(reader, err));
    reader->table->spool_line = rows_line(reader);
    reader->table->teeing = true;
    return put_spool(reader, line, length, err);
}

kit_status table_rewind(job_reader *reader, kolm_error_t *err) {
    rows_table *table = reader->table;
    table->teeing = false;
    table->from_spool = true;
    table->long_line = 0;
    kit_buf_clear(&table->held);
    table->held_at = 0;
    errno = 0;
    if (fflush(table->spool) != 0) return spool_failed(reader, "write", err);
    return fseeko(table->spool, 0, SEEK_SET) == 0 ? KOLM_OK : spool_failed(reader, "read", err);
}

/* *out_line NULL: the spool is at its end, and closed. */
static kit_status take_spooled(job_reader *reader, const char **out_line, size_t *out_length, kolm_error_t *err) {
    rows_table *table = reader->table;
    uint32_t length = 0;
    errno = 0;
    if (fread(&length, sizeof length, 1, table->spool) != 1) {
        if (ferror(table->spool)) return spool_failed(reader, "read", err);
        fclose(table->spool);
        table->spool = NULL;
        table->from_spool = false;
        return KOLM_OK;
    }
    reader->number = table->spool_line++;
    if (length == TOO_LONG) return rows_too_long(reader, reader->number, err);
    kit_buf_clear(&table->spooled);
    for (uint32_t left = length; left > 0;) {
        char piece[4096];
        size_t want = left < sizeof piece ? left : sizeof piece;
        if (fread(piece, 1, want, table->spool) != want) return spool_failed(reader, "read", err);
        kit_buf_add(&table->spooled, piece, want);
        left -= (uint32_t)want;
    }
    *out_line = kit_buf_text(&table->spooled);
    *out_length = length;
    return kit_buf_ok(&table->spooled, err);
}

/* ---- All of them */

kit_status table_line(job_reader *reader, const char **out_line, size_t *out_length, kolm_error_t *err) {
    rows_table *table = reader->table;
    *out_line = NULL;
    *out_length = 0;
    if (table->held_at < table->held.length) return take_held(reader, out_line, out_length);
    if (table->long_line != 0) {
        reader->number = table->long_line;
        table->long_line = 0;
        return rows_too_long(reader, reader->number, err);
    }
    if (table->from_spool) {
        if (reader->options.cancel != NULL && *reader->options.cancel != 0)
            return kit_fail(err, KOLM_E_CANCELLED, "", "interrupted while reading %s", reader->options.path);
        KIT_TRY(take_spooled(reader, out_line, out_length, err));
        if (*out_line != NULL) return KOLM_OK;
    }
    kit_status status = rows_take_line(reader, out_line, out_length, err);
    bool too_long = status == KOLM_E_OUT_OF_RANGE;
    if (table->teeing && (too_long || (status == KOLM_OK && *out_line != NULL)))
        KIT_TRY(put_spool(reader, too_long ? NULL : *out_line, *out_length, err));
    return status;
}
