/* SPDX-License-Identifier: Apache-2.0 */
/* Runs independent tasks on a few threads; which thread runs what changes nothing. */
#ifndef LOCAL_CPU_POOL_H
#define LOCAL_CPU_POOL_H

#include "kolm/kit/status.h"

typedef kit_status (*pool_task)(void *user, uint32_t number, kolm_error_t *err);

/* Runs task(user, 0 .. count-1, err), each once, on at most `threads` threads, the caller's own among them. When one
 * fails no further ones start, and the error of the lowest-numbered failed task is returned. */
kit_status pool_run(uint32_t threads, uint32_t count, pool_task task, void *user, kolm_error_t *err) KIT_MUST_USE;

#endif
