/* SPDX-License-Identifier: Apache-2.0 */
/* Converts texts to the same token ids as the tokenizers library: WordPiece, Unigram and WordLevel. */
#ifndef LOCAL_CPU_ENCODER_TOKENIZER_H
#define LOCAL_CPU_ENCODER_TOKENIZER_H

#include "kolm/kit/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A tokenizer is read from the bytes of a model's tokenizer.json or, if a model has none, of its vocab.txt with its
 * tokenizer_config.json. The ids are those of the tokenizers library, release TOKEN_TABLES (token_tables.h), for every
 * text: anything that this code does not do in the same way is refused. A refusal is UNIMPLEMENTED, names the part of
 * the file, and its remedy is recipe lora, which runs the library itself; a damaged file is DATA_LOSS.
 *
 * Supported parts of tokenizer.json:
 *   model           WordPiece, WordLevel, Unigram (byte_fallback or not); each with its unknown token
 *   normalizer      BertNormalizer, Precompiled, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Prepend, Nmt,
 *                   Replace, Sequence. Patterns are texts, or a regular expression of the kind "one character or class
 *                   of characters, repeated" (" {2,}", "\\s+", "[\r\n]+").
 *   pre_tokenizer   BertPreTokenizer, WhitespaceSplit, Whitespace, Metaspace, Punctuation, Digits, Split, Sequence
 *   post_processor  BertProcessing, RobertaProcessing, TemplateProcessing, ByteLevel (it does not affect ids), Sequence
 *                   with one of them
 *   added_tokens    all flags: special, normalized, single_word, lstrip, rstrip
 *   truncation, padding, decoder: ignored; the caller sets the maximum number of tokens of a text.
 *
 * A metaspace with prepend_scheme "first" depends on whether a piece is at the start of the original text, before all
 * normalisers; it is refused together with those that decompose or compose (NFC and similar, BertNormalizer).
 *
 * Threads: a tokenizer never changes once open, and any number of threads may use it. A tokenizer_work belongs to one
 * thread at a time; it keeps its memory between texts.
 */
typedef struct tokenizer tokenizer;
typedef struct tokenizer_work tokenizer_work;

/* The contents of the files, not NUL terminated; NULL for a missing one. json is sufficient; without it vocab is
 * required and config optional. They are needed only during tokenizer_open. */
typedef struct tokenizer_files {
    const char *json;
    size_t json_length;
    const char *vocab;
    size_t vocab_length;
    const char *config;
    size_t config_length;
} tokenizer_files;

#define TOKENIZER_FILE_MAX (256u << 20) /* bytes of one of them */
#define TOKENIZER_TEXT_MAX (64u << 20)  /* bytes of one text */

kit_status tokenizer_open(const tokenizer_files *files, tokenizer **out, kolm_error_t *err) KIT_MUST_USE;
void tokenizer_close(tokenizer *t); /* no-op if NULL */

/* Properties of a tokenizer, which owns all of them. */
typedef struct tokenizer_facts {
    const char *model;      /* "WordPiece", "Unigram" or "WordLevel" */
    const char *tables;     /* release of the library whose tables were used, which affect the tokens */
    uint32_t vocabulary;    /* number of distinct tokens, including added ones */
    uint32_t id_end;        /* every id is less than this: the minimum number of rows of an embedding table */
    uint32_t unknown;       /* id of the unknown token */
    const uint32_t *before; /* before_count special ids that precede those of a text */
    const uint32_t *after;  /* after_count special ids that follow them */
    uint32_t before_count, after_count;
    uint32_t truncation;        /* max_length of the file's own truncation, 0 without; ignored */
    uint32_t median_characters; /* of all tokens, as in model2vec: in code points, a half rounded down */
} tokenizer_facts;
const tokenizer_facts *tokenizer_about(const tokenizer *t);
/* The id of a token by its text, added ones first. */
bool tokenizer_token(const tokenizer *t, const char *text, size_t length, uint32_t *out_id);

enum {
    TOKENIZER_SPECIAL = 1u << 0, /* put `before` and `after` around the ids; max_tokens includes them */
    TOKENIZER_END = 1u << 1, /* of a text with too many tokens keep the end, not the front (truncation_side "left") */
    /* Like model2vec: the first max_tokens * median_characters code points, of those the first max_tokens tokens, of
     * those all but the unknown ones. Not to be combined with the above. */
    TOKENIZER_MODEL2VEC = 1u << 2,
};

typedef struct tokenizer_ids {
    const uint32_t *ids; /* owned by the work, valid until its next text */
    size_t count;        /* may be 0 */
    bool truncated;      /* the text has more than max_tokens */
} tokenizer_ids;

kit_status tokenizer_work_new(tokenizer_work **out, kolm_error_t *err) KIT_MUST_USE;
void tokenizer_work_free(tokenizer_work *work); /* no-op if NULL */

/* Computes the ids of a UTF-8 text, which may contain NUL and be empty. max_tokens 0: all of them; otherwise it must
 * exceed the number of special tokens requested (INVALID_ARGUMENT). INVALID_ARGUMENT also for text that is not UTF-8,
 * with the offset of the first invalid byte; OUT_OF_RANGE beyond TOKENIZER_TEXT_MAX; RESOURCE_EXHAUSTED if out of
 * memory. The work stays usable after each. */
kit_status tokenizer_encode(const tokenizer *t, tokenizer_work *work, const char *text, size_t length,
                            uint32_t max_tokens, unsigned how, tokenizer_ids *out, kolm_error_t *err) KIT_MUST_USE;

#endif
