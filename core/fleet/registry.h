/* SPDX-License-Identifier: Apache-2.0 */
/* The backends that were found, with the user's overrides and what detection knows about them. */
#ifndef KOLM_FLEET_REGISTRY_H
#define KOLM_FLEET_REGISTRY_H

#include "fleet/detection.h"
#include "host/host.h"
#include "pick/pick.h"
#include "session/session.h"

/*
 * fleet_registry_open scans for manifests and loads no plugin. Detection is added by fleet_registry_recall (cache only)
 * or fleet_registry_detect (cache, and a process per plugin for what it does not know). One thread.
 */

#define FLEET_DAY_BYTES 11 /* "2026-11-30" */
/* The day of a time since 1970, in UTC; "" of one that has none. */
void fleet_day_text(int64_t seconds, char out[FLEET_DAY_BYTES]);

/* Places of backends, in the order in which `list` shows them. */
typedef enum fleet_group { FLEET_GROUP_LOCAL, FLEET_GROUP_CLOUD, FLEET_GROUP_SELF_HOSTED, FLEET_GROUPS } fleet_group;
const char *fleet_group_title(fleet_group group); /* "LOCAL" */

/*
 * The record of a backend: what the host found (row: files, trust, version, grant), what it offers (its manifest, with
 * the user's overrides) and what it answered (detection). All rooms above read it; the picker's candidate is made of it
 * in one place. Strings belong to the registry unless said otherwise.
 */
typedef struct fleet_backend {
    const host_backend *row; /* as the host found it */
    const char *name;
    const char *plugin_path, *manifest_path; /* "" when there is none */
    /* Why the row is not usable: then offer is empty and manifest NULL, and all else below is not set; NULL otherwise.
     * `kolm backend why NAME` shows the rule (host/scan.h). */
    const char *refused;
    const char *refused_remedy;
    bool bad_settings;     /* refused for what config.json says of it */
    const char *ungranted; /* why it may not be called although it is not refused (grants.h); NULL otherwise */
    fleet_group group;
    const host_manifest *manifest;
    const pick_offer *offer; /* the manifest's; never NULL */
    const char *needs;   /* what a person must have: "NVIDIA", "KOLM_X_TOKEN", "always available"; "" when refused */
    bool private_target; /* PICK_AIRGAP_DEPENDS: the target is literally loopback or private */
    /* What it answered; NULL when nothing is known. Owned. */
    fleet_detection *detection;
    int64_t priced_at;               /* when it was asked for */
    bool priced_live;                /* its price is what the provider asks for, as detection.offer_* say */
    char priced_on[FLEET_DAY_BYTES]; /* the day of its price, "" not known */
    bool did_not_load;               /* when it was detected: another version beside it may */
    bool from_cache;
    char *device; /* owned; "NVIDIA H100 (80 GB)", or NULL */
} fleet_backend;

typedef struct fleet_shadowed {
    const char *name, *path, *why;
    const host_backend *row;
} fleet_shadowed;

typedef struct fleet_registry {
    host_registry *found;
    store_credentials *credentials; /* NULL until a token is asked for */
    fleet_backend *backends;        /* usable and refused ones, by group, tier and name; no shadowed ones */
    size_t count;
    fleet_shadowed *shadowed; /* plugins that another one of the same name hides */
    size_t shadowed_count;
    char *notes;  /* directories that could not be searched; may be NULL */
    cJSON *cache; /* the detection cache as read; its entries by name: */
    const cJSON **entries;
    size_t entry_count;
    int64_t now;             /* seconds since 1970, the clock of this command */
    uint64_t min_vram_bytes; /* prices are of machines with so much; 0: any */
} fleet_registry;

typedef struct fleet_detect_options {
    bool refresh; /* do not believe the cache; the user asked for that, so backends get the values of their secrets */
    bool airgap;  /* touch no backend that needs the network, read no token of one */
    bool airgap_strict; /* and let the kernel keep those that are asked from the network */
    bool allow_private_remote;
    uint64_t timeout_seconds; /* for each backend; 0: five */
    bool withhold;            /* with refresh: look again, and tell no values of secrets all the same */
    bool patient;             /* wait an hour, not five seconds: somebody may be looking at it with a debugger */
    const char *only;         /* detect only this backend; NULL: all */
    bool versions;            /* only those that have another version beside them */
    /* Ask providers that are billed per hour for their current prices, unless airgap: those whose token is set. */
    bool prices;
    const char *prices_of;   /* only this one; NULL: all */
    uint64_t min_vram_bytes; /* what a machine must have for its price to count; 0: any */
    bool priced;             /* detect only those that are billed so */
} fleet_detect_options;

kit_status fleet_registry_open(kolm_session *session, fleet_registry **out_registry, kolm_error_t *err) KIT_MUST_USE;
void fleet_registry_free(fleet_registry *registry);

/* Fills all but what detection says from a row. */
void fleet_backend_fill(fleet_backend *backend, const host_backend *row);

/* The backend called name, or NULL. */
fleet_backend *fleet_registry_find(fleet_registry *registry, const char *name);
/* Fills err with "no backend is called 'x'; did you mean ...?" */
kit_status fleet_registry_unknown(const fleet_registry *registry, const char *name, kolm_error_t *err);

/* The error for a backend that was named and is refused; *out_reason is DATA when config.json is to blame, else
 * NOTHING. */
kit_status fleet_backend_refuse(const fleet_backend *backend, session_reason *out_reason, kolm_error_t *err);

/* Detects the backends of which several versions stand side by side, so that the row of each is one that loads. */
kit_status fleet_registry_settle(kolm_session *session, fleet_registry *registry, kolm_error_t *err) KIT_MUST_USE;

/* Fills detections from the cache where it is still good, and looks at nothing else. A cache that cannot be read is
 * none; an error is that memory is out. */
kit_status fleet_registry_recall(kolm_session *session, fleet_registry *registry, kolm_error_t *err) KIT_MUST_USE;
/* Fills all detections; those that the cache does not know are made at once, in parallel, under one deadline. Verdicts
 * are part of the detection, so that this fails only when kolm itself cannot work. */
kit_status fleet_registry_detect(kolm_session *session, fleet_registry *registry, const fleet_detect_options *options,
                                 kolm_error_t *err) KIT_MUST_USE;

/* One candidate per backend, in the order of registry->backends, for the picker; strings belong to the registry. */
kit_status fleet_registry_candidates(const fleet_registry *registry, pick_candidate **out_candidates,
                                     kolm_error_t *err) KIT_MUST_USE;
void fleet_candidates_free(pick_candidate *candidates);

/* Fills the line for "device:" from the detection. */
kit_status fleet_backend_describe_device(fleet_backend *backend, kolm_error_t *err) KIT_MUST_USE;
/* True for [user@]HOST[:port] where HOST is localhost or a literal loopback, link-local or private address. */
bool fleet_target_is_private(const char *target);

/* What it answered; an empty one (FLEET_UNKNOWN, every text "") while nothing is known. */
const fleet_detection *fleet_backend_detection(const fleet_backend *backend);
/* "available", "absent", "broken", "refused", "crashed", ...; "unknown" without a detection. */
const char *fleet_backend_state(const fleet_backend *backend);
bool fleet_backend_available(const fleet_backend *backend);
/* What is known about a slot (HOST_SLOT_*) of the plugin. */
pick_slot fleet_backend_slot(const fleet_backend *backend, uint32_t slot);
/* Whether its price is the configuration's, not the manifest's. */
bool fleet_price_overridden(const fleet_backend *backend);
/* Whose price it is: "config", "live" (the provider's), "manifest". Static. */
const char *fleet_price_source(const fleet_backend *backend);
/* What its provider charges once for a machine, beside the hours: for a quote. */
uint64_t fleet_price_once(const fleet_backend *backend);
/* What the start of a second machine costs in millionths of a dollar: a model that one by the hour has trained is
 * scored by answers of another one, as these are two calls. 0 where nothing is rented, or it is not billed by the
 * hour. */
uint64_t fleet_second_start(const fleet_backend *backend);
/* Whether it keeps to the budget of a job itself, although what it bills is not known by the hour: its manifest promises
 * that by a setting named budget_usd (backend-author.md). */
bool fleet_keeps_budget(const fleet_backend *backend);
/* Takes over the price that the detection, made at that time, has of the provider for machines such as are wanted; the
 * configuration's stays. */
void fleet_backend_price(const fleet_registry *registry, fleet_backend *backend, int64_t at);
/* Takes the detection, and frees the one before. KOLM_E_RESOURCE_EXHAUSTED when it is NULL. */
kit_status fleet_backend_take(fleet_backend *backend, fleet_detection *detection, kolm_error_t *err) KIT_MUST_USE;

#endif
