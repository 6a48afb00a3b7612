/* SPDX-License-Identifier: Apache-2.0 */
/* The normalizer Precompiled: applies the compiled rewriting rules of sentencepiece as the tokenizers library does. */
#include "tokenizer_parts.h"

#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

/*
 * The library splits a text into grapheme clusters (UAX 29). A cluster of fewer than six bytes is looked up as a whole:
 * if the key of any rule is a prefix of it, the text of the shortest such key replaces the whole cluster. All other
 * clusters are looked up code point by code point.
 */
#define WHOLE_MAX 6u

static unsigned cluster_of(uint32_t point) {
    return point_what(point) >> POINT_CLUSTER_SHIFT;
}

/* The state of the rules that depend on earlier code points. */
typedef struct cluster_state {
    unsigned last;
    int conjunct; /* 1 after a consonant and its extenders, 2 if these include a linker */
    int picture;  /* 1 after a pictograph and its extenders, 2 after a joiner that follows them */
} cluster_state;

static void enter(cluster_state *s, unsigned c) {
    if (c == CLUSTER_CONSONANT)
        s->conjunct = 1;
    else if (c == CLUSTER_LINKER && s->conjunct != 0)
        s->conjunct = 2;
    else if (c != CLUSTER_EXTEND_INCB && c != CLUSTER_ZWJ)
        s->conjunct = 0;
    if (c == CLUSTER_PICTURE)
        s->picture = 1;
    else if (c == CLUSTER_ZWJ && s->picture == 1)
        s->picture = 2;
    else if (s->picture != 1 || (c != CLUSTER_EXTEND && c != CLUSTER_EXTEND_INCB && c != CLUSTER_LINKER))
        s->picture = 0;
    s->last = c;
}

static bool goes_on(const cluster_state *s, unsigned c) {
    unsigned a = s->last;
    if (a == CLUSTER_CR && c == CLUSTER_LF) return true;
    if (a == CLUSTER_CONTROL || a == CLUSTER_CR || a == CLUSTER_LF) return false;
    switch (c) {
    case CLUSTER_CONTROL:
    case CLUSTER_CR:
    case CLUSTER_LF:
        return false;
    case CLUSTER_EXTEND:
    case CLUSTER_EXTEND_INCB:
    case CLUSTER_LINKER:
    case CLUSTER_ZWJ:
    case CLUSTER_SPACING:
        return true;
    default:
        break;
    }
    if (a == CLUSTER_PREPEND) return true;
    if (a == CLUSTER_L) return c == CLUSTER_L || c == CLUSTER_V || c == CLUSTER_LV || c == CLUSTER_LVT;
    if (a == CLUSTER_LV || a == CLUSTER_V) return c == CLUSTER_V || c == CLUSTER_T;
    if (a == CLUSTER_LVT || a == CLUSTER_T) return c == CLUSTER_T;
    return (c == CLUSTER_CONSONANT && s->conjunct == 2) || (c == CLUSTER_PICTURE && s->picture == 2);
}

static size_t cluster_end(const glyph *g, size_t count, size_t from) {
    cluster_state state = {0};
    enter(&state, cluster_of(g[from].point));
    for (size_t i = from + 1; i < count; i++) {
        unsigned c = cluster_of(g[i].point);
        if (!goes_on(&state, c)) return i;
        enter(&state, c);
    }
    return count;
}

/* Returns the replacement text of the shortest key that is a prefix of bytes, without its NUL; NULL if none is. */
static const char *look(const charsmap *map, const char *bytes, size_t length, size_t *out_length) {
    uint32_t at = 0, unit = map->units[0];
    at ^= (unit >> 10) << ((unit & (1u << 9)) >> 6);
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (byte == 0) return NULL;
        at ^= byte;
        if (at >= map->unit_count) return NULL;
        unit = map->units[at];
        if ((unit & (1u << 31 | 0xFFu)) != byte) return NULL;
        at ^= (unit >> 10) << ((unit & (1u << 9)) >> 6);
        if (((unit >> 8) & 1u) == 0) continue;
        if (at >= map->unit_count) return NULL;
        uint32_t place = map->units[at] & ~(1u << 31);
        if (place > map->texts_length) return NULL;
        const char *end = memchr(map->texts + place, 0, map->texts_length - place);
        *out_length = end != NULL ? (size_t)(end - map->texts) - place : map->texts_length - place;
        return map->texts + place;
    }
    return NULL;
}

/* Appends text in place of `replaced` glyphs. Until find_origins, the origin of a new glyph is the library's count: 0
 * if it replaces one glyph, 1 if it is inserted, -n if it replaces one and the n after it. */
static bool put_text(glyphs *out, const char *text, size_t length, size_t replaced) {
    size_t before = out->count;
    if (!glyphs_reserve(out, length)) return false;
    for (size_t step; length > 0; text += step, length -= step)
        out->at[out->count++] = (glyph){kit_utf8_next(text, length, &step), 0};
    size_t added = out->count - before;
    for (size_t i = replaced; i < added; i++)
        out->at[before + i].origin = 1;
    if (added < replaced && out->count > 0) out->at[out->count - 1].origin -= (uint32_t)(replaced - added);
    return true;
}

static void find_origins(glyphs *out, const glyph *g) {
    size_t at = 0;
    for (size_t i = 0; i < out->count; i++) {
        int32_t change = (int32_t)out->at[i].origin;
        if (change > 0) {
            out->at[i].origin = at > 0 ? g[at - 1].origin : 0;
        } else {
            out->at[i].origin = g[at].origin;
            at += 1u + (size_t)-change;
        }
    }
}

static bool apply_cluster(const charsmap *map, const glyph *g, size_t count, glyphs *out) {
    char bytes[WHOLE_MAX + 4];
    size_t length = 0, text_length = 0;
    if (count > 1) {
        for (size_t i = 0; i < count && length < WHOLE_MAX; i++)
            length += utf8_put(bytes + length, g[i].point);
        const char *text = length < WHOLE_MAX ? look(map, bytes, length, &text_length) : NULL;
        if (text != NULL) return put_text(out, text, text_length, count);
    }
    if (!glyphs_reserve(out, count)) return false;
    for (size_t i = 0; i < count; i++) {
        const char *text = look(map, bytes, utf8_put(bytes, g[i].point), &text_length);
        if (text != NULL && !put_text(out, text, text_length, 1)) return false;
        if (text == NULL && !glyphs_reserve(out, 1)) return false;
        if (text == NULL) out->at[out->count++] = (glyph){g[i].point, 0};
    }
    return true;
}

bool charsmap_apply(const charsmap *map, const glyph *g, size_t count, bool origins, glyphs *out) {
    for (size_t i = 0; i < count;) {
        /* Two ASCII characters never form one cluster, except CR LF. */
        if (g[i].point < 0x80 && map->plain[g[i].point] && g[i].point != '\r' &&
            (i + 1 == count || g[i + 1].point < 0x80)) {
            if (!glyphs_reserve(out, 1)) return false;
            out->at[out->count++] = (glyph){g[i++].point, 0};
            continue;
        }
        size_t end = cluster_end(g, count, i);
        if (!apply_cluster(map, g + i, end - i, out)) return false;
        i = end;
    }
    if (origins) find_origins(out, g);
    return true;
}

/* ---- Reading */

static kit_status fill(charsmap *map, const kit_buf *blob, kolm_error_t *err) {
    const unsigned char *bytes = (const unsigned char *)blob->data;
    uint32_t trie = blob->length < 4 ? 0
                                     : (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
                                           (uint32_t)bytes[3] << 24;
    map->unit_count = trie / 4;
    if (map->unit_count == 0 || map->unit_count > (blob->length - 4) / 4)
        return tokenizer_damaged(err,
                                 "tokenizer.json: the precompiled_charsmap declares a trie of %u bytes, but has %zu",
                                 trie, blob->length);
    size_t text = 4 + (size_t)map->unit_count * 4;
    map->texts_length = blob->length - text;
    map->units = malloc((size_t)map->unit_count * sizeof *map->units);
    map->texts = malloc(map->texts_length + 1);
    if (map->units == NULL || map->texts == NULL) return tokenizer_no_memory(err);
    for (uint32_t i = 0; i < map->unit_count; i++) {
        const unsigned char *p = bytes + 4 + (size_t)i * 4;
        map->units[i] = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }
    memcpy(map->texts, bytes + text, map->texts_length);
    if (kit_utf8_valid(map->texts, map->texts_length) != map->texts_length)
        return tokenizer_damaged(err, "tokenizer.json: the texts of the precompiled_charsmap are not UTF-8");
    for (unsigned c = 0; c < 128; c++) {
        size_t length;
        char one = (char)c;
        map->plain[c] = look(map, &one, 1, &length) == NULL;
    }
    return KOLM_OK;
}

kit_status charsmap_read(const char *base64, size_t length, charsmap **out, kolm_error_t *err) {
    kit_buf blob = {0};
    *out = calloc(1, sizeof **out);
    if (*out == NULL) return tokenizer_no_memory(err);
    kit_status status = kit_base64_decode(&blob, base64, length, NULL);
    if (status != KOLM_OK)
        status = tokenizer_damaged(err, "tokenizer.json: the precompiled_charsmap is not base64");
    else
        status = kit_buf_ok(&blob, err);
    if (status == KOLM_OK) status = fill(*out, &blob, err);
    kit_buf_free(&blob);
    return status;
}

void charsmap_free(charsmap *map) {
    if (map == NULL) return;
    free(map->units);
    free(map->texts);
    free(map);
}
