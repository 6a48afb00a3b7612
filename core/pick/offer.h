/* SPDX-License-Identifier: Apache-2.0 */
/* What a backend offers, according to its manifest and the user's overrides: the input of the picker. */
#ifndef KOLM_PICK_OFFER_H
#define KOLM_PICK_OFFER_H

/*
 * The only record of an offer: a manifest is parsed into it (host/manifest.h), the configuration may override four of
 * its fields, the verbs show it, and the picker uses it, from a manifest or from a recorded pick. Strings belong to the
 * manifest or the record.
 */

#include <stdbool.h>
#include <stdint.h>

#define PICK_UNIT 100000u /* of scores, and of performance */
#define PICK_UNPRICED UINT64_MAX

typedef enum pick_airgap { PICK_AIRGAP_NO, PICK_AIRGAP_YES, PICK_AIRGAP_DEPENDS } pick_airgap;
extern const char *const pick_airgap_names[3]; /* "no", "yes", "depends" */

typedef enum pick_vram {
    PICK_VRAM_NONE,   /* no accelerator memory: satisfies no --min-vram */
    PICK_VRAM_CAP,    /* up to vram_cap_bytes are available */
    PICK_VRAM_OWN,    /* the device that detect found */
    PICK_VRAM_SHARED, /* the shared memory that detect found */
} pick_vram;

typedef struct pick_offer {
    const char *kind; /* "local", "self-hosted", "cloud-..." */
    bool train;
    bool infer;
    const char *recipes; /* "linear, lora"; NULL: any, as far as the manifest tells */
    pick_airgap airgap;
    uint64_t price_micro_usd_per_hour; /* PICK_UNPRICED if billed per token or per call */
    const char *price_source; /* "manifest", "config", "live"; NULL: free, unpriced, or a record of an older kolm */
    const char *priced_on;    /* the day of that price, "2026-11-30" (UTC); NULL: unknown */
    const char *billing;      /* "per-hour" (also if free), "per-token", "per-call": shown */
    uint32_t cold_start_seconds;
    uint32_t tier; /* 1..9; lower is preferred at equal score */
    pick_vram vram;
    uint64_t vram_cap_bytes; /* for PICK_VRAM_CAP */
    uint32_t perf_units;     /* 0..PICK_UNIT */
} pick_offer;

#endif
