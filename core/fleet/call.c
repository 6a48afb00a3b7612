/* SPDX-License-Identifier: Apache-2.0 */
/* The options of calls into backends, and what their verdicts mean to a person. */
#include "fleet/call.h"

static const char *secret_value(void *user, const char *name) {
    const fleet_calling *calling = user;
    store_secret_source source;
    return store_secret(calling->credentials, name, &source);
}

static void on_log(void *user, const char *backend, uint32_t level, const char *text) {
    fleet_calling *calling = user;
    session_said(calling->session, backend, level, text);
}

static void on_progress(void *user, const kolm_progress_t *progress) {
    fleet_calling *calling = user;
    if (calling->label != NULL) session_progress(calling->session, calling->label, progress);
}

/* As text: receipts are signed, and what is signed has no floating-point numbers. The last value of a name counts. */
static void on_metric(void *user, const char *name, double value) {
    fleet_calling *calling = user;
    cJSON *number = calling->metrics != NULL ? cJSON_CreateNumber(value) : NULL;
    kit_buf text = {0};
    if (number != NULL && kit_json_line(number, &text, NULL) == KOLM_OK) {
        cJSON_DeleteItemFromObjectCaseSensitive(calling->metrics, name);
        (void)kit_json_put_string(calling->metrics, name, kit_buf_text(&text));
    }
    kit_buf_free(&text);
    cJSON_Delete(number);
}

kit_status fleet_calling_begin(kolm_session *session, const fleet_backend *backend, bool airgap, bool airgap_strict,
                               const char *label, fleet_calling *out_calling, kolm_error_t *err) {
    store_home *home = NULL;
    const cJSON *config = NULL;
    *out_calling = (fleet_calling){.session = session, .label = label};
    KIT_TRY(session_home(session, &home, err));
    KIT_TRY(session_config(session, &config, err));
    bool wants_secrets = backend->manifest->auth_count + backend->manifest->secret_count > 0 && !airgap;
    if (wants_secrets) KIT_TRY(store_credentials_read(home, &out_calling->credentials, err));
    out_calling->events =
        (host_events){.user = out_calling, .log = on_log, .progress = on_progress, .metric = on_metric};
    out_calling->options = (host_call_options){
        .cancel = session->stop,
        .network = !airgap,
        .airgap_strict = airgap_strict,
        .config = config,
        .secret = wants_secrets ? secret_value : NULL,
        .secret_user = out_calling,
        .events = &out_calling->events,
    };
    out_calling->options.private_dir = store_home_path(home);
    out_calling->options.private_names = store_kept_names();
    return KOLM_OK;
}

kit_status fleet_calling_allow_private(fleet_calling *calling, kolm_error_t *err) {
    store_home *home = NULL;
    KIT_TRY(session_home(calling->session, &home, err));
    if (calling->credentials == NULL) KIT_TRY(store_credentials_read(home, &calling->credentials, err));
    calling->options.secret = secret_value;
    calling->options.network = true;
    calling->options.airgap_strict = false;
    calling->options.private_only = true;
    return KOLM_OK;
}

void fleet_calling_end(fleet_calling *calling) {
    if (calling->label != NULL) session_progress_end(calling->session);
    store_credentials_free(calling->credentials);
    calling->credentials = NULL;
}

kit_status fleet_verdict(const host_result *result, const char *what, int *out_exit, kolm_error_t *err) {
    if (result->verdict == HOST_OK) return KOLM_OK;
    *out_exit = result->verdict == HOST_CANCELLED ? SESSION_EXIT_INTERRUPTED : SESSION_EXIT_BACKEND;
    if (result->verdict == HOST_CANCELLED)
        return kit_fail(err, KOLM_E_CANCELLED,
                        result->error.remedy[0] != '\0' ? result->error.remedy
                                                        : "nothing was written; run the command again when it suits",
                        "interrupted during %s", what);
    char text[600];
    host_verdict_text(result, text, sizeof text);
    int32_t code =
        result->error.code != KOLM_OK && result->error.code != KOLM_E_CANCELLED ? result->error.code : KOLM_E_INTERNAL;
    const char *remedy = result->error.remedy[0] != '\0'
                             ? result->error.remedy
                             : "try another backend with --backend; `kolm compute list` names them";
    return kit_fail(err, code, remedy, "%s: %s", what, text);
}

void fleet_count_answers(kolm_session *session, const char *backend, const host_result *result, uint64_t read) {
    if (result->verdict != HOST_OK || result->infer.answers == read) return;
    session_warn(session, "%s: infer: it says that it gave %llu answers, and gave %llu; report it to %s%s%s", backend,
                 (unsigned long long)result->infer.answers, (unsigned long long)read,
                 result->vendor[0] ? result->vendor : "its maker", result->homepage[0] ? ", " : "", result->homepage);
}
