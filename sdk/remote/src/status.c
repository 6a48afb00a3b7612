/* SPDX-License-Identifier: Apache-2.0 */
/* Reports and removes what jobs left on a machine. */
#include "internal.h"

#include <string.h>

static const char *text_of(const cJSON *row, const char *key) {
    const char *text = "";
    (void)kit_json_get_string(row, key, &text);
    return text;
}

static void report(const kit_ssh_job_remote *remote, const cJSON *row, bool removed) {
    uint64_t bytes = KOLM_UNKNOWN_COUNT, age = KOLM_UNKNOWN_COUNT;
    bool in_use = false;
    (void)kit_json_get_u64(row, "bytes", &bytes);
    (void)kit_json_get_u64(row, "age", &age);
    (void)kit_json_get_bool(row, "in_use", &in_use);
    const kolm_holding_t holding = {.struct_size = (uint32_t)sizeof holding,
                                    .state = removed  ? KOLM_HOLDING_REMOVED
                                             : in_use ? KOLM_HOLDING_IN_USE
                                                      : KOLM_HOLDING_IDLE,
                                    .bytes = bytes,
                                    .age_seconds = age,
                                    .place = remote->settings.name,
                                    .kind = text_of(row, "kind"),
                                    .name = text_of(row, "name"),
                                    .note = text_of(row, "note")};
    remote->host->holding(remote->host->user, &holding);
}

static void report_all(const kit_ssh_job_remote *remote, const cJSON *rows, bool removed) {
    const cJSON *row;
    cJSON_ArrayForEach(row, rows) if (cJSON_IsObject(row)) report(remote, row, removed);
}

/* The caller must free the answer. */
static kit_status ask_prune(kit_ssh_job_remote *remote, uint64_t older_seconds, ssh_job_frame *out_answer,
                            kolm_error_t *err) {
    cJSON *request = ssh_job_request("prune");
    (void)kit_json_put_u64(request, "older_seconds", older_seconds);
    return ssh_job_ask(remote, request, out_answer, err);
}

/* The far end raises an age below an hour while another kolm is connected. */
static void tell_what_stayed(const kit_ssh_job_remote *remote, const cJSON *header, uint64_t asked) {
    uint64_t older = asked;
    char line[300];
    if (!kit_json_get_u64(header, "older", &older) || older <= asked) return;
    kit_format(line, sizeof line, "%.200s: another kolm is connected, so anything newer than %llu minutes is kept",
               remote->settings.name, (unsigned long long)older / 60);
    remote->host->log(remote->host->user, KOLM_LOG_WARNING, line);
}

kit_status kit_ssh_job_status(kit_ssh_job_remote *remote, const kolm_status_args_t *args, uint64_t *out_bytes,
                              kolm_error_t *err) {
    ssh_job_frame answer;
    *out_bytes = 0;
    if (args->prune == 1) {
        KIT_TRY(ask_prune(remote, args->older_seconds, &answer, err));
        (void)kit_json_get_u64(answer.header, "freed", out_bytes);
        tell_what_stayed(remote, answer.header, args->older_seconds);
        report_all(remote, kit_json_get(answer.header, "removed"), true);
        ssh_job_frame_free(&answer);
    }
    KIT_TRY(ssh_job_ask(remote, ssh_job_request("holdings"), &answer, err));
    report_all(remote, kit_json_get(answer.header, "holdings"), false);
    ssh_job_frame_free(&answer);
    return KOLM_OK;
}
