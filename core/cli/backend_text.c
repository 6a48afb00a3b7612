/* SPDX-License-Identifier: Apache-2.0 */
/* Formats a backend: its price, its devices, its fields. */
#include "cli/backend_text.h"

#include "cli/output.h"
#include "kolm/kit/text.h"

#include <inttypes.h>
#include <string.h>

const char *cli_price_origin(const fleet_backend *b, char *out, size_t capacity) {
    const char *of = b->priced_on[0] ? " of " : "";
    out[0] = '\0';
    if (b->offer->price_micro_usd_per_hour == PICK_UNPRICED || b->offer->price_micro_usd_per_hour == 0) return out;
    if (fleet_price_overridden(b))
        kit_copy(out, capacity, "price from config.json");
    else if (b->priced_live)
        kit_format(out, capacity, "live price%s%s", of, b->priced_on);
    else
        kit_format(out, capacity, "reference price%s%s%s", of, b->priced_on,
                   fleet_backend_detection(b)->offers_asked ? ", because its provider gave no price" : "");
    return out;
}

const char *cli_backend_price(const fleet_backend *backend, char *out, size_t capacity) {
    char dollars[32];
    if (backend->offer->price_micro_usd_per_hour == PICK_UNPRICED)
        kit_copy(out, capacity, backend->offer->billing);
    else if (backend->offer->price_micro_usd_per_hour == 0)
        kit_copy(out, capacity, "0 $/hr");
    else {
        session_usd(dollars, sizeof dollars, backend->offer->price_micro_usd_per_hour);
        kit_format(out, capacity, "%s $/hr", dollars + 1);
    }
    return out;
}

/* Drivers count memory in powers of two. */
static const char *gibibytes(char *out, size_t capacity, uint64_t bytes) {
    kit_format(out, capacity, "%.1f GiB", (double)bytes / (double)(1u << 30));
    return out;
}

void cli_device_text(const host_device *device, kit_buf *out) {
    char text[32];
    kit_buf_escaped(out, device->name, strlen(device->name));
    if (device->total_memory_bytes != KOLM_MEMORY_UNKNOWN)
        kit_buf_fmt(out, ", %s", gibibytes(text, sizeof text, device->total_memory_bytes));
    if (device->free_memory_bytes != KOLM_MEMORY_UNKNOWN)
        kit_buf_fmt(out, ", %s free", gibibytes(text, sizeof text, device->free_memory_bytes));
    if (*device->driver) {
        kit_buf_str(out, ", driver ");
        kit_buf_escaped(out, device->driver, strlen(device->driver));
    }
}

static bool put_vram(cJSON *object, const fleet_backend *b) {
    switch (b->offer->vram) {
    case PICK_VRAM_CAP:
        return kit_json_put(object, "vram_cap_gb", kit_json_micro(b->offer->vram_cap_bytes / 1000));
    case PICK_VRAM_OWN:
        return kit_json_put_string(object, "vram_cap_gb", "own");
    case PICK_VRAM_SHARED:
        return kit_json_put_string(object, "vram_cap_gb", "shared");
    default:
        return kit_json_put_null(object, "vram_cap_gb");
    }
}

static bool put_auth(cJSON *object, const fleet_backend *b) {
    cJSON *array = cJSON_AddArrayToObject(object, "auth");
    for (size_t i = 0; array && i < b->manifest->auth_count; i++) {
        cJSON *item = cJSON_CreateString(b->manifest->auth[i]);
        if (!item || !cJSON_AddItemToArray(array, item)) return false;
    }
    return array != NULL;
}

bool cli_fill_backend(cJSON *object, const fleet_backend *b) {
    bool priced = b->offer->price_micro_usd_per_hour != PICK_UNPRICED;
    bool good =
        kit_json_put_string(object, "name", b->name) && kit_json_put_string(object, "kind", b->offer->kind) &&
        kit_json_put_string(object, "group", fleet_group_title(b->group)) &&
        kit_json_put_u64(object, "tier", b->offer->tier) && kit_json_put_bool(object, "train", b->offer->train) &&
        kit_json_put_bool(object, "infer", b->offer->infer) &&
        kit_json_put_string(object, "recipes", b->offer->recipes) &&
        kit_json_put_string(object, "airgap", pick_airgap_names[b->offer->airgap]) &&
        kit_json_put_string(object, "billing", b->offer->billing) &&
        (priced ? kit_json_put(object, "cost_per_hour_usd", kit_json_micro(b->offer->price_micro_usd_per_hour))
                : kit_json_put_null(object, "cost_per_hour_usd")) &&
        kit_json_put_string(object, "price_source", fleet_price_source(b)) &&
        kit_json_put_string(object, "priced_on", b->priced_on[0] ? b->priced_on : NULL) &&
        kit_json_put_u64(object, "cold_start_seconds", b->offer->cold_start_seconds) && put_vram(object, b) &&
        kit_json_put(object, "perf", kit_json_micro((uint64_t)b->offer->perf_units * 10)) && put_auth(object, b);
    good = good && kit_json_put_string(object, "requires", b->needs) &&
           kit_json_put_string(object, "runtime", b->manifest->runtime) &&
           kit_json_put_string(object, "summary", b->manifest->summary) &&
           kit_json_put_bool(object, "overridden", b->manifest->overridden != 0) &&
           kit_json_put_string(object, "plugin", b->plugin_path) &&
           kit_json_put_string(object, "manifest", b->manifest_path);
    if (!good) return false;
    if (!b->detection) return kit_json_put_null(object, "detection");
    return kit_json_put(object, "detection", fleet_detection_json(b->detection)) &&
           kit_json_put_bool(object, "from_cache", b->from_cache);
}

bool cli_put_backend(cJSON *array, const fleet_backend *backend) {
    cJSON *object = cJSON_CreateObject();
    return cli_append(array, object, object && cli_fill_backend(object, backend));
}

bool cli_put_problem(cJSON *array, const char *name, const char *path, const char *why) {
    cJSON *object = cJSON_CreateObject();
    return cli_append(array, object,
                      object && kit_json_put_string(object, "name", name) &&
                          kit_json_put_string(object, "path", path) && kit_json_put_string(object, "why", why));
}

void cli_signed_print(cli_context *context, const cJSON *backends, const char *what, bool taken_too) {
    const cJSON *one;
    cJSON_ArrayForEach(one, backends) {
        const char *name = "", *plugin = "", *state = "";
        (void)kit_json_get_string(one, "name", &name);
        (void)kit_json_get_string(one, "plugin", &plugin);
        (void)kit_json_get_string(one, "state", &state);
        if (!taken_too && strcmp(state, "taken") == 0) continue;
        cli_print(context, "%s  %s (%s)\n", what, cli_safe(name), cli_safe(plugin));
    }
}
