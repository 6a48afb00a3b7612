/* SPDX-License-Identifier: Apache-2.0 */
/* Properties and mappings of single code points, as in the tokenizers library. */
#ifndef LOCAL_CPU_ENCODER_TOKEN_UNICODE_H
#define LOCAL_CPU_ENCODER_TOKEN_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    POINT_WHITE = 1u << 0,       /* white space */
    POINT_CLEANED = 1u << 1,     /* control and format characters that BertNormalizer removes */
    POINT_NONSPACING = 1u << 2,  /* category Mn */
    POINT_PUNCTUATION = 1u << 3, /* category P, and ASCII's symbols */
    POINT_MARK = 1u << 4,        /* category M */
    POINT_NUMERIC = 1u << 5,
    POINT_WORD = 1u << 6,       /* \w of regular expressions */
    POINT_LOWERS = 1u << 7,     /* has a lower case */
    POINT_CANONICAL = 1u << 8,  /* has a canonical decomposition; not for Hangul */
    POINT_COMPATIBLE = 1u << 9, /* has a compatibility decomposition that differs */
    POINT_ORDERED = 1u << 10,   /* has a combining class: moves when text is normalised */
    POINT_CLUSTER_SHIFT = 11,   /* the bits from here on: one of CLUSTER_* */
};

/* Roles in a grapheme cluster (UAX 29, with Indic conjuncts). Regional indicators are OTHER: a cluster of two has eight
 * bytes, and only clusters of fewer than six are looked up as a whole. */
enum {
    CLUSTER_OTHER,
    CLUSTER_CONTROL,
    CLUSTER_CR,
    CLUSTER_LF,
    CLUSTER_EXTEND,
    CLUSTER_EXTEND_INCB,
    CLUSTER_LINKER,
    CLUSTER_ZWJ,
    CLUSTER_SPACING,
    CLUSTER_PREPEND,
    CLUSTER_L,
    CLUSTER_V,
    CLUSTER_T,
    CLUSTER_LV,
    CLUSTER_LVT,
    CLUSTER_PICTURE,
    CLUSTER_CONSONANT,
};

extern const uint16_t point_blocks[8704];
extern const uint16_t point_flags[];
extern const char token_tables_release[];

static inline unsigned point_what(uint32_t point) {
    return point_flags[(size_t)point_blocks[point >> 7] << 7 | (point & 127u)];
}

#define POINT_LONGEST 18 /* maximum length of a decomposition, in code points */

/* Writes the lower case of a point, one or two points, to out; returns their number. */
size_t point_lower(uint32_t point, uint32_t out[2]);
/* Writes the decomposition of a point to out, or the point if it has none; returns the length. compatible: NFKD, else
 * NFD. */
size_t point_decompose(uint32_t point, bool compatible, uint32_t out[POINT_LONGEST]);
/* The canonical combining class, 0 for most. */
unsigned point_order(uint32_t point);
/* The one point that the two compose to, or 0. */
uint32_t point_compose(uint32_t first, uint32_t second);

#endif
