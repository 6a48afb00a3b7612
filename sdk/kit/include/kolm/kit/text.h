/* SPDX-License-Identifier: Apache-2.0 */
/* Text: numbers, UTF-8, escaping for terminals, nearest words, hexadecimal, base64. */
#ifndef KOLM_KIT_TEXT_H
#define KOLM_KIT_TEXT_H

#include "kolm/kit/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The whole string must be a number: no spaces, no sign (except '-' for i64), no trailing bytes, no overflow. */
bool kit_parse_u64(const char *text, uint64_t *out);
bool kit_parse_i64(const char *text, int64_t *out);
/* Converts a decimal ("12", "0.5", "2.50") to millionths (micro units); rejects more than 6 decimals, signs and
 * exponents. */
bool kit_parse_micro(const char *text, uint64_t *out_micro);

/* Returns the index of the first byte that is not valid UTF-8 (overlongs, surrogates and values over 10FFFF are
 * invalid), or length if all are valid. */
size_t kit_utf8_valid(const char *bytes, size_t length);
/* Decodes one code point of valid UTF-8 at bytes; *out_length gets 1..4. length must be at least 1. */
uint32_t kit_utf8_next(const char *bytes, size_t length, size_t *out_length);

/* Appends text escaped for a terminal or a log: control characters (C0, DEL, C1), line separators, bidirectional
 * controls and invalid UTF-8 become \xNN; the rest is unchanged. */
void kit_buf_escaped(kit_buf *buf, const char *bytes, size_t length);
/* Returns true if kit_buf_escaped would leave the text unchanged: valid UTF-8 that no terminal interprets. */
bool kit_text_is_plain(const char *bytes, size_t length);

/* The entry of names (count of them, NULL entries skipped) nearest to word by edit distance (swapping two adjacent
 * characters counts as one edit; prefixes, suffixes and differences in case are near too), or NULL if none is close
 * enough to be a likely typo. */
const char *kit_nearest(const char *word, const char *const *names, size_t count);

void kit_hex(const uint8_t *bytes, size_t length, char *out_text);  /* 2 * length + 1 bytes, lower case */
void kit_base64(kit_buf *out, const uint8_t *bytes, size_t length); /* standard alphabet, padded */
/* Accepts the standard and the URL-safe alphabet, padded or not, nothing else. */
kit_status kit_base64_decode(kit_buf *out, const char *text, size_t length, kolm_error_t *err) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
