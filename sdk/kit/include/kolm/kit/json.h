/* SPDX-License-Identifier: Apache-2.0 */
/* Strict JSON in (validated before cJSON sees it) and canonical JSON out (the RFC 8785 subset without floats). */
#ifndef KOLM_KIT_JSON_H
#define KOLM_KIT_JSON_H

#include "kolm/kit/buf.h"
#include <cjson/cJSON.h>
#include <signal.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KIT_JSON_MAX_DEPTH 64
#define KIT_JSON_MAX_INTEGER 9007199254740991.0 /* 2^53 - 1: beyond it a double, and therefore cJSON, loses digits */

/* Checks that bytes are exactly one RFC 8259 value: no byte order mark, no trailing bytes, valid UTF-8, no duplicate
 * keys in an object (compared after unescaping), no NUL (raw or \u0000), no lone surrogates, integers within
 * +-(2^53 - 1), other numbers below 1e308 and of at most 63 characters, nesting at most 64. The error text has line and
 * column (both from 1, column in bytes) and what was expected. The code is INVALID_ARGUMENT. Needed because cJSON
 * 1.7.15 accepts all of these. */
kit_status kit_json_validate(const char *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;

/* Validates, then parses. The caller frees *out with cJSON_Delete. */
kit_status kit_json_parse(const char *bytes, size_t length, cJSON **out, kolm_error_t *err) KIT_MUST_USE;
/* Reads a file of at most max_bytes and parses it; the error names the file. */
kit_status kit_json_read(const char *path, size_t max_bytes, cJSON **out, kolm_error_t *err) KIT_MUST_USE;

/* A read-only tree in a few blocks of memory: several times faster to build and to free than cJSON's own. It must not
 * be modified, and no part of it may be passed to cJSON_Delete. A caller that keeps some of the strings takes over
 * text, sets it to NULL and frees it later. */
typedef struct kit_json_tree {
    const cJSON *root;
    char *text; /* strings and keys point into it */
    struct kit_json_nodes *nodes;
} kit_json_tree;
/* As kit_json_parse. The caller must free the tree with kit_json_tree_free; on failure it is empty. */
kit_status kit_json_tree_read(const char *bytes, size_t length, kit_json_tree *out_tree,
                              kolm_error_t *err) KIT_MUST_USE;
void kit_json_tree_free(kit_json_tree *tree); /* no-op if NULL or empty */

/* Appends value as RFC 8785 canonical JSON: keys sorted by UTF-16 code units, no spaces, minimal escapes. Numbers must
 * be integers within +-(2^53 - 1); INVALID_ARGUMENT for any other number. */
kit_status kit_json_canonical(const cJSON *value, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* Appends value as one line of compact JSON, object order kept; numbers that are not integers are printed with the
 * shortest digits that read back the same; NaN and infinities are printed as null. For reports, not for signing. */
kit_status kit_json_line(const cJSON *value, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* The same, indented by two spaces per level. */
kit_status kit_json_pretty(const cJSON *value, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* Appends "text" with JSON escapes; bytes must be valid UTF-8. */
void kit_json_string(kit_buf *out, const char *bytes, size_t length);

/* A number built from an integer count of millionths, "1.25" for 1250000: as a cJSON raw item, in canonical form (the
 * text that ES6 prints); kit_json_canonical and kit_json_line both accept it. NULL from KIT_JSON_MICRO_LIMIT on (2^33
 * units, where a double can no longer distinguish adjacent millionths), or if out of memory. */
#define KIT_JSON_MICRO_LIMIT 8589934592000000ull
cJSON *kit_json_micro(uint64_t micro);
/* Turns every non-integer number below value into such an item, in place, so that a value that was read can be written
 * in canonical form again. Digits beyond the sixth decimal place are lost: compare with the original text if that
 * matters. INVALID_ARGUMENT for negative ones and from KIT_JSON_MICRO_LIMIT on. */
kit_status kit_json_exact(cJSON *value, kolm_error_t *err) KIT_MUST_USE;

/* Typed access, case-sensitive. Each returns false if the key is missing or has another type. Strings are owned by
 * value. */
bool kit_json_get_string(const cJSON *object, const char *key, const char **out);
bool kit_json_get_u64(const cJSON *object, const char *key, uint64_t *out); /* a non-negative integer */
bool kit_json_get_bool(const cJSON *object, const char *key, bool *out);
bool kit_json_get_number(const cJSON *object, const char *key, double *out);
const cJSON *kit_json_get(const cJSON *object, const char *key);

/* Builders: each returns false if out of memory. */
bool kit_json_put_string(cJSON *object, const char *key, const char *text); /* NULL text becomes null */
bool kit_json_put_u64(cJSON *object, const char *key, uint64_t value);      /* at most 2^53 - 1 */
bool kit_json_put_number(cJSON *object, const char *key, double value);
bool kit_json_put_bool(cJSON *object, const char *key, bool value);
bool kit_json_put_null(cJSON *object, const char *key);
bool kit_json_put(cJSON *object, const char *key, cJSON *item); /* takes ownership of item, even on failure; fails if
                                                                   item is NULL */

#ifdef __cplusplus
}
#endif
#endif
