/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a pick as a JSON record that holds the whole question and the whole answer, and reads the question back. */
#include "pick/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA "kolm.compute.pick/1"
#define KILO 1000u /* bytes in a millionth of a gigabyte */

static const char *const slot_names[] = {"unknown", "present", "missing"};

/* ---- Writing */

static cJSON *units(uint32_t value) {
    return kit_json_micro((uint64_t)value * (1000000u / PICK_UNIT));
}

static cJSON *add_object(cJSON *parent, const char *key) {
    cJSON *object = cJSON_CreateObject();
    return kit_json_put(parent, key, object) ? object : NULL;
}

static cJSON *add_array(cJSON *parent, const char *key) {
    cJSON *array = cJSON_CreateArray();
    return kit_json_put(parent, key, array) ? array : NULL;
}

static cJSON *append_object(cJSON *array) {
    cJSON *object = cJSON_CreateObject();
    if (!object || cJSON_AddItemToArray(array, object)) return object;
    cJSON_Delete(object);
    return NULL;
}

static bool append_string(cJSON *array, const char *text) {
    cJSON *item = cJSON_CreateString(text);
    if (item && cJSON_AddItemToArray(array, item)) return true;
    cJSON_Delete(item);
    return false;
}

static bool put_terms(cJSON *object, const char *key, const pick_terms *terms) {
    cJSON *value = add_object(object, key);
    return value && kit_json_put(value, "available", units(terms->available)) &&
           kit_json_put(value, "cost_inv", units(terms->cost)) &&
           kit_json_put(value, "latency_inv", units(terms->latency)) &&
           kit_json_put(value, "repro", units(terms->repro)) && kit_json_put(value, "perf", units(terms->perf));
}

static bool put_constraints(cJSON *record, const pick_constraints *c) {
    cJSON *object = add_object(record, "constraints");
    bool good = object && kit_json_put_string(object, "purpose", c->infer ? "infer" : "train") &&
                kit_json_put_bool(object, "need_slot", c->need_slot) &&
                kit_json_put_bool(object, "need_answers", c->need_answers) &&
                kit_json_put_bool(object, "airgap", c->airgap) &&
                kit_json_put_bool(object, "allow_private_remote", c->allow_private_remote) &&
                kit_json_put_string(object, "recipe", c->recipe);
    if (!good) return false;
    good = c->has_min_vram ? kit_json_put(object, "min_vram_gb", kit_json_micro(c->min_vram_bytes / KILO))
                           : kit_json_put_null(object, "min_vram_gb");
    good = good &&
           (c->has_budget ? kit_json_put(object, "budget_usd_per_hour", kit_json_micro(c->budget_micro_usd_per_hour))
                          : kit_json_put_null(object, "budget_usd_per_hour"));
    good = good && (c->has_job_budget ? kit_json_put(object, "budget_usd", kit_json_micro(c->job_budget_micro_usd))
                                      : kit_json_put_null(object, "budget_usd"));
    good = good && (c->has_max_tier ? kit_json_put_u64(object, "max_tier", c->max_tier)
                                    : kit_json_put_null(object, "max_tier"));
    cJSON *exclude = good ? add_array(object, "exclude") : NULL;
    for (size_t i = 0; exclude && i < c->exclude_count; i++) {
        if (!append_string(exclude, c->exclude[i])) return false;
    }
    return exclude != NULL;
}

static bool put_vram(cJSON *object, const pick_candidate *c) {
    switch (c->offer.vram) {
    case PICK_VRAM_CAP:
        return kit_json_put(object, "vram_cap_gb", kit_json_micro(c->offer.vram_cap_bytes / KILO));
    case PICK_VRAM_OWN:
        return kit_json_put_string(object, "vram_cap_gb", "own");
    case PICK_VRAM_SHARED:
        return kit_json_put_string(object, "vram_cap_gb", "shared");
    default:
        return kit_json_put_null(object, "vram_cap_gb");
    }
}

static bool put_detection(cJSON *object, const pick_candidate *c) {
    cJSON *d = add_object(object, "detection");
    return d && kit_json_put_bool(d, "available", c->available) && kit_json_put_string(d, "state", c->state) &&
           kit_json_put_string(d, "reason", c->reason) && kit_json_put_string(d, "remedy", c->remedy) &&
           kit_json_put_string(d, "device", c->device) && kit_json_put_u64(d, "memory_bytes", c->memory_bytes) &&
           kit_json_put_string(d, "train", slot_names[c->train_slot]) &&
           kit_json_put_string(d, "infer", slot_names[c->infer_slot]) &&
           kit_json_put_bool(d, "private_target", c->private_target);
}

static bool put_candidate(cJSON *array, const pick_candidate *c) {
    cJSON *object = append_object(array);
    if (!object || !kit_json_put_string(object, "name", c->name)) return false;
    if (c->refused) return kit_json_put_string(object, "refused", c->refused);
    bool priced = c->offer.price_micro_usd_per_hour != PICK_UNPRICED;
    bool good = kit_json_put_string(object, "kind", c->offer.kind) &&
                kit_json_put_bool(object, "train", c->offer.train) &&
                kit_json_put_bool(object, "infer", c->offer.infer) &&
                kit_json_put_string(object, "recipes", c->offer.recipes) &&
                kit_json_put_string(object, "airgap", pick_airgap_names[c->offer.airgap]) &&
                kit_json_put_string(object, "billing", c->offer.billing) &&
                (priced ? kit_json_put(object, "cost_per_hour_usd", kit_json_micro(c->offer.price_micro_usd_per_hour))
                        : kit_json_put_null(object, "cost_per_hour_usd"));
    if (good && c->offer.price_source)
        good = kit_json_put_string(object, "price_source", c->offer.price_source) &&
               kit_json_put_string(object, "priced_on", c->offer.priced_on);
    return good && kit_json_put_u64(object, "cold_start_seconds", c->offer.cold_start_seconds) &&
           kit_json_put_u64(object, "tier", c->offer.tier) && put_vram(object, c) &&
           kit_json_put(object, "perf", units(c->offer.perf_units)) && put_detection(object, c);
}

static bool put_ranking(cJSON *record, const pick_result *result) {
    cJSON *array = add_array(record, "ranking");
    for (size_t i = 0; array && i < result->eligible_count; i++) {
        const pick_entry *entry = &result->entries[i];
        const pick_candidate *c = &result->candidates[entry->candidate];
        cJSON *object = append_object(array);
        if (!object || !kit_json_put_u64(object, "rank", entry->rank) ||
            !kit_json_put_string(object, "name", c->name) || !kit_json_put(object, "score", units(entry->score)) ||
            !kit_json_put_bool(object, "available", c->available) || !kit_json_put_string(object, "state", c->state) ||
            !put_terms(object, "terms", &entry->terms)) {
            return false;
        }
    }
    return array != NULL;
}

static bool put_excluded(cJSON *record, const pick_result *result) {
    cJSON *array = add_array(record, "filtered_out");
    for (size_t i = result->eligible_count; array && i < result->count; i++) {
        const pick_entry *entry = &result->entries[i];
        const pick_candidate *c = &result->candidates[entry->candidate];
        cJSON *object = append_object(array);
        if (!object || !kit_json_put_string(object, "name", c->name)) return false;
        if (!c->refused &&
            (!kit_json_put(object, "score", units(entry->score)) || !put_terms(object, "terms", &entry->terms))) {
            return false;
        }
        cJSON *reasons = add_array(object, "reasons");
        for (size_t r = 0; r < entry->reason_count; r++) {
            cJSON *reason = reasons ? append_object(reasons) : NULL;
            if (!reason || !kit_json_put_string(reason, "filter", pick_filter_name(entry->reasons[r].filter)) ||
                !kit_json_put_string(reason, "text", entry->reasons[r].text)) {
                return false;
            }
        }
    }
    return array != NULL;
}

static bool put_flips(cJSON *record, const pick_result *result) {
    static const char *const kinds[] = {"winner-price", "price", "cold-start", "available", "constraint"};
    cJSON *array = add_array(record, "flips");
    for (size_t i = 0; array && i < result->flip_count; i++) {
        const pick_flip *flip = &result->flips[i];
        cJSON *object = append_object(array);
        if (!object || !kit_json_put_string(object, "name", result->candidates[flip->candidate].name) ||
            !kit_json_put_string(object, "change", kinds[flip->kind]) ||
            !kit_json_put_string(object, "text", flip->text)) {
            return false;
        }
        if (flip->kind == PICK_FLIP_CONSTRAINT &&
            !kit_json_put_string(object, "filter", pick_filter_name(flip->filter))) {
            return false;
        }
        bool price = flip->kind == PICK_FLIP_WINNER_PRICE || flip->kind == PICK_FLIP_PRICE ||
                     (flip->kind == PICK_FLIP_CONSTRAINT && flip->filter == PICK_FILTER_BUDGET);
        if (!(price ? kit_json_put(object, "value", kit_json_micro(flip->value))
                    : kit_json_put_u64(object, "value", flip->value))) {
            return false;
        }
    }
    return array != NULL;
}

static bool put_warnings(cJSON *record, const pick_result *result) {
    cJSON *array = add_array(record, "warnings");
    for (size_t i = 0; array && i < result->eligible_count; i++) {
        const pick_candidate *c = &result->candidates[result->entries[i].candidate];
        char text[160];
        if (!result->entries[i].unpriced_pass) continue;
        kit_format(text, sizeof text, "%s is billed %s: --max-price does not limit it", c->name,
                   c->offer.billing ? c->offer.billing : "otherwise");
        if (!append_string(array, text)) return false;
    }
    return array != NULL;
}

static bool put_answer(cJSON *record, const pick_result *result) {
    const pick_candidate *best = result->best ? &result->candidates[result->best->candidate] : NULL;
    bool good =
        kit_json_put_string(record, "picked", result->winner ? best->name : NULL) &&
        kit_json_put_string(record, "best_match", best ? best->name : NULL) &&
        (best ? kit_json_put(record, "score", units(result->best->score)) : kit_json_put_null(record, "score")) &&
        kit_json_put_string(record, "device", best ? best->device : NULL);
    cJSON *runners = good ? add_array(record, "runners_up") : NULL;
    for (size_t i = 1; runners && i < result->eligible_count && i <= PICK_RUNNERS_UP; i++) {
        if (!append_string(runners, result->candidates[result->entries[i].candidate].name)) return false;
    }
    return runners && put_ranking(record, result) && put_excluded(record, result) && put_warnings(record, result) &&
           put_flips(record, result);
}

kit_status pick_record(const pick_result *result, const pick_constraints *constraints, cJSON **out_record,
                       kolm_error_t *err) {
    const pick_terms weights = {PICK_WEIGHT_AVAILABLE, PICK_WEIGHT_COST, PICK_WEIGHT_LATENCY, PICK_WEIGHT_REPRO,
                                PICK_WEIGHT_PERF};
    cJSON *record = cJSON_CreateObject();
    bool good = record && kit_json_put_string(record, "schema", SCHEMA) &&
                kit_json_put_string(record, "picker_version", PICK_VERSION) && put_answer(record, result) &&
                put_terms(record, "weights", &weights) && put_constraints(record, constraints);
    cJSON *candidates = good ? add_array(record, "candidates") : NULL;
    for (size_t i = 0; candidates && good && i < result->count; i++)
        good = put_candidate(candidates, &result->candidates[i]);
    if (!candidates || !good) {
        cJSON_Delete(record);
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory while recording the pick");
    }
    *out_record = record;
    return KOLM_OK;
}

/* ---- Reading */

static kit_status lacks(kolm_error_t *err, const char *what, const char *key) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "pass a file that `kolm compute pick --json` printed",
                    "the pick record is not usable: %s lacks a valid '%s'", what, key);
}

static bool read_micro(const cJSON *object, const char *key, uint64_t *out) {
    double number = 0;
    if (!kit_json_get_number(object, key, &number) || !(number >= 0) || number > 4e9) return false;
    *out = (uint64_t)llround(number * 1e6);
    return true;
}

/* A key that may be null: *out_set says whether it is a number. */
static bool read_optional_micro(const cJSON *object, const char *key, bool *out_set, uint64_t *out) {
    *out_set = false;
    if (cJSON_IsNull(kit_json_get(object, key))) return true;
    return *out_set = read_micro(object, key, out);
}

static bool read_u32(const cJSON *object, const char *key, uint32_t *out) {
    uint64_t number = 0;
    if (!kit_json_get_u64(object, key, &number) || number > UINT32_MAX) return false;
    *out = (uint32_t)number;
    return true;
}

static bool read_word(const cJSON *object, const char *key, const char *const *words, size_t count, size_t *out) {
    const char *text = NULL;
    if (!kit_json_get_string(object, key, &text)) return false;
    for (*out = 0; *out < count; (*out)++) {
        if (strcmp(text, words[*out]) == 0) return true;
    }
    return false;
}

/* A string or null. */
static bool read_text(const cJSON *object, const char *key, const char **out) {
    *out = NULL;
    return cJSON_IsNull(kit_json_get(object, key)) || kit_json_get_string(object, key, out);
}

static bool read_vram(const cJSON *object, pick_candidate *c) {
    const char *text = NULL;
    uint64_t micro = 0;
    if (cJSON_IsNull(kit_json_get(object, "vram_cap_gb"))) {
        c->offer.vram = PICK_VRAM_NONE;
        return true;
    }
    if (kit_json_get_string(object, "vram_cap_gb", &text)) {
        c->offer.vram = strcmp(text, "own") == 0 ? PICK_VRAM_OWN : PICK_VRAM_SHARED;
        return c->offer.vram == PICK_VRAM_OWN || strcmp(text, "shared") == 0;
    }
    c->offer.vram = PICK_VRAM_CAP;
    if (!read_micro(object, "vram_cap_gb", &micro)) return false;
    c->offer.vram_cap_bytes = micro * KILO;
    return true;
}

static kit_status read_detection(const cJSON *object, pick_candidate *c, kolm_error_t *err) {
    const cJSON *d = kit_json_get(object, "detection");
    size_t train = 0, infer = 0;
    if (!kit_json_get_bool(d, "available", &c->available)) return lacks(err, c->name, "detection.available");
    if (!read_text(d, "state", &c->state)) return lacks(err, c->name, "detection.state");
    if (!read_text(d, "reason", &c->reason)) return lacks(err, c->name, "detection.reason");
    if (!read_text(d, "remedy", &c->remedy)) return lacks(err, c->name, "detection.remedy");
    if (!read_text(d, "device", &c->device)) return lacks(err, c->name, "detection.device");
    if (!kit_json_get_u64(d, "memory_bytes", &c->memory_bytes)) return lacks(err, c->name, "detection.memory_bytes");
    if (!read_word(d, "train", slot_names, 3, &train)) return lacks(err, c->name, "detection.train");
    if (!read_word(d, "infer", slot_names, 3, &infer)) return lacks(err, c->name, "detection.infer");
    if (!kit_json_get_bool(d, "private_target", &c->private_target)) {
        return lacks(err, c->name, "detection.private_target");
    }
    c->train_slot = (pick_slot)train;
    c->infer_slot = (pick_slot)infer;
    return KOLM_OK;
}

static kit_status read_candidate(const cJSON *object, pick_candidate *c, kolm_error_t *err) {
    size_t airgap = 0;
    uint64_t perf = 0;
    if (!kit_json_get_string(object, "name", &c->name)) return lacks(err, "a candidate", "name");
    if (kit_json_get_string(object, "refused", &c->refused)) return KOLM_OK;
    if (!kit_json_get_string(object, "kind", &c->offer.kind)) return lacks(err, c->name, "kind");
    if (!kit_json_get_bool(object, "train", &c->offer.train)) return lacks(err, c->name, "train");
    if (!kit_json_get_bool(object, "infer", &c->offer.infer)) return lacks(err, c->name, "infer");
    if (!read_text(object, "recipes", &c->offer.recipes)) return lacks(err, c->name, "recipes");
    if (!read_word(object, "airgap", pick_airgap_names, 3, &airgap)) return lacks(err, c->name, "airgap");
    if (!kit_json_get_string(object, "billing", &c->offer.billing)) return lacks(err, c->name, "billing");
    bool priced = false;
    c->offer.price_micro_usd_per_hour = PICK_UNPRICED;
    if (!read_optional_micro(object, "cost_per_hour_usd", &priced, &c->offer.price_micro_usd_per_hour)) {
        return lacks(err, c->name, "cost_per_hour_usd");
    }
    /* Records of older kolms have neither. */
    if (kit_json_get(object, "price_source") && (!kit_json_get_string(object, "price_source", &c->offer.price_source) ||
                                                 !read_text(object, "priced_on", &c->offer.priced_on)))
        return lacks(err, c->name, "price_source");
    if (!read_u32(object, "cold_start_seconds", &c->offer.cold_start_seconds))
        return lacks(err, c->name, "cold_start_seconds");
    if (!read_u32(object, "tier", &c->offer.tier)) return lacks(err, c->name, "tier");
    if (!read_vram(object, c)) return lacks(err, c->name, "vram_cap_gb");
    if (!read_micro(object, "perf", &perf) || perf > 1000000) return lacks(err, c->name, "perf");
    c->offer.airgap = (pick_airgap)airgap;
    c->offer.perf_units = (uint32_t)(perf / (1000000u / PICK_UNIT));
    return read_detection(object, c, err);
}

static kit_status read_exclude(const cJSON *object, pick_constraints *c, kolm_error_t *err) {
    static const char what[] = "constraints";
    const cJSON *exclude = kit_json_get(object, "exclude");
    if (!cJSON_IsArray(exclude)) return lacks(err, what, "exclude");
    size_t count = (size_t)cJSON_GetArraySize(exclude);
    const char **names = calloc(count ? count : 1, sizeof *names);
    if (!names) return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory while reading the pick record");
    c->exclude = names;
    c->exclude_count = count;
    const cJSON *item = exclude->child;
    for (size_t i = 0; i < count; i++, item = item->next) {
        if (!cJSON_IsString(item)) return lacks(err, what, "exclude");
        names[i] = item->valuestring;
    }
    return KOLM_OK;
}

static kit_status read_constraints(const cJSON *record, pick_constraints *c, kolm_error_t *err) {
    static const char *const purposes[] = {"train", "infer"};
    static const char what[] = "constraints";
    const cJSON *object = kit_json_get(record, what);
    size_t purpose = 0;
    if (!read_word(object, "purpose", purposes, 2, &purpose)) return lacks(err, what, "purpose");
    c->infer = purpose == 1;
    if (!kit_json_get_bool(object, "airgap", &c->airgap)) return lacks(err, what, "airgap");
    if (!kit_json_get_bool(object, "need_slot", &c->need_slot)) return lacks(err, what, "need_slot");
    if (!kit_json_get_bool(object, "need_answers", &c->need_answers)) return lacks(err, what, "need_answers");
    if (!kit_json_get_bool(object, "allow_private_remote", &c->allow_private_remote)) {
        return lacks(err, what, "allow_private_remote");
    }
    if (!read_text(object, "recipe", &c->recipe)) return lacks(err, what, "recipe");
    if (!read_optional_micro(object, "min_vram_gb", &c->has_min_vram, &c->min_vram_bytes)) {
        return lacks(err, what, "min_vram_gb");
    }
    c->min_vram_bytes *= KILO;
    if (!read_optional_micro(object, "budget_usd_per_hour", &c->has_budget, &c->budget_micro_usd_per_hour)) {
        return lacks(err, what, "budget_usd_per_hour");
    }
    if (!read_optional_micro(object, "budget_usd", &c->has_job_budget, &c->job_budget_micro_usd))
        return lacks(err, what, "budget_usd");
    if (!cJSON_IsNull(kit_json_get(object, "max_tier"))) {
        c->has_max_tier = true;
        if (!read_u32(object, "max_tier", &c->max_tier)) return lacks(err, what, "max_tier");
    }
    return read_exclude(object, c, err);
}

kit_status pick_question_read(const cJSON *record, pick_question **out_question, kolm_error_t *err) {
    const char *schema = NULL;
    if (!cJSON_IsObject(record) || !kit_json_get_string(record, "schema", &schema) || strcmp(schema, SCHEMA) != 0) {
        return lacks(err, "the file", "schema");
    }
    const char *version = NULL;
    if (kit_json_get_string(record, "picker_version", &version) && strcmp(version, PICK_VERSION) != 0)
        return kit_fail(
            err, KOLM_E_INVALID_ARGUMENT, "replay it with the version of kolm that made it",
            "the record is of picker %.16s, and this is picker %s: the same question may have another answer", version,
            PICK_VERSION);
    const cJSON *list = kit_json_get(record, "candidates");
    if (!cJSON_IsArray(list)) return lacks(err, "the record", "candidates");
    size_t count = (size_t)cJSON_GetArraySize(list);
    pick_question *question = calloc(1, sizeof *question);
    if (question) question->candidates = calloc(count ? count : 1, sizeof *question->candidates);
    if (!question || !question->candidates) {
        pick_question_free(question);
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory while reading the pick record");
    }
    question->count = count;
    kit_status status = read_constraints(record, &question->constraints, err);
    const cJSON *item = list->child;
    for (size_t i = 0; status == KOLM_OK && i < count; i++, item = item->next) {
        status = read_candidate(item, &question->candidates[i], err);
    }
    if (status == KOLM_OK)
        *out_question = question;
    else
        pick_question_free(question);
    return status;
}

void pick_question_free(pick_question *question) {
    if (!question) return;
    /* Only the array is owned; its strings belong to the record. The cast drops const. */
    free((void *)(uintptr_t)question->constraints.exclude);
    free(question->candidates);
    free(question);
}

static kit_status same_part(const cJSON *recorded, const cJSON *again, const char *key, kolm_error_t *err) {
    kit_buf a = {0}, b = {0};
    const cJSON *old = kit_json_get(recorded, key), *now = kit_json_get(again, key);
    kit_status status = KOLM_OK;
    if (!old) {
        status = lacks(err, "the record", key);
    } else {
        status = kit_json_line(old, &a, err);
        if (status == KOLM_OK) status = kit_json_line(now, &b, err);
    }
    if (status == KOLM_OK && strcmp(kit_buf_text(&a), kit_buf_text(&b)) != 0) {
        status = kit_fail(err, KOLM_E_DATA_LOSS, "the record was changed, or another version of the picker made it",
                          "the replayed pick differs from the recorded one in '%s'", key);
    }
    kit_buf_free(&a);
    kit_buf_free(&b);
    return status;
}

kit_status pick_records_agree(const cJSON *recorded, const cJSON *again, kolm_error_t *err) {
    for (const cJSON *part = again->child; part; part = part->next) {
        KIT_TRY(same_part(recorded, again, part->string, err));
    }
    return KOLM_OK;
}
