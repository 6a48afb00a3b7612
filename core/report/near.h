/* SPDX-License-Identifier: Apache-2.0 */
/* The training rows most similar to a few texts: by their wording, or according to a model. */
#ifndef KOLM_REPORT_NEAR_H
#define KOLM_REPORT_NEAR_H

/*
 * Likeness of two texts: the cosine of their weight vectors. Features are the words and character trigrams of the text
 * after NFKC_Casefold (utf8proc), each counted once; the weight is log((1 + rows) / rows with it) (inverse document
 * frequency: K. Sparck Jones, Journal of Documentation 28(1), 1972). Features are hashed into NEAR_BUCKETS buckets.
 * This compares only the texts, not what a model makes of them. Rows of equal likeness are in the order of the data, so
 * that the same data give the same page.
 *
 * The data are read twice, one row at a time. Memory: 2 MiB, and one row.
 *
 * If a model has its own likeness, core/compile asks it (report_answers.near) about the rows from near_candidates, and
 * near_texts completes its answer.
 */

#include "kolm/kit/status.h"
#include "report/report.h"

#include <signal.h>

#define NEAR_BUCKETS (1u << 18)
#define NEAR_TEXT_BYTES 65536u /* bytes of a text that are used */

typedef struct near_found {
    char *text, *label; /* NULL: fewer rows are near; the caller frees them */
    double likeness;
    uint64_t row; /* its line number, from 1 */
} near_found;

/* path: lines with the texts "input" and "output". found must be zeroed, and has REPORT_NEAR_MAX entries for each of
 * count (at most REPORT_MISTAKES_MAX) texts, filled nearest first. Rows with a likeness of 0 are not near. */
kit_status near_find(const char *path, const char *const *texts, size_t count, const volatile sig_atomic_t *cancel,
                     near_found (*found)[REPORT_NEAR_MAX], kolm_error_t *err) KIT_MUST_USE;
/* Writes {"id","input"} of rows to out_path, id being a row's number: of all rows or, if there are more than `most`, of
 * those most similar to one of the texts, the same number for each text. */
kit_status near_candidates(const char *path, const char *const *texts, size_t count, uint64_t most,
                           const volatile sig_atomic_t *cancel, const char *out_path, kolm_error_t *err) KIT_MUST_USE;
/* Fills in text and label of each found row by its number; removes rows that do not exist. */
kit_status near_texts(const char *path, size_t count, const volatile sig_atomic_t *cancel,
                      near_found (*found)[REPORT_NEAR_MAX], kolm_error_t *err) KIT_MUST_USE;
void near_free(near_found (*found)[REPORT_NEAR_MAX], size_t count);

#endif
