/* SPDX-License-Identifier: Apache-2.0 */
/* Caches the reproducibility that tests measured, with the versions that were tested. */
#include "fleet/repro.h"

#include <string.h>

#define CACHE "reproducible"
#define METRIC "test.reproducible"

/* ---- From metrics */

/* The recipe's name in a metric: "-" is not allowed there. */
static void metric_name(const char *recipe, char *out, size_t capacity) {
    kit_copy(out, capacity, recipe);
    for (char *p = out; *p != '\0'; p++)
        if (*p == '-') *p = '_';
}

void fleet_repro_note(fleet_repros *all, const char *metric, double value) {
    const size_t length = strlen(METRIC);
    if (strncmp(metric, METRIC, length) != 0 || (metric[length] != '\0' && metric[length] != '.')) return;
    const char *recipe = metric + length + (metric[length] == '.');
    size_t i = 0;
    while (i < all->count && strcmp(all->at[i].recipe, recipe) != 0)
        i++;
    if (i == FLEET_REPROS_MAX || !kit_copy(all->at[i].recipe, sizeof all->at[i].recipe, recipe)) return;
    if (i == all->count) {
        all->count++;
        all->at[i].found = FLEET_REPRO_SAME;
    }
    if (value < 1) all->at[i].found = FLEET_REPRO_DIFFERENT;
}

fleet_repro fleet_repro_least(const fleet_repros *all) {
    for (size_t i = 0; i < all->count; i++)
        if (all->at[i].found == FLEET_REPRO_DIFFERENT) return FLEET_REPRO_DIFFERENT;
    return all->count > 0 ? FLEET_REPRO_SAME : FLEET_REPRO_UNKNOWN;
}

/* ---- Kept */

/* The versions that a measurement is valid for. */
static void versions_of(const fleet_backend *backend, char *out, size_t capacity) {
    const fleet_detection *d = fleet_backend_detection(backend);
    kit_format(out, capacity, "%s / %s", d->version, d->runtime);
}

/* {"versions": TEXT, "recipes": {RECIPE: true for the same bytes}} */
static cJSON *entry_of(const fleet_backend *backend, const fleet_repros *measured) {
    char versions[256];
    cJSON *entry = cJSON_CreateObject(), *recipes = cJSON_CreateObject();
    versions_of(backend, versions, sizeof versions);
    bool good = recipes != NULL;
    for (size_t i = 0; i < measured->count && good; i++)
        good = kit_json_put_bool(recipes, measured->at[i].recipe, measured->at[i].found == FLEET_REPRO_SAME);
    good = kit_json_put(entry, "recipes", recipes) && good && kit_json_put_string(entry, "versions", versions);
    if (good) return entry;
    cJSON_Delete(entry);
    return NULL;
}

void fleet_repro_keep(kolm_session *session, const fleet_backend *backend, const fleet_repros *measured) {
    store_home *home = NULL;
    if (measured->count == 0 || session_home(session, &home, NULL) != KOLM_OK) return;
    cJSON *cache = store_cache_read(home, CACHE), *entry = entry_of(backend, measured);
    if (cache == NULL) cache = cJSON_CreateObject();
    if (entry != NULL) {
        cJSON_DeleteItemFromObjectCaseSensitive(cache, backend->name);
        if (kit_json_put(cache, backend->name, entry)) (void)store_cache_write(home, CACHE, cache);
    }
    cJSON_Delete(cache);
}

static bool offers_one(const fleet_backend *backend) {
    return backend->manifest == NULL || backend->manifest->makes.count <= 1;
}

static fleet_repro known_in(const cJSON *cache, const fleet_backend *backend, const char *recipe) {
    char versions[256], name[64];
    const char *kept = NULL;
    bool same = false;
    const cJSON *entry = kit_json_get(cache, backend->name), *recipes = kit_json_get(entry, "recipes");
    versions_of(backend, versions, sizeof versions);
    metric_name(recipe, name, sizeof name);
    if (!kit_json_get_string(entry, "versions", &kept) || strcmp(kept, versions) != 0) return FLEET_REPRO_UNKNOWN;
    if (!kit_json_get_bool(recipes, name, &same) && !(offers_one(backend) && kit_json_get_bool(recipes, "", &same)))
        return FLEET_REPRO_UNKNOWN;
    return same ? FLEET_REPRO_SAME : FLEET_REPRO_DIFFERENT;
}

static cJSON *read_cache(kolm_session *session) {
    store_home *home = NULL;
    return session_home(session, &home, NULL) == KOLM_OK ? store_cache_read(home, CACHE) : NULL;
}

fleet_repro fleet_repro_known(kolm_session *session, const fleet_backend *backend, const char *recipe) {
    cJSON *cache = read_cache(session);
    fleet_repro known = known_in(cache, backend, recipe);
    cJSON_Delete(cache);
    return known;
}

const char *fleet_repro_text(fleet_repro repro) {
    return repro == FLEET_REPRO_SAME        ? "measured: the same bytes twice"
           : repro == FLEET_REPRO_DIFFERENT ? "measured: different bytes"
                                            : "not measured";
}

void fleet_repro_put(kolm_session *session, const fleet_backend *backend, kit_buf *out) {
    cJSON *cache = read_cache(session);
    const size_t count = backend->manifest != NULL ? backend->manifest->makes.count : 0;
    if (count == 0) kit_buf_str(out, fleet_repro_text(known_in(cache, backend, "")));
    for (size_t i = 0; i < count; i++) {
        const char *recipe = backend->manifest->makes.at[i].name;
        kit_buf_fmt(out, "%s%s %s", i > 0 ? "; " : "", recipe, fleet_repro_text(known_in(cache, backend, recipe)));
    }
    cJSON_Delete(cache);
}
