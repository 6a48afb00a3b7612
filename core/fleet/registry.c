/* SPDX-License-Identifier: Apache-2.0 */
/* Turns what the host found into the rows that every verb works on, with the user's overrides. */
#include "fleet/registry.h"

#include "kolm/kit/address.h"
#include "kolm/kit/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

kit_status fleet_backend_refuse(const fleet_backend *backend, session_reason *out_reason, kolm_error_t *err) {
    const char *remedy = backend->refused_remedy && *backend->refused_remedy
                             ? backend->refused_remedy
                             : "`kolm compute list` shows every refused backend";
    *out_reason = backend->bad_settings ? SESSION_REASON_DATA : SESSION_REASON_NOTHING;
    if (backend->bad_settings) return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "%s", backend->refused);
    return kit_fail(err, KOLM_E_PERMISSION_DENIED, remedy, "%s is refused: %s", backend->name, backend->refused);
}

const fleet_detection *fleet_backend_detection(const fleet_backend *backend) {
    static const fleet_detection nothing = {.state = FLEET_UNKNOWN};
    return backend->detection ? backend->detection : &nothing;
}

const char *fleet_backend_state(const fleet_backend *backend) {
    return fleet_state_name(fleet_backend_detection(backend)->state);
}

bool fleet_backend_available(const fleet_backend *backend) {
    return !backend->refused && fleet_backend_detection(backend)->state == FLEET_AVAILABLE;
}

pick_slot fleet_backend_slot(const fleet_backend *backend, uint32_t slot) {
    const fleet_detection *d = fleet_backend_detection(backend);
    if (!d->loaded) return PICK_SLOT_UNKNOWN;
    return (d->slots & slot) != 0 ? PICK_SLOT_PRESENT : PICK_SLOT_MISSING;
}

bool fleet_price_overridden(const fleet_backend *backend) {
    return backend->manifest && (backend->manifest->overridden & HOST_OVERRIDE_COST) != 0;
}

uint64_t fleet_second_start(const fleet_backend *b) {
    const pick_offer *o = b->offer;
    if (o->airgap != PICK_AIRGAP_NO || o->price_micro_usd_per_hour == PICK_UNPRICED) return 0;
    return o->price_micro_usd_per_hour / 3600 * o->cold_start_seconds + fleet_price_once(b);
}

bool fleet_keeps_budget(const fleet_backend *backend) {
    const host_settings *s = backend->manifest ? &backend->manifest->settings : NULL;
    for (size_t i = 0; s && i < s->count; i++)
        if (strcmp(s->at[i].key, "budget_usd") == 0) return true;
    return false;
}

const char *fleet_price_source(const fleet_backend *backend) {
    return fleet_price_overridden(backend) ? "config" : backend->priced_live ? "live" : "manifest";
}

uint64_t fleet_price_once(const fleet_backend *backend) {
    return backend->priced_live ? backend->detection->offer_micro_usd_once : 0;
}

kit_status fleet_backend_take(fleet_backend *backend, fleet_detection *detection, kolm_error_t *err) {
    fleet_detection_free(backend->detection);
    backend->detection = detection;
    return detection ? KOLM_OK : kit_no_memory(err);
}

void fleet_day_text(int64_t seconds, char out[FLEET_DAY_BYTES]) {
    time_t at = (time_t)seconds;
    struct tm tm;
    if (!gmtime_r(&at, &tm) || strftime(out, FLEET_DAY_BYTES, "%Y-%m-%d", &tm) != 10) out[0] = '\0';
}

void fleet_backend_price(const fleet_registry *registry, fleet_backend *b, int64_t at) {
    if (b->detection->offer_micro_usd_per_hour == 0 || fleet_price_overridden(b)) return;
    if (b->detection->offer_min_vram_bytes != registry->min_vram_bytes) return;
    host_registry_price(registry->found, b->row, b->detection->offer_micro_usd_per_hour);
    b->priced_live = true;
    b->priced_at = at;
    fleet_day_text(at, b->priced_on);
}

/* ---- Private targets: literal addresses only, because under airgap no name is looked up. */

bool fleet_target_is_private(const char *target) {
    kit_endpoint endpoint;
    return kit_endpoint_split(target, &endpoint) == KIT_ENDPOINT_GOOD &&
           kit_host_is_private(endpoint.host, endpoint.host_length);
}

/* ---- Devices */

/* Number of devices of this name. */
static size_t count_of(const fleet_detection *d, const char *name) {
    size_t count = 0;
    for (size_t i = 0; i < d->device_count; i++)
        count += strcmp(d->devices[i].name, name) == 0;
    return count;
}

kit_status fleet_backend_describe_device(fleet_backend *b, kolm_error_t *err) {
    kit_buf text = {0};
    const host_device *device = fleet_detection_largest(b->detection);
    free(b->device);
    b->device = NULL;
    if (!device) return KOLM_OK;
    size_t count = count_of(b->detection, device->name);
    uint64_t memory = fleet_device_memory(device);
    if (count > 1) kit_buf_fmt(&text, "%zu x ", count);
    kit_buf_str(&text, device->name);
    if (memory)
        kit_buf_fmt(&text, " (%" PRIu64 " GB)", (memory + GIB / 2) / GIB); /* as advertised */
    else if (device->units)
        kit_buf_fmt(&text, " (%" PRIu32 " cores)", device->units);
    KIT_TRY(kit_buf_ok(&text, err));
    b->device = kit_buf_take(&text);
    return KOLM_OK;
}

/* ---- The picker's view */

static void fill_candidate(pick_candidate *c, const fleet_backend *b) {
    const fleet_detection *d = fleet_backend_detection(b);
    const host_device *largest = fleet_detection_largest(d);
    *c = (pick_candidate){.name = b->name, .refused = b->refused, .offer = *b->offer};
    if (b->refused) return;
    c->private_target = b->private_target;
    if (c->offer.price_micro_usd_per_hour != PICK_UNPRICED && c->offer.price_micro_usd_per_hour > 0) {
        c->offer.price_source = fleet_price_source(b);
        c->offer.priced_on = b->priced_on[0] ? b->priced_on : NULL;
    }
    c->available = fleet_backend_available(b);
    c->state = fleet_state_name(d->state);
    c->reason = d->reason;
    c->remedy = d->remedy;
    c->device = b->device;
    c->memory_bytes = largest ? fleet_device_memory(largest) : 0;
    c->train_slot = fleet_backend_slot(b, HOST_SLOT_TRAIN);
    c->infer_slot = fleet_backend_slot(b, HOST_SLOT_INFER);
}

kit_status fleet_registry_candidates(const fleet_registry *registry, pick_candidate **out_candidates,
                                     kolm_error_t *err) {
    pick_candidate *candidates = calloc(registry->count ? registry->count : 1, sizeof *candidates);
    if (!candidates) return kit_no_memory(err);
    for (size_t i = 0; i < registry->count; i++)
        fill_candidate(&candidates[i], &registry->backends[i]);
    *out_candidates = candidates;
    return KOLM_OK;
}

void fleet_candidates_free(pick_candidate *candidates) {
    free(candidates);
}
