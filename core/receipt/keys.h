/* SPDX-License-Identifier: Apache-2.0 */
/* Signing keys and the keyring: the signing key, trusted keys with their dates, and revoked keys. */
#ifndef KOLM_RECEIPT_KEYS_H
#define KOLM_RECEIPT_KEYS_H

/*
 * Files below the keys directory (HOME/keys, 0700), each written atomically:
 *
 *     signing.pem            the private key, PKCS#8 PEM, 0600: `openssl pkey -in signing.pem -text` reads it
 *     signing.pub.pem        its public half, SPKI PEM; a copy for the user, rewritten if missing or of another key
 *     trusted/KEYID.pem      trusted public keys, with
 *     trusted/KEYID.json     {"label", "valid_from", "valid_to", "added", "roles", "retired": {"at", "log_id", "seq"}, if it was replaced}
 *     revoked/KEYID.json     {"reason", "date"}: takes precedence over everything else, even for our own key
 *     rotations.jsonl        one DSSE line per rotation, signed by the old key
 *
 * Keys are Ed25519 (RFC 8032, by libsodium). A key's id, its fingerprint, is the SHA-256 of its SPKI DER (RFC 8410), in
 * hex: `openssl pkey -pubin -in K.pem -outform DER | sha256sum` prints it.
 *
 * The directory and its files must be owned by the user (or root); private files must be inaccessible to others, and
 * public ones not writable by others. PERMISSION_DENIED names the file, and the chmod to run.
 *
 * The roles of a key determine what it is trusted for: "artifacts" (models and receipts) and "backends" (plugins). An
 * entry without "roles" is for artifacts; label and dates apply to both roles. Unknown roles are ignored. Revocation
 * applies to everything that the key signed.
 *
 * The own key is trusted for both, without an entry. A key that was replaced stays trusted, with the label "own, until
 * DATE", for what it signed before that according to the log: the rotation is a line of the log (chain.h), whose place
 * is "retired" in the entry. Times are seconds since 1970, UTC, always passed by the caller. Threads: several processes
 * may create, trust and rotate at once (the first writer's key wins, changes are made under HOME/keys/lock); a keyring
 * may be used by one thread at a time.
 */

#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"

#define RECEIPT_PUBLIC_BYTES 32
#define RECEIPT_SIGNATURE_BYTES 64
#define RECEIPT_PEM_BYTES 128 /* a public key in PEM takes 113 plus the NUL */
#define RECEIPT_TIME_BYTES 24 /* "2026-01-31T12:00:00Z" plus the NUL */

#define RECEIPT_NO_START INT64_MIN /* valid_from: always */
#define RECEIPT_NO_END INT64_MAX   /* valid_to: no end */

/* Convert seconds since 1970 to "2026-01-31T12:00:00Z" and back. Years 1970 to 9999. */
bool receipt_time_text(int64_t seconds, char out_text[RECEIPT_TIME_BYTES]);
bool receipt_time_parse(const char *text, int64_t *out_seconds); /* also "2026-01-31", meaning its first second */

/* ---- A public key */
typedef struct receipt_public {
    uint8_t bytes[RECEIPT_PUBLIC_BYTES];
    char keyid[KIT_SHA256_HEX];
} receipt_public;

kit_status receipt_public_make(const uint8_t bytes[RECEIPT_PUBLIC_BYTES], receipt_public *out_public,
                               kolm_error_t *err) KIT_MUST_USE;
/* SPKI PEM, ends with LF. */
void receipt_public_pem(const receipt_public *public_key, char out_pem[RECEIPT_PEM_BYTES]);
/* Accepts only the form written by receipt_public_pem and openssl (CRLF is allowed). INVALID_ARGUMENT for another kind
 * of key, which it names. Keys of small order are rejected, because any signature verifies under them. */
kit_status receipt_public_parse(const char *pem, size_t length, receipt_public *out_public,
                                kolm_error_t *err) KIT_MUST_USE;
kit_status receipt_public_read(const char *path, receipt_public *out_public, kolm_error_t *err) KIT_MUST_USE;

/* ---- The signing key */
typedef struct receipt_key receipt_key; /* its secret is in locked, guarded memory */

/* Loads keys_dir/signing.pem; creates directory and key on first use. Two processes at first use get the same key.
 * *out_created: this call created it, and the caller must print the fingerprint. */
kit_status receipt_key_open(const char *keys_dir, receipt_key **out_key, bool *out_created,
                            kolm_error_t *err) KIT_MUST_USE;
/* Checks that receipt_key_open will return a usable key, as far as possible without creating one. Call it before long
 * jobs. */
kit_status receipt_key_check(const char *keys_dir, kolm_error_t *err) KIT_MUST_USE;
/* Loads the key; NOT_FOUND if there is none. Creates nothing. */
kit_status receipt_key_load(const char *keys_dir, receipt_key **out_key, kolm_error_t *err) KIT_MUST_USE;
/* Makes a key from a known seed, for tests with known answers. */
kit_status receipt_key_from_seed(const uint8_t seed[32], receipt_key **out_key, kolm_error_t *err) KIT_MUST_USE;
void receipt_key_free(receipt_key *key); /* wipes it */
const receipt_public *receipt_key_public(const receipt_key *key);
const char *receipt_key_pem(const receipt_key *key); /* of the public half; belongs to key */
kit_status receipt_key_sign(const receipt_key *key, const void *bytes, size_t length,
                            uint8_t out_signature[RECEIPT_SIGNATURE_BYTES], kolm_error_t *err) KIT_MUST_USE;
/* Replaces the signing key by a new one. The old key signs a statement about the new one (predicate type
 * RECEIPT_ROTATION_PREDICATE, with the place in the log at predicate.chain), which is appended to the log at
 * chain_path, to rotations.jsonl and to out_line (with LF). Signatures of the old key after that line are not trusted;
 * earlier ones stay trusted. Deletes its private half. now: seconds since 1970. */
kit_status receipt_key_rotate(const char *keys_dir, const char *chain_path, int64_t now, receipt_public *out_old,
                              receipt_public *out_new, kit_buf *out_line, kolm_error_t *err) KIT_MUST_USE;

/* ---- The keyring */
typedef struct receipt_trusted {
    receipt_public key; /* for a key that is only revoked, never trusted, bytes are zero */
    char label[128];
    int64_t valid_from; /* RECEIPT_NO_START: no limit */
    int64_t valid_to;   /* inclusive; RECEIPT_NO_END: no limit */
    bool own;           /* the signing key of this home */
    bool trusted;       /* for artifacts: own, or in trusted/ with that role */
    bool backends;      /* for plugins: own, or in trusted/ with that role */
    bool retired;       /* it was replaced, by the line retired_seq of the log retired_log_id */
    char retired_log_id[33];
    uint64_t retired_seq;
    int64_t retired_at;
    bool revoked;
    char reason[256]; /* of the revocation */
    int64_t revoked_at;
} receipt_trusted;

typedef struct receipt_keyring receipt_keyring;

/* Reads all entries; a missing directory gives an empty keyring. Creates nothing. */
kit_status receipt_keyring_load(const char *keys_dir, receipt_keyring **out_ring, kolm_error_t *err) KIT_MUST_USE;
void receipt_keyring_free(receipt_keyring *ring);
size_t receipt_keyring_count(const receipt_keyring *ring);
const receipt_trusted *receipt_keyring_at(const receipt_keyring *ring, size_t index); /* own first, then by key id */
const receipt_trusted *receipt_keyring_find(const receipt_keyring *ring, const char *keyid); /* or NULL */

/* Trusts a key for artifacts. label may be "". For an already trusted key, replaces label and dates, and keeps its
 * other role. FAILED_PRECONDITION if it is revoked, or if valid_to is before valid_from. */
kit_status receipt_keys_trust(const char *keys_dir, const receipt_public *public_key, const char *label,
                              int64_t valid_from, int64_t valid_to, int64_t now, kolm_error_t *err) KIT_MUST_USE;
/* Trusts a key for plugins. An already trusted key keeps its dates, and if label is "" its label. */
kit_status receipt_keys_trust_backends(const char *keys_dir, const receipt_public *public_key, const char *label,
                                       int64_t valid_from, int64_t valid_to, int64_t now,
                                       kolm_error_t *err) KIT_MUST_USE;
/* Removes that role, and the entry with its last role. keyid as for receipt_keys_revoke; NOT_FOUND if no entry has it.
 * */
kit_status receipt_keys_untrust_backends(const char *keys_dir, const char *keyid, int64_t now,
                                         char out_keyid[KIT_SHA256_HEX], kolm_error_t *err) KIT_MUST_USE;
/* Revokes a key. keyid: the full id, or a prefix of at least eight digits of a key in the ring. An unknown full id may
 * be revoked, too. This cannot be undone: after a mistake a new key is needed. out_keyid is the full id. */
kit_status receipt_keys_revoke(const char *keys_dir, const char *keyid, const char *reason, int64_t now,
                               char out_keyid[KIT_SHA256_HEX], kolm_error_t *err) KIT_MUST_USE;

#endif
