/* SPDX-License-Identifier: Apache-2.0 */
/* Opens an artifact, returns its parts, and hashes it in one sequential read. */
#include "artifact/internal.h"

#include "artifact/manifest.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/mark.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <libdeflate.h> /* CRC-32 with carry-less multiplication, more than twice zlib's speed; nothing is compressed */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static kit_status read_whole(artifact *a, const char *name, size_t max_bytes, kit_buf *out, kolm_error_t *err) {
    const artifact_entry *entry = artifact_find(a, name);
    if (entry == NULL)
        return kit_fail(err, KOLM_E_DATA_LOSS, "download the file again", "it has no entry \"%s\"", name);
    if (entry->size > max_bytes)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "", "the entry \"%s\" is larger than %zu bytes", name, max_bytes);
    char *bytes = malloc((size_t)entry->size + 1);
    if (bytes == NULL) return kit_no_memory(err);
    kit_status status = artifact_read_at(a->fd, entry->offset, bytes, (size_t)entry->size, err);
    if (status == KOLM_OK) {
        kit_buf_add(out, bytes, (size_t)entry->size);
        status = kit_buf_ok(out, err);
    }
    free(bytes);
    if (status != KOLM_OK) return status;
    if (libdeflate_crc32(0, kit_buf_text(out), out->length) == a->zip.entries[entry - a->entries].crc32) return KOLM_OK;
    return kit_fail(err, ARTIFACT_E_CHANGED, "download the file again",
                    "the entry \"%s\" does not match its checksum (CRC-32)", name);
}

static kit_status load_own(artifact *a, kolm_error_t *err) {
    KIT_TRY(read_whole(a, ARTIFACT_MANIFEST_NAME, ARTIFACT_MAX_MANIFEST, &a->manifest_text, err));
    KIT_TRY(read_whole(a, ARTIFACT_ENVELOPE_NAME, 2 * ARTIFACT_MAX_MANIFEST, &a->envelope, err));
    KIT_TRY(read_whole(a, ARTIFACT_SIGNER_NAME, 4096, &a->signer_pem, err));
    KIT_TRY(kit_sha256_bytes(kit_buf_text(&a->manifest_text), a->manifest_text.length, a->manifest_sha256, err));
    for (size_t i = 0; i < a->zip.count; i++) {
        const char *name = a->zip.entries[i].name;
        bool known = strcmp(name, ARTIFACT_ENVELOPE_NAME) == 0 || strcmp(name, ARTIFACT_SIGNER_NAME) == 0;
        if (strncmp(name, "META/", 5) == 0 && !known) {
            return kit_fail(err, KOLM_E_DATA_LOSS, "download the file again", "the entry \"%s\" does not belong there",
                            name);
        }
    }
    char(*digests)[KIT_SHA256_HEX] = calloc(a->zip.count, sizeof *digests);
    if (digests == NULL) return kit_no_memory(err);
    kit_status status = artifact_manifest_read(kit_buf_text(&a->manifest_text), a->manifest_text.length, &a->zip,
                                               &a->manifest, digests, err);
    for (size_t i = 0; i < a->zip.count && status == KOLM_OK; i++)
        kit_copy(a->entries[i].sha256, KIT_SHA256_HEX, digests[i]);
    free(digests);
    return status;
}

static kit_status open_parts(artifact *a, kolm_error_t *err) {
    struct stat info;
    if (fstat(a->fd, &info) != 0) return kit_fail_errno(err, errno, "cannot access it");
    if (!S_ISREG(info.st_mode))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name a .kolm file", "it is not a regular file");
    KIT_TRY(kit_file_mark_fd(a->fd, &a->mark, err));
    a->size = a->mark.size;
    KIT_TRY(artifact_zip_read(a->fd, a->size, &a->zip, err));
    a->entries = calloc(a->zip.count, sizeof *a->entries);
    if (a->entries == NULL) return kit_no_memory(err);
    for (size_t i = 0; i < a->zip.count; i++) {
        const artifact_zip_entry *from = &a->zip.entries[i];
        a->entries[i] = (artifact_entry){.name = from->name, .offset = from->data, .size = from->size};
    }
    return load_own(a, err);
}

/* Takes ownership of fd. */
static kit_status open_taken(int fd, const char *shown, artifact **out_artifact, kolm_error_t *err) {
    *out_artifact = NULL;
    artifact *a = calloc(1, sizeof *a);
    if (a == NULL) {
        close(fd);
        return kit_no_memory(err);
    }
    a->fd = fd;
    kit_status status = open_parts(a, err);
    if (status != KOLM_OK) {
        kit_fail_context(err, "%s", shown);
        bool damaged = status == KOLM_E_DATA_LOSS || status == ARTIFACT_E_CHANGED;
        if (err != NULL && err->remedy[0] == '\0' && damaged)
            kit_copy(err->remedy, sizeof err->remedy, "download the file again");
        artifact_close(a);
        return status;
    }
    *out_artifact = a;
    return KOLM_OK;
}

kit_status artifact_open(const char *path, artifact **out_artifact, kolm_error_t *err) {
    *out_artifact = NULL;
    /* O_NONBLOCK: do not wait for a writer if the name is a pipe. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    return open_taken(fd, path, out_artifact, err);
}

kit_status artifact_open_fd(int fd, const char *shown, artifact **out_artifact, kolm_error_t *err) {
    *out_artifact = NULL;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return kit_fail_errno(err, errno, "cannot open %s", shown);
    return open_taken(copy, shown, out_artifact, err);
}

void artifact_close(artifact *a) {
    if (a == NULL) return;
    if (a->fd >= 0) close(a->fd);
    artifact_zip_free(&a->zip);
    free(a->entries);
    kit_buf_free(&a->manifest_text);
    kit_buf_free(&a->envelope);
    kit_buf_free(&a->signer_pem);
    cJSON_Delete(a->manifest);
    free(a);
}

int artifact_descriptor(const artifact *a) {
    return a->fd;
}

uint64_t artifact_size(const artifact *a) {
    return a->size;
}

const cJSON *artifact_manifest(const artifact *a) {
    return a->manifest;
}

const char *artifact_manifest_text(const artifact *a, size_t *out_length) {
    *out_length = a->manifest_text.length;
    return kit_buf_text(&a->manifest_text);
}

const char *artifact_manifest_sha256(const artifact *a) {
    return a->manifest_sha256;
}

const char *artifact_envelope(const artifact *a, size_t *out_length) {
    *out_length = a->envelope.length;
    return kit_buf_text(&a->envelope);
}

const char *artifact_signer_pem(const artifact *a, size_t *out_length) {
    *out_length = a->signer_pem.length;
    return kit_buf_text(&a->signer_pem);
}

size_t artifact_entry_count(const artifact *a) {
    return a->zip.count;
}

const artifact_entry *artifact_entry_at(const artifact *a, size_t index) {
    return index < a->zip.count ? &a->entries[index] : NULL;
}

const artifact_entry *artifact_find(const artifact *a, const char *name) {
    for (size_t i = 0; i < a->zip.count; i++) {
        if (strcmp(a->entries[i].name, name) == 0) return &a->entries[i];
    }
    return NULL;
}

/* ---- Hashing */
/* State while the file is streamed. entry is the one whose data is current or next. */
typedef struct scan {
    artifact *a;
    kit_sha256 *whole;
    kit_sha256 *part;
    size_t entry;
    uint32_t crc;
    int copy; /* receives the bytes; -1: none */
} scan;

static kit_status end_entry(scan *s, kolm_error_t *err) {
    const artifact_entry *entry = &s->a->entries[s->entry];
    uint8_t digest[KIT_SHA256_BYTES];
    char hex[KIT_SHA256_HEX];
    KIT_TRY(kit_sha256_final(s->part, digest, err));
    kit_hex(digest, sizeof digest, hex);
    if (entry->sha256[0] != '\0' && strcmp(hex, entry->sha256) != 0) {
        return kit_fail(err, ARTIFACT_E_CHANGED, "download the file again",
                        "the entry \"%s\" does not match its digest in the manifest", entry->name);
    }
    if (s->crc != s->a->zip.entries[s->entry].crc32) {
        return kit_fail(err, ARTIFACT_E_CHANGED, "download the file again",
                        "the entry \"%s\" does not match its checksum (CRC-32)", entry->name);
    }
    s->crc = 0;
    s->entry++;
    return KOLM_OK;
}

/* Distributes a chunk, which begins at offset at of the file, over its entries. */
static kit_status scan_entries(scan *s, uint64_t at, const uint8_t *bytes, size_t length, kolm_error_t *err) {
    uint64_t end = at + length;
    while (s->entry < s->a->zip.count) {
        const artifact_entry *entry = &s->a->entries[s->entry];
        uint64_t from = entry->offset > at ? entry->offset : at;
        uint64_t to = entry->offset + entry->size < end ? entry->offset + entry->size : end;
        if (from > end) break;
        if (to > from) {
            size_t n = (size_t)(to - from);
            s->crc = libdeflate_crc32(s->crc, bytes + (from - at), n);
            KIT_TRY(kit_sha256_update(s->part, bytes + (from - at), n, err));
        }
        if (entry->offset + entry->size > end) break;
        KIT_TRY(end_entry(s, err));
    }
    return KOLM_OK;
}

static kit_status scan_file(scan *s, unsigned what, artifact_stop_fn stop, void *stop_user, kolm_error_t *err) {
    uint8_t *chunk = malloc(ARTIFACT_CHUNK);
    if (chunk == NULL) return kit_no_memory(err);
    kit_status status = KOLM_OK;
    for (uint64_t at = 0; at < s->a->size && status == KOLM_OK;) {
        uint64_t left = s->a->size - at;
        size_t n = left < ARTIFACT_CHUNK ? (size_t)left : ARTIFACT_CHUNK;
        if (stop != NULL && stop(stop_user, at, s->a->size)) {
            status = kit_fail(err, KOLM_E_CANCELLED, "", "stopped");
            break;
        }
        status = artifact_read_at(s->a->fd, at, chunk, n, err);
        if (status == KOLM_OK && (what & ARTIFACT_HASH_FILE)) status = kit_sha256_update(s->whole, chunk, n, err);
        if (status == KOLM_OK && (what & ARTIFACT_HASH_ENTRIES)) status = scan_entries(s, at, chunk, n, err);
        if (status == KOLM_OK && s->copy >= 0 && kit_write_all(s->copy, chunk, n, NULL) != KOLM_OK) {
            close(s->copy); /* out of memory: use the file itself */
            s->copy = -1;
        }
        at += n;
    }
    free(chunk);
    return status;
}

/* Hashes for later use: into a sealed copy, or from a file that was not changed in the meantime. */
static kit_status keep(scan *s, kit_status status, kolm_error_t *err) {
    if (s->copy >= 0 && status == KOLM_OK)
        artifact_keep_end(s->a, s->copy);
    else if (s->copy >= 0)
        close(s->copy);
    return status == KOLM_OK ? artifact_unchanged(s->a, err) : status;
}

kit_status artifact_hash(artifact *a, unsigned what, artifact_stop_fn stop, void *stop_user,
                         char out_file_sha256[KIT_SHA256_HEX], kolm_error_t *err) {
    scan s = {.a = a, .copy = -1};
    uint8_t digest[KIT_SHA256_BYTES];
    out_file_sha256[0] = '\0';
    if (what & ARTIFACT_KEEP) {
        kit_file_mark_settle(&a->mark);
        s.copy = artifact_keep_begin(a);
        if (s.copy < 0) KIT_TRY(artifact_unchanged(a, err)); /* before it is read: no process has it mapped */
    }
    (void)posix_fadvise(a->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    kit_status status = kit_sha256_new(&s.whole, err);
    if (status == KOLM_OK) status = kit_sha256_new(&s.part, err);
    if (status == KOLM_OK) status = scan_file(&s, what, stop, stop_user, err);
    if (status == KOLM_OK && (what & ARTIFACT_HASH_FILE)) {
        status = kit_sha256_final(s.whole, digest, err);
        if (status == KOLM_OK) kit_hex(digest, sizeof digest, out_file_sha256);
    }
    if (what & ARTIFACT_KEEP) status = keep(&s, status, err);
    kit_sha256_free(s.whole);
    kit_sha256_free(s.part);
    return status;
}

kit_status artifact_read(artifact *a, const char *name, size_t max_bytes, kit_buf *out, kolm_error_t *err) {
    char hex[KIT_SHA256_HEX];
    kit_buf bytes = {0};
    const artifact_entry *entry = artifact_find(a, name);
    if (entry == NULL)
        return kit_fail(err, KOLM_E_NOT_FOUND, "kolm inspect lists the entries", "there is no entry \"%s\"", name);
    kit_status status = read_whole(a, name, max_bytes, &bytes, err);
    if (status == KOLM_OK) status = kit_sha256_bytes(kit_buf_text(&bytes), bytes.length, hex, err);
    if (status == KOLM_OK && entry->sha256[0] != '\0' && strcmp(hex, entry->sha256) != 0) {
        status = kit_fail(err, ARTIFACT_E_CHANGED, "download the file again",
                          "the entry \"%s\" does not match its digest in the manifest", name);
    }
    if (status == KOLM_OK) {
        kit_buf_add(out, kit_buf_text(&bytes), bytes.length);
        status = kit_buf_ok(out, err);
    }
    kit_buf_free(&bytes);
    return status;
}
