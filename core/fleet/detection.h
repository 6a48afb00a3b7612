/* SPDX-License-Identifier: Apache-2.0 */
/* What a backend answered when asked whether it is usable here: one record, and its JSON form. */
#ifndef KOLM_FLEET_DETECTION_H
#define KOLM_FLEET_DETECTION_H

/*
 * Made once, from the answer of the plugin's process or from the cache (detections.h). In JSON, both in the cache and
 * in --json, the members are in this order:
 *
 *   {"state","reason","remedy"}                                                       always
 *   {"runtime","wall_ms","devices":[{"name","id","index","units","memory",            if it was asked
 *     "total_memory_bytes","free_memory_bytes" (null: unknown),"driver","runtime"}]}
 *   {"offer":{"micro_usd_per_hour","micro_usd_once"}, or null,                        if its provider was asked for a price
 *     "offer_min_vram_bytes" (memory requested), "offer_why" (why there is none)}      if set
 *   {"slots":{"detect","cost","train","infer","test","status"},                       if its plugin was loaded
 *     "version","vendor","licence","homepage"}
 */

#include "host/call.h"
#include "kolm/kit/json.h"

typedef enum fleet_state {
    FLEET_UNKNOWN, /* not asked yet */
    FLEET_AVAILABLE,
    FLEET_ABSENT,
    FLEET_BROKEN,
    FLEET_REFUSED,
    FLEET_FAILED, /* from here on: not an answer of the plugin */
    FLEET_CRASHED,
    FLEET_TIMED_OUT,
    FLEET_NO_REPLY,
    FLEET_NOT_LOADED,  /* excluded by the airgap */
    FLEET_NOT_GRANTED, /* grants.h */
    FLEET_STATES
} fleet_state;
/* "unknown", "available", "absent", ..., "timed out", "not granted". Static. */
const char *fleet_state_name(fleet_state state);
/* True if the plugin itself reported this state: only such states are cached. */
bool fleet_state_is_answer(fleet_state state);

typedef struct fleet_detection {
    fleet_state state;
    char reason[512];
    char remedy[512]; /* "" if there is none */
    bool asked;       /* its process ran: the fields up to devices are set */
    uint64_t wall_ms;
    char runtime[128];
    host_device *devices; /* owned */
    size_t device_count;
    bool offers_asked; /* it had the network, so that it could report the provider's current price */
    uint64_t offer_micro_usd_per_hour, offer_micro_usd_once; /* the cheapest that fits; 0: unknown, and none */
    uint64_t offer_min_vram_bytes;                           /* memory required of it; 0: any */
    char offer_why[200];                                     /* why there is no offer; "" if unknown */
    bool loaded;                                             /* the plugin was loaded: slots and below are set */
    uint32_t slots;                                          /* HOST_SLOT_* */
    char version[64];
    char vendor[128];
    char licence[128];
    char homepage[256];
} fleet_detection;

/* For a backend that was not asked. Returns NULL if out of memory. */
fleet_detection *fleet_detection_new(fleet_state state, const char *reason, const char *remedy);
/* From the answer of its process. Returns NULL if out of memory. */
fleet_detection *fleet_detection_of(const host_result *result);
/* Returns NULL if out of memory. */
cJSON *fleet_detection_json(const fleet_detection *detection);
/* The inverse of fleet_detection_json. Returns NULL if json is not its output, or if out of memory. */
fleet_detection *fleet_detection_read(const cJSON *json);
/* No-op if NULL. */
void fleet_detection_free(fleet_detection *detection);

/* The first device with the most memory; NULL if there are no devices. */
const host_device *fleet_detection_largest(const fleet_detection *detection);
/* Memory of a device in bytes, its own or shared; 0 if none or unknown. */
uint64_t fleet_device_memory(const host_device *device);

#endif
