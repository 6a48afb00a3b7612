/* SPDX-License-Identifier: Apache-2.0 */
/* Added tokens: extracted from a text before the model tokenizes it; leftmost first, the longest at each position. */
#include "tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

#define POINTS_MAX 1024u /* code points of one added token */

static bool is_word(uint32_t point) {
    return (point_what(point) & POINT_WORD) != 0;
}

static bool is_white(uint32_t point) {
    return (point_what(point) & POINT_WHITE) != 0;
}

/* ---- Searching */

/* Narrows [low, high) to the tokens that have this point at this position. */
static void narrow(const added_tokens *a, size_t place, uint32_t point, size_t *low, size_t *high) {
    size_t from = *low, to = *high;
    while (from < to) {
        size_t middle = (from + to) / 2;
        const added_token *t = &a->tokens[middle];
        if (t->count <= place || t->points[place] < point)
            from = middle + 1;
        else
            to = middle;
    }
    *low = from;
    for (to = *high; from < to;) {
        size_t middle = (from + to) / 2;
        const added_token *t = &a->tokens[middle];
        if (t->count > place && t->points[place] > point)
            to = middle;
        else
            from = middle + 1;
    }
    *high = to;
}

/* Finds the longest token at g[from]. A token is sorted before those of which it is a prefix. */
static const added_token *longest_at(const added_tokens *a, const glyph *g, size_t count, size_t from) {
    const added_token *found = NULL;
    size_t low = 0, high = a->count;
    for (size_t place = 0; from + place < count && low < high; place++) {
        narrow(a, place, g[from + place].point, &low, &high);
        if (low < high && a->tokens[low].count == place + 1) found = &a->tokens[low];
    }
    return found;
}

bool added_tokens_split(const added_tokens *a, const glyph *g, size_t count, added_take take, void *user) {
    size_t done = 0;
    if (count == 0) return true;
    for (size_t i = 0; a->count > 0 && i < count;) {
        const added_token *t = (a->first >> (g[i].point & 63u) & 1u) != 0 ? longest_at(a, g, count, i) : NULL;
        if (t == NULL) {
            i++;
            continue;
        }
        size_t start = i, end = i + t->count;
        i = end;
        if (t->single_word && ((start > 0 && is_word(g[start - 1].point)) || (end < count && is_word(g[end].point))))
            continue;
        while (t->left && start > 0 && is_white(g[start - 1].point))
            start--;
        if (t->left && start < done) start = done;
        while (t->right && end < count && is_white(g[end].point))
            end++;
        if (done < start && !take(user, VOCABULARY_NONE, g + done, start - done)) return false;
        if (end > start && !take(user, t->id, g + start, end - start)) return false;
        done = end;
    }
    return done >= count || take(user, VOCABULARY_NONE, g + done, count - done);
}

/* ---- Building */

static int by_points(const void *left, const void *right) {
    const added_token *a = left, *b = right;
    for (uint32_t i = 0; i < a->count && i < b->count; i++)
        if (a->points[i] != b->points[i]) return a->points[i] < b->points[i] ? -1 : 1;
    return (a->count > b->count) - (a->count < b->count);
}

/* The text to search for: the token's content, normalised if required. */
static kit_status points_of(const tokenizer *t, const added_request *r, glyphs *text, glyphs *spare, added_token *out,
                            kolm_error_t *err) {
    KIT_TRY(tokenizer_points(r->content, &out->points, &out->count, err));
    if (out->count > POINTS_MAX)
        return tokenizer_refuse(err,
                                "tokenizer.json: an added token has %u characters; the encoder recipe reads at most %u",
                                out->count, POINTS_MAX);
    if (!r->normalised) return KOLM_OK;
    text->count = 0;
    if (!glyphs_reserve(text, out->count)) return tokenizer_no_memory(err);
    for (uint32_t i = 0; i < out->count; i++)
        text->at[text->count++] = (glyph){out->points[i], i};
    if (!normaliser_run(&t->normaliser, text, spare)) return tokenizer_no_memory(err);
    if (text->count == 0)
        return tokenizer_refuse(err, "tokenizer.json: the normalizer removes all of the added token \"%s\"",
                                r->content);
    uint32_t *points = realloc(out->points, text->count * sizeof *points);
    if (points == NULL) return tokenizer_no_memory(err);
    for (size_t i = 0; i < text->count; i++)
        points[i] = text->at[i].point;
    out->points = points;
    out->count = (uint32_t)text->count;
    return KOLM_OK;
}

/* Sorts the tokens. Refuses two with the same text to search for, as the library does. */
static kit_status settle(added_tokens *a, kolm_error_t *err) {
    if (a->count > 0) qsort(a->tokens, a->count, sizeof *a->tokens, by_points);
    for (size_t i = 0; i < a->count; i++) {
        a->first |= UINT64_C(1) << (a->tokens[i].points[0] & 63u);
        if (i > 0 && by_points(&a->tokens[i - 1], &a->tokens[i]) == 0)
            return tokenizer_refuse(err,
                                    "tokenizer.json: two added tokens are the same text once normalised, ids %u and %u",
                                    a->tokens[i - 1].id, a->tokens[i].id);
    }
    return KOLM_OK;
}

/* Assigns the id of the model's token with the same text, or else the next id after the model's. Equal texts share an
 * id. */
static kit_status give_ids(tokenizer *t, const added_request *requests, size_t count, uint32_t *ids,
                           kolm_error_t *err) {
    uint32_t next = t->model_size;
    for (size_t i = 0; i < count; i++) {
        ids[i] = VOCABULARY_NONE;
        KIT_TRY(vocabulary_add(&t->added, requests[i].content, strlen(requests[i].content), (uint32_t)i, err));
    }
    KIT_TRY(vocabulary_seal(&t->added, false, err));
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(requests[i].content);
        uint32_t same = vocabulary_find(&t->added, requests[i].content, length); /* the last of equal ones */
        uint32_t id = vocabulary_find(&t->words, requests[i].content, length);
        if (id == VOCABULARY_NONE) id = ids[same] != VOCABULARY_NONE ? ids[same] : next++;
        ids[i] = ids[same] = id;
    }
    for (uint32_t i = 0; i < t->added.count; i++)
        t->added.entries[i].id = ids[t->added.entries[i].id];
    return KOLM_OK;
}

typedef struct place {
    uint32_t id, index;
} place;

static int by_id(const void *left, const void *right) {
    const place *a = left, *b = right;
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

static kit_status fill(tokenizer *t, const added_request *requests, const place *places, size_t count,
                       kolm_error_t *err) {
    glyphs text = {0}, spare = {0};
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < count && status == KOLM_OK; i++) {
        if (i + 1 < count && places[i + 1].id == places[i].id) continue;
        const added_request *r = &requests[places[i].index];
        added_tokens *a = r->normalised ? &t->normalised : &t->raw;
        added_token *one = &a->tokens[a->count++];
        *one = (added_token){.id = places[i].id, .single_word = r->single_word, .left = r->left, .right = r->right};
        status = points_of(t, r, &text, &spare, one, err);
    }
    free(text.at);
    free(spare.at);
    return status;
}

kit_status added_tokens_build(tokenizer *t, const added_request *requests, size_t count, kolm_error_t *err) {
    uint32_t *ids = calloc(count + 1, sizeof *ids);
    place *places = calloc(count + 1, sizeof *places);
    t->raw.tokens = calloc(count + 1, sizeof *t->raw.tokens);
    t->normalised.tokens = calloc(count + 1, sizeof *t->normalised.tokens);
    kit_status status = KOLM_OK;
    if (ids == NULL || places == NULL || t->raw.tokens == NULL || t->normalised.tokens == NULL)
        status = tokenizer_no_memory(err);
    if (status == KOLM_OK) status = give_ids(t, requests, count, ids, err);
    if (status == KOLM_OK) {
        for (size_t i = 0; i < count; i++)
            places[i] = (place){ids[i], (uint32_t)i};
        qsort(places, count, sizeof *places, by_id);
        status = fill(t, requests, places, count, err);
    }
    if (status == KOLM_OK) status = settle(&t->raw, err);
    if (status == KOLM_OK) status = settle(&t->normalised, err);
    free(ids);
    free(places);
    return status;
}

void added_tokens_free(added_tokens *a) {
    for (size_t i = 0; i < a->count; i++)
        free(a->tokens[i].points);
    free(a->tokens);
    *a = (added_tokens){0};
}
