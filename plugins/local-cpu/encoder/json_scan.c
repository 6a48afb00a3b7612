/* SPDX-License-Identifier: Apache-2.0 */
/* Scans strings, numbers and brackets of a large JSON text in one pass. */
#include "json_scan.h"

#include <string.h>

/* ---- Strings */

static int hex_of(const char *p) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

static void put_point(kit_buf *out, unsigned point) {
    if (point < 0x80) {
        kit_buf_char(out, (char)point);
        return;
    }
    if (point < 0x800) {
        kit_buf_char(out, (char)(0xC0 | point >> 6));
    } else {
        if (point < 0x10000) kit_buf_char(out, (char)(0xE0 | point >> 12));
        if (point >= 0x10000) kit_buf_char(out, (char)(0xF0 | point >> 18));
        if (point >= 0x10000) kit_buf_char(out, (char)(0x80 | (point >> 12 & 0x3F)));
        kit_buf_char(out, (char)(0x80 | (point >> 6 & 0x3F)));
    }
    kit_buf_char(out, (char)(0x80 | (point & 0x3F)));
}

/* p: after "\u". Rejects half of a surrogate pair without the other. */
static const char *put_escaped(kit_buf *out, const char *p, const char *end) {
    int high = end - p >= 4 ? hex_of(p) : -1, low = 0;
    if (high < 0 || (high >= 0xDC00 && high <= 0xDFFF)) return NULL;
    p += 4;
    if (high >= 0xD800 && high <= 0xDBFF) {
        if (end - p < 6 || p[0] != '\\' || p[1] != 'u' || (low = hex_of(p + 2)) < 0xDC00 || low > 0xDFFF) return NULL;
        p += 6;
        high = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    }
    put_point(out, (unsigned)high);
    return p;
}

static bool unescape(json_scan *s, const char *from, const char **out, size_t *out_length) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    kit_buf_clear(&s->text);
    const char *p = from;
    while (p < s->end && *p != '"') {
        if ((unsigned char)*p < 0x20) return false;
        if (*p != '\\') {
            kit_buf_char(&s->text, *p++);
            continue;
        }
        if (++p == s->end) return false;
        const char *letter = *p != '\0' ? strchr(letters, *p) : NULL;
        if (letter != NULL)
            kit_buf_char(&s->text, meanings[letter - letters]), p++;
        else if (*p != 'u' || (p = put_escaped(&s->text, p + 1, s->end)) == NULL)
            return false;
    }
    if (p >= s->end || s->text.failed) return false;
    s->p = p + 1;
    *out = kit_buf_text(&s->text);
    *out_length = s->text.length;
    return true;
}

/* Returns the first byte that ends a string, begins an escape or is not allowed in a string; end if there is none. */
static const char *find_special(const char *p, const char *end) {
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (uint64_t word; end - p >= 8; p += 8) {
        memcpy(&word, p, 8);
        /* Sets the top bit of each byte that is less than the subtrahend. Only the lowest such bit is exact, because
         * the bytes above it may be affected by a borrow. */
        const uint64_t quote = word ^ ones * '"', slash = word ^ ones * '\\';
        const uint64_t found =
            (((word - ones * 0x20) & ~word) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash)) & tops;
        if (found != 0) return p + __builtin_ctzll(found) / 8;
    }
#endif
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
        p++;
    return p;
}

bool scan_string(json_scan *s, const char **out, size_t *out_length) {
    if (!scan_take(s, '"')) return false;
    const char *from = s->p;
    const char *p = find_special(from, s->end);
    if (p < s->end && *p == '\\') return unescape(s, from, out, out_length);
    if (p >= s->end || *p != '"') return false;
    *out = from;
    *out_length = (size_t)(p - from);
    s->p = p + 1;
    return true;
}

/* ---- Values */

bool scan_value(json_scan *s, const char **out, size_t *out_length) {
    size_t depth = 0;
    scan_peek(s);
    *out = s->p;
    do {
        char c = scan_peek(s);
        if (c == '\0') return false;
        if (c == '"') {
            for (s->p++; s->p < s->end && *s->p != '"'; s->p++)
                if (*s->p == '\\') s->p++;
            if (s->p >= s->end) return false;
            s->p++;
        } else if (c == '{' || c == '[') {
            depth++;
            s->p++;
        } else if (c == '}' || c == ']') {
            if (depth == 0) return false;
            depth--;
            s->p++;
        } else if (c == ',' || c == ':') {
            if (depth == 0) return false;
            s->p++;
        } else {
            while (s->p < s->end && memchr(" \n\r\t,:]}[{\"", *s->p, 11) == NULL)
                s->p++;
        }
    } while (depth > 0);
    *out_length = (size_t)(s->p - *out);
    return *out_length > 0;
}

bool scan_member(json_scan *s, bool *first, const char **out_key, size_t *out_length, bool *out_fine) {
    *out_fine = true;
    if (scan_take(s, '}')) return false;
    *out_fine = (*first || scan_take(s, ',')) && scan_string(s, out_key, out_length) && scan_take(s, ':');
    *first = false;
    return *out_fine;
}

/* ---- Numbers */

static bool is_digit(const json_scan *s) {
    return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

bool scan_id(json_scan *s, uint32_t *out) {
    uint64_t value = 0;
    scan_peek(s);
    const char *const from = s->p, *p = from, *const most = s->end - from > 10 ? from + 10 : s->end;
    for (unsigned digit; p < most && (digit = (unsigned)(unsigned char)*p - '0') < 10; p++)
        value = value * 10 + digit;
    s->p = p;
    *out = (uint32_t)value;
    if (p == from || value > INT32_MAX || is_digit(s) || (*from == '0' && p - from > 1)) return false;
    return p < s->end && *p != '.' && *p != 'e' && *p != 'E';
}

/* Computes significand * 10^exponent with the same one or two roundings as the library. */
static bool scale(uint64_t significand, int64_t exponent, double *out) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10,
                                    1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21,
                                    1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28, 1e29, 1e30, 1e31};
    const int64_t known = (int64_t)(sizeof powers / sizeof *powers);
    *out = (double)significand;
    if (exponent <= -known || exponent >= known) return *out == 0; /* no score is that small or large */
    if (exponent >= 0)
        *out *= powers[exponent];
    else
        *out /= powers[-exponent];
    return true;
}

static bool read_exponent(json_scan *s, int64_t *exponent) {
    bool negative = false;
    int64_t value = 0;
    if (s->p == s->end || (*s->p != 'e' && *s->p != 'E')) return true;
    s->p++;
    if (s->p < s->end && (*s->p == '+' || *s->p == '-')) negative = *s->p++ == '-';
    if (!is_digit(s)) return false;
    for (; is_digit(s); s->p++)
        if (value < 100000) value = value * 10 + (*s->p - '0');
    *exponent += negative ? -value : value;
    return true;
}

bool scan_number(json_scan *s, double *out) {
    bool negative = scan_take(s, '-'), full = false;
    uint64_t significand = 0;
    int64_t exponent = 0;
    if (!is_digit(s)) return false;
    bool zero = *s->p == '0';
    const char *first = s->p;
    for (int part = 0; part < 2; part++) {
        for (; is_digit(s); s->p++) {
            uint64_t digit = (uint64_t)(*s->p - '0');
            if (significand >= UINT64_MAX / 10) full = full || significand > (UINT64_MAX - digit) / 10;
            if (!full) significand = significand * 10 + digit;
            if (full == (part == 0)) exponent += part == 0 ? 1 : -1;
        }
        if (part == 0 && zero && s->p - first > 1) return false;
        if (part == 1 || s->p == s->end || *s->p != '.') break;
        s->p++;
        if (!is_digit(s)) return false;
    }
    if (!read_exponent(s, &exponent) || !scale(significand, exponent, out)) return false;
    if (negative) *out = -*out;
    return true;
}
