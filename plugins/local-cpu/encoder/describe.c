/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the configuration of a model directory, and rejects unsupported models with a reason. */
#include "describe.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_MAX (4u << 20)
#define PREFIX_MAX 1024u
#define LORA "choose a sentence encoder of another kind, or fine-tune this model with --recipe lora"

typedef struct reading {
    enc_files *files;
    enc_description *to;
    const char *shown; /* the directory */
    kolm_error_t *err;
} reading;

static kit_status KIT_PRINTF(2, 3) refuse(const reading *r, const char *format, ...) {
    char text[400];
    va_list list;
    kit_buf plain = {0};
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    kit_buf_escaped(&plain, text, strlen(text));
    kit_status status = kit_fail(r->err, KOLM_E_UNIMPLEMENTED, LORA, "recipe encoder cannot use %s: %s", r->shown,
                                 kit_buf_text(&plain));
    kit_buf_free(&plain);
    return status;
}

/* *out is NULL if the file is optional and absent. */
static kit_status read_json(const reading *r, const char *name, bool required, cJSON **out) {
    enc_file file;
    kolm_error_t inner = KIT_ERROR_INIT;
    *out = NULL;
    kit_status status = enc_files_get(r->files, name, JSON_MAX, &file, &inner);
    if (status == KOLM_E_NOT_FOUND && !required) return KOLM_OK;
    if (status == KOLM_E_NOT_FOUND)
        return kit_fail(r->err, KOLM_E_NOT_FOUND,
                        "download the model again, with the directories below it (`hf download NAME`)",
                        "%s has no %s, which its modules.json names", r->shown, name);
    if (status == KOLM_OK) {
        status = kit_json_parse((const char *)file.bytes, file.size, out, &inner);
        if (status == KOLM_E_INVALID_ARGUMENT)
            return kit_fail(r->err, KOLM_E_DATA_LOSS, "download the model again (`hf download NAME`)",
                            "%s in %s is not usable: %s", name, r->shown, inner.text);
    }
    if (status != KOLM_OK && r->err != NULL) *r->err = inner;
    return status;
}

/* ---- config.json */

static kit_status read_size(const reading *r, const cJSON *config, const char *key, uint32_t most, uint32_t *out) {
    uint64_t value = 0;
    if (!kit_json_get_u64(config, key, &value)) return refuse(r, "its config.json has no %s", key);
    if (value == 0 || value > most)
        return refuse(r, "its %s of %llu is not between 1 and %u", key, (unsigned long long)value, (unsigned)most);
    *out = (uint32_t)value;
    return KOLM_OK;
}

static kit_status read_activation(const reading *r, const cJSON *config) {
    static const struct {
        const char *name;
        enc_activation is;
    } known[] = {{"gelu", ENC_GELU},
                 {"gelu_new", ENC_GELU_TANH},
                 {"gelu_pytorch_tanh", ENC_GELU_TANH},
                 {"gelu_fast", ENC_GELU_TANH},
                 {"relu", ENC_RELU}};
    const char *name = "gelu";
    (void)kit_json_get_string(config, "hidden_act", &name);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, name) != 0) continue;
        r->to->activation = known[i].is;
        return KOLM_OK;
    }
    return refuse(r, "its activation \"%.40s\" is not supported", name);
}

static kit_status read_sizes(const reading *r, const cJSON *config) {
    enc_description *d = r->to;
    double epsilon = d->family == ENC_BERT ? 1e-12 : 1e-5;
    KIT_TRY(read_size(r, config, "hidden_size", 16384, &d->hidden));
    KIT_TRY(read_size(r, config, "intermediate_size", 65536, &d->inner));
    KIT_TRY(read_size(r, config, "num_hidden_layers", 256, &d->layers));
    KIT_TRY(read_size(r, config, "num_attention_heads", 1024, &d->heads));
    KIT_TRY(read_size(r, config, "vocab_size", 1u << 24, &d->vocabulary));
    KIT_TRY(read_size(r, config, "max_position_embeddings", ENC_TOKENS_MAX, &d->positions));
    if (d->family != ENC_MPNET) KIT_TRY(read_size(r, config, "type_vocab_size", 4096, &d->types));
    if (d->hidden % d->heads != 0)
        return refuse(r, "its %u hidden units do not divide into %u heads", (unsigned)d->hidden, (unsigned)d->heads);
    (void)kit_json_get_number(config, "layer_norm_eps", &epsilon);
    if (!(epsilon > 0 && epsilon < 1)) return refuse(r, "its layer_norm_eps is not between 0 and 1");
    d->epsilon = (float)epsilon;
    return KOLM_OK;
}

static kit_status read_padding(const reading *r, const cJSON *config) {
    enc_description *d = r->to;
    uint64_t pad = 1, buckets = 32;
    if (d->family == ENC_BERT) return KOLM_OK;
    /* MPNet's implementation uses a fixed number, and ignores the configuration. */
    if (d->family == ENC_ROBERTA) (void)kit_json_get_u64(config, "pad_token_id", &pad);
    if (pad + 1 >= d->positions) return refuse(r, "its positions end at that of padding");
    d->pad = (uint32_t)pad;
    if (d->family == ENC_MPNET) (void)kit_json_get_u64(config, "relative_attention_num_buckets", &buckets);
    return buckets == 32 ? KOLM_OK
                         : refuse(r, "its attention knows %llu distances, not 32", (unsigned long long)buckets);
}

static bool is_true(const cJSON *config, const char *key) {
    bool value = false;
    return kit_json_get_bool(config, key, &value) && value;
}

static kit_status read_transformer(const reading *r, const cJSON *config) {
    const char *position = "absolute";
    KIT_TRY(read_sizes(r, config));
    KIT_TRY(read_activation(r, config));
    KIT_TRY(read_padding(r, config));
    if (is_true(config, "is_decoder") || is_true(config, "add_cross_attention"))
        return refuse(r, "it is a decoder, which sees only the tokens before each one");
    (void)kit_json_get_string(config, "position_embedding_type", &position);
    if (strcmp(position, "absolute") != 0) return refuse(r, "its positions are of the kind \"%.40s\"", position);
    r->to->special_tokens = true;
    return KOLM_OK;
}

static kit_status read_config(const reading *r, const cJSON *config) {
    static const struct {
        const char *name;
        enc_family is;
    } known[] = {{"bert", ENC_BERT}, {"roberta", ENC_ROBERTA}, {"xlm-roberta", ENC_ROBERTA}, {"mpnet", ENC_MPNET}};
    const char *type = NULL;
    if (!kit_json_get_string(config, "model_type", &type)) return refuse(r, "its config.json has no model_type");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, type) != 0) continue;
        r->to->family = known[i].is;
        return read_transformer(r, config);
    }
    return refuse(r,
                  "it is a model of type \"%.60s\"; supported are the types bert, roberta, xlm-roberta and mpnet, and "
                  "static embeddings",
                  type);
}

/* ---- Static embeddings */

static kit_status read_static(const reading *r, const cJSON *config, const char *path) {
    enc_description *d = r->to;
    uint64_t most = 512;
    const char *type = NULL;
    bool model2vec =
        config != NULL && kit_json_get_string(config, "model_type", &type) && strcmp(type, "model2vec") == 0;
    d->family = ENC_STATIC;
    d->pooling = ENC_MEAN;
    d->drop_unknown = model2vec;
    /* model2vec reads only the front of a text, sentence-transformers the whole text. */
    if (model2vec) {
        (void)kit_json_get_u64(config, "max_length", &most);
        d->normalise = d->normalise || is_true(config, "normalize");
    }
    d->max_tokens = model2vec && most > 0 && most < ENC_TOKENS_MAX ? (uint32_t)most : ENC_TOKENS_MAX;
    if (strcmp(path, ".") == 0) path = "";
    kit_buf directory = {0};
    kit_buf_fmt(&directory, "%s%s", path, path[0] != '\0' ? "/" : "");
    KIT_TRY(kit_buf_ok(&directory, r->err));
    d->directory = kit_buf_take(&directory);
    return KOLM_OK;
}

/* ---- modules.json */

typedef struct modules {
    const char *first, *pooling; /* paths; NULL: none */
    bool is_static;
} modules;

/* "Pooling" of "sentence_transformers.models.Pooling"; NULL for modules of other libraries. */
static const char *kind_of(const cJSON *module) {
    const char *type = NULL;
    if (!kit_json_get_string(module, "type", &type) || strncmp(type, "sentence_transformers.", 22) != 0) return NULL;
    return strrchr(type, '.') + 1;
}

static kit_status read_module(const reading *r, const cJSON *module, int index, modules *m) {
    const char *path = NULL, *kind = kind_of(module), *type = "";
    (void)kit_json_get_string(module, "type", &type);
    if (kind == NULL) return refuse(r, "its module %d is custom code, \"%.80s\"", index, type);
    if (!kit_json_get_string(module, "path", &path)) return refuse(r, "its module %d has no path", index);
    bool here = path[0] == '\0' || strcmp(path, ".") == 0;
    if (!here && !kit_path_is_safe(path))
        return kit_fail(r->err, KOLM_E_INVALID_ARGUMENT, "download the model again from a source that you trust",
                        "modules.json in %s refers to a directory outside of it", r->shown);
    if (index == 0 && strcmp(kind, "Transformer") == 0) {
        m->first = path;
        return here ? KOLM_OK : refuse(r, "its transformer is in a separate directory, %.80s", path);
    }
    if (index == 0 && strcmp(kind, "StaticEmbedding") == 0) {
        m->first = path;
        m->is_static = true;
        return KOLM_OK;
    }
    if (index == 1 && !m->is_static && strcmp(kind, "Pooling") == 0) {
        m->pooling = path;
        return KOLM_OK;
    }
    if (m->first != NULL && strcmp(kind, "Normalize") == 0) {
        r->to->normalise = true;
        return KOLM_OK;
    }
    return refuse(r,
                  "its module %d is a %.40s; supported are a Transformer or a StaticEmbedding, Pooling, and Normalize",
                  index, kind);
}

static kit_status read_modules(const reading *r, const cJSON *list, modules *m) {
    const cJSON *module;
    int index = 0;
    if (!cJSON_IsArray(list)) return refuse(r, "its modules.json is not a list");
    cJSON_ArrayForEach(module, list) KIT_TRY(read_module(r, module, index++, m));
    if (m->first == NULL) return refuse(r, "its modules.json lists no modules");
    if (!m->is_static && m->pooling == NULL)
        return refuse(r, "its modules.json has no Pooling, so nothing says how its tokens become one vector");
    return KOLM_OK;
}

/* ---- Pooling */

static kit_status set_pooling(const reading *r, const char *mode) {
    static const char *const names[] = {[ENC_MEAN] = "mean", [ENC_CLS] = "cls", [ENC_MAX] = "max"};
    for (int i = ENC_MEAN; i <= ENC_MAX; i++) {
        if (strcmp(names[i], mode) != 0) continue;
        r->to->pooling = (enc_pooling)i;
        return KOLM_OK;
    }
    return refuse(r, "it pools by \"%.40s\", and only mean, cls and max are supported", mode);
}

static kit_status read_pooling_mode(const reading *r, const cJSON *config) {
    static const char *const keys[][2] = {
        {"pooling_mode_cls_token", "cls"},       {"pooling_mode_max_tokens", "max"},
        {"pooling_mode_mean_tokens", "mean"},    {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"},
        {"pooling_mode_lasttoken", "lasttoken"}, {"pooling_mode_weightedmean_tokens", "weightedmean"}};
    const cJSON *said = kit_json_get(config, "pooling_mode");
    const char *mode = NULL;
    if (cJSON_IsArray(said) && cJSON_GetArraySize(said) == 1) said = said->child;
    if (cJSON_IsString(said)) return set_pooling(r, said->valuestring);
    if (said != NULL) return refuse(r, "it joins several kinds of pooling");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!is_true(config, keys[i][0])) continue;
        if (mode != NULL) return refuse(r, "it joins several kinds of pooling, %s and %s", mode, keys[i][1]);
        mode = keys[i][1];
    }
    return mode != NULL ? set_pooling(r, mode) : refuse(r, "its pooling is of an unknown kind");
}

static kit_status read_pooling(const reading *r, const cJSON *config) {
    uint64_t width = 0;
    bool with_prompt = true;
    KIT_TRY(read_pooling_mode(r, config));
    if ((kit_json_get_u64(config, "word_embedding_dimension", &width) ||
         kit_json_get_u64(config, "embedding_dimension", &width)) &&
        width != r->to->hidden)
        return refuse(r, "its pooling is for %llu numbers a token, and its transformer has %u",
                      (unsigned long long)width, (unsigned)r->to->hidden);
    if (kit_json_get_bool(config, "include_prompt", &with_prompt) && !with_prompt && r->to->prefix[0] != '\0')
        return refuse(r, "it excludes its prompt from the pooling");
    return KOLM_OK;
}

/* ---- Prompts */

static const char *prompt_of(const cJSON *config, const char *name) {
    const char *text = NULL;
    return name != NULL && kit_json_get_string(kit_json_get(config, "prompts"), name, &text) ? text : NULL;
}

static const char *choose_prompt(const cJSON *config) {
    const char *name = NULL, *text;
    (void)kit_json_get_string(config, "default_prompt_name", &name);
    if ((text = prompt_of(config, name)) != NULL) return text;
    if ((text = prompt_of(config, "classification")) != NULL) return text;
    const char *document = prompt_of(config, "document");
    if (document == NULL || document[0] == '\0') document = prompt_of(config, "passage");
    text = prompt_of(config, "query");
    return text != NULL && document != NULL && document[0] != '\0' ? text : "";
}

static kit_status read_prompts(const reading *r, const cJSON *config) {
    const char *text = config != NULL ? choose_prompt(config) : "";
    if (strlen(text) > PREFIX_MAX)
        return refuse(r, "its prompt has %zu bytes; at most %u are supported", strlen(text), PREFIX_MAX);
    return kit_strdup(text, &r->to->prefix, r->err);
}

/* ---- The length of a text */

static void bound(uint32_t *most, double said) {
    if (said >= 1 && said < *most) *most = (uint32_t)said;
}

/* Tokenizers without a limit have model_max_length 1e30, written out in digits, which the strict JSON parser rejects:
 * so this file is only walked. */
static kit_status read_tokenizer(const reading *r) {
    static const char name[] = "tokenizer_config.json";
    enc_file file;
    kolm_error_t inner = KIT_ERROR_INIT;
    kit_json_walk walk = {0};
    kit_json_part key, value;
    bool found = false;
    kit_status status = enc_files_get(r->files, name, JSON_MAX, &file, &inner);
    if (status == KOLM_E_NOT_FOUND) return KOLM_OK;
    if (status == KOLM_OK) status = kit_json_walk_begin(&walk, (const char *)file.bytes, file.size, &inner);
    while (status == KOLM_OK && (status = kit_json_walk_next(&walk, &key, &value, &found, &inner)) == KOLM_OK &&
           found) {
        char digits[64];
        if (value.kind != KIT_JSON_NUMBER || !kit_json_part_is(&key, "model_max_length")) continue;
        kit_format(digits, sizeof digits, "%.*s", (int)value.length, value.bytes);
        bound(&r->to->max_tokens, strtod(digits, NULL));
    }
    kit_json_walk_free(&walk);
    if (status == KOLM_OK) return KOLM_OK;
    return kit_fail(r->err, status == KOLM_E_INVALID_ARGUMENT ? KOLM_E_DATA_LOSS : status,
                    "download the model again (`hf download NAME`)", "%s in %s is not usable: %s", name, r->shown,
                    inner.text);
}

static kit_status read_length(const reading *r) {
    enc_description *d = r->to;
    cJSON *config = NULL;
    double said = 0;
    KIT_TRY(read_json(r, "sentence_bert_config.json", false, &config));
    uint32_t most = d->family == ENC_BERT ? d->positions : d->positions - d->pad - 1;
    d->max_tokens = most;
    bool bounded = config != NULL && kit_json_get_number(config, "max_seq_length", &said);
    bound(&d->max_tokens, said);
    d->lower_case = config != NULL && is_true(config, "do_lower_case");
    cJSON_Delete(config);
    return bounded ? KOLM_OK : read_tokenizer(r);
}

/* ---- The whole description */

static kit_status describe_transformer(const reading *r, const modules *m) {
    kit_buf name = {0};
    cJSON *pooling = NULL;
    KIT_TRY(read_length(r));
    KIT_TRY(kit_strdup("", &r->to->directory, r->err));
    kit_buf_fmt(&name, "%s/config.json", m->pooling);
    kit_status status = kit_buf_ok(&name, r->err);
    if (status == KOLM_OK) status = read_json(r, name.data, true, &pooling);
    if (status == KOLM_OK) status = read_pooling(r, pooling);
    cJSON_Delete(pooling);
    kit_buf_free(&name);
    return status;
}

static kit_status describe(const reading *r, const cJSON *config, const cJSON *list, const cJSON *prompts) {
    modules m = {0};
    const char *type = NULL;
    bool model2vec =
        config != NULL && kit_json_get_string(config, "model_type", &type) && strcmp(type, "model2vec") == 0;
    KIT_TRY(read_prompts(r, prompts));
    if (list != NULL) KIT_TRY(read_modules(r, list, &m));
    if (m.is_static || (model2vec && list == NULL)) return read_static(r, config, m.first != NULL ? m.first : "");
    if (config == NULL)
        return kit_fail(r->err, KOLM_E_NOT_FOUND, "pass the directory of a sentence encoder", "%s has no config.json",
                        r->shown);
    KIT_TRY(read_config(r, config));
    if (list == NULL)
        return kit_fail(
            r->err, KOLM_E_UNIMPLEMENTED,
            "download the model again, all its files together (`hf download NAME`); or use --recipe lora, which "
            "fine-tunes most models",
            "recipe encoder cannot use %s: it has no modules.json, as sentence encoders have, so nothing says "
            "how its tokens become one vector",
            r->shown);
    return describe_transformer(r, &m);
}

kit_status enc_describe(enc_files *files, enc_description *out, kolm_error_t *err) {
    const reading r = {.files = files, .to = out, .shown = enc_files_shown(files), .err = err};
    cJSON *config = NULL, *list = NULL, *prompts = NULL;
    *out = (enc_description){0};
    kit_status status = read_json(&r, "config.json", false, &config);
    if (status == KOLM_OK) status = read_json(&r, "modules.json", false, &list);
    if (status == KOLM_OK) status = read_json(&r, "config_sentence_transformers.json", false, &prompts);
    if (status == KOLM_OK) status = describe(&r, config, list, prompts);
    cJSON_Delete(config);
    cJSON_Delete(list);
    cJSON_Delete(prompts);
    if (status != KOLM_OK) enc_description_free(out);
    return status;
}

void enc_description_free(enc_description *d) {
    free(d->prefix);
    free(d->directory);
    *d = (enc_description){0};
}
