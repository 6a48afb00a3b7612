/* SPDX-License-Identifier: Apache-2.0 */
/* The .kolm file: writing one, opening one, hashing it, and taking entries out of it. */
/* Sources: extract.c, keep.c, open.c and write.c. */
#ifndef KOLM_ARTIFACT_ARTIFACT_H
#define KOLM_ARTIFACT_ARTIFACT_H

/*
 * What a .kolm file is
 * --------------------
 * A store-only zip (zip64 where sizes need it) with these entries, in bytewise order of their names:
 *
 *     META/manifest.dsse.json   DSSE envelope over manifest.json: who signed it
 *     META/signer.pub.pem       that signer's public key, a convenience and never a reason to trust
 *     manifest.json             RFC 8785 subset; lists every payload entry with size and SHA-256, see manifest.h
 *     model/...                 the payload
 *
 * The bytes of the whole file follow from the names, the payload and the key (zip.h says how), so the same inputs give
 * the same file, and the reader accepts exactly what the writer writes: it regenerates every header and compares.
 *
 * Who signs. This room has no access to keys: the caller passes a signer (artifact_signer), and checks what
 * artifact_envelope() returns against artifact_manifest_text() itself. core/receipt has a function for each.
 *
 * How to write one
 *
 *     kit_atomic_open("x-1.0.0.kolm", 0644, &file, err);
 *     artifact_write(&spec, file.fd, &id, err);
 *     artifact_open_fd(file.fd, "x-1.0.0.kolm", &artifact, err);               verify what was just written ...
 *     artifact_hash(artifact, ARTIFACT_HASH_FILE | ARTIFACT_HASH_ENTRIES, NULL, NULL, sha256, err);
 *     receipt_check(...); receipt_write(...);                                  ... sign what was verified ...
 *     kit_atomic_commit(&file, force, err);                                    ... and only then let it appear
 *
 * How to verify one
 *
 *     artifact_open(path, &artifact, err);                                     structure, manifest, names
 *     receipt_sidecar_read(path + ".intoto.jsonl", &lines, &found, err);
 *     artifact_hash(artifact, found ? ARTIFACT_HASH_FILE : ARTIFACT_HASH_ENTRIES, NULL, NULL, sha256, err);
 *     receipt_check(...)                                                       the verdict
 *
 * What must be hashed. The data is read and hashed once. If there is a receipt next to the artifact, its subject is the
 * SHA-256 of the whole file: that digest covers every byte that any other check would read, so entry digests add
 * nothing (a trusted signer signs only what passed both; the caller of artifact_write ensures that). Without a receipt
 * each entry is hashed against the signed manifest, and its CRC-32 checked; all other bytes of the file are regenerated
 * and compared on opening, or are the manifest, which is signed. `verify --deep` asks for both.
 *
 * Memory does not grow with the size of the artifact: 256 KiB of buffer, the central directory (at most 1.4 MiB) and
 * the manifest (at most ARTIFACT_MAX_MANIFEST). Threads: an artifact may be used by one thread at a time. Nothing here
 * uses a clock, the environment or the network.
 *
 * Errors. DATA_LOSS: the file is a zip or a manifest, but not one that artifact_write would have written.
 * ARTIFACT_E_CHANGED: the structure is correct, but bytes do not match their digest or CRC-32. The text says which rule
 * or entry. INVALID_ARGUMENT: the caller's names or manifest are wrong.
 * Others come from the system.
 */

#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"
#include "kolm/kit/mark.h"

/* Bytes differ from what was written: verify reports "tampered", not "malformed". */
#define ARTIFACT_E_CHANGED KOLM_E_UNAUTHENTICATED

#define ARTIFACT_MAX_ENTRIES 4096 /* META and manifest.json included */
#define ARTIFACT_MAX_NAME 255     /* bytes */
#define ARTIFACT_MAX_MANIFEST (8u << 20)
#define ARTIFACT_MANIFEST_TYPE "application/vnd.kolm.manifest+json" /* the DSSE payload type */

/* ---- Writing */
/* One payload entry. name: [A-Za-z0-9._/-], relative, no ".", ".." or empty component, at most 255 bytes, not
 * "manifest.json" and not below "META/". path: a regular file that is not changed in the meantime; NULL if it has no
 * path, or one that cannot be trusted: then fd, which the caller keeps, is open on it. mark: the file that path must
 * still name, unmodified; may be NULL. */
typedef struct artifact_file {
    const char *name; /* "model/linear.bin" */
    const char *path;
    int fd;
    const kit_file_mark *mark;
} artifact_file;

/* Signs for the caller. envelope appends a DSSE envelope over the payload, of exactly length(payload length) bytes,
 * because all offsets are computed before the first byte is written. core/receipt has both. */
typedef struct artifact_signer {
    void *user;
    const char *public_key_pem;
    size_t (*length)(const char *payload_type, size_t payload_length);
    kit_status (*envelope)(void *user, const char *payload_type, const void *payload, size_t payload_length,
                           kit_buf *out_envelope, kolm_error_t *err);
} artifact_signer;

/* Returns true to stop with CANCELLED. Called about every 256 KiB with the bytes done and in total. May be NULL. */
typedef bool (*artifact_stop_fn)(void *user, uint64_t done, uint64_t total);

typedef struct artifact_spec {
    const artifact_file *files; /* in any order */
    size_t file_count;
    const cJSON *manifest; /* every field of manifest.h but `format` and `entries`, which are added here */
    artifact_signer signer;
    artifact_stop_fn stop;
    void *stop_user;
} artifact_spec;

typedef struct artifact_identity {
    char manifest_sha256[KIT_SHA256_HEX]; /* the content's name: the same for every machine and key */
    uint64_t size;                        /* bytes of the file */
} artifact_identity;

/* Writes the whole artifact to fd, which must be an empty regular file open for reading and writing, such as that of a
 * kit_atomic_file. One pass over the payload: copied, SHA-256 and CRC-32 from the same buffer. */
kit_status artifact_write(const artifact_spec *spec, int fd, artifact_identity *out_identity,
                          kolm_error_t *err) KIT_MUST_USE;

/* ---- Opening */
typedef struct artifact artifact;

typedef struct artifact_entry {
    const char *name; /* belongs to the artifact */
    uint64_t offset;  /* of its first byte in the file; a multiple of 4096 from 1 MiB on, of 64 below: made for mmap */
    uint64_t size;
    char sha256[KIT_SHA256_HEX]; /* as the manifest says; "" for manifest.json and META/ */
} artifact_entry;

/* Opens and checks the structure and the manifest: all that can be checked without reading the payload. Whether the
 * payload matches the manifest, and who signed it, is NOT checked yet. */
kit_status artifact_open(const char *path, artifact **out_artifact, kolm_error_t *err) KIT_MUST_USE;
/* The same on an open descriptor, which is duplicated. shown is its name in errors. */
kit_status artifact_open_fd(int fd, const char *shown, artifact **out_artifact, kolm_error_t *err) KIT_MUST_USE;
void artifact_close(artifact *a);

/* Open for reading; owned by the artifact. After ARTIFACT_KEEP it holds the bytes that were hashed, whatever happens to
 * the file: see there. */
int artifact_descriptor(const artifact *a);
/* Identity of the file when it was opened. */
const kit_file_mark *artifact_mark(const artifact *a);
uint64_t artifact_size(const artifact *a); /* bytes of the file */
const cJSON *artifact_manifest(const artifact *a);
const char *artifact_manifest_text(const artifact *a, size_t *out_length);
const char *artifact_manifest_sha256(const artifact *a);
const char *artifact_envelope(const artifact *a, size_t *out_length);   /* META/manifest.dsse.json */
const char *artifact_signer_pem(const artifact *a, size_t *out_length); /* META/signer.pub.pem */

/* All entries, in the order of the file. */
size_t artifact_entry_count(const artifact *a);
const artifact_entry *artifact_entry_at(const artifact *a, size_t index);
/* The entry of that name, or NULL. */
const artifact_entry *artifact_find(const artifact *a, const char *name);

/* ---- Reading the payload */
#define ARTIFACT_HASH_FILE 1u    /* SHA-256 of the whole file, into out_file_sha256 */
#define ARTIFACT_HASH_ENTRIES 2u /* each entry against the manifest and its CRC-32; CHANGED names the entry */

/* Guarantees that the bytes used are those that were hashed: while they are hashed they are copied to private memory,
 * which is then sealed (memfd_create(2), F_SEAL_WRITE etc.: not even this process can change it) and used instead of
 * the file. Above ARTIFACT_KEEP_MAX, and on systems without memfd, the descriptor remains that of the file: renaming
 * another file over it or removing it has no effect then either, but writing into it does. So call artifact_unchanged()
 * after the last byte was used, and discard all results if it fails. */
#define ARTIFACT_KEEP 4u
#define ARTIFACT_KEEP_MAX (64u << 20) /* bytes of the file */

/* Reads the file once, sequentially, whatever the flags. out_file_sha256 is "" without ARTIFACT_HASH_FILE. */
kit_status artifact_hash(artifact *a, unsigned what, artifact_stop_fn stop, void *stop_user,
                         char out_file_sha256[KIT_SHA256_HEX], kolm_error_t *err) KIT_MUST_USE;

/* OK if the bytes behind the descriptor are those that were hashed; ARTIFACT_E_CHANGED if the file was changed or
 * replaced since it was opened. Costs one system call. */
kit_status artifact_unchanged(const artifact *a, kolm_error_t *err) KIT_MUST_USE;

/* Reads one small entry, and checks it against the manifest. OUT_OF_RANGE above max_bytes, NOT_FOUND if missing. */
kit_status artifact_read(artifact *a, const char *name, size_t max_bytes, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;

/* Copies every payload entry into the existing directory, checking its digest on the way. Creates directories 0755 and
 * files 0644; never follows a symbolic link, never overwrites (ALREADY_EXISTS), never leaves the directory. A file
 * whose digest is wrong is removed again. */
kit_status artifact_extract(artifact *a, const char *directory, artifact_stop_fn stop, void *stop_user,
                            kolm_error_t *err) KIT_MUST_USE;

#endif
