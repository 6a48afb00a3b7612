/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the single changes after which another backend would win, smallest first; each is proved by picking again. */
#include "pick/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PRICE_STEP 100u        /* prices are named in hundredths of a cent */
#define PRICE_CEILING 5000000u /* above it the cost term is constant */
#define FLIPS_PER_CANDIDATE 4

typedef struct search {
    pick_candidate *candidates; /* a copy that may be changed and must be changed back */
    const pick_constraints *constraints;
    pick_result *result;
    size_t winner; /* index, or PICK_NOBODY */
} search;

static void add_flip(search *s, pick_flip_kind kind, size_t candidate, uint64_t value, pick_filter filter,
                     uint32_t units, const char *text) {
    pick_flip *flip = &s->result->flips[s->result->flip_count++];
    *flip = (pick_flip){.kind = kind, .candidate = candidate, .value = value, .filter = filter, .units = units};
    kit_copy(flip->text, sizeof flip->text, text);
}

static bool wins_with(search *s, size_t index) {
    return pick_winner(s->candidates, s->result->count, s->constraints) == index;
}

/* Finds the smallest value in [low, high] (with `down` the largest) for which `index` wins if *field is set to it.
 * Binary search, because the score is monotonic in each field. False if it wins nowhere in the range. */
static bool threshold(search *s, size_t index, uint64_t *field, uint64_t low, uint64_t high, bool down, uint64_t *out) {
    uint64_t kept = *field;
    *field = down ? low : high;
    bool possible = low <= high && wins_with(s, index);
    while (possible && low < high) {
        uint64_t middle = down ? low + (high - low + 1) / 2 : low + (high - low) / 2;
        *field = middle;
        bool good = wins_with(s, index);
        if (down && good)
            low = middle;
        else if (down)
            high = middle - 1;
        else if (good)
            high = middle;
        else
            low = middle + 1;
    }
    *field = kept;
    *out = low;
    return possible;
}

static bool priced(const pick_candidate *c) {
    return c->offer.price_micro_usd_per_hour != PICK_UNPRICED;
}

static void winner_price(search *s, size_t index, uint32_t gap) {
    pick_candidate *winner = &s->candidates[s->winner];
    char text[256], usd[32];
    uint64_t steps = 0;
    if (!priced(winner)) return;
    uint64_t kept = winner->offer.price_micro_usd_per_hour;
    if (kept >= PRICE_CEILING && !s->constraints->has_budget) return;
    uint64_t ceiling = PRICE_CEILING;
    if (s->constraints->has_budget && s->constraints->budget_micro_usd_per_hour >= ceiling) {
        ceiling = s->constraints->budget_micro_usd_per_hour < PICK_UNPRICED / 2
                      ? s->constraints->budget_micro_usd_per_hour + PRICE_STEP
                      : PRICE_CEILING;
    }
    /* A loop over whole steps, so that the printed number is exact. */
    uint64_t low = kept / PRICE_STEP + 1, high = (ceiling + PRICE_STEP - 1) / PRICE_STEP;
    bool possible = false;
    if (low <= high) {
        winner->offer.price_micro_usd_per_hour = high * PRICE_STEP;
        possible = wins_with(s, index);
        while (possible && low < high) {
            uint64_t middle = low + (high - low) / 2;
            winner->offer.price_micro_usd_per_hour = middle * PRICE_STEP;
            if (wins_with(s, index))
                high = middle;
            else
                low = middle + 1;
        }
        steps = low;
    }
    winner->offer.price_micro_usd_per_hour = kept;
    if (!possible) return;
    pick_usd_text(steps * PRICE_STEP, usd);
    kit_format(text, sizeof text, "%s would win if %s cost at least $%s/h", s->candidates[index].name, winner->name,
               usd);
    add_flip(s, PICK_FLIP_WINNER_PRICE, index, steps * PRICE_STEP, 0, gap, text);
}

static void own_price(search *s, size_t index, uint32_t gap) {
    pick_candidate *c = &s->candidates[index];
    char text[256], usd[32];
    uint64_t value = 0;
    if (!priced(c) || c->offer.price_micro_usd_per_hour == 0) return;
    if (!threshold(s, index, &c->offer.price_micro_usd_per_hour, 0, c->offer.price_micro_usd_per_hour - 1, true,
                   &value))
        return;
    value -= value % PRICE_STEP;
    pick_usd_text(value, usd);
    kit_format(text, sizeof text, "%s would win if it cost at most $%s/h", c->name, usd);
    add_flip(s, PICK_FLIP_PRICE, index, value, 0, gap, text);
}

static void own_cold_start(search *s, size_t index, uint32_t gap) {
    pick_candidate *c = &s->candidates[index];
    uint32_t kept = c->offer.cold_start_seconds;
    char text[256];
    if (kept == 0) return;
    c->offer.cold_start_seconds = 0;
    bool possible = wins_with(s, index);
    uint32_t low = 0, high = kept - 1;
    while (possible && low < high) {
        c->offer.cold_start_seconds = low + (high - low + 1) / 2;
        if (wins_with(s, index))
            low = c->offer.cold_start_seconds;
        else
            high = c->offer.cold_start_seconds - 1;
    }
    c->offer.cold_start_seconds = kept;
    if (!possible) return;
    kit_format(text, sizeof text, "%s would win if it started within %" PRIu32 " seconds", c->name, low);
    add_flip(s, PICK_FLIP_COLD_START, index, low, 0, gap, text);
}

static void availability(search *s, size_t index) {
    pick_candidate *c = &s->candidates[index];
    char text[256];
    c->available = true;
    bool wins = wins_with(s, index);
    c->available = false;
    if (!wins) return;
    kit_format(text, sizeof text, "%s would win if it were available", c->name);
    add_flip(s, PICK_FLIP_AVAILABLE, index, 1, 0, PICK_WEIGHT_AVAILABLE, text);
}

/* Loosens the one filter just enough for c; false if the user cannot loosen that filter. */
static bool loosen(pick_filter filter, const pick_candidate *c, pick_constraints *loose, uint64_t *out_value, char *how,
                   size_t capacity) {
    char number[32];
    switch (filter) {
    case PICK_FILTER_AIRGAP:
        if (c->offer.airgap == PICK_AIRGAP_DEPENDS && c->private_target && !loose->allow_private_remote) {
            loose->allow_private_remote = true;
            kit_copy(how, capacity, "with --allow-private-remote");
            return true;
        }
        loose->airgap = false;
        kit_copy(how, capacity, "without --airgap");
        return true;
    case PICK_FILTER_MIN_VRAM:
        *out_value = c->offer.vram == PICK_VRAM_CAP    ? c->offer.vram_cap_bytes
                     : c->offer.vram == PICK_VRAM_NONE ? 0
                                                       : c->memory_bytes;
        if (*out_value == 0) {
            loose->has_min_vram = false;
            kit_copy(how, capacity, "without --min-vram");
            return true;
        }
        loose->min_vram_bytes = *out_value;
        pick_gb_text(*out_value, number);
        kit_format(how, capacity, "with --min-vram %s or less", number);
        return true;
    case PICK_FILTER_BUDGET:
        if (!priced(c)) {
            loose->has_budget = false;
            kit_copy(how, capacity, "without --max-price");
            return true;
        }
        *out_value = loose->budget_micro_usd_per_hour = c->offer.price_micro_usd_per_hour;
        pick_usd_text(*out_value, number);
        kit_format(how, capacity, "with --max-price %s or more", number);
        return true;
    case PICK_FILTER_MAX_TIER:
        *out_value = loose->max_tier = c->offer.tier;
        kit_format(how, capacity, "with --max-tier %" PRIu32, c->offer.tier);
        return true;
    default:
        return false;
    }
}

static void constraint(search *s, const pick_entry *entry) {
    const pick_candidate *c = &s->candidates[entry->candidate];
    pick_constraints loose = *s->constraints;
    const pick_constraints *kept = s->constraints;
    char text[256], how[96];
    uint64_t value = 0;
    if (!c->available || entry->reason_count != 1) return;
    pick_filter filter = entry->reasons[0].filter;
    if (filter == PICK_FILTER_EXCLUDED) {
        loose.exclude_count = 0;
        kit_copy(how, sizeof how, "without --exclude");
    } else if (!loosen(filter, c, &loose, &value, how, sizeof how)) {
        return;
    }
    s->constraints = &loose;
    bool wins = wins_with(s, entry->candidate);
    s->constraints = kept;
    if (!wins) return;
    kit_format(text, sizeof text, "%s would win %s", c->name, how);
    add_flip(s, PICK_FLIP_CONSTRAINT, entry->candidate, value, filter, PICK_UNIT, text);
}

static void sort_flips(pick_result *result) {
    for (size_t i = 1; i < result->flip_count; i++) {
        pick_flip moving = result->flips[i];
        size_t at = i;
        while (at > 0 && moving.units < result->flips[at - 1].units) {
            result->flips[at] = result->flips[at - 1];
            at--;
        }
        result->flips[at] = moving;
    }
}

kit_status pick_find_flips(pick_result *result, const pick_constraints *constraints, kolm_error_t *err) {
    if (result->count == 0) return KOLM_OK;
    search s = {.constraints = constraints, .result = result, .winner = PICK_NOBODY};
    s.candidates = malloc(result->count * sizeof *s.candidates);
    result->flips = calloc(result->count * FLIPS_PER_CANDIDATE, sizeof *result->flips);
    if (!s.candidates || !result->flips) {
        free(s.candidates);
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory while picking a backend");
    }
    memcpy(s.candidates, result->candidates, result->count * sizeof *s.candidates);
    if (result->winner) s.winner = result->winner->candidate;
    for (size_t i = 0; i < result->count; i++) {
        const pick_entry *entry = &result->entries[i];
        bool available = s.candidates[entry->candidate].available;
        if (entry == result->winner) continue;
        if (!entry->eligible) {
            constraint(&s, entry);
        } else if (!available) {
            availability(&s, entry->candidate);
        } else if (result->winner) {
            uint32_t gap = result->winner->score - entry->score;
            winner_price(&s, entry->candidate, gap);
            own_price(&s, entry->candidate, gap);
            own_cold_start(&s, entry->candidate, gap);
        }
    }
    free(s.candidates);
    sort_flips(result);
    return KOLM_OK;
}
