/* SPDX-License-Identifier: Apache-2.0 */
/* Scans a large JSON text in one pass; the kit's walk would scan a vocabulary once for each bracket around it. */
#ifndef LOCAL_CPU_ENCODER_JSON_SCAN_H
#define LOCAL_CPU_ENCODER_JSON_SCAN_H

#include "kolm/kit/json.h"

typedef struct json_scan {
    const char *p, *end, *start;
    kit_buf text; /* of strings with escapes */
} json_scan;

/* Returns the next byte that is not blank, without consuming it; 0 at the end. */
static inline char scan_peek(json_scan *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
    return s->p < s->end ? *s->p : '\0';
}
/* Consumes this byte if it is the next one. */
static inline bool scan_take(json_scan *s, char c) {
    if (scan_peek(s) != c) return false;
    s->p++;
    return true;
}
/* Reads a string: *out points into the JSON, or into s->text until the next call. False if there is no valid string. */
bool scan_string(json_scan *s, const char **out, size_t *out_length);
/* Skips any value and returns its bytes; only checks that brackets and strings match. */
bool scan_value(json_scan *s, const char **out, size_t *out_length);
/* Reads the key of the next member of an object; the value is next. Set *first to true before the first one. False at
 * the end (*out_fine true), or on a syntax error (*out_fine false). */
bool scan_member(json_scan *s, bool *first, const char **out_key, size_t *out_length, bool *out_fine);
/* Reads an unsigned integer below 2^31. */
bool scan_id(json_scan *s, uint32_t *out);
/* Reads a number like serde_json, whose last bit is not always correctly rounded: digits in 64 bits, multiplied or
 * divided by a power of ten. False if it is invalid or infinite. */
bool scan_number(json_scan *s, double *out);

#endif
