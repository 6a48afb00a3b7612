/* SPDX-License-Identifier: Apache-2.0 */
/* A parallel loop over many items. */
#ifndef HOST_EACH_H
#define HOST_EACH_H

#include <stddef.h>

/* Calls work(user, i) once for each i below count, in any order and, where there are many, from several threads at
 * once; returns when all are done. Signals are blocked in worker threads. If no thread can be created, the calling
 * thread does the work. */
void host_each(size_t count, void (*work)(void *user, size_t i), void *user);

#endif
