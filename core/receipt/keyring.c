/* SPDX-License-Identifier: Apache-2.0 */
/* The keyring: trusted keys with their dates, and revoked keys. */
#include "receipt/internal.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/text.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_NOTE 16384 /* bytes of a JSON file of the keyring */
#define MAX_KEYS 4096

static const char *const ROLE_ARTIFACTS = "artifacts", *const ROLE_BACKENDS = "backends";

struct receipt_keyring {
    receipt_trusted *items;
    size_t count, capacity;
};

static receipt_trusted *find(const receipt_keyring *ring, const char *keyid) {
    for (size_t i = 0; i < ring->count; i++) {
        if (strcmp(ring->items[i].key.keyid, keyid) == 0) return &ring->items[i];
    }
    return NULL;
}

/* Returns the item of that key, which is added if missing. */
static kit_status item_of(receipt_keyring *ring, const char *keyid, receipt_trusted **out, kolm_error_t *err) {
    *out = find(ring, keyid);
    if (*out != NULL) return KOLM_OK;
    if (ring->count == MAX_KEYS)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "remove some", "the keyring has more than %d keys", MAX_KEYS);
    if (ring->count == ring->capacity) {
        size_t capacity = ring->capacity == 0 ? 8 : 2 * ring->capacity;
        receipt_trusted *items = realloc(ring->items, capacity * sizeof *items);
        if (items == NULL) return kit_no_memory(err);
        ring->items = items;
        ring->capacity = capacity;
    }
    *out = &ring->items[ring->count++];
    **out = (receipt_trusted){.valid_from = RECEIPT_NO_START, .valid_to = RECEIPT_NO_END};
    kit_copy((*out)->key.keyid, KIT_SHA256_HEX, keyid);
    return KOLM_OK;
}

static bool get_time(const cJSON *note, const char *key, int64_t *out) {
    const char *text = NULL;
    const cJSON *item = kit_json_get(note, key);
    if (item == NULL || cJSON_IsNull(item)) return true;
    return kit_json_get_string(note, key, &text) && receipt_time_parse(text, out);
}

static kit_status read_note(const char *path, cJSON **out, kolm_error_t *err) {
    kit_buf text = {0};
    kit_status status = receipt_read_guarded(path, MAX_NOTE, &text, err);
    if (status == KOLM_OK) {
        status = kit_json_parse(kit_buf_text(&text), text.length, out, err);
        if (status != KOLM_OK) kit_fail_context(err, "%s", path);
    }
    kit_buf_free(&text);
    return status;
}

static kit_status bad_note(const char *path, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_DATA_LOSS, "remove it, then trust or revoke the key again",
                    "%s is not in the format that kolm writes", path);
}

/* Reads "retired", which only a replaced key has. */
static bool get_retired(const cJSON *note, receipt_trusted *item) {
    const cJSON *retired = kit_json_get(note, "retired");
    const char *log_id = NULL, *at = NULL;
    if (retired == NULL) return true;
    if (!kit_json_get_string(retired, "log_id", &log_id) || !receipt_is_log_id(log_id) ||
        !kit_json_get_u64(retired, "seq", &item->retired_seq) || !kit_json_get_string(retired, "at", &at) ||
        !receipt_time_parse(at, &item->retired_at))
        return false;
    kit_copy(item->retired_log_id, sizeof item->retired_log_id, log_id);
    item->retired = true;
    return true;
}

/* Reads "roles"; without it a key is for artifacts. */
static bool get_roles(const cJSON *note, bool *artifacts, bool *backends) {
    const cJSON *roles = kit_json_get(note, "roles"), *one;
    *artifacts = roles == NULL;
    *backends = false;
    if (roles == NULL) return true;
    if (!cJSON_IsArray(roles)) return false;
    cJSON_ArrayForEach(one, roles) {
        if (!cJSON_IsString(one)) return false;
        *artifacts = *artifacts || strcmp(one->valuestring, ROLE_ARTIFACTS) == 0;
        *backends = *backends || strcmp(one->valuestring, ROLE_BACKENDS) == 0;
    }
    return true;
}

bool receipt_signed_after_retirement(const receipt_trusted *item, const receipt_place *place) {
    return item->retired && !item->own && strcmp(place->log_id, item->retired_log_id) == 0 &&
           place->seq > item->retired_seq;
}

/* Loads trusted/KEYID.pem with trusted/KEYID.json. */
static kit_status load_trusted(receipt_keyring *ring, const char *keys_dir, const char *keyid, kolm_error_t *err) {
    char name[80];
    char *pem_path = NULL, *note_path = NULL;
    kit_buf pem = {0};
    cJSON *note = NULL;
    receipt_public key;
    receipt_trusted *item = NULL;
    const char *label = "";
    kit_format(name, sizeof name, "%s.pem", keyid);
    kit_status status = receipt_path(keys_dir, RECEIPT_TRUSTED_DIR, name, &pem_path, err);
    kit_format(name, sizeof name, "%s.json", keyid);
    if (status == KOLM_OK) status = receipt_path(keys_dir, RECEIPT_TRUSTED_DIR, name, &note_path, err);
    if (status == KOLM_OK) status = receipt_read_guarded(pem_path, MAX_NOTE, &pem, err);
    if (status == KOLM_OK) status = receipt_public_parse(kit_buf_text(&pem), pem.length, &key, err);
    if (status == KOLM_OK && strcmp(key.keyid, keyid) != 0) status = bad_note(pem_path, err);
    if (status == KOLM_OK) status = read_note(note_path, &note, err);
    if (status == KOLM_OK) status = item_of(ring, keyid, &item, err);
    if (status == KOLM_OK) {
        bool artifacts = false, backends = false;
        bool good = kit_json_get_string(note, "label", &label) && get_time(note, "valid_from", &item->valid_from) &&
                    get_time(note, "valid_to", &item->valid_to) && get_retired(note, item) &&
                    get_roles(note, &artifacts, &backends);
        if (!good) status = bad_note(note_path, err);
        item->key = key;
        item->trusted = good && (item->own || artifacts);
        item->backends = good && (item->own || backends);
        if (!item->own) kit_copy(item->label, sizeof item->label, label);
    }
    cJSON_Delete(note);
    kit_buf_free(&pem);
    free(pem_path);
    free(note_path);
    return status;
}

static kit_status load_revoked(receipt_keyring *ring, const char *keys_dir, const char *keyid, kolm_error_t *err) {
    char name[80];
    char *path = NULL;
    cJSON *note = NULL;
    receipt_trusted *item = NULL;
    const char *reason = NULL;
    kit_format(name, sizeof name, "%s.json", keyid);
    kit_status status = receipt_path(keys_dir, RECEIPT_REVOKED_DIR, name, &path, err);
    if (status == KOLM_OK) status = read_note(path, &note, err);
    if (status == KOLM_OK) status = item_of(ring, keyid, &item, err);
    if (status == KOLM_OK) {
        item->revoked = true;
        if (!kit_json_get_string(note, "reason", &reason) || !get_time(note, "date", &item->revoked_at))
            status = bad_note(path, err);
        else
            kit_copy(item->reason, sizeof item->reason, reason);
    }
    cJSON_Delete(note);
    free(path);
    return status;
}

typedef kit_status (*loader)(receipt_keyring *ring, const char *keys_dir, const char *keyid, kolm_error_t *err);

/* Calls load for every KEYID + suffix in keys_dir/inner; a missing directory counts as empty. */
static kit_status load_all(receipt_keyring *ring, const char *keys_dir, const char *inner, const char *suffix,
                           loader load, kolm_error_t *err) {
    char *path = NULL;
    struct dirent **names = NULL;
    KIT_TRY(receipt_path(keys_dir, NULL, inner, &path, err));
    kit_status status = receipt_check_directory(path, err);
    int count = 0;
    if (status == KOLM_OK) {
        count = scandir(path, &names, NULL, alphasort);
        if (count < 0) status = kit_fail_errno(err, errno, "cannot list %s", path);
    } else if (status == KOLM_E_NOT_FOUND) {
        status = KOLM_OK;
    }
    for (int i = 0; i < count; i++) {
        char keyid[KIT_SHA256_HEX];
        const char *name = names[i]->d_name;
        kit_copy(keyid, sizeof keyid, name);
        if (status == KOLM_OK && receipt_is_keyid(keyid) && strcmp(name + RECEIPT_KEYID_HEX, suffix) == 0)
            status = load(ring, keys_dir, keyid, err);
        free(names[i]);
    }
    free(names);
    free(path);
    return status;
}

static kit_status load_own(receipt_keyring *ring, const char *keys_dir, kolm_error_t *err) {
    receipt_key *key = NULL;
    receipt_trusted *item = NULL;
    kit_status status = receipt_key_load(keys_dir, &key, err);
    if (status == KOLM_E_NOT_FOUND) return KOLM_OK;
    if (status == KOLM_OK) status = item_of(ring, receipt_key_public(key)->keyid, &item, err);
    if (status == KOLM_OK) {
        item->key = *receipt_key_public(key);
        item->own = item->trusted = item->backends = true;
        kit_copy(item->label, sizeof item->label, "own");
    }
    receipt_key_free(key);
    return status;
}

static int by_keyid(const void *left, const void *right) {
    const receipt_trusted *a = left, *b = right;
    if (a->own != b->own) return a->own ? -1 : 1;
    return strcmp(a->key.keyid, b->key.keyid);
}

kit_status receipt_keyring_load(const char *keys_dir, receipt_keyring **out_ring, kolm_error_t *err) {
    *out_ring = NULL;
    receipt_keyring *ring = calloc(1, sizeof *ring);
    if (ring == NULL) return kit_no_memory(err);
    kit_status status = receipt_check_directory(keys_dir, err);
    if (status == KOLM_E_NOT_FOUND) {
        *out_ring = ring;
        return KOLM_OK;
    }
    if (status == KOLM_OK) status = load_own(ring, keys_dir, err);
    if (status == KOLM_OK) status = load_all(ring, keys_dir, RECEIPT_TRUSTED_DIR, ".pem", load_trusted, err);
    if (status == KOLM_OK) status = load_all(ring, keys_dir, RECEIPT_REVOKED_DIR, ".json", load_revoked, err);
    if (status != KOLM_OK) {
        receipt_keyring_free(ring);
        return status;
    }
    if (ring->count > 0) qsort(ring->items, ring->count, sizeof *ring->items, by_keyid);
    *out_ring = ring;
    return KOLM_OK;
}

void receipt_keyring_free(receipt_keyring *ring) {
    if (ring == NULL) return;
    free(ring->items);
    free(ring);
}

size_t receipt_keyring_count(const receipt_keyring *ring) {
    return ring->count;
}

const receipt_trusted *receipt_keyring_at(const receipt_keyring *ring, size_t index) {
    return index < ring->count ? &ring->items[index] : NULL;
}

const receipt_trusted *receipt_keyring_find(const receipt_keyring *ring, const char *keyid) {
    return find(ring, keyid);
}

static bool put_time(cJSON *note, const char *key, int64_t seconds) {
    char text[RECEIPT_TIME_BYTES];
    if (seconds == RECEIPT_NO_START || seconds == RECEIPT_NO_END) return kit_json_put_null(note, key);
    return receipt_time_text(seconds, text) && kit_json_put_string(note, key, text);
}

/* Writes keys_dir/inner/KEYID + suffix atomically. */
static kit_status write_item(const char *keys_dir, const char *inner, const char *keyid, const char *suffix,
                             const char *text, size_t length, kolm_error_t *err) {
    char name[80];
    char *directory = NULL, *path = NULL;
    kit_format(name, sizeof name, "%s%s", keyid, suffix);
    kit_status status = receipt_path(keys_dir, NULL, inner, &directory, err);
    if (status == KOLM_OK) status = kit_mkdirs(directory, 0700, err);
    if (status == KOLM_OK) status = receipt_path(keys_dir, inner, name, &path, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, text, length, err);
    free(directory);
    free(path);
    return status;
}

/* Takes ownership of note. */
static kit_status write_note(const char *keys_dir, const char *inner, const char *keyid, cJSON *note, bool good,
                             kolm_error_t *err) {
    kit_buf text = {0};
    kit_status status = good ? kit_json_canonical(note, &text, err)
                             : kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use dates from 1970 to 9999",
                                        "a date is out of range, or there is not enough memory");
    if (status == KOLM_OK) {
        kit_buf_char(&text, '\n');
        status = kit_buf_ok(&text, err);
    }
    if (status == KOLM_OK) status = write_item(keys_dir, inner, keyid, ".json", text.data, text.length, err);
    kit_buf_free(&text);
    cJSON_Delete(note);
    return status;
}

static bool put_retired(cJSON *note, const receipt_trusted *item) {
    cJSON *retired = cJSON_CreateObject();
    if (retired != NULL && kit_json_put_string(retired, "log_id", item->retired_log_id) &&
        kit_json_put_u64(retired, "seq", item->retired_seq) && put_time(retired, "at", item->retired_at))
        return kit_json_put(note, "retired", retired);
    cJSON_Delete(retired);
    return false;
}

/* A key only for artifacts has no "roles", as before they were introduced. */
static bool put_roles(cJSON *note, const receipt_trusted *item) {
    cJSON *artifacts = item->trusted ? cJSON_CreateString(ROLE_ARTIFACTS) : NULL;
    cJSON *backends = item->backends ? cJSON_CreateString(ROLE_BACKENDS) : NULL;
    cJSON *roles = cJSON_CreateArray();
    bool good = roles != NULL && (!item->trusted || artifacts != NULL) && (!item->backends || backends != NULL);
    if (good && artifacts != NULL) (void)cJSON_AddItemToArray(roles, artifacts);
    if (good && backends != NULL) (void)cJSON_AddItemToArray(roles, backends);
    if (good) return kit_json_put(note, "roles", roles);
    cJSON_Delete(artifacts);
    cJSON_Delete(backends);
    cJSON_Delete(roles);
    return false;
}

kit_status receipt_trust_locked(const char *keys_dir, const receipt_trusted *item, int64_t now, kolm_error_t *err) {
    char pem[RECEIPT_PEM_BYTES];
    cJSON *note = cJSON_CreateObject();
    bool good = note != NULL && kit_json_put_string(note, "label", item->label) &&
                put_time(note, "valid_from", item->valid_from) && put_time(note, "valid_to", item->valid_to) &&
                put_time(note, "added", now) && (!item->backends || put_roles(note, item)) &&
                (!item->retired || put_retired(note, item));
    /* The entry first: a key without its dates must never be trusted. */
    KIT_TRY(write_note(keys_dir, RECEIPT_TRUSTED_DIR, item->key.keyid, note, good, err));
    receipt_public_pem(&item->key, pem);
    return write_item(keys_dir, RECEIPT_TRUSTED_DIR, item->key.keyid, ".pem", pem, strlen(pem), err);
}

/* Reads the entry of a key in trusted/, or makes a new one; for the own key only what is stored there. */
static kit_status entry_of(const char *keys_dir, const receipt_public *public_key, receipt_trusted *out,
                           bool *out_there, kolm_error_t *err) {
    receipt_keyring *all = NULL;
    receipt_keyring *ring = calloc(1, sizeof *ring);
    if (ring == NULL) return kit_no_memory(err);
    *out = (receipt_trusted){.key = *public_key, .valid_from = RECEIPT_NO_START, .valid_to = RECEIPT_NO_END};
    kit_status status = receipt_keyring_load(keys_dir, &all, err); /* the full id, so that the error is specific */
    if (status == KOLM_OK) status = load_all(ring, keys_dir, RECEIPT_TRUSTED_DIR, ".pem", load_trusted, err);
    const receipt_trusted *item = status == KOLM_OK ? find(all, public_key->keyid) : NULL;
    if (item != NULL && item->revoked)
        status =
            kit_fail(err, KOLM_E_FAILED_PRECONDITION, "ask its owner for the new key", "the key %.16s was revoked%s%s",
                     item->key.keyid, item->reason[0] != '\0' ? ": " : "", item->reason);
    item = status == KOLM_OK ? find(ring, public_key->keyid) : NULL;
    *out_there = item != NULL;
    if (item != NULL) *out = *item;
    receipt_keyring_free(all);
    receipt_keyring_free(ring);
    return status;
}

static kit_status check_label(const char *label, kolm_error_t *err) {
    if (strlen(label) < sizeof((receipt_trusted *)NULL)->label && kit_utf8_valid(label, strlen(label)) == strlen(label))
        return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use a label of at most 127 bytes of UTF-8",
                    "the label cannot be used");
}

static kit_status check_trust(const char *label, int64_t valid_from, int64_t valid_to, kolm_error_t *err) {
    if (valid_to >= valid_from) return check_label(label, err);
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "use a later end", "the key would expire before it is valid");
}

kit_status receipt_keys_trust(const char *keys_dir, const receipt_public *public_key, const char *label,
                              int64_t valid_from, int64_t valid_to, int64_t now, kolm_error_t *err) {
    int lock = -1;
    bool there = false;
    receipt_trusted entry;
    KIT_TRY(check_trust(label == NULL ? "" : label, valid_from, valid_to, err));
    kit_status status = receipt_lock_keys(keys_dir, &lock, err);
    if (status == KOLM_OK) status = entry_of(keys_dir, public_key, &entry, &there, err);
    if (status == KOLM_OK) {
        kit_copy(entry.label, sizeof entry.label, label == NULL ? "" : label);
        entry.valid_from = valid_from;
        entry.valid_to = valid_to;
        entry.trusted = true;
        entry.retired = false;
        status = receipt_trust_locked(keys_dir, &entry, now, err);
    }
    if (lock >= 0) close(lock);
    return status;
}

kit_status receipt_keys_trust_backends(const char *keys_dir, const receipt_public *public_key, const char *label,
                                       int64_t valid_from, int64_t valid_to, int64_t now, kolm_error_t *err) {
    int lock = -1;
    bool there = false;
    receipt_trusted entry;
    KIT_TRY(check_trust(label, valid_from, valid_to, err));
    kit_status status = receipt_lock_keys(keys_dir, &lock, err);
    if (status == KOLM_OK) status = entry_of(keys_dir, public_key, &entry, &there, err);
    if (status == KOLM_OK) {
        if (label[0] != '\0' || !there) kit_copy(entry.label, sizeof entry.label, label);
        if (!there) { /* its roles and dates were set before, and must not be widened implicitly */
            entry.valid_from = valid_from;
            entry.valid_to = valid_to;
        }
        entry.backends = true;
        status = receipt_trust_locked(keys_dir, &entry, now, err);
    }
    if (lock >= 0) close(lock);
    return status;
}

/* Completes a prefix of an id. */
static kit_status whole_keyid(const receipt_keyring *ring, const char *given, char out[KIT_SHA256_HEX],
                              kolm_error_t *err) {
    size_t matches = 0, length = strlen(given);
    if (receipt_is_keyid(given)) {
        memmove(out, given, KIT_SHA256_HEX); /* both may be the same buffer */
        return KOLM_OK;
    }
    if (length < 8 || length > RECEIPT_KEYID_HEX || strspn(given, "0123456789abcdef") != length) {
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "kolm keys list shows them",
                        "a key id is 64 hexadecimal digits, of which at least the first eight are needed");
    }
    for (size_t i = 0; i < ring->count; i++) {
        if (strncmp(ring->items[i].key.keyid, given, length) != 0) continue;
        kit_copy(out, KIT_SHA256_HEX, ring->items[i].key.keyid);
        matches++;
    }
    if (matches == 1) return KOLM_OK;
    if (matches == 0)
        return kit_fail(err, KOLM_E_NOT_FOUND, "use the full id for a key that was never trusted here",
                        "no key of the keyring begins with %s", given);
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use more digits", "%zu keys begin with %s", matches, given);
}

kit_status receipt_keys_revoke(const char *keys_dir, const char *keyid, const char *reason, int64_t now,
                               char out_keyid[KIT_SHA256_HEX], kolm_error_t *err) {
    int lock = -1;
    receipt_keyring *ring = NULL;
    kit_status status = receipt_lock_keys(keys_dir, &lock, err);
    if (status == KOLM_OK) status = receipt_keyring_load(keys_dir, &ring, err);
    if (status == KOLM_OK) status = whole_keyid(ring, keyid, out_keyid, err);
    if (status == KOLM_OK) {
        const receipt_trusted *item = find(ring, out_keyid);
        if (item != NULL && item->revoked) goto out; /* the first date and reason stay */
        cJSON *note = cJSON_CreateObject();
        bool good = note != NULL && kit_json_put_string(note, "reason", reason == NULL ? "" : reason) &&
                    put_time(note, "date", now);
        status = write_note(keys_dir, RECEIPT_REVOKED_DIR, out_keyid, note, good, err);
    }
out:
    receipt_keyring_free(ring);
    if (lock >= 0) close(lock);
    return status;
}

/* The key first: an entry without one is ignored. */
static kit_status remove_entry(const char *keys_dir, const char *keyid, kolm_error_t *err) {
    static const char *const suffixes[] = {".pem", ".json"};
    for (size_t i = 0; i < 2; i++) {
        char name[80];
        char *path = NULL;
        kit_format(name, sizeof name, "%s%s", keyid, suffixes[i]);
        KIT_TRY(receipt_path(keys_dir, RECEIPT_TRUSTED_DIR, name, &path, err));
        kit_status status = KOLM_OK;
        if (unlink(path) != 0 && errno != ENOENT) status = kit_fail_errno(err, errno, "cannot remove %s", path);
        free(path);
        if (status != KOLM_OK) return status;
    }
    return KOLM_OK;
}

kit_status receipt_keys_untrust_backends(const char *keys_dir, const char *keyid, int64_t now,
                                         char out_keyid[KIT_SHA256_HEX], kolm_error_t *err) {
    int lock = -1;
    receipt_keyring *ring = calloc(1, sizeof *ring);
    if (ring == NULL) return kit_no_memory(err);
    kit_status status = receipt_lock_keys(keys_dir, &lock, err);
    if (status == KOLM_OK) status = load_all(ring, keys_dir, RECEIPT_TRUSTED_DIR, ".pem", load_trusted, err);
    if (status == KOLM_OK) status = whole_keyid(ring, keyid, out_keyid, err);
    receipt_trusted *item = status == KOLM_OK ? find(ring, out_keyid) : NULL;
    if (status == KOLM_OK && (item == NULL || !item->backends))
        status = kit_fail(err, KOLM_E_NOT_FOUND, "`kolm backend keys` shows them",
                          "the key %.16s is not trusted for backends", out_keyid);
    if (status == KOLM_OK) {
        item->backends = false;
        status =
            item->trusted ? receipt_trust_locked(keys_dir, item, now, err) : remove_entry(keys_dir, out_keyid, err);
    }
    receipt_keyring_free(ring);
    if (lock >= 0) close(lock);
    return status;
}
