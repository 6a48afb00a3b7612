/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the normalizer and the pre_tokenizer of a tokenizer.json as steps. */
#include "tokenizer_parts.h"

#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 256u /* of a normalizer; some have one for each punctuation mark */

kit_status tokenizer_points(const char *text, uint32_t **out, uint32_t *out_count, kolm_error_t *err) {
    size_t length = strlen(text), count = 0;
    uint32_t *points = malloc((length + 1) * sizeof *points);
    if (points == NULL) return tokenizer_no_memory(err);
    for (size_t step; length > 0; text += step, length -= step)
        points[count++] = kit_utf8_next(text, length, &step);
    *out = points;
    *out_count = (uint32_t)count;
    return KOLM_OK;
}

static bool get_bool(const cJSON *value, const char *key, bool otherwise) {
    bool found = otherwise;
    return kit_json_get_bool(value, key, &found) ? found : otherwise;
}

static const char *type_of(const cJSON *value) {
    const char *type = "";
    return kit_json_get_string(value, "type", &type) ? type : "";
}

/* Reads a flag that the library requires. */
static kit_status need_bool(const cJSON *value, const char *key, bool *out, kolm_error_t *err) {
    if (kit_json_get_bool(value, key, out)) return KOLM_OK;
    return tokenizer_damaged(err, "tokenizer.json: %s has no \"%s\" that is true or false", type_of(value), key);
}

/* ---- Normalizers */

static kit_status read_bert(const cJSON *value, normal_step *s, kolm_error_t *err) {
    const cJSON *accents = kit_json_get(value, "strip_accents");
    s->kind = NORMAL_BERT;
    KIT_TRY(need_bool(value, "clean_text", &s->clean, err));
    KIT_TRY(need_bool(value, "handle_chinese_chars", &s->chinese, err));
    KIT_TRY(need_bool(value, "lowercase", &s->lower, err));
    s->accents = cJSON_IsBool(accents) ? cJSON_IsTrue(accents) : s->lower;
    return KOLM_OK;
}

static kit_status read_put(const cJSON *value, const char *key, normal_step *s, kolm_error_t *err) {
    const char *text;
    if (!kit_json_get_string(value, key, &text))
        return tokenizer_damaged(err, "tokenizer.json: a %s has no text \"%s\"", type_of(value), key);
    return tokenizer_points(text, &s->points, &s->point_count, err);
}

static kit_status read_replace(const cJSON *value, normal_step *s, kolm_error_t *err) {
    s->kind = NORMAL_REPLACE;
    KIT_TRY(read_put(value, "content", s, err));
    return pattern_read(kit_json_get(value, "pattern"), "the normalizer Replace", &s->pattern, err);
}

static kit_status read_prepend(const cJSON *value, normal_step *s, kolm_error_t *err) {
    s->kind = NORMAL_PREPEND;
    KIT_TRY(read_put(value, "prepend", s, err));
    return s->point_count > 0 ? KOLM_OK
                              : tokenizer_refuse(err, "tokenizer.json: the normalizer Prepend has an empty text");
}

static kit_status read_charsmap(const cJSON *value, normal_step *s, kolm_error_t *err) {
    const char *text;
    s->kind = NORMAL_CHARSMAP;
    if (!kit_json_get_string(value, "precompiled_charsmap", &text))
        return tokenizer_damaged(err, "tokenizer.json: the normalizer Precompiled has no precompiled_charsmap");
    return charsmap_read(text, strlen(text), &s->map, err);
}

/* The normal forms, NF[K]C and NF[K]D. */
static bool is_form(const char *type, normal_step *s) {
    s->kind = NORMAL_FORM;
    s->compatible = strncmp(type, "NFK", 3) == 0;
    s->compose = type[0] != '\0' && type[strlen(type) - 1] == 'C';
    return strcmp(type, "NFC") == 0 || strcmp(type, "NFD") == 0 || strcmp(type, "NFKC") == 0 ||
           strcmp(type, "NFKD") == 0;
}

static kit_status read_step(const cJSON *value, normal_step *s, kolm_error_t *err) {
    const char *type = type_of(value);
    if (is_form(type, s)) return KOLM_OK;
    if (strcmp(type, "BertNormalizer") == 0) return read_bert(value, s, err);
    if (strcmp(type, "Precompiled") == 0) return read_charsmap(value, s, err);
    if (strcmp(type, "Replace") == 0) return read_replace(value, s, err);
    if (strcmp(type, "Prepend") == 0) return read_prepend(value, s, err);
    if (strcmp(type, "Strip") == 0) {
        s->kind = NORMAL_STRIP;
        KIT_TRY(need_bool(value, "strip_left", &s->left, err));
        return need_bool(value, "strip_right", &s->right, err);
    }
    s->kind = strcmp(type, "Lowercase") == 0      ? NORMAL_LOWER
              : strcmp(type, "StripAccents") == 0 ? NORMAL_DROP_MARKS
                                                  : NORMAL_NMT;
    if (s->kind != NORMAL_NMT || strcmp(type, "Nmt") == 0) return KOLM_OK;
    return tokenizer_refuse(
        err, "tokenizer.json: the normalizer is of a type that the encoder recipe does not read: %s", type);
}

/* NULL if out of memory. */
static normal_step *add_step(normaliser *out) {
    normal_step *steps = realloc(out->steps, (out->count + 1) * sizeof *steps);
    if (steps == NULL) return NULL;
    out->steps = steps;
    steps[out->count] = (normal_step){0};
    return &steps[out->count++];
}

static kit_status read_normaliser(const cJSON *value, normaliser *out, unsigned depth, kolm_error_t *err) {
    const cJSON *inner = kit_json_get(value, "normalizers"), *one;
    if (value == NULL || cJSON_IsNull(value)) return KOLM_OK;
    if (strcmp(type_of(value), "Sequence") != 0) {
        if (out->count == STEPS_MAX)
            return tokenizer_refuse(err, "tokenizer.json: the normalizer has more than %u steps", STEPS_MAX);
        normal_step *step = add_step(out);
        return step != NULL ? read_step(value, step, err) : tokenizer_no_memory(err);
    }
    if (!cJSON_IsArray(inner) || depth > 8)
        return tokenizer_damaged(err, "tokenizer.json: a normalizer Sequence without normalizers");
    cJSON_ArrayForEach(one, inner) KIT_TRY(read_normaliser(one, out, depth + 1, err));
    return KOLM_OK;
}

kit_status normaliser_read(const cJSON *value, normaliser *out, kolm_error_t *err) {
    return read_normaliser(value, out, 0, err);
}

kit_status normaliser_bert(bool clean, bool chinese, bool accents, bool lower, normaliser *out, kolm_error_t *err) {
    normal_step *step = add_step(out);
    if (step == NULL) return tokenizer_no_memory(err);
    *step = (normal_step){.kind = NORMAL_BERT, .clean = clean, .chinese = chinese, .accents = accents, .lower = lower};
    return KOLM_OK;
}

/* ---- Pre-tokenizers */

static kit_status read_keep(const cJSON *value, split_step *s, kolm_error_t *err) {
    static const char *const names[] = {"Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext"};
    const char *name;
    if (!kit_json_get_string(value, "behavior", &name)) name = "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        s->keep = (split_keep)i;
        return KOLM_OK;
    }
    return tokenizer_damaged(err, "tokenizer.json: the pre_tokenizer %s has an unknown behavior", type_of(value));
}

/* Files from before 2024 have add_prefix_space instead of prepend_scheme; the library accepts only true for it. */
static kit_status read_metaspace(const cJSON *value, split_step *s, kolm_error_t *err) {
    const char *text = "", *scheme = "always";
    size_t length;
    s->kind = SPLIT_METASPACE;
    s->cut = get_bool(value, "split", true);
    if (!kit_json_get_string(value, "replacement", &text) || text[0] == '\0' ||
        (s->mark = kit_utf8_next(text, strlen(text), &length), text[length] != '\0'))
        return tokenizer_damaged(err,
                                 "tokenizer.json: the replacement of the pre_tokenizer Metaspace is not one character");
    bool given = kit_json_get(value, "prepend_scheme") != NULL;
    if (given && !kit_json_get_string(value, "prepend_scheme", &scheme)) scheme = "";
    s->prepend = strcmp(scheme, "always") == 0  ? PREPEND_ALWAYS
                 : strcmp(scheme, "first") == 0 ? PREPEND_FIRST
                                                : PREPEND_NEVER;
    if (s->prepend == PREPEND_NEVER && strcmp(scheme, "never") != 0)
        return tokenizer_damaged(
            err, "tokenizer.json: the prepend_scheme of the pre_tokenizer Metaspace is not always, first or never");
    if (!get_bool(value, "add_prefix_space", true) && s->prepend != PREPEND_NEVER)
        return tokenizer_damaged(
            err,
            "tokenizer.json: the pre_tokenizer Metaspace has an add_prefix_space that contradicts its prepend_scheme");
    return KOLM_OK;
}

static kit_status read_split(const cJSON *value, split_step *s, kolm_error_t *err) {
    s->kind = SPLIT_PATTERN;
    KIT_TRY(read_keep(value, s, err));
    KIT_TRY(need_bool(value, "invert", &s->inverted, err));
    return pattern_read(kit_json_get(value, "pattern"), "the pre_tokenizer Split", &s->pattern, err);
}

static kit_status read_piece(const cJSON *value, split_step *s, kolm_error_t *err) {
    const char *type = type_of(value);
    bool each;
    s->keep = KEEP_REMOVED;
    if (strcmp(type, "Metaspace") == 0) return read_metaspace(value, s, err);
    if (strcmp(type, "Split") == 0) return read_split(value, s, err);
    if (strcmp(type, "Punctuation") == 0) {
        s->kind = SPLIT_PUNCTUATION;
        s->keep = KEEP_ISOLATED;
        return kit_json_get(value, "behavior") != NULL ? read_keep(value, s, err) : KOLM_OK;
    }
    if (strcmp(type, "Digits") == 0) {
        s->kind = SPLIT_DIGITS;
        KIT_TRY(need_bool(value, "individual_digits", &each, err));
        s->keep = each ? KEEP_ISOLATED : KEEP_CONTIGUOUS;
        return KOLM_OK;
    }
    s->kind = strcmp(type, "BertPreTokenizer") == 0 ? SPLIT_BERT
              : strcmp(type, "Whitespace") == 0     ? SPLIT_WORDS
                                                    : SPLIT_WHITE;
    if (s->kind != SPLIT_WHITE || strcmp(type, "WhitespaceSplit") == 0) return KOLM_OK;
    return tokenizer_refuse(
        err, "tokenizer.json: the pre_tokenizer is of a type that the encoder recipe does not read: %s", type);
}

static kit_status read_splitter(const cJSON *value, splitter *out, unsigned depth, kolm_error_t *err) {
    const cJSON *inner = kit_json_get(value, "pretokenizers"), *one;
    if (value == NULL || cJSON_IsNull(value)) return KOLM_OK;
    if (strcmp(type_of(value), "Sequence") == 0) {
        if (!cJSON_IsArray(inner) || depth > 8)
            return tokenizer_damaged(err, "tokenizer.json: a pre_tokenizer Sequence without pretokenizers");
        cJSON_ArrayForEach(one, inner) KIT_TRY(read_splitter(one, out, depth + 1, err));
        return KOLM_OK;
    }
    if (out->count == SPLIT_STEPS_MAX)
        return tokenizer_refuse(err, "tokenizer.json: the pre_tokenizer has more than %d steps", SPLIT_STEPS_MAX);
    return read_piece(value, &out->steps[out->count++], err);
}

kit_status splitter_read(const cJSON *value, splitter *out, kolm_error_t *err) {
    return read_splitter(value, out, 0, err);
}
