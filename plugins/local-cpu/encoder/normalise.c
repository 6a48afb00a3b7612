/* SPDX-License-Identifier: Apache-2.0 */
/* Applies the normalizers of tokenizer.json to glyphs. */
#include "tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

bool glyphs_reserve(glyphs *g, size_t more) {
    if (g->capacity - g->count >= more) return true;
    size_t capacity = g->capacity + g->capacity / 2 + more + 64;
    glyph *at = realloc(g->at, capacity * sizeof *at);
    if (at == NULL) return false;
    g->at = at;
    g->capacity = capacity;
    return true;
}

bool glyphs_copy(glyphs *to, const glyph *from, size_t count) {
    to->count = 0;
    if (!glyphs_reserve(to, count)) return false;
    if (count > 0) memcpy(to->at, from, count * sizeof *from);
    to->count = count;
    return true;
}

static void put(glyphs *g, uint32_t point, uint32_t origin) {
    g->at[g->count++] = (glyph){point, origin};
}

static void swap(glyphs *a, glyphs *b) {
    glyphs held = *a;
    *a = *b;
    *b = held;
}

/* ---- Unicode's normal forms (UAX 15) */

/* Stable sort of marks by combining class: insertion sort if there are few, counting sort if many. */
static bool sort_marks(glyph *g, size_t count) {
    if (count <= 16) {
        for (size_t i = 1; i < count; i++) {
            glyph moved = g[i];
            unsigned order = point_order(moved.point);
            size_t to = i;
            for (; to > 0 && point_order(g[to - 1].point) > order; to--)
                g[to] = g[to - 1];
            g[to] = moved;
        }
        return true;
    }
    size_t starts[257] = {0};
    glyph *sorted = malloc(count * sizeof *sorted);
    if (sorted == NULL) return false;
    for (size_t i = 0; i < count; i++)
        starts[point_order(g[i].point) + 1]++;
    for (size_t c = 1; c < 257; c++)
        starts[c] += starts[c - 1];
    for (size_t i = 0; i < count; i++)
        sorted[starts[point_order(g[i].point)]++] = g[i];
    memcpy(g, sorted, count * sizeof *g);
    free(sorted);
    return true;
}

static bool order_marks(glyphs *text) {
    for (size_t i = 0; i < text->count;) {
        size_t end = i;
        while (end < text->count && (point_what(text->at[end].point) & POINT_ORDERED) != 0)
            end++;
        if (end - i > 1 && !sort_marks(text->at + i, end - i)) return false;
        i = end + 1;
    }
    return true;
}

static void compose(glyphs *text) {
    glyph *g = text->at;
    size_t kept = 0, starter = SIZE_MAX;
    unsigned last = 0;
    for (size_t i = 0; i < text->count; i++) {
        unsigned order = point_order(g[i].point);
        bool reaches = starter != SIZE_MAX && (kept - 1 == starter || (last != 0 && last < order));
        uint32_t both = reaches ? point_compose(g[starter].point, g[i].point) : 0;
        if (both != 0) {
            g[starter].point = both;
            continue;
        }
        if (order == 0) starter = kept;
        last = order;
        g[kept++] = g[i];
    }
    text->count = kept;
}

bool normal_form(glyphs *text, glyphs *spare, bool compatible, bool composed) {
    uint32_t parts[POINT_LONGEST];
    spare->count = 0;
    for (size_t i = 0; i < text->count; i++) {
        glyph g = text->at[i];
        if (!glyphs_reserve(spare, POINT_LONGEST)) return false;
        if (g.point < 0x80) {
            put(spare, g.point, g.origin);
            continue;
        }
        size_t count = point_decompose(g.point, compatible, parts);
        for (size_t k = 0; k < count; k++)
            put(spare, parts[k], g.origin);
    }
    swap(text, spare);
    if (!order_marks(text)) return false;
    if (composed) compose(text);
    return true;
}

/* ---- BertNormalizer */

static bool is_chinese(uint32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

static void put_lower(glyphs *out, uint32_t point, uint32_t origin, bool lower) {
    uint32_t two[2] = {point, 0};
    size_t count = lower ? point_lower(point, two) : 1;
    for (size_t i = 0; i < count; i++)
        put(out, two[i], origin);
}

/* Normalises one glyph beyond ASCII. False if a mark remains, which may have to be reordered. */
static bool bert_glyph(const normal_step *s, glyph g, glyphs *out) {
    uint32_t parts[POINT_LONGEST] = {g.point};
    unsigned what = point_what(g.point);
    if (s->clean && (what & POINT_CLEANED) != 0) return true;
    if (s->clean && (what & POINT_WHITE) != 0) parts[0] = ' ', what = POINT_WHITE;
    bool chinese = s->chinese && is_chinese(g.point);
    if (chinese) put(out, ' ', g.origin);
    size_t count = s->accents && parts[0] != ' ' ? point_decompose(g.point, false, parts) : 1;
    for (size_t i = 0; i < count; i++) {
        unsigned part = count == 1 && parts[0] == g.point ? what : point_what(parts[i]);
        if (s->accents && (part & POINT_NONSPACING) != 0) continue;
        if (s->accents && (part & POINT_ORDERED) != 0) return false;
        put_lower(out, parts[i], g.origin, s->lower && (part & POINT_LOWERS) != 0);
    }
    if (chinese) put(out, ' ', g.origin);
    return true;
}

/* Normalises text in one pass. False if that is not possible: then the steps must run one by one. */
static bool bert_quickly(const normal_step *s, const glyphs *text, glyphs *out) {
    for (size_t i = 0; i < text->count; i++) {
        glyph g = text->at[i];
        if (g.point >= 0x80) {
            if (!bert_glyph(s, g, out)) return false;
        } else if (g.point >= 0x20 && g.point < 0x7F) {
            put(out, s->lower && g.point - 'A' < 26 ? g.point + 32 : g.point, g.origin);
        } else if (!s->clean) {
            put(out, g.point, g.origin);
        } else if (g.point == '\t' || g.point == '\n' || g.point == '\r') {
            put(out, ' ', g.origin);
        }
    }
    return true;
}

static void drop(glyphs *text, unsigned what) {
    size_t kept = 0;
    for (size_t i = 0; i < text->count; i++)
        if ((point_what(text->at[i].point) & what) == 0) text->at[kept++] = text->at[i];
    text->count = kept;
}

static bool lower_all(glyphs *text, glyphs *spare) {
    spare->count = 0;
    if (!glyphs_reserve(spare, text->count * 2)) return false;
    for (size_t i = 0; i < text->count; i++)
        put_lower(spare, text->at[i].point, text->at[i].origin, true);
    swap(text, spare);
    return true;
}

static bool run_bert(const normal_step *s, glyphs *text, glyphs *spare) {
    spare->count = 0;
    if (!glyphs_reserve(spare, text->count * 5))
        return false; /* enough for spaces around a glyph, or for its decomposition */
    if (bert_quickly(s, text, spare)) {
        swap(text, spare);
        return true;
    }
    normal_step front = *s;
    front.accents = front.lower = false;
    spare->count = 0;
    if (!bert_quickly(&front, text, spare)) return false;
    swap(text, spare);
    if (!normal_form(text, spare, false, false)) return false;
    drop(text, POINT_NONSPACING);
    return !s->lower || lower_all(text, spare);
}

/* ---- Other normalizers */

static void strip(glyphs *text, bool left, bool right) {
    size_t from = 0, to = text->count;
    while (left && from < to && (point_what(text->at[from].point) & POINT_WHITE) != 0)
        from++;
    while (right && to > from && (point_what(text->at[to - 1].point) & POINT_WHITE) != 0)
        to--;
    if (from > 0) memmove(text->at, text->at + from, (to - from) * sizeof *text->at);
    text->count = to - from;
}

static bool prepend(const normal_step *s, glyphs *text) {
    if (text->count == 0) return true;
    if (!glyphs_reserve(text, s->point_count)) return false;
    memmove(text->at + s->point_count, text->at, text->count * sizeof *text->at);
    for (uint32_t i = 0; i < s->point_count; i++)
        text->at[i] = (glyph){s->points[i], text->at[s->point_count].origin};
    text->count += s->point_count;
    return true;
}

/* The clean-up of Google's translation models: removes some controls; blanks and direction marks become spaces. */
static void nmt(glyphs *text) {
    size_t kept = 0;
    for (size_t i = 0; i < text->count; i++) {
        uint32_t c = text->at[i].point;
        if ((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F) continue;
        if (c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 ||
            c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD)
            c = ' ';
        text->at[kept++] = (glyph){c, text->at[i].origin};
    }
    text->count = kept;
}

/* The replacement has the origin of the match's last glyph. */
static bool replace(const normal_step *s, glyphs *text, glyphs *spare) {
    size_t from = 0, start, end;
    if (!pattern_find(&s->pattern, text->at, text->count, 0, &start, &end)) return true;
    spare->count = 0;
    do {
        if (!glyphs_reserve(spare, start - from + s->point_count)) return false;
        for (; from < start; from++)
            spare->at[spare->count++] = text->at[from];
        for (uint32_t i = 0; i < s->point_count; i++)
            put(spare, s->points[i], text->at[end - 1].origin);
        from = end;
    } while (pattern_find(&s->pattern, text->at, text->count, from, &start, &end));
    if (!glyphs_reserve(spare, text->count - from)) return false;
    for (; from < text->count; from++)
        spare->at[spare->count++] = text->at[from];
    swap(text, spare);
    return true;
}

static bool run_step(const normal_step *s, bool origins, glyphs *text, glyphs *spare) {
    switch (s->kind) {
    case NORMAL_BERT:
        return run_bert(s, text, spare);
    case NORMAL_CHARSMAP:
        spare->count = 0;
        if (!charsmap_apply(s->map, text->at, text->count, origins, spare)) return false;
        swap(text, spare);
        return true;
    case NORMAL_FORM:
        return normal_form(text, spare, s->compatible, s->compose);
    case NORMAL_LOWER:
        return lower_all(text, spare);
    case NORMAL_STRIP:
        strip(text, s->left, s->right);
        return true;
    case NORMAL_DROP_MARKS:
        drop(text, POINT_MARK);
        return true;
    case NORMAL_PREPEND:
        return prepend(s, text);
    case NORMAL_NMT:
        nmt(text);
        return true;
    case NORMAL_REPLACE:
        return replace(s, text, spare);
    }
    return false;
}

bool normaliser_run(const normaliser *n, glyphs *text, glyphs *spare) {
    for (size_t i = 0; i < n->count; i++)
        if (!run_step(&n->steps[i], n->origins, text, spare)) return false;
    return true;
}

bool normaliser_keeps_origins(const normaliser *n) {
    for (size_t i = 0; i < n->count; i++)
        if (n->steps[i].kind == NORMAL_BERT || n->steps[i].kind == NORMAL_FORM) return false;
    return true;
}

void normaliser_free(normaliser *n) {
    for (size_t i = 0; i < n->count; i++) {
        free(n->steps[i].points);
        pattern_free(&n->steps[i].pattern);
        charsmap_free(n->steps[i].map);
    }
    free(n->steps);
    *n = (normaliser){0};
}
