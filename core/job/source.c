/* SPDX-License-Identifier: Apache-2.0 */
/* Detects formats by their first bytes; decompresses gzip and zstd as a stream. */
#include "job/source.h"

#include "lazy/lazy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK (64u * 1024)
#define WINDOW_LOG_MAX 27 /* zstd: 128 MiB, the default limit of the zstd program */

typedef enum packing { PLAIN, GZIP, ZSTD } packing;

struct job_bytes {
    int fd;
    const volatile sig_atomic_t *cancel;
    packing packing;
    const lazy_table *lazy; /* NULL: PLAIN */
    z_stream gzip;
    ZSTD_DStream *zstd;
    bool open;  /* inside a member or frame */
    bool ended; /* of fd */
    size_t at, end;
    char data[CHUNK]; /* from at to end: read but not yet consumed */
};

/* ---- Formats */

typedef struct magic {
    const char *bytes;
    size_t length;
    const char *name;    /* "is NAME" */
    const char *convert; /* how to convert it */
} magic;

#define MAGIC(text) text, sizeof(text) - 1
#define PANDAS(call)                                                                                                   \
    "convert it: python3 -c 'import sys, pandas; pandas." call                                                         \
    "(sys.argv[1]).to_json(sys.stdout, orient=\"records\", "                                                           \
    "lines=True)' FILE > rows.jsonl"
#define FROM_A_SHEET "save the sheet as CSV (UTF-8) and use that"

static const magic refused[] = {
    {MAGIC("BZh"), "bzip2 data", "unpack it on the way: bzip2 -dc FILE | kolm ... with - as the file"},
    {MAGIC("\xFD"
           "7zXZ\0"),
     "xz data", "unpack it on the way: xz -dc FILE | kolm ... with - as the file"},
    {MAGIC("\x04\x22\x4D\x18"), "lz4 data", "unpack it on the way: lz4 -dc FILE | kolm ... with - as the file"},
    {MAGIC("7z\xBC\xAF\x27\x1C"), "a 7z archive", "unpack it (7z x FILE) and use the file in it"},
    {MAGIC("PK\3\4"), "a zip archive", "unpack it on the way: unzip -p FILE | kolm ... with - as the file"},
    {MAGIC("PK\5\6"), "an empty zip archive", "use a file with rows"},
    {MAGIC("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"), "an Excel workbook or another Office file", FROM_A_SHEET},
    {MAGIC("PAR1"), "a Parquet file", PANDAS("read_parquet")},
    {MAGIC("ARROW1"), "an Arrow file", PANDAS("read_feather")},
    {MAGIC("Obj\1"), "an Avro file", "convert it to JSON lines: avro-tools tojson FILE > rows.jsonl"},
    {MAGIC("SQLite format 3"), "an SQLite database",
     "export the rows: sqlite3 -csv -header FILE 'SELECT ...' > rows.csv"},
    {MAGIC("\0"), "binary (it begins with a NUL)", "use JSON lines, CSV or TSV as UTF-8 text"},
    {MAGIC("%PDF-"), "a PDF document", "use a file with rows: JSON lines, CSV or TSV"},
};

/* True for a zip from a spreadsheet program, by the names in it. */
static bool is_workbook(const job_bytes *bytes) {
    static const char *const parts[] = {"[Content_Types].xml", "xl/", "opendocument.spreadsheet"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (memmem(bytes->data, bytes->end, parts[i], strlen(parts[i])) != NULL) return true;
    return false;
}

static bool begins(const job_bytes *bytes, const char *with, size_t length) {
    return bytes->end >= length && memcmp(bytes->data, with, length) == 0;
}

/* "BZh" alone may be the start of a header; followed by a digit and a block or end mark it is bzip2. */
static bool is_bzip2(const job_bytes *bytes) {
    return bytes->end >= 10 && bytes->data[3] >= '1' && bytes->data[3] <= '9' &&
           (memcmp(bytes->data + 4, "1AY&SY", 6) == 0 || memcmp(bytes->data + 4, "\x17\x72\x45\x38\x50\x90", 6) == 0);
}

static kit_status refuse(const job_bytes *bytes, const char *path, kolm_error_t *err) {
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const magic *m = &refused[i];
        if (!begins(bytes, m->bytes, m->length) || (i == 0 && !is_bzip2(bytes))) continue;
        if (m->bytes[0] == 'P' && m->bytes[1] == 'K' && is_workbook(bytes))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, FROM_A_SHEET, "%s is a spreadsheet, not text", path);
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, m->convert, "%s is %s, not text", path, m->name);
    }
    return KOLM_OK;
}

static packing packing_of(const job_bytes *bytes) {
    const unsigned char *b = (const unsigned char *)bytes->data;
    if (bytes->end >= 3 && b[0] == 0x1F && b[1] == 0x8B && b[2] == 8) return GZIP;
    if (begins(bytes, "\x28\xB5\x2F\xFD", 4)) return ZSTD;
    bool skippable = bytes->end >= 4 && (b[0] & 0xF0) == 0x50 && memcmp(b + 1, "\x2A\x4D\x18", 3) == 0;
    return skippable ? ZSTD : PLAIN;
}

/* ---- Reading */

static kit_status read_more(job_bytes *bytes, char *out, size_t capacity, size_t *out_got, kolm_error_t *err) {
    for (;;) {
        if (bytes->cancel != NULL && *bytes->cancel != 0)
            return kit_fail(err, KOLM_E_CANCELLED, "", "interrupted while waiting for rows");
        ssize_t got = read(bytes->fd, out, capacity);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return kit_fail_errno(err, errno, "reading failed");
        *out_got = (size_t)got;
        if (got == 0) bytes->ended = true;
        return KOLM_OK;
    }
}

static kit_status refill(job_bytes *bytes, kolm_error_t *err) {
    bytes->at = bytes->end = 0;
    return read_more(bytes, bytes->data, sizeof bytes->data, &bytes->end, err);
}

static kit_status cut_off(const char *format, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_DATA_LOSS, "copy or pack the file again: it is not known how much is missing",
                    "the %s data are truncated", format);
}

static kit_status damaged(const char *format, const char *why, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_DATA_LOSS, "copy or pack the file again", "the %s data are damaged: %s", format, why);
}

/* After a member: another one, or zeros to the end (as on tapes). */
static kit_status next_member(job_bytes *bytes, bool *out_end, kolm_error_t *err) {
    for (;;) {
        while (bytes->at < bytes->end && bytes->data[bytes->at] == '\0')
            bytes->at++;
        if (bytes->at < bytes->end) break;
        if (!bytes->ended) KIT_TRY(refill(bytes, err));
        *out_end = bytes->ended;
        if (*out_end) return KOLM_OK;
    }
    if ((unsigned char)bytes->data[bytes->at] != 0x1F)
        return damaged("gzip", "other bytes follow the last member", err);
    bytes->open = true;
    return bytes->lazy->inflate_reset(&bytes->gzip) == Z_OK ? KOLM_OK
                                                            : damaged("gzip", "no further member can be read", err);
}

static kit_status inflate_some(job_bytes *bytes, char *out, size_t capacity, size_t *out_got, kolm_error_t *err) {
    z_stream *z = &bytes->gzip;
    z->next_out = (unsigned char *)out;
    z->avail_out = (uInt)capacity;
    z->next_in = (unsigned char *)bytes->data + bytes->at;
    z->avail_in = (uInt)(bytes->end - bytes->at);
    int result = bytes->lazy->inflate(z, Z_NO_FLUSH);
    bytes->at = bytes->end - z->avail_in;
    *out_got = capacity - z->avail_out;
    if (result == Z_STREAM_END) bytes->open = false;
    if (result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR) return KOLM_OK;
    return damaged("gzip", z->msg != NULL ? z->msg : "they cannot be unpacked", err);
}

static kit_status decompress_some(job_bytes *bytes, char *out, size_t capacity, size_t *out_got, kolm_error_t *err) {
    ZSTD_inBuffer in = {.src = bytes->data, .size = bytes->end, .pos = bytes->at};
    ZSTD_outBuffer room = {.dst = out, .size = capacity};
    size_t result = bytes->lazy->zstd_decompress(bytes->zstd, &room, &in);
    bytes->at = in.pos;
    *out_got = room.pos;
    bytes->open = result != 0;
    if (!bytes->lazy->zstd_is_error(result)) return KOLM_OK;
    if (bytes->lazy->zstd_error_code(result) == ZSTD_error_frameParameter_windowTooLarge)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "unpack it on the way: zstd -dc --long=31 FILE | kolm ... with - as the file",
                        "the zstd data need more than 128 MiB of memory to be unpacked");
    return damaged("zstd", bytes->lazy->zstd_error_name(result), err);
}

/* Both libraries may consume input without producing output, and vice versa. */
static kit_status unpack(job_bytes *bytes, char *out, size_t capacity, size_t *out_got, kolm_error_t *err) {
    if (capacity > 1u << 30) capacity = 1u << 30;
    for (bool flushed = false; *out_got == 0;) {
        bool end = false;
        /* Refill only if no output is pending, or between frames. */
        if (bytes->at == bytes->end && !bytes->ended && (flushed || !bytes->open)) KIT_TRY(refill(bytes, err));
        if (!bytes->open && bytes->packing == GZIP) KIT_TRY(next_member(bytes, &end, err));
        if (end || (!bytes->open && bytes->at == bytes->end && bytes->ended)) return KOLM_OK;
        KIT_TRY(bytes->packing == GZIP ? inflate_some(bytes, out, capacity, out_got, err)
                                       : decompress_some(bytes, out, capacity, out_got, err));
        if (*out_got == 0 && bytes->ended && bytes->open) return cut_off(bytes->packing == GZIP ? "gzip" : "zstd", err);
        flushed = bytes->at == bytes->end;
    }
    return KOLM_OK;
}

kit_status job_bytes_read(void *user, char *out, size_t capacity, size_t *out_got, kolm_error_t *err) {
    job_bytes *bytes = user;
    *out_got = 0;
    if (bytes->packing != PLAIN) return unpack(bytes, out, capacity, out_got, err);
    if (bytes->at == bytes->end) return bytes->ended ? KOLM_OK : read_more(bytes, out, capacity, out_got, err);
    *out_got = bytes->end - bytes->at < capacity ? bytes->end - bytes->at : capacity;
    memcpy(out, bytes->data + bytes->at, *out_got);
    bytes->at += *out_got;
    return KOLM_OK;
}

/* ---- Opening */

/* True if these bytes could be the start of a longer signature. */
static bool may_be_marked(const job_bytes *bytes) {
    static const char *const packed[] = {"\x1F\x8B\x08", "\x28\xB5\x2F\xFD"};
    size_t n = bytes->end;
    if (n == 0) return true;
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++)
        if (n < strlen(packed[i]) && memcmp(bytes->data, packed[i], n) == 0) return true;
    if (n < 4 && (bytes->data[0] & 0xF0) == 0x50) return true;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (n < refused[i].length && memcmp(bytes->data, refused[i].bytes, n) == 0) return true;
    return n < 10 && begins(bytes, "BZh", 3);
}

static kit_status sniff(job_bytes *bytes, const char *path, kolm_error_t *err) {
    while (!bytes->ended && may_be_marked(bytes)) {
        size_t got = 0;
        kit_status status = read_more(bytes, bytes->data + bytes->end, sizeof bytes->data - bytes->end, &got, err);
        if (status != KOLM_OK) return status == KOLM_E_CANCELLED ? status : kit_fail_context(err, "%s", path);
        bytes->end += got;
    }
    return refuse(bytes, path, err);
}

static kit_status start(job_bytes *bytes, kolm_error_t *err) {
    const packing found = packing_of(bytes);
    bytes->open = true;
    if (found == PLAIN) return KOLM_OK;
    KIT_TRY(lazy_get(&bytes->lazy, err));
    bool good;
    if (found == GZIP) {
        good = bytes->lazy->inflate_init2(&bytes->gzip, 16 + MAX_WBITS, ZLIB_VERSION, (int)sizeof bytes->gzip) == Z_OK;
    } else {
        bytes->zstd = bytes->lazy->zstd_create();
        good = bytes->zstd != NULL &&
               !bytes->lazy->zstd_is_error(bytes->lazy->zstd_set(bytes->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX));
    }
    if (good) bytes->packing = found;
    if (good) return KOLM_OK;
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                    "out of memory while unpacking data");
}

kit_status job_bytes_open(int fd, const char *path, const volatile sig_atomic_t *cancel, job_bytes **out,
                          kolm_error_t *err) {
    *out = NULL;
    job_bytes *bytes = calloc(1, sizeof *bytes);
    if (bytes == NULL)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                        "out of memory while reading data");
    bytes->fd = fd;
    bytes->cancel = cancel;
    kit_status status = sniff(bytes, path, err);
    if (status == KOLM_OK) status = start(bytes, err);
    if (status == KOLM_OK)
        *out = bytes;
    else
        job_bytes_close(bytes);
    return status;
}

void job_bytes_close(job_bytes *bytes) {
    if (bytes == NULL) return;
    if (bytes->packing == GZIP) bytes->lazy->inflate_end(&bytes->gzip);
    if (bytes->zstd != NULL) bytes->lazy->zstd_free(bytes->zstd);
    free(bytes);
}
