/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a whole artifact: computes the layout from the sizes, streams the data, then writes the headers. */
#include "artifact/internal.h"

#include "artifact/manifest.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/mark.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct writer {
    const artifact_spec *spec;
    int fd;
    artifact_zip zip;
    const artifact_file **files; /* files[i]: that of zip entry i, NULL for our own entries */
    char (*digests)[KIT_SHA256_HEX];
    uint64_t done, total; /* payload bytes */
    kit_sha256 *sha;
    uint8_t *chunk;
} writer;

typedef struct named {
    const char *name;
    const artifact_file *file;
} named;

static int by_name(const void *left, const void *right) {
    return strcmp(((const named *)left)->name, ((const named *)right)->name);
}

static kit_status check_files(const artifact_spec *spec, kolm_error_t *err) {
    if (spec->file_count == 0)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "pass at least one file",
                        "an artifact cannot be written without a payload");
    if (spec->file_count > ARTIFACT_MAX_ENTRIES - 3) {
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "combine files",
                        "%zu files are more than the %u that fit an artifact", spec->file_count,
                        (unsigned)ARTIFACT_MAX_ENTRIES - 3);
    }
    for (size_t i = 0; i < spec->file_count; i++) {
        const char *name = spec->files[i].name;
        KIT_TRY(artifact_zip_check_name(name, strlen(name), err));
        if (artifact_is_own_name(name))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use another name", "the entry name \"%s\" is kolm's own",
                            name);
    }
    return KOLM_OK;
}

static const char *shown(const artifact_file *file) {
    return file->path != NULL ? file->path : file->name;
}

/* Opens a payload file; never waits for a pipe, never accepts a directory. */
static kit_status open_payload(const artifact_file *file, int *out_fd, uint64_t *out_size, kolm_error_t *err) {
    struct stat info;
    const char *path = shown(file);
    *out_fd = file->path != NULL ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
                                 : fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
    if (*out_fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    kit_status status = KOLM_OK;
    if (fstat(*out_fd, &info) != 0)
        status = kit_fail_errno(err, errno, "cannot access %s", path);
    else if (!S_ISREG(info.st_mode))
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name a regular file", "%s is not a regular file", path);
    if (status == KOLM_OK && file->mark != NULL) {
        kit_file_mark now;
        kit_file_mark_of(&info, &now);
        if (!kit_file_mark_same(&now, file->mark))
            status = kit_fail(err, KOLM_E_ABORTED, "try again when no process writes to it",
                              "%s was changed before it was packed", path);
    }
    if (status == KOLM_OK) {
        *out_size = (uint64_t)info.st_size;
        return KOLM_OK;
    }
    close(*out_fd);
    *out_fd = -1;
    return status;
}

static kit_status measure(writer *w, kolm_error_t *err) {
    for (size_t i = 0; i < w->zip.count; i++) {
        int fd = -1;
        if (w->files[i] == NULL) continue;
        KIT_TRY(open_payload(w->files[i], &fd, &w->zip.entries[i].size, err));
        close(fd);
        w->total += w->zip.entries[i].size;
    }
    return KOLM_OK;
}

static kit_status list_entries(writer *w, kolm_error_t *err) {
    size_t count = w->spec->file_count + 3;
    named *all = calloc(count, sizeof *all);
    w->zip.entries = calloc(count, sizeof *w->zip.entries);
    w->files = calloc(count, sizeof *w->files);
    w->digests = calloc(count, sizeof *w->digests);
    kit_status status = KOLM_OK;
    if (all == NULL || w->zip.entries == NULL || w->files == NULL || w->digests == NULL) status = kit_no_memory(err);
    if (status == KOLM_OK) {
        for (size_t i = 0; i < w->spec->file_count; i++)
            all[i] = (named){w->spec->files[i].name, &w->spec->files[i]};
        all[count - 3].name = ARTIFACT_ENVELOPE_NAME;
        all[count - 2].name = ARTIFACT_SIGNER_NAME;
        all[count - 1].name = ARTIFACT_MANIFEST_NAME;
        qsort(all, count, sizeof *all, by_name);
    }
    for (size_t i = 0; i < count && status == KOLM_OK; i++) {
        w->files[i] = all[i].file;
        /* A placeholder: the length of the manifest does not depend on the digests. */
        memset(w->digests[i], '0', KIT_SHA256_HEX - 1);
        w->zip.count = i + 1;
        status = kit_strdup(all[i].name, &w->zip.entries[i].name, err);
    }
    free(all);
    return status == KOLM_OK ? artifact_zip_check_order(&w->zip, err) : status;
}

static artifact_zip_entry *own(writer *w, const char *name) {
    for (size_t i = 0; i < w->zip.count; i++) {
        if (strcmp(w->zip.entries[i].name, name) == 0) return &w->zip.entries[i];
    }
    abort(); /* cannot happen: list_entries added it */
}

/* Sizes of our own entries, from a draft of the manifest; then the whole layout is known. */
static kit_status place(writer *w, kolm_error_t *err) {
    kit_buf draft = {0};
    const artifact_signer *signer = &w->spec->signer;
    kit_status status =
        artifact_manifest_build(w->spec->manifest, &w->zip, (const char(*)[KIT_SHA256_HEX])w->digests, &draft, err);
    if (status == KOLM_OK && draft.length > ARTIFACT_MAX_MANIFEST) {
        status = kit_fail(err, KOLM_E_OUT_OF_RANGE, "shorten the report", "the manifest would be larger than %u bytes",
                          (unsigned)ARTIFACT_MAX_MANIFEST);
    }
    if (status == KOLM_OK) {
        own(w, ARTIFACT_MANIFEST_NAME)->size = draft.length;
        own(w, ARTIFACT_ENVELOPE_NAME)->size = signer->length(ARTIFACT_MANIFEST_TYPE, draft.length);
        own(w, ARTIFACT_SIGNER_NAME)->size = strlen(signer->public_key_pem);
        status = artifact_zip_place(&w->zip, err);
    }
    kit_buf_free(&draft);
    return status;
}

static kit_status write_header(writer *w, const artifact_zip_entry *entry, kolm_error_t *err) {
    kit_buf header = {0};
    artifact_zip_local(entry, &header);
    kit_status status = kit_buf_ok(&header, err);
    if (status == KOLM_OK) status = artifact_write_at(w->fd, entry->header, header.data, header.length, err);
    kit_buf_free(&header);
    return status;
}

static kit_status copy_bytes(writer *w, int from, size_t index, kolm_error_t *err) {
    artifact_zip_entry *entry = &w->zip.entries[index];
    uint8_t digest[KIT_SHA256_BYTES];
    uint32_t crc = 0;
    for (uint64_t at = 0; at < entry->size;) {
        uint64_t left = entry->size - at;
        size_t n = left < ARTIFACT_CHUNK ? (size_t)left : ARTIFACT_CHUNK;
        if (w->spec->stop != NULL && w->spec->stop(w->spec->stop_user, w->done, w->total))
            return kit_fail(err, KOLM_E_CANCELLED, "", "stopped");
        KIT_TRY(artifact_read_at(from, at, w->chunk, n, err));
        crc = libdeflate_crc32(crc, w->chunk, n);
        KIT_TRY(kit_sha256_update(w->sha, w->chunk, n, err));
        KIT_TRY(artifact_write_at(w->fd, entry->data + at, w->chunk, n, err));
        at += n;
        w->done += n;
    }
    KIT_TRY(kit_sha256_final(w->sha, digest, err));
    kit_hex(digest, sizeof digest, w->digests[index]);
    entry->crc32 = crc;
    return write_header(w, entry, err);
}

static kit_status copy_payload(writer *w, size_t index, kolm_error_t *err) {
    int from = -1;
    uint64_t size = 0;
    KIT_TRY(open_payload(w->files[index], &from, &size, err));
    kit_status status = KOLM_OK;
    if (size != w->zip.entries[index].size) {
        status = kit_fail(err, KOLM_E_ABORTED, "try again when no process writes to it",
                          "%s changed its size while it was packed", shown(w->files[index]));
    }
    if (status == KOLM_OK) status = copy_bytes(w, from, index, err);
    if (status != KOLM_OK) kit_fail_context(err, "cannot pack %s", shown(w->files[index]));
    close(from);
    return status;
}

static kit_status write_own(writer *w, const char *name, const void *bytes, size_t length, kolm_error_t *err) {
    artifact_zip_entry *entry = own(w, name);
    if (entry->size != length)
        return kit_fail(err, KOLM_E_INTERNAL, "report this", "the entry \"%s\" does not have the announced size", name);
    entry->crc32 = libdeflate_crc32(0, bytes, length);
    KIT_TRY(artifact_write_at(w->fd, entry->data, bytes, length, err));
    return write_header(w, entry, err);
}

/* Manifest, signature and central directory, now that all digests are known. */
static kit_status finish(writer *w, artifact_identity *out_identity, kolm_error_t *err) {
    kit_buf manifest = {0}, envelope = {0}, tail = {0};
    const artifact_signer *signer = &w->spec->signer;
    kit_status status =
        artifact_manifest_build(w->spec->manifest, &w->zip, (const char(*)[KIT_SHA256_HEX])w->digests, &manifest, err);
    if (status == KOLM_OK)
        status = signer->envelope(signer->user, ARTIFACT_MANIFEST_TYPE, manifest.data, manifest.length, &envelope, err);
    if (status == KOLM_OK) status = kit_buf_ok(&envelope, err);
    if (status == KOLM_OK) status = write_own(w, ARTIFACT_MANIFEST_NAME, manifest.data, manifest.length, err);
    if (status == KOLM_OK) status = write_own(w, ARTIFACT_ENVELOPE_NAME, envelope.data, envelope.length, err);
    if (status == KOLM_OK)
        status = write_own(w, ARTIFACT_SIGNER_NAME, signer->public_key_pem, strlen(signer->public_key_pem), err);
    if (status == KOLM_OK) {
        artifact_zip_tail(&w->zip, &tail);
        status = kit_buf_ok(&tail, err);
    }
    if (status == KOLM_OK) status = artifact_write_at(w->fd, w->zip.central, tail.data, tail.length, err);
    if (status == KOLM_OK)
        status = kit_sha256_bytes(manifest.data, manifest.length, out_identity->manifest_sha256, err);
    out_identity->size = w->zip.central + tail.length;
    kit_buf_free(&manifest);
    kit_buf_free(&envelope);
    kit_buf_free(&tail);
    return status;
}

static kit_status check_target(int fd, kolm_error_t *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return kit_fail_errno(err, errno, "cannot write the artifact");
    if (!S_ISREG(info.st_mode) || info.st_size != 0) {
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "pass an empty regular file",
                        "the file to write the artifact to is not an empty regular file");
    }
    return KOLM_OK;
}

kit_status artifact_write(const artifact_spec *spec, int fd, artifact_identity *out_identity, kolm_error_t *err) {
    writer w = {.spec = spec, .fd = fd, .chunk = malloc(ARTIFACT_CHUNK)};
    *out_identity = (artifact_identity){0};
    kit_status status = w.chunk != NULL ? KOLM_OK : kit_no_memory(err);
    if (status == KOLM_OK) status = check_target(fd, err);
    if (status == KOLM_OK) status = artifact_manifest_check(spec->manifest, err);
    if (status == KOLM_OK) status = check_files(spec, err);
    if (status == KOLM_OK) status = list_entries(&w, err);
    if (status == KOLM_OK) status = measure(&w, err);
    if (status == KOLM_OK) status = place(&w, err);
    if (status == KOLM_OK) status = kit_sha256_new(&w.sha, err);
    for (size_t i = 0; i < w.zip.count && status == KOLM_OK; i++) {
        if (w.files[i] != NULL) status = copy_payload(&w, i, err);
    }
    if (status == KOLM_OK) status = finish(&w, out_identity, err);
    artifact_zip_free(&w.zip);
    kit_sha256_free(w.sha);
    free(w.files);
    free(w.digests);
    free(w.chunk);
    return status;
}
