/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: the detection cache. A detection that is found was stored under this key less than an hour ago and is
 * valid; anything else in the file is ignored; a detection that is stored again is found again. */
#include "fleet/detections.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define KEY "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define NOW 1800000000

static void check_readers(fleet_backend *backend) {
    static const uint32_t slots[] = {HOST_SLOT_TRAIN, HOST_SLOT_INFER, HOST_SLOT_TEST, HOST_SLOT_COST, 0};
    kolm_error_t err = KIT_ERROR_INIT;
    const char *state = fleet_backend_state(backend);
    must(strcmp(state, "available") == 0 || strcmp(state, "absent") == 0 || strcmp(state, "broken") == 0 ||
         strcmp(state, "refused") == 0);
    must(backend->detection->device_count <= HOST_DEVICES_MAX);
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++)
        (void)fleet_backend_slot(backend, slots[i]);
    must(fleet_backend_describe_device(backend, &err) == KOLM_OK);
}

static void forget(fleet_backend *backend) {
    fleet_detection_free(backend->detection);
    free(backend->device);
    backend->detection = NULL;
    backend->device = NULL;
    backend->from_cache = false;
}

/* Reads the cache, as the first command that needs it. */
static void read_cache(fleet_registry *registry, const store_home *home) {
    kit_json_tree_free(&registry->cache);
    free(registry->entries);
    registry->entries = NULL;
    registry->entry_count = 0;
    if (home != NULL) fleet_detections_read(registry, home);
}

static void check_kept(fleet_registry *registry, const store_home *home) {
    char keys[1][STORE_DIGEST_HEX] = {KEY};
    fleet_backend *backend = &registry->backends[0];
    cJSON *before = fleet_detection_json(backend->detection), *after;
    fuzz_put_any("cache/" FLEET_DETECTION_CACHE ".json", NULL, 0);
    fleet_detections_keep(registry, home, keys);
    read_cache(registry, home);
    forget(backend);
    must(registry->cache.root != NULL && fleet_detection_recall(registry, backend, KEY));
    after = fleet_detection_json(backend->detection);
    must(before != NULL && after != NULL && cJSON_Compare(before, after, true));
    cJSON_Delete(before);
    cJSON_Delete(after);
}

/* Without this the target would pass if nothing was ever found. */
static void check_own(fleet_registry *registry, const store_home *home) {
    fleet_detection *own = calloc(1, sizeof *own);
    must(own != NULL);
    *own = (fleet_detection){.state = FLEET_AVAILABLE, .asked = true, .loaded = true, .reason = "4 cores"};
    registry->backends[0].detection = own;
    check_kept(registry, home);
    forget(&registry->backends[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static store_home *home;
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_backend backend = {.name = "acme"};
    fleet_registry registry = {
        .backends = &backend, .count = 1, .now = NOW, .min_vram_bytes = UINT64_MAX}; /* no price is for this */
    if (home == NULL) {
        must(store_home_at(fuzz_directory(), &home, &err) == KOLM_OK && mkdir(fuzz_path("cache"), 0700) == 0);
        check_own(&registry, home);
    }
    fuzz_put("cache/" FLEET_DETECTION_CACHE ".json", data, size);
    read_cache(&registry, home);
    must(registry.cache.root == NULL || cJSON_IsObject(registry.cache.root));
    if (registry.cache.root != NULL && fleet_detection_recall(&registry, &backend, KEY)) {
        const cJSON *entry = kit_json_get(kit_json_get(registry.cache.root, "entries"), "acme");
        const char *key = NULL;
        uint64_t at = 0;
        must(kit_json_get_string(entry, "key", &key) && strcmp(key, KEY) == 0);
        must(kit_json_get_u64(entry, "at", &at) && at <= NOW && NOW - at < FLEET_DETECTION_SECONDS);
        must(backend.from_cache);
        check_readers(&backend);
        check_kept(&registry, home);
    } else {
        must(backend.detection == NULL && !backend.from_cache);
    }
    forget(&backend);
    read_cache(&registry, NULL);
    return 0;
}
