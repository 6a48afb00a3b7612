/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the artifact room. */
#ifndef KOLM_ARTIFACT_INTERNAL_H
#define KOLM_ARTIFACT_INTERNAL_H

#include "artifact/artifact.h"
#include "artifact/zip.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/mark.h"

/* Small enough for a level 2 cache, so that a second digest finds the bytes there. */
#define ARTIFACT_CHUNK ((size_t)256 << 10)

struct artifact {
    int fd;
    bool kept;          /* fd is a private copy that nobody can change */
    kit_file_mark mark; /* of the file, before the first byte was read */
    uint64_t size;
    artifact_zip zip;
    artifact_entry *entries; /* entries[i] describes zip.entries[i] */
    kit_buf manifest_text;
    kit_buf envelope;
    kit_buf signer_pem;
    cJSON *manifest;
    char manifest_sha256[KIT_SHA256_HEX];
};

/* ---- keep.c */
/* A descriptor for the private copy that artifact_hash fills; -1 for none. */
int artifact_keep_begin(const artifact *a);
/* Seals the copy and uses it instead of the file; takes ownership of copy. If that fails, the file is kept. */
void artifact_keep_end(artifact *a, int copy);

#endif
