/* SPDX-License-Identifier: Apache-2.0 */
/* Texts to embeddings: an encoder and its tokenizer together, and how the one's description sets the other. */
#ifndef LOCAL_CPU_ENCODER_SENTENCES_H
#define LOCAL_CPU_ENCODER_SENTENCES_H

#include "encoder.h"
#include "tokenizer.h"

/*
 * A text gets the model's prefix, is lower-cased where the model asks for that (code point by code point), becomes
 * token ids and is cut to as many as the encoder reads: of a text that is too long the front is read, or the end.
 *
 * Texts are added one by one and embedded together. One thread at a time; enc_embed takes as many as it is told.
 */
typedef struct sentences sentences;

/* Takes the encoder's files. apart: the files where tokenizer.json or vocab.txt and tokenizer_config.json lie at the
 * top; NULL: with the encoder. They are only read here. FAILED_PRECONDITION when the two do not belong together, beside
 * what enc_open_files and tokenizer_open say. */
kit_status sentences_open(enc_files *encoder_files, enc_files *apart, bool read_end, sentences **out,
                          kolm_error_t *err) KIT_MUST_USE;
void sentences_close(sentences *s); /* NULL is fine */

const encoder *sentences_encoder(const sentences *s);
/* The tokenizer's files among the encoder's, 1 or 2 of them; none when they were given apart. */
size_t sentences_tokenizer_files(const sentences *s, enc_file out[2]);

/* For sentences_add, and for tests: where the part of a text of valid UTF-8 begins that has at most so many bytes and
 * no half characters, its front or its end; returns its length. */
size_t sentences_part(const char *text, size_t length, size_t most, bool end, const char **out);

/* For tests: other kernels than the widest. */
void sentences_use(sentences *s, const enc_kernels *kernels);

/* Adds a text of valid UTF-8. */
kit_status sentences_add(sentences *s, const char *text, size_t length, kolm_error_t *err) KIT_MUST_USE;
/* Since the last sentences_embed, and of all texts there were. */
uint32_t sentences_waiting(const sentences *s);
uint64_t sentences_waiting_tokens(const sentences *s);
uint64_t sentences_tokens(const sentences *s), sentences_cut(const sentences *s);
/* The embeddings of the texts that were added, in their order, as rows of length 1; then none waits any more. */
kit_status sentences_embed(sentences *s, uint32_t threads, float *out, kolm_error_t *err) KIT_MUST_USE;

#endif
