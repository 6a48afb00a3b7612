/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenising and hashing; the tables come from make_unicode.py. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

typedef struct class_range {
    uint32_t first, last;
    int kind;
} class_range;
typedef struct case_range {
    uint32_t first, last, stride;
    int32_t delta;
} case_range;
#include "unicode_table.h"

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])
#define WORD_SEED 0x6B6F6C6D00000001ull
#define CHAR_SEED 0x6B6F6C6D00000002ull
#define USED_WORDS (TEXT_BUCKETS / 64)
#define PAGE_WORDS (USED_WORDS / 64)

text_counts *text_counts_new(void) {
    text_counts *counts = calloc(1, sizeof *counts);
    if (counts == NULL) return NULL;
    for (unsigned f = 0; f < TEXT_FAMILIES; f++) {
        counts->count[f] = calloc(TEXT_BUCKETS, sizeof *counts->count[f]);
        counts->used[f] = calloc(USED_WORDS, sizeof *counts->used[f]);
        counts->page[f] = calloc(PAGE_WORDS, sizeof *counts->page[f]);
        if (counts->count[f] == NULL || counts->used[f] == NULL || counts->page[f] == NULL) {
            text_counts_free(counts);
            return NULL;
        }
    }
    return counts;
}

void text_counts_free(text_counts *counts) {
    if (counts == NULL) return;
    for (unsigned f = 0; f < TEXT_FAMILIES; f++) {
        free(counts->count[f]);
        free(counts->used[f]);
        free(counts->page[f]);
    }
    free(counts->chars);
    free(counts);
}

int text_class(uint32_t code_point) {
    if (code_point < 0x80) {
        uint32_t c = code_point;
        if (c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x1F)) return 3;
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    }
    size_t low = 0, high = COUNT_OF(class_ranges);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code_point > class_ranges[middle].last)
            low = middle + 1;
        else if (code_point < class_ranges[middle].first)
            high = middle;
        else
            return class_ranges[middle].kind;
    }
    return 0;
}

uint32_t text_lower(uint32_t code_point) {
    if (code_point < 0x80) return code_point >= 'A' && code_point <= 'Z' ? code_point + 32 : code_point;
    size_t low = 0, high = COUNT_OF(case_ranges);
    while (low < high) {
        size_t middle = (low + high) / 2;
        const case_range *r = &case_ranges[middle];
        if (code_point > r->last)
            low = middle + 1;
        else if (code_point < r->first)
            high = middle;
        else
            return (code_point - r->first) % r->stride == 0 ? (uint32_t)((int64_t)code_point + r->delta) : code_point;
    }
    return code_point;
}

/* Decodes one code point; anything that is not well formed is U+FFFD with a length of one byte. */
static uint32_t decode(const unsigned char *p, size_t left, size_t *out_length) {
    *out_length = 1;
    if (p[0] < 0x80) return p[0];
    size_t need = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || need > left) return 0xFFFD;
    uint32_t c = p[0] & (0xFFu >> (need + 1));
    for (size_t i = 1; i < need; i++) {
        if ((p[i] & 0xC0) != 0x80) return 0xFFFD;
        c = (c << 6) | (p[i] & 0x3F);
    }
    if ((need == 3 && (c < 0x800 || (c >= 0xD800 && c <= 0xDFFF))) || (need == 4 && (c < 0x10000 || c > 0x10FFFF)))
        return 0xFFFD;
    *out_length = need;
    return c;
}

static inline uint64_t step(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9E3779B97F4A7C15ull;
    return hash ^ (hash >> 32);
}

static inline void add(text_counts *counts, unsigned family, uint64_t hash) {
    uint32_t bucket = (uint32_t)((hash * 0xD6E8FEB86659FD93ull) >> (64 - TEXT_BITS));
    uint16_t *count = &counts->count[family][bucket];
    if (*count == 0) {
        counts->used[family][bucket / 64] |= 1ull << (bucket % 64);
        counts->page[family][bucket / 4096] |= 1ull << (bucket / 64 % 64);
    }
    if (*count < UINT16_MAX) ++*count;
}

typedef struct words {
    uint64_t previous; /* hash of the previous word, 0 at the start */
    uint64_t current;
    int inside;
} words;

static void end_word(text_counts *counts, words *w) {
    if (!w->inside) return;
    add(counts, TEXT_WORDS, w->current);
    if (w->previous != 0) add(counts, TEXT_WORDS, step(step(WORD_SEED, w->previous), w->current));
    w->previous = w->current;
    w->inside = 0;
}

static void word_char(text_counts *counts, words *w, uint32_t c, int kind) {
    if (kind != 1) end_word(counts, w);
    if (kind != 1 && kind != 2) return;
    if (!w->inside) w->current = WORD_SEED;
    w->inside = 1;
    w->current = step(w->current, c);
    if (kind == 2) end_word(counts, w);
}

/* Counts the sequences of 2 to 5 characters of one run, which includes its two blanks. */
static void count_run(text_counts *counts, const uint32_t *run, size_t length) {
    for (size_t i = 0; i + 1 < length; i++) {
        uint64_t hash = step(CHAR_SEED, run[i]);
        size_t end = length - i < 5 ? length - i : 5;
        for (size_t n = 1; n < end; n++) {
            hash = step(hash, run[i + n]);
            add(counts, TEXT_CHARS, hash);
        }
    }
}

static int reserve(text_counts *counts, size_t chars) {
    if (counts->capacity >= chars) return 0;
    uint32_t *grown = realloc(counts->chars, chars * 2 * sizeof *grown);
    if (grown == NULL) return -1;
    counts->chars = grown;
    counts->capacity = chars * 2;
    return 0;
}

int text_count(text_counts *counts, const char *utf8, size_t length, unsigned families) {
    size_t most = length < TEXT_MAX_CHARS ? length : TEXT_MAX_CHARS;
    if (reserve(counts, most + 2) != 0) return -1;
    const unsigned char *p = (const unsigned char *)utf8;
    uint32_t *run = counts->chars;
    size_t run_length = 1;
    words w = {0};
    run[0] = ' ';
    for (size_t seen = 0; length > 0 && seen < TEXT_MAX_CHARS; seen++) {
        size_t bytes;
        uint32_t c = text_lower(decode(p, length, &bytes));
        int kind = text_class(c);
        p += bytes;
        length -= bytes;
        if (families & 1u) word_char(counts, &w, c, kind);
        if (kind != 3) {
            run[run_length++] = c;
        } else if (run_length > 1) {
            run[run_length++] = ' ';
            if (families & 2u) count_run(counts, run, run_length);
            run_length = 1;
        }
    }
    end_word(counts, &w);
    if (run_length > 1) {
        run[run_length++] = ' ';
        if (families & 2u) count_run(counts, run, run_length);
    }
    return 0;
}

int text_next(text_counts *counts, unsigned family, uint32_t *position, uint32_t *out_bucket, uint32_t *out_count) {
    uint64_t *used = counts->used[family], *page = counts->page[family];
    uint32_t i = *position;
    while (i < PAGE_WORDS && page[i] == 0)
        i++;
    *position = i;
    if (i == PAGE_WORDS) return 0;
    uint32_t at = i * 64 + (uint32_t)__builtin_ctzll(page[i]);
    uint32_t bucket = at * 64 + (uint32_t)__builtin_ctzll(used[at]);
    used[at] &= used[at] - 1;
    if (used[at] == 0) page[i] &= page[i] - 1;
    *out_bucket = bucket;
    *out_count = counts->count[family][bucket];
    counts->count[family][bucket] = 0;
    return 1;
}
