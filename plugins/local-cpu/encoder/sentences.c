/* SPDX-License-Identifier: Apache-2.0 */
/* Opens a tokenizer with its encoder, and collects the ids of many texts for one call. */
#include "encoder/sentences.h"
#include "encoder/head.h"
#include "encoder/token_unicode.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

struct sentences {
    encoder *encoder;
    tokenizer *tokenizer;
    tokenizer_work *work;
    enc_file files[2]; /* of the tokenizer, if they are among the encoder's */
    size_t file_count;
    unsigned how;
    uint32_t most;
    kit_buf text; /* prefixed and lower-cased */
    uint32_t *ids;
    size_t id_count, id_capacity;
    uint32_t *length; /* of each pending text */
    uint32_t count, capacity;
    uint64_t all_tokens, cut;
};

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs, or raise the memory limit",
                    "out of memory while texts are embedded");
}

/* ---- Opening */

/* OK with an empty *out if the file is optional and missing. */
static kit_status get(enc_files *files, const char *directory, const char *name, bool required, enc_file *out,
                      kolm_error_t *err) {
    kit_buf path = {0};
    kolm_error_t inner = KIT_ERROR_INIT;
    *out = (enc_file){0};
    kit_buf_fmt(&path, "%s%s", directory, name);
    kit_status status = kit_buf_ok(&path, err);
    if (status == KOLM_OK) status = enc_files_get(files, path.data, TOKENIZER_FILE_MAX, out, &inner);
    kit_buf_free(&path);
    if (status == KOLM_E_NOT_FOUND && !required) return KOLM_OK;
    if (status == KOLM_E_NOT_FOUND)
        return kit_fail(err, KOLM_E_NOT_FOUND, "download the model again, with its tokenizer, or use --recipe lora",
                        "%s has no tokenizer.json and no vocab.txt, from which recipe encoder reads the tokenizer",
                        enc_files_shown(files));
    if (status != KOLM_OK && err != NULL && inner.code != 0) *err = inner;
    return status;
}

static kit_status read_tokenizer(sentences *s, enc_files *files, const char *directory, kolm_error_t *err) {
    enc_file first, config = {0};
    tokenizer_files from = {0};
    KIT_TRY(get(files, directory, "tokenizer.json", false, &first, err));
    if (first.bytes != NULL) {
        from.json = (const char *)first.bytes;
        from.json_length = first.size;
    } else {
        KIT_TRY(get(files, directory, "vocab.txt", true, &first, err));
        KIT_TRY(get(files, directory, "tokenizer_config.json", false, &config, err));
        from.vocab = (const char *)first.bytes;
        from.vocab_length = first.size;
        from.config = (const char *)config.bytes;
        from.config_length = config.size;
    }
    s->files[s->file_count++] = first;
    if (config.bytes != NULL) s->files[s->file_count++] = config;
    kit_status status = tokenizer_open(&from, &s->tokenizer, err);
    return status == KOLM_OK ? status : kit_fail_context(err, "the tokenizer of %s", enc_files_shown(files));
}

static kit_status match(sentences *s, bool read_end, kolm_error_t *err) {
    const enc_description *d = enc_described(s->encoder);
    const tokenizer_facts *facts = tokenizer_about(s->tokenizer);
    const char *shown = enc_files_shown(enc_files_used(s->encoder));
    if (facts->id_end > d->vocabulary)
        return kit_fail(
            err, KOLM_E_FAILED_PRECONDITION, "download the model again, all its files together",
            "the tokenizer of %s has ids up to %u, and its weights have %u tokens: they do not belong together", shown,
            (unsigned)facts->id_end - 1, (unsigned)d->vocabulary);
    if (d->special_tokens && d->max_tokens <= facts->before_count + facts->after_count)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "choose a sentence encoder of another kind",
                        "%s reads texts of %u tokens, but its tokenizer alone adds %u", shown, (unsigned)d->max_tokens,
                        (unsigned)(facts->before_count + facts->after_count));
    s->most = d->max_tokens;
    if (d->special_tokens) s->how |= TOKENIZER_SPECIAL;
    if (d->drop_unknown)
        s->how = TOKENIZER_MODEL2VEC;
    else if (read_end)
        s->how |= TOKENIZER_END;
    if (read_end && d->drop_unknown)
        return kit_fail(err, KOLM_E_UNIMPLEMENTED, "leave out --set read=end",
                        "%s contains static embeddings of model2vec, which read the front of a text", shown);
    return KOLM_OK;
}

kit_status sentences_open(enc_files *encoder_files, enc_files *apart, bool read_end, sentences **out,
                          kolm_error_t *err) {
    *out = NULL;
    sentences *s = calloc(1, sizeof *s);
    if (s == NULL) {
        enc_files_close(encoder_files);
        return out_of_memory(err);
    }
    kit_status status = enc_open_files(encoder_files, &s->encoder, err);
    if (status == KOLM_OK && enc_dimensions(s->encoder) > HEAD_DIMENSIONS_MAX)
        status = kit_fail(err, KOLM_E_UNIMPLEMENTED, "choose a smaller sentence encoder, or use --recipe lora",
                          "its embeddings have %u numbers; recipe encoder supports at most %u",
                          (unsigned)enc_dimensions(s->encoder), HEAD_DIMENSIONS_MAX);
    if (status == KOLM_OK)
        status = apart != NULL ? read_tokenizer(s, apart, "", err)
                               : read_tokenizer(s, encoder_files, enc_described(s->encoder)->directory, err);
    if (apart != NULL) s->file_count = 0;
    if (status == KOLM_OK) status = match(s, read_end, err);
    if (status == KOLM_OK) status = tokenizer_work_new(&s->work, err);
    if (status == KOLM_OK)
        *out = s;
    else
        sentences_close(s);
    return status;
}

void sentences_close(sentences *s) {
    if (s == NULL) return;
    tokenizer_work_free(s->work);
    tokenizer_close(s->tokenizer);
    enc_close(s->encoder);
    kit_buf_free(&s->text);
    free(s->ids);
    free(s->length);
    free(s);
}

const encoder *sentences_encoder(const sentences *s) {
    return s->encoder;
}

void sentences_use(sentences *s, const enc_kernels *kernels) {
    enc_use(s->encoder, kernels);
}

size_t sentences_tokenizer_files(const sentences *s, enc_file out[2]) {
    memcpy(out, s->files, sizeof s->files);
    return s->file_count;
}

/* ---- Adding */

static void put_point(kit_buf *out, uint32_t point) {
    char bytes[4];
    size_t n = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; point >>= 6)
        bytes[i] = (char)(0x80 | (point & 63));
    bytes[0] = (char)(n == 1 ? point : (0xF00u >> n & 0xF0) | point);
    kit_buf_add(out, bytes, n);
}

static void put_lower(kit_buf *out, const char *text, size_t length) {
    for (size_t at = 0, step; at < length; at += step) {
        uint32_t lower[2];
        size_t n = point_lower(kit_utf8_next(text + at, length - at, &step), lower);
        for (size_t i = 0; i < n; i++)
            put_point(out, lower[i]);
    }
}

static kit_status reserve(sentences *s, size_t ids, kolm_error_t *err) {
    if (s->id_count + ids > s->id_capacity) {
        size_t capacity = (s->id_count + ids) * 2 + 1024;
        uint32_t *grown = realloc(s->ids, capacity * sizeof *grown);
        if (grown == NULL) return out_of_memory(err);
        s->ids = grown;
        s->id_capacity = capacity;
    }
    if (s->count == s->capacity) {
        uint32_t capacity = s->capacity * 2 + 64;
        uint32_t *grown = realloc(s->length, capacity * sizeof *grown);
        if (grown == NULL) return out_of_memory(err);
        s->length = grown;
        s->capacity = capacity;
    }
    return KOLM_OK;
}

size_t sentences_part(const char *text, size_t length, size_t most, bool end, const char **out) {
    *out = text;
    if (length <= most) return length;
    size_t at = end ? length - most : most;
    while (at > 0 && at < length && ((uint8_t)text[at] & 0xC0) == 0x80)
        at = end ? at + 1 : at - 1;
    if (!end) return at;
    *out = text + at;
    return length - at;
}

kit_status sentences_add(sentences *s, const char *text, size_t length, kolm_error_t *err) {
    const enc_description *d = enc_described(s->encoder);
    tokenizer_ids ids;
    /* Truncate what the tokenizer would refuse: the encoder reads so little of it that nothing is lost. */
    const size_t most = TOKENIZER_TEXT_MAX / 2 - strlen(d->prefix);
    const size_t fits = sentences_part(text, length, most, (s->how & TOKENIZER_END) != 0, &text);
    const bool shorter = fits < length;
    length = fits;
    if (d->prefix[0] != '\0' || d->lower_case) {
        kit_buf_clear(&s->text);
        kit_buf_str(&s->text, d->prefix);
        if (d->lower_case)
            put_lower(&s->text, text, length);
        else
            kit_buf_add(&s->text, text, length);
        KIT_TRY(kit_buf_ok(&s->text, err));
        text = kit_buf_text(&s->text);
        length = s->text.length;
    }
    KIT_TRY(tokenizer_encode(s->tokenizer, s->work, text, length, s->most, s->how, &ids, err));
    KIT_TRY(reserve(s, ids.count, err));
    if (ids.count > 0) memcpy(s->ids + s->id_count, ids.ids, ids.count * sizeof *ids.ids);
    s->id_count += ids.count;
    s->length[s->count++] = (uint32_t)ids.count;
    s->all_tokens += ids.count;
    s->cut += ids.truncated || shorter;
    return KOLM_OK;
}

uint32_t sentences_waiting(const sentences *s) {
    return s->count;
}

uint64_t sentences_waiting_tokens(const sentences *s) {
    return s->id_count;
}

uint64_t sentences_tokens(const sentences *s) {
    return s->all_tokens;
}

uint64_t sentences_cut(const sentences *s) {
    return s->cut;
}

kit_status sentences_embed(sentences *s, uint32_t threads, float *out, kolm_error_t *err) {
    enc_text *texts = malloc((s->count + 1) * sizeof *texts);
    if (texts == NULL) return out_of_memory(err);
    const uint32_t *at = s->ids;
    for (uint32_t i = 0; i < s->count; i++) {
        texts[i] = (enc_text){at, s->length[i]};
        at += s->length[i];
    }
    kit_status status = enc_embed(s->encoder, texts, s->count, threads, out, err);
    if (status == KOLM_OK) head_normalise(out, s->count, enc_dimensions(s->encoder));
    free(texts);
    s->count = 0;
    s->id_count = 0;
    return status;
}
