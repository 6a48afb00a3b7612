/* SPDX-License-Identifier: Apache-2.0 */
/* Signing keys and the keyring: the signing key, trusted keys with their dates, and revoked keys. */
#ifndef KOLM_RECEIPT_KEYS_H
#define KOLM_RECEIPT_KEYS_H

/*
 * Files below the keys directory (HOME/keys, 0700), each written whole or not at all:
 *
 *     signing.pem            the private key, PKCS#8 PEM, 0600: `openssl pkey -in signing.pem -text` reads it
 *     signing.pub.pem        its public half, SPKI PEM; a copy for people, written again when it is missing or another key's
 *     trusted/KEYID.pem      trusted public keys, with
 *     trusted/KEYID.json     {"label", "valid_from", "valid_to", "added", "roles", "retired": {"at", "log_id", "seq"}, if it was replaced}
 *     revoked/KEYID.json     {"reason", "date"}: wins over everything else, our own key included
 *     rotations.jsonl        one DSSE line a rotation, signed by the old key
 *
 * Keys are Ed25519 (RFC 8032, by libsodium). A key's id, its fingerprint, is the SHA-256 of its SPKI DER (RFC 8410), in
 * hex: `openssl pkey -pubin -in K.pem -outform DER | sha256sum` prints it.
 *
 * The directory and what is in it must belong to the user (or root), private files must be inaccessible to others and
 * public ones not writable by others; PERMISSION_DENIED names the file, and the chmod to run.
 *
 * The roles of a key state what it is trusted for: "artifacts" (models and receipts) and "backends" (plugins). An entry
 * without "roles" is about artifacts; label and dates are the key's and hold for both. Unknown roles are ignored.
 * Revocation applies to the key, for everything it signed.
 *
 * The own key is trusted without an entry, for both. A key that was replaced stays trusted, under the label "own, until
 * DATE", for what the log shows to be signed before that: the rotation is a line of the log (chain.h), and its place is
 * the "retired" of the entry. Times are seconds since 1970, UTC, always given by the caller. Threads: different
 * processes may create, trust and rotate at once (first writer's key wins, changes are made under HOME/keys/lock); one
 * keyring object serves one thread.
 */

#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"

#define RECEIPT_PUBLIC_BYTES 32
#define RECEIPT_SIGNATURE_BYTES 64
#define RECEIPT_PEM_BYTES 128 /* a public key in PEM takes 113 and the NUL */
#define RECEIPT_TIME_BYTES 24 /* "2026-01-31T12:00:00Z" and the NUL */

#define RECEIPT_NO_START INT64_MIN /* valid_from: always */
#define RECEIPT_NO_END INT64_MAX   /* valid_to: for ever */

/* "2026-01-31T12:00:00Z" of seconds since 1970, and back. Years 1970 to 9999. */
bool receipt_time_text(int64_t seconds, char out_text[RECEIPT_TIME_BYTES]);
bool receipt_time_parse(const char *text, int64_t *out_seconds); /* also "2026-01-31", meaning its first second */

/* ---- A public key */
typedef struct receipt_public {
    uint8_t bytes[RECEIPT_PUBLIC_BYTES];
    char keyid[KIT_SHA256_HEX];
} receipt_public;

kit_status receipt_public_make(const uint8_t bytes[RECEIPT_PUBLIC_BYTES], receipt_public *out_public,
                               kolm_error_t *err) KIT_MUST_USE;
/* SPKI PEM, LF ended. */
void receipt_public_pem(const receipt_public *public_key, char out_pem[RECEIPT_PEM_BYTES]);
/* Reads exactly the spelling that receipt_public_pem and openssl write (CRLF is forgiven); another kind of key is
 * INVALID_ARGUMENT and said to be so. Keys of small order are refused: anything verifies under them. */
kit_status receipt_public_parse(const char *pem, size_t length, receipt_public *out_public,
                                kolm_error_t *err) KIT_MUST_USE;
kit_status receipt_public_read(const char *path, receipt_public *out_public, kolm_error_t *err) KIT_MUST_USE;

/* ---- The signing key */
typedef struct receipt_key receipt_key; /* its secret lives in locked, guarded memory */

/* Loads keys_dir/signing.pem; makes directory and key on first use. Two processes at first use end with one key.
 * *out_created tells whether this call made it: the caller then prints the fingerprint. */
kit_status receipt_key_open(const char *keys_dir, receipt_key **out_key, bool *out_created,
                            kolm_error_t *err) KIT_MUST_USE;
/* Whether receipt_key_open would return a usable key, as far as possible without creating one; for long jobs, before
 * they begin. */
kit_status receipt_key_check(const char *keys_dir, kolm_error_t *err) KIT_MUST_USE;
/* Loads it; NOT_FOUND when there is none. Creates nothing. */
kit_status receipt_key_load(const char *keys_dir, receipt_key **out_key, kolm_error_t *err) KIT_MUST_USE;
/* A key from a known seed, for tests with known answers. */
kit_status receipt_key_from_seed(const uint8_t seed[32], receipt_key **out_key, kolm_error_t *err) KIT_MUST_USE;
void receipt_key_free(receipt_key *key); /* wipes it */
const receipt_public *receipt_key_public(const receipt_key *key);
const char *receipt_key_pem(const receipt_key *key); /* of the public half; belongs to key */
kit_status receipt_key_sign(const receipt_key *key, const void *bytes, size_t length,
                            uint8_t out_signature[RECEIPT_SIGNATURE_BYTES], kolm_error_t *err) KIT_MUST_USE;
/* Replaces the signing key by a new one. The old key signs a statement about the new one (predicate type
 * RECEIPT_ROTATION_PREDICATE, with the place in the log at predicate.chain), which is appended to the log at
 * chain_path, to rotations.jsonl and to out_line (with LF). What the old key signs after that line is not trusted; what
 * it signed before stays trusted. Its private half is deleted. now: seconds since 1970. */
kit_status receipt_key_rotate(const char *keys_dir, const char *chain_path, int64_t now, receipt_public *out_old,
                              receipt_public *out_new, kit_buf *out_line, kolm_error_t *err) KIT_MUST_USE;

/* ---- The keyring */
typedef struct receipt_trusted {
    receipt_public key; /* of a key that is only revoked, never trusted, bytes are zero */
    char label[128];
    int64_t valid_from; /* RECEIPT_NO_START when not limited */
    int64_t valid_to;   /* RECEIPT_NO_END when not limited; the last second that counts */
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

/* Reads everything; a directory that is not there is an empty keyring. Creates nothing. */
kit_status receipt_keyring_load(const char *keys_dir, receipt_keyring **out_ring, kolm_error_t *err) KIT_MUST_USE;
void receipt_keyring_free(receipt_keyring *ring);
size_t receipt_keyring_count(const receipt_keyring *ring);
const receipt_trusted *receipt_keyring_at(const receipt_keyring *ring, size_t index); /* own first, then by key id */
const receipt_trusted *receipt_keyring_find(const receipt_keyring *ring, const char *keyid); /* or NULL */

/* Trusts a key's artifacts from now on. label may be "". Trusting a trusted key replaces label and dates, and keeps its
 * other role; FAILED_PRECONDITION when it is revoked, or when valid_to is before valid_from. */
kit_status receipt_keys_trust(const char *keys_dir, const receipt_public *public_key, const char *label,
                              int64_t valid_from, int64_t valid_to, int64_t now, kolm_error_t *err) KIT_MUST_USE;
/* Trusts a key's plugins from now on. One that is trusted already keeps its dates, and its label where label is "". */
kit_status receipt_keys_trust_backends(const char *keys_dir, const receipt_public *public_key, const char *label,
                                       int64_t valid_from, int64_t valid_to, int64_t now,
                                       kolm_error_t *err) KIT_MUST_USE;
/* Takes that role away; the entry goes with the last role. keyid as for revoke; NOT_FOUND when no entry has it. */
kit_status receipt_keys_untrust_backends(const char *keys_dir, const char *keyid, int64_t now,
                                         char out_keyid[KIT_SHA256_HEX], kolm_error_t *err) KIT_MUST_USE;
/* Revokes a key. keyid: the whole id, or the first eight digits or more of a key in the ring. An unknown whole id may
 * be revoked too. This cannot be undone: after a mistake a new key is needed. out_keyid gets the whole id.
 */
kit_status receipt_keys_revoke(const char *keys_dir, const char *keyid, const char *reason, int64_t now,
                               char out_keyid[KIT_SHA256_HEX], kolm_error_t *err) KIT_MUST_USE;

#endif
