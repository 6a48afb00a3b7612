/* SPDX-License-Identifier: Apache-2.0 */
/* What is shown of work that goes on: the line that is rewritten, or waits. */
#ifndef KOLM_CLI_PROGRESS_H
#define KOLM_CLI_PROGRESS_H

#include <stdint.h>

typedef struct cli_progress {
    const char *label;  /* "[trainer]"; printed first, padded to the seed's column */
    int64_t started_ms; /* monotonic; set by the first update */
    int64_t printed_ms;
    char phase[64];
    char held[256]; /* on a pipe: a line that waits for its time, or for the end */
} cli_progress;

#endif
