/* SPDX-License-Identifier: Apache-2.0 */
/* What a backend answered when it was asked whether it is usable here: one record, and its one form in JSON. */
#ifndef KOLM_FLEET_DETECTION_H
#define KOLM_FLEET_DETECTION_H

/*
 * Made once, from the answer of the plugin's process or from the cache (detections.h); the verbs, the picker's
 * candidate and what recalls it later read its fields. In JSON, in the cache as in --json, the members stand in this
 * order:
 *
 *   {"state","reason","remedy"}                                                       always
 *   {"runtime","wall_ms","devices":[{"name","id","index","units","memory",            if it was asked
 *     "total_memory_bytes","free_memory_bytes" (null: unknown),"driver","runtime"}]}
 *   {"offer":{"micro_usd_per_hour","micro_usd_once"}, or null,                        if its provider was asked for a price
 *     "offer_min_vram_bytes" (of machines with so much), "offer_why" (none came)}      where there is one of these
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
    FLEET_FAILED, /* from here on it is no answer of the plugin's */
    FLEET_CRASHED,
    FLEET_TIMED_OUT,
    FLEET_NO_REPLY,
    FLEET_NOT_LOADED,  /* the airgap keeps it out */
    FLEET_NOT_GRANTED, /* grants.h */
    FLEET_STATES
} fleet_state;
/* "unknown", "available", "absent", ..., "timed out", "not granted". Static. */
const char *fleet_state_name(fleet_state state);
/* Whether the plugin itself said so: only that is kept in the cache. */
bool fleet_state_is_answer(fleet_state state);

typedef struct fleet_detection {
    fleet_state state;
    char reason[512];
    char remedy[512]; /* "" when there is none */
    bool asked;       /* its process ran: fields up to devices are set */
    uint64_t wall_ms;
    char runtime[128];
    host_device *devices; /* owned */
    size_t device_count;
    bool offers_asked; /* with the network, so that it could say what the provider asks for now */
    uint64_t offer_micro_usd_per_hour, offer_micro_usd_once; /* the cheapest that fits; 0 not known, and none */
    uint64_t offer_min_vram_bytes;                           /* memory that it had to have; 0: any */
    char offer_why[200];                                     /* why there is no offer; "" if not known */
    bool loaded;                                             /* the plugin's table was seen: slots and the rest */
    uint32_t slots;                                          /* HOST_SLOT_* */
    char version[64];
    char vendor[128];
    char licence[128];
    char homepage[256];
} fleet_detection;

/* One of a backend that was not asked. NULL when memory is out. */
fleet_detection *fleet_detection_new(fleet_state state, const char *reason, const char *remedy);
/* From the answer of its process. NULL when memory is out. */
fleet_detection *fleet_detection_of(const host_result *result);
/* NULL when memory is out. */
cJSON *fleet_detection_json(const fleet_detection *detection);
/* The inverse of fleet_detection_json. NULL if json is not its output, or if out of memory. */
fleet_detection *fleet_detection_read(const cJSON *json);
/* No-op if NULL. */
void fleet_detection_free(fleet_detection *detection);

/* The device with the most memory, the first of those; NULL when there is none. */
const host_device *fleet_detection_largest(const fleet_detection *detection);
/* Memory of a device in bytes; 0 when it has none of its own or shared, or it is unknown. */
uint64_t fleet_device_memory(const host_device *device);

#endif
