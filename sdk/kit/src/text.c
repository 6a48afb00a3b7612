/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers, UTF-8, hexadecimal and base64: the text helpers that C lacks. */
#include "kolm/kit/text.h"
#include "kolm/kit/buf.h"

#include <string.h>

bool kit_parse_u64(const char *text, uint64_t *out) {
    if (text == NULL || *text == '\0') return false;
    uint64_t value = 0;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p < '0' || *p > '9') return false;
        uint64_t digit = (uint64_t)(*p - '0');
        if (value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

bool kit_parse_i64(const char *text, int64_t *out) {
    if (text == NULL) return false;
    bool negative = *text == '-';
    uint64_t magnitude = 0;
    if (!kit_parse_u64(text + (negative ? 1 : 0), &magnitude)) return false;
    if (magnitude > (uint64_t)INT64_MAX + (negative ? 1u : 0u)) return false;
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

bool kit_parse_micro(const char *text, uint64_t *out_micro) {
    if (text == NULL || *text < '0' || *text > '9') return false;
    uint64_t value = 0;
    int decimals = -1;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '.' && decimals < 0 && p[1] != '\0') {
            decimals = 0;
            continue;
        }
        if (*p < '0' || *p > '9' || decimals == 6) return false;
        uint64_t digit = (uint64_t)(*p - '0');
        if (value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
        if (decimals >= 0) decimals++;
    }
    for (int i = decimals < 0 ? 0 : decimals; i < 6; i++) {
        if (value > UINT64_MAX / 10) return false;
        value *= 10;
    }
    *out_micro = value;
    return true;
}

/* Length of the valid sequence at s (n bytes left), 0 if there is none. Ranges: Unicode 15, table 3-7. */
static size_t sequence(const unsigned char *s, size_t n) {
    if (s[0] < 0x80) return 1;
    if (s[0] < 0xC2 || s[0] > 0xF4) return 0;
    size_t length = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    if (n < length) return 0;
    unsigned char low = 0x80, high = 0xBF;
    if (s[0] == 0xE0) low = 0xA0;
    if (s[0] == 0xED) high = 0x9F;
    if (s[0] == 0xF0) low = 0x90;
    if (s[0] == 0xF4) high = 0x8F;
    if (s[1] < low || s[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    return length;
}

size_t kit_utf8_valid(const char *bytes, size_t length) {
    const unsigned char *s = (const unsigned char *)bytes;
    size_t i = 0;
    while (i < length) {
        /* Eight ASCII bytes at a time: most text is ASCII. */
        while (length - i >= 8) {
            uint64_t word;
            memcpy(&word, s + i, 8);
            if ((word & 0x8080808080808080ull) != 0) break;
            i += 8;
        }
        if (i == length) break;
        size_t step = sequence(s + i, length - i);
        if (step == 0) return i;
        i += step;
    }
    return length;
}

uint32_t kit_utf8_next(const char *bytes, size_t length, size_t *out_length) {
    const unsigned char *s = (const unsigned char *)bytes;
    size_t step = sequence(s, length);
    if (step == 0) {
        *out_length = 1;
        return 0xFFFD;
    }
    *out_length = step;
    if (step == 1) return s[0];
    uint32_t point = s[0] & (0xFFu >> (step + 1));
    for (size_t i = 1; i < step; i++)
        point = (point << 6) | (s[i] & 0x3Fu);
    return point;
}

/* U+2028 to U+202E and U+2066 to U+2069: line separators, and controls that make a terminal reorder text. */
static bool turns_direction(const unsigned char *p) {
    return p[0] == 0xE2 &&
           ((p[1] == 0x80 && p[2] >= 0xA8 && p[2] <= 0xAE) || (p[1] == 0x81 && p[2] >= 0xA6 && p[2] <= 0xA9));
}

/* Number of leading bytes that stay unchanged whatever follows. */
static size_t plain_length(const char *bytes, size_t length) {
    const uint64_t each = 0x0101010101010101ull;
    size_t n = 0;
    for (uint64_t word; length - n >= 8; n += 8) {
        memcpy(&word, bytes + n, sizeof word);
        /* Zero is a proof: without high bits a sum does not carry and a difference does not borrow. */
        if ((word | (word + each) | (word - each * 0x20)) & (each << 7)) break;
    }
    while (n < length && bytes[n] >= 0x20 && bytes[n] < 0x7F)
        n++;
    return n;
}

/* The marks that change the direction of adjacent text: LRM, RLM, ALM. */
static size_t marks_direction(const unsigned char *p, size_t step) {
    if (step == 3 && p[0] == 0xE2 && p[1] == 0x80 && (p[2] == 0x8E || p[2] == 0x8F)) return 3;
    return step == 2 && p[0] == 0xD8 && p[1] == 0x9C ? 2 : 0;
}

bool kit_text_is_plain(const char *bytes, size_t length) {
    const unsigned char *s = (const unsigned char *)bytes;
    for (size_t i = 0; (i += plain_length(bytes + i, length - i)) < length;) {
        size_t step = sequence(s + i, length - i);
        if (step == 0 || s[i] < 0x20 || s[i] == 0x7F) return false;
        if (step == 2 && s[i] == 0xC2 && s[i + 1] < 0xA0) return false;
        if (step == 3 && turns_direction(s + i)) return false;
        if (marks_direction(s + i, step) > 0) return false;
        i += step;
    }
    return true;
}

void kit_buf_escaped(kit_buf *buf, const char *bytes, size_t length) {
    for (size_t i = 0; i < length;) {
        size_t plain = plain_length(bytes + i, length - i);
        if (plain > 0) {
            kit_buf_add(buf, bytes + i, plain);
            i += plain;
            continue;
        }
        unsigned char c = (unsigned char)bytes[i];
        size_t step = sequence((const unsigned char *)bytes + i, length - i);
        bool c1 = step == 2 && c == 0xC2 && (unsigned char)bytes[i + 1] < 0xA0;
        const unsigned char *at = (const unsigned char *)bytes + i;
        if (step == 3 && (turns_direction(at) || marks_direction(at, step) == 3)) {
            kit_buf_fmt(buf, "\\x%02X\\x%02X\\x%02X", c, (unsigned char)bytes[i + 1], (unsigned char)bytes[i + 2]);
            i += 3;
        } else if (step == 0 || c < 0x20 || c == 0x7F) {
            kit_buf_fmt(buf, "\\x%02X", c);
            i++;
        } else if (c1 || marks_direction(at, step) == 2) {
            kit_buf_fmt(buf, "\\x%02X\\x%02X", c, (unsigned char)bytes[i + 1]);
            i += 2;
        } else {
            kit_buf_add(buf, bytes + i, step);
            i += step;
        }
    }
}

void kit_hex(const uint8_t *bytes, size_t length, char *out_text) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < length; i++) {
        out_text[2 * i] = digits[bytes[i] >> 4];
        out_text[2 * i + 1] = digits[bytes[i] & 15];
    }
    out_text[2 * length] = '\0';
}

void kit_base64(kit_buf *out, const uint8_t *bytes, size_t length) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t group = (uint32_t)bytes[i] << 16;
        if (left > 1) group |= (uint32_t)bytes[i + 1] << 8;
        if (left > 2) group |= bytes[i + 2];
        char four[4] = {alphabet[group >> 18], alphabet[(group >> 12) & 63], '=', '='};
        if (left > 1) four[2] = alphabet[(group >> 6) & 63];
        if (left > 2) four[3] = alphabet[group & 63];
        kit_buf_add(out, four, 4);
    }
}

static int base64_value(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+' || c == '-') return 62;
    if (c == '/' || c == '_') return 63;
    return -1;
}

kit_status kit_base64_decode(kit_buf *out, const char *text, size_t length, kolm_error_t *err) {
    size_t end = length;
    if (length % 4 == 0)
        while (end > 0 && length - end < 2 && text[end - 1] == '=')
            end--;
    if (end % 4 == 1) return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "base64 text of impossible length %zu", length);
    uint32_t group = 0;
    for (size_t i = 0; i < end; i++) {
        int value = base64_value(text[i]);
        if (value < 0)
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "byte %zu of base64 text is not in its alphabet", i + 1);
        group = (group << 6) | (uint32_t)value;
        if (i % 4 == 3) {
            char three[3] = {(char)(group >> 16), (char)(group >> 8), (char)group};
            kit_buf_add(out, three, 3);
            group = 0;
        }
    }
    /* Left-over bits must be zero: two texts must not decode to the same bytes. */
    size_t tail = end % 4;
    if ((tail == 2 && (group & 15) != 0) || (tail == 3 && (group & 3) != 0))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "base64 text ends in stray bits");
    if (tail == 2) kit_buf_char(out, (char)(group >> 4));
    if (tail == 3) {
        kit_buf_char(out, (char)(group >> 10));
        kit_buf_char(out, (char)(group >> 2));
    }
    return kit_buf_ok(out, err);
}
