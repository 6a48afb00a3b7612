/* SPDX-License-Identifier: Apache-2.0 */
/* Scans for backends and builds the registry; loads no plugin. */
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

void fleet_backend_fill(fleet_backend *b, const host_backend *row) {
    static const pick_offer nothing = {.kind = "", .billing = ""};
    const host_manifest *m = row->state == HOST_ROW_OK ? row->manifest : NULL;
    b->row = row;
    b->name = row->name;
    b->plugin_path = row->plugin_path ? row->plugin_path : "";
    b->manifest_path = row->manifest_path ? row->manifest_path : "";
    b->manifest = m;
    b->offer = m ? &m->offer : &nothing;
    b->needs = !m ? "" : m->hint ? m->hint : m->auth_count ? m->auth[0] : "";
    if (m)
        b->group = group_of(m->offer.kind);
    else
        b->refused = row->why.text;
    if (m && !(m->overridden & HOST_OVERRIDE_COST))
        fleet_day_text(row->manifest_file.modified_ns / 1000000000, b->priced_on);
    if (m && !row->granted) b->ungranted = row->why.text;
    b->refused_remedy = row->why.remedy;
    b->bad_settings = row->rule == HOST_RULE_SETTINGS;
}

/* By group, tier and name: the order of `list`. */
static int backend_order(const void *left, const void *right) {
    const fleet_backend *a = left, *b = right;
    if (a->group != b->group) return a->group < b->group ? -1 : 1;
    if (a->offer->tier != b->offer->tier) return a->offer->tier < b->offer->tier ? -1 : 1;
    return strcmp(a->name, b->name);
}

static kit_status fill_rows(fleet_registry *registry, kolm_error_t *err) {
    const host_registry *found = registry->found;
    registry->backends = calloc(found->count + 1, sizeof *registry->backends);
    registry->shadowed = calloc(found->count + 1, sizeof *registry->shadowed);
    if (!registry->backends || !registry->shadowed) return kit_no_memory(err);
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
    kit_status status = registry ? KOLM_OK : kit_no_memory(err);
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
        fleet_detection_free(registry->backends[i].detection);
        free(registry->backends[i].device);
    }
    free(registry->backends);
    free(registry->shadowed);
    free(registry->notes);
    free(registry->entries);
    kit_json_tree_free(&registry->cache);
    store_credentials_free(registry->credentials);
    host_registry_free(registry->found);
    free(registry);
}
