/* SPDX-License-Identifier: Apache-2.0 */
/* A growing byte buffer that is always NUL terminated, and bounded copies. */
#ifndef KOLM_KIT_BUF_H
#define KOLM_KIT_BUF_H

#include "kolm/kit/status.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Zero-initialise it. After a failed append `failed` stays true and further appends are no-ops: check a chain of
 * appends once, with kit_buf_ok. data is NULL only if nothing was ever appended. */
typedef struct kit_buf {
    char *data;
    size_t length;
    size_t capacity;
    bool failed;
} kit_buf;

void kit_buf_free(kit_buf *buf);  /* leaves a zeroed buf; no-op if NULL */
void kit_buf_clear(kit_buf *buf); /* length 0, memory kept */
void kit_buf_add(kit_buf *buf, const void *bytes, size_t length);
void kit_buf_str(kit_buf *buf, const char *text);
void kit_buf_char(kit_buf *buf, char c);
void kit_buf_fmt(kit_buf *buf, const char *format, ...) KIT_PRINTF(2, 3);
/* OK, or RESOURCE_EXHAUSTED with a text. */
kit_status kit_buf_ok(const kit_buf *buf, kolm_error_t *err) KIT_MUST_USE;
/* The text of buf ("" if empty); owned by buf. */
const char *kit_buf_text(const kit_buf *buf);
/* Returns the text, which the caller must free, and zeroes buf. NULL only if an append failed. */
char *kit_buf_take(kit_buf *buf);

/* Copies text, truncated at a UTF-8 boundary if it does not fit; always NUL terminated. Returns false if truncated. */
bool kit_copy(char *out, size_t capacity, const char *text);
/* snprintf with the same rules. */
bool kit_format(char *out, size_t capacity, const char *format, ...) KIT_PRINTF(3, 4);
/* strdup that accepts NULL (and returns NULL) and fills err if out of memory. */
kit_status kit_strdup(const char *text, char **out, kolm_error_t *err) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
