/* SPDX-License-Identifier: Apache-2.0 */
/* A program for the kernel that says which system calls this process may not make. */
#ifndef KOLM_HOST_CHILD_FILTER_H
#define KOLM_HOST_CHILD_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Written here and not by libseccomp: a filter is made anew in each process of a backend, where that library costs more
 * time than the rest of the fence, and it knows no call by name that is younger than itself. */

#define CHILD_FILTER_RULES 160
#define CHILD_FILTER_WHEN 2

/* What an argument has to be for a call to be denied. Without `wide` its lower half counts, which is all that the
 * kernel looks at in an int. */
typedef struct child_when {
    unsigned argument;
    bool differs; /* denied when it is another value */
    bool wide;    /* a pointer: denied when it is not null */
    uint32_t mask, value;
} child_when;

typedef struct child_rule {
    uint32_t number, error;
    child_when when[CHILD_FILTER_WHEN];
    size_t when_count;
} child_rule;

typedef struct child_filter {
    child_rule rules[CHILD_FILTER_RULES];
    size_t count; /* more than CHILD_FILTER_RULES: they did not fit */
} child_filter;

void child_filter_deny(child_filter *filter, const int *numbers, size_t count, int error);
/* EPERM when all of `when` is so. A number that is denied anyway needs none. */
void child_filter_deny_when(child_filter *filter, int number, const child_when *when, size_t count);
/* For all threads of this process and what it starts, for good. Gives 0, or an errno: ENOSYS where kolm does not know
 * the numbers of the processor. */
int child_filter_load(child_filter *filter);

#endif
