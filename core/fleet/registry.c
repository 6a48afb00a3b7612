/* SPDX-License-Identifier: Apache-2.0 */
/* Turns what the host found into the rows that every verb works on, with the user's overrides. */
#include "fleet/registry.h"

#include "kolm/kit/address.h"
#include "kolm/kit/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define GIB ((uint64_t)1 << 30)

const char *fleet_group_title(fleet_group group) {
    static const char *const titles[FLEET_GROUPS] = {"LOCAL", "CLOUD", "SELF-HOSTED"};
    return titles[group];
}

fleet_backend *fleet_registry_find(fleet_registry *registry, const char *name) {
    for (size_t i = 0; i < registry->count; i++) {
        if (strcmp(registry->backends[i].name, name) == 0) return &registry->backends[i];
    }
    return NULL;
}

kit_status fleet_registry_unknown(const fleet_registry *registry, const char *name, kolm_error_t *err) {
    const char *names[256];
    size_t count = 0;
    for (size_t i = 0; i < registry->count && count < 256; i++)
        names[count++] = registry->backends[i].name;
    const char *near = kit_nearest(name, names, count);
    const char *remedy = "`kolm compute list` shows every backend";
    if (near)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "no backend is called '%s'; did you mean '%s'?", name,
                        near);
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "no backend is called '%s'", name);
}

kit_status fleet_backend_refuse(const fleet_backend *backend, int *out_exit, kolm_error_t *err) {
    const char *remedy = backend->refused_remedy && *backend->refused_remedy
                             ? backend->refused_remedy
                             : "`kolm compute list` shows every refused backend";
    *out_exit = backend->bad_settings ? SESSION_EXIT_DATA : SESSION_EXIT_NOTHING;
    if (backend->bad_settings) return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "%s", backend->refused);
    return kit_fail(err, KOLM_E_PERMISSION_DENIED, remedy, "%s is refused: %s", backend->name, backend->refused);
}

const char *fleet_backend_detail(const fleet_backend *backend, const char *key) {
    const char *text = "";
    if (backend->detection) (void)kit_json_get_string(backend->detection, key, &text);
    return text ? text : "";
}

const char *fleet_backend_state(const fleet_backend *backend) {
    const char *state = fleet_backend_detail(backend, "state");
    return *state ? state : "unknown";
}

bool fleet_backend_available(const fleet_backend *backend) {
    return !backend->refused && strcmp(fleet_backend_state(backend), "available") == 0;
}

pick_slot fleet_backend_slot(const fleet_backend *backend, const char *slot) {
    bool present = false;
    const cJSON *slots = backend->detection ? kit_json_get(backend->detection, "slots") : NULL;
    if (!kit_json_get_bool(slots, slot, &present)) return PICK_SLOT_UNKNOWN;
    return present ? PICK_SLOT_PRESENT : PICK_SLOT_MISSING;
}

/* ---- Private targets: literal addresses only, because under airgap no name is looked up. */

bool fleet_target_is_private(const char *target) {
    kit_endpoint endpoint;
    return kit_endpoint_split(target, &endpoint) == KIT_ENDPOINT_GOOD &&
           kit_host_is_private(endpoint.host, endpoint.host_length);
}

/* ---- Devices */

/* Memory of the largest device and, for "device:", its name, memory and how many there are of it. */
static const cJSON *largest_device(const fleet_backend *b, uint64_t *out_memory, size_t *out_count) {
    const cJSON *devices = b->detection ? kit_json_get(b->detection, "devices") : NULL;
    const cJSON *best = NULL;
    *out_memory = 0;
    *out_count = 0;
    for (const cJSON *d = cJSON_IsArray(devices) ? devices->child : NULL; d; d = d->next) {
        uint64_t memory = 0;
        const char *kind = "none";
        (void)kit_json_get_string(d, "memory", &kind);
        if (strcmp(kind, "none") != 0) (void)kit_json_get_u64(d, "total_memory_bytes", &memory);
        if (!best || memory > *out_memory) {
            best = d;
            *out_memory = memory;
        }
    }
    const char *name = "", *other = "";
    (void)kit_json_get_string(best, "name", &name);
    for (const cJSON *d = best ? devices->child : NULL; d; d = d->next) {
        if (kit_json_get_string(d, "name", &other) && strcmp(name, other) == 0) ++*out_count;
    }
    return best;
}

kit_status fleet_backend_describe_device(fleet_backend *b, kolm_error_t *err) {
    uint64_t memory = 0, units = 0;
    size_t count = 0;
    const char *name = NULL;
    kit_buf text = {0};
    const cJSON *device = largest_device(b, &memory, &count);
    free(b->device);
    b->device = NULL;
    if (!device || !kit_json_get_string(device, "name", &name)) return KOLM_OK;
    if (count > 1) kit_buf_fmt(&text, "%zu x ", count);
    kit_buf_str(&text, name);
    if (memory)
        kit_buf_fmt(&text, " (%" PRIu64 " GB)", (memory + GIB / 2) / GIB); /* as it says on the box */
    else if (kit_json_get_u64(device, "units", &units) && units)
        kit_buf_fmt(&text, " (%" PRIu64 " cores)", units);
    KIT_TRY(kit_buf_ok(&text, err));
    b->device = kit_buf_take(&text);
    return KOLM_OK;
}

/* ---- The picker's view */

static void fill_candidate(pick_candidate *c, const fleet_backend *b) {
    size_t count = 0;
    *c = (pick_candidate){.name = b->name, .kind = b->kind, .refused = b->refused};
    if (b->refused) return;
    c->train = b->train;
    c->infer = b->infer;
    c->recipes = b->recipes;
    c->airgap = b->airgap;
    c->private_target = b->private_target;
    c->price_micro_usd_per_hour = b->price_micro_usd_per_hour;
    c->hourly = b->price_micro_usd_per_hour != PICK_UNPRICED;
    c->billing = b->billing;
    c->cold_start_seconds = b->cold_start_seconds;
    c->tier = b->tier;
    c->vram = b->vram;
    c->vram_cap_bytes = b->vram_cap_bytes;
    c->perf_units = b->perf_units;
    c->available = fleet_backend_available(b);
    c->state = fleet_backend_state(b);
    c->reason = fleet_backend_detail(b, "reason");
    c->remedy = fleet_backend_detail(b, "remedy");
    c->device = b->device;
    (void)largest_device(b, &c->memory_bytes, &count);
    c->train_slot = fleet_backend_slot(b, "train");
    c->infer_slot = fleet_backend_slot(b, "infer");
}

kit_status fleet_registry_candidates(const fleet_registry *registry, pick_candidate **out_candidates,
                                     kolm_error_t *err) {
    pick_candidate *candidates = calloc(registry->count ? registry->count : 1, sizeof *candidates);
    if (!candidates) return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    for (size_t i = 0; i < registry->count; i++)
        fill_candidate(&candidates[i], &registry->backends[i]);
    *out_candidates = candidates;
    return KOLM_OK;
}

void fleet_candidates_free(pick_candidate *candidates) {
    free(candidates);
}
