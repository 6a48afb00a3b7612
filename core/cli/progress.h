/* SPDX-License-Identifier: Apache-2.0 */
/* Progress of current work: the line that is rewritten, or held back. */
#ifndef KOLM_CLI_PROGRESS_H
#define KOLM_CLI_PROGRESS_H

#include <stdint.h>

typedef struct cli_progress {
    const char *label;  /* "[trainer]"; printed first, padded to the seed's column */
    int64_t started_ms; /* monotonic; set by the first update */
    int64_t printed_ms;
    char phase[64];
    char held[256]; /* on a pipe: a line held back until its time, or the end */
} cli_progress;

#endif
