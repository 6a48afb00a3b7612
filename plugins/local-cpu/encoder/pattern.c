/* SPDX-License-Identifier: Apache-2.0 */
/* The patterns of Replace and Split: a text, or one character or class of characters, repeated. */
#include "tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

/* ---- Searching */

static bool in_class(const pattern *p, uint32_t point) {
    bool found = p->spaces && (point_what(point) & POINT_WHITE) != 0;
    for (uint32_t i = 0; i < p->count && !found; i++)
        found = p->points[i] == point;
    return found != p->inverted;
}

static bool find_run(const pattern *p, const glyph *g, size_t count, size_t from, size_t *out_start, size_t *out_end) {
    for (size_t i = from; i < count;) {
        size_t end = i;
        while (end < count && end - i < p->most && in_class(p, g[end].point))
            end++;
        if (end - i >= p->least) {
            *out_start = i;
            *out_end = end;
            return true;
        }
        i = end + 1;
    }
    return false;
}

bool pattern_find(const pattern *p, const glyph *g, size_t count, size_t from, size_t *out_start, size_t *out_end) {
    if (p->repeated) return find_run(p, g, count, from, out_start, out_end);
    for (size_t i = from; i + p->count <= count; i++) {
        uint32_t k = 0;
        while (k < p->count && g[i + k].point == p->points[k])
            k++;
        if (k < p->count) continue;
        *out_start = i;
        *out_end = i + k;
        return true;
    }
    return false;
}

void pattern_free(pattern *p) {
    free(p->points);
    *p = (pattern){0};
}

/* ---- Reading a regular expression of the supported kind */

typedef struct reader {
    const uint32_t *at, *end;
    pattern *p;
} reader;

static bool is_special(uint32_t c) {
    return c < 0x80 && c != 0 && strchr("\\^$.|?*+()[]{}", (int)c) != NULL;
}

/* Reads an escape, after its backslash. */
static bool read_escape(reader *r) {
    if (r->at == r->end) return false;
    uint32_t c = *r->at++;
    if (c == 's') {
        r->p->spaces = true;
        return true;
    }
    c = c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c;
    if (c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) return false;
    r->p->points[r->p->count++] = c;
    return true;
}

static bool read_class(reader *r) {
    if (r->at < r->end && *r->at == '^') {
        r->p->inverted = true;
        r->at++;
    }
    const uint32_t *first = r->at;
    while (r->at < r->end && *r->at != ']') {
        uint32_t c = *r->at++;
        if (c == '[' || c == '&' || c == '-' || c == '^') return false; /* no ranges or set operations */
        if (c != '\\')
            r->p->points[r->p->count++] = c;
        else if (!read_escape(r))
            return false;
    }
    if (r->at == r->end || r->at == first) return false;
    r->at++;
    return true;
}

static bool read_number(reader *r, uint32_t *out) {
    const uint32_t *first = r->at;
    for (*out = 0; r->at < r->end && *r->at >= '0' && *r->at <= '9' && *out < 10000; r->at++)
        *out = *out * 10 + (*r->at - '0');
    return r->at > first && *out <= 10000;
}

/* Reads "+", "{2}", "{2,}", "{2,5}" or nothing. */
static bool read_times(reader *r) {
    pattern *p = r->p;
    p->least = p->most = 1;
    if (r->at == r->end) return true;
    uint32_t c = *r->at++;
    if (c == '+') {
        p->most = UINT32_MAX;
    } else {
        if (c != '{' || !read_number(r, &p->least) || p->least == 0 || r->at == r->end) return false;
        p->most = p->least;
        if (*r->at == ',') {
            r->at++;
            p->most = UINT32_MAX;
            if (r->at < r->end && *r->at != '}' && (!read_number(r, &p->most) || p->most < p->least)) return false;
        }
        if (r->at == r->end || *r->at++ != '}') return false;
    }
    return r->at == r->end;
}

static bool read_expression(const uint32_t *points, uint32_t count, pattern *p) {
    uint32_t plain = 0;
    while (plain < count && !is_special(points[plain]))
        plain++;
    if (plain == count) { /* a plain text */
        memcpy(p->points, points, count * sizeof *points);
        p->count = count;
        return count > 0;
    }
    reader r = {points, points + count, p};
    p->repeated = true;
    uint32_t c = *r.at++;
    if (c == '[') return read_class(&r) && read_times(&r);
    if (c == '\\') return read_escape(&r) && read_times(&r);
    if (is_special(c)) return false;
    p->points[p->count++] = c;
    return read_times(&r);
}

kit_status pattern_read(const cJSON *value, const char *where, pattern *out, kolm_error_t *err) {
    const char *text = NULL;
    uint32_t *points = NULL, count = 0;
    bool expression = kit_json_get_string(value, "Regex", &text);
    if (!expression && !kit_json_get_string(value, "String", &text))
        return tokenizer_damaged(err, "tokenizer.json: the pattern of %s is neither a String nor a Regex", where);
    KIT_TRY(tokenizer_points(text, &points, &count, err));
    if (!expression) {
        out->points = points;
        out->count = count;
        return count > 0 ? KOLM_OK : tokenizer_refuse(err, "tokenizer.json: %s has an empty pattern", where);
    }
    out->points = malloc(((size_t)count + 1) * sizeof *out->points);
    bool known = out->points != NULL && read_expression(points, count, out);
    free(points);
    if (out->points == NULL) return tokenizer_no_memory(err);
    return known ? KOLM_OK
                 : tokenizer_refuse(
                       err, "tokenizer.json: %s has a regular expression that the encoder recipe does not read: %s",
                       where, text);
}
