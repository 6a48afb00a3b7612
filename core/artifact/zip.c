/* SPDX-License-Identifier: Apache-2.0 */
/* Regenerates every byte of a canonical zip that is not data, from names, sizes and CRCs. */
#include "artifact/zip.h"

#include "artifact/artifact.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SENTINEL32 0xFFFFFFFFull
#define MADE_BY 0x031Eu
#define NEEDS_PLAIN 10u
#define NEEDS_ZIP64 45u
#define DOS_DATE 0x0021u
#define EXTRA_ZIP64 0x0001u
#define EXTRA_ALIGN 0xD935u
#define EXTRA_ALIGN_LEAST 6u /* id, length, alignment */
#define ATTRIBUTES (0100644u << 16)

void artifact_zip_free(artifact_zip *zip) {
    for (size_t i = 0; i < zip->count; i++)
        free(zip->entries[i].name);
    free(zip->entries);
    *zip = (artifact_zip){0};
}

static void put16(kit_buf *out, uint32_t value) {
    char bytes[2] = {(char)(value & 0xFF), (char)(value >> 8 & 0xFF)};
    kit_buf_add(out, bytes, sizeof bytes);
}

static void put32(kit_buf *out, uint32_t value) {
    put16(out, value & 0xFFFF);
    put16(out, value >> 16);
}

static void put64(kit_buf *out, uint64_t value) {
    put32(out, (uint32_t)(value & SENTINEL32));
    put32(out, (uint32_t)(value >> 32));
}

static uint32_t size32(uint64_t value) {
    return value >= SENTINEL32 ? (uint32_t)SENTINEL32 : (uint32_t)value;
}

static kit_status bad_name(const char *name, size_t length, const char *why, kolm_error_t *err) {
    kit_buf shown = {0};
    kit_buf_escaped(&shown, name, length < 80 ? length : 80);
    kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name entries with A-Z a-z 0-9 . _ - and single slashes between",
             "the entry name \"%s\" %s", kit_buf_text(&shown), why);
    kit_buf_free(&shown);
    return KOLM_E_INVALID_ARGUMENT;
}

kit_status artifact_zip_check_name(const char *name, size_t length, kolm_error_t *err) {
    char copy[ARTIFACT_MAX_NAME + 1];
    if (length == 0) return bad_name(name, length, "is empty", err);
    if (length > ARTIFACT_MAX_NAME) return bad_name(name, length, "is longer than 255 bytes", err);
    if (memchr(name, '\0', length) != NULL) return bad_name(name, length, "contains a NUL", err);
    if (memchr(name, '\\', length) != NULL) return bad_name(name, length, "contains a backslash", err);
    if (name[0] == '/') return bad_name(name, length, "is absolute", err);
    if (name[length - 1] == '/') return bad_name(name, length, "names a directory", err);
    for (size_t i = 0; i < length; i++) {
        char c = name[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                    c == '_' || c == '-' || c == '/';
        if (!good) return bad_name(name, length, "contains a character that is not allowed", err);
    }
    memcpy(copy, name, length);
    copy[length] = '\0';
    if (!kit_path_is_safe(copy)) return bad_name(name, length, "leaves its directory or has an empty part", err);
    return KOLM_OK;
}

/* Index of the entry of that name (length bytes), or count. Entries are in order. */
static size_t index_of(const artifact_zip *zip, const char *name, size_t length) {
    size_t low = 0, high = zip->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strncmp(zip->entries[middle].name, name, length);
        if (order == 0 && zip->entries[middle].name[length] == '\0') return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return zip->count;
}

kit_status artifact_zip_check_order(const artifact_zip *zip, kolm_error_t *err) {
    for (size_t i = 1; i < zip->count; i++) {
        int order = strcmp(zip->entries[i - 1].name, zip->entries[i].name);
        if (order == 0)
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "two entries are named \"%s\"", zip->entries[i].name);
        if (order > 0) {
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "the entry \"%s\" is not in bytewise order",
                            zip->entries[i].name);
        }
    }
    for (size_t i = 0; i < zip->count; i++) {
        const char *name = zip->entries[i].name;
        for (const char *slash = strchr(name, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
            size_t parent = index_of(zip, name, (size_t)(slash - name));
            if (parent == zip->count) continue;
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "\"%s\" is both a file and a directory",
                            zip->entries[parent].name);
        }
    }
    return KOLM_OK;
}

static uint32_t alignment_of(const artifact_zip_entry *entry) {
    return entry->size >= ZIP_BIG_ENTRY ? ZIP_PAGE : ZIP_SMALL_ALIGN;
}

kit_status artifact_zip_place(artifact_zip *zip, kolm_error_t *err) {
    const uint64_t most = (uint64_t)1 << 62;
    uint64_t at = 0;
    for (size_t i = 0; i < zip->count; i++) {
        artifact_zip_entry *entry = &zip->entries[i];
        uint64_t align = alignment_of(entry);
        uint64_t least =
            at + ZIP_LOCAL_FIXED + strlen(entry->name) + (entry->size >= SENTINEL32 ? 20 : 0) + EXTRA_ALIGN_LEAST;
        entry->header = at;
        entry->data = (least + align - 1) / align * align;
        if (entry->size > most || entry->data > most - entry->size) {
            return kit_fail(err, KOLM_E_OUT_OF_RANGE, "", "the entry \"%s\" does not fit a file", entry->name);
        }
        at = entry->data + entry->size;
    }
    zip->central = at;
    return KOLM_OK;
}

void artifact_zip_local(const artifact_zip_entry *entry, kit_buf *out) {
    size_t name_length = strlen(entry->name);
    bool big = entry->size >= SENTINEL32;
    uint32_t extra = (uint32_t)(entry->data - entry->header - ZIP_LOCAL_FIXED - name_length);
    uint32_t align_length = extra - (big ? 20 : 0) - 4;
    put32(out, 0x04034B50);
    put16(out, big ? NEEDS_ZIP64 : NEEDS_PLAIN);
    put16(out, 0); /* flags */
    put16(out, 0); /* stored */
    put16(out, 0); /* time */
    put16(out, DOS_DATE);
    put32(out, entry->crc32);
    put32(out, size32(entry->size));
    put32(out, size32(entry->size));
    put16(out, (uint32_t)name_length);
    put16(out, extra);
    kit_buf_add(out, entry->name, name_length);
    if (big) {
        put16(out, EXTRA_ZIP64);
        put16(out, 16);
        put64(out, entry->size);
        put64(out, entry->size);
    }
    put16(out, EXTRA_ALIGN);
    put16(out, align_length);
    put16(out, alignment_of(entry));
    for (uint32_t i = 2; i < align_length; i++)
        kit_buf_char(out, '\0');
}

static void central_header(const artifact_zip_entry *entry, kit_buf *out) {
    size_t name_length = strlen(entry->name);
    bool big = entry->size >= SENTINEL32, far = entry->header >= SENTINEL32;
    uint32_t fields = (big ? 16u : 0u) + (far ? 8u : 0u);
    put32(out, 0x02014B50);
    put16(out, MADE_BY);
    put16(out, fields > 0 ? NEEDS_ZIP64 : NEEDS_PLAIN);
    put16(out, 0);
    put16(out, 0);
    put16(out, 0);
    put16(out, DOS_DATE);
    put32(out, entry->crc32);
    put32(out, size32(entry->size));
    put32(out, size32(entry->size));
    put16(out, (uint32_t)name_length);
    put16(out, fields > 0 ? fields + 4 : 0);
    put16(out, 0); /* comment */
    put16(out, 0); /* disk */
    put16(out, 0); /* internal attributes */
    put32(out, ATTRIBUTES);
    put32(out, size32(entry->header));
    kit_buf_add(out, entry->name, name_length);
    if (fields > 0) {
        put16(out, EXTRA_ZIP64);
        put16(out, fields);
    }
    if (big) {
        put64(out, entry->size);
        put64(out, entry->size);
    }
    if (far) put64(out, entry->header);
}

static void zip64_end(const artifact_zip *zip, uint64_t central_size, kit_buf *out) {
    put32(out, 0x06064B50);
    put64(out, ZIP64_END - 12);
    put16(out, MADE_BY);
    put16(out, NEEDS_ZIP64);
    put32(out, 0);
    put32(out, 0);
    put64(out, zip->count);
    put64(out, zip->count);
    put64(out, central_size);
    put64(out, zip->central);
    put32(out, 0x07064B50);
    put32(out, 0);
    put64(out, zip->central + central_size);
    put32(out, 1);
}

void artifact_zip_tail(const artifact_zip *zip, kit_buf *out) {
    size_t before = out->length;
    for (size_t i = 0; i < zip->count; i++)
        central_header(&zip->entries[i], out);
    uint64_t central_size = out->length - before;
    if (zip->central >= SENTINEL32) zip64_end(zip, central_size, out);
    put32(out, 0x06054B50);
    put16(out, 0);
    put16(out, 0);
    put16(out, (uint32_t)zip->count); /* at most 4096, so never the zip64 sentinel */
    put16(out, (uint32_t)zip->count);
    put32(out, (uint32_t)central_size);
    put32(out, size32(zip->central));
    put16(out, 0);
}

kit_status artifact_read_at(int fd, uint64_t offset, void *bytes, size_t length, kolm_error_t *err) {
    char *p = bytes;
    while (length > 0) {
        ssize_t got = pread(fd, p, length, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return kit_fail_errno(err, errno, "reading failed at byte %llu", (unsigned long long)offset);
        if (got == 0)
            return kit_fail(err, KOLM_E_DATA_LOSS, "download the file again",
                            "the file ends at byte %llu, %zu bytes early", (unsigned long long)offset, length);
        p += got;
        offset += (uint64_t)got;
        length -= (size_t)got;
    }
    return KOLM_OK;
}

kit_status artifact_write_at(int fd, uint64_t offset, const void *bytes, size_t length, kolm_error_t *err) {
    const char *p = bytes;
    while (length > 0) {
        ssize_t put = pwrite(fd, p, length, (off_t)offset);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return kit_fail_errno(err, errno, "writing failed at byte %llu", (unsigned long long)offset);
        p += put;
        offset += (uint64_t)put;
        length -= (size_t)put;
    }
    return KOLM_OK;
}
