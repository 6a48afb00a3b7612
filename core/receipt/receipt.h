/* SPDX-License-Identifier: Apache-2.0 */
/* Receipts: the signed statements of a compile about itself, and their verification. */
/* Sources: check.c and statement.c. */
#ifndef KOLM_RECEIPT_RECEIPT_H
#define KOLM_RECEIPT_RECEIPT_H

/*
 * A compile makes two lines, each a DSSE envelope (dsse.h) around an in-toto Statement v1 whose one subject is the
 * artifact, by the SHA-256 of the whole file: first SLSA provenance v1, then kolm's receipt. Both are appended to the
 * chain of the machine (chain.h) and stored next to the artifact in X.kolm.intoto.jsonl. The fields of the receipt, by
 * literal path:
 *
 *     predicate.metrics.compute   {backend, device, cost_usd, wall_duration_ms, provenance}, where provenance is
 *                                 {picker_version, chosen_by, score, reason, runners_up, constraints, plugin_sha256,
 *                                  plugin_version, quoted_cost_usd, billed_cost_usd, seed, stated_by_plugin, toolchain}
 *     predicate.metrics.kscore    the object of the manifest
 *     predicate.metrics.reported  what the backend gave to its host service `metric`: {"train", "infer"} of {NAME: TEXT}, the
 *                                 last value of each name as a decimal number in a string
 *     predicate.artifact          {name, version, manifest_sha256, size}
 *     predicate.airgap            {requested, enforced, profile, mechanisms}
 *     predicate.fence             {enforced, kernel, mechanisms, lacks, channels_tried, channels_open}
 *     predicate.chain             {log_id, seq, prev}
 *     predicate.started_at, finished_at   "2026-01-31T12:00:00Z"
 *
 * plugin_sha256 is the digest of the loaded bytes, computed by kolm before calling them. Values from the plugin that
 * kolm cannot check are marked: stated_by_plugin lists their paths below predicate.metrics ("compute.device",
 * "reported"), unless null. In the provenance that is builder.version.plugin, listed in metadata.kolm_stated_by_plugin.
 * Everything else was measured or decided by kolm itself.
 *
 * Money is whole micro-dollars in C and an exact decimal in JSON. Unknown values are null. No field may contain a
 * secret: this room does not search for any.
 *
 * The rules for the file next to the artifact, which receipt_check and (with only openssl) docs/verify-without-kolm.sh
 * both follow, as tests/receipt/test_rule.py checks:
 *
 *   1. It has only complete lines, each ended by one LF, in exactly the form that receipt_envelope_sign writes.
 *   2. Lines one and two are signed by the artifact's signer: the provenance, then the receipt. Both are about exactly
 *      this file, and the receipt follows the provenance: the same log_id, seq + 1, prev its digest.
 *   3. Further lines name other keys. They are ignored, whatever they contain.
 *
 * And for the log, if there is one:
 *
 *   4. Every complete line follows the one before it (chain.h). A last line without LF was never acknowledged, and is
 *      ignored.
 *   5. A line that names the signer is signed by it. Lines of other keys count only as links.
 *   6. The receipt is in it, at its place.
 *   7. It was not truncated: LOG.heads next to it records the last line that was appended.
 */

#include "kolm/kit/digest.h"
#include "receipt/chain.h"

#define RECEIPT_PAYLOAD_TYPE "application/vnd.in-toto+json"
#define RECEIPT_STATEMENT "https://in-toto.io/Statement/v1"
#define RECEIPT_SLSA_PREDICATE "https://slsa.dev/provenance/v1"
#define RECEIPT_PREDICATE "urn:kolm:receipt:v1"
#define RECEIPT_ROTATION_PREDICATE "urn:kolm:key-rotation:v1"
#define RECEIPT_BUILD_TYPE "urn:kolm:compile:v1"
/* Followed by the backend's name: trust in one backend does not extend to another. */
#define RECEIPT_BUILDER_PREFIX "urn:kolm:backend:"
#define RECEIPT_SIDECAR_SUFFIX ".intoto.jsonl"

#define RECEIPT_UNKNOWN UINT64_MAX /* an unknown cost or duration */

/* ---- Making */
/* An input of the build: the training rows, the base model, the plugin. */
typedef struct receipt_input {
    const char *name;   /* "train.jsonl", "base:Qwen2.5-0.5B", "plugin:acme" */
    const char *sha256; /* 64 hex digits */
} receipt_input;

/* Everything a compile knows. Strings may be NULL unless marked as required; NULL becomes null. cJSON values are
 * borrowed, and contain only integers and kit_json_micro decimals. */
typedef struct receipt_compile {
    /* The artifact; all required. */
    const char *file_name; /* "support_ticket_router-1.0.0.kolm" */
    const char *file_sha256;
    const char *manifest_sha256;
    uint64_t file_size;
    const char *name;
    const char *version;
    /* How it was made. */
    const char *task;
    const char *recipe;
    uint64_t seed;
    const char *toolchain;
    const cJSON *parameters; /* object for SLSA externalParameters: the options given by the user; NULL is {} */
    const receipt_input *inputs;
    size_t input_count;
    /* Where. */
    const char *backend; /* required */
    const char *device;  /* this, the version, the toolchain, quote, bill and reported: stated by the plugin */
    const char *plugin_version;
    const char *plugin_sha256; /* of the bytes that were loaded */
    uint64_t cost_micro_usd;   /* the best known cost; each may be RECEIPT_UNKNOWN */
    uint64_t quoted_micro_usd; /* before the start */
    uint64_t billed_micro_usd; /* by the backend, afterwards */
    uint64_t wall_duration_ms;
    int64_t started_at; /* seconds since 1970 */
    int64_t finished_at;
    /* Who chose it. */
    const char *picker_version;
    const char *chosen_by; /* "flag", "environment", "config", "picker" */
    uint64_t score_micro;  /* the picker's score in millionths, or RECEIPT_UNKNOWN */
    const char *reason;
    const cJSON *runners_up;  /* array; NULL is [] */
    const cJSON *constraints; /* object; NULL is {} */
    const cJSON *kscore;      /* the manifest's object, as parsed or as built; required */
    const cJSON *measured;    /* object, "latency_ms" and the like: becomes metrics.measured; NULL leaves it out */
    const cJSON *reported;    /* object, the backend's own metrics: becomes metrics.reported; NULL leaves it out */
    /* Airgap. */
    bool airgap_requested;
    bool airgap_enforced;
    const char *airgap_profile;
    const char *const *airgap_mechanisms;
    size_t airgap_mechanism_count;
    /* Object: the fence around the backend; NULL: omitted. */
    const cJSON *fence;
} receipt_compile;

/* Signs both lines, appends them to the chain and atomically writes them to sidecar_path, replacing an existing file;
 * both are synced to disk. sidecar_path NULL: only the chain. out_head is the new head, which the caller must print. */
kit_status receipt_write(const receipt_compile *compile, const receipt_key *key, const char *chain_path,
                         const char *sidecar_path, receipt_head *out_head, kolm_error_t *err) KIT_MUST_USE;

/* The function for artifact_signer of core/artifact, with user = a receipt_key (for length see dsse.h). */
kit_status receipt_sign_envelope(void *key, const char *payload_type, const void *payload, size_t payload_length,
                                 kit_buf *out_envelope, kolm_error_t *err);

/* ---- Verifying */
typedef enum receipt_verdict {
    RECEIPT_TRUSTED,     /* every signature and digest matches, and the key is in the keyring */
    RECEIPT_UNKNOWN_KEY, /* everything matches, but the key is not trusted here: NOT verified */
    RECEIPT_REVOKED,     /* the key was revoked; takes precedence over all below and UNKNOWN_KEY */
    RECEIPT_EXPIRED,     /* the key is outside the dates it is trusted for, now or when the receipt says it was made; or
                             it was replaced, and the log does not show that it signed before that */
    RECEIPT_TAMPERED,    /* a signature or digest does not agree with the bytes */
    RECEIPT_MALFORMED,   /* not in the expected format */
    RECEIPT_CHAIN_BROKEN, /* the receipts do not follow each other, or are not in the log that they name */
} receipt_verdict;

/* "trusted", "valid but unknown key", "revoked", "expired", "tampered", "malformed", "chain broken". */
const char *receipt_verdict_name(receipt_verdict verdict);

/* Input of a check. Times in seconds since 1970. The keyring and the four parts of the artifact are required. */
typedef struct receipt_question {
    const receipt_keyring *ring;
    int64_t now;
    const char *manifest; /* artifact_manifest_text */
    size_t manifest_length;
    const char *envelope; /* artifact_envelope */
    size_t envelope_length;
    const char *envelope_type; /* ARTIFACT_MANIFEST_TYPE */
    const char *signer_pem;    /* artifact_signer_pem */
    size_t signer_pem_length;
    /* From artifact_hash with ARTIFACT_HASH_FILE; "" if there is no sidecar and entries were hashed. */
    const char *file_sha256;
    const char *sidecar; /* the bytes of the .intoto.jsonl; NULL: none */
    size_t sidecar_length;
    /* HOME/receipts.jsonl, or NULL. If the receipts name this log, they must be in it. */
    const char *chain_path;
} receipt_question;

typedef struct receipt_report {
    receipt_verdict verdict;
    char text[512];                   /* one line: the verdict and why */
    char remedy[512];                 /* what to do next; "" for trusted */
    char keyid[KIT_SHA256_HEX];       /* of the signer; "" if it could not be read */
    char label[128];                  /* of the signer in the keyring */
    size_t receipts;                  /* lines about this artifact, signed by the signer: 2, or 0 without a sidecar */
    bool in_local_chain;              /* found in chain_path */
    cJSON *receipt;                   /* predicate of kolm's receipt if its signature is valid, else NULL; owned */
    receipt_place place;              /* of that line */
    char line_sha256[KIT_SHA256_HEX]; /* of that line */
} receipt_report;

/* Checks whether the embedded envelope, the signer, and the sidecar agree and are trusted. Fails only if that could not
 * be determined (out of memory, unreadable log); every verdict is a report. Without a sidecar the verdict is only about
 * the content, as its text says. */
kit_status receipt_check(const receipt_question *question, receipt_report *out_report, kolm_error_t *err) KIT_MUST_USE;
void receipt_report_free(receipt_report *report);

/* Reads a sidecar; *out_found is false if there is no such file. */
kit_status receipt_sidecar_read(const char *path, kit_buf *out_lines, bool *out_found, kolm_error_t *err) KIT_MUST_USE;

#endif
