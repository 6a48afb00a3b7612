/* SPDX-License-Identifier: Apache-2.0 */
/* The picker on its own: `kolm compute pick`, for current detections or from a record. */
#ifndef KOLM_FLEET_PICKED_H
#define KOLM_FLEET_PICKED_H

#include "fleet/registry.h"

/* Borrowed for as long as the answer is used. */
typedef struct fleet_pick_request {
    const char *recipe; /* NULL: any */
    bool infer, allow_private_remote;
    bool refresh; /* detect again and ignore the cache */
    session_airgap airgap;
    session_number min_vram, max_price, max_tier; /* kilobytes, micro dollars an hour, 1 to 9 */
    session_words exclude;                        /* names of backends that there are */
} fleet_pick_request;

typedef struct fleet_picked {
    pick_constraints constraints;
    pick_result *result;
    cJSON *record; /* kolm.compute.pick/1; who takes it sets NULL here */
    /* What the others point into. */
    fleet_registry *registry;
    pick_candidate *candidates;
    pick_question *question;
    cJSON *recorded;
} fleet_picked;

/* Detects and picks. Free with fleet_picked_free in every case. */
kit_status fleet_pick(kolm_session *session, const fleet_pick_request *request, fleet_picked *out,
                      session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;
/* Asks the question of the record in the file again; DATA_LOSS, for the reason VERIFY, when the answer is another. */
kit_status fleet_pick_replay(const char *file, fleet_picked *out, session_reason *out_reason,
                             kolm_error_t *err) KIT_MUST_USE;
/* The formula ranks places, and a place that this version cannot use yet may win. Then *out_lacks says what it lacks,
 * and *out_used who would really be used (NULL: none); else *out_lacks is NULL. */
kit_status fleet_pick_used(const fleet_picked *picked, const char **out_lacks, const char **out_used,
                           kolm_error_t *err) KIT_MUST_USE;
void fleet_picked_free(fleet_picked *picked);

#endif
