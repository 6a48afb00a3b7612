/* SPDX-License-Identifier: Apache-2.0 */
/* A seccomp filter: the system calls that this process may not make. */
#ifndef KOLM_HOST_CHILD_FILTER_H
#define KOLM_HOST_CHILD_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* libseccomp is not used: each process of a backend builds its own filter, for which that library takes more time than
 * the rest of the fence, and it does not know names of system calls newer than itself. */

#define CHILD_FILTER_RULES 160
#define CHILD_FILTER_WHEN 2

/* A condition on an argument for a call to be denied. Unless `wide`, only the lower half is compared, which is all that
 * the kernel uses of an int. */
typedef struct child_when {
    unsigned argument;
    bool differs; /* denied if the value differs */
    bool wide;    /* a pointer: denied if not NULL */
    uint32_t mask, value;
} child_when;

typedef struct child_rule {
    uint32_t number, error;
    child_when when[CHILD_FILTER_WHEN];
    size_t when_count;
} child_rule;

typedef struct child_filter {
    child_rule rules[CHILD_FILTER_RULES];
    size_t count; /* more than CHILD_FILTER_RULES: overflow */
} child_filter;

void child_filter_deny(child_filter *filter, const int *numbers, size_t count, int error);
/* EPERM if all conditions hold. Not needed for a number that is always denied. */
void child_filter_deny_when(child_filter *filter, int number, const child_when *when, size_t count);
/* Installs the filter permanently, for all threads of this process and its children. Returns 0 or an errno: ENOSYS if
 * kolm does not know the system call numbers of the architecture. */
int child_filter_load(child_filter *filter);

#endif
