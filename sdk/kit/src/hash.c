/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash-2-4. */
#include "kolm/kit/hash.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

kit_status kit_hash_secret_draw(kit_hash_secret *out_secret, kolm_error_t *err) {
    /* Up to 256 bytes are always returned in full, uninterrupted by signals (getrandom(2)). */
    if (getentropy(out_secret, sizeof *out_secret) == 0) return KOLM_OK;
    return kit_fail_errno(err, errno, "cannot get random bytes");
}

static uint64_t rotate(uint64_t x, int bits) {
    return (x << bits) | (x >> (64 - bits));
}

static void rounds(uint64_t v[4], int count) {
    for (; count > 0; count--) {
        v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
        v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
    }
}

/* The first n bytes as a number, the first one least significant. */
static uint64_t little_endian(const unsigned char *bytes, size_t n) {
    uint64_t word = 0;
    for (size_t i = n; i-- > 0;)
        word = word << 8 | bytes[i];
    return word;
}

static void take(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    rounds(v, 2);
    v[0] ^= word;
}

uint64_t kit_hash(const kit_hash_secret *secret, const void *bytes, size_t length) {
    const unsigned char *p = bytes;
    uint64_t v[4] = {secret->words[0] ^ 0x736f6d6570736575, secret->words[1] ^ 0x646f72616e646f6d,
                     secret->words[0] ^ 0x6c7967656e657261, secret->words[1] ^ 0x7465646279746573};
    for (size_t left = length; left >= 8; left -= 8, p += 8)
        take(v, little_endian(p, 8));
    take(v, little_endian(p, length % 8) | (uint64_t)length << 56);
    v[2] ^= 0xff;
    rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
