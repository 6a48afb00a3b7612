/* SPDX-License-Identifier: Apache-2.0 */
/* Generates an Ed25519 key and writes it in OpenSSH's format. */
#include "internal.h"

#include "kolm/kit/file.h"
#include "kolm/kit/ssh_key.h"
#include "kolm/kit/text.h"

#include <nettle/eddsa.h>
#include <string.h>
#include <sys/random.h>

#define TYPE "ssh-ed25519"
#define COMMENT_MAX 100
#define BLOCK 8 /* the private part is padded to this without a cipher */

typedef struct key {
    uint8_t seed[ED25519_KEY_SIZE], pub[ED25519_KEY_SIZE];
    uint32_t check; /* twice in the file, to detect a wrong passphrase */
} key;

static kit_status draw(key *k, kolm_error_t *err) {
    if (getrandom(k->seed, sizeof k->seed, 0) != (ssize_t)sizeof k->seed ||
        getrandom(&k->check, sizeof k->check, 0) != (ssize_t)sizeof k->check)
        return kit_fail(err, KOLM_E_INTERNAL, "try again", "cannot get random numbers");
    ed25519_sha512_public_key(k->pub, k->seed);
    return KOLM_OK;
}

static void put_public(kit_buf *out, const key *k) {
    ssh_put_string(out, TYPE, strlen(TYPE));
    ssh_put_string(out, k->pub, sizeof k->pub);
}

/* Allocates in advance: a growing buffer leaves copies of its bytes behind. */
static void reserve(kit_buf *buf, size_t bytes) {
    static const char blank[2048];
    kit_buf_add(buf, blank, bytes < sizeof blank ? bytes : sizeof blank);
    kit_buf_clear(buf);
}

static void wipe(kit_buf *buf) {
    if (buf->data != NULL) explicit_bzero(buf->data, buf->capacity);
    kit_buf_free(buf);
}

/* The part that a cipher would encrypt. */
static void put_private(kit_buf *out, const key *k, const char *comment) {
    uint8_t both[2 * ED25519_KEY_SIZE];
    memcpy(both, k->seed, sizeof k->seed);
    memcpy(both + sizeof k->seed, k->pub, sizeof k->pub);
    ssh_put_u32(out, k->check);
    ssh_put_u32(out, k->check);
    put_public(out, k);
    ssh_put_string(out, both, sizeof both);
    ssh_put_string(out, comment, strlen(comment));
    for (char pad = 1; out->length % BLOCK != 0; pad++)
        kit_buf_char(out, pad);
    explicit_bzero(both, sizeof both);
}

static kit_status write_private(const char *path, const key *k, const char *comment, kolm_error_t *err) {
    static const char magic[] = "openssh-key-v1"; /* with its NUL */
    kit_buf part = {0}, body = {0}, text = {0}, pub = {0};
    reserve(&part, 512);
    reserve(&body, 1024);
    reserve(&text, 2048);
    put_private(&part, k, comment);
    put_public(&pub, k);
    kit_buf_add(&body, magic, sizeof magic);
    ssh_put_string(&body, "none", 4); /* cipher */
    ssh_put_string(&body, "none", 4); /* of the passphrase */
    ssh_put_string(&body, "", 0);
    ssh_put_u32(&body, 1); /* keys */
    ssh_put_string(&body, kit_buf_text(&pub), pub.length);
    ssh_put_string(&body, kit_buf_text(&part), part.length);
    kit_buf_str(&text, "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    kit_base64(&text, (const uint8_t *)kit_buf_text(&body), body.length);
    kit_buf_str(&text, "\n-----END OPENSSH PRIVATE KEY-----\n");
    bool whole = !part.failed && !body.failed && !pub.failed;
    kit_status status = whole ? kit_buf_ok(&text, err) : kit_no_memory(err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, text.data, text.length, err);
    wipe(&part);
    wipe(&body);
    wipe(&text);
    kit_buf_free(&pub);
    return status;
}

static kit_status write_public(const key *k, const char *comment, char out[KIT_SSH_PUBLIC_BYTES], kolm_error_t *err) {
    kit_buf pub = {0}, line = {0};
    put_public(&pub, k);
    kit_buf_str(&line, TYPE " ");
    kit_base64(&line, (const uint8_t *)kit_buf_text(&pub), pub.length);
    kit_buf_fmt(&line, " %s", comment);
    kit_status status = kit_buf_ok(&line, err);
    if (status == KOLM_OK && !kit_copy(out, KIT_SSH_PUBLIC_BYTES, line.data))
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "shorten it", "the comment of a key is too long");
    kit_buf_free(&pub);
    kit_buf_free(&line);
    return status;
}

kit_status kit_ssh_key_make(const char *path, const char *comment, char out_public[KIT_SSH_PUBLIC_BYTES],
                            kolm_error_t *err) {
    key k;
    size_t length = strlen(comment);
    out_public[0] = '\0';
    for (size_t i = 0; i < length; i++)
        if (length > COMMENT_MAX || comment[i] <= ' ' || comment[i] > '~')
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "report it to the author of this backend",
                            "the comment of a key is too long, or is not one word");
    KIT_TRY(draw(&k, err));
    kit_status status = write_public(&k, comment, out_public, err);
    if (status == KOLM_OK) status = write_private(path, &k, comment, err);
    explicit_bzero(&k, sizeof k);
    return status;
}
