/* SPDX-License-Identifier: Apache-2.0 */
/* The Python children of `kolm compute setup`: one verb of driver.py at a time, never through a shell. */
#ifndef KOLM_RUNTIME_CHILD_H
#define KOLM_RUNTIME_CHILD_H

#include "session/session.h"

typedef struct runtime_child_run {
    const char *python;                /* absolute */
    const char *const *words;          /* the verb and its words, NULL ended */
    bool reach;                        /* reach.py instead of driver.py: the words are URLs */
    const char *temporary;             /* TMPDIR of the child; NULL: /tmp */
    const volatile sig_atomic_t *stop; /* non-zero: end the child */
    int lock_fd; /* inherited by the child, so that the lock is held as long as it lives; -1: none */
    void (*on_line)(void *user, const char *line); /* each line that it prints, answer not included; may be NULL */
    void *user;
} runtime_child_run;

/* Runs it to its end. It gets an environment of its own: PATH, HOME, what the user set for proxies and certificates,
 * and no configuration of pip. When kolm dies, however it dies, the child and all of its group die with it.
 * out_answer gets the JSON that it answered with; the caller frees it; NULL when it ended with another status than 0.
 * out_said gets the end of what it printed (the last 256 kB). CANCELLED when *stop was set: the child has then
 * been asked to end, and killed when it did not. */
kit_status runtime_child(const runtime_child_run *run, cJSON **out_answer, kit_buf *out_said,
                         kolm_error_t *err) KIT_MUST_USE;

/* The first of NAME in the absolute directories of PATH that can be run; NULL when there is none. The caller frees it.
 */
char *runtime_child_search(const char *name);

#endif
