/* SPDX-License-Identifier: Apache-2.0 */
/* Unigram: the segmentation of a piece into tokens with the greatest sum of scores. */
#include "tokenizer_parts.h"

#include <string.h>

/* A better segmentation that ends at `to` replaces the known one; of equal ones the first is kept. */
static void offer(path_node *to, double score, size_t start, uint32_t id) {
    if (to->start != UINT32_MAX && !(score > to->score)) return;
    *to = (path_node){score, (uint32_t)start, id};
}

/* Offers all tokens that begin at `from`, shortest first. Returns true if one of them is a single character. */
static bool offer_all(const tokenizer *t, tokenizer_work *w, size_t from, size_t length) {
    const vocabulary *v = &t->words;
    double here = w->path[from].score;
    bool single = false;
    vocabulary_text text = {0};
    unsigned front = FRONT_LONGER;
    size_t most = v->longest < length - from ? v->longest : length - from;
    for (size_t i = from; i - from < most && (front & FRONT_LONGER) != 0;) {
        bool first = i == from;
        size_t stop = i + utf8_step((unsigned char)w->bytes[i]);
        if (stop - from > most) break;
        for (; i < stop; i++)
            vocabulary_add_byte(v->secret, &text, (unsigned char)w->bytes[i]);
        const uint64_t hash = vocabulary_hash(v->secret, &text);
        front = vocabulary_front(v, hash);
        if ((front & FRONT_TOKEN) == 0) continue;
        const vocabulary_entry *e = vocabulary_look(v, hash, w->bytes, 0, w->bytes + from, stop - from);
        if (e == NULL) continue;
        offer(&w->path[stop], v->scores[e - v->entries] + here, from, e->id);
        single |= first;
    }
    return single;
}

static bool emit_bytes(const tokenizer *t, tokenizer_work *w, size_t from, size_t end) {
    for (size_t i = from; i < end; i++)
        if (t->byte_ids[(unsigned char)w->bytes[i]] == VOCABULARY_NONE) return work_emit(w, t->unknown);
    for (size_t i = from; i < end; i++)
        if (!work_emit(w, t->byte_ids[(unsigned char)w->bytes[i]])) return false;
    return true;
}

/* Stores the ends of the best segmentation, back to front; adjacent unknown characters are one token. */
static size_t walk_back(const tokenizer *t, tokenizer_work *w, size_t length) {
    size_t count = 0;
    bool unknown = false;
    for (size_t end = length; end > 0; end = w->path[end].start) {
        bool is_unknown = w->path[end].id == t->unknown;
        if (!(is_unknown && unknown)) w->ends[count++] = (uint32_t)end;
        unknown = is_unknown;
    }
    return count;
}

bool unigram_encode(const tokenizer *t, tokenizer_work *w, size_t length) {
    if (!work_reserve((void **)&w->path, &w->path_capacity, length + 1, sizeof *w->path) ||
        !work_reserve((void **)&w->ends, &w->ends_capacity, length + 1, sizeof *w->ends)) {
        w->failed = true;
        return false;
    }
    for (size_t i = 0; i <= length; i++)
        w->path[i] = (path_node){0, UINT32_MAX, 0};
    for (size_t from = 0, step; from < length; from += step) {
        step = utf8_step((unsigned char)w->bytes[from]);
        if (!offer_all(t, w, from, length))
            offer(&w->path[from + step], t->unknown_score + w->path[from].score, from, t->unknown);
    }
    size_t from = 0;
    for (size_t i = walk_back(t, w, length); i-- > 0; from = w->ends[i]) {
        uint32_t id = w->path[w->ends[i]].id;
        bool fine = true;
        /* Adjacent unknown characters may together be a token, which scored less than they did. */
        if (id == t->unknown) id = vocabulary_find(&t->words, w->bytes + from, w->ends[i] - from);
        if (id != VOCABULARY_NONE)
            fine = work_emit(w, id);
        else
            fine = t->byte_fallback ? emit_bytes(t, w, from, w->ends[i]) : work_emit(w, t->unknown);
        if (!fine) return false;
    }
    return true;
}
