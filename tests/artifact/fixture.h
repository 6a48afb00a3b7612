/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers shared by the tests of artifacts and receipts: a directory per test, a known key, a small artifact. */
#ifndef KOLM_TESTS_ARTIFACT_FIXTURE_H
#define KOLM_TESTS_ARTIFACT_FIXTURE_H

#include "artifact/artifact.h"
#include "receipt/receipt.h"

#define FIXTURE_NOW 1767225600 /* 2026-01-01T00:00:00Z */

/* Returns a path in the directory of this test. The last four results are valid. */
const char *fixture_path(const char *name);
void fixture_begin(void); /* makes the directory */
void fixture_end(void);   /* removes it */
void fixture_file(const char *name, const void *bytes, size_t length);
void fixture_text(const char *name, kit_buf *out);

/* Every field of a manifest except format and entries; the caller must delete it. */
cJSON *fixture_manifest(void);
/* A signer that uses key. */
artifact_signer fixture_signer(receipt_key *key);
/* Writes two payload files and packs them as the artifact NAME. */
void fixture_artifact(const char *name, receipt_key *key, artifact_identity *out_identity);
/* The receipt of a compile that made the artifact. */
receipt_compile fixture_compile(const char *file_sha256, const char *manifest_sha256, uint64_t size,
                                const cJSON *manifest);
/* Writes both files, NAME and NAME.intoto.jsonl, with the chain "receipts.jsonl". */
void fixture_signed(const char *name, receipt_key *key, receipt_head *out_head);
/* Opens, hashes and checks NAME as the verify command does. Returns the verdict, or -1 if it cannot be opened; writes
 * the sentence to out_text (512 bytes). */
int fixture_verify(const char *name, const receipt_keyring *ring, const char *chain, int64_t now, char *out_text);

#endif
