/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps what tests measured of reproducibility, under the versions that they ran with. */
#include "fleet/repro.h"

#include <string.h>

#define CACHE "reproducible"

/* What the measurement holds for. */
static void versions_of(const fleet_backend *backend, char *out, size_t capacity) {
    const fleet_detection *d = fleet_backend_detection(backend);
    kit_format(out, capacity, "%s / %s", d->version, d->runtime);
}

void fleet_repro_keep(kolm_session *session, const fleet_backend *backend, fleet_repro measured) {
    store_home *home = NULL;
    char versions[256];
    if (measured == FLEET_REPRO_UNKNOWN || session_home(session, &home, NULL) != KOLM_OK) return;
    cJSON *cache = store_cache_read(home, CACHE), *entry = cJSON_CreateObject();
    if (cache == NULL) cache = cJSON_CreateObject();
    versions_of(backend, versions, sizeof versions);
    bool good = kit_json_put_string(entry, "versions", versions) &&
                kit_json_put_bool(entry, "same", measured == FLEET_REPRO_SAME);
    if (good) {
        cJSON_DeleteItemFromObjectCaseSensitive(cache, backend->name);
        if (kit_json_put(cache, backend->name, entry)) (void)store_cache_write(home, CACHE, cache);
    } else {
        cJSON_Delete(entry);
    }
    cJSON_Delete(cache);
}

fleet_repro fleet_repro_known(kolm_session *session, const fleet_backend *backend) {
    store_home *home = NULL;
    char versions[256];
    const char *kept = NULL;
    bool same = false;
    if (session_home(session, &home, NULL) != KOLM_OK) return FLEET_REPRO_UNKNOWN;
    cJSON *cache = store_cache_read(home, CACHE);
    const cJSON *entry = kit_json_get(cache, backend->name);
    versions_of(backend, versions, sizeof versions);
    fleet_repro known = FLEET_REPRO_UNKNOWN;
    if (kit_json_get_string(entry, "versions", &kept) && strcmp(kept, versions) == 0 &&
        kit_json_get_bool(entry, "same", &same))
        known = same ? FLEET_REPRO_SAME : FLEET_REPRO_DIFFERENT;
    cJSON_Delete(cache);
    return known;
}

const char *fleet_repro_text(fleet_repro repro) {
    return repro == FLEET_REPRO_SAME        ? "measured: the same bytes twice"
           : repro == FLEET_REPRO_DIFFERENT ? "measured: different bytes"
                                            : "not measured";
}
