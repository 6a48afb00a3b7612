/* SPDX-License-Identifier: Apache-2.0 */
/* Caches detections under keys that change with everything they depend on. */
#include "fleet/detections.h"
#include "host/host.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void add_identity(kit_buf *text, const char *path, const host_file_identity *id) {
    kit_buf_add(text, path, strlen(path) + 1);
    kit_buf_add(text, (const char *)id, sizeof *id); /* five integers of 64 bits */
}

/* Adds a path under requires: a device node or a library may appear or disappear. */
static void add_path(kit_buf *text, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0)
        kit_buf_fmt(text, "%s absent\n", path);
    else {
        /* The time of a device node is meaningless: reading from it may change it. */
        intmax_t changed = S_ISREG(st.st_mode) ? (intmax_t)st.st_mtim.tv_sec : 0;
        kit_buf_fmt(text, "%s %ju %ju %o %jd\n", path, (uintmax_t)st.st_dev, (uintmax_t)st.st_ino, (unsigned)st.st_mode,
                    changed);
    }
}

/* Name, whether it is set, and the value with its length: the text is unique for each state. */
static void add_variable(kit_buf *text, const fleet_registry *registry, const char *name) {
    const char *value = store_secret(registry->credentials, name, NULL);
    if (value)
        kit_buf_fmt(text, "%s %zu=%s\n", name, strlen(value), value);
    else
        kit_buf_fmt(text, "%s unset\n", name);
}

/* Adds the Python runtime, whose runtime.json is replaced when it is made again. For a runtime of the user's own only
 * the interpreter is known, which tells little about its packages. */
static void add_runtime(kit_buf *text, const cJSON *config, const char *name) {
    const char *python = NULL;
    if (!kit_json_get_string(kit_json_get(config, "runtimes"), name, &python)) return;
    add_path(text, python);
    kit_buf whole = {0};
    kit_buf_fmt(&whole, "%.*s/../runtime.json", (int)(strrchr(python, '/') ? strrchr(python, '/') - python : 0),
                python);
    if (whole.data) add_path(text, whole.data);
    kit_buf_free(&whole);
}

bool fleet_detection_key(const fleet_registry *registry, const fleet_backend *backend, const cJSON *config,
                         const uint8_t random_key[STORE_KEY_BYTES], char out_key[STORE_DIGEST_HEX]) {
    kit_buf text = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    bool good = true;
    const host_backend *row = backend->row;
    const host_manifest *manifest = row->manifest;
    kit_buf_fmt(&text, "kolm %s %d.%d %s\n", KOLM_VERSION, KOLM_ABI_MAJOR, KOLM_ABI_MINOR, backend->name);
    add_identity(&text, backend->plugin_path, &row->plugin);
    add_identity(&text, backend->manifest_path, &row->manifest_file);
    if (row->libs.directory) add_identity(&text, row->libs.directory, &row->libs.identity);
    for (size_t i = 0; i < manifest->auth_count; i++)
        add_variable(&text, registry, manifest->auth[i]);
    for (size_t i = 0; i < manifest->secret_count; i++)
        add_variable(&text, registry, manifest->secrets[i]);
    for (size_t i = 0; i < manifest->require_count; i++) {
        const host_require *needed = &manifest->requires[i];
        if (needed->kind == HOST_REQUIRE_ENV)
            add_variable(&text, registry, needed->value);
        else if (needed->kind == HOST_REQUIRE_PATH)
            add_path(&text, needed->value);
    }
    const cJSON *settings = kit_json_get(kit_json_get(config, "backends"), backend->name);
    if (settings && kit_json_line(settings, &text, &err) != KOLM_OK) good = false;
    add_runtime(&text, config, backend->name);
    good = good && kit_buf_ok(&text, &err) == KOLM_OK;
    if (good) store_digest(random_key, text.data, text.length, out_key);
    if (text.data) explicit_bzero(text.data, text.length);
    kit_buf_free(&text);
    return good;
}

/* True if the entry has this key and is recent enough. */
static bool is_current(const cJSON *entry, const char *key, int64_t now) {
    const char *kept_key = NULL;
    uint64_t at = 0;
    if (!kit_json_get_string(entry, "key", &kept_key) || strcmp(kept_key, key) != 0) return false;
    if (!kit_json_get_u64(entry, "at", &at)) return false;
    int64_t age = now - (int64_t)at;
    /* An entry from the future means that the clock is or was wrong. */
    return age >= 0 && age < FLEET_DETECTION_SECONDS;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

/* Sorts the entries by name for binary search. If out of memory, there is no cache, which only costs time. */
static void index_cache(fleet_registry *registry) {
    const cJSON *entries = kit_json_get(registry->cache.root, "entries"), *one;
    size_t count = cJSON_IsObject(entries) ? (size_t)cJSON_GetArraySize(entries) : 0;
    registry->entries = calloc(count + 1, sizeof *registry->entries);
    if (!registry->entries) return;
    cJSON_ArrayForEach(one, entries) if (registry->entry_count < count) registry->entries[registry->entry_count++] =
        one;
    qsort(registry->entries, registry->entry_count, sizeof *registry->entries, by_name);
}

void fleet_detections_read(fleet_registry *registry, const store_home *home) {
    if (registry->cache.root) return;
    registry->cache = store_cache_tree(home, FLEET_DETECTION_CACHE);
    if (registry->cache.root) index_cache(registry);
}

static const cJSON *entry_of(const fleet_registry *registry, const char *name) {
    const cJSON wanted = {.string = (char *)(uintptr_t)name}, *key = &wanted;
    if (registry->entry_count == 0) return NULL;
    const cJSON **found = bsearch(&key, registry->entries, registry->entry_count, sizeof *registry->entries, by_name);
    return found && cJSON_IsObject(*found) ? *found : NULL;
}

bool fleet_detection_known(const fleet_registry *registry, const char *name) {
    return entry_of(registry, name) != NULL;
}

bool fleet_detection_recall(const fleet_registry *registry, fleet_backend *backend, const char *key) {
    uint64_t at = 0;
    const cJSON *entry = entry_of(registry, backend->name);
    if (!entry || !is_current(entry, key, registry->now)) return false;
    fleet_detection *detection = fleet_detection_read(kit_json_get(entry, "detection"));
    if (!detection || !fleet_state_is_answer(detection->state)) {
        fleet_detection_free(detection);
        return false;
    }
    fleet_detection_free(backend->detection);
    backend->detection = detection;
    backend->from_cache = true;
    (void)kit_json_get_u64(entry, "at", &at);
    fleet_backend_price(registry, backend, (int64_t)at);
    return true;
}

static bool put_entry(cJSON *entries, const fleet_registry *registry, const fleet_backend *backend, const char *key) {
    cJSON *entry = cJSON_CreateObject();
    uint64_t at = (uint64_t)registry->now;
    if (backend->from_cache) {
        const cJSON *old = entry_of(registry, backend->name);
        if (!kit_json_get_u64(old, "at", &at)) at = (uint64_t)registry->now;
    }
    bool good = entry && kit_json_put_string(entry, "key", key) && kit_json_put_u64(entry, "at", at) &&
                kit_json_put(entry, "detection", fleet_detection_json(backend->detection));
    if (good) return kit_json_put(entries, backend->name, entry);
    cJSON_Delete(entry);
    return false;
}

void fleet_detections_keep(const fleet_registry *registry, const store_home *home, char keys[][STORE_DIGEST_HEX]) {
    cJSON *value = cJSON_CreateObject();
    bool good = value && kit_json_put_u64(value, "version", 1);
    cJSON *entries = good ? cJSON_AddObjectToObject(value, "entries") : NULL;
    good = entries != NULL;
    for (size_t i = 0; good && i < registry->count; i++) {
        const fleet_backend *backend = &registry->backends[i];
        if (keys[i][0] && backend->detection && fleet_state_is_answer(backend->detection->state)) {
            good = put_entry(entries, registry, backend, keys[i]);
            continue;
        }
        /* The old entry is outdated, unless it is that of an older version, which is tried next. */
        if (keys[i][0] && backend->detection && !host_spare(registry->found, backend->row)) continue;
        /* Keep the entry of a backend that this command did not detect. */
        const cJSON *old = entry_of(registry, backend->name);
        if (old) good = kit_json_put(entries, backend->name, cJSON_Duplicate(old, true));
    }
    if (good) (void)store_cache_write(home, FLEET_DETECTION_CACHE, value);
    cJSON_Delete(value);
}
