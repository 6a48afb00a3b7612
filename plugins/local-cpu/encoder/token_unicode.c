/* SPDX-License-Identifier: Apache-2.0 */
/* Look-ups in the tables of token_tables.h, which make_token_tables.py writes. */
#include "token_unicode.h"

typedef struct case_run {
    uint32_t first, last, stride, delta;
} case_run;
typedef struct composed_pair {
    uint32_t first, second, both;
} composed_pair;
#include "token_tables.h"

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])
#define HANGUL 0xAC00u
#define HANGUL_COUNT 11172u
#define LEADS 0x1100u
#define VOWELS 0x1161u
#define TAILS 0x11A7u

const char token_tables_release[] = TOKEN_TABLES;

/* The index of a point in a sorted table, or its count. */
static size_t place_of(uint32_t point, const uint32_t *points, size_t count) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (points[middle] < point)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && points[low] == point ? low : count;
}

static size_t take(uint32_t place, uint32_t *out) {
    size_t count = place & 0xFFu;
    for (size_t i = 0; i < count; i++)
        out[i] = mapped_points[(place >> 8) + i];
    return count;
}

size_t point_lower(uint32_t point, uint32_t out[2]) {
    out[0] = point;
    if ((point_what(point) & POINT_LOWERS) == 0) return 1;
    size_t at = place_of(point, long_lower_points, COUNT_OF(long_lower_points));
    if (at < COUNT_OF(long_lower_points)) return take(long_lower_places[at], out);
    size_t low = 0, high = COUNT_OF(case_runs);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (case_runs[middle].last < point)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < COUNT_OF(case_runs) && case_runs[low].first <= point) out[0] = point + case_runs[low].delta;
    return 1;
}

size_t point_decompose(uint32_t point, bool compatible, uint32_t out[POINT_LONGEST]) {
    unsigned what = point_what(point);
    out[0] = point;
    if (point - HANGUL < HANGUL_COUNT) {
        uint32_t place = point - HANGUL;
        out[0] = LEADS + place / 588;
        out[1] = VOWELS + place % 588 / 28;
        out[2] = TAILS + place % 28;
        return place % 28 == 0 ? 2 : 3;
    }
    if (compatible && (what & POINT_COMPATIBLE) != 0)
        return take(compatible_places[place_of(point, compatible_points, COUNT_OF(compatible_points))], out);
    if ((what & POINT_CANONICAL) == 0) return 1;
    return take(canonical_places[place_of(point, canonical_points, COUNT_OF(canonical_points))], out);
}

unsigned point_order(uint32_t point) {
    if ((point_what(point) & POINT_ORDERED) == 0) return 0;
    return order_classes[place_of(point, order_points, COUNT_OF(order_points))];
}

uint32_t point_compose(uint32_t first, uint32_t second) {
    if (second < 0x300) return 0;
    if (first - LEADS < 19 && second - VOWELS < 21) return HANGUL + ((first - LEADS) * 21 + (second - VOWELS)) * 28;
    if (first - HANGUL < HANGUL_COUNT && (first - HANGUL) % 28 == 0 && second - TAILS - 1 < 27)
        return first + (second - TAILS);
    size_t low = 0, high = COUNT_OF(composed_pairs);
    while (low < high) {
        size_t middle = (low + high) / 2;
        const composed_pair *p = &composed_pairs[middle];
        if (p->first == first && p->second == second) return p->both;
        if (p->first < first || (p->first == first && p->second < second))
            low = middle + 1;
        else
            high = middle;
    }
    return 0;
}
