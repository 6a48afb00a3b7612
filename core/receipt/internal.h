/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the receipt room. */
/* Sources: chain.c, chain_walk.c, dsse.c, heads.c, keyring.c, keys.c and statement.c. */
#ifndef KOLM_RECEIPT_INTERNAL_H
#define KOLM_RECEIPT_INTERNAL_H

#include "kolm/kit/digest.h"
#include "kolm/kit/trust.h"
#include "receipt/chain.h"

#define RECEIPT_KEYID_HEX 64
#define RECEIPT_PKCS8_BYTES 192 /* a private key in PEM takes 119 plus the NUL */

#define RECEIPT_FIRST_PREV "0000000000000000000000000000000000000000000000000000000000000000"
#define RECEIPT_BROKEN_REMEDY "restore it from a backup, or move it away: the next compile then begins a new log"

#define RECEIPT_SIGNING "signing.pem"
#define RECEIPT_SIGNING_PUBLIC "signing.pub.pem"
#define RECEIPT_TRUSTED_DIR "trusted"
#define RECEIPT_REVOKED_DIR "revoked"
#define RECEIPT_ROTATIONS "rotations.jsonl"

/* 64 lower-case hexadecimal digits. */
bool receipt_is_keyid(const char *text);
/* 32 lower-case hexadecimal digits. */
bool receipt_is_log_id(const char *text);

/* DIRECTORY/NAME, or DIRECTORY/INNER/NAME if inner is not NULL; the caller frees it. */
kit_status receipt_path(const char *directory, const char *inner, const char *name, char **out_path,
                        kolm_error_t *err) KIT_MUST_USE;
/* Applies a policy: KIT_TRUST_OWN or KIT_TRUST_SECRET. shown names the file in errors. */
kit_status receipt_check_owner(int fd, const char *shown, kit_trust policy, kolm_error_t *err) KIT_MUST_USE;
/* The same for a directory by name; NOT_FOUND if there is none. */
kit_status receipt_check_directory(const char *path, kolm_error_t *err) KIT_MUST_USE;
/* INVALID_ARGUMENT if it is not a regular file; another status if that cannot be determined. */
kit_status receipt_check_regular(int fd, kolm_error_t *err) KIT_MUST_USE;
/* Appends the contents of a small file of the keys directory that only the user can write. */
kit_status receipt_read_guarded(const char *path, size_t max_bytes, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* Takes an exclusive lock on keys_dir/lock; close the descriptor to release it. Creates the directory. */
kit_status receipt_lock_keys(const char *keys_dir, int *out_fd, kolm_error_t *err) KIT_MUST_USE;

/* Generates a key from a random seed, without storing it. */
kit_status receipt_key_random(receipt_key **out_key, kolm_error_t *err) KIT_MUST_USE;
/* Writes keys_dir/signing.pem, then the public copy. Unless replace, ALREADY_EXISTS if there is one. */
kit_status receipt_key_store(const char *keys_dir, const receipt_key *key, bool replace,
                             kolm_error_t *err) KIT_MUST_USE;
/* Writes item as the entry of a key. The caller holds the lock of the keys. */
kit_status receipt_trust_locked(const char *keys_dir, const receipt_trusted *item, int64_t now,
                                kolm_error_t *err) KIT_MUST_USE;
/* Puts {log_id, seq, prev} at "chain" of predicate, where receipt_place_of looks for it. */
bool receipt_place_put(cJSON *predicate, const receipt_place *place);

/* Appends the canonical form of an envelope with one signature. */
void receipt_envelope_text(const char *type, const void *payload, size_t length, const char *keyid,
                           const uint8_t signature[RECEIPT_SIGNATURE_BYTES], kit_buf *out);
/* Appends an in-toto statement about one subject, canonical. Takes ownership of predicate, even on failure. */
kit_status receipt_statement(const char *subject, const char *sha256, const char *predicate_type, cJSON *predicate,
                             kit_buf *out, kolm_error_t *err) KIT_MUST_USE;

/* Parses one line of a chain or a sidecar: strict envelope, our payload type, strict statement. INVALID_ARGUMENT
 * otherwise. */
typedef struct receipt_line {
    receipt_envelope envelope;
    cJSON *statement;
    char sha256[KIT_SHA256_HEX]; /* of the line */
    char keyid[KIT_SHA256_HEX];  /* named in it; "" if it is not in canonical form */
    bool placed;                 /* it has a place */
    receipt_place place;
} receipt_line;
kit_status receipt_line_parse(const char *text, size_t length, receipt_line *out_line, kolm_error_t *err) KIT_MUST_USE;
void receipt_line_free(receipt_line *line); /* leaves it zeroed */

/* LOG.heads next to the log LOG, {"format":1,"current","heads":[{"log_id","seq","sha256"}]}: the last line appended to
 * each log of this machine, and the current log ("" before the first line of a new one). Written under the log's lock
 * after each append, so that the log never ends before it, unless it was truncated. */
typedef struct receipt_heads {
    receipt_head *items; /* room for count + 1, or NULL */
    size_t count;
    char current[RECEIPT_LOG_ID_HEX];
} receipt_heads;
/* A missing file means no heads. FAILED_PRECONDITION if it is not in kolm's format. */
kit_status receipt_heads_read(const char *chain_path, receipt_heads *out_heads, kolm_error_t *err) KIT_MUST_USE;
void receipt_heads_free(receipt_heads *heads);
const receipt_head *receipt_heads_find(const receipt_heads *heads, const char *log_id); /* or NULL */
kit_status receipt_heads_write(const char *chain_path, const receipt_heads *heads, kolm_error_t *err) KIT_MUST_USE;
/* Records head as the end of its log, which becomes the current one. */
kit_status receipt_heads_note(const char *chain_path, const receipt_head *head, kolm_error_t *err) KIT_MUST_USE;

/* Why a log that ends in head (NULL: it has no line) must be incomplete; NULL if it may be complete. */
const char *receipt_heads_cut(const receipt_heads *heads, const receipt_head *head, char *text, size_t capacity);

/* Follows the links of the log at path, to its end. *out_same_log is false if the place is in a log that was never on
 * this machine. Else *out_found is true if the line is in the log at its place, every link from the first line to the
 * last is intact, nothing was truncated, and every line that names signer is signed by it; if not, out_why says what is
 * wrong. */
kit_status receipt_chain_find(const char *path, const receipt_place *place, const char *line_sha256,
                              const receipt_public *signer, bool *out_same_log, bool *out_found, char out_why[256],
                              kolm_error_t *err) KIT_MUST_USE;

/* True if the key was replaced (receipt_key_rotate), and place is after that in the same log. */
bool receipt_signed_after_retirement(const receipt_trusted *item, const receipt_place *place);

#endif
