/* SPDX-License-Identifier: Apache-2.0 */
/* Bad rows that were left out: the first ones in full, all of them by kind. */
#include "job/internal.h"

#include <string.h>

#define OTHER_KINDS "other kinds"

void job_count_bad(job_summary *summary, const job_fault *fault, const char *text) {
    if (summary->bad_rows < JOB_BAD_EXAMPLES)
        kit_copy(summary->bad_examples[summary->bad_rows], sizeof summary->bad_examples[0], text);
    summary->bad_rows++;
    const char *kind = fault->kind[0] != '\0' ? fault->kind : OTHER_KINDS;
    size_t i = 0;
    while (i < summary->bad_kind_count && strcmp(summary->bad_kinds[i].text, kind) != 0)
        i++;
    if (i == summary->bad_kind_count && i < JOB_BAD_KINDS) {
        kit_copy(summary->bad_kinds[i].text, sizeof summary->bad_kinds[i].text,
                 i + 1 < JOB_BAD_KINDS ? kind : OTHER_KINDS);
        summary->bad_kind_count++;
    }
    summary->bad_kinds[i < JOB_BAD_KINDS ? i : JOB_BAD_KINDS - 1].rows++;
}
