/* SPDX-License-Identifier: Apache-2.0 */
/* Texts to the token ids that the tokenizers library gives them: WordPiece, Unigram and WordLevel. */
#ifndef LOCAL_CPU_ENCODER_TOKENIZER_H
#define LOCAL_CPU_ENCODER_TOKENIZER_H

#include "kolm/kit/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A tokenizer is read from the bytes of a model's tokenizer.json or, where a model has none, of its vocab.txt with its
 * tokenizer_config.json. The ids are those of the tokenizers library, release TOKEN_TABLES (token_tables.h), for every
 * text: what this file's code does not do the same way, it does not read. A refusal is UNIMPLEMENTED, names the part of
 * the file, and its remedy is recipe lora, which runs the library itself; a damaged file is DATA_LOSS.
 *
 * What is read of tokenizer.json:
 *   model           WordPiece, WordLevel, Unigram (byte_fallback or not); each with its unknown token
 *   normalizer      BertNormalizer, Precompiled, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Prepend, Nmt,
 * Replace, Sequence. Patterns are texts, or a regular expression of the kind "one character or class of characters,
 *                   repeated" (" {2,}", "\\s+", "[\r\n]+").
 *   pre_tokenizer   BertPreTokenizer, WhitespaceSplit, Whitespace, Metaspace, Punctuation, Digits, Split, Sequence
 *   post_processor  BertProcessing, RobertaProcessing, TemplateProcessing, ByteLevel (it moves no ids), Sequence with
 * one of them added_tokens    all flags: special, normalized, single_word, lstrip, rstrip truncation, padding, decoder:
 * not obeyed; the caller says how many tokens a text may have.
 *
 * A metaspace with prepend_scheme "first" asks whether a piece is where the text began, through every change that
 * normalisers made to it; it is refused beside those that decompose or compose (NFC and its like, BertNormalizer).
 *
 * Threads: a tokenizer never changes once open, and any number of threads may use it. A tokenizer_work belongs to one
 * thread at a time; it keeps its memory from text to text.
 */
typedef struct tokenizer tokenizer;
typedef struct tokenizer_work tokenizer_work;

/* The files as bytes, not NUL terminated; NULL for one that is not there. json is enough; without it vocab is needed,
 * and config may be there. Nothing of them is kept. */
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
void tokenizer_close(tokenizer *t); /* NULL is fine */

/* What holds of a tokenizer; all of it belongs to the tokenizer. */
typedef struct tokenizer_facts {
    const char *model;      /* "WordPiece", "Unigram" or "WordLevel" */
    const char *tables;     /* release of the library whose tables were used: part of what makes a token what it is */
    uint32_t vocabulary;    /* different tokens, added ones among them */
    uint32_t id_end;        /* every id is less than this: rows that a table of embeddings must have at least */
    uint32_t unknown;       /* id of the unknown token */
    const uint32_t *before; /* ids that go before those of a text, before_count of them */
    const uint32_t *after;  /* and behind them */
    uint32_t before_count, after_count;
    uint32_t truncation;        /* max_length of the file's own truncation, 0 without; not obeyed */
    uint32_t median_characters; /* of all tokens, as model2vec takes it: in code points, a half rounded down */
} tokenizer_facts;
const tokenizer_facts *tokenizer_about(const tokenizer *t);
/* The id of a token by its text, added ones first. */
bool tokenizer_token(const tokenizer *t, const char *text, size_t length, uint32_t *out_id);

enum {
    TOKENIZER_SPECIAL = 1u << 0, /* put `before` and `after` around the ids; max_tokens counts them */
    TOKENIZER_END = 1u << 1, /* of a text with too many tokens keep the end, not the front (truncation_side "left") */
    /* As model2vec reads texts: the first max_tokens * median_characters code points, of those the first max_tokens
     * tokens, of those all but the unknown ones. Goes with neither of the above. */
    TOKENIZER_MODEL2VEC = 1u << 2,
};

typedef struct tokenizer_ids {
    const uint32_t *ids; /* the work's own, until its next text */
    size_t count;        /* may be 0 */
    bool truncated;      /* there was more text than max_tokens took */
} tokenizer_ids;

kit_status tokenizer_work_new(tokenizer_work **out, kolm_error_t *err) KIT_MUST_USE;
void tokenizer_work_free(tokenizer_work *work); /* NULL is fine */

/* The ids of a text of UTF-8, which may hold NUL and be empty. max_tokens 0: all of them; otherwise at least one more
 * than the special tokens asked for (INVALID_ARGUMENT). INVALID_ARGUMENT too for text that is not UTF-8, with the place
 * of the first byte that is not; OUT_OF_RANGE beyond TOKENIZER_TEXT_MAX; RESOURCE_EXHAUSTED without memory. The work
 * stays usable after each. */
kit_status tokenizer_encode(const tokenizer *t, tokenizer_work *work, const char *text, size_t length,
                            uint32_t max_tokens, unsigned how, tokenizer_ids *out, kolm_error_t *err) KIT_MUST_USE;

#endif
