/* SPDX-License-Identifier: Apache-2.0 */
/* Why pip failed, from its output: it has one exit status for all failures, and no machine-readable form of them. */
#ifndef KOLM_RUNTIME_PIP_H
#define KOLM_RUNTIME_PIP_H

#include <stdbool.h>

typedef enum runtime_pip_failure {
    RUNTIME_PIP_OTHER,      /* about: the last error that it printed */
    RUNTIME_PIP_OTHER_FILE, /* about: the package with a file whose digest is not the pinned one */
    RUNTIME_PIP_NETWORK,    /* about: the host that did not answer; "" if pip does not name it */
    RUNTIME_PIP_MISSING,    /* about: the package that has no file for this machine */
    RUNTIME_PIP_DISK_FULL,  /* about: "" */
} runtime_pip_failure;

typedef struct runtime_pip_end {
    runtime_pip_failure failure;
    char about[512];
} runtime_pip_end;

/* said: the end of pip's output from a failed installation. online: false if it used only local files, so that messages
 * about the network are meaningless. */
void runtime_pip_read(const char *said, bool online, runtime_pip_end *out_end);

#endif
