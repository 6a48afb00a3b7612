/* SPDX-License-Identifier: Apache-2.0 */
/* WordPiece: the longest token that begins a word, then repeatedly the longest that continues it. */
#include "tokenizer_parts.h"

#include <string.h>

/* Returns the id of the longest token at `from` that ends at a character boundary; *out_end: its end. */
static uint32_t longest(const tokenizer *t, tokenizer_work *w, size_t from, size_t length, size_t *out_end) {
    const vocabulary *v = &t->words;
    size_t front = from > 0 ? t->prefix_length : 0, count = 0;
    if (front > v->longest) return VOCABULARY_NONE;
    vocabulary_text text = from > 0 ? t->prefix_hash : (vocabulary_text){0};
    size_t most = v->longest - front < length - from ? v->longest - front : length - from;
    for (size_t i = from, stop = from; i < from + most; i++) {
        if (i == stop) {
            stop = i + utf8_step((unsigned char)w->bytes[i]);
            if (stop > from + most) break;
        }
        vocabulary_add_byte(v->secret, &text, (unsigned char)w->bytes[i]);
        if (i + 1 < stop) continue;
        w->fronts[count++] = (word_front){vocabulary_hash(v->secret, &text), (uint32_t)stop};
    }
    while (count-- > 0) {
        const vocabulary_entry *e =
            vocabulary_look(v, w->fronts[count].hash, t->prefix, front, w->bytes + from, w->fronts[count].stop - from);
        if (e == NULL) continue;
        *out_end = w->fronts[count].stop;
        return e->id;
    }
    return VOCABULARY_NONE;
}

/* A word that cannot be segmented, or is too long, is one unknown token: tokens already emitted for it are dropped. */
bool wordpiece_encode(const tokenizer *t, tokenizer_work *w, size_t length, size_t characters) {
    size_t before = w->count;
    if (characters > t->word_characters_max) return work_emit(w, t->unknown);
    if (!work_reserve((void **)&w->fronts, &w->fronts_capacity, t->words.longest + (size_t)1, sizeof *w->fronts)) {
        w->failed = true;
        return false;
    }
    bool goes_on = true;
    for (size_t from = 0, end = 0; from < length; from = end) {
        uint32_t id = longest(t, w, from, length, &end);
        if (id == VOCABULARY_NONE) {
            w->count = before;
            w->full = false;
            return work_emit(w, t->unknown);
        }
        if (goes_on) goes_on = work_emit(w, id);
        if (w->failed) return false;
    }
    return goes_on;
}
