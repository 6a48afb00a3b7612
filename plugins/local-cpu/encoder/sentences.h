/* SPDX-License-Identifier: Apache-2.0 */
/* Converts texts to embeddings, with an encoder and its tokenizer, configured by the encoder's description. */
#ifndef LOCAL_CPU_ENCODER_SENTENCES_H
#define LOCAL_CPU_ENCODER_SENTENCES_H

#include "encoder.h"
#include "tokenizer.h"

/*
 * A text gets the model's prefix, is lower-cased if the model requires it (code point by code point), and is converted
 * to token ids, truncated to as many as the encoder reads: the front or the end of a text that is too long.
 *
 * Texts are added one by one and embedded together. One thread at a time; enc_embed uses as many as requested.
 */
typedef struct sentences sentences;

/* Takes ownership of the encoder's files. apart: the files with tokenizer.json, or vocab.txt and tokenizer_config.json,
 * at the top, used only during this call; NULL: they are with the encoder. FAILED_PRECONDITION if the two do not belong
 * together, besides the errors of enc_open_files and tokenizer_open. */
kit_status sentences_open(enc_files *encoder_files, enc_files *apart, bool read_end, sentences **out,
                          kolm_error_t *err) KIT_MUST_USE;
void sentences_close(sentences *s); /* no-op if NULL */

const encoder *sentences_encoder(const sentences *s);
/* The tokenizer's files among the encoder's, 1 or 2; none if they were passed separately. */
size_t sentences_tokenizer_files(const sentences *s, enc_file out[2]);

/* For sentences_add, and for tests: finds the front or the end of a valid UTF-8 text with at most `most` bytes and no
 * partial characters; *out is its start. Returns its length. */
size_t sentences_part(const char *text, size_t length, size_t most, bool end, const char **out);

/* For tests: selects other kernels. */
void sentences_use(sentences *s, const enc_kernels *kernels);

/* Adds a text of valid UTF-8. */
kit_status sentences_add(sentences *s, const char *text, size_t length, kolm_error_t *err) KIT_MUST_USE;
/* Counts since the last sentences_embed, and for all texts so far. */
uint32_t sentences_waiting(const sentences *s);
uint64_t sentences_waiting_tokens(const sentences *s);
uint64_t sentences_tokens(const sentences *s), sentences_cut(const sentences *s);
/* Computes the embeddings of the texts that were added, in order, as rows of length 1, and removes the texts. */
kit_status sentences_embed(sentences *s, uint32_t threads, float *out, kolm_error_t *err) KIT_MUST_USE;

#endif
