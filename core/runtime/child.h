/* SPDX-License-Identifier: Apache-2.0 */
/* The Python children of `kolm compute setup`: one verb of driver.py at a time, never through a shell. */
#ifndef KOLM_RUNTIME_CHILD_H
#define KOLM_RUNTIME_CHILD_H

#include "session/session.h"

typedef struct runtime_child_run {
    const char *python;                /* absolute */
    const char *const *words;          /* the verb and its arguments, NULL-terminated */
    bool reach;                        /* run reach.py instead of driver.py: the words are URLs */
    const char *temporary;             /* TMPDIR of the child; NULL: /tmp */
    const volatile sig_atomic_t *stop; /* non-zero: end the child */
    int lock_fd; /* inherited by the child, so that the lock is held as long as it lives; -1: none */
    void (*on_line)(void *user, const char *line); /* each line that it prints, answer not included; may be NULL */
    void *user;
} runtime_child_run;

/* Runs the child until it exits. Its environment has only PATH, HOME, and the user's settings of proxies and
 * certificates, but no configuration of pip. If kolm dies for any reason, the child and its process group die, too.
 * out_answer: its JSON answer, which the caller must free; NULL if its exit status was not 0. out_said: the end of its
 * output (the last 256 kB). CANCELLED if *stop was set: the child was asked to exit, and killed if it did not. */
kit_status runtime_child(const runtime_child_run *run, cJSON **out_answer, kit_buf *out_said,
                         kolm_error_t *err) KIT_MUST_USE;

/* Searches the absolute directories of PATH for an executable `name`; NULL if there is none. The caller frees the path.
 * */
char *runtime_child_search(const char *name);

#endif
