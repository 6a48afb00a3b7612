/* SPDX-License-Identifier: Apache-2.0 */
/* The training rows most similar to a few texts: by what they read alike, or as a model says. */
#ifndef KOLM_REPORT_NEAR_H
#define KOLM_REPORT_NEAR_H

/*
 * Likeness of two texts: the cosine of their weights, a weight for each word and each three characters in a row of the
 * text after NFKC_Casefold (utf8proc), whether it occurs once or often; the weight is log((1 + rows) / rows with it)
 * (inverse document frequency: K. Sparck Jones, Journal of Documentation 28(1), 1972). Features are hashed into
 * NEAR_BUCKETS places and counted there. It is about the texts alone: what a model makes of them is its own. Of rows
 * that are as near as each other the first stands first, so that the same data make the same page.
 *
 * The data are read twice, one row at a time. Memory: 2 MiB, and what one row needs.
 *
 * A model that has a likeness of its own is asked by core/compile (report_answers.near), about the rows of
 * near_candidates, and its answer completed by near_texts.
 */

#include "kolm/kit/status.h"
#include "report/report.h"

#include <signal.h>

#define NEAR_BUCKETS (1u << 18)
#define NEAR_TEXT_BYTES 65536u /* of a text that are looked at */

typedef struct near_found {
    char *text, *label; /* NULL: fewer rows were near; the caller frees them */
    double likeness;
    uint64_t row; /* its number among the lines, from 1 */
} near_found;

/* path: lines with the texts "input" and "output". found has REPORT_NEAR_MAX places for each of count (at most
 * REPORT_MISTAKES_MAX) texts, zero at first, the nearest first. Rows with a likeness of 0 are not near. */
kit_status near_find(const char *path, const char *const *texts, size_t count, const volatile sig_atomic_t *cancel,
                     near_found (*found)[REPORT_NEAR_MAX], kolm_error_t *err) KIT_MUST_USE;
/* Writes {"id","input"} of rows to out_path, id being a row's number: of all of them, or if they are more than `most`,
 * of those that read most like one of the texts, as many for each text. */
kit_status near_candidates(const char *path, const char *const *texts, size_t count, uint64_t most,
                           const volatile sig_atomic_t *cancel, const char *out_path, kolm_error_t *err) KIT_MUST_USE;
/* Fills in text and label of what was found by its row; a row that is not there is left out. */
kit_status near_texts(const char *path, size_t count, const volatile sig_atomic_t *cancel,
                      near_found (*found)[REPORT_NEAR_MAX], kolm_error_t *err) KIT_MUST_USE;
void near_free(near_found (*found)[REPORT_NEAR_MAX], size_t count);

#endif
