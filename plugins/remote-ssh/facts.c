/* SPDX-License-Identifier: Apache-2.0 */
/* Cached facts about a machine, and their text. */
#include "box.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FACTS_MAX (1u << 20)
#define WEEK_SECONDS (7 * 86400)

/* ~/.cache/kolm/boxes/DIGEST.json; make: creates its directory too, for writing. */
static kit_status place_of(const box *b, bool make, char **out_path, kolm_error_t *err) {
    const char *cache = secure_getenv("XDG_CACHE_HOME"), *home = secure_getenv("HOME");
    char hex[KIT_SHA256_HEX], path[4096];
    kit_buf named = {0};
    bool own = cache != NULL && cache[0] == '/';
    if (!own && (home == NULL || home[0] != '/'))
        return kit_fail(err, KOLM_E_NOT_FOUND, "", "there is no home directory");
    kit_buf_fmt(&named, "%s\n%s\n%s\n", b->target, b->host, b->python);
    kit_status status = kit_buf_ok(&named, err);
    if (status == KOLM_OK) status = kit_sha256_bytes(named.data, named.length, hex, err);
    kit_buf_free(&named);
    KIT_TRY(status);
    if (!kit_format(path, sizeof path, "%s%s/kolm/boxes", own ? cache : home, own ? "" : "/.cache"))
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "", "the path of the cache is too long");
    if (make) KIT_TRY(kit_mkdirs(path, 0700, err));
    kit_buf file = {0};
    kit_buf_fmt(&file, "%s/%.32s.json", path, hex);
    *out_path = kit_buf_take(&file);
    return *out_path != NULL ? KOLM_OK : kit_no_memory(err);
}

cJSON *box_remembered(const box *b) {
    char *path = NULL;
    cJSON *facts = NULL;
    uint64_t seen = 0, now = (uint64_t)time(NULL);
    if (place_of(b, false, &path, NULL) != KOLM_OK) return NULL;
    kit_status status = kit_json_read(path, FACTS_MAX, &facts, NULL);
    free(path);
    if (status != KOLM_OK) return NULL;
    if (kit_json_get_u64(facts, "seen", &seen) && seen <= now && now - seen < WEEK_SECONDS) return facts;
    cJSON_Delete(facts);
    return NULL;
}

void box_remember(const box *b, const char *host_key, cJSON *facts) {
    char *path = NULL;
    kit_buf text = {0};
    static const char *const not_facts[] = {"id", "ok", "host_key", "seen"}; /* of the answer, or added by the cache */
    for (size_t i = 0; i < sizeof not_facts / sizeof *not_facts; i++)
        cJSON_DeleteItemFromObjectCaseSensitive(facts, not_facts[i]);
    kit_status status =
        kit_json_put_string(facts, "host_key", host_key) && kit_json_put_u64(facts, "seen", (uint64_t)time(NULL))
            ? KOLM_OK
            : KOLM_E_RESOURCE_EXHAUSTED;
    if (status == KOLM_OK) status = kit_json_line(facts, &text, NULL);
    if (status == KOLM_OK) status = place_of(b, true, &path, NULL);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, text.data, text.length, NULL);
    free(path);
    kit_buf_free(&text);
}

static const char *text_of(const cJSON *object, const char *key) {
    const char *text = "";
    return kit_json_get_string(object, key, &text) ? text : "";
}

static uint64_t bytes_of(const cJSON *object, const char *key) {
    uint64_t value = 0;
    return kit_json_get_u64(object, key, &value) ? value : KOLM_MEMORY_UNKNOWN;
}

static void tell_device(const kolm_host_v1_t *host, const cJSON *facts, const cJSON *card, uint32_t index) {
    const char *torch = text_of(kit_json_get(kit_json_get(facts, "python"), "packages"), "torch");
    uint64_t cores = 0;
    char runtime[64] = "";
    (void)kit_json_get_u64(facts, "cores", &cores);
    if (torch[0] != '\0') kit_format(runtime, sizeof runtime, "torch %s", torch);
    const kolm_device_t device = {
        .struct_size = (uint32_t)sizeof device,
        .memory_kind = card != NULL ? KOLM_MEMORY_OWN : KOLM_MEMORY_NONE,
        .total_memory_bytes = card != NULL ? bytes_of(card, "total") : bytes_of(facts, "memory_total"),
        .free_memory_bytes = card != NULL ? bytes_of(card, "free") : bytes_of(facts, "memory_free"),
        .index = index,
        .units = card != NULL ? 0 : (uint32_t)(cores < 65536 ? cores : 0),
        .name = card != NULL ? text_of(card, "name") : text_of(facts, "processor"),
        .id = card != NULL ? text_of(card, "id") : "",
        .driver = card != NULL ? text_of(card, "driver") : "",
        .runtime = runtime,
    };
    host->device(host->user, &device);
}

void box_tell(const kolm_host_v1_t *host, const cJSON *facts, char *out_text, size_t capacity) {
    const cJSON *cards = kit_json_get(facts, "gpus"), *card, *python = kit_json_get(facts, "python");
    uint32_t index = 0;
    char first[96] = "no GPU", more[24] = "", kolm[48] = "";
    cJSON_ArrayForEach(card, cards) {
        if (index == 0)
            kit_format(first, sizeof first, "%.60s, %.1f GB free", text_of(card, "name"),
                       bytes_of(card, "free") == KOLM_MEMORY_UNKNOWN ? 0.0 : (double)bytes_of(card, "free") / 1e9);
        if (host != NULL) tell_device(host, facts, card, index);
        index++;
    }
    if (index > 1) kit_format(more, sizeof more, " and %u more", index - 1);
    if (host != NULL && index == 0) tell_device(host, facts, NULL, 0);
    uint64_t cores = 0;
    (void)kit_json_get_u64(facts, "cores", &cores);
    const char *torch = text_of(kit_json_get(python, "packages"), "torch");
    const char *version = text_of(kit_json_get(facts, "kolm"), "version");
    if (version[0] != '\0') kit_format(kolm, sizeof kolm, ", kolm %.20s", version);
    kit_format(out_text, capacity, "%s%s, %u cores, %.0f GB, %.0f GB of disk free, Python %.20s, %s%.20s%s", first,
               more, (unsigned)cores, (double)bytes_of(facts, "memory_total") / 1e9,
               (double)bytes_of(facts, "disk_free") / 1e9, text_of(python, "version"),
               torch[0] != '\0' ? "torch " : "no torch", torch, kolm);
}
