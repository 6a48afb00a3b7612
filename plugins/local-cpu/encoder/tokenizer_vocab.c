/* SPDX-License-Identifier: Apache-2.0 */
/* Reads vocab.txt and tokenizer_config.json as BertTokenizer does, and computes the facts of every tokenizer. */
#include "tokenizer_parts.h"

#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

/* ---- Facts */

/* Counts all tokens by length, to find their median: the middle length, or the mean of the two in the middle. */
static kit_status count_tokens(tokenizer *t, kolm_error_t *err) {
    const vocabulary *const both[2] = {&t->words, &t->added};
    uint32_t *lengths = calloc(VOCABULARY_TOKEN_MAX + 1, sizeof *lengths);
    if (lengths == NULL) return tokenizer_no_memory(err);
    for (size_t k = 0; k < 2; k++) {
        for (uint32_t i = 0; i < both[k]->count; i++) {
            const vocabulary_entry *e = &both[k]->entries[i];
            if (e->characters == VOCABULARY_TWICE) continue;
            if (e->id >= t->facts.id_end) t->facts.id_end = e->id + 1;
            if (k == 1 && vocabulary_find(&t->words, t->added.bytes + e->at, e->length) != VOCABULARY_NONE) continue;
            lengths[e->characters]++;
            t->facts.vocabulary++;
        }
    }
    uint64_t below = 0, low = (t->facts.vocabulary - 1) / 2, high = t->facts.vocabulary / 2, sum = 0;
    for (uint32_t length = 0; length <= VOCABULARY_TOKEN_MAX; length++) {
        uint64_t next = below + lengths[length];
        sum += (low >= below && low < next ? length : 0) + (high >= below && high < next ? length : 0);
        below = next;
    }
    t->facts.median_characters = (uint32_t)(sum / 2);
    free(lengths);
    return KOLM_OK;
}

kit_status tokenizer_settle(tokenizer *t, kolm_error_t *err) {
    static const char *const names[] = {"WordPiece", "WordLevel", "Unigram"};
    KIT_TRY(count_tokens(t, err));
    tokenizer_facts *f = &t->facts;
    f->model = names[t->model];
    f->tables = token_tables_release;
    f->unknown = t->unknown;
    f->before = t->before;
    f->after = t->after;
    for (uint32_t i = 0; i < f->before_count; i++)
        if (t->before[i] >= f->id_end) f->id_end = t->before[i] + 1;
    for (uint32_t i = 0; i < f->after_count; i++)
        if (t->after[i] >= f->id_end) f->id_end = t->after[i] + 1;
    return KOLM_OK;
}

/* ---- vocab.txt */

/* One token per line, without blanks at the end of the line. */
static kit_status read_lines(tokenizer *t, const char *text, size_t length, kolm_error_t *err) {
    uint32_t id = 0;
    for (size_t at = 0; at < length; id++) {
        const char *end = memchr(text + at, '\n', length - at);
        size_t line = end != NULL ? (size_t)(end - text) - at : length - at, kept = 0, step;
        for (size_t i = 0; i < line; i += step) {
            uint32_t point = kit_utf8_next(text + at + i, line - i, &step);
            if ((point_what(point) & POINT_WHITE) == 0) kept = i + step;
        }
        KIT_TRY(vocabulary_add(&t->words, text + at, kept, id, err));
        at += line + 1;
    }
    return id > 0 ? KOLM_OK : tokenizer_damaged(err, "vocab.txt is empty");
}

/* ---- tokenizer_config.json */

/* A token is given by its text, or by an object with its content. */
static const char *token_text(const cJSON *config, const char *key, const char *otherwise) {
    const cJSON *value = kit_json_get(config, key);
    const char *text = otherwise;
    if (cJSON_IsString(value)) text = value->valuestring;
    if (cJSON_IsObject(value) && !kit_json_get_string(value, "content", &text)) text = otherwise;
    return text;
}

static bool flag(const cJSON *config, const char *key, bool otherwise) {
    bool value = otherwise;
    return kit_json_get_bool(config, key, &value) ? value : otherwise;
}

static kit_status need(const tokenizer *t, const char *token, const char *role, uint32_t *out, kolm_error_t *err) {
    *out = vocabulary_find(&t->words, token, strlen(token));
    if (*out != VOCABULARY_NONE) return KOLM_OK;
    return tokenizer_refuse(err, "vocab.txt has no %s (the %s)", token, role);
}

/* Reads the other tokens that the configuration lists, with their flags; the vocabulary must have all of them. */
static kit_status read_listed(const tokenizer *t, const cJSON *listed, added_request *requests, size_t *count,
                              kolm_error_t *err) {
    const cJSON *one;
    uint32_t id;
    cJSON_ArrayForEach(one, listed) {
        added_request r = {0};
        if (!kit_json_get_string(one, "content", &r.content))
            return tokenizer_damaged(err, "tokenizer_config.json: a token of added_tokens_decoder has no content");
        if (r.content[0] == '\0') continue;
        KIT_TRY(need(t, r.content, "added token", &id, err));
        r.single_word = flag(one, "single_word", false);
        r.left = flag(one, "lstrip", false);
        r.right = flag(one, "rstrip", false);
        r.normalised = flag(one, "normalized", !flag(one, "special", false));
        requests[(*count)++] = r;
    }
    return KOLM_OK;
}

static kit_status read_tokens(tokenizer *t, const cJSON *config, kolm_error_t *err) {
    static const char *const keys[] = {"unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
    static const char *const usual[] = {"[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"};
    const cJSON *listed = kit_json_get(config, "added_tokens_decoder"),
                *more = kit_json_get(config, "additional_special_tokens");
    size_t count = 0;
    uint32_t ids[5];
    if (cJSON_GetArraySize(more) > 0)
        return tokenizer_refuse(err,
                                "tokenizer_config.json: additional_special_tokens are not supported with a vocab.txt");
    added_request *requests = calloc((size_t)cJSON_GetArraySize(listed) + 5, sizeof *requests);
    if (requests == NULL) return tokenizer_no_memory(err);
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < 5 && status == KOLM_OK; i++) {
        requests[count].content = token_text(config, keys[i], usual[i]);
        status = need(t, requests[count++].content, keys[i], &ids[i], err);
    }
    if (status == KOLM_OK) status = read_listed(t, listed, requests, &count, err);
    if (status == KOLM_OK) status = added_tokens_build(t, requests, count, err);
    free(requests);
    KIT_TRY(status);
    t->unknown = ids[0];
    t->before = malloc(sizeof *t->before);
    t->after = malloc(sizeof *t->after);
    if (t->before == NULL || t->after == NULL) return tokenizer_no_memory(err);
    t->before[0] = ids[3];
    t->after[0] = ids[1];
    t->facts.before_count = t->facts.after_count = 1;
    return KOLM_OK;
}

static kit_status use_config(tokenizer *t, const cJSON *config, kolm_error_t *err) {
    const char *kind = "BertTokenizer";
    kit_json_get_string(config, "tokenizer_class", &kind);
    if (strncmp(kind, "BertTokenizer", 13) != 0 && strncmp(kind, "DistilBertTokenizer", 19) != 0)
        return tokenizer_refuse(err, "tokenizer_config.json: the tokenizer is of an unsupported class: %s", kind);
    bool lower = flag(config, "do_lower_case", true);
    KIT_TRY(normaliser_bert(true, flag(config, "tokenize_chinese_chars", true), flag(config, "strip_accents", lower),
                            lower, &t->normaliser, err));
    t->splitter.steps[0].kind = SPLIT_BERT;
    t->splitter.count = 1;
    return read_tokens(t, config, err);
}

kit_status tokenizer_read_vocab(tokenizer *t, const tokenizer_files *files, kolm_error_t *err) {
    cJSON *config = NULL;
    size_t good = kit_utf8_valid(files->vocab, files->vocab_length);
    if (good != files->vocab_length) return tokenizer_damaged(err, "vocab.txt: byte %zu is not UTF-8", good + 1);
    t->model = MODEL_WORDPIECE;
    t->word_characters_max = 100;
    t->prefix_length = 2;
    KIT_TRY(kit_strdup("##", &t->prefix, err));
    for (size_t i = 0; i < 2; i++)
        vocabulary_add_byte(t->words.secret, &t->prefix_hash, '#');
    KIT_TRY(read_lines(t, files->vocab, files->vocab_length, err));
    KIT_TRY(vocabulary_seal(&t->words, false, err));
    t->model_size = t->words.distinct;
    if (files->config != NULL && kit_json_parse(files->config, files->config_length, &config, err) != KOLM_OK)
        return err != NULL && err->code == KOLM_E_RESOURCE_EXHAUSTED
                   ? err->code
                   : tokenizer_damaged(err, "tokenizer_config.json is not valid JSON");
    kit_status status = use_config(t, config, err);
    cJSON_Delete(config);
    return status == KOLM_OK ? tokenizer_settle(t, err) : status;
}
