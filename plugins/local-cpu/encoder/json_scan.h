/* SPDX-License-Identifier: Apache-2.0 */
/* One pass over a large JSON text: where the kit's walk would go over a vocabulary once for each bracket around it. */
#ifndef LOCAL_CPU_ENCODER_JSON_SCAN_H
#define LOCAL_CPU_ENCODER_JSON_SCAN_H

#include "kolm/kit/json.h"

typedef struct json_scan {
    const char *p, *end, *start;
    kit_buf text; /* of strings with escapes */
} json_scan;

/* The next byte that is no blank, not taken; 0 at the end. */
static inline char scan_peek(json_scan *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
    return s->p < s->end ? *s->p : '\0';
}
/* Takes this byte if it is the next one. */
static inline bool scan_take(json_scan *s, char c) {
    if (scan_peek(s) != c) return false;
    s->p++;
    return true;
}
/* A string's text: in the JSON itself, or in s->text until the next. False if there is none, or it is not a valid
 * string. */
bool scan_string(json_scan *s, const char **out, size_t *out_length);
/* Any value, as its bytes: brackets and strings are matched, no more is checked. */
bool scan_value(json_scan *s, const char **out, size_t *out_length);
/* The members of an object one after the other. *first is true before the first one. False at the end and for what is
 * no member; then *out_fine says which. The value is next. */
bool scan_member(json_scan *s, bool *first, const char **out_key, size_t *out_length, bool *out_fine);
/* A whole number without sign below 2^31. */
bool scan_id(json_scan *s, uint32_t *out);
/* A number as serde_json reads it, whose last bit is not always that of the nearest one: digits into 64 bits, times or
 * by a power of ten. False for what is none, or infinite. */
bool scan_number(json_scan *s, double *out);

#endif
