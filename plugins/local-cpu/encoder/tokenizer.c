/* SPDX-License-Identifier: Apache-2.0 */
/* Converts a text to ids: added tokens, normaliser, pieces, model, special tokens, truncation. */
#include "tokenizer_parts.h"

#include "kolm/kit/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Refusals */

KIT_PRINTF(4, 0)
static kit_status refuse(kolm_error_t *err, int32_t code, const char *remedy, const char *format, va_list args) {
    char text[512];
    kit_buf plain = {0};
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = '\0';
    kit_buf_escaped(&plain, text, strlen(text)); /* it contains text from the file */
    kit_status status = kit_fail(err, code, remedy, "%s", kit_buf_text(&plain));
    kit_buf_free(&plain);
    return status;
}

kit_status tokenizer_refuse(kolm_error_t *err, const char *format, ...) {
    va_list args;
    va_start(args, format);
    kit_status status = refuse(err, KOLM_E_UNIMPLEMENTED, TOKENIZER_REMEDY, format, args);
    va_end(args);
    return status;
}

kit_status tokenizer_damaged(kolm_error_t *err, const char *format, ...) {
    va_list args;
    va_start(args, format);
    kit_status status = refuse(err, KOLM_E_DATA_LOSS, "download the model's files again", format, args);
    va_end(args);
    return status;
}

kit_status tokenizer_no_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the memory limit",
                    "out of memory in the tokenizer");
}

/* ---- Opening */

kit_status tokenizer_open(const tokenizer_files *files, tokenizer **out, kolm_error_t *err) {
    *out = NULL;
    if (files->json == NULL && files->vocab == NULL)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "use a model with tokenizer.json or vocab.txt; " TOKENIZER_REMEDY,
                        "the model has neither tokenizer.json nor vocab.txt");
    if (files->json_length > TOKENIZER_FILE_MAX || files->vocab_length > TOKENIZER_FILE_MAX ||
        files->config_length > TOKENIZER_FILE_MAX)
        return tokenizer_refuse(err, "the files of the tokenizer have more than %u bytes", TOKENIZER_FILE_MAX);
    tokenizer *t = calloc(1, sizeof *t);
    if (t == NULL) return tokenizer_no_memory(err);
    kit_status status =
        vocabulary_start(&t->words, files->json != NULL ? files->json_length : files->vocab_length, err);
    if (status == KOLM_OK) status = vocabulary_start(&t->added, 64, err);
    if (status == KOLM_OK)
        status = files->json != NULL ? tokenizer_read_json(t, files, err) : tokenizer_read_vocab(t, files, err);
    if (status == KOLM_OK)
        *out = t;
    else
        tokenizer_close(t);
    return status;
}

void tokenizer_close(tokenizer *t) {
    if (t == NULL) return;
    vocabulary_free(&t->words);
    vocabulary_free(&t->added);
    normaliser_free(&t->normaliser);
    splitter_free(&t->splitter);
    added_tokens_free(&t->raw);
    added_tokens_free(&t->normalised);
    free(t->unknown_text);
    free(t->prefix);
    free(t->before);
    free(t->after);
    free(t);
}

const tokenizer_facts *tokenizer_about(const tokenizer *t) {
    return &t->facts;
}

bool tokenizer_token(const tokenizer *t, const char *text, size_t length, uint32_t *out_id) {
    *out_id = vocabulary_find(&t->added, text, length);
    if (*out_id == VOCABULARY_NONE) *out_id = vocabulary_find(&t->words, text, length);
    return *out_id != VOCABULARY_NONE;
}

/* ---- Encoding a text */

kit_status tokenizer_work_new(tokenizer_work **out, kolm_error_t *err) {
    *out = calloc(1, sizeof **out);
    return *out != NULL ? KOLM_OK : tokenizer_no_memory(err);
}

void tokenizer_work_free(tokenizer_work *w) {
    if (w == NULL) return;
    for (size_t i = 0; i < SPLIT_STEPS_MAX; i++)
        free(w->meta[i].at);
    free(w->seen);
    free(w->raw.at);
    free(w->text.at);
    free(w->spare.at);
    free(w->bytes);
    free(w->path);
    free(w->ends);
    free(w->fronts);
    free(w->ids);
    free(w);
}

bool work_reserve(void **memory, size_t *capacity, size_t wanted, size_t size) {
    if (*capacity >= wanted) return true;
    size_t grown = wanted + wanted / 2 + 64;
    void *more = realloc(*memory, grown * size);
    if (more == NULL) return false;
    *memory = more;
    *capacity = grown;
    return true;
}

bool work_emit(tokenizer_work *w, uint32_t id) {
    if (w->count == w->limit) {
        w->full = true;
        return false;
    }
    if (w->count == w->capacity && !work_reserve((void **)&w->ids, &w->capacity, w->count + 1, sizeof *w->ids)) {
        w->failed = true;
        return false;
    }
    w->ids[w->count++] = id;
    return true;
}

static bool encode_piece(const tokenizer *t, tokenizer_work *w, size_t length, size_t characters) {
    if (t->model == MODEL_WORDPIECE) return wordpiece_encode(t, w, length, characters);
    if (t->model == MODEL_UNIGRAM) return unigram_encode(t, w, length);
    uint32_t id = vocabulary_find(&t->words, w->bytes, length);
    return work_emit(w, id != VOCABULARY_NONE ? id : t->unknown);
}

/* The cache slot of the piece in w->bytes, where the eight bytes after it are overwritten. */
static seen_piece *seen_place(tokenizer_work *w, size_t length) {
    uint64_t hash = length, word;
    memset(w->bytes + length, 0, 8);
    for (size_t i = 0; i < length; i += 8) {
        memcpy(&word, w->bytes + i, 8);
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 32;
    }
    return &w->seen[(hash * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - SEEN_BITS)];
}

static bool encode_short(const tokenizer *t, tokenizer_work *w, size_t length, size_t characters) {
    seen_piece *seen = seen_place(w, length);
    size_t before = w->count;
    if (seen->length == length && memcmp(seen->bytes, w->bytes, length) == 0) {
        for (unsigned i = 0; i < seen->count; i++)
            if (!work_emit(w, seen->ids[i])) return false;
        return true;
    }
    if (!encode_piece(t, w, length, characters)) return false; /* possibly incomplete */
    if (w->count - before > SEEN_IDS) return true;
    seen->length = (uint8_t)length;
    seen->count = (uint8_t)(w->count - before);
    memcpy(seen->bytes, w->bytes, length);
    memcpy(seen->ids, w->ids + before, seen->count * sizeof *seen->ids);
    return true;
}

static bool take_piece(void *user, const glyph *g, size_t count) {
    tokenizer_work *w = user;
    const tokenizer *t = w->tokenizer;
    size_t length = 0;
    if (!work_reserve((void **)&w->bytes, &w->bytes_capacity, count * 4 + 8, 1)) {
        w->failed = true;
        return false;
    }
    for (size_t i = 0; i < count; i++)
        length += utf8_put(w->bytes + length, g[i].point);
    return length <= SEEN_BYTES ? encode_short(t, w, length, count) : encode_piece(t, w, length, count);
}

/* Takes a stretch of normalised text, or an added token in it. */
static bool take_normalised(void *user, uint32_t id, const glyph *g, size_t count) {
    tokenizer_work *w = user;
    if (id != VOCABULARY_NONE) return work_emit(w, id);
    split_run run = {.splitter = &w->tokenizer->splitter, .meta = w->meta, .take = take_piece, .user = w};
    bool goes_on = splitter_run(&run, g, count);
    w->failed |= run.failed;
    return goes_on;
}

/* Takes a stretch of raw text, or an added token in it. */
static bool take_raw(void *user, uint32_t id, const glyph *g, size_t count) {
    tokenizer_work *w = user;
    const tokenizer *t = w->tokenizer;
    if (id != VOCABULARY_NONE) return work_emit(w, id);
    if (!glyphs_copy(&w->text, g, count) || !normaliser_run(&t->normaliser, &w->text, &w->spare)) {
        w->failed = true;
        return false;
    }
    return added_tokens_split(&t->normalised, w->text.at, w->text.count, take_normalised, w);
}

/* Converts a text to at most `most` glyphs; *out_bad: offset of the first byte that is not UTF-8, or length. */
static bool read_text(tokenizer_work *w, const char *text, size_t length, size_t most, size_t *out_bad) {
    size_t i = 0, count = 0;
    w->raw.count = 0;
    *out_bad = kit_utf8_valid(text, length);
    if (*out_bad != length) return true;
    if (!glyphs_reserve(&w->raw, length)) return false;
    glyph *out = w->raw.at;
    const unsigned char *s = (const unsigned char *)text;
    for (; i < length && count < most; count++) {
        uint32_t point = s[i];
        size_t step = utf8_step(s[i]);
        if (step > 1) {
            point &= 0xFFu >> (step + 1);
            for (size_t k = 1; k < step; k++)
                point = point << 6 | (s[i + k] & 0x3Fu);
        }
        out[count] = (glyph){point, (uint32_t)count};
        i += step;
    }
    w->raw.count = count;
    w->full = i < length;
    return true;
}

/* ---- Truncation and special tokens */

static bool special(unsigned how) {
    return (how & TOKENIZER_SPECIAL) != 0;
}

static void drop_unknown(tokenizer_work *w, uint32_t unknown) {
    size_t kept = 0;
    for (size_t i = 0; i < w->count; i++)
        if (w->ids[i] != unknown) w->ids[kept++] = w->ids[i];
    w->count = kept;
}

/* Keeps only the last `most` ids if the end of the text is kept, and adds the special tokens. */
static bool finish(tokenizer_work *w, unsigned how, size_t most) {
    const tokenizer_facts *f = &w->tokenizer->facts;
    size_t before = special(how) ? f->before_count : 0, after = special(how) ? f->after_count : 0;
    if ((how & TOKENIZER_END) != 0 && w->count > most) {
        memmove(w->ids, w->ids + (w->count - most), most * sizeof *w->ids);
        w->count = most;
        w->full = true;
    }
    if ((how & TOKENIZER_MODEL2VEC) != 0) drop_unknown(w, f->unknown);
    if (!work_reserve((void **)&w->ids, &w->capacity, before + w->count + after, sizeof *w->ids)) return false;
    if (before > 0 && w->count > 0) memmove(w->ids + before, w->ids, w->count * sizeof *w->ids);
    for (size_t i = 0; i < before; i++)
        w->ids[i] = f->before[i];
    for (size_t i = 0; i < after; i++)
        w->ids[before + w->count + i] = f->after[i];
    w->count += before + after;
    return true;
}

static kit_status check(const tokenizer *t, size_t length, uint32_t max_tokens, unsigned how, size_t *out_most,
                        kolm_error_t *err) {
    size_t around = special(how) ? (size_t)t->facts.before_count + t->facts.after_count : 0;
    *out_most = SIZE_MAX;
    if ((how & TOKENIZER_MODEL2VEC) != 0 && (how & (TOKENIZER_SPECIAL | TOKENIZER_END)) != 0)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "TOKENIZER_MODEL2VEC cannot be combined with other flags");
    if (length > TOKENIZER_TEXT_MAX)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "cut it", "a text of %zu bytes; at most %u can be tokenized", length,
                        TOKENIZER_TEXT_MAX);
    if (max_tokens == 0) return KOLM_OK;
    if (max_tokens <= around)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "allow more tokens",
                        "%u tokens for a text, of which %zu are special ones", max_tokens, around);
    *out_most = max_tokens - around;
    return KOLM_OK;
}

kit_status tokenizer_encode(const tokenizer *t, tokenizer_work *w, const char *text, size_t length, uint32_t max_tokens,
                            unsigned how, tokenizer_ids *out, kolm_error_t *err) {
    size_t most, bad, characters = SIZE_MAX;
    *out = (tokenizer_ids){0};
    KIT_TRY(check(t, length, max_tokens, how, &most, err));
    if ((how & TOKENIZER_MODEL2VEC) != 0 && most != SIZE_MAX) characters = most * t->facts.median_characters;
    if (w->seen == NULL || w->seen_by != t->words.secret) {
        free(w->seen);
        w->seen = calloc((size_t)1 << SEEN_BITS, sizeof *w->seen);
        if (w->seen == NULL) return tokenizer_no_memory(err);
        w->seen_by = t->words.secret;
    }
    w->tokenizer = t;
    w->count = 0;
    w->full = w->failed = false;
    w->limit = (how & TOKENIZER_END) != 0 ? SIZE_MAX : most;
    if (!read_text(w, text, length, characters, &bad)) return tokenizer_no_memory(err);
    if (bad != length)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use UTF-8 text", "a text is not UTF-8: byte %zu of %zu", bad + 1,
                        length);
    bool cut = w->full;
    w->full = false;
    (void)added_tokens_split(&t->raw, w->raw.at, w->raw.count, take_raw, w);
    if (w->failed || !finish(w, how, most)) return tokenizer_no_memory(err);
    *out = (tokenizer_ids){w->ids, w->count, w->full || cut};
    return KOLM_OK;
}
