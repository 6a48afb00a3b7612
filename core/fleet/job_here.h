/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a job directory from another machine with a local backend: `kolm job run` without its events. */
#ifndef KOLM_FLEET_JOB_HERE_H
#define KOLM_FLEET_JOB_HERE_H

#include "host/host.h"
#include "session/session.h"

typedef struct fleet_job_request {
    const char *directory; /* docs/job-protocol.md; job.json determines whether to train or to infer */
    const char *backend;   /* NULL: the best local one; never one that sends the job to another machine */
    uint32_t threads;      /* 0: all processors */
} fleet_job_request;

typedef struct fleet_job_done {
    char backend[64];
    host_result result; /* of the call */
} fleet_job_done;

/* Checks the directory, chooses a backend, and calls train or infer; events as in fleet_call. Restores job.json
 * afterwards, because it lists what a backend may read. *out_reason: meaning of a failure. */
kit_status fleet_job_here(kolm_session *session, const fleet_job_request *request, const host_events *events,
                          fleet_job_done *out, session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;

#endif
