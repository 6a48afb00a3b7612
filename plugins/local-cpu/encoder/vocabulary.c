/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens by their text: an open-addressed table whose hash goes on from a text's front to all of it. */
#include "kolm/kit/hash.h"
#include "tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

#define ODD UINT64_C(0x9E3779B97F4A7C15)

kit_status vocabulary_start(vocabulary *v, size_t size_hint, kolm_error_t *err) {
    kit_hash_secret secret;
    KIT_TRY(kit_hash_secret_draw(&secret, err));
    /* Any point below 2^60 but small ones, where short texts would not spread. */
    v->secret = (secret.words[0] >> 4) | UINT64_C(1) << 32;
    v->size_hint = size_hint;
    return KOLM_OK;
}

static bool grow(vocabulary *v, size_t length) {
    if (v->bytes == NULL || v->bytes_capacity - v->bytes_length < length) {
        size_t capacity = v->bytes_capacity * 2 + length + v->size_hint / 2;
        char *bytes = realloc(v->bytes, capacity);
        if (bytes == NULL) return false;
        v->bytes = bytes;
        v->bytes_capacity = capacity;
    }
    if (v->count == v->capacity) {
        uint32_t capacity = v->capacity * 2 + (uint32_t)(v->size_hint / 16) + 16;
        vocabulary_entry *entries = realloc(v->entries, capacity * sizeof *entries);
        if (entries == NULL) return false;
        v->entries = entries;
        uint64_t *hashes = realloc(v->hashes, capacity * sizeof *hashes);
        if (hashes == NULL) return false;
        v->hashes = hashes;
        v->capacity = capacity;
    }
    return true;
}

kit_status vocabulary_add(vocabulary *v, const char *bytes, size_t length, uint32_t id, double score,
                          kolm_error_t *err) {
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
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        hash = vocabulary_hash(v->secret, hash, byte);
        characters += (byte & 0xC0u) != 0x80;
        v->bytes[v->bytes_length + i] = (char)byte;
    }
    vocabulary_entry *e = &v->entries[v->count];
    *e = (vocabulary_entry){score, (uint32_t)v->bytes_length, id, (uint16_t)length, (uint16_t)characters, {0}};
    memcpy(e->head, v->bytes + v->bytes_length, length < VOCABULARY_HEAD ? length : VOCABULARY_HEAD);
    v->hashes[v->count++] = hash;
    v->bytes_length += length;
    if (length > v->longest) v->longest = (uint32_t)length;
    return KOLM_OK;
}

static size_t slot_of(const vocabulary *v, uint64_t mixed) {
    return (size_t)(mixed >> v->slot_shift);
}

/* Puts entry i into the table, or its id into that of the entry with the same text. */
static void place(vocabulary *v, uint32_t i) {
    vocabulary_entry *e = &v->entries[i];
    uint64_t mixed = v->hashes[i] * ODD, tag = mixed << 32;
    size_t mask = ((size_t)1 << (64 - v->slot_shift)) - 1;
    for (size_t s = slot_of(v, mixed);; s = (s + 1) & mask) {
        if (v->slots[s] == 0) {
            v->slots[s] = tag | (i + 1u);
            v->distinct++;
            return;
        }
        if ((v->slots[s] ^ tag) >> 32 != 0) continue;
        vocabulary_entry *other = &v->entries[(uint32_t)v->slots[s] - 1u];
        if (other->length == e->length && memcmp(v->bytes + other->at, v->bytes + e->at, e->length) == 0) {
            other->id = e->id;
            other->score = e->score;
            e->characters = VOCABULARY_TWICE;
            return;
        }
    }
}

/* Every front of every token, cut where a character ends, and every token. */
static bool note_fronts(vocabulary *v) {
    size_t total = 0;
    unsigned bits = 8;
    for (uint32_t i = 0; i < v->count; i++) /* more than fronts there are */
        if (v->entries[i].characters != VOCABULARY_TWICE) total += v->entries[i].characters;
    while (((size_t)1 << bits) < total)
        bits++;
    v->front_shift = 64 - bits;
    v->fronts = calloc(((size_t)1 << bits) / 4, 1);
    if (v->fronts == NULL) return false;
    for (uint32_t i = 0; i < v->count; i++) {
        const vocabulary_entry *e = &v->entries[i];
        const unsigned char *bytes = (const unsigned char *)v->bytes + e->at;
        uint64_t hash = 0;
        for (size_t k = 0; k < e->length; k++) {
            hash = vocabulary_hash(v->secret, hash, bytes[k]);
            bool last = k + 1 == e->length;
            if (!last && (bytes[k + 1] & 0xC0u) == 0x80) continue;
            uint64_t place = (hash * ODD) >> v->front_shift;
            v->fronts[place >> 2] |= (uint8_t)((last ? FRONT_TOKEN : FRONT_LONGER) << (place & 3u) * 2);
        }
    }
    return true;
}

kit_status vocabulary_seal(vocabulary *v, bool fronts, kolm_error_t *err) {
    unsigned bits = 4;
    while (((size_t)1 << bits) < (size_t)v->count * 2)
        bits++;
    v->slot_shift = 64 - bits;
    v->slots = calloc((size_t)1 << bits, sizeof *v->slots);
    if (v->slots == NULL) return tokenizer_no_memory(err);
    for (uint32_t i = 0; i < v->count; i++) {
        if (i + 8 < v->count) __builtin_prefetch(&v->slots[slot_of(v, v->hashes[i + 8] * ODD)], 1);
        place(v, i);
    }
    free(v->hashes);
    v->hashes = NULL;
    return fronts && !note_fronts(v) ? tokenizer_no_memory(err) : KOLM_OK;
}

static bool is_token(const vocabulary *v, const vocabulary_entry *e, const char *front, size_t front_length,
                     const char *back, size_t back_length) {
    if (e->length != front_length + back_length) return false;
    const char *text = e->length <= VOCABULARY_HEAD ? e->head : v->bytes + e->at;
    return memcmp(text, front, front_length) == 0 && memcmp(text + front_length, back, back_length) == 0;
}

const vocabulary_entry *vocabulary_look(const vocabulary *v, uint64_t hash, const char *front, size_t front_length,
                                        const char *back, size_t back_length) {
    uint64_t mixed = hash * ODD, tag = mixed << 32;
    size_t mask = ((size_t)1 << (64 - v->slot_shift)) - 1;
    for (size_t s = slot_of(v, mixed); v->slots[s] != 0; s = (s + 1) & mask) {
        const vocabulary_entry *e = &v->entries[(uint32_t)v->slots[s] - 1u];
        if ((v->slots[s] ^ tag) >> 32 == 0 && is_token(v, e, front, front_length, back, back_length)) return e;
    }
    return NULL;
}

uint32_t vocabulary_find(const vocabulary *v, const char *bytes, size_t length) {
    uint64_t hash = 0;
    if (v->slots == NULL || length > v->longest) return VOCABULARY_NONE;
    for (size_t i = 0; i < length; i++)
        hash = vocabulary_hash(v->secret, hash, (unsigned char)bytes[i]);
    const vocabulary_entry *e = vocabulary_look(v, hash, bytes, 0, bytes, length);
    return e != NULL ? e->id : VOCABULARY_NONE;
}

void vocabulary_free(vocabulary *v) {
    free(v->bytes);
    free(v->entries);
    free(v->hashes);
    free(v->slots);
    free(v->fronts);
    *v = (vocabulary){0};
}
