/* SPDX-License-Identifier: Apache-2.0 */
/* Walks JSON text without building anything: one member at a time, skipping the rest. */
#include "json_parts.h"

#include "kolm/kit/json_walk.h"
#include "kolm/kit/text.h"

#include <string.h>

static kit_status fail_at(kit_json_walk *w, const char *where, const char *expected, kolm_error_t *err) {
    return json_fail_at(w->start, w->end, where, expected, &w->fault, err);
}

static void skip_blanks(kit_json_walk *w) {
    while (w->p < w->end && (*w->p == ' ' || *w->p == '\t' || *w->p == '\n' || *w->p == '\r'))
        w->p++;
}

/* ---- Strings */

static bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* p is at the backslash. */
static kit_status skip_escape(kit_json_walk *w, kolm_error_t *err) {
    w->p++;
    if (w->p >= w->end || *w->p == '\0' || strchr("\"\\/bfnrtu", *w->p) == NULL)
        return fail_at(w, w->p, "an escape: one of \" \\ / b f n r t u", err);
    if (*w->p++ != 'u') return KOLM_OK;
    for (int i = 0; i < 4; i++)
        if (w->end - w->p <= i || !is_hex(w->p[i])) return fail_at(w, w->p, "four hexadecimal digits", err);
    w->p += 4;
    return KOLM_OK;
}

/* p is at the opening quote, and after the closing one on return. */
static kit_status skip_string(kit_json_walk *w, bool *out_escaped, kolm_error_t *err) {
    w->p++;
    for (;;) {
        w->p = json_find_special(w->p, w->end, 0);
        if (w->p >= w->end) return fail_at(w, w->end, "a closing quote", err);
        if (*w->p == '"') break;
        if (*w->p != '\\') return fail_at(w, w->p, "no raw control character in text", err);
        *out_escaped = true;
        KIT_TRY(skip_escape(w, err));
    }
    w->p++;
    return KOLM_OK;
}

/* ---- Numbers and words */

static size_t skip_digits(kit_json_walk *w) {
    const char *from = w->p;
    while (w->p < w->end && *w->p >= '0' && *w->p <= '9')
        w->p++;
    return (size_t)(w->p - from);
}

static kit_status skip_number(kit_json_walk *w, kolm_error_t *err) {
    if (*w->p == '-') w->p++;
    const char *digits = w->p;
    size_t count = skip_digits(w);
    if (count == 0) return fail_at(w, w->p, "a digit", err);
    if (*digits == '0' && count > 1) return fail_at(w, digits, "a number without leading zeros", err);
    if (w->p < w->end && *w->p == '.') {
        w->p++;
        if (skip_digits(w) == 0) return fail_at(w, w->p, "a digit after the decimal point", err);
    }
    if (w->p < w->end && (*w->p == 'e' || *w->p == 'E')) {
        w->p++;
        if (w->p < w->end && (*w->p == '+' || *w->p == '-')) w->p++;
        if (skip_digits(w) == 0) return fail_at(w, w->p, "a digit in the exponent", err);
    }
    return KOLM_OK;
}

static bool skip_this(kit_json_walk *w, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(w->end - w->p) < n || memcmp(w->p, word, n) != 0) return false;
    w->p += n;
    return true;
}

static kit_status skip_scalar(kit_json_walk *w, kit_json_part *part, kolm_error_t *err) {
    part->kind = KIT_JSON_NUMBER;
    if (skip_this(w, "NaN") || skip_this(w, "Infinity") || skip_this(w, "-Infinity")) return KOLM_OK;
    if (*w->p == '-' || (*w->p >= '0' && *w->p <= '9')) return skip_number(w, err);
    part->kind = KIT_JSON_BOOL;
    if (skip_this(w, "true") || skip_this(w, "false")) return KOLM_OK;
    part->kind = KIT_JSON_NULL;
    return skip_this(w, "null") ? KOLM_OK : fail_at(w, w->p, "a JSON value", err);
}

/* ---- Nesting */

/* A bit for each open bracket tells objects from arrays. */
static void push(kit_json_walk *w, size_t depth, bool object) {
    while (w->nesting.length <= depth / 8 && !w->nesting.failed)
        kit_buf_char(&w->nesting, 0);
    if (w->nesting.failed) return;
    unsigned bit = 1u << (depth % 8), byte = (unsigned char)w->nesting.data[depth / 8];
    w->nesting.data[depth / 8] = (char)(object ? byte | bit : byte & ~bit);
}

static bool in_object(const kit_json_walk *w, size_t depth) {
    return ((unsigned char)w->nesting.data[(depth - 1) / 8] >> ((depth - 1) % 8)) & 1;
}

/* A key and its colon. */
static kit_status skip_key(kit_json_walk *w, kit_json_part *key, kolm_error_t *err) {
    skip_blanks(w);
    if (w->p >= w->end || *w->p != '"') return fail_at(w, w->p, "a key in double quotes", err);
    *key = (kit_json_part){.bytes = w->p, .kind = KIT_JSON_STRING};
    KIT_TRY(skip_string(w, &key->escaped, err));
    key->length = (size_t)(w->p - key->bytes);
    skip_blanks(w);
    if (w->p >= w->end || *w->p != ':') return fail_at(w, w->p, "':'", err);
    w->p++;
    return KOLM_OK;
}

/* Skips what follows a value within depth open brackets, until the next value begins or the last bracket closes. */
static kit_status skip_ends(kit_json_walk *w, size_t *depth, kolm_error_t *err) {
    kit_json_part key;
    while (*depth > 0) {
        bool object = in_object(w, *depth);
        skip_blanks(w);
        char c = w->p < w->end ? *w->p : '\0';
        if (c != ',' && c != (object ? '}' : ']')) return fail_at(w, w->p, object ? "',' or '}'" : "',' or ']'", err);
        w->p++;
        if (c == ',') return object ? skip_key(w, &key, err) : KOLM_OK;
        (*depth)--;
    }
    return KOLM_OK;
}

/* p is at an opening bracket; on return before its first value, or after the closing bracket if it is empty. */
static kit_status open_bracket(kit_json_walk *w, size_t *depth, bool *out_empty, kolm_error_t *err) {
    kit_json_part key;
    bool object = *w->p++ == '{';
    skip_blanks(w);
    *out_empty = w->p < w->end && *w->p == (object ? '}' : ']');
    if (*out_empty) {
        w->p++;
        return KOLM_OK;
    }
    push(w, (*depth)++, object);
    KIT_TRY(kit_buf_ok(&w->nesting, err));
    return object ? skip_key(w, &key, err) : KOLM_OK;
}

static kit_status skip_value(kit_json_walk *w, kit_json_part *part, kolm_error_t *err) {
    size_t depth = 0;
    skip_blanks(w);
    *part = (kit_json_part){.bytes = w->p};
    do {
        kit_json_part inner = {0};
        bool empty = true;
        skip_blanks(w);
        if (w->p >= w->end) return fail_at(w, w->end, "a JSON value", err);
        inner.kind = *w->p == '{' ? KIT_JSON_OBJECT : *w->p == '[' ? KIT_JSON_ARRAY : KIT_JSON_STRING;
        if (inner.kind != KIT_JSON_STRING)
            KIT_TRY(open_bracket(w, &depth, &empty, err));
        else if (*w->p == '"')
            KIT_TRY(skip_string(w, &inner.escaped, err));
        else
            KIT_TRY(skip_scalar(w, &inner, err));
        if (part->length++ == 0) part->kind = inner.kind, part->escaped = inner.escaped;
        if (empty) KIT_TRY(skip_ends(w, &depth, err));
    } while (depth > 0);
    part->length = (size_t)(w->p - part->bytes);
    return KOLM_OK;
}

/* ---- The walk */

kit_status kit_json_walk_begin(kit_json_walk *w, const char *bytes, size_t length, kolm_error_t *err) {
    w->start = w->p = bytes;
    w->end = bytes + length;
    w->begun = w->done = false;
    skip_blanks(w);
    char c = w->p < w->end ? *w->p : '\0';
    if (c != '{' && c != '[') return fail_at(w, w->p, "an object or an array", err);
    w->object = c == '{';
    w->p++;
    return KOLM_OK;
}

static kit_status finish(kit_json_walk *w, kolm_error_t *err) {
    w->done = true;
    w->p++;
    skip_blanks(w);
    return w->p < w->end ? fail_at(w, w->p, "nothing after the value", err) : KOLM_OK;
}

kit_status kit_json_walk_next(kit_json_walk *w, kit_json_part *key, kit_json_part *value, bool *found,
                              kolm_error_t *err) {
    *found = false;
    *key = (kit_json_part){0};
    if (w->done) return KOLM_OK;
    skip_blanks(w);
    char c = w->p < w->end ? *w->p : '\0';
    if (c == (w->object ? '}' : ']')) return finish(w, err);
    if (w->begun && c != ',') return fail_at(w, w->p, w->object ? "',' or '}'" : "',' or ']'", err);
    if (w->begun) w->p++;
    w->begun = true;
    if (w->object) KIT_TRY(skip_key(w, key, err));
    KIT_TRY(skip_value(w, value, err));
    *found = true;
    return KOLM_OK;
}

void kit_json_walk_free(kit_json_walk *walk) {
    kit_buf_free(&walk->nesting);
    *walk = (kit_json_walk){0};
}

/* ---- Parts */

kit_status kit_json_part_text(const kit_json_part *part, kit_buf *out, kolm_error_t *err) {
    if (!part->escaped) {
        kit_buf_add(out, part->bytes + 1, part->length - 2);
        return KOLM_OK;
    }
    KIT_TRY(kit_json_validate(part->bytes, part->length, err));
    json_key_reader reader = {.p = part->bytes + 1, .end = part->bytes + part->length - 1};
    while (reader.p < reader.end) {
        const char *escape = memchr(reader.p, '\\', (size_t)(reader.end - reader.p));
        size_t plain = (size_t)((escape != NULL ? escape : reader.end) - reader.p);
        kit_buf_add(out, reader.p, plain);
        reader.p += plain;
        if (escape == NULL) break;
        do {
            kit_buf_char(out, (char)json_key_next(&reader));
        } while (reader.pending_at < reader.pending_count);
    }
    return KOLM_OK;
}

bool kit_json_part_is(const kit_json_part *part, const char *text) {
    size_t n = strlen(text);
    if (part->kind != KIT_JSON_STRING) return false;
    if (!part->escaped) return part->length == n + 2 && memcmp(part->bytes + 1, text, n) == 0;
    if (part->length > 6 * n + 2 || kit_json_validate(part->bytes, part->length, NULL) != KOLM_OK) return false;
    json_key_reader reader = {.p = part->bytes + 1, .end = part->bytes + part->length - 1};
    for (size_t i = 0; i < n; i++)
        if (json_key_next(&reader) != (unsigned char)text[i]) return false;
    return json_key_next(&reader) < 0;
}

void kit_json_part_compact(const kit_json_part *part, kit_buf *out) {
    const char *p = part->bytes, *end = p + part->length, *from = p;
    for (bool quoted = false; p < end; p++) {
        if (quoted && *p == '\\') {
            p++;
        } else if (*p == '"') {
            quoted = !quoted;
        } else if (!quoted && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) {
            kit_buf_add(out, from, (size_t)(p - from));
            from = p + 1;
        }
    }
    kit_buf_add(out, from, (size_t)(end - from));
}

/* ---- Rows of texts */

static kit_status take_text(const kit_json_part *value, const char *key, bool again, kit_buf *out, kolm_error_t *err) {
    static const char remedy[] = "every line needs these keys, once each, with text";
    if (again) return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "a line has the key \"%s\" twice", key);
    if (value->kind != KIT_JSON_STRING)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "a line has no text under \"%s\"", key);
    kit_buf_clear(out);
    return kit_json_part_text(value, out, err);
}

kit_status kit_json_row_texts(kit_json_walk *walk, const char *bytes, size_t length, const char *const *keys,
                              size_t count, kit_buf *texts, kolm_error_t *err) {
    unsigned seen = 0;
    kit_json_part key, value;
    if (kit_utf8_valid(bytes, length) != length)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use UTF-8 text", "a line is not UTF-8");
    KIT_TRY(kit_json_walk_begin(walk, bytes, length, err));
    for (bool found = true; found;) {
        KIT_TRY(kit_json_walk_next(walk, &key, &value, &found, err));
        for (size_t i = 0; found && walk->object && i < count; i++) {
            if (!kit_json_part_is(&key, keys[i])) continue;
            KIT_TRY(take_text(&value, keys[i], (seen >> i) & 1, &texts[i], err));
            seen |= 1u << i;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!((seen >> i) & 1))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "every line needs these keys, with text",
                            "a line lacks the string \"%s\"", keys[i]);
        KIT_TRY(kit_buf_ok(&texts[i], err));
    }
    return KOLM_OK;
}
