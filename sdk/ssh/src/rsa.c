/* SPDX-License-Identifier: Apache-2.0 */
/* RSA key files, for SHA-512 signatures: libssh2 1.10 supports only SHA-1, which current servers refuse. */
#include "internal.h"

#include "kolm/kit/file.h"
#include "kolm/kit/text.h"

#include <nettle/bignum.h>
#include <nettle/rsa.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define MOST_BYTES (64u << 10)
#define LEAST_BITS 1024u
#define MOST_BITS 16384u

struct ssh_rsa {
    struct rsa_public_key public_key;
    struct rsa_private_key private_key;
};

static void wipe(mpz_t number) {
    size_t limbs = mpz_size(number);
    if (limbs > 0) explicit_bzero(mpz_limbs_modify(number, (mp_size_t)limbs), limbs * sizeof(mp_limb_t));
}

void ssh_rsa_free(ssh_rsa *rsa) {
    if (rsa == NULL) return;
    struct rsa_private_key *k = &rsa->private_key;
    wipe(k->d);
    wipe(k->p);
    wipe(k->q);
    wipe(k->a);
    wipe(k->b);
    wipe(k->c);
    rsa_public_key_clear(&rsa->public_key);
    rsa_private_key_clear(k);
    free(rsa);
}

static void get_number(ssh_cursor *cursor, mpz_t out) {
    size_t length = 0;
    const uint8_t *bytes = ssh_get_string(cursor, &length);
    if (bytes != NULL) nettle_mpz_set_str_256_u(out, length, bytes);
}

static bool same_text(const uint8_t *bytes, size_t length, const char *text) {
    return bytes != NULL && length == strlen(text) && memcmp(bytes, text, length) == 0;
}

/* PROTOCOL.key of OpenSSH: magic, cipher, kdf, its options, count, public key, and then the private section, here
 * unencrypted. */
static bool read_openssh(const uint8_t *bytes, size_t length, ssh_rsa *rsa) {
    static const char magic[] = "openssh-key-v1";
    if (length < sizeof magic || memcmp(bytes, magic, sizeof magic) != 0) return false;
    ssh_cursor file = {.at = bytes + sizeof magic, .left = length - sizeof magic};
    size_t n = 0;
    const uint8_t *cipher = ssh_get_string(&file, &n);
    if (!same_text(cipher, n, "none")) return false;
    (void)ssh_get_string(&file, &n);
    (void)ssh_get_string(&file, &n);
    if (ssh_get_u32(&file) != 1) return false;
    (void)ssh_get_string(&file, &n);
    const uint8_t *section = ssh_get_string(&file, &n);
    ssh_cursor key = {.at = section, .left = n, .failed = section == NULL};
    struct rsa_private_key *k = &rsa->private_key;
    if (ssh_get_u32(&key) != ssh_get_u32(&key)) return false;
    const uint8_t *type = ssh_get_string(&key, &n);
    if (!same_text(type, n, "ssh-rsa")) return false;
    get_number(&key, rsa->public_key.n);
    get_number(&key, rsa->public_key.e);
    get_number(&key, k->d);
    get_number(&key, k->c); /* the inverse of q modulo p */
    get_number(&key, k->p);
    get_number(&key, k->q);
    if (key.failed || mpz_cmp_ui(k->p, 2) < 0 || mpz_cmp_ui(k->q, 2) < 0) return false;
    mpz_t less;
    mpz_init(less);
    mpz_sub_ui(less, k->p, 1);
    mpz_mod(k->a, k->d, less);
    mpz_sub_ui(less, k->q, 1);
    mpz_mod(k->b, k->d, less);
    wipe(less);
    mpz_clear(less);
    return rsa_public_key_prepare(&rsa->public_key) == 1 && rsa_private_key_prepare(k) == 1;
}

/* Decodes the contents of a PEM file with this label. */
static bool unwrap(const char *text, const char *label, kit_buf *out) {
    char begin[64], end[64];
    kolm_error_t ignored = KIT_ERROR_INIT;
    kit_format(begin, sizeof begin, "-----BEGIN %s-----", label);
    kit_format(end, sizeof end, "-----END %s-----", label);
    const char *from = strstr(text, begin), *to = from != NULL ? strstr(from, end) : NULL;
    if (to == NULL) return false;
    kit_buf bare = {0};
    for (const char *p = from + strlen(begin); p < to; p++)
        if (strchr("\r\n \t", *p) == NULL) kit_buf_char(&bare, *p);
    bool good = kit_base64_decode(out, kit_buf_text(&bare), bare.length, &ignored) == KOLM_OK;
    if (bare.data != NULL) explicit_bzero(bare.data, bare.capacity);
    kit_buf_free(&bare);
    return good;
}

static bool read_key(const char *text, ssh_rsa *rsa) {
    kit_buf bytes = {0};
    bool good = false;
    if (unwrap(text, "OPENSSH PRIVATE KEY", &bytes))
        good = read_openssh((const uint8_t *)kit_buf_text(&bytes), bytes.length, rsa);
    else if (unwrap(text, "RSA PRIVATE KEY", &bytes))
        good = rsa_keypair_from_der(&rsa->public_key, &rsa->private_key, MOST_BITS, bytes.length,
                                    (const uint8_t *)kit_buf_text(&bytes)) == 1;
    if (bytes.data != NULL) explicit_bzero(bytes.data, bytes.capacity);
    kit_buf_free(&bytes);
    size_t bits = good ? mpz_sizeinbase(rsa->public_key.n, 2) : 0;
    return bits >= LEAST_BITS && bits <= MOST_BITS;
}

kit_status ssh_rsa_read(const char *path, ssh_rsa **out, kolm_error_t *err) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    kit_buf text = {0};
    *out = NULL;
    ssh_rsa *rsa = calloc(1, sizeof *rsa);
    if (rsa == NULL) return kit_no_memory(err);
    rsa_public_key_init(&rsa->public_key);
    rsa_private_key_init(&rsa->private_key);
    if (kit_read_file(path, MOST_BYTES, &text, &ignored) == KOLM_OK && read_key(kit_buf_text(&text), rsa))
        *out = rsa;
    else
        ssh_rsa_free(rsa);
    if (text.data != NULL) explicit_bzero(text.data, text.capacity);
    kit_buf_free(&text);
    return KOLM_OK;
}

/* For blinding, without which the signature would leak information about the key. nettle's callback cannot report an
 * error, so *failed does. */
static void random_bytes(void *user, size_t length, uint8_t *out) {
    bool *failed = user;
    while (length > 0) {
        ssize_t got = getrandom(out, length, 0);
        if (got <= 0) {
            *failed = true;
            memset(out, 1, length);
            return;
        }
        out += got;
        length -= (size_t)got;
    }
}

bool ssh_rsa_sign(const ssh_rsa *rsa, const uint8_t *data, size_t length, kit_buf *out) {
    struct sha512_ctx hash;
    mpz_t signature;
    bool failed = false;
    size_t size = rsa->public_key.size;
    sha512_init(&hash);
    sha512_update(&hash, length, data);
    mpz_init(signature);
    uint8_t *bytes = malloc(size);
    bool good = bytes != NULL &&
                rsa_sha512_sign_tr(&rsa->public_key, &rsa->private_key, &failed, random_bytes, &hash, signature) == 1 &&
                !failed;
    if (good) {
        nettle_mpz_get_str_256(size, bytes, signature);
        kit_buf_add(out, bytes, size);
    }
    mpz_clear(signature);
    free(bytes);
    return good && !out->failed;
}
