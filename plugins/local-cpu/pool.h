/* SPDX-License-Identifier: Apache-2.0 */
/* Runs independent tasks on a few threads; results do not depend on which thread runs what. */
#ifndef LOCAL_CPU_POOL_H
#define LOCAL_CPU_POOL_H

#include "kolm/kit/status.h"

typedef kit_status (*pool_task)(void *user, uint32_t number, kolm_error_t *err);

/* Runs task(user, 0 .. count-1, err), each once, on at most `threads` threads, including the caller's. After a failure
 * no further task starts; returns the error of the lowest-numbered failed task. */
kit_status pool_run(uint32_t threads, uint32_t count, pool_task task, void *user, kolm_error_t *err) KIT_MUST_USE;

#endif
