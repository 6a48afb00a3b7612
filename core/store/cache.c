/* SPDX-License-Identifier: Apache-2.0 */
/* A cache that never fails a command: garbage is ignored and replaced, an unwritable one is disabled. */
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"
#include "kolm/kit/trust.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(STORE_KEY_BYTES == crypto_generichash_KEYBYTES, "the key has BLAKE2b's key size");

static bool entry_path(const store_home *home, const char *name, const char *suffix, kit_buf *out) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf_fmt(out, "%s/%s/%s%s", store_home_path(home), store_place_name(STORE_CACHE), name, suffix);
    return kit_buf_ok(out, &err) == KOLM_OK;
}

kit_status store_cache_path(const store_home *home, const char *name, char **out_path, kolm_error_t *err) {
    kit_buf path = {0};
    kit_status status = entry_path(home, name, ".json", &path) ? KOLM_OK : kit_buf_ok(&path, err);
    *out_path = kit_buf_take(&path);
    return status;
}

cJSON *store_cache_read(const store_home *home, const char *name) {
    kit_buf path = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    cJSON *value = NULL;
    if (entry_path(home, name, ".json", &path) &&
        kit_json_read(kit_buf_text(&path), STORE_CACHE_MAX, &value, &err) == KOLM_OK && !cJSON_IsObject(value)) {
        cJSON_Delete(value);
        value = NULL;
    }
    kit_buf_free(&path);
    return value;
}

kit_json_tree store_cache_tree(const store_home *home, const char *name) {
    kit_buf path = {0}, text = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    kit_json_tree tree = {0};
    if (entry_path(home, name, ".json", &path) &&
        kit_read_file(kit_buf_text(&path), STORE_CACHE_MAX, &text, &err) == KOLM_OK &&
        kit_json_tree_read(kit_buf_text(&text), text.length, &tree, &err) == KOLM_OK && !cJSON_IsObject(tree.root))
        kit_json_tree_free(&tree);
    kit_buf_free(&path);
    kit_buf_free(&text);
    return tree;
}

static bool make_directory(const store_home *home) {
    kit_buf path = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    bool good = entry_path(home, "", "", &path) && kit_mkdirs(kit_buf_text(&path), 0700, &err) == KOLM_OK;
    kit_buf_free(&path);
    return good;
}

/* Without fsync: a cache lost in a power cut is only rebuilt, and an fsync costs milliseconds. */
static bool replace(const char *path, const void *bytes, size_t length) {
    kit_buf temporary = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf_fmt(&temporary, "%s.%ld.tmp", path, (long)getpid());
    bool good = false;
    if (kit_buf_ok(&temporary, &err) != KOLM_OK) goto out;
    int fd = open(kit_buf_text(&temporary), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && errno == EEXIST && unlink(kit_buf_text(&temporary)) == 0) {
        fd = open(kit_buf_text(&temporary), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    }
    if (fd < 0) goto out;
    good = kit_write_all(fd, bytes, length, &err) == KOLM_OK;
    good = close(fd) == 0 && good;
    good = good && rename(kit_buf_text(&temporary), path) == 0;
    if (!good) unlink(kit_buf_text(&temporary));
out:
    kit_buf_free(&temporary);
    return good;
}

/* Most commands find nothing new, and a file costs more to replace than to read. */
static bool has_bytes(const char *path, const kit_buf *text) {
    kit_buf old = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    bool same = kit_read_file(path, STORE_CACHE_MAX, &old, &err) == KOLM_OK && old.length == text->length &&
                memcmp(kit_buf_text(&old), kit_buf_text(text), old.length) == 0;
    kit_buf_free(&old);
    return same;
}

bool store_cache_write(const store_home *home, const char *name, const cJSON *value) {
    kit_buf path = {0}, text = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    bool good = entry_path(home, name, ".json", &path) && kit_json_line(value, &text, &err) == KOLM_OK &&
                kit_buf_ok(&text, &err) == KOLM_OK;
    if (good && !has_bytes(kit_buf_text(&path), &text))
        good = make_directory(home) && replace(kit_buf_text(&path), text.data, text.length);
    kit_buf_free(&path);
    kit_buf_free(&text);
    return good;
}

bool store_cache_remove(const store_home *home, const char *name) {
    kit_buf path = {0};
    bool good = entry_path(home, name, ".json", &path) && (unlink(kit_buf_text(&path)) == 0 || errno == ENOENT);
    kit_buf_free(&path);
    return good;
}

static bool read_key(const char *path, uint8_t out_key[STORE_KEY_BYTES]) {
    kolm_error_t err = KIT_ERROR_INIT;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return false;
    bool good = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == STORE_KEY_BYTES &&
                kit_trust_stat(KIT_TRUST_MADE, &st) == KIT_TRUST_GOOD &&
                kit_read_exact(fd, out_key, STORE_KEY_BYTES, &err) == KOLM_OK;
    close(fd);
    return good;
}

bool store_cache_key(const store_home *home, uint8_t out_key[STORE_KEY_BYTES]) {
    kit_buf path = {0};
    bool good = entry_path(home, "key", "", &path);
    if (good && !read_key(kit_buf_text(&path), out_key)) {
        /* Two processes may both make one; the last rename wins and the other's entries are only misses. */
        good = getrandom(out_key, STORE_KEY_BYTES, 0) == STORE_KEY_BYTES && make_directory(home) &&
               replace(kit_buf_text(&path), out_key, STORE_KEY_BYTES);
    }
    kit_buf_free(&path);
    return good;
}

void store_digest(const uint8_t key[STORE_KEY_BYTES], const void *bytes, size_t length,
                  char out_hex[STORE_DIGEST_HEX]) {
    uint8_t digest[32];
    crypto_generichash(digest, sizeof digest, bytes, length, key, STORE_KEY_BYTES);
    kit_hex(digest, sizeof digest, out_hex);
}
