/* SPDX-License-Identifier: Apache-2.0 */
/* A key of the normalised text, and a sketch for finding similar texts. */
#ifndef KOLM_JOB_FINGERPRINT_H
#define KOLM_JOB_FINGERPRINT_H

/*
 * The normalised text: Unicode's compatibility decomposition (NFKD, UAX #15) with full case folding and without
 * default-ignorable characters, by utf8proc. Apostrophes and modifier symbols (category Sk) are removed; any other
 * punctuation, white space and control characters become one blank between words. Letters, marks, digits and other
 * symbols ("C++", "5 < 6", emoji) stay. The key of a text with only punctuation is that of its own bytes.
 *
 * The sketch: one permutation hashing of the text's set of shingles, 5 bytes each, with the ends padded by four zeros
 * so that each byte is in five of them (P. Li, A. B. Owen, C.-H. Zhang: One Permutation Hashing, NIPS 2012). Of two
 * texts, the share of bins that agree among those that are not empty in both estimates the Jaccard index of the sets
 * (their formula 8); what is compared is the low bits of each minimum (P. Li, A. C. Koenig: b-Bit Minwise Hashing,
 * WWW 2010), here 8 of them. Candidates are found by 8 bands of 4 values (J. Leskovec, A. Rajaraman, J. Ullman: Mining
 * of Massive Datasets, 3.4), an empty bin borrowing the next one's value (A. Shrivastava, P. Li: Densifying One
 * Permutation Hashing, ICML 2014): texts with an index of 0.7 share a band in about 9 of 10 cases, of 0.85 in 99 of
 * 100.
 *
 * The hashes are not keyed: the same text must get the same sketch everywhere. An attacker who constructs collisions
 * can only put the texts into one group.
 */

#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"

#include <stdint.h>

/* Shorter normalised texts have no sketch, because a single word is too large a part of them. With four more shingles
 * than bytes, texts of this size with one byte changed have an index of 0.8, with one word of five letters 0.6. */
#define JOB_NEAR_MIN_BYTES 40u
#define JOB_SKETCH_BYTES 64u
#define JOB_BANDS 8u

typedef struct job_fingerprint {
    uint64_t key[2]; /* equal for texts whose normalised texts are equal: 128 bits of SHA-256 */
    uint64_t bytes;  /* of the normalised text */
    /* Only if bytes >= JOB_NEAR_MIN_BYTES. */
    uint8_t sketch[JOB_SKETCH_BYTES]; /* 0: the bin is empty */
    uint64_t bands[JOB_BANDS];
} job_fingerprint;

/* text must be UTF-8. text_key: the first 16 bytes of the text's own SHA-256, which is also its key if it is already
 * normalised. Uses 20 KB of stack for any length. */
kit_status job_fingerprint_text(kit_sha256 *sha, const char *text, size_t length, const uint64_t text_key[2],
                                job_fingerprint *out, kolm_error_t *err) KIT_MUST_USE;

/* The estimate of the Jaccard index in per cent. */
unsigned job_sketch_likeness(const uint8_t a[JOB_SKETCH_BYTES], const uint8_t b[JOB_SKETCH_BYTES]);

/* The key of a label, equal for labels that differ only in case, Unicode form or blanks: as above, but with
 * punctuation. text_key as above. */
kit_status job_label_key(kit_sha256 *sha, const char *text, size_t length, const uint64_t text_key[2], uint64_t *out,
                         kolm_error_t *err) KIT_MUST_USE;
/* The label without white space and invisible characters around it. */
void job_label_trim(const char **text, size_t *length);

#endif
