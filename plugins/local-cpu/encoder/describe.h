/* SPDX-License-Identifier: Apache-2.0 */
/* What kind of sentence encoder a set of files is: its family, its sizes, and how tokens become one vector. */
#ifndef LOCAL_CPU_ENCODER_DESCRIBE_H
#define LOCAL_CPU_ENCODER_DESCRIBE_H

#include "files.h"

#include <stdbool.h>

/*
 * Read from the files that sentence-transformers writes and hub models carry:
 *
 *   config.json                        family, sizes, activation (transformers); of model2vec its kind alone
 *   modules.json                       what follows what: Transformer or StaticEmbedding, Pooling, Normalize
 *   POOLING/config.json                mean, cls or max, under the path that modules.json names
 *   sentence_bert_config.json          max_seq_length, do_lower_case; it may be absent
 *   tokenizer_config.json              model_max_length, where the file before says nothing; it may be absent
 *   config_sentence_transformers.json  prompts; it may be absent
 *
 * A prefix is put before every text when the model asks for one: the prompt that default_prompt_name names, else the
 * one called "classification", else that of queries when documents have one too (such a model never saw a text
 * without).
 *
 * Whatever else a directory holds is FAILED_PRECONDITION or UNIMPLEMENTED with a sentence whose remedy is recipe lora,
 * which takes most models; a damaged file is DATA_LOSS.
 */
typedef enum enc_family {
    ENC_BERT,    /* positions from 0, token types */
    ENC_ROBERTA, /* XLM-R too: positions behind that of padding, token types */
    ENC_MPNET,   /* positions as RoBERTa's, no types, a bias by distance in the attention */
    ENC_STATIC,  /* model2vec and its like: one vector for each token, and nothing between them */
} enc_family;

typedef enum enc_activation { ENC_GELU, ENC_GELU_TANH, ENC_RELU } enc_activation;
typedef enum enc_pooling { ENC_MEAN, ENC_CLS, ENC_MAX } enc_pooling;

typedef struct enc_description {
    enc_family family;
    /* Sizes; of ENC_STATIC the weights alone say them, and these are 0. */
    uint32_t hidden, inner, layers, heads, vocabulary, positions, types;
    uint32_t pad; /* the token that has no position of its own (ENC_ROBERTA, ENC_MPNET) */
    float epsilon;
    enc_activation activation;
    enc_pooling pooling;
    bool normalise;      /* the embedding gets length 1 */
    uint32_t max_tokens; /* of a text, special tokens among them */
    bool special_tokens; /* the tokenizer puts its special tokens around a text */
    bool drop_unknown;   /* tokens that the vocabulary does not know are left out (model2vec) */
    bool lower_case;     /* the text is lower-cased before the tokenizer sees it */
    char *prefix;        /* UTF-8, "" for none */
    char *directory;     /* of weights and tokenizer: "" or "0_StaticEmbedding/" */
} enc_description;

kit_status enc_describe(enc_files *files, enc_description *out, kolm_error_t *err) KIT_MUST_USE;
void enc_description_free(enc_description *description); /* leaves it zeroed */

#define ENC_TOKENS_MAX 65536u /* of a text, whatever a model says */

#endif
