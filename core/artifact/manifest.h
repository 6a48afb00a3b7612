/* SPDX-License-Identifier: Apache-2.0 */
/* manifest.json: its fields, and its canonical form. */
#ifndef KOLM_ARTIFACT_MANIFEST_H
#define KOLM_ARTIFACT_MANIFEST_H

/*
 * Nothing that depends on time, cost, host or key is in a manifest: the same inputs on the same pinned toolchain give
 * the same manifest on every machine. (Those things are in the receipt.) All keys are required unless marked optional;
 * keys that are not listed are kept and signed like the others. HEX is 64 lower-case digits of a SHA-256.
 *
 *     format      "kolm.artifact/1"                                      added by artifact_write
 *     entries     [{path, size, sha256: HEX}, ...] in bytewise order      added by artifact_write
 *     name        "support_ticket_router"       [a-z][a-z0-9_-]{0,63}
 *     version     "1.0.0"                       [0-9A-Za-z][0-9A-Za-z.+-]{0,63}
 *     task        string, not empty: the task that the user named
 *     recipe      string, not empty: "linear", "lora", or one of a backend's own
 *     base        null, or {name: string, digest: HEX, files, ...}: weights that are referenced but not included;
 *                 files: [{name, bytes, sha256}], the files that the digest covers; absent if all (core/job/base.h)
 *     data        {train: {rows: integer, sha256: HEX}, eval: {rows: integer, sha256: HEX}}: digests of canonical rows
 *     evaluation  {sha256: HEX, ...}: digest of the answers that were scored
 *     toolchain   string, not empty: engine and versions that the payload's bytes depend on
 *     model_format  optional string: the format of the payload, "acme-nb", if it is not the toolchain's first word.
 *                 Backends list the formats that they can run (core/host/manifest.h)
 *     kscore      {k, accuracy, size, latency, cost, coverage: decimals from 0 to 1; n, correct, answered: integers,
 *                  correct <= answered <= n; reference: object, the constants of the reference model; and, missing in
 *                  older ones, balanced_accuracy: decimal or null, baseline: null or {accuracy: decimal,
 *                  correct: integer, label: string, missing if outputs are texts}, labels: [{label, rows, answers,
 *                  correct}] of at most 1,000 labels}; core/score/score.h explains them
 *     options     object: the options that the payload depends on (seed, effort, thresholds)
 *     report      object: what the backend reported about the recipe
 *
 * Form: RFC 8785 (keys in order of UTF-16 code units, no spaces, minimal escapes). The only numbers are integers within
 * +-(2^53 - 1) and non-negative decimals of at most six places, which kit_json_micro() makes: every conforming
 * implementation prints these in the same way, which is not certain for floating-point numbers in general.
 */

#include "artifact/zip.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"

#define ARTIFACT_FORMAT "kolm.artifact/1"
#define ARTIFACT_MANIFEST_NAME "manifest.json"
#define ARTIFACT_ENVELOPE_NAME "META/manifest.dsse.json"
#define ARTIFACT_SIGNER_NAME "META/signer.pub.pem"

/* True for manifest.json and the two files in META/: the entries that the manifest does not list. */
bool artifact_is_own_name(const char *name);

/* INVALID_ARGUMENT, naming the field, unless fields holds everything above but format and entries. */
kit_status artifact_manifest_check(const cJSON *fields, kolm_error_t *err) KIT_MUST_USE;
/* Appends the canonical text of value as read by kit_json_parse or built by hand; decimals allowed as described above.
 */
kit_status artifact_canonical(const cJSON *value, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;

/* Appends the text of the manifest: fields, format, and an entry for each of zip that is not artifact_is_own_name.
 * digests has one hex digest per entry of zip. The length of the text does not depend on the digests. */
kit_status artifact_manifest_build(const cJSON *fields, const artifact_zip *zip, const char (*digests)[KIT_SHA256_HEX],
                                   kit_buf *out, kolm_error_t *err) KIT_MUST_USE;

/* Parses and checks a manifest: strict JSON, canonical spelling, known format, fields as above, and exactly the payload
 * entries of zip with their sizes. DATA_LOSS otherwise. out_digests[i] becomes the digest of zip's entry i ("" for its
 * own). */
kit_status artifact_manifest_read(const char *text, size_t length, const artifact_zip *zip, cJSON **out_manifest,
                                  char (*out_digests)[KIT_SHA256_HEX], kolm_error_t *err) KIT_MUST_USE;

#endif
