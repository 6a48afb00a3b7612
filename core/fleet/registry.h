/* SPDX-License-Identifier: Apache-2.0 */
/* The backends that were found, with the user's overrides and their detections. */
#ifndef KOLM_FLEET_REGISTRY_H
#define KOLM_FLEET_REGISTRY_H

#include "fleet/detection.h"
#include "host/host.h"
#include "pick/pick.h"
#include "session/session.h"

/*
 * fleet_registry_open scans for manifests and loads no plugin. Detections are added by fleet_registry_recall (cache
 * only) or fleet_registry_detect (cache, and a process for each plugin that is not cached). One thread.
 */

#define FLEET_DAY_BYTES 11 /* "2026-11-30" */
/* Formats seconds since 1970 as a day in UTC; "" if that is not possible. */
void fleet_day_text(int64_t seconds, char out[FLEET_DAY_BYTES]);

/* Places of backends, in the order in which `list` shows them. */
typedef enum fleet_group { FLEET_GROUP_LOCAL, FLEET_GROUP_CLOUD, FLEET_GROUP_SELF_HOSTED, FLEET_GROUPS } fleet_group;
const char *fleet_group_title(fleet_group group); /* "LOCAL" */

/*
 * The record of a backend: what the host found (row: files, trust, version, grant), what it offers (its manifest, with
 * the user's overrides) and what it answered (detection). Read by all rooms above; only fleet_registry_candidates makes
 * the picker's candidates from it. Strings belong to the registry unless noted.
 */
typedef struct fleet_backend {
    const host_backend *row; /* as the host found it */
    const char *name;
    const char *plugin_path, *manifest_path; /* "" if there is none */
    /* Why the row is not usable; NULL if it is. If set, offer is empty, manifest is NULL, and no other field below is
     * set. `kolm backend why NAME` shows the rule (host/scan.h). */
    const char *refused;
    const char *refused_remedy;
    bool bad_settings;     /* refused because of its settings in config.json */
    const char *ungranted; /* why it may not be called, although it is not refused (grants.h); else NULL */
    fleet_group group;
    const host_manifest *manifest;
    const pick_offer *offer; /* the manifest's; never NULL */
    const char *needs;       /* what the user must have: "NVIDIA", "KOLM_X_TOKEN", "always available"; "" if refused */
    bool private_target;     /* PICK_AIRGAP_DEPENDS: the target is a literal loopback or private address */
    /* Its answer; NULL if unknown. Owned. */
    fleet_detection *detection;
    int64_t priced_at;               /* when the price was queried */
    bool priced_live;                /* its price is the provider's current one, from detection.offer_* */
    char priced_on[FLEET_DAY_BYTES]; /* the day of its price; "" if unknown */
    bool did_not_load;               /* during detection; another version next to it may load */
    bool from_cache;
    char *device; /* owned; "NVIDIA H100 (80 GB)", or NULL */
} fleet_backend;

typedef struct fleet_shadowed {
    const char *name, *path, *why;
    const host_backend *row;
} fleet_shadowed;

typedef struct fleet_registry {
    host_registry *found;
    store_credentials *credentials; /* NULL until a token is needed */
    fleet_backend *backends;        /* usable and refused ones, by group, tier and name; no shadowed ones */
    size_t count;
    fleet_shadowed *shadowed; /* plugins hidden by another one of the same name */
    size_t shadowed_count;
    char *notes;         /* directories that could not be searched; may be NULL */
    kit_json_tree cache; /* the detection cache as read; its entries by name: */
    const cJSON **entries;
    size_t entry_count;
    int64_t now;             /* seconds since 1970; the same for the whole command */
    uint64_t min_vram_bytes; /* prices are for machines with at least this much; 0: any */
} fleet_registry;

typedef struct fleet_detect_options {
    bool refresh;       /* ignore the cache; requested by the user, so backends get the values of their secrets */
    bool airgap;        /* skip backends that need the network, and do not read their tokens */
    bool airgap_strict; /* the kernel denies the network to the others */
    bool allow_private_remote;
    uint64_t timeout_seconds; /* for each backend; 0: five */
    bool withhold;            /* with refresh: ignore the cache, but pass no values of secrets */
    bool patient;             /* wait an hour instead of five seconds: a debugger may be attached */
    const char *only;         /* detect only this backend; NULL: all */
    bool versions;            /* only those with another version next to them */
    /* Query the current prices of providers that bill per hour and whose token is set, unless airgap is set. */
    bool prices;
    const char *prices_of;   /* only this one; NULL: all */
    uint64_t min_vram_bytes; /* memory that a machine must have for its price to count; 0: any */
    bool priced;             /* detect only those that bill per hour */
} fleet_detect_options;

kit_status fleet_registry_open(kolm_session *session, fleet_registry **out_registry, kolm_error_t *err) KIT_MUST_USE;
void fleet_registry_free(fleet_registry *registry);

/* Fills all fields from a row, except those that come from detection. */
void fleet_backend_fill(fleet_backend *backend, const host_backend *row);

/* Returns the backend of that name, or NULL. */
fleet_backend *fleet_registry_find(fleet_registry *registry, const char *name);
/* Fails with "no backend is called 'x'; did you mean ...?" */
kit_status fleet_registry_unknown(const fleet_registry *registry, const char *name, kolm_error_t *err);

/* The error for a backend that was named but is refused; *out_reason is DATA if config.json is the cause, else
 * NOTHING. */
kit_status fleet_backend_refuse(const fleet_backend *backend, session_reason *out_reason, kolm_error_t *err);

/* Detects backends that are installed in several versions, so that the row of each is a version that loads. */
kit_status fleet_registry_settle(kolm_session *session, fleet_registry *registry, kolm_error_t *err) KIT_MUST_USE;

/* Fills detections from valid cache entries only. An unreadable cache counts as empty: fails only if out of memory. */
kit_status fleet_registry_recall(kolm_session *session, fleet_registry *registry, kolm_error_t *err) KIT_MUST_USE;
/* Fills all detections; runs those that are not cached in parallel, each with its own deadline. A backend's failure is
 * part of its detection: this fails only if kolm itself cannot work. */
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

/* Its detection; an empty one (FLEET_UNKNOWN, every text "") if there is none. */
const fleet_detection *fleet_backend_detection(const fleet_backend *backend);
/* "available", "absent", "broken", "refused", "crashed", ...; "unknown" without a detection. */
const char *fleet_backend_state(const fleet_backend *backend);
bool fleet_backend_available(const fleet_backend *backend);
/* What is known about a slot (HOST_SLOT_*) of the plugin. */
pick_slot fleet_backend_slot(const fleet_backend *backend, uint32_t slot);
/* True if config.json overrides the manifest's price. */
bool fleet_price_overridden(const fleet_backend *backend);
/* The source of its price: "config", "live" (the provider) or "manifest". Static. */
const char *fleet_price_source(const fleet_backend *backend);
/* What its provider charges once per machine in addition to the hourly price: for a quote. */
uint64_t fleet_price_once(const fleet_backend *backend);
/* The cost of starting a second machine, in millionths of a dollar: training and scoring are two calls, and each rents
 * its own machine. 0 if nothing is rented, or it is not billed per hour. */
uint64_t fleet_second_start(const fleet_backend *backend);
/* True if the backend keeps to the budget of a job itself, although its bill cannot be computed by the hour: its
 * manifest promises that by declaring a setting named budget_usd (backend-author.md). */
bool fleet_keeps_budget(const fleet_backend *backend);
/* Applies the provider's price from the detection, made at that time, if it is for machines of the requested size. Has
 * no effect if config.json sets the price. */
void fleet_backend_price(const fleet_registry *registry, fleet_backend *backend, int64_t at);
/* Takes ownership of the detection, and frees the previous one. RESOURCE_EXHAUSTED if it is NULL. */
kit_status fleet_backend_take(fleet_backend *backend, fleet_detection *detection, kolm_error_t *err) KIT_MUST_USE;

#endif
