/* SPDX-License-Identifier: Apache-2.0 */
/* Scans for backends and makes the registry of what was found; loads none. */
#include "fleet/registry.h"

#include "fleet/grants.h"
#include "fleet/policy.h"
#include "host/host.h"
#include "session/site.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static fleet_group group_of(const char *kind) {
    if (strcmp(kind, "local") == 0) return FLEET_GROUP_LOCAL;
    return strcmp(kind, "self-hosted") == 0 ? FLEET_GROUP_SELF_HOSTED : FLEET_GROUP_CLOUD;
}

static void fill_from_manifest(fleet_backend *b, const host_manifest *m) {
    static const pick_airgap airgap[] = {[HOST_AIRGAP_NO] = PICK_AIRGAP_NO,
                                         [HOST_AIRGAP_YES] = PICK_AIRGAP_YES,
                                         [HOST_AIRGAP_DEPENDS] = PICK_AIRGAP_DEPENDS};
    static const pick_vram vram[] = {[HOST_VRAM_NONE] = PICK_VRAM_NONE,
                                     [HOST_VRAM_CAP] = PICK_VRAM_CAP,
                                     [HOST_VRAM_OWN] = PICK_VRAM_OWN,
                                     [HOST_VRAM_SHARED] = PICK_VRAM_SHARED};
    b->group = group_of(m->kind);
    b->kind = m->kind;
    b->summary = m->summary;
    b->runtime = m->runtime;
    b->needs = m->hint ? m->hint : m->auth_count ? m->auth[0] : "";
    b->billing = m->billing == KOLM_BILLING_FREE ? "per-hour" : host_billing_name(m->billing);
    b->auth = (const char *const *)m->auth;
    b->auth_count = m->auth_count;
    b->secrets = (const char *const *)m->secrets;
    b->secret_count = m->secret_count;
    b->recipes = m->recipes;
    b->formats = m->formats;
    b->unread = host_manifest_unread(m);
    b->train = m->train;
    b->infer = m->infer;
    b->airgap = airgap[m->airgap];
    b->vram = vram[m->vram];
    b->vram_cap_bytes = (uint64_t)m->vram_cap_gb * 1000000000u;
    b->price_micro_usd_per_hour =
        m->price_micro_usd_per_hour == HOST_UNPRICED ? PICK_UNPRICED : m->price_micro_usd_per_hour;
    b->cold_start_seconds = m->cold_start_seconds;
    b->tier = m->tier;
    b->perf_units = (uint32_t)((uint64_t)m->perf_units * PICK_UNIT / HOST_PERF_UNIT);
    b->overridden = m->overridden != 0;
    b->price_overridden = (m->overridden & HOST_OVERRIDE_COST) != 0;
}

void fleet_backend_fill(fleet_backend *b, const host_backend *row) {
    b->row = row;
    b->name = row->name;
    b->plugin_path = row->plugin_path ? row->plugin_path : "";
    b->manifest_path = row->manifest_path ? row->manifest_path : "";
    b->kind = b->summary = b->runtime = b->needs = b->billing = "";
    if (row->state == HOST_ROW_OK)
        fill_from_manifest(b, row->manifest);
    else
        b->refused = row->why.text;
    if (row->state == HOST_ROW_OK && !row->granted) b->ungranted = row->why.text;
    b->refused_remedy = row->why.remedy;
    b->bad_settings = row->rule == HOST_RULE_SETTINGS;
}

/* By group, tier and name: the order of `list`. */
static int backend_order(const void *left, const void *right) {
    const fleet_backend *a = left, *b = right;
    if (a->group != b->group) return a->group < b->group ? -1 : 1;
    if (a->tier != b->tier) return a->tier < b->tier ? -1 : 1;
    return strcmp(a->name, b->name);
}

static kit_status fill_rows(fleet_registry *registry, kolm_error_t *err) {
    const host_registry *found = registry->found;
    registry->backends = calloc(found->count + 1, sizeof *registry->backends);
    registry->shadowed = calloc(found->count + 1, sizeof *registry->shadowed);
    if (!registry->backends || !registry->shadowed)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    for (size_t i = 0; i < found->count; i++) {
        const host_backend *row = &found->rows[i];
        if (row->state == HOST_ROW_SHADOWED || row->passed_over) {
            registry->shadowed[registry->shadowed_count++] =
                (fleet_shadowed){row->name, row->plugin_path ? row->plugin_path : row->directory, row->why.text, row};
        } else {
            fleet_backend_fill(&registry->backends[registry->count++], row);
        }
    }
    qsort(registry->backends, registry->count, sizeof *registry->backends, backend_order);
    kit_buf notes = {0};
    for (size_t i = 0; i < found->note_count; i++)
        kit_buf_fmt(&notes, "%s%s", i ? "; " : "", found->notes[i].text);
    KIT_TRY(kit_buf_ok(&notes, err));
    registry->notes = kit_buf_take(&notes);
    return KOLM_OK;
}

kit_status fleet_registry_open(kolm_session *session, fleet_registry **out_registry, kolm_error_t *err) {
    host_config config = {0};
    store_home *home = NULL;
    fleet_policy *policy = NULL;
    fleet_grants *grants = NULL;
    char *user_dir = NULL;
    fleet_registry *registry = calloc(1, sizeof *registry);
    kit_status status = registry ? KOLM_OK : kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    if (status == KOLM_OK) status = session_site_config(session, &config, err);
    if (status == KOLM_OK) status = session_home(session, &home, err);
    if (status == KOLM_OK) status = store_home_place(home, STORE_BACKENDS, &user_dir, err);
    if (status == KOLM_OK) status = fleet_policy_load(session, &policy, err);
    if (status == KOLM_OK) status = fleet_grants_load(session, policy, &grants, err);
    if (status == KOLM_OK) {
        host_scan_options options = {.user_dir = user_dir,
                                     .config = config,
                                     .admit = fleet_policy_admit,
                                     .admit_user = policy,
                                     .grant = fleet_grants_check,
                                     .grant_user = grants};
        registry->now = (int64_t)time(NULL);
        status = host_scan(&options, &registry->found, err);
    }
    if (status == KOLM_OK) status = fill_rows(registry, err);
    free(user_dir);
    fleet_grants_free(grants);
    fleet_policy_free(policy);
    if (status == KOLM_OK)
        *out_registry = registry;
    else
        fleet_registry_free(registry);
    return status;
}

void fleet_registry_free(fleet_registry *registry) {
    if (!registry) return;
    for (size_t i = 0; i < registry->count; i++) {
        cJSON_Delete(registry->backends[i].detection);
        free(registry->backends[i].device);
    }
    free(registry->backends);
    free(registry->shadowed);
    free(registry->notes);
    free(registry->entries);
    cJSON_Delete(registry->cache);
    store_credentials_free(registry->credentials);
    host_registry_free(registry->found);
    free(registry);
}
