/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the record of a detection from a plugin's answer or from JSON, and writes it as JSON. */
#include "fleet/detection.h"

#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

static const char *const state_names[FLEET_STATES] = {
    [FLEET_UNKNOWN] = "unknown",       [FLEET_AVAILABLE] = "available",     [FLEET_ABSENT] = "absent",
    [FLEET_BROKEN] = "broken",         [FLEET_REFUSED] = "refused",         [FLEET_FAILED] = "failed",
    [FLEET_CRASHED] = "crashed",       [FLEET_TIMED_OUT] = "timed out",     [FLEET_NO_REPLY] = "no reply",
    [FLEET_NOT_LOADED] = "not loaded", [FLEET_NOT_GRANTED] = "not granted",
};
static const char *const memory_kinds[] = {"none", "own", "shared"}; /* by KOLM_MEMORY_* */
#define MEMORY_KINDS (sizeof memory_kinds / sizeof *memory_kinds)

static const struct {
    const char *name;
    uint32_t bit;
} slot_bits[] = {
    {"detect", HOST_SLOT_DETECT}, {"cost", HOST_SLOT_COST}, {"train", HOST_SLOT_TRAIN},
    {"infer", HOST_SLOT_INFER},   {"test", HOST_SLOT_TEST}, {"status", HOST_SLOT_STATUS},
};
#define SLOTS (sizeof slot_bits / sizeof *slot_bits)

const char *fleet_state_name(fleet_state state) {
    return state < FLEET_STATES ? state_names[state] : state_names[FLEET_UNKNOWN];
}

bool fleet_state_is_answer(fleet_state state) {
    return state >= FLEET_AVAILABLE && state < FLEET_FAILED;
}

/* ---- From an answer */

fleet_detection *fleet_detection_new(fleet_state state, const char *reason, const char *remedy) {
    fleet_detection *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->state = state;
    kit_copy(d->reason, sizeof d->reason, reason);
    kit_copy(d->remedy, sizeof d->remedy, remedy);
    return d;
}

static fleet_state state_of(const host_result *r) {
    switch (r->verdict) {
    case HOST_OK:
        return r->detect.state == KOLM_DETECT_AVAILABLE ? FLEET_AVAILABLE
               : r->detect.state == KOLM_DETECT_ABSENT  ? FLEET_ABSENT
               : r->detect.state == KOLM_DETECT_REFUSED ? FLEET_REFUSED
                                                        : FLEET_BROKEN;
    case HOST_CRASHED:
        return FLEET_CRASHED;
    case HOST_TIMED_OUT:
        return FLEET_TIMED_OUT;
    case HOST_NO_REPLY:
        return FLEET_NO_REPLY;
    default:
        return FLEET_FAILED;
    }
}

/* True if the backend reported "absent" or PERMISSION_DENIED only because the value of a secret was withheld. */
static bool is_blind(const host_result *r) {
    if (!r->withheld[0]) return false;
    if (r->verdict == HOST_OK) return r->detect.state == KOLM_DETECT_ABSENT;
    return r->verdict == HOST_FAILED && r->error.code == KOLM_E_PERMISSION_DENIED;
}

static bool take_devices(fleet_detection *d, const host_result *r) {
    if (r->device_count == 0) return true;
    d->devices = calloc(r->device_count, sizeof *d->devices);
    if (!d->devices) return false;
    memcpy(d->devices, r->devices, r->device_count * sizeof *d->devices);
    d->device_count = r->device_count;
    return true;
}

fleet_detection *fleet_detection_of(const host_result *r) {
    bool answered = r->verdict == HOST_OK, blind = is_blind(r);
    char set[160];
    kit_format(set, sizeof set, "%s is set; not checked: use kolm compute detect --refresh", r->withheld);
    fleet_detection *d = blind ? fleet_detection_new(FLEET_AVAILABLE, set, "")
                               : fleet_detection_new(state_of(r), answered ? r->detect.reason : r->error.text,
                                                     answered ? r->detect.remedy : r->error.remedy);
    if (!d) return NULL;
    d->asked = true;
    d->wall_ms = r->wall_ms > 0 ? (uint64_t)r->wall_ms : 0;
    if (answered) kit_copy(d->runtime, sizeof d->runtime, r->detect.runtime);
    d->loaded = r->loaded;
    d->slots = r->slots;
    kit_copy(d->version, sizeof d->version, r->version);
    kit_copy(d->vendor, sizeof d->vendor, r->vendor);
    kit_copy(d->licence, sizeof d->licence, r->licence);
    kit_copy(d->homepage, sizeof d->homepage, r->homepage);
    d->offer_micro_usd_per_hour = answered ? r->offer_micro_usd_per_hour : 0;
    d->offer_micro_usd_once = d->offer_micro_usd_per_hour > 0 ? r->offer_micro_usd_once : 0;
    if (!answered || take_devices(d, r)) return d;
    fleet_detection_free(d);
    return NULL;
}

void fleet_detection_free(fleet_detection *detection) {
    if (!detection) return;
    free(detection->devices);
    free(detection);
}

/* ---- To JSON */

static bool put_memory(cJSON *o, const char *key, uint64_t bytes) {
    return bytes == KOLM_MEMORY_UNKNOWN ? kit_json_put_null(o, key) : kit_json_put_u64(o, key, bytes);
}

static bool put_device(cJSON *array, const host_device *d) {
    cJSON *o = cJSON_CreateObject();
    bool good = o && kit_json_put_string(o, "name", d->name) && kit_json_put_string(o, "id", d->id) &&
                kit_json_put_u64(o, "index", d->index) && kit_json_put_u64(o, "units", d->units) &&
                kit_json_put_string(o, "memory", memory_kinds[d->memory_kind < MEMORY_KINDS ? d->memory_kind : 0]) &&
                put_memory(o, "total_memory_bytes", d->total_memory_bytes) &&
                put_memory(o, "free_memory_bytes", d->free_memory_bytes) &&
                kit_json_put_string(o, "driver", d->driver) && kit_json_put_string(o, "runtime", d->runtime);
    if (good && cJSON_AddItemToArray(array, o)) return true;
    cJSON_Delete(o);
    return false;
}

static bool put_offer(cJSON *json, const fleet_detection *d) {
    bool good = d->offer_micro_usd_per_hour > 0 || kit_json_put_null(json, "offer");
    cJSON *offer = d->offer_micro_usd_per_hour > 0 ? cJSON_AddObjectToObject(json, "offer") : NULL;
    if (d->offer_micro_usd_per_hour > 0)
        good = offer && kit_json_put_u64(offer, "micro_usd_per_hour", d->offer_micro_usd_per_hour) &&
               kit_json_put_u64(offer, "micro_usd_once", d->offer_micro_usd_once);
    if (good && d->offer_min_vram_bytes > 0)
        good = kit_json_put_u64(json, "offer_min_vram_bytes", d->offer_min_vram_bytes);
    return good && (!d->offer_why[0] || kit_json_put_string(json, "offer_why", d->offer_why));
}

static bool put_asked(cJSON *json, const fleet_detection *d) {
    bool good = kit_json_put_string(json, "runtime", d->runtime) && kit_json_put_u64(json, "wall_ms", d->wall_ms);
    cJSON *devices = good ? cJSON_AddArrayToObject(json, "devices") : NULL;
    for (size_t i = 0; devices && i < d->device_count; i++)
        if (!put_device(devices, &d->devices[i])) return false;
    return devices != NULL && (!d->offers_asked || put_offer(json, d));
}

static bool put_loaded(cJSON *json, const fleet_detection *d) {
    cJSON *slots = cJSON_AddObjectToObject(json, "slots");
    for (size_t i = 0; slots && i < SLOTS; i++)
        if (!kit_json_put_bool(slots, slot_bits[i].name, (d->slots & slot_bits[i].bit) != 0)) return false;
    return slots && kit_json_put_string(json, "version", d->version) &&
           kit_json_put_string(json, "vendor", d->vendor) && kit_json_put_string(json, "licence", d->licence) &&
           kit_json_put_string(json, "homepage", d->homepage);
}

cJSON *fleet_detection_json(const fleet_detection *d) {
    cJSON *json = cJSON_CreateObject();
    if (json && kit_json_put_string(json, "state", fleet_state_name(d->state)) &&
        kit_json_put_string(json, "reason", d->reason) && kit_json_put_string(json, "remedy", d->remedy) &&
        (!d->asked || put_asked(json, d)) && (!d->loaded || put_loaded(json, d)))
        return json;
    cJSON_Delete(json);
    return NULL;
}

/* ---- From JSON: a file that may be damaged, or written by hand */

static bool get_text(const cJSON *json, const char *key, char *out, size_t capacity) {
    const char *text = NULL;
    return kit_json_get_string(json, key, &text) && kit_copy(out, capacity, text);
}

static bool get_u32(const cJSON *json, const char *key, uint32_t *out) {
    uint64_t number = 0;
    if (!kit_json_get_u64(json, key, &number) || number > UINT32_MAX) return false;
    *out = (uint32_t)number;
    return true;
}

static bool get_memory(const cJSON *json, const char *key, uint64_t *out) {
    *out = KOLM_MEMORY_UNKNOWN;
    return cJSON_IsNull(kit_json_get(json, key)) || kit_json_get_u64(json, key, out);
}

static size_t word_at(const char *word, const char *const *words, size_t count) {
    size_t i = 0;
    while (i < count && strcmp(word, words[i]) != 0)
        i++;
    return i;
}

static bool get_word(const cJSON *json, const char *key, const char *const *words, size_t count, uint32_t *out) {
    const char *word = "";
    if (!kit_json_get_string(json, key, &word)) return false;
    *out = (uint32_t)word_at(word, words, count);
    return *out < count;
}

static bool read_device(const cJSON *json, host_device *d) {
    return get_text(json, "name", d->name, sizeof d->name) && get_text(json, "id", d->id, sizeof d->id) &&
           get_u32(json, "index", &d->index) && get_u32(json, "units", &d->units) &&
           get_word(json, "memory", memory_kinds, MEMORY_KINDS, &d->memory_kind) &&
           get_memory(json, "total_memory_bytes", &d->total_memory_bytes) &&
           get_memory(json, "free_memory_bytes", &d->free_memory_bytes) &&
           get_text(json, "driver", d->driver, sizeof d->driver) &&
           get_text(json, "runtime", d->runtime, sizeof d->runtime);
}

static bool read_asked(const cJSON *json, fleet_detection *d) {
    const cJSON *devices = kit_json_get(json, "devices");
    int count = cJSON_IsArray(devices) ? cJSON_GetArraySize(devices) : -1;
    if (count < 0 || count > (int)HOST_DEVICES_MAX || !get_text(json, "runtime", d->runtime, sizeof d->runtime) ||
        !kit_json_get_u64(json, "wall_ms", &d->wall_ms))
        return false;
    d->devices = count > 0 ? calloc((size_t)count, sizeof *d->devices) : NULL;
    if (count > 0 && !d->devices) return false;
    for (const cJSON *one = devices->child; one; one = one->next)
        if (!read_device(one, &d->devices[d->device_count++])) return false;
    return true;
}

static bool read_offer(const cJSON *json, fleet_detection *d) {
    const cJSON *offer = kit_json_get(json, "offer");
    const char *why = "";
    d->offers_asked = offer != NULL;
    (void)kit_json_get_u64(json, "offer_min_vram_bytes", &d->offer_min_vram_bytes);
    (void)kit_json_get_string(json, "offer_why", &why);
    kit_copy(d->offer_why, sizeof d->offer_why, why);
    return !offer || cJSON_IsNull(offer) ||
           (kit_json_get_u64(offer, "micro_usd_per_hour", &d->offer_micro_usd_per_hour) &&
            d->offer_micro_usd_per_hour > 0 && kit_json_get_u64(offer, "micro_usd_once", &d->offer_micro_usd_once));
}

static bool read_loaded(const cJSON *json, fleet_detection *d) {
    const cJSON *slots = kit_json_get(json, "slots");
    for (size_t i = 0; i < SLOTS; i++) {
        bool present = false;
        if (!kit_json_get_bool(slots, slot_bits[i].name, &present)) return false;
        if (present) d->slots |= slot_bits[i].bit;
    }
    return get_text(json, "version", d->version, sizeof d->version) &&
           get_text(json, "vendor", d->vendor, sizeof d->vendor) &&
           get_text(json, "licence", d->licence, sizeof d->licence) &&
           get_text(json, "homepage", d->homepage, sizeof d->homepage);
}

static bool read_all(const cJSON *json, fleet_detection *d) {
    uint32_t state = 0;
    if (!get_word(json, "state", state_names, FLEET_STATES, &state) ||
        !get_text(json, "reason", d->reason, sizeof d->reason) ||
        !get_text(json, "remedy", d->remedy, sizeof d->remedy))
        return false;
    d->state = (fleet_state)state;
    d->asked = kit_json_get(json, "runtime") != NULL;
    d->loaded = kit_json_get(json, "slots") != NULL;
    return (!d->asked || (read_asked(json, d) && read_offer(json, d))) && (!d->loaded || read_loaded(json, d));
}

fleet_detection *fleet_detection_read(const cJSON *json) {
    fleet_detection *d = calloc(1, sizeof *d);
    if (d && read_all(json, d)) return d;
    fleet_detection_free(d);
    return NULL;
}

/* ---- Devices */

uint64_t fleet_device_memory(const host_device *device) {
    bool has = device->memory_kind == KOLM_MEMORY_OWN || device->memory_kind == KOLM_MEMORY_SHARED;
    return has && device->total_memory_bytes != KOLM_MEMORY_UNKNOWN ? device->total_memory_bytes : 0;
}

const host_device *fleet_detection_largest(const fleet_detection *detection) {
    const host_device *best = NULL;
    for (size_t i = 0; detection && i < detection->device_count; i++) {
        const host_device *one = &detection->devices[i];
        if (!best || fleet_device_memory(one) > fleet_device_memory(best)) best = one;
    }
    return best;
}
