/* SPDX-License-Identifier: Apache-2.0 */
/* The picker's sentences: why a backend was filtered out, why it is not available. */
#include "pick/internal.h"

const char *const pick_airgap_names[3] = {
    [PICK_AIRGAP_NO] = "no", [PICK_AIRGAP_YES] = "yes", [PICK_AIRGAP_DEPENDS] = "depends"};

#include <inttypes.h>
#include <string.h>

static const char *const filter_names[PICK_FILTERS] = {
    "refused", "exclude", "purpose", "detect-only", "airgap", "min-vram", "budget", "max-tier", "recipe", "answer",
};

const char *pick_filter_name(pick_filter filter) {
    return filter_names[filter];
}

void pick_usd_text(uint64_t micro_usd, char out[32]) {
    uint64_t rest = micro_usd % 1000000;
    int digits = 6;
    while (digits > 2 && rest % 10 == 0) {
        rest /= 10;
        digits--;
    }
    kit_format(out, 32, "%" PRIu64 ".%0*" PRIu64, micro_usd / 1000000, digits, rest);
}

void pick_gb_text(uint64_t bytes, char out[32]) {
    /* Truncated, not rounded: 79.99 must not be shown as 80 next to a filter of 80. */
    uint64_t tenths = bytes / 100000000;
    if (tenths % 10 == 0)
        kit_format(out, 32, "%" PRIu64, tenths / 10);
    else
        kit_format(out, 32, "%" PRIu64 ".%" PRIu64, tenths / 10, tenths % 10);
}

static void memory_text(const pick_candidate *c, const pick_constraints *constraints, char *out, size_t capacity) {
    char have[32], need[32];
    pick_gb_text(constraints->min_vram_bytes, need);
    if (c->offer.vram == PICK_VRAM_NONE) {
        kit_format(out, capacity, "no accelerator memory, %s GB requested", need);
        return;
    }
    uint64_t bytes = c->offer.vram == PICK_VRAM_CAP ? c->offer.vram_cap_bytes : c->memory_bytes;
    pick_gb_text(bytes, have);
    if (bytes == 0)
        kit_format(out, capacity, "no memory detected, %s GB requested", need);
    else
        kit_format(out, capacity, "%s GB < %s GB", have, need);
}

static void airgap_text(const pick_candidate *c, const pick_constraints *constraints, char *out, size_t capacity) {
    if (c->offer.airgap == PICK_AIRGAP_NO) {
        kit_copy(out, capacity, "needs the network");
    } else if (!constraints->allow_private_remote) {
        kit_copy(out, capacity, "needs --allow-private-remote and a private target");
    } else {
        kit_copy(out, capacity, "its target is not known to be loopback or private");
    }
}

void pick_reason_text(pick_filter filter, const pick_candidate *c, const pick_constraints *constraints, char *out,
                      size_t capacity) {
    char price[32], limit[32];
    switch (filter) {
    case PICK_FILTER_REFUSED:
        kit_format(out, capacity, "refused: %s", c->refused);
        break;
    case PICK_FILTER_EXCLUDED:
        kit_copy(out, capacity, "named by --exclude");
        break;
    case PICK_FILTER_PURPOSE:
        kit_copy(out, capacity, constraints->infer ? "does not infer" : "inference only: does not train");
        break;
    case PICK_FILTER_DETECT_ONLY:
        kit_format(out, capacity, "detect only: %s is not implemented yet in this version",
                   constraints->infer ? "inference" : "training");
        break;
    case PICK_FILTER_AIRGAP:
        airgap_text(c, constraints, out, capacity);
        break;
    case PICK_FILTER_MIN_VRAM:
        memory_text(c, constraints, out, capacity);
        break;
    case PICK_FILTER_BUDGET:
        if (c->offer.price_micro_usd_per_hour == PICK_UNPRICED) {
            kit_format(out, capacity, "billed %s, and nothing may be spent",
                       c->offer.billing ? c->offer.billing : "otherwise");
            break;
        }
        pick_usd_text(c->offer.price_micro_usd_per_hour, price);
        pick_usd_text(constraints->budget_micro_usd_per_hour, limit);
        kit_format(out, capacity, "$%s/hr > %s", price, limit);
        break;
    case PICK_FILTER_MAX_TIER:
        kit_format(out, capacity, "tier %" PRIu32 " > %" PRIu32, c->offer.tier, constraints->max_tier);
        break;
    case PICK_FILTER_RECIPE:
        kit_format(out, capacity, "makes %s, not %s", c->offer.recipes, constraints->recipe);
        break;
    case PICK_FILTER_ANSWER:
        kit_copy(out, capacity, "trains and cannot answer: a model is only made where it can be measured");
        break;
    default:
        kit_copy(out, capacity, "?");
        break;
    }
}

void pick_state_text(const pick_candidate *candidate, char *out, size_t capacity) {
    if (candidate->available) {
        kit_copy(out, capacity, "");
    } else if (!candidate->state || strcmp(candidate->state, "absent") == 0) {
        kit_copy(out, capacity, "not detected");
    } else {
        kit_copy(out, capacity, candidate->state);
    }
}
