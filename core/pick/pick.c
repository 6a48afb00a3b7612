/* SPDX-License-Identifier: Apache-2.0 */
/* Scores, filters and ranks candidates, in integers. */
#include "pick/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COST_CEILING_MICRO 5000000u /* $5/h: at and above it cost_inv is 0 */
#define COLD_START_CEILING 120u     /* seconds: at and above it latency_inv is 0 */

/* numerator / denominator, half to even. */
static uint64_t divide_half_even(uint64_t numerator, uint64_t denominator) {
    uint64_t quotient = numerator / denominator;
    uint64_t twice = 2 * (numerator % denominator);
    if (twice > denominator || (twice == denominator && (quotient & 1))) quotient++;
    return quotient;
}

static bool kind_is(const pick_candidate *candidate, const char *kind) {
    return candidate->offer.kind && strcmp(candidate->offer.kind, kind) == 0;
}

static uint32_t cost_points(const pick_candidate *candidate) {
    uint64_t price = candidate->offer.price_micro_usd_per_hour;
    if (price == PICK_UNPRICED) return PICK_WEIGHT_COST / 2;
    if (price >= COST_CEILING_MICRO) return 0;
    return (uint32_t)divide_half_even((uint64_t)PICK_WEIGHT_COST * (COST_CEILING_MICRO - price), COST_CEILING_MICRO);
}

static uint32_t latency_points(const pick_candidate *candidate) {
    uint32_t cold = candidate->offer.cold_start_seconds;
    if (cold >= COLD_START_CEILING) return 0;
    return (uint32_t)divide_half_even((uint64_t)PICK_WEIGHT_LATENCY * (COLD_START_CEILING - cold), COLD_START_CEILING);
}

static uint32_t repro_points(const pick_candidate *candidate) {
    if (kind_is(candidate, "local")) return PICK_WEIGHT_REPRO;
    if (kind_is(candidate, "self-hosted")) return PICK_WEIGHT_REPRO / 10 * 9;
    return PICK_WEIGHT_REPRO / 10 * 6;
}

uint32_t pick_score(const pick_candidate *candidate, pick_terms *out_terms) {
    uint32_t perf = candidate->offer.perf_units < PICK_UNIT ? candidate->offer.perf_units : PICK_UNIT;
    pick_terms terms = {
        .available = candidate->available ? PICK_WEIGHT_AVAILABLE : 0,
        .cost = cost_points(candidate),
        .latency = latency_points(candidate),
        .repro = repro_points(candidate),
        .perf = (uint32_t)divide_half_even((uint64_t)PICK_WEIGHT_PERF * perf, PICK_UNIT),
    };
    if (out_terms) *out_terms = terms;
    return terms.available + terms.cost + terms.latency + terms.repro + terms.perf;
}

void pick_score_text(uint32_t score, char out[8]) {
    uint64_t thousandths = divide_half_even(score, PICK_UNIT / 1000);
    kit_format(out, 8, "%" PRIu64 ".%03" PRIu64, thousandths / 1000, thousandths % 1000);
}

static bool airgap_passes(const pick_candidate *candidate, const pick_constraints *constraints) {
    if (!constraints->airgap || candidate->offer.airgap == PICK_AIRGAP_YES) return true;
    return candidate->offer.airgap == PICK_AIRGAP_DEPENDS && constraints->allow_private_remote &&
           candidate->private_target;
}

static bool memory_passes(const pick_candidate *candidate, const pick_constraints *constraints) {
    if (!constraints->has_min_vram || constraints->min_vram_bytes == 0) return true;
    switch (candidate->offer.vram) {
    case PICK_VRAM_CAP:
        return candidate->offer.vram_cap_bytes >= constraints->min_vram_bytes;
    case PICK_VRAM_OWN:
    case PICK_VRAM_SHARED:
        return candidate->memory_bytes > 0 && candidate->memory_bytes >= constraints->min_vram_bytes;
    default:
        return false;
    }
}

static bool named(const char *name, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, names[i]) == 0) return true;
    }
    return false;
}

/* Whether recipe is among "A, B, C". */
static bool makes(const char *recipes, const char *recipe) {
    size_t length = strlen(recipe);
    for (const char *at = recipes; at; at = strchr(at, ','), at = at ? at + 1 : NULL) {
        while (*at == ' ')
            at++;
        if (strncmp(at, recipe, length) == 0 && (at[length] == ',' || at[length] == '\0')) return true;
    }
    return false;
}

static bool is_hourly(const pick_candidate *candidate) {
    return candidate->offer.price_micro_usd_per_hour != PICK_UNPRICED;
}

/* A backend billed by use has no hourly price to compare; but it is never free. */
static bool price_passes(const pick_candidate *c, const pick_constraints *constraints) {
    if (!constraints->has_budget) return true;
    if (!is_hourly(c)) return constraints->budget_micro_usd_per_hour > 0;
    return c->offer.price_micro_usd_per_hour <= constraints->budget_micro_usd_per_hour;
}

uint32_t pick_failed_filters(const pick_candidate *c, const pick_constraints *constraints) {
    uint32_t failed = 0;
    if (c->refused) return 1u << PICK_FILTER_REFUSED;
    if (named(c->name, constraints->exclude, constraints->exclude_count)) failed |= 1u << PICK_FILTER_EXCLUDED;
    bool claims = constraints->infer ? c->offer.infer : c->offer.train;
    pick_slot slot = constraints->infer ? c->infer_slot : c->train_slot;
    if (!claims) failed |= 1u << PICK_FILTER_PURPOSE;
    if (claims && constraints->need_slot && slot == PICK_SLOT_MISSING) failed |= 1u << PICK_FILTER_DETECT_ONLY;
    bool mute = !c->offer.infer || (constraints->need_slot && c->infer_slot == PICK_SLOT_MISSING);
    if (!constraints->infer && constraints->need_answers && claims && mute) failed |= 1u << PICK_FILTER_ANSWER;
    if (!airgap_passes(c, constraints)) failed |= 1u << PICK_FILTER_AIRGAP;
    if (!memory_passes(c, constraints)) failed |= 1u << PICK_FILTER_MIN_VRAM;
    if (!price_passes(c, constraints)) failed |= 1u << PICK_FILTER_BUDGET;
    if (constraints->recipe && c->offer.recipes && !makes(c->offer.recipes, constraints->recipe))
        failed |= 1u << PICK_FILTER_RECIPE;
    if (constraints->has_max_tier && c->offer.tier > constraints->max_tier) failed |= 1u << PICK_FILTER_MAX_TIER;
    return failed;
}

bool pick_before(const pick_candidate *a, uint32_t score_a, const pick_candidate *b, uint32_t score_b) {
    if (a->available != b->available) return a->available;
    if (score_a != score_b) return score_a > score_b;
    if (a->offer.tier != b->offer.tier) return a->offer.tier < b->offer.tier;
    return strcmp(a->name, b->name) < 0;
}

size_t pick_winner(const pick_candidate *candidates, size_t count, const pick_constraints *constraints) {
    size_t best = PICK_NOBODY;
    uint32_t best_score = 0;
    for (size_t i = 0; i < count; i++) {
        if (pick_failed_filters(&candidates[i], constraints) || !candidates[i].available) continue;
        uint32_t score = pick_score(&candidates[i], NULL);
        if (best == PICK_NOBODY || pick_before(&candidates[i], score, &candidates[best], best_score)) {
            best = i;
            best_score = score;
        }
    }
    return best;
}

static void fill_entry(pick_entry *entry, const pick_candidate *candidates, size_t index,
                       const pick_constraints *constraints) {
    const pick_candidate *candidate = &candidates[index];
    uint32_t failed = pick_failed_filters(candidate, constraints);
    entry->candidate = index;
    entry->eligible = failed == 0;
    if (!candidate->refused) entry->score = pick_score(candidate, &entry->terms);
    entry->unpriced_pass = failed == 0 && constraints->has_budget && !is_hourly(candidate);
    for (pick_filter filter = 0; filter < PICK_FILTERS; filter++) {
        if (!(failed & (1u << filter))) continue;
        pick_reason *reason = &entry->reasons[entry->reason_count++];
        reason->filter = filter;
        pick_reason_text(filter, candidate, constraints, reason->text, sizeof reason->text);
    }
}

/* Eligible entries in rank order, then the others by name. Insertion sort: a registry has some dozen rows, and no
 * comparison function needs a hidden argument. */
static bool entry_before(const pick_candidate *candidates, const pick_entry *a, const pick_entry *b) {
    if (a->eligible != b->eligible) return a->eligible;
    const pick_candidate *ca = &candidates[a->candidate], *cb = &candidates[b->candidate];
    if (a->eligible) return pick_before(ca, a->score, cb, b->score);
    return strcmp(ca->name, cb->name) < 0;
}

static void sort_entries(pick_entry *entries, size_t count, const pick_candidate *candidates) {
    for (size_t i = 1; i < count; i++) {
        pick_entry moving = entries[i];
        size_t at = i;
        while (at > 0 && entry_before(candidates, &moving, &entries[at - 1])) {
            entries[at] = entries[at - 1];
            at--;
        }
        entries[at] = moving;
    }
}

kit_status pick_run(const pick_candidate *candidates, size_t count, const pick_constraints *constraints,
                    pick_result **out_result, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    pick_result *result = calloc(1, sizeof *result);
    if (result) result->entries = calloc(count ? count : 1, sizeof *result->entries);
    if (!result || !result->entries) {
        status = kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory while picking a backend");
        goto out;
    }
    result->candidates = candidates;
    result->count = count;
    for (size_t i = 0; i < count; i++)
        fill_entry(&result->entries[i], candidates, i, constraints);
    sort_entries(result->entries, count, candidates);
    while (result->eligible_count < count && result->entries[result->eligible_count].eligible) {
        result->entries[result->eligible_count].rank = (uint32_t)result->eligible_count + 1;
        result->eligible_count++;
    }
    if (result->eligible_count > 0) result->best = &result->entries[0];
    if (result->best && candidates[result->best->candidate].available) result->winner = result->best;
    status = pick_find_flips(result, constraints, err);
out:
    if (status == KOLM_OK)
        *out_result = result;
    else
        pick_result_free(result);
    return status;
}

void pick_result_free(pick_result *result) {
    if (!result) return;
    free(result->entries);
    free(result->flips);
    free(result);
}
