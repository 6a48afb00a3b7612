/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a manifest that is accepted for the entries it lists is written back with the same bytes. */
#include "artifact/manifest.h"

#include "kolm/kit/digest.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds) abort();
}

#define MOST 8

/* The entries that the manifest lists, if they have a path and a size. */
static void entries_of(const uint8_t *data, size_t size, artifact_zip *zip) {
    kolm_error_t err = KIT_ERROR_INIT;
    cJSON *value = NULL;
    if (kit_json_parse((const char *)data, size, &value, &err) != KOLM_OK) return;
    const cJSON *list = kit_json_get(value, "entries");
    for (const cJSON *item = cJSON_IsArray(list) ? list->child : NULL; item != NULL && zip->count < MOST;
         item = item->next) {
        const char *path = NULL;
        if (!kit_json_get_string(item, "path", &path) ||
            !kit_json_get_u64(item, "size", &zip->entries[zip->count].size))
            continue;
        must(kit_strdup(path, &zip->entries[zip->count++].name, &err) == KOLM_OK);
    }
    cJSON_Delete(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    artifact_zip zip = {.entries = calloc(MOST, sizeof *zip.entries)};
    char digests[MOST][KIT_SHA256_HEX] = {""};
    cJSON *manifest = NULL;
    kit_buf again = {0};
    must(zip.entries != NULL);
    entries_of(data, size, &zip);
    kit_status status = artifact_manifest_read((const char *)data, size, &zip, &manifest, digests, &err);
    if (status == KOLM_OK) {
        must(artifact_manifest_build(manifest, &zip, (const char(*)[KIT_SHA256_HEX])digests, &again, &err) == KOLM_OK);
        must(again.length == size && memcmp(again.data, data, size) == 0);
    } else {
        must(status == KOLM_E_DATA_LOSS && manifest == NULL && err.text[0] != '\0');
    }
    kit_buf_free(&again);
    cJSON_Delete(manifest);
    artifact_zip_free(&zip);
    return 0;
}
