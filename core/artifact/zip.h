/* SPDX-License-Identifier: Apache-2.0 */
/* The canonical zip for given entries: every byte of every header. Used by reader and writer. */
#ifndef KOLM_ARTIFACT_ZIP_H
#define KOLM_ARTIFACT_ZIP_H

/*
 * The canonical zip. Source of the field layout: PKWARE APPNOTE 6.3.x, sections 4.3.7 (local header), 4.3.12 (central
 * directory), 4.3.14 to 4.3.16 (ends), 4.5.3 (zip64 extra). Choices that APPNOTE leaves open:
 *
 *  - entries in bytewise order of their names, [A-Za-z0-9._/-] only, no directories, no name twice, no name that is
 *    a directory of another;
 *  - method 0 (stored), flags 0, so sizes and CRC stand in the local header and no data descriptor follows;
 *  - time 00:00:00 (0x0000), date 1980-01-01 (0x0021); made by 0x031E (Unix, 3.0); needs 10, or 45 where a zip64
 *    field is in that header; external attributes 0100644 << 16, internal 0;
 *  - local extra: zip64 (id 1: size, stored size) only when size >= 0xFFFFFFFF; then id 0xD935 (the alignment field of
 *    zipalign): 16-bit alignment, then zeros, so that the data starts at a multiple of 4096 when size >= 1 MiB, and
 *    of 64 otherwise;
 *  - central extra: zip64 (id 1) with size and stored size when size >= 0xFFFFFFFF, and the offset when that is;
 *  - everything contiguous from offset 0: no stub, no gap, no comment, nothing after the end record. A zip64 end
 *    record and locator only when the central directory starts at or after 0xFFFFFFFF.
 *
 * No compression: it would gain nothing on weights, and its bytes differ between builds of zlib.
 */

#include "kolm/kit/buf.h"
#include <stdio.h>

#define ZIP_LOCAL_FIXED 30
#define ZIP_CENTRAL_FIXED 46
#define ZIP_END 22
#define ZIP64_END 56
#define ZIP64_LOCATOR 20
#define ZIP_BIG_ENTRY (1u << 20) /* from this size on the data is aligned to a page */
#define ZIP_PAGE 4096u
#define ZIP_SMALL_ALIGN 64u

typedef struct artifact_zip_entry {
    char *name; /* owned */
    uint64_t size;
    uint32_t crc32;
    uint64_t header; /* offset of the local header; set by artifact_zip_place */
    uint64_t data;   /* offset of the data; set by artifact_zip_place */
} artifact_zip_entry;

typedef struct artifact_zip {
    artifact_zip_entry *entries; /* owned */
    size_t count;
    uint64_t central; /* offset of the central directory; set by artifact_zip_place */
} artifact_zip;

void artifact_zip_free(artifact_zip *zip); /* leaves it zeroed */
/* INVALID_ARGUMENT with the reason unless name is a valid entry name. Takes a length: a name from a file may contain
 * NULs. */
kit_status artifact_zip_check_name(const char *name, size_t length, kolm_error_t *err) KIT_MUST_USE;
/* INVALID_ARGUMENT unless names are in strict bytewise order, and none is a directory of another. */
kit_status artifact_zip_check_order(const artifact_zip *zip, kolm_error_t *err) KIT_MUST_USE;
/* Computes all offsets from names and sizes. OUT_OF_RANGE if the sum exceeds 63 bits. */
kit_status artifact_zip_place(artifact_zip *zip, kolm_error_t *err) KIT_MUST_USE;
/* Appends the local header of an entry: data - header bytes. */
void artifact_zip_local(const artifact_zip_entry *entry, kit_buf *out);
/* Appends the central directory and the end records: all that follows the last data byte. */
void artifact_zip_tail(const artifact_zip *zip, kit_buf *out);

/* Reads the structure of the zip open at fd, of file_size bytes, and accepts it only if regenerating it from the names,
 * sizes and CRCs gives the same bytes. DATA_LOSS says which rule is broken. Reads headers only. */
kit_status artifact_zip_read(int fd, uint64_t file_size, artifact_zip *out_zip, kolm_error_t *err) KIT_MUST_USE;

/* pread and pwrite of exactly length bytes. */
kit_status artifact_read_at(int fd, uint64_t offset, void *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;
kit_status artifact_write_at(int fd, uint64_t offset, const void *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;

#endif
