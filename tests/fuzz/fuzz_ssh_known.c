/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: untrusted known_hosts files; a key is accepted only if a complete line of the right type has it, and
 * never if it is revoked. */
#include "../../sdk/ssh/src/internal.h"

#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = "AAAAC3NzaC1lZDI1NTE5AAAAIEFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB";
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf key = {0};
    ssh_known known = {0};
    const ssh_known_entry *entry = NULL;
    must(kit_base64_decode(&key, text, strlen(text), &err) == KOLM_OK);
    must(ssh_known_parse(&known, "file", (const char *)data, size, "box", &err) == KOLM_OK);
    bool good = false, revoked = false;
    for (size_t i = 0; i < known.count; i++) {
        const ssh_known_entry *e = &known.entries[i];
        char type[64];
        ssh_key_type(e->key, e->key_length, type);
        must(e->line > 0 && e->key_length > 0 && strcmp(type, e->type) == 0);
        bool same = e->key_length == key.length && memcmp(e->key, key.data, key.length) == 0;
        good |= same && e->mark == SSH_MARK_NONE;
        revoked |= same && e->mark == SSH_MARK_REVOKED;
    }
    ssh_known_answer answer = ssh_known_check(&known, (const uint8_t *)key.data, key.length, &entry);
    must((answer == SSH_KNOWN_GOOD) == (good && !revoked) && (answer == SSH_KNOWN_REVOKED) == revoked);
    must(answer == SSH_KNOWN_NEW || entry != NULL);
    ssh_known_free(&known);
    bool held = false;
    must(ssh_keys_hold((const char *)data, size, (const uint8_t *)key.data, key.length, &held, &err) == KOLM_OK);
    (void)ssh_rsa_bits(data, size);
    kit_buf_free(&key);
    /* The reader for everything that the server sends. */
    ssh_cursor cursor = {.at = data, .left = size};
    while (!cursor.failed) {
        size_t length = 0;
        const uint8_t *bytes = ssh_get_string(&cursor, &length);
        must(cursor.failed ? bytes == NULL && length == 0 : bytes + length <= data + size);
    }
    return 0;
}
