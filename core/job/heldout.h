/* SPDX-License-Identifier: Apache-2.0 */
/* The held-out rows with their outputs, inaccessible to backends: in unnamed memory, or in an unnamed file. */
#ifndef KOLM_JOB_HELDOUT_H
#define KOLM_JOB_HELDOUT_H

/*
 * A backend that can read these rows can choose its score. So they have no path: up to JOB_HELDOUT_MEMORY bytes are
 * stored in a memfd of this process, more in a file without a name (job/scratch.h), so that memory does not grow with
 * them. The descriptor is close-on-exec. kolm is not dumpable (PR_SET_DUMPABLE 0 in its main), so that a process of the
 * same user cannot open it through /proc either; only the fence of kolm-host keeps out root. Once sealed, the memory
 * cannot be changed, even by kolm itself. A file has no seals: readers compare its digest with that of what was written
 * (score_answers_read).
 */

#include "kolm/kit/buf.h"

#define JOB_HELDOUT_MEMORY (16u << 20)

typedef struct job_heldout {
    int fd; /* -1: none */
    bool in_memory;
    uint64_t bytes; /* in fd */
    kit_buf pending;
    const char *directory; /* where the file is created, if needed; for errors */
} job_heldout;

kit_status job_heldout_open(const char *directory, job_heldout *out_heldout, kolm_error_t *err) KIT_MUST_USE;
kit_status job_heldout_add(job_heldout *heldout, const void *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;
/* Writes what is pending and seals it. The caller closes *out_fd. */
kit_status job_heldout_seal(job_heldout *heldout, int *out_fd, kolm_error_t *err) KIT_MUST_USE;
/* No-op on {.fd = -1}, and after job_heldout_seal. */
void job_heldout_close(job_heldout *heldout);

#endif
