/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens by their text: an open-addressed table. The hash of a text can be computed from that of its prefix. */
#include "kolm/kit/hash.h"
#include "tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

#define ODD UINT64_C(0x9E3779B97F4A7C15)

kit_status vocabulary_start(vocabulary *v, size_t size_hint, kolm_error_t *err) {
    kit_hash_secret secret;
    KIT_TRY(kit_hash_secret_draw(&secret, err));
    /* Any point below 2^60 except small ones, with which hashes of short texts would not be spread. */
    v->secret = (secret.words[0] >> 4) | UINT64_C(1) << 32;
    v->size_hint = size_hint;
    return KOLM_OK;
}

#define SLOT_ENTRY 0xFFFFFFu
#define TOKENS_FIRST 40000u /* maximum initial capacity */

static uint64_t hash_of(const vocabulary *v, const char *bytes, size_t length) {
    vocabulary_text text = {0};
    for (size_t i = 0; i < length; i++)
        vocabulary_add_byte(v->secret, &text, (unsigned char)bytes[i]);
    return vocabulary_hash(v->secret, &text);
}

static uint64_t four(const char *bytes) {
    uint32_t word;
    memcpy(&word, bytes, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap32(word);
#endif
    return word;
}

/* Returns one to seven bytes as a little-endian number, from two reads that may overlap, none beyond the bytes. */
static uint64_t piece_of(const char *bytes, size_t length) {
    if (length >= 4) return four(bytes) | four(bytes + length - 4) << 8 * (length - 4);
    uint64_t piece = (unsigned char)bytes[0];
    for (size_t i = 1; i < length; i++)
        piece |= (uint64_t)(unsigned char)bytes[i] << 8 * i;
    return piece;
}

/* Number of bytes of a piece that begin a character: all but those of the form 10xxxxxx. */
static unsigned characters_of(uint64_t piece, size_t length) {
    uint64_t others = piece & ~(piece << 1) & UINT64_C(0x80808080808080);
    unsigned characters = (unsigned)length;
    for (; others != 0; others &= others - 1)
        characters--;
    return characters;
}

static size_t slot_of(const vocabulary *v, uint64_t mixed) {
    return (size_t)(mixed >> v->slot_shift);
}

/* A slot has eight bits of the hash, and the index of an entry plus one. */
static uint32_t tag_of(uint64_t mixed) {
    return (uint32_t)mixed << 24;
}

/* Adds entry i to the table, or moves its id and score to an earlier entry with the same text. hash: of its text. */
static void place(vocabulary *v, uint32_t i, uint64_t hash) {
    vocabulary_entry *e = &v->entries[i];
    const uint64_t mixed = hash * ODD;
    const size_t mask = ((size_t)1 << (64 - v->slot_shift)) - 1;
    for (size_t s = slot_of(v, mixed);; s = (s + 1) & mask) {
        const uint32_t slot = v->slots[s];
        if (slot == 0) {
            v->slots[s] = tag_of(mixed) | (i + 1u);
            v->distinct++;
            return;
        }
        if ((slot ^ tag_of(mixed)) >> 24 != 0) continue;
        const uint32_t other = (slot & SLOT_ENTRY) - 1u;
        vocabulary_entry *o = &v->entries[other];
        if (o->length == e->length && memcmp(v->bytes + o->at, v->bytes + e->at, e->length) == 0) {
            o->id = e->id;
            if (v->scores != NULL) v->scores[other] = v->scores[i];
            e->characters = VOCABULARY_TWICE;
            return;
        }
    }
}

/* Delays placing a token until more have been added, so that its slot has been prefetched by then. */
static void place_later(vocabulary *v, uint32_t i, uint64_t hash) {
    __builtin_prefetch(&v->slots[slot_of(v, hash * ODD)], 1);
    if (i >= VOCABULARY_WAITING) place(v, i - VOCABULARY_WAITING, v->waiting[i % VOCABULARY_WAITING]);
    v->waiting[i % VOCABULARY_WAITING] = hash;
}

/* Reallocates the table for this many tokens and bytes. */
static bool move(vocabulary *v, uint32_t capacity, size_t bytes_capacity) {
    unsigned bits = 4;
    while (((size_t)3 << bits) / 4 < capacity)
        bits++;
    const size_t slots = sizeof *v->slots << bits, entries = capacity * sizeof *v->entries;
    char *room = malloc(slots + entries + bytes_capacity);
    if (room == NULL) return false;
    if (v->scores != NULL) {
        double *scores = realloc(v->scores, capacity * sizeof *scores);
        if (scores == NULL) {
            free(room);
            return false;
        }
        v->scores = scores;
    }
    if (v->count > 0) {
        memcpy(room + slots, v->entries, v->count * sizeof *v->entries);
        memcpy(room + slots + entries, v->bytes, v->bytes_length);
    }
    free(v->room);
    v->room = room;
    v->slots = (uint32_t *)(void *)room;
    v->entries = (vocabulary_entry *)(void *)(room + slots);
    v->bytes = room + slots + entries;
    v->capacity = capacity;
    v->bytes_capacity = bytes_capacity;
    v->slot_shift = 64 - bits;
    v->distinct = 0;
    memset(v->slots, 0, slots);
    for (uint32_t i = 0; i + VOCABULARY_WAITING < v->count; i++)
        if (v->entries[i].characters != VOCABULARY_TWICE)
            place(v, i, hash_of(v, v->bytes + v->entries[i].at, v->entries[i].length));
    return true;
}

static bool grow(vocabulary *v, size_t length) {
    uint32_t capacity = v->capacity;
    size_t bytes_capacity = v->bytes_capacity;
    if (v->count == capacity) {
        const size_t hint = v->size_hint / 14 + 8;
        capacity = capacity > 0 ? capacity * 2 : hint < TOKENS_FIRST ? (uint32_t)hint : TOKENS_FIRST;
    }
    if (bytes_capacity - v->bytes_length < length) bytes_capacity = bytes_capacity * 2 + length + v->size_hint / 2;
    return (capacity == v->capacity && bytes_capacity == v->bytes_capacity) || move(v, capacity, bytes_capacity);
}

kit_status vocabulary_add(vocabulary *v, const char *bytes, size_t length, uint32_t id, kolm_error_t *err) {
    if (length > VOCABULARY_TOKEN_MAX)
        return tokenizer_refuse(err,
                                "the tokenizer has a token of %zu bytes; the encoder recipe reads tokens of at most %u",
                                length, VOCABULARY_TOKEN_MAX);
    if (v->count == VOCABULARY_COUNT_MAX)
        return tokenizer_refuse(err, "the tokenizer has more than %u tokens, the most that the encoder recipe reads",
                                VOCABULARY_COUNT_MAX);
    if (!grow(v, length)) return tokenizer_no_memory(err);
    uint64_t hash = 0;
    unsigned characters = 0;
    for (size_t i = 0; i < length; i += VOCABULARY_PIECE) {
        const size_t here = length - i < VOCABULARY_PIECE ? length - i : VOCABULARY_PIECE;
        const uint64_t piece = piece_of(bytes + i, here);
        hash = vocabulary_add_piece(v->secret, hash, piece | UINT64_C(1) << 8 * here);
        characters += characters_of(piece, here);
    }
    memcpy(v->bytes + v->bytes_length, bytes, length);
    vocabulary_entry *e = &v->entries[v->count];
    *e = (vocabulary_entry){(uint32_t)v->bytes_length, id, (uint16_t)length, (uint16_t)characters};
    v->bytes_length += length;
    if (length > v->longest) v->longest = (uint32_t)length;
    place_later(v, v->count++, hash);
    return KOLM_OK;
}

kit_status vocabulary_score(vocabulary *v, double score, kolm_error_t *err) {
    if (v->scores == NULL) v->scores = malloc(v->capacity * sizeof *v->scores);
    if (v->scores == NULL) return tokenizer_no_memory(err);
    v->scores[v->count - 1] = score;
    return KOLM_OK;
}

/* Fills the filter with every token, and every prefix of a token that ends at a character boundary. */
static bool note_fronts(vocabulary *v) {
    size_t total = 0;
    unsigned bits = 8;
    for (uint32_t i = 0; i < v->count; i++) /* at least the number of prefixes */
        if (v->entries[i].characters != VOCABULARY_TWICE) total += v->entries[i].characters;
    while (((size_t)1 << bits) < total)
        bits++;
    v->front_shift = 64 - bits;
    v->fronts = calloc(((size_t)1 << bits) / 4, 1);
    if (v->fronts == NULL) return false;
    for (uint32_t i = 0; i < v->count; i++) {
        const vocabulary_entry *e = &v->entries[i];
        const unsigned char *bytes = (const unsigned char *)v->bytes + e->at;
        vocabulary_text text = {0};
        for (size_t k = 0; k < e->length; k++) {
            vocabulary_add_byte(v->secret, &text, bytes[k]);
            bool last = k + 1 == e->length;
            if (!last && (bytes[k + 1] & 0xC0u) == 0x80) continue;
            uint64_t place = (vocabulary_hash(v->secret, &text) * ODD) >> v->front_shift;
            v->fronts[place >> 2] |= (uint8_t)((last ? FRONT_TOKEN : FRONT_LONGER) << (place & 3u) * 2);
        }
    }
    return true;
}

kit_status vocabulary_seal(vocabulary *v, bool fronts, kolm_error_t *err) {
    if (v->slots == NULL && !move(v, 8, 8)) return tokenizer_no_memory(err);
    const uint32_t first = v->count > VOCABULARY_WAITING ? v->count - VOCABULARY_WAITING : 0;
    for (uint32_t i = first; i < v->count; i++)
        place(v, i, v->waiting[i % VOCABULARY_WAITING]);
    v->sealed = true;
    return fronts && !note_fronts(v) ? tokenizer_no_memory(err) : KOLM_OK;
}

static bool is_token(const vocabulary *v, const vocabulary_entry *e, const char *front, size_t front_length,
                     const char *back, size_t back_length) {
    if (e->length != front_length + back_length) return false;
    const char *text = v->bytes + e->at;
    return memcmp(text, front, front_length) == 0 && memcmp(text + front_length, back, back_length) == 0;
}

const vocabulary_entry *vocabulary_look(const vocabulary *v, uint64_t hash, const char *front, size_t front_length,
                                        const char *back, size_t back_length) {
    const uint64_t mixed = hash * ODD;
    const size_t mask = ((size_t)1 << (64 - v->slot_shift)) - 1;
    for (size_t s = slot_of(v, mixed); v->slots[s] != 0; s = (s + 1) & mask) {
        const vocabulary_entry *e = &v->entries[(v->slots[s] & SLOT_ENTRY) - 1u];
        if ((v->slots[s] ^ tag_of(mixed)) >> 24 == 0 && is_token(v, e, front, front_length, back, back_length))
            return e;
    }
    return NULL;
}

uint32_t vocabulary_find(const vocabulary *v, const char *bytes, size_t length) {
    if (v->slots == NULL || length > v->longest) return VOCABULARY_NONE;
    const vocabulary_entry *e = vocabulary_look(v, hash_of(v, bytes, length), bytes, 0, bytes, length);
    return e != NULL ? e->id : VOCABULARY_NONE;
}

void vocabulary_free(vocabulary *v) {
    free(v->room);
    free(v->scores);
    free(v->fronts);
    *v = (vocabulary){0};
}
