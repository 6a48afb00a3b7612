/* SPDX-License-Identifier: Apache-2.0 */
/* A job directory that came from elsewhere, done with a backend of this machine: `kolm job run` without its events. */
#ifndef KOLM_FLEET_JOB_HERE_H
#define KOLM_FLEET_JOB_HERE_H

#include "host/host.h"
#include "session/session.h"

typedef struct fleet_job_request {
    const char *directory; /* docs/job-protocol.md; job.json says whether it is to be trained or answered */
    const char *backend;   /* NULL: the best of this machine; never one that sends the job on */
    uint32_t threads;      /* 0: all processors */
} fleet_job_request;

typedef struct fleet_job_done {
    char backend[64];
    host_result result; /* of the call */
} fleet_job_done;

/* Looks at the directory, chooses, and calls train or infer; events of fleet_call. job.json is afterwards what it was,
 * since it names what a backend may read. *out_reason is what a failure means. */
kit_status fleet_job_here(kolm_session *session, const fleet_job_request *request, const host_events *events,
                          fleet_job_done *out, session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;

#endif
