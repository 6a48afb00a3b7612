/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptions of a model in its directory: what is accepted, and what is refused with which message. */
#include "../suite.h"
#include "encoder/describe.h"

#include <stdlib.h>
#include <string.h>

static kolm_error_t err;

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
}

#define SIZES                                                                                                          \
    "\"hidden_size\":384,\"intermediate_size\":1536,\"num_hidden_layers\":6,\"num_attention_heads\":12,"               \
    "\"vocab_size\":30522,\"max_position_embeddings\":512"
#define BERT "{\"model_type\":\"bert\",\"type_vocab_size\":2," SIZES
#define MODULE(index, path, type)                                                                                      \
    "{\"idx\":" index ",\"name\":\"" index "\",\"path\":\"" path "\",\"type\":\"" type "\"}"
#define ST "sentence_transformers.models."
#define TRANSFORMER MODULE("0", "", ST "Transformer")
#define POOLING MODULE("1", "1_Pooling", ST "Pooling")
#define USUAL "[" TRANSFORMER "," POOLING "," MODULE("2", "2_Normalize", ST "Normalize") "]"
#define MEAN "{\"word_embedding_dimension\":384,\"pooling_mode_cls_token\":false,\"pooling_mode_mean_tokens\":true}"

/* Contents of the files; NULL: the file is missing. */
typedef struct model {
    const char *config, *modules, *pooling, *sentence, *prompts, *tokenizer;
} model;

static kit_status describe(const model *m, enc_description *out) {
    static const char *const names[] = {"config.json",
                                        "modules.json",
                                        "1_Pooling/config.json",
                                        "sentence_bert_config.json",
                                        "config_sentence_transformers.json",
                                        "tokenizer_config.json"};
    const char *const texts[] = {m->config, m->modules, m->pooling, m->sentence, m->prompts, m->tokenizer};
    enc_file list[6];
    size_t count = 0;
    enc_files *files = NULL;
    for (size_t i = 0; i < 6; i++)
        if (texts[i] != NULL) list[count++] = (enc_file){names[i], (const uint8_t *)texts[i], strlen(texts[i])};
    ck_assert_int_eq(enc_files_of(list, count, "DIR", &files, &err), KOLM_OK);
    kit_status status = enc_describe(files, out, &err);
    enc_files_close(files);
    return status;
}

static enc_description must_describe(const model *m) {
    enc_description d;
    const kit_status status = describe(m, &d);
    ck_assert_msg(status == KOLM_OK, "%s", err.text);
    return d;
}

START_TEST(minilm) {
    const model m = {.config = BERT ",\"hidden_act\":\"gelu\",\"layer_norm_eps\":1e-12,\"pad_token_id\":0}",
                     .modules = USUAL,
                     .pooling = MEAN,
                     .sentence = "{\"max_seq_length\":256,\"do_lower_case\":false}",
                     .prompts = "{\"__version__\":{}}",
                     .tokenizer = "not read"};
    enc_description d = must_describe(&m);
    ck_assert(d.family == ENC_BERT && d.hidden == 384 && d.inner == 1536 && d.layers == 6 && d.heads == 12);
    ck_assert(d.vocabulary == 30522 && d.positions == 512 && d.types == 2 && d.activation == ENC_GELU);
    ck_assert(d.pooling == ENC_MEAN && d.normalise && d.max_tokens == 256 && d.special_tokens && !d.lower_case);
    ck_assert(!d.drop_unknown && d.epsilon == 1e-12f);
    ck_assert_str_eq(d.prefix, "");
    ck_assert_str_eq(d.directory, "");
    enc_description_free(&d);
    enc_description_free(&d);
}
END_TEST

START_TEST(others) {
    enc_description d = must_describe(&(model){
        .config =
            "{\"model_type\":\"xlm-roberta\",\"type_vocab_size\":1,\"pad_token_id\":1,\"hidden_act\":\"gelu_new\","
            "\"layer_norm_eps\":1e-05," SIZES "}",
        .modules = "[" TRANSFORMER "," POOLING "]",
        .pooling = "{\"pooling_mode\":\"cls\",\"embedding_dimension\":384}",
        .tokenizer = "{\"x\":[1e999],\"model_max_length\":1000000000000000019884624838656}"});
    ck_assert(d.family == ENC_ROBERTA && d.pooling == ENC_CLS && !d.normalise && d.max_tokens == 510 && d.pad == 1);
    ck_assert(d.activation == ENC_GELU_TANH && d.epsilon == 1e-5f);
    enc_description_free(&d);
    d = must_describe(
        &(model){.config = "{\"model_type\":\"mpnet\",\"pad_token_id\":7," SIZES "}",
                 .modules = "[" MODULE("0", "", "sentence_transformers.base.modules.Transformer") "," POOLING "]",
                 .pooling = "{\"pooling_mode\":[\"max\"]}",
                 .sentence = "{\"max_seq_length\":null,\"do_lower_case\":true}",
                 .tokenizer = "{\"model_max_length\":128}"});
    ck_assert(d.family == ENC_MPNET && d.pooling == ENC_MAX && d.max_tokens == 128 && d.pad == 1 && d.types == 0);
    ck_assert(d.lower_case);
    enc_description_free(&d);
}
END_TEST

START_TEST(static_embeddings) {
    enc_description d = must_describe(&(model){
        .config = "{\"model_type\":\"model2vec\",\"normalize\":true,\"hidden_dim\":256,\"seq_length\":1000000}",
        .modules = "[" MODULE("0", ".", ST "StaticEmbedding") "]"});
    ck_assert(d.family == ENC_STATIC && d.normalise && d.drop_unknown && !d.special_tokens && d.max_tokens == 512);
    ck_assert_str_eq(d.directory, "");
    enc_description_free(&d);
    d = must_describe(&(model){.config = "{\"model_type\":\"model2vec\",\"max_length\":99}"});
    ck_assert(d.family == ENC_STATIC && !d.normalise && d.max_tokens == 99);
    enc_description_free(&d);
    d = must_describe(&(model){.modules = "[" MODULE("0", "0_StaticEmbedding", ST "StaticEmbedding") "," MODULE(
                                   "1", "1_Normalize", ST "Normalize") "]"});
    ck_assert(d.family == ENC_STATIC && d.normalise && !d.drop_unknown && d.max_tokens == ENC_TOKENS_MAX);
    ck_assert_str_eq(d.directory, "0_StaticEmbedding/");
    enc_description_free(&d);
}
END_TEST

static const struct prompt {
    const char *config, *prefix;
} prompts[] = {
    {"{\"prompts\":{\"query\":\"query: \",\"passage\":\"passage: \"},\"default_prompt_name\":\"passage\"}",
     "passage: "},
    {"{\"prompts\":{\"query\":\"query: \",\"passage\":\"passage: \"},\"default_prompt_name\":null}", "query: "},
    {"{\"prompts\":{\"query\":\"q: \",\"document\":\"d: \",\"classification\":\"c: \"}}", "c: "},
    {"{\"prompts\":{\"query\":\"Represent this: \",\"document\":\"\"}}", ""},
    {"{\"prompts\":{\"query\":\"Represent this: \"}}", ""},
    {"{\"prompts\":{},\"default_prompt_name\":\"query\"}", ""},
    {"{\"prompts\":7}", ""},
};

START_TEST(prefixes) {
    enc_description d =
        must_describe(&(model){.config = BERT "}", .modules = USUAL, .pooling = MEAN, .prompts = prompts[_i].config});
    ck_assert_str_eq(d.prefix, prompts[_i].prefix);
    enc_description_free(&d);
}
END_TEST

#define BASE .modules = USUAL, .pooling = MEAN
static const struct refusal {
    model model;
    kit_status code;
    const char *said;
} refusals[] = {
    {{.config = "{\"model_type\":\"qwen2\"," SIZES "}", BASE}, KOLM_E_UNIMPLEMENTED, "a model of type \"qwen2\""},
    {{.config = "{\"model_type\":\"llama\"}"}, KOLM_E_UNIMPLEMENTED, "a model of type \"llama\""},
    {{.config = "{\"model_type\":\"x\\u001b[2Jy\"}"}, KOLM_E_UNIMPLEMENTED, "type \"x\\x1B[2Jy\""},
    {{.config = "{}", BASE}, KOLM_E_UNIMPLEMENTED, "has no model_type"},
    {{.config = "{", BASE}, KOLM_E_DATA_LOSS, "config.json in DIR is not usable"},
    {{.config = BERT "}"}, KOLM_E_UNIMPLEMENTED, "it has no modules.json"},
    {{.modules = USUAL}, KOLM_E_NOT_FOUND, "DIR has no config.json"},
    {{.config = BERT ",\"is_decoder\":true}", BASE}, KOLM_E_UNIMPLEMENTED, "it is a decoder"},
    {{.config = BERT ",\"position_embedding_type\":\"relative_key\"}", BASE}, KOLM_E_UNIMPLEMENTED, "\"relative_key\""},
    {{.config = BERT ",\"hidden_act\":\"swish\"}", BASE}, KOLM_E_UNIMPLEMENTED, "activation \"swish\""},
    {{.config = BERT ",\"layer_norm_eps\":0}", BASE}, KOLM_E_UNIMPLEMENTED, "layer_norm_eps"},
    {{.config = "{\"model_type\":\"bert\",\"type_vocab_size\":2,\"hidden_size\":385,\"intermediate_size\":1,\"num_"
                "hidden_layers\":1,"
                "\"num_attention_heads\":12,\"vocab_size\":9,\"max_position_embeddings\":9}",
      BASE},
     KOLM_E_UNIMPLEMENTED,
     "385 hidden units do not divide into 12 heads"},
    {{.config = "{\"model_type\":\"bert\",\"type_vocab_size\":2}", BASE}, KOLM_E_UNIMPLEMENTED, "no hidden_size"},
    {{.config = "{\"model_type\":\"bert\",\"hidden_size\":4000000000}", BASE},
     KOLM_E_UNIMPLEMENTED,
     "4000000000 is not between"},
    {{.config = "{\"model_type\":\"roberta\",\"type_vocab_size\":1,\"pad_token_id\":511," SIZES "}", BASE},
     KOLM_E_UNIMPLEMENTED,
     "positions end at that of padding"},
    {{.config = "{\"model_type\":\"mpnet\",\"relative_attention_num_buckets\":64," SIZES "}", BASE},
     KOLM_E_UNIMPLEMENTED,
     "64 distances"},
    {{.config = BERT "}", .modules = "[" TRANSFORMER "]"}, KOLM_E_UNIMPLEMENTED, "has no Pooling"},
    {{.config = BERT "}", .modules = "[]"}, KOLM_E_UNIMPLEMENTED, "lists no modules"},
    {{.config = BERT "}", .modules = "{}"}, KOLM_E_UNIMPLEMENTED, "is not a list"},
    {{.config = BERT "}", .modules = "[" TRANSFORMER "," POOLING "," MODULE("2", "2_Dense", ST "Dense") "]"},
     KOLM_E_UNIMPLEMENTED,
     "its module 2 is a Dense"},
    {{.config = BERT "}", .modules = "[" MODULE("0", "", "custom_st.Transformer") "]"},
     KOLM_E_UNIMPLEMENTED,
     "custom code"},
    {{.config = BERT "}", .modules = "[" TRANSFORMER "," MODULE("1", "../../etc", ST "Pooling") "]"},
     KOLM_E_INVALID_ARGUMENT,
     "refers to a directory outside of it"},
    {{.config = BERT "}", .modules = "[" TRANSFORMER "," MODULE("1", "/etc", ST "Pooling") "]"},
     KOLM_E_INVALID_ARGUMENT,
     "refers to a directory outside of it"},
    {{.config = BERT "}", .modules = "[" MODULE("0", "0_BERT", ST "Transformer") "," POOLING "]"},
     KOLM_E_UNIMPLEMENTED,
     "a separate directory, 0_BERT"},
    {{.config = BERT "}", .modules = USUAL}, KOLM_E_NOT_FOUND, "1_Pooling/config.json"},
    {{.config = BERT "}", .modules = USUAL, .pooling = "{}"}, KOLM_E_UNIMPLEMENTED, "an unknown kind"},
    {{.config = BERT "}", .modules = USUAL, .pooling = "{\"pooling_mode_lasttoken\":true}"},
     KOLM_E_UNIMPLEMENTED,
     "pools by \"lasttoken\""},
    {{.config = BERT "}",
      .modules = USUAL,
      .pooling = "{\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":true}"},
     KOLM_E_UNIMPLEMENTED,
     "joins several kinds of pooling, cls and mean"},
    {{.config = BERT "}", .modules = USUAL, .pooling = "{\"pooling_mode\":[\"cls\",\"mean\"]}"},
     KOLM_E_UNIMPLEMENTED,
     "joins several kinds"},
    {{.config = BERT "}", .modules = USUAL, .pooling = "{\"pooling_mode\":\"mean\",\"word_embedding_dimension\":768}"},
     KOLM_E_UNIMPLEMENTED,
     "for 768 numbers a token, and its transformer has 384"},
    {{.config = BERT "}",
      .modules = USUAL,
      .pooling = "{\"pooling_mode\":\"mean\",\"include_prompt\":false}",
      .prompts = "{\"prompts\":{\"a\":\"b\"},\"default_prompt_name\":\"a\"}"},
     KOLM_E_UNIMPLEMENTED,
     "excludes its prompt"},
    {{.config = BERT "}", BASE, .tokenizer = "{\"model_max_length\":"},
     KOLM_E_DATA_LOSS,
     "tokenizer_config.json in DIR"},
};

START_TEST(refused) {
    const struct refusal *r = &refusals[_i];
    enc_description d;
    const kit_status status = describe(&r->model, &d);
    ck_assert_msg(status == r->code, "%d: %d %s", _i, status, err.text);
    ck_assert_msg(strstr(err.text, r->said) != NULL, "%d: %s", _i, err.text);
    ck_assert(err.remedy[0] != '\0' && d.prefix == NULL && d.directory == NULL);
    if (status == KOLM_E_UNIMPLEMENTED) ck_assert_ptr_nonnull(strstr(err.remedy, "--recipe lora"));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("encoder description");
    TCase *tcase = tcase_create("describe");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, minilm);
    tcase_add_test(tcase, others);
    tcase_add_test(tcase, static_embeddings);
    tcase_add_loop_test(tcase, prefixes, 0, (int)(sizeof prompts / sizeof *prompts));
    tcase_add_loop_test(tcase, refused, 0, (int)(sizeof refusals / sizeof *refusals));
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
