/* SPDX-License-Identifier: Apache-2.0 */
/* The detection cache: the answers of backends, kept for an hour in HOME/cache/detect.json. */
#ifndef KOLM_FLEET_DETECTIONS_H
#define KOLM_FLEET_DETECTIONS_H

#include "fleet/registry.h"

/*
 * cache/detect.json: {"version":1,"entries":{NAME:{"key","at","detection"}}}, detection as in detection.h. An entry is
 * valid while its key matches and it is less than an hour old; a damaged one is ignored. Only answers are cached: a
 * plugin that crashed, failed or timed out, perhaps because the machine was busy, is asked again by the next command.
 * The key is a digest, keyed with the home's random key, of the file identities of plugin and manifest, and of every
 * variable and setting that the manifest names: a new token, plugin or setting changes the key.
 */
#define FLEET_DETECTION_CACHE "detect"
#define FLEET_DETECTION_SECONDS 3600

/* Reads the cache, once. */
void fleet_detections_read(fleet_registry *registry, const store_home *home);
/* True if the cache has an entry of this name, valid or not: without one there is no need to compute a key. */
bool fleet_detection_known(const fleet_registry *registry, const char *name);
/* Restores a backend's detection from the cache. Returns false if it has no valid entry. */
bool fleet_detection_recall(const fleet_registry *registry, fleet_backend *backend, const char *key);
/* Caches the detections of the backends whose keys[i] is not "". The entries of other backends are kept. */
void fleet_detections_keep(const fleet_registry *registry, const store_home *home, char keys[][STORE_DIGEST_HEX]);
/* Computes the key of a backend; false if it cannot have one (no home for the random key, plugin gone). */
bool fleet_detection_key(const fleet_registry *registry, const fleet_backend *backend, const cJSON *config,
                         const uint8_t random_key[STORE_KEY_BYTES], char out_key[STORE_DIGEST_HEX]);

#endif
