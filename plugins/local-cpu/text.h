/* SPDX-License-Identifier: Apache-2.0 */
/* From UTF-8 text to hashed counts of word 1-2-grams and character 2-5-grams. */
#ifndef LOCAL_CPU_TEXT_H
#define LOCAL_CPU_TEXT_H

#include <stddef.h>
#include <stdint.h>

/*
 * Text is lower-cased code point by code point (simple mapping of Unicode 14). Family 0, words: runs of letters,
 * marks and digits; each Han character or kana is a word, because those scripts have no blanks between words; one-
 * and two-word sequences. Family 1, characters: sequences of 2 to 5 code points inside each run between white space,
 * with a blank added at both ends, so that the start and the end of a word are visible. Each is hashed into
 * TEXT_BUCKETS of its family. Only the first TEXT_MAX_CHARS code points of a text are used. Each byte that is not UTF-8
 * counts as U+FFFD.
 */
#define TEXT_FAMILIES 2
#define TEXT_WORDS 0
#define TEXT_CHARS 1
#define TEXT_BITS 20
#define TEXT_BUCKETS (1u << TEXT_BITS)
#define TEXT_MAX_CHARS 65536u

/* The counts of one text, reused from text to text; one thread at a time. */
typedef struct text_counts {
    uint16_t *count[TEXT_FAMILIES]; /* TEXT_BUCKETS each, saturating */
    uint64_t *used[TEXT_FAMILIES];  /* bit set of the non-zero ones */
    uint64_t *page[TEXT_FAMILIES];  /* bit set of the words of used that are not zero */
    uint32_t *chars;                /* the text, lower-cased; white space is ' ' */
    size_t capacity;
} text_counts;

/* NULL if out of memory. */
text_counts *text_counts_new(void);
void text_counts_free(text_counts *counts);

/* Counts the text; counts must be empty (new, or drained by text_next). families: bit 0 words, bit 1 characters.
 * Returns 0, or -1 if out of memory (counts stay empty). */
int text_count(text_counts *counts, const char *utf8, size_t length, unsigned families);

/* Removes the next bucket of the family, in ascending order, from counts. The caller must set position to 0 at first.
 * Returns 0 if none is left. */
int text_next(text_counts *counts, unsigned family, uint32_t *position, uint32_t *out_bucket, uint32_t *out_count);

/* For tests: the lower case and the class (0 separator, 1 part of a word, 2 a whole word, 3 white space). */
uint32_t text_lower(uint32_t code_point);
int text_class(uint32_t code_point);

#endif
