/* SPDX-License-Identifier: Apache-2.0 */
/* Accepts a zip only if it is byte for byte what the writer would have written; says which rule it breaks. */
#include "artifact/artifact.h"
#include "artifact/zip.h"

#include <stdlib.h>
#include <string.h>

#define SENTINEL32 0xFFFFFFFFu
#define MOST_CENTRAL (ARTIFACT_MAX_ENTRIES * (ZIP_CENTRAL_FIXED + ARTIFACT_MAX_NAME + 28u))

static const char *const GET_ANEW = "download the file again; repacking it with a zip tool breaks it";

#define REFUSE(err, ...) kit_fail(err, KOLM_E_DATA_LOSS, GET_ANEW, __VA_ARGS__)

/* An invalid argument when writing is a damaged file when reading. */
static kit_status as_damage(kolm_error_t *err) {
    if (err == NULL) return KOLM_E_DATA_LOSS;
    err->code = KOLM_E_DATA_LOSS;
    kit_copy(err->remedy, sizeof err->remedy, GET_ANEW);
    return KOLM_E_DATA_LOSS;
}

static uint32_t get16(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t get32(const uint8_t *p) {
    return get16(p) | get16(p + 2) << 16;
}

static uint64_t get64(const uint8_t *p) {
    return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32;
}

/* Locates the central directory from the records at the end of the file. */
typedef struct ends {
    uint32_t count;
    uint32_t size;
    uint64_t offset;
    uint64_t records; /* offset of the first end record */
} ends;

static kit_status read_zip64_end(int fd, uint64_t file_size, ends *out, kolm_error_t *err) {
    uint8_t bytes[ZIP64_END + ZIP64_LOCATOR];
    if (file_size < ZIP_END + sizeof bytes) return REFUSE(err, "its zip64 end record is missing");
    out->records = file_size - ZIP_END - sizeof bytes;
    KIT_TRY(artifact_read_at(fd, out->records, bytes, sizeof bytes, err));
    if (get32(bytes) != 0x06064B50 || get32(bytes + ZIP64_END) != 0x07064B50)
        return REFUSE(err, "its zip64 end record is missing");
    if (get64(bytes + ZIP64_END + 8) != out->records) return REFUSE(err, "its zip64 locator points elsewhere");
    if (get64(bytes + 32) != out->count || get64(bytes + 40) != out->size)
        return REFUSE(err, "its zip64 end record does not agree with its end record");
    out->offset = get64(bytes + 48);
    if (out->offset < SENTINEL32) return REFUSE(err, "it has an unnecessary zip64 end record");
    return KOLM_OK;
}

static kit_status read_ends(int fd, uint64_t file_size, ends *out, kolm_error_t *err) {
    uint8_t end[ZIP_END];
    if (file_size < ZIP_END) return REFUSE(err, "it is too short for a zip file");
    KIT_TRY(artifact_read_at(fd, file_size - ZIP_END, end, sizeof end, err));
    if (get32(end) != 0x06054B50)
        return REFUSE(err, "it does not end like a zip file: it is truncated, or has a comment or bytes after its end");
    if (get16(end + 20) != 0) return REFUSE(err, "it has a comment");
    if (get16(end + 4) != 0 || get16(end + 6) != 0 || get16(end + 8) != get16(end + 10))
        return REFUSE(err, "it claims to span several disks");
    *out = (ends){
        .count = get16(end + 8), .size = get32(end + 12), .offset = get32(end + 16), .records = file_size - ZIP_END};
    if (out->count > ARTIFACT_MAX_ENTRIES)
        return REFUSE(err, "it has %u entries, more than %u", out->count, (unsigned)ARTIFACT_MAX_ENTRIES);
    if (out->count == 0) return REFUSE(err, "it has no entries");
    if (out->size > MOST_CENTRAL) return REFUSE(err, "its central directory is too large");
    if (out->offset == SENTINEL32) KIT_TRY(read_zip64_end(fd, file_size, out, err));
    if (out->offset > out->records || out->records - out->offset != out->size) {
        return REFUSE(err, "its central directory is not where its end record says");
    }
    return KOLM_OK;
}

/* Specific errors of a central header; all others are caught by the comparison of all bytes. */
static kit_status check_fields(const uint8_t *header, const char *name, kolm_error_t *err) {
    if (get16(header + 8) & 8) return REFUSE(err, "the entry \"%s\" has a data descriptor", name);
    if (get16(header + 8) != 0) return REFUSE(err, "the entry \"%s\" has flags (0x%04x)", name, get16(header + 8));
    if (get16(header + 10) != 0)
        return REFUSE(err, "the entry \"%s\" is compressed (method %u)", name, get16(header + 10));
    if (get16(header + 12) != 0 || get16(header + 14) != 0x0021)
        return REFUSE(err, "the entry \"%s\" has a time", name);
    if (get16(header + 32) != 0) return REFUSE(err, "the entry \"%s\" has a comment", name);
    uint32_t mode = get32(header + 38) >> 16;
    if ((mode & 0170000) == 0120000) return REFUSE(err, "the entry \"%s\" is a symbolic link", name);
    if (get32(header + 38) != 0100644u << 16) return REFUSE(err, "the entry \"%s\" has unusual file attributes", name);
    return KOLM_OK;
}

/* The true size and offset of an entry, from its fixed fields and its zip64 extra. */
static kit_status read_zip64(const uint8_t *header, const uint8_t *extra, size_t extra_length,
                             artifact_zip_entry *entry, kolm_error_t *err) {
    uint32_t stored = get32(header + 20), size = get32(header + 24), offset = get32(header + 42);
    size_t need = (size == SENTINEL32 ? 16u : 0u) + (offset == SENTINEL32 ? 8u : 0u);
    entry->size = size;
    entry->header = offset;
    if (stored != size) return REFUSE(err, "the entry \"%s\" has two sizes", entry->name);
    if (need == 0 && extra_length == 0) return KOLM_OK;
    if (need == 0 || extra_length != need + 4 || get16(extra) != 1 || get16(extra + 2) != need) {
        return REFUSE(err, "the entry \"%s\" has an extra field that does not belong there", entry->name);
    }
    extra += 4;
    if (size == SENTINEL32) {
        entry->size = get64(extra);
        if (get64(extra + 8) != entry->size) return REFUSE(err, "the entry \"%s\" has two sizes", entry->name);
        extra += 16;
    }
    if (offset == SENTINEL32) entry->header = get64(extra);
    if ((size == SENTINEL32 && entry->size < SENTINEL32) || (offset == SENTINEL32 && entry->header < SENTINEL32)) {
        return REFUSE(err, "the entry \"%s\" uses zip64 unnecessarily", entry->name);
    }
    return KOLM_OK;
}

/* Reads one central header of at most left bytes into entry; *out_length: its length. */
static kit_status read_central(const uint8_t *header, size_t left, artifact_zip_entry *entry, size_t *out_length,
                               kolm_error_t *err) {
    if (left < ZIP_CENTRAL_FIXED || get32(header) != 0x02014B50) return REFUSE(err, "its central directory is damaged");
    size_t name_length = get16(header + 28), extra_length = get16(header + 30);
    if (left - ZIP_CENTRAL_FIXED < name_length + extra_length) return REFUSE(err, "its central directory is damaged");
    const char *name = (const char *)header + ZIP_CENTRAL_FIXED;
    if (artifact_zip_check_name(name, name_length, err) != KOLM_OK) return as_damage(err);
    entry->name = malloc(name_length + 1);
    if (entry->name == NULL) return kit_no_memory(err);
    memcpy(entry->name, name, name_length);
    entry->name[name_length] = '\0';
    entry->crc32 = get32(header + 16);
    KIT_TRY(check_fields(header, entry->name, err));
    KIT_TRY(read_zip64(header, header + ZIP_CENTRAL_FIXED + name_length, extra_length, entry, err));
    *out_length = ZIP_CENTRAL_FIXED + name_length + extra_length;
    return KOLM_OK;
}

static kit_status read_directory(const uint8_t *bytes, const ends *end, artifact_zip *zip, kolm_error_t *err) {
    size_t at = 0;
    zip->entries = calloc(end->count, sizeof *zip->entries);
    if (zip->entries == NULL) return kit_no_memory(err);
    while (zip->count < end->count) {
        size_t length = 0;
        artifact_zip_entry *entry = &zip->entries[zip->count++];
        KIT_TRY(read_central(bytes + at, end->size - at, entry, &length, err));
        at += length;
    }
    if (at != end->size) return REFUSE(err, "its central directory contains more than its entries");
    return artifact_zip_check_order(zip, err) == KOLM_OK ? KOLM_OK : as_damage(err);
}

/* Offsets follow from names and sizes: anything else overlaps or leaves a gap. */
static kit_status check_places(artifact_zip *zip, const ends *end, kolm_error_t *err) {
    for (size_t i = 0; i < zip->count; i++) {
        if (zip->entries[i].size > end->offset)
            return REFUSE(err, "the entry \"%s\" claims to be larger than the file", zip->entries[i].name);
    }
    artifact_zip copy = {.entries = calloc(zip->count, sizeof *copy.entries), .count = zip->count};
    if (copy.entries == NULL) return kit_no_memory(err);
    memcpy(copy.entries, zip->entries, zip->count * sizeof *copy.entries);
    kit_status status = artifact_zip_place(&copy, err);
    for (size_t i = 0; i < zip->count && status == KOLM_OK; i++) {
        uint64_t is = zip->entries[i].header, should = copy.entries[i].header;
        if (is == should) continue;
        if (i == 0)
            status = REFUSE(err, "there are bytes before its first entry");
        else if (is < should)
            status = REFUSE(err, "the entry \"%s\" overlaps the one before it", zip->entries[i].name);
        else
            status = REFUSE(err, "there is a gap before the entry \"%s\"", zip->entries[i].name);
    }
    if (status == KOLM_OK && copy.central < end->offset)
        status = REFUSE(err, "there is a gap before its central directory");
    if (status == KOLM_OK && copy.central > end->offset)
        status = REFUSE(err, "its central directory overlaps its last entry");
    if (status == KOLM_OK) {
        memcpy(zip->entries, copy.entries, zip->count * sizeof *copy.entries);
        zip->central = copy.central;
    }
    free(copy.entries);
    return status;
}

static kit_status compare_local(int fd, const artifact_zip_entry *entry, kit_buf *should, kit_buf *is,
                                kolm_error_t *err) {
    kit_buf_clear(should);
    kit_buf_clear(is);
    artifact_zip_local(entry, should);
    kit_buf_add(is, kit_buf_text(should), should->length); /* room of the right size */
    KIT_TRY(kit_buf_ok(should, err));
    KIT_TRY(kit_buf_ok(is, err));
    KIT_TRY(artifact_read_at(fd, entry->header, is->data, is->length, err));
    if (memcmp(is->data, should->data, is->length) == 0) return KOLM_OK;
    const uint8_t *bytes = (const uint8_t *)is->data;
    size_t name_length = strlen(entry->name);
    if (get32(bytes) != 0x04034B50) return REFUSE(err, "the entry \"%s\" has no local header", entry->name);
    if (get16(bytes + 26) != name_length || memcmp(bytes + ZIP_LOCAL_FIXED, entry->name, name_length) != 0) {
        return REFUSE(err, "the entry \"%s\" has another name in its local header", entry->name);
    }
    if (get16(bytes + 6) & 8) return REFUSE(err, "the entry \"%s\" has a data descriptor", entry->name);
    return REFUSE(err, "the local header of the entry \"%s\" does not match the central directory", entry->name);
}

kit_status artifact_zip_read(int fd, uint64_t file_size, artifact_zip *out_zip, kolm_error_t *err) {
    *out_zip = (artifact_zip){0};
    ends end = {0};
    kit_buf should = {0}, is = {0};
    uint8_t *tail = NULL;
    kit_status status = read_ends(fd, file_size, &end, err);
    if (status != KOLM_OK) goto out;
    size_t tail_length = (size_t)(file_size - end.offset);
    tail = malloc(tail_length);
    if (tail == NULL) {
        status = kit_no_memory(err);
        goto out;
    }
    status = artifact_read_at(fd, end.offset, tail, tail_length, err);
    if (status == KOLM_OK) status = read_directory(tail, &end, out_zip, err);
    if (status == KOLM_OK) status = check_places(out_zip, &end, err);
    if (status != KOLM_OK) goto out;
    artifact_zip_tail(out_zip, &should);
    status = kit_buf_ok(&should, err);
    if (status == KOLM_OK && (should.length != tail_length || memcmp(should.data, tail, tail_length) != 0)) {
        status = REFUSE(err, "its central directory is not in kolm's canonical form");
    }
    for (size_t i = 0; i < out_zip->count && status == KOLM_OK; i++) {
        status = compare_local(fd, &out_zip->entries[i], &should, &is, err);
    }
out:
    free(tail);
    kit_buf_free(&should);
    kit_buf_free(&is);
    if (status != KOLM_OK) artifact_zip_free(out_zip);
    return status;
}
