/* SPDX-License-Identifier: Apache-2.0 */
/* A compile from beginning to end: all steps in order. */
#include "compile/compile.h"

#include "kolm/kit/process.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

kit_status compile_new(kolm_session *session, compile **out_compile, kolm_error_t *err) {
    compile *c = calloc(1, sizeof *c);
    if (c == NULL) return kit_no_memory(err);
    c->session = session;
    c->job.lock_fd = -1;
    c->data.heldout_fd = -1;
    c->quoted_micro = RECEIPT_UNKNOWN;
    c->started_at = (int64_t)time(NULL);
    c->started_ms = kit_now_ms();
    c->request = (compile_request){
        .version = "1.0.0", .recipe = "auto", .effort = "normal", .class_weight = "none", .contradictions = "majority"};
    *out_compile = c;
    return KOLM_OK;
}

static kit_status run(compile *c, bool *out_ships, kolm_error_t *err) {
    KIT_TRY(compile_check_request(c, err));
    KIT_TRY(compile_prepare_data(c, err));
    KIT_TRY(compile_choose(c, err));
    KIT_TRY(compile_train(c, err));
    KIT_TRY(compile_answer(c, err));
    KIT_TRY(compile_score(c, err));
    *out_ships = score_ships(&c->k, c->answers, &c->gates);
    KIT_TRY(*out_ships ? compile_ship(c, err) : compile_write_failed(c, err));
    session_tell(c->session,
                 &(session_event){.kind = *out_ships ? SESSION_SHIPPED : SESSION_FAILED_GATE, .compile = c});
    return KOLM_OK;
}

kit_status compile_run(compile *c, bool *out_ships, kolm_error_t *err) {
    *out_ships = false;
    kit_status status = run(c, out_ships, err);
    if (status == KOLM_OK) {
        c->reason = *out_ships ? SESSION_REASON_NONE : SESSION_REASON_GATE;
        return KOLM_OK;
    }
    job_directory_mend_error(&c->job, c->request.keep_job, err);
    *out_ships = false;
    if (status == KOLM_E_CANCELLED || session_stopped(c->session)) c->reason = SESSION_REASON_INTERRUPTED;
    return status;
}

void compile_free(compile *c) {
    if (c == NULL) return;
    job_directory_close(&c->job, c->request.keep_job && c->job.path != NULL);
    lease_list_free(&c->leases);
    for (size_t i = 0; i < c->payload_count; i++) {
        free(c->payload[i].name);
        free(c->payload[i].path);
    }
    free(c->payload);
    score_answers_free(c->answers);
    cJSON_Delete(c->result);
    cJSON_Delete(c->reported);
    fleet_choice_free(c->choice);
    job_common_free(&c->data.common);
    if (c->data.heldout_fd >= 0) close(c->data.heldout_fd);
    compile_data_close(&c->data_files);
    compile_data_close(&c->eval_files);
    job_base_free(&c->base);
    cJSON_Delete(c->trainer);
    free(c->out_path);
    free(c->sidecar_path);
    free(c->failed_path);
    free(c->chain_path);
    free(c->keys_dir);
    free(c);
}
