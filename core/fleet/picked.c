/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the picker on current detections, or on those in a record. */
#include "fleet/picked.h"

#define RECORD_MAX (16u << 20)

static void constraints_of(const fleet_pick_request *r, pick_constraints *k) {
    *k = (pick_constraints){
        .infer = r->infer,
        .need_answers = !r->infer,
        .recipe = r->recipe,
        .airgap = r->airgap != SESSION_AIRGAP_OFF,
        .allow_private_remote = r->allow_private_remote,
        .has_min_vram = r->min_vram.set,
        .min_vram_bytes = r->min_vram.value * 1000,
        .has_budget = r->max_price.set,
        .budget_micro_usd_per_hour = r->max_price.value,
        .has_max_tier = r->max_tier.set,
        .max_tier = (uint32_t)r->max_tier.value,
        .exclude = (const char *const *)r->exclude.items,
        .exclude_count = r->exclude.count,
    };
}

static kit_status check_excluded(fleet_registry *registry, const session_words *names, session_reason *out_reason,
                                 kolm_error_t *err) {
    *out_reason = SESSION_REASON_USAGE;
    for (size_t i = 0; i < names->count; i++)
        if (!fleet_registry_find(registry, names->items[i]))
            return fleet_registry_unknown(registry, names->items[i], err);
    *out_reason = SESSION_REASON_NONE;
    return KOLM_OK;
}

kit_status fleet_pick(kolm_session *session, const fleet_pick_request *r, fleet_picked *out, session_reason *out_reason,
                      kolm_error_t *err) {
    const fleet_detect_options detect = {.refresh = r->refresh,
                                         .prices = true,
                                         .min_vram_bytes = r->min_vram.set ? r->min_vram.value * 1000 : 0,
                                         .airgap = r->airgap != SESSION_AIRGAP_OFF,
                                         .airgap_strict = r->airgap == SESSION_AIRGAP_STRICT,
                                         .allow_private_remote = r->allow_private_remote};
    *out = (fleet_picked){0};
    *out_reason = SESSION_REASON_NONE;
    constraints_of(r, &out->constraints);
    KIT_TRY(fleet_registry_open(session, &out->registry, err));
    KIT_TRY(check_excluded(out->registry, &r->exclude, out_reason, err));
    KIT_TRY(fleet_registry_detect(session, out->registry, &detect, err));
    KIT_TRY(fleet_registry_candidates(out->registry, &out->candidates, err));
    KIT_TRY(pick_run(out->candidates, out->registry->count, &out->constraints, &out->result, err));
    return r->record ? pick_record(out->result, &out->constraints, &out->record, err) : KOLM_OK;
}

kit_status fleet_pick_replay(const char *file, fleet_picked *out, session_reason *out_reason, kolm_error_t *err) {
    *out = (fleet_picked){0};
    *out_reason = SESSION_REASON_NONE;
    KIT_TRY(kit_json_read(file, RECORD_MAX, &out->recorded, err));
    KIT_TRY(pick_question_read(out->recorded, &out->question, err));
    out->constraints = out->question->constraints;
    KIT_TRY(pick_run(out->question->candidates, out->question->count, &out->constraints, &out->result, err));
    KIT_TRY(pick_record(out->result, &out->constraints, &out->record, err));
    kit_status status = pick_records_agree(out->recorded, out->record, err);
    if (status != KOLM_OK && status != KOLM_E_RESOURCE_EXHAUSTED) *out_reason = SESSION_REASON_VERIFY;
    return status;
}

kit_status fleet_pick_used(const fleet_picked *picked, const char **out_lacks, const char **out_used,
                           kolm_error_t *err) {
    const pick_result *result = picked->result;
    pick_constraints dispatch = picked->constraints;
    pick_result *usable = NULL;
    *out_lacks = *out_used = NULL;
    if (!result->winner) return KOLM_OK;
    const pick_candidate *winner = &result->candidates[result->winner->candidate];
    bool trains = winner->train_slot != PICK_SLOT_MISSING, answers = winner->infer_slot != PICK_SLOT_MISSING;
    if (answers && (dispatch.infer || trains)) return KOLM_OK;
    *out_lacks = !dispatch.infer && trains ? "cannot answer" : "is detect only";
    dispatch.need_slot = true;
    KIT_TRY(pick_run(result->candidates, result->count, &dispatch, &usable, err));
    if (usable->winner) *out_used = usable->candidates[usable->winner->candidate].name;
    pick_result_free(usable);
    return KOLM_OK;
}

void fleet_picked_free(fleet_picked *picked) {
    cJSON_Delete(picked->record);
    pick_result_free(picked->result);
    fleet_candidates_free(picked->candidates);
    fleet_registry_free(picked->registry);
    pick_question_free(picked->question);
    cJSON_Delete(picked->recorded);
    *picked = (fleet_picked){0};
}
