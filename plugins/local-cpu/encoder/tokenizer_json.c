/* SPDX-License-Identifier: Apache-2.0 */
/* Reads tokenizer.json: the vocabulary in one pass over the bytes, the rest, which is small, as a tree. */
#include "json_scan.h"

#include "kolm/kit/text.h"
#include "tokenizer_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The score of unknown tokens is this much below the lowest of the vocabulary. */
#define UNKNOWN_PENALTY 10.0

typedef struct part {
    const char *bytes;
    size_t length;
} part;

/* Members of the model, evaluated once all have been read, because keys come in any order. */
typedef struct model_reading {
    part type;
    bool has_prefix, has_most, is_list, is_map;
    double most;
    uint32_t unknown;
    bool has_unknown;
    double least;
} model_reading;

static kit_status damaged_at(const json_scan *s, const char *what, kolm_error_t *err) {
    return tokenizer_damaged(err, "tokenizer.json: byte %zu: expected %s", (size_t)(s->p - s->start) + 1, what);
}

static bool is_text(part p, const char *text) {
    return p.length == strlen(text) && memcmp(p.bytes, text, p.length) == 0;
}

/* ---- The model */

static kit_status read_map(tokenizer *t, json_scan *s, kolm_error_t *err) {
    bool first = true, fine;
    part key;
    uint32_t id;
    if (!scan_take(s, '{')) return damaged_at(s, "the vocabulary", err);
    while (scan_member(s, &first, &key.bytes, &key.length, &fine)) {
        if (!scan_id(s, &id)) return damaged_at(s, "the id of a token, a whole number", err);
        KIT_TRY(vocabulary_add(&t->words, key.bytes, key.length, id, err));
    }
    return fine ? KOLM_OK : damaged_at(s, "a token and its id, or the end of the vocabulary", err);
}

static kit_status read_list(tokenizer *t, json_scan *s, model_reading *m, kolm_error_t *err) {
    bool first = true;
    part token;
    double score;
    if (!scan_take(s, '[')) return damaged_at(s, "the vocabulary", err);
    for (m->least = INFINITY; !scan_take(s, ']'); first = false) {
        if ((!first && !scan_take(s, ',')) || !scan_take(s, '[') || !scan_string(s, &token.bytes, &token.length))
            return damaged_at(s, "a token and its score, or the end of the vocabulary", err);
        KIT_TRY(vocabulary_add(&t->words, token.bytes, token.length, t->words.count, err));
        if (!scan_take(s, ',') || (scan_peek(s), !scan_number(s, &score)) || !scan_take(s, ']'))
            return damaged_at(s, "the score of a token, a number", err);
        KIT_TRY(vocabulary_score(&t->words, score, err));
        if (score < m->least) m->least = score;
    }
    return KOLM_OK;
}

static kit_status keep_text(json_scan *s, const char *key, char **out, size_t *out_length, kolm_error_t *err) {
    part text;
    if (!scan_string(s, &text.bytes, &text.length)) return damaged_at(s, key, err);
    free(*out);
    *out = malloc(text.length + 1);
    if (*out == NULL) return tokenizer_no_memory(err);
    memcpy(*out, text.bytes, text.length);
    (*out)[text.length] = '\0';
    *out_length = text.length;
    return KOLM_OK;
}

static kit_status read_small(tokenizer *t, json_scan *s, part key, model_reading *m, kolm_error_t *err) {
    size_t length;
    part value;
    if (is_text(key, "unk_token") && scan_peek(s) == '"')
        return keep_text(s, "the unk_token", &t->unknown_text, &length, err);
    if (is_text(key, "continuing_subword_prefix") && scan_peek(s) == '"') {
        m->has_prefix = true;
        return keep_text(s, "the continuing_subword_prefix", &t->prefix, &t->prefix_length, err);
    }
    if (is_text(key, "max_input_chars_per_word")) {
        scan_peek(s);
        m->has_most = scan_number(s, &m->most);
        return m->has_most && m->most >= 0 ? KOLM_OK : damaged_at(s, "max_input_chars_per_word", err);
    }
    if (is_text(key, "unk_id") && scan_peek(s) != 'n') {
        m->has_unknown = scan_id(s, &m->unknown);
        return m->has_unknown ? KOLM_OK : damaged_at(s, "the unk_id", err);
    }
    if (!scan_value(s, &value.bytes, &value.length)) return damaged_at(s, "a value", err);
    if (is_text(key, "byte_fallback")) t->byte_fallback = is_text(value, "true");
    if (is_text(key, "type")) m->type = value;
    return KOLM_OK;
}

static kit_status refuse_kind(part type, kolm_error_t *err) {
    char shown[64];
    kit_format(shown, sizeof shown, "%.*s", (int)(type.length < 60 ? type.length : 60),
               type.bytes != NULL ? type.bytes : "none");
    return tokenizer_refuse(err, "tokenizer.json: the model is of a type that the encoder recipe does not read: %s",
                            shown);
}

static bool known_kind(const model_reading *m, model_kind *out) {
    bool said = m->type.bytes != NULL;
    *out = m->is_list                                                      ? MODEL_UNIGRAM
           : m->has_prefix && (!said || is_text(m->type, "\"WordPiece\"")) ? MODEL_WORDPIECE
                                                                           : MODEL_WORDLEVEL;
    if (!said) return *out != MODEL_WORDLEVEL;
    const char *name = *out == MODEL_UNIGRAM     ? "\"Unigram\""
                       : *out == MODEL_WORDPIECE ? "\"WordPiece\""
                                                 : "\"WordLevel\"";
    return is_text(m->type, name);
}

static kit_status settle_unigram(tokenizer *t, const model_reading *m, kolm_error_t *err) {
    char text[8];
    if (!m->has_unknown)
        return tokenizer_refuse(
            err, "tokenizer.json: the Unigram model has no unk_id, so texts with other characters have no tokens");
    if (m->unknown >= t->words.count)
        return tokenizer_damaged(err, "tokenizer.json: the unk_id is %u and there are %u tokens", m->unknown,
                                 t->words.count);
    t->unknown = m->unknown;
    t->unknown_score = m->least - UNKNOWN_PENALTY;
    t->model_size = t->words.count;
    for (unsigned b = 0; b < 256; b++) {
        kit_format(text, sizeof text, "<0x%02X>", b);
        t->byte_ids[b] = vocabulary_find(&t->words, text, strlen(text));
    }
    return KOLM_OK;
}

static kit_status settle_words(tokenizer *t, const model_reading *m, kolm_error_t *err) {
    if (t->unknown_text == NULL) return tokenizer_damaged(err, "tokenizer.json: the model has no unk_token");
    if (t->model == MODEL_WORDPIECE && !m->has_most)
        return tokenizer_damaged(err, "tokenizer.json: the model has no max_input_chars_per_word");
    t->unknown = vocabulary_find(&t->words, t->unknown_text, strlen(t->unknown_text));
    if (t->unknown == VOCABULARY_NONE)
        return tokenizer_refuse(err, "tokenizer.json: the unknown token %s is not in the vocabulary", t->unknown_text);
    t->word_characters_max = m->most < 1e9 ? (size_t)m->most : 1000000000u;
    t->model_size = t->words.distinct;
    for (size_t i = 0; i < t->prefix_length; i++)
        vocabulary_add_byte(t->words.secret, &t->prefix_hash, (unsigned char)t->prefix[i]);
    return KOLM_OK;
}

static kit_status read_model(tokenizer *t, json_scan *s, kolm_error_t *err) {
    model_reading m = {0};
    bool first = true, fine;
    part key;
    if (t->words.sealed || !scan_take(s, '{')) return damaged_at(s, "one model", err);
    while (scan_member(s, &first, &key.bytes, &key.length, &fine)) {
        bool words = is_text(key, "vocab");
        if (words && (m.is_list || m.is_map)) return damaged_at(s, "one vocabulary", err);
        if (words && m.type.bytes != NULL && is_text(m.type, "\"BPE\"")) return refuse_kind(m.type, err);
        if (words) m.is_list = scan_peek(s) == '[';
        if (words) m.is_map = !m.is_list;
        KIT_TRY(!words ? read_small(t, s, key, &m, err) : m.is_list ? read_list(t, s, &m, err) : read_map(t, s, err));
    }
    if (!fine) return damaged_at(s, "a part of the model", err);
    if (!known_kind(&m, &t->model)) return refuse_kind(m.type, err);
    if (t->words.count == 0) return tokenizer_damaged(err, "tokenizer.json: the vocabulary is empty");
    KIT_TRY(vocabulary_seal(&t->words, t->model == MODEL_UNIGRAM, err));
    return t->model == MODEL_UNIGRAM ? settle_unigram(t, &m, err) : settle_words(t, &m, err);
}

/* ---- Added tokens */

static bool get_flag(const cJSON *value, const char *key, bool *out) {
    return kit_json_get_bool(value, key, out);
}

static kit_status read_added(tokenizer *t, const cJSON *list, kolm_error_t *err) {
    const cJSON *one;
    size_t count = 0;
    if (list != NULL && !cJSON_IsArray(list))
        return tokenizer_damaged(err, "tokenizer.json: the added_tokens are not a list");
    added_request *requests = calloc((size_t)(list != NULL ? cJSON_GetArraySize(list) : 0) + 1, sizeof *requests);
    if (requests == NULL) return tokenizer_no_memory(err);
    kit_status status = KOLM_OK;
    cJSON_ArrayForEach(one, list) {
        added_request *r = &requests[count];
        bool special;
        if (!kit_json_get_string(one, "content", &r->content) || !get_flag(one, "single_word", &r->single_word) ||
            !get_flag(one, "lstrip", &r->left) || !get_flag(one, "rstrip", &r->right) ||
            !get_flag(one, "normalized", &r->normalised) || !get_flag(one, "special", &special)) {
            status = tokenizer_damaged(err, "tokenizer.json: added token %zu lacks its content or one of its flags",
                                       count + 1);
            break;
        }
        if (r->content[0] != '\0') count++;
    }
    if (status == KOLM_OK) status = added_tokens_build(t, requests, count, err);
    free(requests);
    return status;
}

/* ---- The post-processor */

static kit_status add_special(uint32_t **ids, uint32_t *count, const cJSON *id, kolm_error_t *err) {
    if (!cJSON_IsNumber(id) || id->valuedouble < 0 || id->valuedouble >= INT32_MAX ||
        id->valuedouble != (double)(uint32_t)id->valuedouble)
        return tokenizer_damaged(err, "tokenizer.json: the post_processor has a token whose id is not an integer");
    uint32_t *more = realloc(*ids, ((size_t)*count + 1) * sizeof *more);
    if (more == NULL) return tokenizer_no_memory(err);
    *ids = more;
    more[(*count)++] = (uint32_t)id->valuedouble;
    return KOLM_OK;
}

static kit_status read_pair(const cJSON *value, const char *key, uint32_t **ids, uint32_t *count, kolm_error_t *err) {
    return add_special(ids, count, cJSON_GetArrayItem(kit_json_get(value, key), 1), err);
}

/* Reads one piece of a template: the text, or a special token with its ids. *behind: the text came before. */
static kit_status read_template_piece(tokenizer *t, const cJSON *piece, const cJSON *specials, bool *behind,
                                      kolm_error_t *err) {
    const char *id;
    const cJSON *sequence = kit_json_get(piece, "Sequence"), *token = kit_json_get(piece, "SpecialToken"), *one;
    if (sequence != NULL) {
        bool good = !*behind && kit_json_get_string(sequence, "id", &id) && strcmp(id, "A") == 0;
        *behind = true;
        return good ? KOLM_OK
                    : tokenizer_refuse(
                          err,
                          "tokenizer.json: the template of the post_processor does not contain the text exactly once");
    }
    const cJSON *ids = kit_json_get_string(token, "id", &id) ? kit_json_get(kit_json_get(specials, id), "ids") : NULL;
    if (!cJSON_IsArray(ids))
        return tokenizer_damaged(err, "tokenizer.json: the template of the post_processor has a token without ids");
    cJSON_ArrayForEach(one, ids) KIT_TRY(add_special(
        *behind ? &t->after : &t->before, *behind ? &t->facts.after_count : &t->facts.before_count, one, err));
    return KOLM_OK;
}

static kit_status read_post(tokenizer *t, const cJSON *value, unsigned depth, bool *behind, kolm_error_t *err) {
    const char *type = "";
    const cJSON *one;
    if (value == NULL || cJSON_IsNull(value)) return KOLM_OK;
    if (!kit_json_get_string(value, "type", &type)) type = "";
    if (strcmp(type, "ByteLevel") == 0) return KOLM_OK; /* only affects offsets */
    if (strcmp(type, "Sequence") == 0 && depth == 0) {
        cJSON_ArrayForEach(one, kit_json_get(value, "processors")) KIT_TRY(read_post(t, one, 1, behind, err));
        return KOLM_OK;
    }
    if (*behind) return tokenizer_refuse(err, "tokenizer.json: the post_processor adds special tokens twice");
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        *behind = true;
        KIT_TRY(read_pair(value, "cls", &t->before, &t->facts.before_count, err));
        return read_pair(value, "sep", &t->after, &t->facts.after_count, err);
    }
    if (strcmp(type, "TemplateProcessing") != 0)
        return tokenizer_refuse(
            err, "tokenizer.json: the post_processor is of a type that the encoder recipe does not read: %s", type);
    cJSON_ArrayForEach(one, kit_json_get(value, "single"))
        KIT_TRY(read_template_piece(t, one, kit_json_get(value, "special_tokens"), behind, err));
    return *behind
               ? KOLM_OK
               : tokenizer_refuse(
                     err, "tokenizer.json: the template of the post_processor does not contain the text exactly once");
}

/* ---- The whole file */

enum { PART_VERSION, PART_TRUNCATION, PART_ADDED, PART_NORMALIZER, PART_SPLITTER, PART_POST, PART_COUNT };
static const char *const part_names[PART_COUNT] = {"version",    "truncation",    "added_tokens",
                                                   "normalizer", "pre_tokenizer", "post_processor"};

static kit_status scan_file(tokenizer *t, json_scan *s, part *parts, kolm_error_t *err) {
    bool first = true, fine;
    part key, value;
    if (!scan_take(s, '{')) return damaged_at(s, "an object", err);
    while (scan_member(s, &first, &key.bytes, &key.length, &fine)) {
        if (is_text(key, "model")) {
            KIT_TRY(read_model(t, s, err));
            continue;
        }
        int at = 0;
        while (at < PART_COUNT && !is_text(key, part_names[at]))
            at++;
        if (!scan_value(s, &value.bytes, &value.length)) return damaged_at(s, "a value", err);
        if (at < PART_COUNT && parts[at].bytes != NULL)
            return tokenizer_damaged(err, "tokenizer.json: \"%s\" occurs twice", part_names[at]);
        if (at < PART_COUNT) parts[at] = value;
    }
    if (!fine || scan_peek(s) != '\0' || s->p != s->end)
        return damaged_at(s, "a part of a tokenizer, or the end of the file", err);
    return t->words.sealed ? KOLM_OK : tokenizer_damaged(err, "tokenizer.json: it contains no model");
}

static kit_status parse_part(part p, const char *name, cJSON **out, kolm_error_t *err) {
    if (p.bytes == NULL || kit_json_parse(p.bytes, p.length, out, err) == KOLM_OK) return KOLM_OK;
    if (err != NULL && err->code == KOLM_E_RESOURCE_EXHAUSTED) return err->code;
    return tokenizer_damaged(err, "tokenizer.json: the %s is not valid JSON: %s", name, err != NULL ? err->text : "");
}

static kit_status use_parts(tokenizer *t, cJSON *const *trees, kolm_error_t *err) {
    bool behind = false;
    uint64_t most = 0;
    if (!cJSON_IsString(trees[PART_VERSION]) || strcmp(trees[PART_VERSION]->valuestring, "1.0") != 0)
        return tokenizer_refuse(err,
                                "tokenizer.json: its version is not 1.0, the only one that the encoder recipe reads");
    KIT_TRY(normaliser_read(trees[PART_NORMALIZER], &t->normaliser, err));
    KIT_TRY(splitter_read(trees[PART_SPLITTER], &t->splitter, err));
    t->normaliser.origins = splitter_asks_origins(&t->splitter);
    if (t->normaliser.origins && !normaliser_keeps_origins(&t->normaliser))
        return tokenizer_refuse(err,
                                "tokenizer.json: a Metaspace with prepend_scheme first is combined with a normalizer "
                                "that decomposes characters");
    KIT_TRY(read_added(t, trees[PART_ADDED], err));
    if (kit_json_get_u64(trees[PART_TRUNCATION], "max_length", &most) && most < UINT32_MAX)
        t->facts.truncation = (uint32_t)most;
    return read_post(t, trees[PART_POST], 0, &behind, err);
}

kit_status tokenizer_read_json(tokenizer *t, const tokenizer_files *files, kolm_error_t *err) {
    json_scan s = {.p = files->json, .start = files->json, .end = files->json + files->json_length};
    part parts[PART_COUNT] = {0};
    cJSON *trees[PART_COUNT] = {0};
    size_t good = kit_utf8_valid(files->json, files->json_length);
    if (good != files->json_length) return tokenizer_damaged(err, "tokenizer.json: byte %zu is not UTF-8", good + 1);
    t->prefix = calloc(1, 1);
    if (t->prefix == NULL) return tokenizer_no_memory(err);
    kit_status status = scan_file(t, &s, parts, err);
    for (int i = 0; i < PART_COUNT && status == KOLM_OK; i++)
        status = parse_part(parts[i], part_names[i], &trees[i], err);
    if (status == KOLM_OK) status = use_parts(t, trees, err);
    if (status == KOLM_OK) status = tokenizer_settle(t, err);
    for (int i = 0; i < PART_COUNT; i++)
        cJSON_Delete(trees[i]);
    kit_buf_free(&s.text);
    return status;
}
