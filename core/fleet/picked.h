/* SPDX-License-Identifier: Apache-2.0 */
/* The picker on its own: `kolm compute pick`, for current detections or from a record. */
#ifndef KOLM_FLEET_PICKED_H
#define KOLM_FLEET_PICKED_H

#include "fleet/registry.h"

/* Borrowed: must outlive the result. */
typedef struct fleet_pick_request {
    const char *recipe; /* NULL: any */
    bool infer, allow_private_remote;
    bool refresh; /* detect again and ignore the cache */
    bool record;  /* make the record */
    session_airgap airgap;
    session_number min_vram, max_price, max_tier; /* kilobytes, micro dollars an hour, 1 to 9 */
    session_words exclude;                        /* names of existing backends */
} fleet_pick_request;

typedef struct fleet_picked {
    pick_constraints constraints;
    pick_result *result;
    cJSON *record; /* kolm.compute.pick/1; NULL if not requested. Set to NULL when taking ownership */
    /* The fields above point into these. */
    fleet_registry *registry;
    pick_candidate *candidates;
    pick_question *question;
    cJSON *recorded;
} fleet_picked;

/* Detects and picks. Free with fleet_picked_free in every case. */
kit_status fleet_pick(kolm_session *session, const fleet_pick_request *request, fleet_picked *out,
                      session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;
/* Repeats the pick that is recorded in the file. DATA_LOSS, with the reason VERIFY, if the result differs. */
kit_status fleet_pick_replay(const char *file, fleet_picked *out, session_reason *out_reason,
                             kolm_error_t *err) KIT_MUST_USE;
/* The formula may rank first a backend that this version cannot use yet. Then *out_lacks says what it lacks, and
 * *out_used is the backend that would be used instead (NULL: none); else *out_lacks is NULL. */
kit_status fleet_pick_used(const fleet_picked *picked, const char **out_lacks, const char **out_used,
                           kolm_error_t *err) KIT_MUST_USE;
void fleet_picked_free(fleet_picked *picked);

#endif
