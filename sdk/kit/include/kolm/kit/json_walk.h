/* SPDX-License-Identifier: Apache-2.0 */
/* Walks the text of one JSON object or array, without building a tree. */
#ifndef KOLM_KIT_JSON_WALK_H
#define KOLM_KIT_JSON_WALK_H

#include "kolm/kit/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * For data of which only some keys are read. The rest is skipped: its grammar is checked (brackets, commas, quotes,
 * escapes), but numbers may have any size (NaN, Infinity and -Infinity are accepted too, because many programs write
 * them), keys may be duplicated, escapes may be half of a surrogate pair, and nesting is limited only by the length of
 * the text. The walk does not recurse and uses one bit per open bracket. The text should be valid UTF-8, which is not
 * checked (see kit_utf8_valid). Use kit_json_parse for anything that must be trusted.
 */
typedef enum kit_json_kind {
    KIT_JSON_NULL,
    KIT_JSON_BOOL,
    KIT_JSON_NUMBER, /* including NaN and infinities */
    KIT_JSON_STRING,
    KIT_JSON_ARRAY,
    KIT_JSON_OBJECT,
} kit_json_kind;

/* A value as written in the text; a string includes its quotes. */
typedef struct kit_json_part {
    const char *bytes;
    size_t length;
    kit_json_kind kind;
    bool escaped; /* a string that contains a backslash */
} kit_json_part;

/* Where and why a text is not valid JSON. */
typedef struct kit_json_fault {
    size_t offset;        /* byte offset from the start of the text or part */
    const char *expected; /* "a key in double quotes"; static */
    char found[16];       /* "'x'", escaped, or "the end" */
} kit_json_fault;

typedef struct kit_json_walk {
    const char *start;
    const char *p;
    const char *end;
    bool object;
    bool begun;
    bool done;
    kit_buf nesting;
    kit_json_fault fault; /* of the last INVALID_ARGUMENT */
} kit_json_walk;

/* The text is borrowed and must outlive the walk. Zero-initialise a walk before its first use; it may be reused, and
 * keeps its memory until kit_json_walk_free. INVALID_ARGUMENT if the text does not begin with an object or an array. */
kit_status kit_json_walk_begin(kit_json_walk *walk, const char *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;
/* Returns the next member of the object (*key with its quotes) or element of the array (*key zero); *found is false at
 * the end, if only whitespace follows. INVALID_ARGUMENT as in kit_json_validate. */
kit_status kit_json_walk_next(kit_json_walk *walk, kit_json_part *key, kit_json_part *value, bool *found,
                              kolm_error_t *err) KIT_MUST_USE;
void kit_json_walk_free(kit_json_walk *walk);
/* Appends the unescaped string. Strict: half a surrogate pair and \u0000 are INVALID_ARGUMENT, with a column that
 * counts from the first byte of the part. */
kit_status kit_json_part_text(const kit_json_part *part, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* As kit_json_validate, but numbers may have any size: for values that are passed on unchanged. */
kit_status kit_json_part_check(const kit_json_part *part, kolm_error_t *err) KIT_MUST_USE;
/* Finds what kit_json_part_check, or for strings kit_json_part_text, rejects in the part. False if nothing. */
bool kit_json_part_fault(const kit_json_part *part, kit_json_fault *out);
/* Whether the unescaped string equals this text. */
bool kit_json_part_is(const kit_json_part *part, const char *text);
/* Appends the part without whitespace between its tokens. */
void kit_json_part_compact(const kit_json_part *part, kit_buf *out);
/* Reads the strings under count keys (at most 8) of the object in bytes; texts[i] is cleared and receives the one under
 * keys[i]. INVALID_ARGUMENT if one is missing, duplicated or not a string, or if bytes are not UTF-8. Other keys are
 * skipped. walk: only its memory is used. */
kit_status kit_json_row_texts(kit_json_walk *walk, const char *bytes, size_t length, const char *const *keys,
                              size_t count, kit_buf *texts, kolm_error_t *err) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
