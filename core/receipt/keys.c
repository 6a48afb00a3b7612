/* SPDX-License-Identifier: Apache-2.0 */
/* Ed25519 keys: generating, storing, loading, PEM, signing. */
#include "receipt/internal.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* RFC 8410: SubjectPublicKeyInfo and PKCS#8 of Ed25519 are a constant prefix and the 32 bytes. */
static const uint8_t SPKI[] = {0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00};
static const uint8_t PKCS8[] = {0x30, 0x2E, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06,
                                0x03, 0x2B, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20};
#define SPKI_BYTES (sizeof SPKI + RECEIPT_PUBLIC_BYTES)
#define PKCS8_BYTES (sizeof PKCS8 + crypto_sign_SEEDBYTES)

static const char PUBLIC_HEAD[] = "-----BEGIN PUBLIC KEY-----\n", PUBLIC_FOOT[] = "\n-----END PUBLIC KEY-----\n";
static const char PRIVATE_HEAD[] = "-----BEGIN PRIVATE KEY-----\n", PRIVATE_FOOT[] = "\n-----END PRIVATE KEY-----\n";

struct receipt_key {
    receipt_public public_key;
    char pem[RECEIPT_PEM_BYTES];
    uint8_t *secret; /* crypto_sign_SECRETKEYBYTES, sodium_malloc */
};

static kit_status start_sodium(kolm_error_t *err) {
    if (sodium_init() >= 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_INTERNAL, "check the libsodium installation", "libsodium did not start");
}

bool receipt_is_keyid(const char *text) {
    return strlen(text) == RECEIPT_KEYID_HEX && strspn(text, "0123456789abcdef") == RECEIPT_KEYID_HEX;
}

/* ---- Times */
bool receipt_time_text(int64_t seconds, char out_text[RECEIPT_TIME_BYTES]) {
    struct tm parts;
    time_t when = (time_t)seconds;
    out_text[0] = '\0';
    if (seconds < 0 || seconds > 253402300799) return false; /* 9999-12-31T23:59:59Z */
    if (gmtime_r(&when, &parts) == NULL) return false;
    return strftime(out_text, RECEIPT_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &parts) > 0;
}

static bool two_digits(const char *text, int least, int most, int *out) {
    if (text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9') return false;
    *out = (text[0] - '0') * 10 + (text[1] - '0');
    return *out >= least && *out <= most;
}

bool receipt_time_parse(const char *text, int64_t *out_seconds) {
    static const char shape[] = "0000-00-00T00:00:00Z";
    struct tm parts = {0};
    int century = 0, year = 0, month = 0;
    char again[RECEIPT_TIME_BYTES];
    size_t length = strlen(text);
    if (length != 10 && length != sizeof shape - 1) return false;
    for (size_t i = 0; i < length; i++) {
        if (shape[i] != '0' && text[i] != shape[i]) return false;
    }
    if (!two_digits(text, 19, 99, &century) || !two_digits(text + 2, 0, 99, &year) ||
        !two_digits(text + 5, 1, 12, &month) || !two_digits(text + 8, 1, 31, &parts.tm_mday)) {
        return false;
    }
    if (length > 10 && !(two_digits(text + 11, 0, 23, &parts.tm_hour) && two_digits(text + 14, 0, 59, &parts.tm_min) &&
                         two_digits(text + 17, 0, 59, &parts.tm_sec))) {
        return false;
    }
    parts.tm_year = century * 100 + year - 1900;
    parts.tm_mon = month - 1;
    *out_seconds = (int64_t)timegm(&parts);
    /* timegm turns 31 April into 1 May; only real days come back the same. */
    return receipt_time_text(*out_seconds, again) && strncmp(again, text, length) == 0;
}

/* ---- Guarded files */
kit_status receipt_path(const char *directory, const char *inner, const char *name, char **out_path,
                        kolm_error_t *err) {
    kit_buf path = {0};
    kit_buf_fmt(&path, "%s/%s%s%s", directory, inner == NULL ? "" : inner, inner == NULL ? "" : "/", name);
    kit_status status = kit_buf_ok(&path, err);
    *out_path = kit_buf_take(&path);
    return status;
}

kit_status receipt_check_owner(int fd, const char *shown, kit_trust policy, kolm_error_t *err) {
    struct stat info;
    char remedy[256];
    if (fstat(fd, &info) != 0) return kit_fail_errno(err, errno, "cannot access %s", shown);
    kit_trust_fault fault = kit_trust_stat(policy, &info);
    if (fault == KIT_TRUST_OWNER) {
        kit_format(remedy, sizeof remedy, "find out who put it there; then: chown $(id -u) %s", shown);
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, remedy,
                        "%s belongs to another user (%lu), who could sign as you or choose whom you trust", shown,
                        kit_trust_owner_number(&info));
    }
    if (fault == KIT_TRUST_MODE) {
        kit_format(remedy, sizeof remedy, "chmod %s %s", policy == KIT_TRUST_SECRET ? "600" : "go-w", shown);
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, remedy, "%s can be %s by others (mode %04o)", shown,
                        policy == KIT_TRUST_SECRET ? "read or changed" : "changed", (unsigned)(info.st_mode & 07777));
    }
    return KOLM_OK;
}

kit_status receipt_check_regular(int fd, kolm_error_t *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return kit_fail_errno(err, errno, "cannot access it");
    if (S_ISREG(info.st_mode)) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "move it away", "it is not a regular file");
}

kit_status receipt_check_directory(const char *path, kolm_error_t *err) {
    struct stat info;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), reason = errno;
    /* A dangling link is not a missing directory: revoked keys would be trusted again. */
    if (fd < 0 && reason == ENOENT && lstat(path, &info) == 0)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "restore its target, or remove the link",
                        "%s is a dangling symbolic link", path);
    if (fd < 0) return kit_fail_errno(err, reason, "cannot open %s", path);
    kit_status status = receipt_check_owner(fd, path, KIT_TRUST_OWN, err);
    close(fd);
    return status;
}

static kit_status open_guarded(const char *path, kit_trust policy, int *out_fd, kolm_error_t *err) {
    *out_fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (*out_fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    kit_status status = receipt_check_owner(*out_fd, path, policy, err);
    if (status == KOLM_OK) {
        status = receipt_check_regular(*out_fd, err);
        if (status == KOLM_OK) return KOLM_OK;
        kit_fail_context(err, "%s", path);
    }
    close(*out_fd);
    *out_fd = -1;
    return status;
}

/* Reads at most capacity bytes; *out_length: how many. */
static kit_status read_up_to(int fd, const char *path, char *bytes, size_t capacity, size_t *out_length,
                             kolm_error_t *err) {
    *out_length = 0;
    while (*out_length < capacity) {
        ssize_t got = read(fd, bytes + *out_length, capacity - *out_length);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return kit_fail_errno(err, errno, "cannot read %s", path);
        if (got == 0) break;
        *out_length += (size_t)got;
    }
    return KOLM_OK;
}

kit_status receipt_read_guarded(const char *path, size_t max_bytes, kit_buf *out, kolm_error_t *err) {
    int fd = -1;
    size_t length = 0;
    KIT_TRY(open_guarded(path, KIT_TRUST_OWN, &fd, err));
    char *bytes = malloc(max_bytes + 1);
    kit_status status = bytes != NULL ? KOLM_OK : kit_no_memory(err);
    if (status == KOLM_OK) status = read_up_to(fd, path, bytes, max_bytes + 1, &length, err);
    if (status == KOLM_OK && length > max_bytes)
        status = kit_fail(err, KOLM_E_OUT_OF_RANGE, "move it away", "%s is larger than %zu bytes", path, max_bytes);
    if (status == KOLM_OK) {
        kit_buf_add(out, bytes, length);
        status = kit_buf_ok(out, err);
    }
    close(fd);
    free(bytes);
    return status;
}

kit_status receipt_lock_keys(const char *keys_dir, int *out_fd, kolm_error_t *err) {
    char *path = NULL;
    *out_fd = -1;
    KIT_TRY(kit_mkdirs(keys_dir, 0700, err));
    KIT_TRY(receipt_check_directory(keys_dir, err));
    KIT_TRY(receipt_path(keys_dir, NULL, "lock", &path, err));
    kit_status status = kit_lock_open(path, out_fd, err);
    /* Interrupted by the signal that ends the program: do not wait for the lock any longer. */
    if (status == KOLM_OK) status = kit_lock_hold(*out_fd, path, err);
    if (status != KOLM_OK && *out_fd >= 0) {
        close(*out_fd);
        *out_fd = -1;
    }
    free(path);
    return status;
}

/* ---- Public keys */
kit_status receipt_public_make(const uint8_t bytes[RECEIPT_PUBLIC_BYTES], receipt_public *out_public,
                               kolm_error_t *err) {
    uint8_t der[SPKI_BYTES];
    KIT_TRY(start_sodium(err));
    /* With a key of small order, or an invalid point, foreign signatures verify. */
    if (crypto_core_ed25519_is_valid_point(bytes) != 1) {
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "ask its owner to export it again",
                        "the public key is not a valid Ed25519 key");
    }
    memcpy(out_public->bytes, bytes, RECEIPT_PUBLIC_BYTES);
    memcpy(der, SPKI, sizeof SPKI);
    memcpy(der + sizeof SPKI, bytes, RECEIPT_PUBLIC_BYTES);
    return kit_sha256_bytes(der, sizeof der, out_public->keyid, err);
}

/* HEAD base64(der) FOOT and a NUL, into a place that is large enough. */
static void write_pem(const char *head, const char *foot, const uint8_t *der, size_t der_length, char *out,
                      size_t capacity) {
    size_t at = strlen(head);
    memcpy(out, head, at);
    sodium_bin2base64(out + at, capacity - at, der, der_length, sodium_base64_VARIANT_ORIGINAL);
    kit_copy(out + at + strlen(out + at), capacity - at - strlen(out + at), foot);
}

/* The inverse, for exactly this head, foot and prefix; CR and one missing LF at the end are forgiven. */
static bool read_pem(const char *head, const char *foot, const uint8_t *prefix, size_t prefix_length, const char *pem,
                     size_t length, uint8_t *out_last, size_t last_length) {
    char plain[256];
    uint8_t der[64];
    size_t n = 0, der_length = 0, head_length = strlen(head), foot_length = strlen(foot);
    bool good = true;
    for (size_t i = 0; i < length && good; i++) {
        if (pem[i] == '\r') continue;
        good = n + 2 < sizeof plain;
        if (good) plain[n++] = pem[i];
    }
    if (good && n > 0 && plain[n - 1] != '\n') plain[n++] = '\n';
    good = good && n > head_length + foot_length && memcmp(plain, head, head_length) == 0 &&
           memcmp(plain + n - foot_length, foot, foot_length) == 0;
    good = good && sodium_base642bin(der, sizeof der, plain + head_length, n - head_length - foot_length, NULL,
                                     &der_length, NULL, sodium_base64_VARIANT_ORIGINAL) == 0;
    good = good && der_length == prefix_length + last_length && memcmp(der, prefix, prefix_length) == 0;
    if (good) memcpy(out_last, der + prefix_length, last_length);
    sodium_memzero(plain, sizeof plain);
    sodium_memzero(der, sizeof der);
    return good;
}

void receipt_public_pem(const receipt_public *public_key, char out_pem[RECEIPT_PEM_BYTES]) {
    uint8_t der[SPKI_BYTES];
    memcpy(der, SPKI, sizeof SPKI);
    memcpy(der + sizeof SPKI, public_key->bytes, RECEIPT_PUBLIC_BYTES);
    write_pem(PUBLIC_HEAD, PUBLIC_FOOT, der, sizeof der, out_pem, RECEIPT_PEM_BYTES);
}

kit_status receipt_public_parse(const char *pem, size_t length, receipt_public *out_public, kolm_error_t *err) {
    uint8_t bytes[RECEIPT_PUBLIC_BYTES];
    if (pem == NULL) length = 0;
    if (read_pem(PUBLIC_HEAD, PUBLIC_FOOT, SPKI, sizeof SPKI, pem, length, bytes, sizeof bytes))
        return receipt_public_make(bytes, out_public, err);
    if (length >= 27 && memmem(pem, length, "PRIVATE KEY", 11) != NULL) {
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use only the public half: openssl pkey -in FILE -pubout",
                        "this is a private key");
    }
    if (length >= 26 && memcmp(pem, PUBLIC_HEAD, 26) == 0) {
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "kolm signs with Ed25519: kolm keys export",
                        "this is not an Ed25519 public key");
    }
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "export one with: kolm keys export",
                    "this is not a public key in PEM");
}

kit_status receipt_public_read(const char *path, receipt_public *out_public, kolm_error_t *err) {
    kit_buf text = {0};
    kit_status status = kit_read_file(path, 16384, &text, err);
    if (status == KOLM_OK) {
        status = receipt_public_parse(kit_buf_text(&text), text.length, out_public, err);
        if (status != KOLM_OK) kit_fail_context(err, "%s", path);
    }
    kit_buf_free(&text);
    return status;
}

/* ---- The signing key */
kit_status receipt_key_from_seed(const uint8_t seed[32], receipt_key **out_key, kolm_error_t *err) {
    uint8_t public_bytes[RECEIPT_PUBLIC_BYTES];
    *out_key = NULL;
    KIT_TRY(start_sodium(err));
    receipt_key *key = calloc(1, sizeof *key);
    if (key == NULL) return kit_no_memory(err);
    key->secret = sodium_malloc(crypto_sign_SECRETKEYBYTES);
    if (key->secret == NULL || crypto_sign_seed_keypair(public_bytes, key->secret, seed) != 0) {
        receipt_key_free(key);
        return kit_no_memory(err);
    }
    kit_status status = receipt_public_make(public_bytes, &key->public_key, err);
    if (status != KOLM_OK) {
        receipt_key_free(key);
        return status;
    }
    receipt_public_pem(&key->public_key, key->pem);
    *out_key = key;
    return KOLM_OK;
}

kit_status receipt_key_random(receipt_key **out_key, kolm_error_t *err) {
    uint8_t seed[crypto_sign_SEEDBYTES];
    *out_key = NULL;
    if (getrandom(seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        return kit_fail_errno(err, errno, "cannot get random bytes for a key");
    kit_status status = receipt_key_from_seed(seed, out_key, err);
    sodium_memzero(seed, sizeof seed);
    return status;
}

void receipt_key_free(receipt_key *key) {
    if (key == NULL) return;
    sodium_free(key->secret);
    free(key);
}

const receipt_public *receipt_key_public(const receipt_key *key) {
    return &key->public_key;
}

const char *receipt_key_pem(const receipt_key *key) {
    return key->pem;
}

kit_status receipt_key_sign(const receipt_key *key, const void *bytes, size_t length,
                            uint8_t out_signature[RECEIPT_SIGNATURE_BYTES], kolm_error_t *err) {
    if (crypto_sign_detached(out_signature, NULL, bytes, length, key->secret) == 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_INTERNAL, "report this", "signing failed");
}

static kit_status store_public(const char *keys_dir, const receipt_key *key, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(receipt_path(keys_dir, NULL, RECEIPT_SIGNING_PUBLIC, &path, err));
    kit_status status = kit_write_file(path, 0644, key->pem, strlen(key->pem), err);
    free(path);
    return status;
}

kit_status receipt_key_store(const char *keys_dir, const receipt_key *key, bool replace, kolm_error_t *err) {
    char *path = NULL;
    char pem[RECEIPT_PKCS8_BYTES];
    uint8_t der[PKCS8_BYTES];
    kit_atomic_file file = {.fd = -1};
    memcpy(der, PKCS8, sizeof PKCS8);
    crypto_sign_ed25519_sk_to_seed(der + sizeof PKCS8, key->secret);
    write_pem(PRIVATE_HEAD, PRIVATE_FOOT, der, sizeof der, pem, sizeof pem);
    kit_status status = receipt_path(keys_dir, NULL, RECEIPT_SIGNING, &path, err);
    if (status == KOLM_OK) status = kit_atomic_open(path, 0600, &file, err);
    if (status == KOLM_OK) {
        status = kit_write_all(file.fd, pem, strlen(pem), err);
        if (status == KOLM_OK) status = kit_atomic_commit(&file, replace, err);
        kit_atomic_abort(&file);
    }
    sodium_memzero(pem, sizeof pem);
    sodium_memzero(der, sizeof der);
    free(path);
    return status == KOLM_OK ? store_public(keys_dir, key, err) : status;
}

kit_status receipt_key_load(const char *keys_dir, receipt_key **out_key, kolm_error_t *err) {
    char *path = NULL;
    char text[512];
    uint8_t seed[crypto_sign_SEEDBYTES];
    int fd = -1;
    size_t length = 0;
    *out_key = NULL;
    KIT_TRY(start_sodium(err));
    KIT_TRY(receipt_check_directory(keys_dir, err));
    KIT_TRY(receipt_path(keys_dir, NULL, RECEIPT_SIGNING, &path, err));
    kit_status status = open_guarded(path, KIT_TRUST_SECRET, &fd, err);
    if (status == KOLM_OK) status = read_up_to(fd, path, text, sizeof text, &length, err);
    if (status == KOLM_OK &&
        !read_pem(PRIVATE_HEAD, PRIVATE_FOOT, PKCS8, sizeof PKCS8, text, length, seed, sizeof seed)) {
        status =
            kit_fail(err, KOLM_E_DATA_LOSS, "restore the file from a backup, or move it away to begin with a new key",
                     "%s is not an Ed25519 private key in PKCS#8 PEM", path);
    }
    if (status == KOLM_OK) status = receipt_key_from_seed(seed, out_key, err);
    sodium_memzero(text, sizeof text);
    sodium_memzero(seed, sizeof seed);
    if (fd >= 0) close(fd);
    free(path);
    return status;
}

static kit_status first_key(const char *keys_dir, receipt_key **out_key, bool *out_created, kolm_error_t *err) {
    receipt_key *fresh = NULL;
    kit_status status = kit_mkdirs(keys_dir, 0700, err);
    if (status == KOLM_OK) status = receipt_check_directory(keys_dir, err);
    if (status == KOLM_OK) status = receipt_key_random(&fresh, err);
    /* The first process to link the file wins; the other loads that key. */
    if (status == KOLM_OK) status = receipt_key_store(keys_dir, fresh, false, err);
    *out_created = status == KOLM_OK;
    receipt_key_free(fresh);
    if (status == KOLM_OK || status == KOLM_E_ALREADY_EXISTS) status = receipt_key_load(keys_dir, out_key, err);
    return status;
}

/* Nothing new may be signed with a key that was revoked. */
static kit_status check_not_revoked(const char *keys_dir, const char *keyid, kolm_error_t *err) {
    char name[80];
    char *path = NULL;
    kit_format(name, sizeof name, "%s.json", keyid);
    KIT_TRY(receipt_path(keys_dir, RECEIPT_REVOKED_DIR, name, &path, err));
    kit_status status = KOLM_OK;
    bool revoked = access(path, F_OK) == 0;
    if (!revoked && errno != ENOENT && errno != ENOTDIR)
        status = kit_fail_errno(err, errno, "cannot determine whether %s exists", path);
    free(path);
    if (!revoked) return status;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "make a new one with: kolm keys rotate",
                    "the signing key %.16s was revoked", keyid);
}

kit_status receipt_key_check(const char *keys_dir, kolm_error_t *err) {
    receipt_key *key = NULL;
    kolm_error_t why = KIT_ERROR_INIT;
    kit_status status = receipt_key_load(keys_dir, &key, &why);
    if (status == KOLM_E_NOT_FOUND) return KOLM_OK;
    if (status != KOLM_OK && err != NULL) *err = why;
    if (status == KOLM_OK) status = check_not_revoked(keys_dir, key->public_key.keyid, err);
    receipt_key_free(key);
    return status;
}

/* The public copy: a crash between the two files of a rotation leaves the previous key's. A read-only home can still
 * sign. */
static void refresh_public(const char *keys_dir, const receipt_key *key) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    char *path = NULL;
    kit_buf text = {0};
    if (receipt_path(keys_dir, NULL, RECEIPT_SIGNING_PUBLIC, &path, &ignored) != KOLM_OK) return;
    bool same = kit_read_file(path, RECEIPT_PEM_BYTES, &text, &ignored) == KOLM_OK && text.length == strlen(key->pem) &&
                memcmp(text.data, key->pem, text.length) == 0;
    if (!same) {
        kit_status status = store_public(keys_dir, key, &ignored);
        (void)status;
    }
    kit_buf_free(&text);
    free(path);
}

kit_status receipt_key_open(const char *keys_dir, receipt_key **out_key, bool *out_created, kolm_error_t *err) {
    *out_created = false;
    kit_status status = receipt_key_load(keys_dir, out_key, err);
    if (status == KOLM_E_NOT_FOUND) status = first_key(keys_dir, out_key, out_created, err);
    if (status == KOLM_OK) status = check_not_revoked(keys_dir, (*out_key)->public_key.keyid, err);
    if (status == KOLM_OK) {
        refresh_public(keys_dir, *out_key);
    } else {
        receipt_key_free(*out_key);
        *out_key = NULL;
    }
    return status;
}
