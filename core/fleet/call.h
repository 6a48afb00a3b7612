/* SPDX-License-Identifier: Apache-2.0 */
/* What every verb that trains or infers hands to the host: secrets, configuration, interruption, progress, airgap. */
#ifndef KOLM_FLEET_CALL_H
#define KOLM_FLEET_CALL_H

#include "fleet/registry.h"
#include "host/host.h"

typedef struct fleet_calling {
    kolm_session *session;
    store_credentials *credentials; /* owned; NULL under airgap: then no secret is read at all */
    const char *label;              /* of its progress; NULL: progress is not told */
    cJSON *metrics;                 /* an object that gets what the backend measures, NAME: "0.41"; NULL: not kept */
    host_events events;
    host_call_options options; /* what to pass; points into this struct, which must not move */
} fleet_calling;

/* Fills calling for a call of backend. */
kit_status fleet_calling_begin(kolm_session *session, const fleet_backend *backend, bool airgap, bool airgap_strict,
                               const char *label, fleet_calling *out_calling, kolm_error_t *err) KIT_MUST_USE;
/* After begin under airgap, for a backend of the user's own on a private address: it gets its address and the network,
 * and is told to keep to private addresses. Nothing enforces that, and the receipt says so. */
kit_status fleet_calling_allow_private(fleet_calling *calling, kolm_error_t *err) KIT_MUST_USE;
void fleet_calling_end(fleet_calling *calling);

/* OK for HOST_OK; else the error of the result, and *out_exit 130 or 5. what: "training on local-x". */
kit_status fleet_verdict(const host_result *result, const char *what, int *out_exit, kolm_error_t *err) KIT_MUST_USE;

/* Warns when a backend that answered says that it gave more or fewer answers than were read. */
void fleet_count_answers(kolm_session *session, const char *backend, const host_result *result, uint64_t read);

#endif
