/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: the files of a keyring. The parts of an input are the key id in the file names ("" for the id of the key
 * itself), the public key, its note, and the note of a revocation. An accepted key has the id of its bytes and dates
 * that can be written again, and is not trusted once revoked. */
#include "fuzz.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/text.h"
#include "receipt/internal.h"

#include <string.h>
#include <sys/stat.h>

static char last_id[KIT_SHA256_HEX];

static void put(const char *inner, const char *suffix, const char *text, size_t length) {
    char name[128];
    kit_format(name, sizeof name, "%s/%s%s", inner, last_id, suffix);
    fuzz_put_any(name, text, length);
}

static void remove_last(void) {
    if (last_id[0] == '\0') return;
    put(RECEIPT_TRUSTED_DIR, ".pem", NULL, 0);
    put(RECEIPT_TRUSTED_DIR, ".json", NULL, 0);
    put(RECEIPT_REVOKED_DIR, ".json", NULL, 0);
}

static void check_date(int64_t date) {
    char text[RECEIPT_TIME_BYTES];
    int64_t again = 0;
    if (date == RECEIPT_NO_START || date == RECEIPT_NO_END) return;
    must(receipt_time_text(date, text) && receipt_time_parse(text, &again) && again == date);
}

static void check_item(const receipt_trusted *item, bool revoked) {
    receipt_public key;
    must(receipt_is_keyid(item->key.keyid) && strcmp(item->key.keyid, last_id) == 0 && !item->own);
    must(item->revoked == revoked);
    must(kit_utf8_valid(item->label, strlen(item->label)) == strlen(item->label));
    must(kit_utf8_valid(item->reason, strlen(item->reason)) == strlen(item->reason));
    check_date(item->valid_from);
    check_date(item->valid_to);
    check_date(item->revoked_at);
    must(!item->retired || receipt_is_log_id(item->retired_log_id));
    if (!item->trusted && !item->backends) return;
    must(receipt_public_make(item->key.bytes, &key, NULL) == KOLM_OK && strcmp(key.keyid, item->key.keyid) == 0);
}

/* The entry is equivalent after kolm writes it again. */
static void check_again(const receipt_trusted *item) {
    receipt_keyring *again = NULL;
    if (!(item->trusted || item->backends) || item->revoked || item->valid_to < item->valid_from) return;
    must(receipt_trust_locked(fuzz_directory(), item, 0, NULL) == KOLM_OK);
    must(receipt_keyring_load(fuzz_directory(), &again, NULL) == KOLM_OK);
    const receipt_trusted *same = receipt_keyring_find(again, item->key.keyid);
    must(same != NULL && memcmp(&same->key, &item->key, sizeof same->key) == 0);
    must(same->trusted == item->trusted && same->backends == item->backends);
    must(strcmp(same->label, item->label) == 0 && same->valid_from == item->valid_from &&
         same->valid_to == item->valid_to && same->retired == item->retired && same->retired_at == item->retired_at &&
         same->retired_seq == item->retired_seq && strcmp(same->retired_log_id, item->retired_log_id) == 0);
    receipt_keyring_free(again);
}

static void set_up(void) {
    must(mkdir(fuzz_path(RECEIPT_TRUSTED_DIR), 0700) == 0 && mkdir(fuzz_path(RECEIPT_REVOKED_DIR), 0700) == 0);
}

/* Returns false if no file of the keyring could have this name. */
static bool take_id(const char *named, const char *pem, size_t length) {
    kolm_error_t err = KIT_ERROR_INIT;
    receipt_public key;
    remove_last();
    last_id[0] = '\0';
    if (receipt_is_keyid(named))
        kit_copy(last_id, sizeof last_id, named);
    else if (named[0] == '\0' && receipt_public_parse(pem, length, &key, &err) == KOLM_OK)
        kit_copy(last_id, sizeof last_id, key.keyid);
    return last_id[0] != '\0';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool ready;
    kolm_error_t err = KIT_ERROR_INIT;
    receipt_keyring *ring = NULL;
    fuzz_parts parts = {(const char *)data, size};
    char *part[4];
    size_t length[4];
    if (!ready) set_up();
    ready = true;
    for (int i = 0; i < 4; i++)
        part[i] = fuzz_part(&parts, &length[i]);
    if (take_id(part[0], part[1], length[1])) {
        put(RECEIPT_TRUSTED_DIR, ".pem", part[1], length[1]);
        put(RECEIPT_TRUSTED_DIR, ".json", part[2], length[2]);
        put(RECEIPT_REVOKED_DIR, ".json", part[3], length[3]);
        kit_status status = receipt_keyring_load(fuzz_directory(), &ring, &err);
        if (status == KOLM_OK) {
            must(receipt_keyring_count(ring) <= 1);
            if (receipt_keyring_count(ring) == 1) {
                check_item(receipt_keyring_at(ring, 0), length[3] > 0);
                check_again(receipt_keyring_at(ring, 0));
            }
        } else {
            fuzz_refused(status, &err);
        }
    }
    receipt_keyring_free(ring);
    for (int i = 0; i < 4; i++)
        free(part[i]);
    return 0;
}
