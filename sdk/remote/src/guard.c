/* SPDX-License-Identifier: Apache-2.0 */
/* The near end of the watchdog on a rented machine: armed, and read back. */
#include "internal.h"

/* Sends one request; *out_armed and *out_left are from its answer. */
static kit_status ask(kit_ssh_job_remote *remote, cJSON *request, bool *out_armed, uint64_t *out_left,
                      kolm_error_t *err) {
    ssh_job_frame answer;
    *out_armed = false;
    *out_left = 0;
    KIT_TRY(ssh_job_ask(remote, request, &answer, err));
    if (!kit_json_get_bool(answer.header, "armed", out_armed)) *out_armed = false;
    if (!kit_json_get_u64(answer.header, "left", out_left)) *out_armed = false;
    ssh_job_frame_free(&answer);
    return KOLM_OK;
}

kit_status kit_ssh_job_guard(kit_ssh_job_remote *remote, uint64_t seconds, bool power_off, uint64_t *out_left,
                             kolm_error_t *err) {
    bool armed = false;
    cJSON *request = ssh_job_request("guard");
    (void)(kit_json_put_u64(request, "seconds", seconds) && kit_json_put_bool(request, "off", power_off));
    KIT_TRY(ask(remote, request, &armed, out_left, err));
    /* the watchdog process holds a lock, which this request checks */
    KIT_TRY(ask(remote, ssh_job_request("guarded"), &armed, out_left, err));
    if (armed && *out_left <= seconds) return KOLM_OK;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "run it again; another machine may do better",
                    "the watchdog on %s is not running after it was armed", remote->settings.name);
}
