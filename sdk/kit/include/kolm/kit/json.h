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
#define KIT_JSON_MAX_INTEGER 9007199254740991.0 /* 2^53 - 1: beyond it a double, and so cJSON, loses digits */

/* Checks that bytes are exactly one RFC 8259 value: no byte order mark, no trailing bytes, valid UTF-8, no duplicate
 * keys in an object (compared after unescaping), no NUL (raw or \u0000), no lone surrogates, integers within
 * +-(2^53 - 1), other numbers below 1e308 and of at most 63 characters, nesting at most 64. The error text carries line and column (both from 1, column in bytes) and what was
 * expected. code is INVALID_ARGUMENT. Why: cJSON 1.7.15 accepts all of these. */
kit_status kit_json_validate(const char *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;

/* Validates, then parses. The caller frees *out with cJSON_Delete. */
kit_status kit_json_parse(const char *bytes, size_t length, cJSON **out, kolm_error_t *err) KIT_MUST_USE;
/* Reads a file of at most max_bytes and parses it; the error names the file. */
kit_status kit_json_read(const char *path, size_t max_bytes, cJSON **out, kolm_error_t *err) KIT_MUST_USE;

/* Appends value as RFC 8785 canonical JSON: keys sorted by UTF-16 code units, no blanks, minimal escapes. Numbers must
 * be integers within +-(2^53 - 1); a double that is not an integer makes it fail with INVALID_ARGUMENT. */
kit_status kit_json_canonical(const cJSON *value, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* Appends value as one line of compact JSON, object order kept; numbers that are not integers are printed with the
 * shortest digits that read back the same; NaN and infinities are printed as null. For reports, not for signing. */
kit_status kit_json_line(const cJSON *value, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* The same, indented by two blanks a level. */
kit_status kit_json_pretty(const cJSON *value, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* Appends "text" with JSON escapes; bytes must be valid UTF-8. */
void kit_json_string(kit_buf *out, const char *bytes, size_t length);

/* A number built from an integer count of millionths, "1.25" for 1250000: as a cJSON raw item, canonical too (the same
 * text that ES6 prints); kit_json_canonical and kit_json_line both accept it. NULL from KIT_JSON_MICRO_LIMIT on (2^33
 * units: there a double no longer tells neighbouring millionths apart), or when memory is out. */
#define KIT_JSON_MICRO_LIMIT 8589934592000000ull
cJSON *kit_json_micro(uint64_t micro);
/* Turns every number below value that is not an integer into such an item, so that what was read back can be written
 * canonically again. A number of more than six places loses some here: compare with the original text where that matters.
 * INVALID_ARGUMENT for negative ones and from KIT_JSON_MICRO_LIMIT on. value is changed in place. */
kit_status kit_json_exact(cJSON *value, kolm_error_t *err) KIT_MUST_USE;

/* Typed access, case-sensitive. Each returns false when the key is missing or of another type. Strings belong to value. */
bool kit_json_get_string(const cJSON *object, const char *key, const char **out);
bool kit_json_get_u64(const cJSON *object, const char *key, uint64_t *out); /* a non-negative integer */
bool kit_json_get_bool(const cJSON *object, const char *key, bool *out);
bool kit_json_get_number(const cJSON *object, const char *key, double *out);
const cJSON *kit_json_get(const cJSON *object, const char *key);

/* Builders that note failure once: each returns false when memory is out. */
bool kit_json_put_string(cJSON *object, const char *key, const char *text); /* NULL text becomes null */
bool kit_json_put_u64(cJSON *object, const char *key, uint64_t value);      /* at most 2^53 - 1 */
bool kit_json_put_number(cJSON *object, const char *key, double value);
bool kit_json_put_bool(cJSON *object, const char *key, bool value);
bool kit_json_put_null(cJSON *object, const char *key);
bool kit_json_put(cJSON *object, const char *key, cJSON *item); /* takes item, also when it fails; NULL item fails */

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

typedef struct kit_json_walk {
    const char *start, *p, *end;
    bool object, begun, done;
    kit_buf nesting;
} kit_json_walk;

/* The text stays the caller's and must outlive the walk. Zero-initialise a walk before its first use; it may be begun
 * again and again, and keeps its memory until kit_json_walk_free. INVALID_ARGUMENT when the text does not begin with an
 * object or an array. */
kit_status kit_json_walk_begin(kit_json_walk *walk, const char *bytes, size_t length, kolm_error_t *err) KIT_MUST_USE;
/* The next member of the object (*key with its quotes) or element of the array (*key zero); *found false at the end, and
 * then nothing but blanks stood behind it. INVALID_ARGUMENT as kit_json_validate has it. */
kit_status kit_json_walk_next(kit_json_walk *walk, kit_json_part *key, kit_json_part *value, bool *found, kolm_error_t *err) KIT_MUST_USE;
void kit_json_walk_free(kit_json_walk *walk);
/* Appends the text that a string means. Strict: half a surrogate pair and \u0000 are INVALID_ARGUMENT, with a column that
 * counts from the part's own first byte. */
kit_status kit_json_part_text(const kit_json_part *part, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* As kit_json_validate, but numbers may have any size: for what is read, and handed on as it stands. */
kit_status kit_json_part_check(const kit_json_part *part, kolm_error_t *err) KIT_MUST_USE;
/* Whether a string means this text. */
bool kit_json_part_is(const kit_json_part *part, const char *text);
/* Appends the part without the blanks between its tokens. */
void kit_json_part_compact(const kit_json_part *part, kit_buf *out);
/* Reads the texts under these keys (count of them, at most 8) of the object that is bytes: texts[i] is cleared and gets
 * that of keys[i]. INVALID_ARGUMENT when one is missing, doubled or no text, and when bytes are not UTF-8. Other keys are
 * passed over. walk: only for its memory. */
kit_status kit_json_row_texts(kit_json_walk *walk, const char *bytes, size_t length, const char *const *keys, size_t count,
                              kit_buf *texts, kolm_error_t *err) KIT_MUST_USE;

/* Streaming reader of JSON lines with constant memory: one line at a time. */
typedef struct kit_lines kit_lines;
/* fd is not closed by the reader. A line of more than max_line bytes before its LF is reported as OUT_OF_RANGE as soon as that is
 * known; the next call skips the rest of it and goes on behind. */
kit_status kit_lines_open(int fd, size_t max_line, kit_lines **out, kolm_error_t *err) KIT_MUST_USE;
/* Before and after each wait for bytes the reader ends with CANCELLED when *flag is not zero; with NULL it waits on. */
void kit_lines_stop_on(kit_lines *lines, const volatile sig_atomic_t *flag);
/* wait is called before each reading that may have to wait for bytes: it returns KOLM_OK when fd can be read, anything else to
 * end kit_lines_next with that code; what was read so far is kept, and the next call goes on. NULL: just read. */
typedef kit_status (*kit_lines_wait_fn)(void *user, kolm_error_t *err);
void kit_lines_wait_with(kit_lines *lines, kit_lines_wait_fn wait, void *user);
/* Bytes come from `read` instead of fd, such as those of an archive: it puts at most capacity (> 0) of them into out, says how many
 * (0: the end), and may wait. What it returns but KOLM_OK ends kit_lines_next with that code. */
typedef kit_status (*kit_lines_read_fn)(void *user, char *out, size_t capacity, size_t *out_got, kolm_error_t *err);
void kit_lines_read_with(kit_lines *lines, kit_lines_read_fn read, void *user);
/* The next line without its LF or CRLF, NUL terminated, valid until the next call. *out_line NULL at the end. A
 * trailing line without LF counts. A byte order mark at the start of the first line is dropped. */
kit_status kit_lines_next(kit_lines *lines, const char **out_line, size_t *out_length, kolm_error_t *err) KIT_MUST_USE;
/* True when the next call will not have to wait: a whole line (or the end) is buffered already. */
bool kit_lines_ready(const kit_lines *lines);
uint64_t kit_lines_number(const kit_lines *lines); /* number of the last line given, from 1 */
void kit_lines_close(kit_lines *lines);

#ifdef __cplusplus
}
#endif
#endif
