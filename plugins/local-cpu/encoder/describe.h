/* SPDX-License-Identifier: Apache-2.0 */
/* Determines the kind of a sentence encoder: its family, its sizes, and how tokens become one vector. */
#ifndef LOCAL_CPU_ENCODER_DESCRIBE_H
#define LOCAL_CPU_ENCODER_DESCRIBE_H

#include "files.h"

#include <stdbool.h>

/*
 * Read from the files that sentence-transformers writes and hub models include:
 *
 *   config.json                        family, sizes, activation (transformers); for model2vec only its kind
 *   modules.json                       the sequence of Transformer or StaticEmbedding, Pooling, Normalize
 *   POOLING/config.json                mean, cls or max, under the path that modules.json names
 *   sentence_bert_config.json          max_seq_length, do_lower_case; it may be absent
 *   tokenizer_config.json              model_max_length, if the previous file has no limit; it may be absent
 *   config_sentence_transformers.json  prompts; it may be absent
 *
 * A prefix is prepended to every text if the model requires one: the prompt that default_prompt_name names, else the
 * one called "classification", else that of queries if documents have one, too (such a model was never trained on texts
 * without a prompt).
 *
 * Any other model is FAILED_PRECONDITION or UNIMPLEMENTED, with the reason; the remedy is recipe lora, which supports
 * most models. A damaged file is DATA_LOSS.
 */
typedef enum enc_family {
    ENC_BERT,    /* positions from 0, token types */
    ENC_ROBERTA, /* also XLM-R: positions after that of padding, token types */
    ENC_MPNET,   /* positions as in RoBERTa, no types, an attention bias by distance */
    ENC_STATIC,  /* model2vec and similar: one vector per token, no layers */
} enc_family;

typedef enum enc_activation { ENC_GELU, ENC_GELU_TANH, ENC_RELU } enc_activation;
typedef enum enc_pooling { ENC_MEAN, ENC_CLS, ENC_MAX } enc_pooling;

typedef struct enc_description {
    enc_family family;
    /* Sizes; 0 for ENC_STATIC, where only the weights determine them. */
    uint32_t hidden, inner, layers, heads, vocabulary, positions, types;
    uint32_t pad; /* the padding token, which has no position of its own (ENC_ROBERTA, ENC_MPNET) */
    float epsilon;
    enc_activation activation;
    enc_pooling pooling;
    bool normalise;      /* scale the embedding to length 1 */
    uint32_t max_tokens; /* of a text, including special tokens */
    bool special_tokens; /* the tokenizer adds its special tokens around a text */
    bool drop_unknown;   /* tokens that are not in the vocabulary are dropped (model2vec) */
    bool lower_case;     /* the text is lower-cased before it is tokenized */
    char *prefix;        /* UTF-8, "" for none */
    char *directory;     /* of weights and tokenizer: "" or "0_StaticEmbedding/" */
} enc_description;

kit_status enc_describe(enc_files *files, enc_description *out, kolm_error_t *err) KIT_MUST_USE;
void enc_description_free(enc_description *description); /* leaves it zeroed */

#define ENC_TOKENS_MAX 65536u /* of a text, for any model */

#endif
