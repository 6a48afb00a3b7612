/* SPDX-License-Identifier: Apache-2.0 */
/* A walk over the text of one JSON object or array, without a tree. */
#ifndef KOLM_KIT_JSON_WALK_H
#define KOLM_KIT_JSON_WALK_H

#include "kolm/kit/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A walk over the text of one object or array, without a tree: for data, of which only some keys are read. What is not
 * read is only passed over: its grammar is checked (brackets, commas, quotes, escapes), but numbers may have any size
 * (NaN, Infinity and -Infinity are taken too, as many programs write them), keys may be doubled, escapes may be half of a
 * surrogate pair, and nesting is bounded by nothing but the length of the text. Takes no recursion and a bit for each
 * open bracket. The text should be valid UTF-8: the walk does not look (kit_utf8_valid does). Nothing that carries trust
 * is read this way: that is what kit_json_parse is for.
 */
typedef enum kit_json_kind {
    KIT_JSON_NULL,
    KIT_JSON_BOOL,
    KIT_JSON_NUMBER, /* NaN and its like as well */
    KIT_JSON_STRING,
    KIT_JSON_ARRAY,
    KIT_JSON_OBJECT,
} kit_json_kind;

/* A value as it stands in the text, a string with its quotes. */
typedef struct kit_json_part {
    const char *bytes;
    size_t length;
    kit_json_kind kind;
    bool escaped; /* a string with a backslash in it */
} kit_json_part;

/* Where a text is not JSON, and why. */
typedef struct kit_json_fault {
    size_t offset;        /* of the byte, from the first one of the text or part */
    const char *expected; /* "a key in double quotes"; static */
    char found[16];       /* "'x'", escaped, or "the end" */
} kit_json_fault;

typedef struct kit_json_walk {
    const char *start, *p, *end;
    bool object, begun, done;
    kit_buf nesting;
    kit_json_fault fault; /* of the last INVALID_ARGUMENT */
} kit_json_walk;

/* The text stays the caller's and must outlive the walk. Zero-initialise a walk before its first use; it may be begun
 * again and again, and keeps its memory until kit_json_walk_free. INVALID_ARGUMENT when the text does not begin with an
 * object or an array. */
kit_status kit_json_walk_begin(kit_json_walk *walk, const char *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;
/* The next member of the object (*key with its quotes) or element of the array (*key zero); *found false at the end, and
 * then nothing but blanks stood behind it. INVALID_ARGUMENT as kit_json_validate has it. */
kit_status kit_json_walk_next(kit_json_walk *walk, kit_json_part *key, kit_json_part *value, bool *found,
                              kolm_error_t *err) KIT_MUST_USE;
void kit_json_walk_free(kit_json_walk *walk);
/* Appends the text that a string means. Strict: half a surrogate pair and \u0000 are INVALID_ARGUMENT, with a column that
 * counts from the part's own first byte. */
kit_status kit_json_part_text(const kit_json_part *part, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* As kit_json_validate, but numbers may have any size: for what is read, and handed on as it stands. */
kit_status kit_json_part_check(const kit_json_part *part, kolm_error_t *err) KIT_MUST_USE;
/* What kit_json_part_check, or kit_json_part_text of a string, rejects in the part; false when it rejects nothing. */
bool kit_json_part_fault(const kit_json_part *part, kit_json_fault *out);
/* Whether a string means this text. */
bool kit_json_part_is(const kit_json_part *part, const char *text);
/* Appends the part without the blanks between its tokens. */
void kit_json_part_compact(const kit_json_part *part, kit_buf *out);
/* Reads the texts under these keys (count of them, at most 8) of the object that is bytes: texts[i] is cleared and gets
 * that of keys[i]. INVALID_ARGUMENT when one is missing, doubled or no text, and when bytes are not UTF-8. Other keys are
 * passed over. walk: only for its memory. */
kit_status kit_json_row_texts(kit_json_walk *walk, const char *bytes, size_t length, const char *const *keys,
                              size_t count, kit_buf *texts, kolm_error_t *err) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
