/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the parts of the tokenizer: glyphs, steps of normalisers and pre-tokenizers, the vocabulary, and the work
 * on a text. */
/* Sources: added_tokens.c, charsmap.c, normalise.c, pattern.c, read_steps.c, split.c, tokenizer.c, tokenizer_json.c,
 * tokenizer_vocab.c, unigram.c, vocabulary.c and wordpiece.c. */
#ifndef LOCAL_CPU_ENCODER_TOKENIZER_PARTS_H
#define LOCAL_CPU_ENCODER_TOKENIZER_PARTS_H

#include "kolm/kit/json.h"
#include "token_unicode.h"
#include "tokenizer.h"

#define TOKENIZER_REMEDY "compile with --recipe lora, whose tokens come from the tokenizers library itself"

/* A text between bytes and tokens: code points, each with its position in the raw text (in code points, like the
 * library's alignments; maintained only if a step needs it). */
typedef struct glyph {
    uint32_t point, origin;
} glyph;

typedef struct glyphs {
    glyph *at;
    size_t count, capacity;
} glyphs;
/* Makes room for `more` after count; false if out of memory. */
bool glyphs_reserve(glyphs *g, size_t more);
bool glyphs_copy(glyphs *to, const glyph *from, size_t count);

/* A text to search for, or one character (or class of characters), repeated. */
typedef struct pattern {
    uint32_t *points; /* the text, or the members of the class */
    uint32_t count;
    bool repeated;        /* a class, not a text */
    bool spaces;          /* the class includes white space */
    bool inverted;        /* the class is all other characters */
    uint32_t least, most; /* repetitions; least >= 1 */
} pattern;
/* Parses {"String": ...} or {"Regex": ...}; where: the step it belongs to, for the refusal. */
kit_status pattern_read(const cJSON *value, const char *where, pattern *out, kolm_error_t *err) KIT_MUST_USE;
/* Finds the first match from `from` on, leftmost and longest; false if there is none. */
bool pattern_find(const pattern *p, const glyph *g, size_t count, size_t from, size_t *out_start, size_t *out_end);
void pattern_free(pattern *p);

/* The rewriting rules of sentencepiece: a double array trie (Darts) of UTF-8 keys, and the texts that its values point
 * into. */
typedef struct charsmap {
    uint32_t *units;
    uint32_t unit_count;
    char *texts;
    size_t texts_length;
    bool plain[128]; /* ASCII characters that no rule begins with */
} charsmap;
kit_status charsmap_read(const char *base64, size_t length, charsmap **out, kolm_error_t *err) KIT_MUST_USE;
void charsmap_free(charsmap *map);
/* Appends the glyphs after applying the rules; with origins if requested. */
bool charsmap_apply(const charsmap *map, const glyph *g, size_t count, bool origins, glyphs *out);

typedef enum normal_kind {
    NORMAL_BERT,
    NORMAL_CHARSMAP,
    NORMAL_FORM, /* NFC, NFD, NFKC, NFKD */
    NORMAL_LOWER,
    NORMAL_STRIP,
    NORMAL_DROP_MARKS,
    NORMAL_PREPEND,
    NORMAL_NMT,
    NORMAL_REPLACE,
} normal_kind;

typedef struct normal_step {
    normal_kind kind;
    bool clean, chinese, accents, lower; /* of NORMAL_BERT; accents: remove them */
    bool compose, compatible;            /* of NORMAL_FORM */
    bool left, right;                    /* of NORMAL_STRIP */
    uint32_t *points;                    /* of NORMAL_PREPEND and NORMAL_REPLACE: the new text */
    uint32_t point_count;
    pattern pattern;
    charsmap *map;
} normal_step;

typedef struct normaliser {
    normal_step *steps;
    size_t count;
    bool origins; /* a pre-tokenizer needs them */
} normaliser;
/* Reads the steps of a normalizer of tokenizer.json; JSON null: no steps. */
kit_status normaliser_read(const cJSON *value, normaliser *out, kolm_error_t *err) KIT_MUST_USE;
/* The normaliser of BertTokenizer, from its configuration. */
kit_status normaliser_bert(bool clean, bool chinese, bool accents, bool lower, normaliser *out,
                           kolm_error_t *err) KIT_MUST_USE;
/* Returns true if all steps maintain origins. */
bool normaliser_keeps_origins(const normaliser *n);
/* In place, with spare for a second copy; false if out of memory. */
bool normaliser_run(const normaliser *n, glyphs *text, glyphs *spare);
void normaliser_free(normaliser *n);
/* Converts text to its canonical or compatibility form, in place, with spare as in normaliser_run. */
bool normal_form(glyphs *text, glyphs *spare, bool compatible, bool compose);

typedef enum split_kind {
    SPLIT_WHITE,
    SPLIT_BERT,
    SPLIT_WORDS,
    SPLIT_METASPACE,
    SPLIT_PUNCTUATION,
    SPLIT_DIGITS,
    SPLIT_PATTERN
} split_kind;
typedef enum split_keep { KEEP_REMOVED, KEEP_ISOLATED, KEEP_CONTIGUOUS, KEEP_WITH_PREVIOUS, KEEP_WITH_NEXT } split_keep;
typedef enum split_prepend { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER } split_prepend;

#define SPLIT_STEPS_MAX 16

typedef struct split_step {
    split_kind kind;
    split_keep keep;
    bool inverted;
    split_prepend prepend; /* of SPLIT_METASPACE */
    bool cut;
    uint32_t mark;
    pattern pattern;
} split_step;

typedef struct splitter {
    split_step steps[SPLIT_STEPS_MAX];
    size_t count;
} splitter;
kit_status splitter_read(const cJSON *value, splitter *out, kolm_error_t *err) KIT_MUST_USE;
bool splitter_asks_origins(const splitter *s);
void splitter_free(splitter *s);
/* Passes the pieces to `take` in order, until it returns false; then returns false, too. meta: SPLIT_STEPS_MAX buffers.
 * A failed allocation sets failed and stops, too. */
typedef struct split_run {
    const splitter *splitter;
    glyphs *meta;
    bool (*take)(void *user, const glyph *piece, size_t count);
    void *user;
    bool failed;
} split_run;
bool splitter_run(split_run *run, const glyph *text, size_t count);

/* Tokens by their text. The hash is a polynomial over a prime field at a secret point, so that colliding tokens cannot
 * be constructed, and the hash of a text can be computed from that of its prefix. */
#define VOCABULARY_WAITING 16u
#define VOCABULARY_PIECE 7u /* bytes of a token that are hashed at a time */
typedef struct vocabulary_entry {
    uint32_t at, id;
    uint16_t length, characters; /* bytes, and code points; characters 0xFFFF: a duplicate of an earlier token */
} vocabulary_entry;

typedef struct vocabulary {
    char *bytes;
    size_t bytes_length, bytes_capacity;
    vocabulary_entry *entries;
    uint32_t count, capacity;
    uint32_t *slots; /* complete once it is sealed */
    unsigned slot_shift;
    void *room;     /* bytes, entries and slots, in one allocation */
    double *scores; /* of the entries, for Unigram: room for capacity of them; NULL: none */
    uint64_t secret;
    size_t size_hint;
    uint32_t longest; /* bytes of the longest token */
    uint32_t distinct;
    bool sealed;
    uint64_t waiting[VOCABULARY_WAITING]; /* hashes of the last tokens, which are not in slots yet */
    uint8_t *fronts;                      /* two bits for each hash: FRONT_*; a filter with false positives */
    unsigned front_shift;
} vocabulary;
#define VOCABULARY_TOKEN_MAX 4096u /* bytes of a token */
#define VOCABULARY_COUNT_MAX ((1u << 24) - 1)
#define VOCABULARY_NONE UINT32_MAX
/* size_hint: bytes of the file that the tokens are in. */
kit_status vocabulary_start(vocabulary *v, size_t size_hint, kolm_error_t *err) KIT_MUST_USE;
/* Adds a token. Of equal tokens, the id and score of the last one are used. */
kit_status vocabulary_add(vocabulary *v, const char *bytes, size_t length, uint32_t id, kolm_error_t *err) KIT_MUST_USE;
/* Sets the score of the token added last. */
kit_status vocabulary_score(vocabulary *v, double score, kolm_error_t *err) KIT_MUST_USE;
/* Call after the last token. fronts: builds the filter, for texts without blanks (Unigram). */
kit_status vocabulary_seal(vocabulary *v, bool fronts, kolm_error_t *err) KIT_MUST_USE;
uint32_t vocabulary_find(const vocabulary *v, const char *bytes, size_t length); /* its id or VOCABULARY_NONE */
void vocabulary_free(vocabulary *v);

#define VOCABULARY_PRIME ((UINT64_C(1) << 61) - 1)
#define VOCABULARY_TWICE UINT16_MAX
/* hash * secret + piece, not reduced to the least remainder: below 2^62, since the secret is below 2^60. */
static inline uint64_t vocabulary_add_piece(uint64_t secret, uint64_t hash, uint64_t piece) {
#ifdef __SIZEOF_INT128__
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)hash * secret + piece;
    return ((uint64_t)product & VOCABULARY_PRIME) + (uint64_t)(product >> 61);
#else
    uint64_t a = hash >> 32, b = (uint32_t)hash, c = secret >> 32, d = (uint32_t)secret;
    uint64_t cross = b * c, middle = a * d + (uint32_t)cross + ((b * d) >> 32); /* a * d is below 2^62 */
    uint64_t bottom = (middle << 32) | (uint32_t)(b * d), top = a * c + (cross >> 32) + (middle >> 32);
    uint64_t sum = bottom + piece;
    top += sum < bottom;
    return (sum & VOCABULARY_PRIME) + ((top << 3) | (sum >> 61));
#endif
}
/* A text's hash while bytes are added. They are hashed seven at a time, with a one bit after the last, so that
 * different texts are different sequences of numbers. */
typedef struct vocabulary_text {
    uint64_t hash, piece;
    unsigned bits; /* of piece */
} vocabulary_text;
static inline void vocabulary_add_byte(uint64_t secret, vocabulary_text *text, unsigned char byte) {
    text->piece |= (uint64_t)byte << text->bits;
    text->bits += 8;
    if (text->bits < 8 * VOCABULARY_PIECE) return;
    *text =
        (vocabulary_text){.hash = vocabulary_add_piece(secret, text->hash, text->piece | UINT64_C(1) << text->bits)};
}
static inline uint64_t vocabulary_hash(uint64_t secret, const vocabulary_text *text) {
    return text->bits == 0 ? text->hash
                           : vocabulary_add_piece(secret, text->hash, text->piece | UINT64_C(1) << text->bits);
}
/* Returns the token that is front followed by back, with this hash, or NULL. */
const vocabulary_entry *vocabulary_look(const vocabulary *v, uint64_t hash, const char *front, size_t front_length,
                                        const char *back, size_t back_length);
enum { FRONT_LONGER = 1, FRONT_TOKEN = 2 };
/* Returns whether longer tokens may begin with the text with this hash (FRONT_LONGER), and whether it may be a token
 * itself (FRONT_TOKEN). */
static inline unsigned vocabulary_front(const vocabulary *v, uint64_t hash) {
    uint64_t place = (hash * UINT64_C(0x9E3779B97F4A7C15)) >> v->front_shift;
    return v->fronts[place >> 2] >> (place & 3u) * 2 & 3u;
}

typedef enum model_kind { MODEL_WORDPIECE, MODEL_WORDLEVEL, MODEL_UNIGRAM } model_kind;

typedef struct added_token {
    uint32_t *points; /* the text to find, normalised if the token requires it */
    uint32_t count, id;
    bool single_word, left, right;
} added_token;
/* Sorted by their points. first: a bit for each remainder of a first point by 64. */
typedef struct added_tokens {
    added_token *tokens;
    size_t count;
    uint64_t first;
} added_tokens;

struct tokenizer {
    tokenizer_facts facts;
    model_kind model;
    vocabulary words, added; /* added: all added tokens by their content */
    uint32_t model_size;     /* number of tokens of the model as counted by the library: the first id of added ones */
    uint32_t unknown;
    char *unknown_text, *prefix; /* prefix: of pieces that continue a word */
    size_t prefix_length;
    vocabulary_text prefix_hash;
    size_t word_characters_max;
    double unknown_score;
    bool byte_fallback;
    uint32_t byte_ids[256];
    normaliser normaliser;
    splitter splitter;
    added_tokens raw, normalised; /* searched for in the raw text, and in the normalised one */
    uint32_t *before, *after;
};

typedef struct path_node {
    double score;
    uint32_t start, id;
} path_node;

/* A prefix of a word, up to the end of one of its characters. */
typedef struct word_front {
    uint64_t hash;
    uint32_t stop;
} word_front;

/* A cache of earlier pieces with their tokens, because most words of a text repeat. Pieces with the same slot replace
 * each other. */
#define SEEN_BYTES 34u
#define SEEN_IDS 7u
#define SEEN_BITS 12u
typedef struct seen_piece {
    uint8_t length, count; /* length 0: none */
    char bytes[SEEN_BYTES];
    uint32_t ids[SEEN_IDS];
} seen_piece;

struct tokenizer_work {
    const tokenizer *tokenizer;
    seen_piece *seen;
    uint64_t seen_by; /* the tokenizer of those pieces, identified by its secret */
    glyphs raw, text, spare, meta[SPLIT_STEPS_MAX];
    char *bytes; /* a piece as UTF-8 */
    size_t bytes_capacity;
    path_node *path;
    size_t path_capacity;
    uint32_t *ends; /* of pieces, back to front */
    size_t ends_capacity;
    word_front *fronts;
    size_t fronts_capacity;
    uint32_t *ids;
    size_t count, capacity, limit;
    bool full, failed;
};
/* Appends an id; false at the limit (full) or if out of memory (failed). */
bool work_emit(tokenizer_work *w, uint32_t id);
/* Grows *memory to at least `wanted` elements of this size. */
bool work_reserve(void **memory, size_t *capacity, size_t wanted, size_t size);
/* Emits the tokens of one piece, whose UTF-8 is in w->bytes. */
bool wordpiece_encode(const tokenizer *t, tokenizer_work *w, size_t length, size_t characters);
bool unigram_encode(const tokenizer *t, tokenizer_work *w, size_t length);

kit_status tokenizer_read_json(tokenizer *t, const tokenizer_files *files, kolm_error_t *err) KIT_MUST_USE;
kit_status tokenizer_read_vocab(tokenizer *t, const tokenizer_files *files, kolm_error_t *err) KIT_MUST_USE;
/* Computes the facts, once everything has been read. */
kit_status tokenizer_settle(tokenizer *t, kolm_error_t *err) KIT_MUST_USE;
/* An added token as tokenizer.json lists it. */
typedef struct added_request {
    const char *content;
    bool single_word, left, right, normalised;
} added_request;
/* Builds t->raw, t->normalised and t->added; the model's words and the normaliser must be complete. */
kit_status added_tokens_build(tokenizer *t, const added_request *requests, size_t count,
                              kolm_error_t *err) KIT_MUST_USE;
void added_tokens_free(added_tokens *a);
/* Calls take for each added token and each stretch between them (id NONE), in order; not for an empty text. */
typedef bool (*added_take)(void *user, uint32_t id, const glyph *g, size_t count);
bool added_tokens_split(const added_tokens *a, const glyph *g, size_t count, added_take take, void *user);

kit_status tokenizer_refuse(kolm_error_t *err, const char *format, ...)
    KIT_PRINTF(2, 3); /* UNIMPLEMENTED, TOKENIZER_REMEDY */
kit_status tokenizer_damaged(kolm_error_t *err, const char *format, ...) KIT_PRINTF(2, 3); /* DATA_LOSS */
kit_status tokenizer_no_memory(kolm_error_t *err);
/* UTF-8 to code points: malloc'd, *out_count of them. */
kit_status tokenizer_points(const char *text, uint32_t **out, uint32_t *out_count, kolm_error_t *err) KIT_MUST_USE;

static inline size_t utf8_put(char *out, uint32_t point) {
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xC0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3F));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xE0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 0x3F));
        out[2] = (char)(0x80 | (point & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | point >> 18);
    out[1] = (char)(0x80 | (point >> 12 & 0x3F));
    out[2] = (char)(0x80 | (point >> 6 & 0x3F));
    out[3] = (char)(0x80 | (point & 0x3F));
    return 4;
}
/* Bytes of the UTF-8 character that begins with this byte, of valid text. */
static inline size_t utf8_step(unsigned char first) {
    return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

#endif
