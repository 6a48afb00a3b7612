/* SPDX-License-Identifier: Apache-2.0 */
/* Escaping, numbers and bars. */
#include "report/html.h"

#include "kolm/kit/text.h"

#include <math.h>
#include <string.h>

#define MARKS_MAX 3 /* combining marks in a row that scripts need; more only overlay their surroundings */

typedef struct range {
    uint32_t from, to;
} range;

static bool is_in(const range *ranges, size_t count, uint32_t c) {
    for (size_t i = 0; i < count; i++)
        if (c >= ranges[i].from && c <= ranges[i].to) return true;
    return false;
}

/* True for an invisible character, or one that moves others: the general categories Cc, Cf, Zl, Zp, Co and the
 * noncharacters of Unicode 15, zero-width blanks, fillers, and variation selectors other than those of emoji. */
static bool is_unseen(uint32_t c) {
    static const range ranges[] = {{0x00, 0x1F},       {0x7F, 0x9F},       {0xAD, 0xAD},       {0x34F, 0x34F},
                                   {0x600, 0x605},     {0x61C, 0x61C},     {0x6DD, 0x6DD},     {0x70F, 0x70F},
                                   {0x890, 0x891},     {0x8E2, 0x8E2},     {0x115F, 0x1160},   {0x17B4, 0x17B5},
                                   {0x180B, 0x180F},   {0x2000, 0x200B},   {0x200E, 0x200F},   {0x2028, 0x202E},
                                   {0x205F, 0x206F},   {0x2800, 0x2800},   {0x3164, 0x3164},   {0xE000, 0xF8FF},
                                   {0xFDD0, 0xFDEF},   {0xFE00, 0xFE0D},   {0xFEFF, 0xFEFF},   {0xFFA0, 0xFFA0},
                                   {0xFFF0, 0xFFFC},   {0xFFFE, 0xFFFF},   {0x110BD, 0x110BD}, {0x110CD, 0x110CD},
                                   {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0000, 0x10FFFF}};
    return is_in(ranges, sizeof ranges / sizeof *ranges, c) || (c & 0xFFFE) == 0xFFFE;
}

static bool is_mark(uint32_t c) {
    static const range ranges[] = {{0x300, 0x36F},   {0x483, 0x489},   {0x591, 0x5BD},   {0x610, 0x61A},
                                   {0x64B, 0x65F},   {0xE31, 0xE3A},   {0xE47, 0xE4E},   {0x1AB0, 0x1AFF},
                                   {0x1DC0, 0x1DFF}, {0x20D0, 0x20FF}, {0x302A, 0x302F}, {0xFE20, 0xFE2F}};
    return is_in(ranges, sizeof ranges / sizeof *ranges, c);
}

static void put_escaped(kit_buf *out, const char *bytes, size_t length) {
    switch (*bytes) {
    case '&':
        kit_buf_str(out, "&amp;");
        return;
    case '<':
        kit_buf_str(out, "&lt;");
        return;
    case '>':
        kit_buf_str(out, "&gt;");
        return;
    case '"':
        kit_buf_str(out, "&quot;");
        return;
    case '\'':
        kit_buf_str(out, "&#39;");
        return;
    default:
        kit_buf_add(out, bytes, length);
    }
}

/* breaks: allow line breaks after characters that join the words of a label. */
static void put_text(kit_buf *out, const char *text, size_t max_chars, bool breaks) {
    if (text == NULL) {
        kit_buf_str(out, "–");
        return;
    }
    const size_t length = strlen(text);
    size_t at = 0, marks = 0;
    uint32_t before = ' ';
    for (size_t chars = 0; at < length && chars < max_chars; chars++) {
        /* At most four bytes per character: do not scan a long text for each. */
        size_t window = length - at < 4 ? length - at : 4, bytes = 1;
        uint32_t c = 0;
        while (window > 0 && kit_utf8_valid(text + at, window) != window)
            window--;
        if (window == 0) {
            kit_buf_fmt(out, "[0x%02X]", (unsigned char)text[at++]);
            continue;
        }
        c = kit_utf8_next(text + at, window, &bytes);
        marks = is_mark(c) ? marks + 1 : 0;
        if (c == '\n')
            kit_buf_str(out, "↵\n");
        else if (c == '\t')
            kit_buf_str(out, "⇥ ");
        else if (is_unseen(c) || marks > MARKS_MAX || ((c == 0x200C || c == 0x200D) && before < 0x80))
            kit_buf_fmt(out, "[U+%04X]", (unsigned)c);
        else
            put_escaped(out, text + at, bytes);
        if (breaks && (c == '_' || c == '/' || c == '.') && before != c) html_raw(out, "<wbr>");
        before = c;
        at += bytes;
    }
    if (at < length) {
        kit_buf_str(out, "… [");
        html_count(out, length - at);
        kit_buf_str(out, length - at == 1 ? " byte more]" : " bytes more]");
    }
}

void html_text(kit_buf *out, const char *text, size_t max_chars) {
    put_text(out, text, max_chars, false);
}

void html_foreign(kit_buf *out, const char *text, size_t max_chars) {
    html_raw(out, "<bdi>");
    if (text != NULL && *text == '\0')
        html_raw(out, "<span class=\"quiet\">(empty)</span>");
    else
        put_text(out, text, max_chars, true);
    html_raw(out, "</bdi>");
}

double html_as_share(double value) {
    return value >= 0 && value <= 1 ? value : (double)NAN;
}

double html_ratio(uint64_t part, uint64_t whole) {
    return whole == 0 || part > whole ? (double)NAN : (double)part / (double)whole;
}

void html_share(kit_buf *out, double share, int decimals) {
    if (isnan(html_as_share(share)))
        kit_buf_str(out, "–");
    else
        kit_buf_fmt(out, "%.*f", decimals, share);
}

void html_percent(kit_buf *out, double share) {
    if (isnan(html_as_share(share)))
        kit_buf_str(out, "–");
    else
        kit_buf_fmt(out, "%.1f %%", 100 * share);
}

void html_interval(kit_buf *out, report_interval interval) {
    if (isnan(html_as_share(interval.low)) || isnan(html_as_share(interval.high))) return;
    kit_buf_fmt(out, "%.1f to %.1f %%", 100 * interval.low, 100 * interval.high);
}

void html_count(kit_buf *out, uint64_t count) {
    char digits[24];
    kit_format(digits, sizeof digits, "%llu", (unsigned long long)count);
    const size_t length = strlen(digits);
    for (size_t i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) kit_buf_char(out, ',');
        kit_buf_char(out, digits[i]);
    }
}

void html_coordinate(kit_buf *out, double value) {
    const double bound = 100000;
    if (!isfinite(value)) value = 0;
    kit_buf_fmt(out, "%.2f", value > bound ? bound : value < -bound ? -bound : value);
}

static void put_rect(kit_buf *out, const char *kind, double from, double width) {
    kit_buf_fmt(out, "<rect class=\"%s\" y=\"0\" height=\"8\" x=\"", kind);
    html_coordinate(out, from);
    html_raw(out, "\" width=\"");
    html_coordinate(out, width);
    html_raw(out, "\"/>");
}

void html_bar(kit_buf *out, double value, report_interval interval, double mark) {
    html_raw(out, "<svg class=\"bar\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\" "
                  "focusable=\"false\">");
    put_rect(out, "track", 0, 100);
    if (!isnan(html_as_share(value))) put_rect(out, "value", 0, 100 * value);
    if (!isnan(html_as_share(interval.low)) && !isnan(html_as_share(interval.high)))
        put_rect(out, "range", 100 * interval.low, 100 * (interval.high - interval.low));
    if (!isnan(html_as_share(mark))) put_rect(out, "mark", 98 * mark, 1); /* inside the round ends */
    html_raw(out, "</svg>");
}
