/* SPDX-License-Identifier: Apache-2.0 */
/* The same work for each of many, on as many threads as help. */
#ifndef HOST_EACH_H
#define HOST_EACH_H

#include <stddef.h>

/* Calls work(user, i) once for each i below count, in any order and, where there are many, from several threads at once;
 * returns when all are done. Worker threads take no signals. Where a thread cannot be had the caller's does the work. */
void host_each(size_t count, void (*work)(void *user, size_t i), void *user);

#endif
