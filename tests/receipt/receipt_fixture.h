/* SPDX-License-Identifier: Apache-2.0 */
/* A directory of keys and a chain, and keys that are the same in each run. */
#ifndef KOLM_TESTS_RECEIPT_FIXTURE_H
#define KOLM_TESTS_RECEIPT_FIXTURE_H

#include "fixture.h"

#include "../suite.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static kolm_error_t err;
static char keys[256], chain[256];

static inline void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    fixture_begin();
    kit_copy(keys, sizeof keys, fixture_path("keys"));
    kit_copy(chain, sizeof chain, fixture_path("receipts.jsonl"));
}

static inline void teardown(void) {
    fixture_end();
}

static inline void from_hex(const char *hex, uint8_t *out, size_t length) {
    static const char digits[] = "0123456789abcdef";
    ck_assert_uint_eq(strlen(hex), 2 * length);
    for (size_t i = 0; i < length; i++) {
        out[i] = (uint8_t)((strchr(digits, hex[2 * i]) - digits) * 16 + (strchr(digits, hex[2 * i + 1]) - digits));
    }
}

static inline receipt_key *seeded(uint8_t byte) {
    uint8_t seed[32];
    receipt_key *key = NULL;
    memset(seed, byte, sizeof seed);
    ck_assert_int_eq(receipt_key_from_seed(seed, &key, &err), KOLM_OK);
    return key;
}

static inline receipt_keyring *ring_now(void) {
    receipt_keyring *ring = NULL;
    ck_assert_msg(receipt_keyring_load(keys, &ring, &err) == KOLM_OK, "%s", err.text);
    return ring;
}

#endif
